//! From a decoded request to rows: finds or makes the series, and sorts out what cannot be stored.
//!
//! All of the CPU work between a decompressed body and the store's queue; waits for nothing. Nothing is created before every
//! label set of the request has been read, so a body that turns out to be no message leaves no trace.

use super::Inner;
use super::appender::{AppendError, AppendErrorKind, Appender};
use super::others::{EntryHistogram, Others, known_start};
use super::reason::Reason;
use super::told_metadata::NewMetadata;
use super::validate::canonicalize;
use crate::wire::{Protocol, WireError, WriteTable, canonical};
use model::histogram::validate::InvalidHistogram;
use std::ops::Range;
use storage::append::{Batch, ExemplarRow, HistogramRow, LabelHash, Rows, SeriesRef};

/// What is refused of one entry, for one reason.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Refused {
    /// Index of the entry in the table; `None` for metadata.
    pub(super) entry: Option<u32>,
    /// Of the first thing refused, in milliseconds since the Unix epoch.
    pub(super) timestamp_ms: Option<i64>,
    pub(super) value: Option<f64>,
    pub(super) count: u64,
    pub(super) reason: Reason,
    /// What is wrong with the histogram, if it is one.
    pub(super) detail: Option<InvalidHistogram>,
}

impl Refused {
    /// Entries of metadata, which belong to no series.
    pub(super) fn metadata(count: u64, reason: Reason) -> Self {
        Self { entry: None, timestamp_ms: None, value: None, count, reason, detail: None }
    }

    /// One native histogram, or one exemplar.
    pub(super) fn other(entry: u32, timestamp_ms: i64, reason: Reason) -> Self {
        let timestamp_ms = Some(timestamp_ms);
        Self { entry: Some(entry), timestamp_ms, value: None, count: 1, reason, detail: None }
    }
}

/// A request that is ready for the store.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) batch: Batch,
    /// Of each float row, its index among the samples of the table; empty when all samples became rows.
    pub(super) origin: Vec<u32>,
    /// Of each histogram of the batch, its entry and its time.
    pub(super) histogram_origin: Vec<(u32, i64)>,
    /// Of each exemplar of the batch, as `histogram_origin`.
    pub(super) exemplar_origin: Vec<(u32, i64)>,
    pub(super) refused: Vec<Refused>,
    pub(super) metadata: NewMetadata,
    /// Why some series could not be made now; their samples are neither rows nor refused.
    pub(super) blocked: Option<AppendError>,
    pub(super) tally: Tally,
}

/// How the series of a request were found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    /// By the hash of their bytes.
    pub(super) known: u64,
    /// By a remembered alias.
    pub(super) aliased: u64,
    /// Their labels were parsed.
    pub(super) parsed: u64,
}

impl Prepared {
    /// The index among the samples of the table of the row with this index.
    pub(super) fn sample_of_row(&self, row: u32) -> usize {
        self.origin.get(row as usize).copied().unwrap_or(row) as usize
    }
}

/// A decoded request.
pub(super) struct Source<'a> {
    pub(super) protocol: Protocol,
    pub(super) body: &'a [u8],
    pub(super) table: &'a WriteTable,
    /// This machine's clock, milliseconds since the Unix epoch.
    pub(super) now_ms: i64,
}

/// Finds the series of a request by the hashes of their label bytes; returns the entries that were not found.
pub(super) fn look_up(store: &dyn Appender, table: &WriteTable, refs: &mut Vec<Option<SeriesRef>>) -> Vec<u32> {
    refs.clear();
    refs.resize(table.series_count(), None);
    store.lookup(table.hashes(), refs);
    (0u32..).zip(refs.iter()).filter(|(_, found)| found.is_none()).map(|(entry, _)| entry).collect()
}

/// Sorts out a decoded request; `missing` are the entries without a series in `refs`.
///
/// # Errors
/// What lies in a label field is no label: the body is no message.
pub(super) fn prepare(
    inner: &Inner,
    store: &dyn Appender,
    source: &Source<'_>,
    missing: Vec<u32>,
    refs: &mut [Option<SeriesRef>],
) -> Result<Prepared, WireError> {
    let &Source { protocol, body, table, now_ms } = source;
    let mut prepared = Prepared::default();
    prepared.tally.known = (table.series_count() - missing.len()) as u64;

    let one_sample_each = has_one_sample_each(table);
    if !one_sample_each {
        refuse_empty_entries(table, &mut prepared.refused);
    }
    let others = Others::read(body, table, &mut prepared.refused)?;
    if !missing.is_empty() {
        let resolver = Resolver { inner, store, body, table, others: &others };
        resolver.resolve(missing, refs, &mut prepared)?;
    }
    prepared.metadata = inner.told.select(protocol, body, table);
    if prepared.metadata.invalid > 0 {
        prepared.refused.push(Refused::metadata(prepared.metadata.invalid, Reason::InvalidMetadata));
    }
    let newest_allowed_ms = now_ms.saturating_add(inner.options.ahead_max.as_millis() as i64);
    if one_sample_each && table.newest_ms() <= newest_allowed_ms && refs.iter().all(Option::is_some) {
        prepared.batch.rows = all_rows(table, refs);
    } else {
        some_rows(table, refs, newest_allowed_ms, &mut prepared);
    }
    add_others(others, refs, newest_allowed_ms, &mut prepared);
    Ok(prepared)
}

