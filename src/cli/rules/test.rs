//! `hearth rules test`: runs unit tests of rules and prints what came of them.

use crate::app::load::Features;
use crate::config::NameValidationScheme;
use crate::rules::unit_test::{Options, test_file};
use clap::Args;
use promql::engine::EngineOptions;
use regex::Regex;
use ruler::unit_test::junit;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `hearth rules test` is told.
#[derive(Debug, Clone, Args)]
pub struct TestArguments {
    /// Files of tests
    #[arg(required = true)]
    pub files: Vec<PathBuf>,

    /// Run only the tests whose name matches this regular expression; may be given several times
    #[arg(long, value_name = "REGEX")]
    pub run: Vec<String>,

    /// Print all series of each test
    #[arg(long)]
    pub debug: bool,

    /// Print what is missing and what is too much instead of both sides
    #[arg(long)]
    pub diff: bool,

    /// Skip keys that no rule file has instead of refusing them; a server refuses them
    #[arg(long)]
    pub ignore_unknown_fields: bool,

    /// Which names metrics and labels may have: what the server's `metric_name_validation_scheme` says
    #[arg(long, value_name = "SCHEME", default_value = "utf8")]
    pub name_validation_scheme: NameValidationScheme,

    /// Also write the outcome to this file, in the XML of JUnit
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,

    /// Features of the engine to switch on, by their names in Prometheus; the whole language is always there
    #[arg(long = "enable-feature", value_name = "NAME", value_delimiter = ',')]
    pub features: Vec<String>,
}

/// Leaves with 1 when a test failed or could not run.
pub(super) fn run(arguments: &TestArguments) -> ExitCode {
    // Who reads the output may go away; the exit code still counts.
    let (mut out, mut errors) = (std::io::stdout(), std::io::stderr());
    let run = match (!arguments.run.is_empty()).then(|| Regex::new(&arguments.run.join("|"))).transpose() {
        Ok(run) => run,
        Err(error) => {
            let _ = writeln!(errors, "hearth rules test: --run: {error}");
            return ExitCode::FAILURE;
        }
    };
    let features = Features::from_names(&arguments.features);
    for warning in &features.warnings {
        let _ = writeln!(errors, "{warning}");
    }
    let engine = EngineOptions {
        delayed_name_removal: features.delayed_name_removal,
        type_and_unit_labels: features.type_and_unit_labels,
        start_timestamps: features.start_timestamps,
        ..EngineOptions::default()
    };
    let TestArguments { debug, ignore_unknown_fields, .. } = *arguments;
    let legacy_names = arguments.name_validation_scheme.is_legacy();
    let options = Options { run, debug, ignore_unknown_fields, legacy_names, engine };
    let mut reports = Vec::new();
    for path in &arguments.files {
        let _ = writeln!(out, "Unit Testing:  {}", path.display());
        let (report, unmatched) = test_file(path, &options);
        for pattern in unmatched {
            let _ = writeln!(errors, "  WARNING: no file match pattern {}", pattern.display());
        }
        for test in report.tests.iter().filter(|_| arguments.debug) {
            let _ = writeln!(errors, "DEBUG: all series of test {}:\n{}", test.name, test.series.join("\n"));
        }
        if report.passed() {
            let _ = writeln!(out, "  SUCCESS\n");
        } else {
            let _ = out.flush();
            let _ = writeln!(errors, "  FAILED:\n{}", report.failures(arguments.diff));
        }
        reports.push(report);
    }
    if let Some(file) = &arguments.junit {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S").to_string();
        if let Err(error) = std::fs::write(file, junit::document(&reports, &now)) {
            let _ = writeln!(errors, "hearth rules test: {}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    if reports.iter().all(ruler::unit_test::FileReport::passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
