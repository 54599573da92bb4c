//! What goes into the engine: rows of known series, and what became of each.
//!
//! A writer first turns label sets into [`SeriesRef`]s (by [`LabelHash`], so that the labels of a known series are never
//! parsed), then hands over a [`Batch`]. The engine logs it, waits for the disk, appends it to the head in the order of the
//! log, and only then reports the [`AppendOutcome`].

pub use crate::head::Pin;
pub use crate::histogram::BUCKETS_MAX as HISTOGRAM_BUCKETS_MAX;

use model::exemplar::Exemplar;
use model::histogram::Histogram;
use xxhash_rust::xxh3::xxh3_128;

/// Identity of a label set: XXH3-128 (unseeded) over its canonical bytes.
///
/// Canonical bytes are those of remote write 1.0: for each label in ascending order of names, with empty values left
/// out, the protobuf field `labels = 1` of `TimeSeries`: `0a LEN 0a LEN name 12 LEN value`, lengths as minimal varints. So the
/// bytes of a well-behaved sender are hashed as they lie in the request. The low bits choose the shard; two sets with one
/// hash would be one series, which at ten million series has a probability below 2⁻⁸⁰.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabelHash(pub u128);

impl LabelHash {
    /// The hash of bytes that are canonical already.
    #[must_use]
    pub fn of_canonical(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes))
    }

    /// The hash of label pairs in ascending order of names; `scratch` is overwritten with their canonical bytes.
    #[must_use]
    pub fn of_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>, scratch: &mut Vec<u8>) -> Self {
        scratch.clear();
        for (name, value) in pairs {
            push_canonical(scratch, name, value);
        }
        Self::of_canonical(scratch)
    }
}

/// Appends one label in canonical form; an empty value adds nothing.
pub fn push_canonical(out: &mut Vec<u8>, name: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    let inner = 2 + varint_len(name.len()) + name.len() + varint_len(value.len()) + value.len();
    out.push(0x0a);
    push_varint(out, inner);
    out.push(0x0a);
    push_varint(out, name.len());
    out.extend_from_slice(name.as_bytes());
    out.push(0x12);
    push_varint(out, value.len());
    out.extend_from_slice(value.as_bytes());
}

fn varint_len(n: usize) -> usize {
    (usize::BITS - (n | 1).leading_zeros()).div_ceil(7) as usize
}

fn push_varint(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Names one series for as long as it is in the head, across restarts, too: the low bits are the shard, the rest the slot
/// in it. Once the series has left, another one may get the reference: keep a [`Pin`] from looking a reference up until it
/// is used, and look it up anew for the next use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef(pub u32);

/// Float samples of known series as three columns of equal length, in any order.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Whose sample it is.
    pub series: Vec<SeriesRef>,
    /// Milliseconds since the Unix epoch.
    pub timestamps_ms: Vec<i64>,
    /// Any f64, bit for bit; the stale marker included.
    pub values: Vec<f64>,
    /// Since when each value is counted, as `timestamps_ms` and 0 where that is not known; empty when it is known of none.
    pub starts_ms: Vec<i64>,
}

impl Rows {
    /// Appends one row.
    pub fn push(&mut self, series: SeriesRef, timestamp_ms: i64, value: f64) {
        if !self.starts_ms.is_empty() {
            self.starts_ms.push(0);
        }
        self.series.push(series);
        self.timestamps_ms.push(timestamp_ms);
        self.values.push(value);
    }

    /// Appends one row with a start timestamp, which is 0 when it is not known.
    pub fn push_started(&mut self, series: SeriesRef, timestamp_ms: i64, value: f64, start_ms: i64) {
        self.push(series, timestamp_ms, value);
        if start_ms != 0 {
            self.starts_ms.resize(self.series.len(), 0);
            if let Some(last) = self.starts_ms.last_mut() {
                *last = start_ms;
            }
        }
    }

    /// Keeps the memory and forgets the rows.
    pub fn clear(&mut self) {
        self.series.clear();
        self.timestamps_ms.clear();
        self.values.clear();
        self.starts_ms.clear();
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }
}

/// A native histogram of a known series.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramRow {
    /// Whose sample it is.
    pub series: SeriesRef,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Since when it is counted, as `timestamp_ms`; 0 when that is not known.
    pub start_ms: i64,
    /// The sample, valid and with no more than [`HISTOGRAM_BUCKETS_MAX`] populated buckets and bounds.
    pub histogram: Histogram,
}

/// An exemplar of a known series, which need not have samples.
#[derive(Debug, Clone, PartialEq)]
pub struct ExemplarRow {
    /// Whose exemplar it is.
    pub series: SeriesRef,
    /// The exemplar.
    pub exemplar: Exemplar,
}

/// What is appended together, applied in this order: floats, histograms, exemplars.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Taken before the series were looked up, so that their references stay theirs until the batch is applied.
    pub pin: Option<Pin>,
    /// Float samples.
    pub rows: Rows,
    /// Native histograms, in any order.
    pub histograms: Vec<HistogramRow>,
    /// Exemplars, in any order.
    pub exemplars: Vec<ExemplarRow>,
}

impl Batch {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.histograms.is_empty() && self.exemplars.is_empty()
    }
}

impl From<Rows> for Batch {
    fn from(rows: Rows) -> Self {
        Self { rows, ..Self::default() }
    }
}

/// Why one sample was not stored. What is refused although it was logged is refused again when the log is replayed, unless blocks alone
/// have what it contradicted: then it is stored, and they have the last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejection {
    /// The series already has another value at this timestamp.
    #[error("duplicate sample for timestamp")]
    ConflictingValue,
    /// Older than what is kept of its series. Such a sample is not logged.
    #[error("out of bounds")]
    TooOld,
    /// Its series has left the head since its reference was found, which a [`Pin`] would have prevented.
    #[error("series is gone")]
    SeriesGone,
}

/// What became of one batch. What repeats something stored counts as written: floats bit for bit, histograms with the same
/// populated buckets. Exemplars are never refused here: when there is no room, older ones make it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppendOutcome {
    /// Float rows that are stored and durable.
    pub written: u64,
    /// Index of each refused float row and why, ascending.
    pub rejected: Vec<(u32, Rejection)>,
    /// Histograms that are stored and durable.
    pub histograms_written: u64,
    /// Index of each refused histogram and why, ascending.
    pub histograms_rejected: Vec<(u32, Rejection)>,
    /// Exemplars that are durable.
    pub exemplars_written: u64,
}
