//! `hearth config check` and `hearth rules check`.

use crate::app::load;
use crate::config::Config;
use crate::rules::check::{Verdict, check_files};
use promql::parse::ParseOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Checks rule files. Leaves with 1 when one is not valid, with 3 when something is probably a mistake.
pub(super) fn rules(files: &[PathBuf]) -> ExitCode {
    // A check says what the language allows, whatever this machine's server has switched on.
    let verdict = check_files(files, &ParseOptions::all(), &mut std::io::stdout(), &mut std::io::stderr());
    match verdict {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Suspicious) => ExitCode::from(3),
        Ok(Verdict::Bad) | Err(_) => ExitCode::FAILURE,
    }
}

/// Checks a configuration file and the rule files it names.
pub(super) fn config(file: &Path) -> ExitCode {
    let problem = match Config::load(file) {
        Ok(config) => match load::rules(&config, Some(file), &ParseOptions::all()) {
            Ok(loaded) => {
                let count = loaded.groups.len();
                let warnings: String = loaded.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
                return say(&format!("{warnings}{}: valid, {count} rule groups\n", file.display()), ExitCode::SUCCESS);
            }
            Err(problem) => problem,
        },
        Err(error) => load::with_causes(&error),
    };
    complain(&problem)
}

/// `--config.check` without a file.
pub(super) fn nothing_to_check() -> ExitCode {
    complain("--config.check needs --config.file")
}

fn say(text: &str, code: ExitCode) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(problem: &str) -> ExitCode {
    // When even standard error is gone, the exit code is all that is left to say.
    let _ = writeln!(std::io::stderr(), "{problem}");
    ExitCode::FAILURE
}
