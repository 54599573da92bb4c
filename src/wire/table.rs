//! What one body says, as columns: the samples, which series they belong to, and where in the body the rest lies.
//!
//! A [`WriteTable`] holds no bytes of the body, only places in it, so its memory can be used for the next request; methods
//! that hand out labels or texts take the body that was decoded. Bounds: [`Limits`], because two bytes of a hostile
//! body can stand for a series.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use super::canonical::push_label;
use super::fields::label;
use super::label_buffer::LabelBuffer;
use super::others::Other;
use super::reader::{DELIMITED, Reader, VARINT, WireError, WireErrorKind, key};
use super::sample::WireSample;
use super::{Protocol, v2};
use model::metadata::MetricType;
use std::ops::Range;
use storage::append::LabelHash;

/// Bytes of a body from `start` to before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    #[inline(always)]
    pub(super) fn of(self, body: &[u8]) -> &[u8] {
        body.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// How much of each thing one request may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries of `timeseries`.
    pub series: usize,
    /// Float samples.
    pub samples: usize,
    /// Native histograms and exemplars together.
    pub others: usize,
    /// Strings of the symbol table.
    pub symbols: usize,
    /// Entries of metadata.
    pub metadata: usize,
}

impl Limits {
    /// Limits that no honest body of at most `bytes` reaches, and that keep the table below about five times as much memory.
    #[must_use]
    pub fn for_decoded_bytes(bytes: usize) -> Self {
        const FLOOR: usize = 1 << 12;
        Self {
            series: (bytes / 32).max(FLOOR),
            samples: (bytes / 16).max(FLOOR),
            others: (bytes / 32).max(FLOOR),
            symbols: (bytes / 16).max(FLOOR),
            metadata: (bytes / 32).max(FLOOR),
        }
    }
}

/// Why a series of version 2.0 names no labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefProblem {
    /// A name without a value.
    #[error("{0} label references do not form pairs")]
    Odd(u32),
    /// A reference to no symbol.
    #[error("reference to symbol {0}, which the request does not have")]
    OutOfRange(u32),
}

/// One entry of `timeseries`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) message: Span,
    /// Version 1.0: all label fields, if nothing lies between them.
    pub(super) labels: Option<Span>,
    /// Behind the last of its samples in the columns.
    pub(super) samples_end: u32,
    /// Behind the last of its histograms and exemplars.
    pub(super) others_end: u32,
    pub(super) has_metadata: bool,
    pub(super) problem: Option<RefProblem>,
}

/// What is said about one metric, as places in the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MetadataEntry {
    pub(super) name: Span,
    pub(super) metric_type: i32,
    pub(super) help: Span,
    pub(super) unit: Span,
}

/// What is said about one metric. Nothing of it is checked to be UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RawMetadata<'b> {
    /// Version 1.0: the name of the family. Version 2.0: the name of a series' metric.
    pub name: &'b [u8],
    /// Types that do not exist are unknown.
    pub metric_type: MetricType,
    /// One sentence for people.
    pub help: &'b [u8],
    /// Base unit.
    pub unit: &'b [u8],
}

/// One decoded request.
#[derive(Debug)]
pub struct WriteTable {
    pub(super) protocol: Protocol,
    pub(super) entries: Vec<Entry>,
    pub(super) hashes: Vec<LabelHash>,
    pub(super) timestamps_ms: Vec<i64>,
    pub(super) values: Vec<f64>,
    /// One per sample, or none at all when no sample tells one.
    pub(super) starts_ms: Vec<i64>,
    pub(super) newest_ms: i64,
    pub(super) others: Vec<Other>,
    pub(super) metadata: Vec<MetadataEntry>,
    /// Version 2.0: the symbol table.
    pub(super) symbols: Vec<Span>,
    /// Version 2.0, by symbol: one more than the last metadata of the metric with this name.
    pub(super) last_metadata: Vec<u32>,
    pub(super) refs: Vec<u32>,
    /// Version 1.0: labels that do not lie beside each other.
    pub(super) gathered: Vec<u8>,
    /// Version 2.0: the labels of one series.
    pub(super) encoded: LabelBuffer,
}

