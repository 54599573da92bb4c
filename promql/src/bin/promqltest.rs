//! Runs the test files of a directory and prints what fails: `promqltest DIR`.

use promql::testing::runner::{run, suite_engine};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        let _ = writeln!(std::io::stderr(), "usage: promqltest DIR");
        return ExitCode::from(2);
    };
    match run_all(std::path::Path::new(&directory)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "promqltest: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs every `*.test` file; returns how many evals failed.
fn run_all(directory: &std::path::Path) -> std::io::Result<usize> {
    let mut files: Vec<std::path::PathBuf> =
        std::fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    files.sort();
    let mut out = std::io::stdout().lock();
    let engine = suite_engine();
    let (mut passed, mut failed) = (0, 0);
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path)?;
        let outcome =
            run(&text, &engine).map_err(|error| std::io::Error::other(format!("{}: {error}", path.display())))?;
        passed += outcome.passed;
        failed += outcome.failed.len();
        for failure in outcome.failed {
            writeln!(out, "{name}:{}: {}: {}", failure.line, failure.expression, failure.reason)?;
        }
    }
    writeln!(out, "{passed} passed, {failed} failed")?;
    Ok(failed)
}
