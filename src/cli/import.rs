//! `hearth import`: brings samples of others into blocks, without a running server.

use super::progress::Progress;
use super::store::{StoreArguments, finish, size};
use crate::app::load::{memory_limit, with_causes};
use clap::{Args, ValueEnum};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use storage::import::room::Room;
use storage::import::tsdb::{TsdbSource, is_tsdb};
use storage::import::{ImportError, ImportOptions, Source, openmetrics, run as import, table};

/// What `hearth import` is told.
#[derive(Debug, Clone, Args)]
pub struct ImportArguments {
    /// OpenMetrics text or Parquet file, or a directory with Prometheus' blocks or Parquet files
    path: PathBuf,

    #[command(flatten)]
    store: StoreArguments,

    /// What it is [default: found out]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,

    /// Import days again that were imported before from the same data
    #[arg(long)]
    again: bool,

    /// Memory that the import may take, in bytes: more samples or times are worked on in parts, more labels are refused. 0: 80 % of the
    /// machine, or of the control group
    #[arg(long = "memory.limit", value_name = "BYTES", default_value_t = 0, env = "HEARTH_MEMORY_LIMIT")]
    memory_limit: u64,

    /// How many samples of a text or Parquet file are in memory at once [default: what --memory.limit has room for, 4 Mi at most]
    #[arg(long, value_name = "N")]
    samples_in_memory: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text with timestamps in seconds that ends with `# EOF`
    Openmetrics,
    /// Blocks as Prometheus, Thanos or Mimir leave them
    Tsdb,
    /// Columns `timestamp`, `value`, and `labels` or one column per label
    Parquet,
}

pub(super) fn run(arguments: &ImportArguments) -> ExitCode {
    finish("import", run_import(arguments))
}

fn run_import(arguments: &ImportArguments) -> Result<(String, ExitCode), String> {
    let format = match arguments.format {
        Some(format) => format,
        None => guess(&arguments.path)?,
    };
    let store = arguments.store.open_or_create()?;
    let progress = Progress::new();
    let room = Room::new(memory_limit(arguments.memory_limit).limit());
    let room = match arguments.samples_in_memory {
        Some(samples) => room.with_samples(samples),
        None => room,
    };
    let work = || -> Result<_, ImportError> {
        let directory = store.work_dir()?;
        let source = open((&arguments.path, format), directory.path(), &room, &progress)?;
        let options = ImportOptions { again: arguments.again, room: room.clone() };
        import(&store, source.as_ref(), directory.path(), options, &progress)
    };
    let outcome = work();
    progress.finish();
    let report = outcome.map_err(|error| with_causes(&error))?;
    let mut said = format!("{} samples in {} days imported, {}", report.samples, report.days, size(report.bytes));
    if report.days_known > 0 {
        said.push_str(&format!("; {} days had been imported before", report.days_known));
    }
    if report.days_expired > 0 {
        let days = report.days_expired;
        said.push_str(&format!(
            "; floats of {days} days were left out: their samples have expired, tiers take no more"
        ));
    }
    Ok((said + "\n", ExitCode::SUCCESS))
}

fn open(
    (path, format): (&Path, Format),
    directory: &Path,
    room: &Room,
    progress: &Progress,
) -> Result<Box<dyn Source>, ImportError> {
    Ok(match format {
        Format::Openmetrics => Box::new(openmetrics::open(path, directory, room, progress)?),
        Format::Tsdb => Box::new(TsdbSource::open(path, room, progress)?),
        Format::Parquet => Box::new(table::open(&parquet_files(path), directory, room, progress)?),
    })
}

fn guess(path: &Path) -> Result<Format, String> {
    if path.is_dir() {
        return match (is_tsdb(path), parquet_files(path).is_empty()) {
            (true, _) => Ok(Format::Tsdb),
            (false, false) => Ok(Format::Parquet),
            (false, true) => Err(format!("{} has neither blocks of Prometheus nor Parquet files", path.display())),
        };
    }
    let mut magic = [0; 4];
    let read = File::open(path).map_err(|error| format!("open {}: {error}", path.display()))?.read(&mut magic);
    Ok(if matches!(read, Ok(4)) && &magic == b"PAR1" { Format::Parquet } else { Format::Openmetrics })
}

/// The file itself, or the Parquet files of a directory by name.
fn parquet_files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let is_parquet = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "parquet");
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(is_parquet).collect();
    found.sort();
    found
}
