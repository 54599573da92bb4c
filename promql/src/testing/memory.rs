//! Series in memory, for tests and benches.

use crate::source::{SelectRequest, SeriesSet, SeriesSource, SourceError, TimelineToken};
use hashbrown::HashMap;
use model::histogram::{CounterResetHint, Histogram, HistogramColumns};
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::SampleColumns;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A store that is filled first and queried afterwards.
#[derive(Debug, Default)]
pub struct MemorySource {
    series: BTreeMap<Labels, Arc<StoredSeries>>,
    timelines: HashMap<Vec<i64>, u64>,
    version: u64,
}

/// What was appended to one series.
#[derive(Debug)]
pub struct Appended<'s> {
    /// Whose samples.
    pub labels: &'s Labels,
    /// Floats.
    pub samples: &'s SampleColumns,
    /// Native histograms as they were appended, by time.
    pub histograms: &'s BTreeMap<i64, Arc<Histogram>>,
    /// Since when samples count, by their time.
    pub starts: &'s BTreeMap<i64, i64>,
}

#[derive(Debug, Clone, Default)]
struct StoredSeries {
    labels: Labels,
    samples: SampleColumns,
    /// As appended.
    appended: BTreeMap<i64, Arc<Histogram>>,
    /// As read: with the hints that a store knows.
    histograms: HistogramColumns,
    /// When the counting began that a sample is the result of, by the sample's time.
    starts: BTreeMap<i64, i64>,
    /// Equal for series with equal timestamps; 0 until the series is complete.
    timeline: u64,
}

impl MemorySource {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds samples to a series, replacing those at equal times.
    pub fn append(&mut self, labels: &Labels, samples: impl IntoIterator<Item = (i64, f64)>) {
        self.change(labels, |series| {
            let known = series.samples.timestamps_ms.iter().copied().zip(series.samples.values.iter().copied());
            let mut all: BTreeMap<i64, f64> = known.collect();
            all.extend(samples);
            series.samples =
                SampleColumns { timestamps_ms: all.keys().copied().collect(), values: all.values().copied().collect() };
        });
    }

    /// Adds native histograms to a series, replacing those at equal times.
    pub fn append_histograms(&mut self, labels: &Labels, histograms: impl IntoIterator<Item = (i64, Arc<Histogram>)>) {
        self.change(labels, |series| series.appended.extend(histograms));
    }

    /// Says since when samples count: pairs of a sample's time and the start.
    pub fn append_starts(&mut self, labels: &Labels, starts: impl IntoIterator<Item = (i64, i64)>) {
        self.change(labels, |series| series.starts.extend(starts));
    }

    /// Changes with every append, and no two sources of a process ever have the same, unless both are empty.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Everything that was appended, in order of labels.
    pub fn appended(&self) -> impl Iterator<Item = Appended<'_>> {
        self.series.values().map(|series| Appended {
            labels: &series.labels,
            samples: &series.samples,
            histograms: &series.appended,
            starts: &series.starts,
        })
    }

    fn change(&mut self, labels: &Labels, change: impl FnOnce(&mut StoredSeries)) {
        static VERSIONS: AtomicU64 = AtomicU64::new(1);
        self.version = VERSIONS.fetch_add(1, Ordering::Relaxed);
        let entry = self
            .series
            .entry(labels.clone())
            .or_insert_with(|| Arc::new(StoredSeries { labels: labels.clone(), ..StoredSeries::default() }));
        let series = Arc::make_mut(entry);
        change(series);
        series.histograms = with_stored_hints(&series.appended, &series.samples.timestamps_ms);
        let next = self.timelines.len() as u64 + 1;
        series.timeline = *self.timelines.entry(series.samples.timestamps_ms.clone()).or_insert(next);
    }

    /// All series with their floats, in order of labels.
    pub fn iter(&self) -> impl Iterator<Item = (&Labels, &SampleColumns)> {
        self.series.values().map(|series| (&series.labels, &series.samples))
    }
}