impl Default for WriteTable {
    fn default() -> Self {
        Self {
            protocol: Protocol::V1,
            entries: Vec::new(),
            hashes: Vec::new(),
            timestamps_ms: Vec::new(),
            values: Vec::new(),
            starts_ms: Vec::new(),
            newest_ms: i64::MIN,
            others: Vec::new(),
            metadata: Vec::new(),
            symbols: Vec::new(),
            last_metadata: Vec::new(),
            refs: Vec::new(),
            gathered: Vec::new(),
            encoded: LabelBuffer::default(),
        }
    }
}

impl WriteTable {
    /// How many entries of `timeseries` there are.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.entries.len()
    }

    /// Per entry, the hash of its label bytes as they lie in the body; canonical when the sender keeps to the rules.
    #[must_use]
    pub fn hashes(&self) -> &[LabelHash] {
        &self.hashes
    }

    /// How many float samples there are.
    #[must_use]
    pub fn sample_count(&self) -> usize {
        self.timestamps_ms.len()
    }

    /// The float samples, those of one entry beside each other, entries in order: timestamps and values.
    #[must_use]
    pub fn samples(&self) -> (&[i64], &[f64]) {
        (&self.timestamps_ms, &self.values)
    }

    /// Since when each of the float samples is counted, 0 where that is not told; empty when it is told of none.
    #[must_use]
    pub fn starts_ms(&self) -> &[i64] {
        &self.starts_ms
    }

    /// The newest timestamp of all float samples; `i64::MIN` without any.
    #[must_use]
    pub fn newest_ms(&self) -> i64 {
        self.newest_ms
    }

    /// Where the samples of an entry are in the columns.
    #[must_use]
    #[inline]
    pub fn samples_of(&self, entry: usize) -> Range<usize> {
        let start = entry.checked_sub(1).and_then(|before| self.entries.get(before)).map_or(0, |e| e.samples_end);
        let end = self.entries.get(entry).map_or(start, |e| e.samples_end);
        start as usize..end as usize
    }

    /// Which entry a sample of the columns belongs to.
    #[must_use]
    pub fn entry_of_sample(&self, sample: usize) -> usize {
        self.entries.partition_point(|entry| entry.samples_end as usize <= sample)
    }

    /// Whether an entry says something about its metric.
    #[must_use]
    pub fn has_metadata(&self, entry: usize) -> bool {
        self.entries.get(entry).is_some_and(|e| e.has_metadata)
    }

    /// Why an entry names no labels, or metadata that does not exist.
    #[must_use]
    pub fn problem_of(&self, entry: usize) -> Option<RefProblem> {
        self.entries.get(entry).and_then(|e| e.problem)
    }

    /// Parses the labels of an entry into `out`, in the order of the body; nothing of them is checked. A reference that
    /// [`WriteTable::problem_of`] reports is left out.
    ///
    /// # Errors
    /// Version 1.0: what lies in a label field is no label, so that the whole body is no message.
    pub fn labels_of<'b>(
        &self,
        body: &'b [u8],
        entry: usize,
        out: &mut Vec<(&'b [u8], &'b [u8])>,
    ) -> Result<(), WireError> {
        out.clear();
        let Some(entry) = self.entries.get(entry) else { return Ok(()) };
        let mut reader = Reader::at(body, entry.labels.unwrap_or(entry.message), 1);
        match self.protocol {
            Protocol::V1 => {
                while !reader.is_empty() {
                    match reader.key()? {
                        LABEL_FIELD => out.push(label(reader.delimited()?)?),
                        other => reader.skip(other, |_| false)?,
                    }
                }
            }
            Protocol::V2 => {
                let mut refs = Vec::with_capacity(32);
                v2::label_refs(reader, &mut refs)?;
                let symbol = |index: u32| self.symbols.get(index as usize).map(|span| span.of(body));
                for pair in refs.chunks_exact(2) {
                    if let [name, value] = pair
                        && let (Some(name), Some(value)) = (symbol(*name), symbol(*value))
                    {
                        out.push((name, value));
                    }
                }
            }
        }
        Ok(())
    }

    /// Overwrites `out` with the encoded labels of an entry, in the order of the body.
    pub fn encoded_labels_of(&self, body: &[u8], entry: usize, out: &mut Vec<u8>) {
        out.clear();
        if self.protocol == Protocol::V1
            && let Some(span) = self.entries.get(entry).and_then(|e| e.labels)
        {
            out.extend_from_slice(span.of(body));
            return;
        }
        let mut pairs = Vec::new();
        // What cannot be parsed is not shown; the caller knows the error already.
        if self.labels_of(body, entry, &mut pairs).is_ok() {
            for (name, value) in pairs {
                push_label(out, name, value);
            }
        }
    }

    /// What the request says about metrics; once per metric unless it contradicts itself.
    pub fn metadata<'b>(&self, body: &'b [u8]) -> impl ExactSizeIterator<Item = RawMetadata<'b>> {
        self.metadata.iter().map(move |entry| RawMetadata {
            name: entry.name.of(body),
            metric_type: metric_type(entry.metric_type),
            help: entry.help.of(body),
            unit: entry.unit.of(body),
        })
    }

    /// Bytes of memory that the table holds on to.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        fn of<T>(column: &Vec<T>) -> usize {
            column.capacity() * size_of::<T>()
        }
        of(&self.entries)
            + of(&self.hashes)
            + of(&self.timestamps_ms)
            + of(&self.values)
            + of(&self.starts_ms)
            + of(&self.others)
            + of(&self.metadata)
            + of(&self.symbols)
            + of(&self.last_metadata)
            + of(&self.refs)
            + of(&self.gathered)
            + self.encoded.capacity()
    }

    /// Bytes of memory that this request takes in the table, and its histograms once they are read.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        size_of_val(self.entries.as_slice())
            + size_of_val(self.hashes.as_slice())
            + size_of_val(self.timestamps_ms.as_slice())
            + size_of_val(self.values.as_slice())
            + size_of_val(self.starts_ms.as_slice())
            + size_of_val(self.others.as_slice())
            + self.others.iter().map(|other| other.message.len() * BYTES_READ_PER_BYTE).sum::<usize>()
            + size_of_val(self.metadata.as_slice())
            + size_of_val(self.symbols.as_slice())
            + size_of_val(self.last_metadata.as_slice())
    }

    pub(super) fn clear(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        self.entries.clear();
        self.hashes.clear();
        self.timestamps_ms.clear();
        self.values.clear();
        self.starts_ms.clear();
        self.newest_ms = i64::MIN;
        self.others.clear();
        self.metadata.clear();
        self.symbols.clear();
        self.last_metadata.clear();
    }

    #[inline(always)]
    pub(super) fn push_sample(
        &mut self,
        sample: WireSample,
        limits: &Limits,
        reader: &Reader<'_>,
    ) -> Result<(), WireError> {
        if self.timestamps_ms.len() >= limits.samples {
            return Err(reader.error(WireErrorKind::TooMany { what: "samples", limit: limits.samples }));
        }
        if sample.start_ms != 0 || !self.starts_ms.is_empty() {
            self.starts_ms.resize(self.timestamps_ms.len(), 0);
            self.starts_ms.push(sample.start_ms);
        }
        self.timestamps_ms.push(sample.timestamp_ms);
        self.values.push(sample.value);
        self.newest_ms = self.newest_ms.max(sample.timestamp_ms);
        Ok(())
    }

    pub(super) fn push_metadata(
        &mut self,
        entry: MetadataEntry,
        limits: &Limits,
        reader: &Reader<'_>,
    ) -> Result<(), WireError> {
        if self.metadata.len() >= limits.metadata {
            return Err(reader.error(WireErrorKind::TooMany { what: "metadata entries", limit: limits.metadata }));
        }
        self.metadata.push(entry);
        Ok(())
    }
}

/// A bucket of a histogram takes a byte or two on the wire and 16 until it is logged.
const BYTES_READ_PER_BYTE: usize = 8;

/// The field of a label in `TimeSeries` of version 1.0.
pub(super) const LABEL_FIELD: u32 = key(1, DELIMITED);

/// The type's number, which both versions share.
fn metric_type(number: i32) -> MetricType {
    match number {
        1 => MetricType::Counter,
        2 => MetricType::Gauge,
        3 => MetricType::Histogram,
        4 => MetricType::GaugeHistogram,
        5 => MetricType::Summary,
        6 => MetricType::Info,
        7 => MetricType::StateSet,
        _ => MetricType::Unknown,
    }
}

/// Keys of `MetricMetadata` and `Metadata` alike.
pub(super) const METADATA_TYPE: u32 = key(1, VARINT);
