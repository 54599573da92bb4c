//! Reads the native histograms and exemplars of a request and sorts out those that are none.
//!
//! Before any series is made: an entry with nothing valid in it makes none.

use super::prepare::Refused;
use super::reason::Reason;
use crate::wire::others::{Other, OtherKind};
use crate::wire::{WireError, WriteTable};
use model::exemplar::{Exemplar, LABEL_CHARS_MAX};
use model::histogram::Histogram;
use model::histogram::validate::{Candidate, InvalidHistogram};
use model::labels::{Labels, LabelsError};
use storage::append::HISTOGRAM_BUCKETS_MAX;

/// What of a request is neither a float nor metadata, entries ascending.
#[derive(Debug, Default)]
pub(super) struct Others {
    pub(super) histograms: Vec<EntryHistogram>,
    pub(super) exemplars: Vec<(u32, Exemplar)>,
}

/// A valid native histogram of an entry.
#[derive(Debug)]
pub(super) struct EntryHistogram {
    pub(super) entry: u32,
    /// Milliseconds since the Unix epoch.
    pub(super) timestamp_ms: i64,
    /// As `timestamp_ms`; 0 when not told.
    pub(super) start_ms: i64,
    pub(super) histogram: Histogram,
}

impl Others {
    /// Reads all of them; what is refused goes to `refused`.
    ///
    /// # Errors
    /// The table is of another body.
    pub(super) fn read(body: &[u8], table: &WriteTable, refused: &mut Vec<Refused>) -> Result<Self, WireError> {
        let mut others = Self::default();
        if table.other_count() == 0 {
            return Ok(others);
        }
        let mut labels = Vec::new();
        for entry in 0..table.series_count() as u32 {
            for other in table.others_of(entry as usize) {
                let refuse = |reason| Refused::other(entry, other.timestamp_ms, reason);
                match other.kind {
                    OtherKind::Histogram => match read_histogram(body, table, entry, other)? {
                        Ok(histogram) => others.histograms.push(histogram),
                        Err(problem) => refused.push(problem),
                    },
                    OtherKind::Exemplar => {
                        let read = match table.exemplar(body, other, &mut labels)? {
                            Ok(value) => exemplar_labels(&labels).map(|labels| (labels, value)),
                            Err(_) => Err(Reason::BadReference),
                        };
                        match read {
                            Ok((labels, value)) => {
                                let timestamp_ms = other.timestamp_ms;
                                others.exemplars.push((entry, Exemplar { labels, value, timestamp_ms }));
                            }
                            Err(reason) => refused.push(refuse(reason)),
                        }
                    }
                }
            }
        }
        Ok(others)
    }

    /// How many of an entry are valid, and the time of the first.
    pub(super) fn of_entry(&self, entry: u32) -> (u64, Option<i64>) {
        let start = self.histograms.partition_point(|histogram| histogram.entry < entry);
        let histograms = self.histograms.get(start..).unwrap_or_default().iter();
        let histograms = histograms.take_while(|histogram| histogram.entry == entry).map(|found| found.timestamp_ms);
        let start = self.exemplars.partition_point(|exemplar| exemplar.0 < entry);
        let exemplars = self.exemplars.get(start..).unwrap_or_default().iter();
        let exemplars = exemplars.take_while(|exemplar| exemplar.0 == entry).map(|found| found.1.timestamp_ms);
        let mut times = histograms.chain(exemplars);
        let first = times.next();
        (u64::from(first.is_some()) + times.count() as u64, first)
    }
}

fn read_histogram(
    body: &[u8],
    table: &WriteTable,
    entry: u32,
    other: &Other,
) -> Result<Result<EntryHistogram, Refused>, WireError> {
    let raw = table.histogram(body, other)?;
    let timestamp_ms = other.timestamp_ms;
    let start_ms = known_start(raw.start_timestamp_ms, timestamp_ms);
    let read = storable(raw.candidate).map(|histogram| EntryHistogram { entry, timestamp_ms, start_ms, histogram });
    Ok(read.map_err(|(reason, detail)| Refused { detail, ..Refused::other(entry, timestamp_ms, reason) }))
}

/// The histogram that a candidate is, if the store takes it; else why not, and what is wrong with one that is none.
pub(super) fn storable(candidate: Candidate) -> Result<Histogram, (Reason, Option<InvalidHistogram>)> {
    let histogram = candidate.validate().map_err(|invalid| (Reason::InvalidHistogram, Some(invalid)))?;
    let populated = |buckets: &[f64]| buckets.iter().filter(|population| **population != 0.0).count();
    let buckets = populated(&histogram.positive_buckets) + populated(&histogram.negative_buckets);
    if buckets + histogram.custom_values.len() > HISTOGRAM_BUCKETS_MAX {
        return Err((Reason::HistogramTooLarge, None));
    }
    Ok(histogram)
}

/// A start that makes sense: after the epoch and not after the sample; else 0, for one that is not known.
pub(super) fn known_start(start_ms: i64, timestamp_ms: i64) -> i64 {
    if (1..=timestamp_ms).contains(&start_ms) { start_ms } else { 0 }
}

fn exemplar_labels(raw: &[(&[u8], &[u8])]) -> Result<Labels, Reason> {
    let text = |bytes| str::from_utf8(bytes).map_err(|_| Reason::InvalidUtf8);
    let mut chars = 0;
    let mut pairs = Vec::with_capacity(raw.len());
    for (name, value) in raw {
        let (name, value) = (text(name)?, text(value)?);
        chars += name.chars().count() + value.chars().count();
        if chars > LABEL_CHARS_MAX {
            return Err(Reason::ExemplarTooLong);
        }
        pairs.push((name, value));
    }
    Labels::from_pairs(pairs).map_err(|error| match error {
        LabelsError::DuplicateName(_) => Reason::DuplicateLabel,
        LabelsError::EmptyName => Reason::EmptyLabelName,
        LabelsError::TooLong(_) => Reason::ExemplarTooLong,
    })
}
