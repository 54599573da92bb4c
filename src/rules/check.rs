//! `hearth rules check`: says whether rule files are valid, as `promtool check rules` does.

use super::load::{read, read_bounded};
use promql::parse::ParseOptions;
use ruler::rule_file::{ReadOptions, RuleFile};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

/// What a check came to, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// All files are valid.
    Good,
    /// All files are valid, and something in them is probably a mistake.
    Suspicious,
    /// A file is not valid or cannot be read.
    Bad,
}

/// How to check.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// Which parts of PromQL are enabled.
    pub parse: ParseOptions,
    /// Skip keys that no rule file has.
    pub ignore_unknown_fields: bool,
    /// Names are restricted to those that Prometheus 2 allowed.
    pub legacy_names: bool,
    /// Find rules that are there twice.
    pub duplicate_rules: bool,
}

/// Checks `files`, or standard input when there are none, one after the other; findings go to `out`, problems to `problems`.
///
/// # Errors
/// One of the streams cannot be written to.
pub fn check_files(
    files: &[PathBuf],
    options: &CheckOptions,
    out: &mut dyn Write,
    problems: &mut dyn Write,
) -> io::Result<Verdict> {
    let mut worst = Verdict::Good;
    let named = files.iter().map(|file| (file.display().to_string(), Some(file)));
    let standard_input = files.is_empty().then(|| ("standard input".to_owned(), None));
    for (name, file) in named.chain(standard_input) {
        writeln!(out, "Checking {name}")?;
        let text = file.map_or_else(|| read_bounded(io::stdin().lock()), |file| read(file));
        let (verdict, report) = match text {
            Ok(text) => check_text(&name, &text, options),
            Err(error) => (Verdict::Bad, format!("{name}: {error}")),
        };
        if verdict == Verdict::Good {
            writeln!(out, "  SUCCESS: {report}")?;
        } else {
            out.flush()?;
            writeln!(problems, "  FAILED:\n{report}")?;
        }
        writeln!(out)?;
        worst = worst.max(verdict);
    }
    Ok(worst)
}

fn check_text(name: &str, text: &str, options: &CheckOptions) -> (Verdict, String) {
    let read = ReadOptions {
        parse: &options.parse,
        ignore_unknown_fields: options.ignore_unknown_fields,
        legacy_names: options.legacy_names,
    };
    let file = match RuleFile::read(name, text, &read) {
        Ok(file) => file,
        Err(errors) => {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return (Verdict::Bad, lines.join("\n"));
        }
    };
    let duplicates = file.duplicate_rules();
    if duplicates.is_empty() || !options.duplicate_rules {
        return (Verdict::Good, format!("{} rules found", file.rule_count()));
    }
    let mut report = format!("{name}: {} duplicate rule(s) found.\n", duplicates.len());
    for (rule, labels) in duplicates {
        let _ = writeln!(report, "Metric: {rule}\nLabel(s):");
        for (label, value) in labels {
            let _ = writeln!(report, "\t{label}: {value}");
        }
    }
    report.push_str("Might cause inconsistency while recording expressions");
    (Verdict::Suspicious, report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(texts: &[&str]) -> (Verdict, String, String) {
        let directory = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = (0..texts.len()).map(|i| directory.path().join(format!("{i}.yml"))).collect();
        for (file, text) in files.iter().zip(texts) {
            std::fs::write(file, text).unwrap();
        }
        let (mut out, mut problems) = (Vec::new(), Vec::new());
        let verdict = check_files(
            &files,
            &CheckOptions { duplicate_rules: true, ..CheckOptions::default() },
            &mut out,
            &mut problems,
        )
        .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(&format!("{}/", directory.path().display()), "");
        (verdict, text(out), text(problems))
    }

    #[test]
    fn valid_files_are_counted() {
        let file = "groups:\n- name: g\n  rules:\n  - record: r\n    expr: up\n  - alert: A\n    expr: up\n";
        let (verdict, out, problems) = check(&[file, ""]);
        assert_eq!(verdict, Verdict::Good);
        assert_eq!(out, "Checking 0.yml\n  SUCCESS: 2 rules found\n\nChecking 1.yml\n  SUCCESS: 0 rules found\n\n");
        assert!(problems.is_empty());
    }

    #[test]
    fn problems_are_printed_with_their_place() {
        let file = "groups:\n- name: g\n  rules:\n  - record: r\n    expr: sum(\n";
        let (verdict, out, problems) = check(&[file]);
        assert_eq!((verdict, out.as_str()), (Verdict::Bad, "Checking 0.yml\n\n"));
        let start = "  FAILED:\n0.yml: 5:11: group \"g\", rule 1, \"r\": could not parse expression: 1:";
        assert!(problems.starts_with(start), "{problems}");
    }

    #[test]
    fn rules_that_are_there_twice_are_suspicious() {
        let file = "groups:\n- name: g\n  labels: {a: b}\n  rules:\n  - record: r\n    expr: up\n  - record: r\n    expr: up\n";
        let (verdict, _, problems) = check(&[file]);
        assert_eq!(verdict, Verdict::Suspicious);
        assert_eq!(
            problems,
            "  FAILED:\n0.yml: 1 duplicate rule(s) found.\nMetric: r\nLabel(s):\n\ta: b\nMight cause inconsistency while \
             recording expressions\n"
        );
    }

    #[test]
    fn names_are_checked_by_the_scheme_that_is_asked_for() {
        let text = "groups: [{name: g, rules: [{record: a.b, expr: up}]}]";
        for (legacy_names, expected) in [(false, Verdict::Good), (true, Verdict::Bad)] {
            let (verdict, report) =
                check_text("f.yml", text, &CheckOptions { legacy_names, ..CheckOptions::default() });
            assert_eq!(verdict, expected, "{report}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_bad() {
        let (mut out, mut problems) = (Vec::new(), Vec::new());
        let files = [PathBuf::from("/nonexistent/rules.yml")];
        let verdict = check_files(
            &files,
            &CheckOptions { duplicate_rules: true, ..CheckOptions::default() },
            &mut out,
            &mut problems,
        )
        .unwrap();
        assert_eq!(verdict, Verdict::Bad);
        assert!(String::from_utf8(problems).unwrap().contains("/nonexistent/rules.yml: "));
    }
}
