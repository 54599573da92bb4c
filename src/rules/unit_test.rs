//! `hearth rules test`: finds the files of unit tests and runs them. What a test means is `ruler::unit_test`'s business.

use super::glob;
use super::load::read;
use promql::engine::EngineOptions;
use promql::parse::ParseOptions;
use regex::Regex;
use ruler::rule_file::{ReadOptions, RuleFile};
use ruler::unit_test::{FileReport, RuleFiles, TestFile, run_test};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// What to run and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Tests whose name matches, wherever it does; all when there is none.
    pub run: Option<Regex>,
    /// Keep all series of each test.
    pub debug: bool,
    /// Skip keys that no rule file has.
    pub ignore_unknown_fields: bool,
    /// Names are restricted to those that Prometheus 2 allowed.
    pub legacy_names: bool,
    /// How the engine understands queries.
    pub engine: EngineOptions,
}

/// Runs the tests of one file. Patterns of rule files that match nothing are returned.
#[must_use]
pub fn test_file(path: &Path, options: &Options) -> (FileReport, Vec<PathBuf>) {
    let name = path.display().to_string();
    let aborted = |problems| FileReport { file: name.clone(), problems, tests: Vec::new() };
    let text = match read(path) {
        Ok(text) => text,
        Err(error) => return (aborted(vec![format!("{name}: {error}")]), Vec::new()),
    };
    let file = match TestFile::parse(&name, &text) {
        Ok(file) => file,
        Err(problems) => return (aborted(problems), Vec::new()),
    };
    let directory = path.parent().unwrap_or(Path::new(""));
    let (paths, unmatched) = match expand(directory, &file.rule_files) {
        Ok(found) => found,
        Err(problem) => return (aborted(vec![problem]), Vec::new()),
    };
    // A test that does not run needs no rules, as far as promtool is concerned: they are loaded for the first that does.
    let mut rules: Option<RuleFiles> = None;
    let mut reports = Vec::new();
    let selected = |name: &str| options.run.as_ref().is_none_or(|run| run.is_match(name));
    for test in file.tests.iter().filter(|test| selected(if test.is_named { &test.name } else { "" })) {
        let rules = rules.get_or_insert_with(|| load(&paths, options));
        reports.push(run_test(&file, test, rules, &options.engine, options.debug));
    }
    (FileReport { file: name, problems: Vec::new(), tests: reports }, unmatched)
}

/// The files that match `patterns`, each once, and the patterns that match none.
fn expand(directory: &Path, patterns: &[String]) -> Result<(Vec<PathBuf>, Vec<PathBuf>), String> {
    let (mut paths, mut unmatched) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for pattern in patterns {
        let pattern = glob::clean(&directory.join(pattern));
        let found = glob::expand(&pattern).map_err(|error| format!("rule_files: {}: {error}", pattern.display()))?;
        if found.is_empty() {
            unmatched.push(pattern);
        }
        paths.extend(found.into_iter().filter(|path| seen.insert(path.clone())));
    }
    Ok((paths, unmatched))
}

fn load(paths: &[PathBuf], options: &Options) -> RuleFiles {
    let parse = ParseOptions::all();
    let Options { ignore_unknown_fields, legacy_names, .. } = *options;
    let read_options = ReadOptions { parse: &parse, ignore_unknown_fields, legacy_names };
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        let name = path.display().to_string();
        match read(path) {
            Ok(text) => match RuleFile::read(&name, &text, &read_options) {
                Ok(file) => files.push((name, file)),
                Err(errors) => problems.extend(errors.iter().map(ToString::to_string)),
            },
            Err(error) => problems.push(format!("{name}: {error}")),
        }
    }
    if problems.is_empty() { Ok(files) } else { Err(problems) }
}
