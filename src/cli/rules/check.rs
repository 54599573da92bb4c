//! `hearth rules check`: whether rule files are valid, as `promtool check rules` says it.

use crate::config::NameValidationScheme;
use crate::rules::check::{CheckOptions, Verdict, check_files};
use clap::{Args, ValueEnum};
use promql::parse::ParseOptions;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `hearth rules check` is told.
#[derive(Debug, Clone, Args)]
pub struct CheckArguments {
    /// Files to check; without any, standard input
    pub files: Vec<PathBuf>,

    /// What to look for beside mistakes; `hearth rules lint` looks for more
    #[arg(long, value_name = "LINT", default_value = "duplicate-rules", value_delimiter = ',')]
    pub lint: Vec<Lint>,

    /// Leave with 3 when lints found something
    #[arg(long)]
    pub lint_fatal: bool,

    /// Skip keys that no rule file has instead of refusing them; a server refuses them
    #[arg(long)]
    pub ignore_unknown_fields: bool,

    /// Which names metrics and labels may have: what the server's `metric_name_validation_scheme` says
    #[arg(long, value_name = "SCHEME", default_value = "utf8")]
    pub name_validation_scheme: NameValidationScheme,
}

/// The lints of `promtool check rules`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Lint {
    /// Everything below
    All,
    /// Rules with the same name and labels
    DuplicateRules,
    /// Nothing
    None,
}

/// Leaves with 1 when a file is not valid, with 3 when a lint found something and is fatal.
pub(super) fn run(arguments: &CheckArguments) -> ExitCode {
    let options = CheckOptions {
        // A check says what the language allows, whatever this machine's server has switched on.
        parse: ParseOptions::all(),
        ignore_unknown_fields: arguments.ignore_unknown_fields,
        legacy_names: arguments.name_validation_scheme.is_legacy(),
        duplicate_rules: !arguments.lint.contains(&Lint::None),
    };
    match check_files(&arguments.files, &options, &mut std::io::stdout(), &mut std::io::stderr()) {
        Ok(Verdict::Suspicious) if arguments.lint_fatal => ExitCode::from(3),
        Ok(Verdict::Good | Verdict::Suspicious) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) | Err(_) => ExitCode::FAILURE,
    }
}
