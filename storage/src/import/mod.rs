//! Brings samples of others into blocks.
//!
//! A [`Source`] gives out its samples by UTC day and, within a day, by series in the order of blocks, as often as it is asked:
//! a block is written in two visits, as in a flush. [`run`] writes one block of level 1 per day and commits it at once, so what is
//! committed can be seen by a running server, and an import that was ended in between continues behind the last committed day.
//! How that is known without a file of its own: the last 16 characters of a block's ULID are a digest of what the day was made
//! from, and ULIDs of imported blocks stay in the manifest as origins, whatever the blocks are merged into.

pub mod openmetrics;
pub mod table;
pub mod tsdb;

pub mod spool;

mod error;
pub mod room;
mod run;
#[cfg(test)]
mod tests;
pub mod work_dir;
mod write;

pub use error::{ImportError, TextError};
pub use run::{ImportOptions, ImportReport, run};

use crate::append::LabelHash;
use model::histogram::HistogramColumns;
use model::labels::Labels;
use model::metadata::MetricType;
use model::sample::SampleColumns;

/// What a source has of one series on one day. Timestamps strictly ascend and lie within the day.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImportedSeries {
    /// Names the series.
    pub labels: Labels,
    /// Of the labels.
    pub hash: LabelHash,
    /// As far as it is known.
    pub metric_type: MetricType,
    /// Float samples.
    pub floats: SampleColumns,
    /// Native histograms, at other times than the floats.
    pub histograms: HistogramColumns,
}

/// Takes one series after the other.
pub type EachSeries<'e> = dyn FnMut(&ImportedSeries) -> Result<(), ImportError> + 'e;

/// Samples that can be visited by day.
pub trait Source {
    /// The UTC days that have samples, counted from the epoch, ascending.
    fn days(&self) -> Vec<i64>;

    /// Tells this day's samples from all others: 80 bits that depend on nothing but what is imported.
    fn digest(&self, day: i64) -> u128;

    /// Visits the series that have samples on a day, in the order of [`compare`](crate::block::order::compare).
    ///
    /// # Errors
    /// What is imported cannot be read, or `each` fails.
    fn visit(&self, day: i64, each: &mut EachSeries<'_>) -> Result<(), ImportError>;
}

/// Watches an import.
pub trait Watch {
    /// A step begins that consists of so many units; 0 if that is not known.
    fn begin(&self, step: &str, units: u64);

    /// So many units of the step are done.
    fn advance(&self, units: u64);

    /// Something that the user should know.
    fn note(&self, text: &str);
}

/// Nobody watches.
impl Watch for () {
    fn begin(&self, _: &str, _: u64) {}

    fn advance(&self, _: u64) {}

    fn note(&self, _: &str) {}
}

/// Brings samples into order; of several at one time the first stays, a float before a histogram.
fn tidy(series: &mut ImportedSeries) {
    let floats = &mut series.floats;
    if !floats.timestamps_ms.is_sorted_by(|a, b| a < b) {
        let mut all: Vec<(i64, f64)> = floats.timestamps_ms.drain(..).zip(floats.values.drain(..)).collect();
        all.sort_by_key(|(at_ms, _)| *at_ms);
        all.dedup_by_key(|(at_ms, _)| *at_ms);
        all.into_iter().for_each(|(at_ms, value)| floats.push(at_ms, value));
    }
    let histograms = &mut series.histograms;
    if !histograms.is_empty() {
        let mut all: Vec<_> = histograms.timestamps_ms.drain(..).zip(histograms.histograms.drain(..)).collect();
        all.sort_by_key(|(at_ms, _)| *at_ms);
        all.dedup_by_key(|(at_ms, _)| *at_ms);
        all.retain(|(at_ms, _)| floats.timestamps_ms.binary_search(at_ms).is_err());
        all.into_iter().for_each(|(at_ms, histogram)| histograms.push(at_ms, histogram));
    }
}