/// The shape of nearly all requests: no histograms, no exemplars, and exactly one sample in each entry.
fn has_one_sample_each(table: &WriteTable) -> bool {
    table.other_count() == 0
        && table.sample_count() == table.series_count()
        && (0..table.series_count()).all(|entry| table.samples_of(entry).end == entry + 1)
}

fn all_rows(table: &WriteTable, refs: &[Option<SeriesRef>]) -> Rows {
    let (timestamps, values) = table.samples();
    Rows {
        series: refs.iter().copied().flatten().collect(),
        timestamps_ms: timestamps.to_vec(),
        values: values.to_vec(),
        starts_ms: timestamps.iter().zip(table.starts_ms()).map(|(at, start)| known_start(*start, *at)).collect(),
    }
}

fn some_rows(table: &WriteTable, refs: &[Option<SeriesRef>], newest_allowed_ms: i64, prepared: &mut Prepared) {
    let (timestamps, values) = table.samples();
    for (entry, series) in refs.iter().enumerate() {
        let Some(series) = series else { continue };
        for sample in table.samples_of(entry) {
            let (Some(&timestamp_ms), Some(&value)) = (timestamps.get(sample), values.get(sample)) else { continue };
            if timestamp_ms > newest_allowed_ms {
                prepared.refused.push(Refused {
                    entry: Some(entry as u32),
                    timestamp_ms: Some(timestamp_ms),
                    value: Some(value),
                    count: 1,
                    reason: Reason::TooFarAhead,
                    detail: None,
                });
            } else {
                let start_ms = known_start(table.starts_ms().get(sample).copied().unwrap_or(0), timestamp_ms);
                prepared.batch.rows.push_started(*series, timestamp_ms, value, start_ms);
                prepared.origin.push(sample as u32);
            }
        }
    }
}

/// Adds the native histograms and exemplars of entries whose series are there.
fn add_others(others: Others, refs: &[Option<SeriesRef>], newest_allowed_ms: i64, prepared: &mut Prepared) {
    let series_of = |entry: u32| refs.get(entry as usize).copied().flatten();
    for EntryHistogram { entry, timestamp_ms, start_ms, histogram } in others.histograms {
        let Some(series) = series_of(entry) else { continue };
        if timestamp_ms > newest_allowed_ms {
            prepared.refused.push(Refused::other(entry, timestamp_ms, Reason::TooFarAhead));
        } else {
            prepared.batch.histograms.push(HistogramRow { series, timestamp_ms, start_ms, histogram });
            prepared.histogram_origin.push((entry, timestamp_ms));
        }
    }
    for (entry, exemplar) in others.exemplars {
        let Some(series) = series_of(entry) else { continue };
        prepared.exemplar_origin.push((entry, exemplar.timestamp_ms));
        prepared.batch.exemplars.push(ExemplarRow { series, exemplar });
    }
}

/// Entries that carry nothing at all. That is decided without looking at the labels.
fn refuse_empty_entries(table: &WriteTable, refused: &mut Vec<Refused>) {
    for entry in 0..table.series_count() {
        if table.samples_of(entry).is_empty() && table.others_of(entry).is_empty() && !table.has_metadata(entry) {
            refused.push(Refused { entry: Some(entry as u32), ..Refused::metadata(1, Reason::NoSamples) });
        }
    }
}

/// Finds the series of entries that are not known by the hash of their bytes.
struct Resolver<'a> {
    inner: &'a Inner,
    store: &'a dyn Appender,
    body: &'a [u8],
    table: &'a WriteTable,
    others: &'a Others,
}

/// A valid label set that is to be looked up once more, and created.
struct Unknown {
    entry: u32,
    hash: LabelHash,
    /// Place of its pairs among those of all unknown series.
    pairs: Range<usize>,
}

impl<'a> Resolver<'a> {
    fn resolve(
        &self,
        missing: Vec<u32>,
        refs: &mut [Option<SeriesRef>],
        prepared: &mut Prepared,
    ) -> Result<(), WireError> {
        let missing = self.resolve_aliases(missing, refs, &mut prepared.tally);
        let mut pairs = Vec::new();
        let unknown = self.parse(&missing, &mut pairs, prepared)?;
        self.create(&unknown, &pairs, refs, prepared);
        Ok(())
    }