impl MemorySource {
    /// All series with their native histograms as they are read, in order of labels.
    pub fn histograms(&self) -> impl Iterator<Item = (&Labels, &HistogramColumns)> {
        self.series.values().map(|series| (&series.labels, &series.histograms))
    }
}

impl SeriesSource for MemorySource {
    fn series_bound(&self, _matchers: &[Matcher], _after_ms: i64, _until_ms: i64) -> usize {
        self.series.len()
    }

    fn select(&self, request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        let matches = |series: &&Arc<StoredSeries>| {
            let value = |name| series.labels.get(name).unwrap_or_default();
            request.matchers.iter().all(|matcher| matcher.matches(value(matcher.name())))
        };
        let series: Vec<Arc<StoredSeries>> = self.series.values().filter(matches).cloned().collect();
        if series.len() > request.series_max {
            return Err(SourceError::TooManySeries { series_max: request.series_max });
        }
        Ok(Box::new(Selected { series }))
    }
}

/// The histograms of a series with the hints that a chunked store gives back: a run of counters without a reset begins with
/// `Unknown` and goes on with `NotReset`. `floats_ms` are the times of its floats, which interrupt runs.
fn with_stored_hints(appended: &BTreeMap<i64, Arc<Histogram>>, floats_ms: &[i64]) -> HistogramColumns {
    let mut stored = HistogramColumns::default();
    let mut before: Option<(i64, &Histogram)> = None;
    for (time, histogram) in appended {
        let follows = before.filter(|(earlier, _)| {
            let next_float = floats_ms.partition_point(|float| float <= earlier);
            floats_ms.get(next_float).is_none_or(|float| float > time)
        });
        stored.push(*time, with_stored_hint(follows.map(|(_, before)| before), histogram));
        before = (!histogram.is_stale()).then_some((*time, histogram));
    }
    stored
}

/// A histogram with the hint that a chunked store gives back for it; `before` is the one that was appended before it, unless
/// there is none, it is stale, or a float lies between the two.
#[must_use]
pub fn with_stored_hint(before: Option<&Histogram>, histogram: &Histogram) -> Arc<Histogram> {
    let goes_on = before.is_some_and(|before| {
        let unhinted = Histogram { counter_reset_hint: CounterResetHint::Unknown, ..histogram.clone() };
        histogram.counter_reset_hint != CounterResetHint::Reset
            && before.counter_reset_hint != CounterResetHint::Gauge
            && histogram.schema == before.schema
            && histogram.zero_threshold == before.zero_threshold
            && histogram.custom_values == before.custom_values
            && !unhinted.is_reset_after(before)
    });
    let counter_reset_hint = match histogram.counter_reset_hint {
        CounterResetHint::Gauge => CounterResetHint::Gauge,
        _ if goes_on => CounterResetHint::NotReset,
        _ => CounterResetHint::Unknown,
    };
    Arc::new(Histogram { counter_reset_hint, ..histogram.clone() })
}

struct Selected {
    series: Vec<Arc<StoredSeries>>,
}

impl Selected {
    fn range(&self, index: usize, after_ms: i64, until_ms: i64) -> (&StoredSeries, std::ops::Range<usize>) {
        let series = &self.series[index];
        let times = &series.samples.timestamps_ms;
        let start = times.partition_point(|t| *t <= after_ms);
        let end = times.partition_point(|t| *t <= until_ms);
        (series, start..end.max(start))
    }
}

