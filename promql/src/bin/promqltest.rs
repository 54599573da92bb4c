//! Runs the test files of a directory and prints what fails: `promqltest DIR`.
//!
//! A line for each eval that fails and for each file that is none of test commands, which counts as one failure; then how many
//! queries that took, then the tally: `N passed, N failed`.

use promql::testing::runner::{run, suite_engine};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        let _ = writeln!(std::io::stderr(), "usage: promqltest DIR");
        return ExitCode::from(2);
    };
    match run_all(Path::new(&directory), &mut std::io::stdout().lock()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "promqltest: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs every `*.test` file; returns how many evals failed.
fn run_all(directory: &Path, out: &mut impl Write) -> std::io::Result<usize> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    files.sort();
    let engine = suite_engine();
    let (mut passed, mut failed, mut runs) = (0, 0, 0);
    for path in &files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = String::from_utf8_lossy(&std::fs::read(path)?).into_owned();
        match run(&text, &engine) {
            Ok(outcome) => {
                passed += outcome.passed;
                failed += outcome.failed.len();
                runs += outcome.runs;
                for failure in outcome.failed {
                    let reason = failure.reason.replace('\n', "\\n");
                    writeln!(out, "{name}:{}: {}: {reason}", failure.line, failure.expression)?;
                }
            }
            Err(error) => {
                failed += 1;
                writeln!(out, "{name}:{}: the file is not run: {}", error.line, error.reason)?;
            }
        }
    }
    writeln!(out, "{runs} queries of {} files, each eval in all forms", files.len())?;
    writeln!(out, "{passed} passed, {failed} failed")?;
    Ok(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_failure_then_the_tally() {
        let directory = std::env::temp_dir().join(format!("promqltest-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let files = [
            ("a.test", "load 1m\n  x 1\n\nnonsense\n"),
            ("b.test", "load 1m\n  x 1\n\neval instant at 0m x\n  x 1\n\neval instant at 0m x\n  x 2\n"),
            ("c.txt", "nonsense"),
        ];
        for (name, text) in files {
            std::fs::write(directory.join(name), text).unwrap();
        }
        let mut printed = Vec::new();
        let failed = run_all(&directory, &mut printed);
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(failed.unwrap(), 2);
        let printed = String::from_utf8(printed).unwrap();
        let lines: Vec<_> = printed.lines().collect();
        assert!(lines[0].starts_with("a.test:4: the file is not run: "), "{printed}");
        assert!(lines[1].starts_with("b.test:7: x: "), "{printed}");
        // At 0 there are three times for what is pinned: four instants, each once more as the middle of a range.
        assert_eq!(lines[2..], ["9 queries of 2 files, each eval in all forms", "1 passed, 2 failed"]);
    }
}
