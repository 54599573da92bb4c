//! Gives the samples of blocks out, as other programs read them: series by series, each sample once.
//!
//! Memory is bounded by a few hundred series of each block that has some. Deletions and classes of retention count, as for queries; what
//! the head holds and no block yet is not there. Native histograms have no form in any of the formats and are counted instead. What a damaged block has before the first
//! damage is given out, the rest is left out, and the block is named.

mod csv;
mod openmetrics;
mod parquet;

use crate::block::read::Block;
use crate::error::ErrorKind;
use crate::lifecycle::damage::DamagedBlock;
use crate::lifecycle::retention::Retention;
use crate::lifecycle::{Visited, Wanted, visit_past};
use crate::offline::BlockStore;
use crate::select::TimeRange;
use crate::store::StoreError;
use crate::wal::pool::now_ms;
use model::labels::Labels;
use model::matcher::Matcher;
use std::io::Write;

/// How samples are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// Columns `timestamp`, `value` and the map `labels`.
    Parquet,
    /// Text with timestamps in seconds. Stale markers have no form there and are left out.
    OpenMetrics,
    /// `timestamp_ms,value,series`. Stale markers are left out.
    Csv,
}

/// What became of an export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportReport {
    /// Series of which samples were written.
    pub series: u64,
    /// Samples that were written.
    pub samples: u64,
    /// Native histograms that were not.
    pub histograms_left_out: u64,
    /// Blocks of which something was left out because they are damaged.
    pub damaged: Vec<DamagedBlock>,
}

/// Why an export ended.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Blocks cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output does not take it.
    #[error("write the export")]
    Write(#[from] std::io::Error),
    /// A table cannot be encoded.
    #[error("encode the export")]
    Encode(#[from] ::parquet::errors::ParquetError),
}

/// Takes series by series.
trait Sink {
    fn series(&mut self, series: &Visited) -> Result<u64, ExportError>;

    fn finish(&mut self) -> Result<(), ExportError>;
}

/// Writes the samples in a range of the series that satisfy all matchers of one of the `selectors`; of all, without selectors. What the
/// classes of `retention` keep no longer is left out, whether blocks have been written anew without it or not.
///
/// # Errors
/// Blocks cannot be reached, or the output fails. Damage is no error but part of the report.
pub fn export<'o>(
    store: &BlockStore,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
    retention: &Retention,
    format: ExportFormat,
    output: Box<dyn Write + Send + 'o>,
) -> Result<ExportReport, ExportError> {
    let view = store.view()?;
    let blocks: Vec<Block> = view.raw_within(range).cloned().collect();
    let mut sink: Box<dyn Sink + 'o> = match format {
        ExportFormat::Parquet => Box::new(parquet::ParquetSink::new(output)?),
        ExportFormat::OpenMetrics => Box::new(openmetrics::OpenMetricsSink::new(output)),
        ExportFormat::Csv => Box::new(csv::CsvSink::new(output)?),
    };
    let mut report = ExportReport::default();
    // One selector is looked up; several are compared with each series, so that none is written twice.
    let (first, others): (&[Matcher], &[Vec<Matcher>]) = match selectors {
        [only] => (only, &[]),
        several => (&[], several),
    };
    let is_wanted = |labels: &Labels| {
        let holds = |matcher: &Matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default());
        others.is_empty() || others.iter().any(|selector| selector.iter().all(holds))
    };
    let now_ms = now_ms();
    let hide = |labels: &Labels, since| retention.hidden_by_class(labels, &view.deletions, since, now_ms);
    let wanted = Wanted { matchers: first, range, all: false, hide: &hide, view: &view };
    let (mut failure, mut damaged) = (None, Vec::new());
    let unread = |block: &Block, error: StoreError| match error.kind() {
        ErrorKind::Corrupt => {
            damaged.push(DamagedBlock { ulid: block.meta().ulid.clone(), why: error.to_line() });
            Ok(())
        }
        _ => Err(error),
    };
    let visited = visit_past(store.io(), &blocks, &wanted, unread, |series| {
        if !is_wanted(&series.labels) {
            return Ok(());
        }
        report.histograms_left_out += series.histograms.len() as u64;
        match sink.series(series) {
            Ok(samples) => {
                report.series += u64::from(samples > 0);
                report.samples += samples;
                Ok(())
            }
            Err(error) => {
                failure = Some(error);
                Err(StoreError::Closed)
            }
        }
    });
    match failure {
        Some(failure) => return Err(failure),
        None => visited?,
    }
    sink.finish()?;
    Ok(ExportReport { damaged, ..report })
}
