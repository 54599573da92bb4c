//! `hearth config check`.

use crate::app::load;
use crate::config::Config;
use crate::notify::check_lists;
use crate::rules::glob;
use crate::rules::load::{Loaded, PACK_NAME};
use promql::parse::ParseOptions;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Checks a configuration file, the rule files and the lists of Alertmanagers that it names.
pub(super) fn config(file: &Path) -> ExitCode {
    match checked(file) {
        Ok(text) => say(&text, ExitCode::SUCCESS),
        Err(problem) => complain(&problem),
    }
}

fn checked(file: &Path) -> Result<String, String> {
    let config = Config::load(file).map_err(|error| load::with_causes(&error))?;
    let loaded = rules(&config, file)?;
    let groups: usize = loaded.iter().map(|loaded| loaded.groups.len()).sum();
    let lists = check_lists(&config.alerting);
    let problems = [missing_rule_files(&config, file), lists.problems].concat();
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    let warnings =
        config.warnings(file).chain(loaded.into_iter().flat_map(|loaded| loaded.warnings)).chain(lists.warnings);
    let warnings: String = warnings.map(|warning| format!("warning: {warning}\n")).collect();
    Ok(format!("{warnings}{}: valid, {groups} rule groups\n", file.display()))
}

/// Rule files that are named and not there. A server goes on without, since a file may come later; whoever checks probably
/// misspelled it, as promtool has it.
fn missing_rule_files(config: &Config, file: &Path) -> Vec<String> {
    let directory = file.parent().unwrap_or(Path::new(""));
    let all = config.rule_files.iter().chain(config.tenants.values().flat_map(|tenant| &tenant.rule_files));
    let named = all.filter(|pattern| *pattern != PACK_NAME && !pattern.contains('*'));
    let missing = named.filter(|pattern| glob::expand(&directory.join(pattern)).is_ok_and(|paths| paths.is_empty()));
    missing.map(|pattern| format!("rule_files: {pattern:?} does not point to an existing file")).collect()
}

/// The rules of all tenants.
fn rules(config: &Config, file: &Path) -> Result<Vec<Loaded>, String> {
    let of_tenant = |tenant| load::rules(config, Some(file), &ParseOptions::all(), &tenant);
    load::tenants(config).into_iter().map(of_tenant).collect()
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
