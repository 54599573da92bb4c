//! `hearth config check`.

use crate::app::load;
use crate::config::Config;
use promql::parse::ParseOptions;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Checks a configuration file and the rule files it names.
pub(super) fn config(file: &Path) -> ExitCode {
    let problem = match Config::load(file) {
        Ok(config) => match load::rules(&config, Some(file), &ParseOptions::all()) {
            Ok(loaded) => {
                let count = loaded.groups.len();
                let warnings = config.warnings(file).chain(loaded.warnings);
                let warnings: String = warnings.map(|warning| format!("warning: {warning}\n")).collect();
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
