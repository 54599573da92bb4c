//! `hearth blocks export`.

use crate::app::load::with_causes;
use crate::cli::query::{Moment, parse_moment};
use crate::cli::store::StoreArguments;
use clap::{Args, ValueEnum};
use model::matcher::Matcher;
use promql::parse::{ParseOptions, parse_selector};
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use storage::export::{ExportFormat, export};
use storage::select::TimeRange;

/// What `hearth blocks export` is told.
#[derive(Debug, Clone, Args)]
pub struct ExportArguments {
    #[command(flatten)]
    store: StoreArguments,

    /// Selector of series such as `up{job="a"}`; may be repeated [default: all series]
    #[arg(long = "match", value_name = "SELECTOR", value_parser = parse_matchers)]
    selectors: Vec<Selector>,

    /// First time: RFC 3339, seconds since 1970, or a duration before now such as `1h` [default: everything]
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    start: Option<Moment>,

    /// Last time, as --start
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    end: Option<Moment>,

    /// Form of the export; `openmetrics` and `csv` have no stale markers, none has native histograms
    #[arg(long, value_name = "FORMAT", default_value = "openmetrics")]
    format: Format,

    /// File to write [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The matchers of one `--match`.
#[derive(Debug, Clone)]
struct Selector(Vec<Matcher>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns `timestamp`, `value` and the map `labels`
    Parquet,
    /// What `hearth import` and promtool read
    Openmetrics,
    /// `timestamp_ms,value,series`
    Csv,
}

fn parse_matchers(text: &str) -> Result<Selector, String> {
    parse_selector(text, &ParseOptions::all()).map(Selector).map_err(|error| error.to_string())
}

pub(super) fn run(arguments: &ExportArguments) -> Result<(String, ExitCode), String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let resolve = |moment: Moment| moment.resolve(now.as_millis() as i64);
    let range = TimeRange {
        after_ms: arguments.start.map_or(i64::MIN, |start| resolve(start).saturating_sub(1)),
        until_ms: arguments.end.map_or(i64::MAX, resolve),
    };
    let format = match arguments.format {
        Format::Parquet => ExportFormat::Parquet,
        Format::Openmetrics => ExportFormat::OpenMetrics,
        Format::Csv => ExportFormat::Csv,
    };
    if arguments.output.is_none() && format == ExportFormat::Parquet && std::io::stdout().is_terminal() {
        return Err("Parquet is not for terminals: say --output FILE".to_owned());
    }
    let (retention, store) = (arguments.store.retention()?, arguments.store.open()?);
    let output: Box<dyn Write + Send> = match &arguments.output {
        Some(path) => Box::new(File::create(path).map_err(|error| format!("create {}: {error}", path.display()))?),
        None => Box::new(std::io::stdout()),
    };
    let selectors: Vec<Vec<Matcher>> = arguments.selectors.iter().map(|selector| selector.0.clone()).collect();
    let report = export(&store, &selectors, range, &retention, format, output).map_err(|error| with_causes(&error))?;
    let mut said = format!("{} samples of {} series", report.samples, report.series);
    if report.histograms_left_out > 0 {
        said.push_str(&format!(
            "; {} native histograms have no form there and were left out",
            report.histograms_left_out
        ));
    }
    for block in &report.damaged {
        said.push_str(&format!("\nblock {} is DAMAGED, what it has is not all there: {}", block.ulid, block.why));
    }
    // Beside the export, which may be on standard output.
    let _ = writeln!(std::io::stderr(), "{said}");
    Ok((String::new(), if report.damaged.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}
