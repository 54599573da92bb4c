//! A naive store for tests: maps, and verdicts by Prometheus' rules.

use super::appender::{AppendError, Appender, Done};
use crate::runtime::cpu::CpuPool;
use model::labels::Labels;
use model::metadata::Metadata;
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use storage::append::{AppendOutcome, LabelHash, Rejection, Rows, SeriesRef};

/// Threads for the long work of a test.
pub(crate) fn cpu() -> CpuPool {
    CpuPool::with_size(1, 1).expect("a test may start a thread")
}

/// Holds everything in maps and answers at once, unless it is told to fail.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_hash: HashMap<LabelHash, u32>,
    series: Vec<(Labels, BTreeMap<i64, f64>)>,
    metadata: BTreeMap<String, Metadata>,
    oldest_allowed_ms: Option<i64>,
    series_max: Option<(usize, AppendError)>,
    append_failure: Option<AppendError>,
    metadata_failure: Option<AppendError>,
    metadata_max: Option<usize>,
    lookups: usize,
    creates: usize,
    puts: usize,
}

impl MemoryStore {
    /// Refuses samples older than this.
    pub(crate) fn refuse_before(&self, oldest_allowed_ms: i64) {
        self.lock().oldest_allowed_ms = Some(oldest_allowed_ms);
    }

    /// Lets series beyond a number fail.
    pub(crate) fn limit_series(&self, series_max: usize, error: AppendError) {
        self.lock().series_max = Some((series_max, error));
    }

    /// Lets every append fail, or none.
    pub(crate) fn fail_appends(&self, failure: Option<AppendError>) {
        self.lock().append_failure = failure;
    }

    /// Lets every metadata entry fail, or none.
    pub(crate) fn fail_metadata(&self, failure: Option<AppendError>) {
        self.lock().metadata_failure = failure;
    }

    /// Takes no more than so many metadata entries at once.
    pub(crate) fn limit_metadata(&self, metadata_max: usize) {
        self.lock().metadata_max = Some(metadata_max);
    }

    /// The samples of a series, as `time value` pairs; empty when there is no such series.
    pub(crate) fn samples(&self, pairs: &[(&str, &str)]) -> Vec<(i64, f64)> {
        let labels = Labels::from_pairs(pairs.iter().copied()).expect("labels of a test are valid");
        let state = self.lock();
        let found = state.series.iter().filter(|(found, _)| *found == labels);
        found.flat_map(|(_, samples)| samples.iter().map(|(t, v)| (*t, *v))).collect()
    }

    /// All series.
    pub(crate) fn series(&self) -> Vec<Labels> {
        self.lock().series.iter().map(|(labels, _)| labels.clone()).collect()
    }

    /// What is known about metrics.
    pub(crate) fn metadata(&self) -> BTreeMap<String, Metadata> {
        self.lock().metadata.clone()
    }

    /// How many hashes were looked up, series asked to be created, and metadata entries put.
    pub(crate) fn calls(&self) -> (usize, usize, usize) {
        let state = self.lock();
        (state.lookups, state.creates, state.puts)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the store")
    }
}

impl Appender for MemoryStore {
    fn lookup(&self, hashes: &[LabelHash], out: &mut [Option<SeriesRef>]) {
        let mut state = self.lock();
        state.lookups += hashes.len();
        for (hash, out) in hashes.iter().zip(out) {
            *out = state.by_hash.get(hash).copied().map(SeriesRef);
        }
    }

    fn create(&self, hash: LabelHash, labels: &[(&str, &str)]) -> Result<SeriesRef, AppendError> {
        assert_eq!(hash, LabelHash::of_pairs(labels.iter().copied(), &mut Vec::new()), "{labels:?}");
        assert!(labels.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()), "{labels:?}");
        assert!(labels.is_sorted_by(|a, b| a.0 < b.0), "{labels:?}");
        let mut state = self.lock();
        state.creates += 1;
        if let Some(found) = state.by_hash.get(&hash) {
            return Ok(SeriesRef(*found));
        }
        if let Some((series_max, error)) = &state.series_max
            && state.series.len() >= *series_max
        {
            return Err(error.clone());
        }
        let series = state.series.len() as u32;
        state.by_hash.insert(hash, series);
        state.series.push((Labels::from_sorted(labels.iter().copied()), BTreeMap::new()));
        Ok(SeriesRef(series))
    }

    fn append(&self, rows: Rows, done: Done<AppendOutcome>) {
        assert!(rows.series.len() == rows.timestamps_ms.len() && rows.series.len() == rows.values.len());
        let mut state = self.lock();
        if let Some(failure) = &state.append_failure {
            return done(Err(failure.clone()));
        }
        let oldest_allowed_ms = state.oldest_allowed_ms.unwrap_or(i64::MIN);
        let mut outcome = AppendOutcome::default();
        for (row, ((series, timestamp), value)) in
            (0u32..).zip(rows.series.iter().zip(&rows.timestamps_ms).zip(&rows.values))
        {
            let (_, samples) = state.series.get_mut(series.0 as usize).expect("rows name series that were created");
            let stored = *samples.entry(*timestamp).or_insert(*value);
            if *timestamp < oldest_allowed_ms {
                samples.remove(timestamp);
                outcome.rejected.push((row, Rejection::TooOld));
            } else if stored.to_bits() == value.to_bits() {
                outcome.written += 1;
            } else {
                outcome.rejected.push((row, Rejection::ConflictingValue));
            }
        }
        drop(state);
        done(Ok(outcome));
    }

    fn put_metadata(&self, entries: Vec<(String, Metadata)>, done: Done<u64>) {
        let mut state = self.lock();
        if let Some(failure) = &state.metadata_failure {
            return done(Err(failure.clone()));
        }
        state.puts += entries.len();
        let room = state.metadata_max.unwrap_or(usize::MAX);
        let refused = entries.len().saturating_sub(room);
        state.metadata.extend(entries.into_iter().take(room));
        drop(state);
        done(Ok(refused as u64));
    }
}
