//! What became of a request, as the sender is told.

use super::appender::{AppendError, AppendErrorKind};
use super::inflight::Overloaded;
use super::reason::Reason;
use crate::runtime::local_space::LocalSpaceFull;
use crate::runtime::memory::MemoryFull;
use crate::wire::compression::CompressionError;
use crate::wire::{Protocol, WireError};
use model::time::Timestamp;
use std::fmt;
use storage::append::AppendOutcome;

/// What became of a message that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteReport {
    /// Which message it was.
    pub protocol: Protocol,
    /// Float samples that are stored and durable, those included that were stored before.
    pub samples_written: u64,
    /// Native histograms, counted as samples are.
    pub histograms_written: u64,
    /// Exemplars, counted as samples are.
    pub exemplars_written: u64,
    /// What was refused, by reason, in the order in which the reasons were met.
    pub refused: Vec<RefusedSummary>,
    /// Why some of it was not stored although it may be later; the sender should send all of it again.
    pub retry: Option<AppendError>,
}

/// What was refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedSummary {
    /// Why.
    pub reason: Reason,
    /// How many samples, histograms, exemplars or entries.
    pub count: u64,
    /// The first that was refused for this reason.
    pub example: Example,
}

/// Something that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Its series.
    pub series: String,
    /// When it is from, in milliseconds since the Unix epoch; `None` when it has no time.
    pub timestamp_ms: Option<i64>,
    /// What is wrong with it, if the reason does not say all.
    pub detail: Option<String>,
}

impl WriteReport {
    pub(super) fn new(protocol: Protocol, outcome: &AppendOutcome, retry: Option<AppendError>) -> Self {
        let AppendOutcome { written, histograms_written, exemplars_written, .. } = *outcome;
        Self { protocol, samples_written: written, histograms_written, exemplars_written, refused: Vec::new(), retry }
    }

    /// Adds refusals; `example` is asked for the first of each reason.
    pub(super) fn add(&mut self, reason: Reason, count: u64, example: impl FnOnce() -> Example) {
        match self.refused.iter_mut().find(|summary| summary.reason == reason) {
            Some(summary) => summary.count += count,
            None => self.refused.push(RefusedSummary { reason, count, example: example() }),
        }
    }

    /// How much was refused, for whatever reason.
    #[must_use]
    pub fn refused_count(&self) -> u64 {
        self.refused.iter().map(|summary| summary.count).sum()
    }
}

/// One line for the sender's log: how many, and why.
impl fmt::Display for WriteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.retry {
            return write!(f, "not everything could be stored now, send it again: {error}");
        }
        let refused = self.refused_count();
        let written = self.samples_written + self.histograms_written + self.exemplars_written;
        write!(f, "refused {refused}, stored {written}:")?;
        for (index, summary) in self.refused.iter().enumerate() {
            let RefusedSummary { reason, count, example: Example { series, timestamp_ms, detail } } = summary;
            let separator = if index == 0 { "" } else { ";" };
            write!(f, "{separator} {count} {}: {}", reason.name(), reason.explanation())?;
            if let Some(detail) = detail {
                write!(f, ": {detail}")?;
            }
            write!(f, ", first {series}")?;
            if let Some(timestamp_ms) = timestamp_ms {
                write!(f, " at {}", Timestamp(*timestamp_ms))?;
            }
        }
        Ok(())
    }
}

/// Why nothing of a request was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The body cannot be decompressed.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// The body is no message.
    #[error("the body is no remote write message: {0}")]
    Wire(#[from] WireError),
    /// Too many requests are in work.
    #[error("too much at once: {0}")]
    Overloaded(#[from] Overloaded),
    /// The process has no memory to spare.
    #[error("{0}")]
    NoMemory(#[from] MemoryFull),
    /// The local disk may not hold more that is not in blocks.
    #[error("{0}")]
    NoSpace(#[from] LocalSpaceFull),
    /// The store takes nothing.
    #[error("{0}")]
    Store(#[from] AppendError),
}

/// What a sender can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteErrorKind {
    /// It can never succeed.
    Invalid,
    /// Send it again later.
    Unavailable,
}

impl WriteError {
    /// What a sender can do about it.
    #[must_use]
    pub fn kind(&self) -> WriteErrorKind {
        match self {
            Self::Compression(_) | Self::Wire(_) => WriteErrorKind::Invalid,
            Self::Overloaded(_) | Self::NoMemory(_) | Self::NoSpace(_) => WriteErrorKind::Unavailable,
            Self::Store(error) => match error.kind() {
                AppendErrorKind::Invalid => WriteErrorKind::Invalid,
                AppendErrorKind::Limited | AppendErrorKind::Unavailable => WriteErrorKind::Unavailable,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_counts_reasons_and_an_example_of_each() {
        let outcome = AppendOutcome { written: 5, histograms_written: 1, exemplars_written: 1, ..Default::default() };
        let mut report = WriteReport::new(Protocol::V1, &outcome, None);
        let example = |series: &str, timestamp_ms, detail: Option<&str>| Example {
            series: series.into(),
            timestamp_ms,
            detail: detail.map(str::to_owned),
        };
        report.add(Reason::ConflictingValue, 1, || example("{__name__=\"up\"}", Some(1_500), None));
        report.add(Reason::InvalidHistogram, 2, || example("{}", None, Some("schema 9 does not exist")));
        report.add(Reason::ConflictingValue, 1, || unreachable!("an example is there already"));
        assert_eq!(
            report.to_string(),
            "refused 4, stored 7: 2 conflicting_value: duplicate sample for timestamp: another value is stored already, \
             first {__name__=\"up\"} at 1.500; 2 invalid_histogram: the native histogram is not valid: schema 9 does not \
             exist, first {}"
        );
    }
}