    /// Looks up the entries whose bytes were met before in a form that is not canonical; returns the others.
    fn resolve_aliases(&self, missing: Vec<u32>, refs: &mut [Option<SeriesRef>], tally: &mut Tally) -> Vec<u32> {
        let alias = |entry: &u32| self.inner.aliases.get(self.hash_of(*entry).0);
        let (aliased, canonical): (Vec<u32>, Vec<LabelHash>) =
            missing.iter().filter_map(|entry| Some((*entry, alias(entry)?))).unzip();
        if aliased.is_empty() {
            return missing;
        }
        let mut found = vec![None; aliased.len()];
        self.store.lookup(&canonical, &mut found);
        for (entry, series) in aliased.iter().zip(found) {
            if let Some(slot) = refs.get_mut(*entry as usize) {
                *slot = series;
                tally.aliased += u64::from(series.is_some());
            }
        }
        missing.into_iter().filter(|entry| matches!(refs.get(*entry as usize), Some(None))).collect()
    }

    /// Reads and checks the labels of entries; those with samples are returned. `pairs` takes the labels of them all.
    fn parse(
        &self,
        missing: &[u32],
        pairs: &mut Vec<(&'a str, &'a str)>,
        prepared: &mut Prepared,
    ) -> Result<Vec<Unknown>, WireError> {
        let mut unknown = Vec::with_capacity(missing.len());
        let (mut raw, mut labels, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        for &entry in missing {
            self.table.labels_of(self.body, entry as usize, &mut raw)?;
            prepared.tally.parsed += 1;
            let verdict = match self.table.problem_of(entry as usize) {
                Some(_) => Err(Reason::BadReference),
                None => canonicalize(&raw, &self.inner.options.labels, &mut labels),
            };
            if let Err(reason) = verdict {
                self.refuse(entry, reason, &mut prepared.refused);
                continue;
            }
            if self.table.samples_of(entry as usize).is_empty() && self.others.of_entry(entry).0 == 0 {
                continue;
            }
            bytes.clear();
            for (name, value) in &labels {
                canonical::push_label(&mut bytes, name.as_bytes(), value.as_bytes());
            }
            let start = pairs.len();
            pairs.extend_from_slice(&labels);
            unknown.push(Unknown { entry, hash: LabelHash::of_canonical(&bytes), pairs: start..pairs.len() });
        }
        Ok(unknown)
    }

    /// Creates the series that are really new. Stops at the first that the store cannot make now.
    fn create(
        &self,
        unknown: &[Unknown],
        pairs: &[(&str, &str)],
        refs: &mut [Option<SeriesRef>],
        prepared: &mut Prepared,
    ) {
        for Unknown { entry, hash, pairs: range } in unknown {
            match self.find_or_create(*entry, *hash, pairs.get(range.clone()).unwrap_or_default()) {
                Ok(series) => {
                    if let Some(slot) = refs.get_mut(*entry as usize) {
                        *slot = Some(series);
                    }
                }
                Err(error) if error.kind() == AppendErrorKind::Invalid => {
                    self.refuse(*entry, Reason::SeriesRefused, &mut prepared.refused);
                }
                Err(error) => {
                    prepared.blocked = Some(error);
                    return;
                }
            }
        }
    }

    fn find_or_create(&self, entry: u32, hash: LabelHash, labels: &[(&str, &str)]) -> Result<SeriesRef, AppendError> {
        let raw = self.hash_of(entry);
        if raw == hash {
            return self.store.create(hash, labels);
        }
        // In canonical form it may well be known, and to look it up takes no lock that others wait for.
        let mut found = [None];
        self.store.lookup(&[hash], &mut found);
        let series = match found {
            [Some(series)] => series,
            [None] => self.store.create(hash, labels)?,
        };
        self.inner.aliases.insert(raw.0, hash);
        Ok(series)
    }

    /// Refuses all of an entry that is not refused yet. One without anything is refused for that already, unless it is there
    /// for its metadata.
    fn refuse(&self, entry: u32, reason: Reason, refused: &mut Vec<Refused>) {
        let index = entry as usize;
        let samples = self.table.samples_of(index);
        let (others, first_other_ms) = self.others.of_entry(entry);
        let refused_already = !self.table.has_metadata(index) || !self.table.others_of(index).is_empty();
        if samples.is_empty() && others == 0 && refused_already {
            return;
        }
        let (timestamps, values) = self.table.samples();
        let first_ms = timestamps.get(samples.start).copied().filter(|_| !samples.is_empty());
        refused.push(Refused {
            entry: Some(entry),
            timestamp_ms: first_ms.or(first_other_ms),
            value: values.get(samples.start).copied().filter(|_| samples.len() == 1),
            count: (samples.len() as u64 + others).max(1),
            reason,
            detail: None,
        });
    }

    fn hash_of(&self, entry: u32) -> LabelHash {
        self.table.hashes().get(entry as usize).copied().unwrap_or(LabelHash(0))
    }
}
