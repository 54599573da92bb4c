//! A naive store for tests: maps, and verdicts by Prometheus' rules.

use super::appender::{AppendError, Appender, Done};
use crate::runtime::cpu::CpuPool;
use model::exemplar::Exemplar;
use model::histogram::Histogram;
use model::labels::Labels;
use model::metadata::Metadata;
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use storage::append::{AppendOutcome, Batch, ExemplarRow, HistogramRow, LabelHash, Pin, Rejection, SeriesRef};

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
    /// By series and timestamp, with the start.
    histograms: BTreeMap<(u32, i64), (i64, Histogram)>,
    /// Start timestamps of floats, by series and timestamp.
    starts: BTreeMap<(u32, i64), i64>,
    exemplars: Vec<ExemplarRow>,
    no_exemplars: bool,
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

    /// The native histograms of a series, with their times and starts.
    pub(crate) fn histograms(&self, pairs: &[(&str, &str)]) -> Vec<(i64, i64, Histogram)> {
        let state = self.lock();
        let Some(number) = state.number(pairs) else { return Vec::new() };
        let own = state.histograms.iter().filter(|((series, _), _)| *series == number);
        own.map(|((_, timestamp_ms), (start_ms, histogram))| (*timestamp_ms, *start_ms, histogram.clone())).collect()
    }

    /// The start timestamps of the floats of a series.
    pub(crate) fn starts(&self, pairs: &[(&str, &str)]) -> Vec<i64> {
        let state = self.lock();
        let Some(number) = state.number(pairs) else { return Vec::new() };
        state.starts.iter().filter(|((series, _), _)| *series == number).map(|(_, start_ms)| *start_ms).collect()
    }

    /// The exemplars of a series.
    pub(crate) fn exemplars(&self, pairs: &[(&str, &str)]) -> Vec<Exemplar> {
        let state = self.lock();
        let Some(number) = state.number(pairs) else { return Vec::new() };
        let own = state.exemplars.iter().filter(|row| row.series == SeriesRef(number));
        own.map(|row| row.exemplar.clone()).collect()
    }

    /// Keeps no exemplars.
    pub(crate) fn keep_no_exemplars(&self) {
        self.lock().no_exemplars = true;
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

impl State {
    fn number(&self, pairs: &[(&str, &str)]) -> Option<u32> {
        let labels = Labels::from_pairs(pairs.iter().copied()).expect("labels of a test are valid");
        self.series.iter().position(|(found, _)| *found == labels).map(|number| number as u32)
    }

    fn append_others(&mut self, batch: Batch, outcome: &mut AppendOutcome) {
        for (row, found) in (0u32..).zip(batch.histograms) {
            let HistogramRow { series, timestamp_ms, start_ms, histogram } = found;
            let float = self.series[series.0 as usize].1.contains_key(&timestamp_ms);
            let stored = self.histograms.get(&(series.0, timestamp_ms));
            // As text, because NaN equals itself there.
            let same = |stored: &(i64, Histogram)| format!("{:?}", stored.1) == format!("{histogram:?}");
            if float || stored.is_some_and(|stored| !same(stored)) {
                outcome.histograms_rejected.push((row, Rejection::ConflictingValue));
                continue;
            }
            self.histograms.insert((series.0, timestamp_ms), (start_ms, histogram));
            outcome.histograms_written += 1;
        }
        if !self.no_exemplars {
            outcome.exemplars_written = batch.exemplars.len() as u64;
            for row in batch.exemplars {
                let same = |held: &ExemplarRow| held.series == row.series && held.exemplar.repeats(&row.exemplar);
                if !self.exemplars.iter().any(same) {
                    self.exemplars.push(row);
                }
            }
        }
    }
}

impl Appender for MemoryStore {
    fn pin(&self) -> Option<Pin> {
        None
    }

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

    fn append(&self, mut batch: Batch, done: Done<AppendOutcome>) {
        let rows = std::mem::take(&mut batch.rows);
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
            let state = &mut *state;
            let (_, samples) = state.series.get_mut(series.0 as usize).expect("rows name series that were created");
            let stored = *samples.entry(*timestamp).or_insert(*value);
            if *timestamp < oldest_allowed_ms {
                samples.remove(timestamp);
                outcome.rejected.push((row, Rejection::TooOld));
            } else if stored.to_bits() == value.to_bits() {
                outcome.written += 1;
                let start_ms = rows.starts_ms.get(row as usize).copied().unwrap_or(0);
                state.starts.insert((series.0, *timestamp), start_ms);
            } else {
                outcome.rejected.push((row, Rejection::ConflictingValue));
            }
        }
        state.append_others(batch, &mut outcome);
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