impl SeriesSet for Selected {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.series[index].labels.clone()
    }

    fn may_have_label(&self, name: &str) -> bool {
        self.series.iter().any(|series| series.labels.get(name).is_some())
    }

    fn read(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut SampleColumns,
    ) -> Result<Option<TimelineToken>, SourceError> {
        let (series, range) = self.range(index, after_ms, until_ms);
        into.clear();
        into.timestamps_ms.extend_from_slice(&series.samples.timestamps_ms[range.clone()]);
        into.values.extend_from_slice(&series.samples.values[range]);
        Ok(Some(TimelineToken(series.timeline)))
    }

    fn may_have_histograms(&self, index: usize) -> bool {
        !self.series[index].appended.is_empty()
    }

    fn read_histograms(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut HistogramColumns,
    ) -> Result<(), SourceError> {
        into.clear();
        let stored = &self.series[index].histograms;
        for (time, histogram) in stored.timestamps_ms.iter().zip(&stored.histograms) {
            if *time > after_ms && *time <= until_ms {
                into.push(*time, Arc::clone(histogram));
            }
        }
        Ok(())
    }

    fn may_have_start_timestamps(&self, index: usize) -> bool {
        !self.series[index].starts.is_empty()
    }

    fn read_start_timestamps(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut Vec<i64>,
    ) -> Result<(), SourceError> {
        let series = &self.series[index];
        let times: BTreeSet<i64> = series.samples.timestamps_ms.iter().chain(series.appended.keys()).copied().collect();
        let read = times.into_iter().filter(|time| *time > after_ms && *time <= until_ms);
        into.clear();
        into.extend(read.map(|time| series.starts.get(&time).copied().unwrap_or(0)));
        if into.iter().all(|start| *start == 0) {
            into.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::matcher::Matcher;

    #[test]
    fn reads_what_lies_in_the_half_open_range() {
        let mut source = MemorySource::new();
        let labels = Labels::from_sorted([("__name__", "x")]);
        source.append(&labels, [(10, 1.0), (0, 0.0)]);
        source.append(&labels, [(20, 2.0), (10, 5.0)]);
        let matchers = [Matcher::equal("__name__", "x")];
        let request = SelectRequest { matchers: &matchers, after_ms: 0, until_ms: 20, series_max: 1 };
        let set = source.select(&request).expect("one series");
        let mut columns = SampleColumns::default();
        set.read(0, 0, 19, &mut columns).expect("in memory");
        assert_eq!(columns, SampleColumns { timestamps_ms: vec![10], values: vec![5.0] });
        assert_eq!(set.latest(0, 0, 100).expect("in memory").map(|sample| sample.value), Some(2.0));
    }

    #[test]
    fn a_run_of_histograms_begins_unknown_and_goes_on_without_reset() {
        use CounterResetHint::{Gauge, NotReset, Reset, Unknown};
        let mut source = MemorySource::new();
        let labels = Labels::from_sorted([("__name__", "x")]);
        let histogram =
            |count, counter_reset_hint| Arc::new(Histogram { count, counter_reset_hint, ..Histogram::default() });
        let appended = [(1.0, Unknown), (2.0, NotReset), (1.0, Unknown), (2.0, Reset), (3.0, Gauge), (3.0, Unknown)];
        let at = |i: usize| i as i64 * 10;
        let all = appended.iter().enumerate().map(|(i, (count, hint))| (at(i), histogram(*count, *hint)));
        source.append_histograms(&labels, all);
        source.append_histograms(&labels, [(70, histogram(4.0, Unknown)), (80, histogram(4.0, Unknown))]);
        source.append(&labels, [(75, 1.0)]);
        let matchers = [Matcher::equal("__name__", "x")];
        let request = SelectRequest { matchers: &matchers, after_ms: -1, until_ms: 100, series_max: 1 };
        let set = source.select(&request).expect("one series");
        let mut columns = HistogramColumns::default();
        set.read_histograms(0, -1, 100, &mut columns).expect("in memory");
        let hints: Vec<CounterResetHint> = columns.histograms.iter().map(|h| h.counter_reset_hint).collect();
        assert_eq!(hints, [Unknown, NotReset, Unknown, Unknown, Gauge, Unknown, NotReset, Unknown]);
    }
}
