//! Series in memory, for tests and benches.

use crate::source::{SelectRequest, SeriesSet, SeriesSource, SourceError, TimelineToken};
use hashbrown::HashMap;
use model::labels::Labels;
use model::sample::SampleColumns;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A store that is filled first and queried afterwards.
#[derive(Debug, Default)]
pub struct MemorySource {
    series: BTreeMap<Labels, Arc<StoredSeries>>,
    timelines: HashMap<Vec<i64>, u64>,
    met_histograms: AtomicBool,
}

#[derive(Debug, Clone, Default)]
struct StoredSeries {
    labels: Labels,
    samples: SampleColumns,
    /// Times of native histogram samples, which are known to exist and cannot be read yet.
    histograms_ms: BTreeSet<i64>,
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

    /// Notes that a series has native histograms at these times.
    pub fn note_histograms(&mut self, labels: &Labels, times_ms: impl IntoIterator<Item = i64>) {
        self.change(labels, |series| series.histograms_ms.extend(times_ms));
    }

    fn change(&mut self, labels: &Labels, change: impl FnOnce(&mut StoredSeries)) {
        let entry = self
            .series
            .entry(labels.clone())
            .or_insert_with(|| Arc::new(StoredSeries { labels: labels.clone(), ..StoredSeries::default() }));
        let series = Arc::make_mut(entry);
        change(series);
        let next = self.timelines.len() as u64 + 1;
        series.timeline = *self.timelines.entry(series.samples.timestamps_ms.clone()).or_insert(next);
    }

    /// Whether a query asked for native histograms since this was last asked. Such a query was refused.
    pub fn take_met_histograms(&self) -> bool {
        self.met_histograms.swap(false, Ordering::Relaxed)
    }

    /// All float series with their samples, in order of labels.
    pub fn iter(&self) -> impl Iterator<Item = (&Labels, &SampleColumns)> {
        self.series.values().map(|series| (&series.labels, &series.samples))
    }
}

impl SeriesSource for MemorySource {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        let matches = |series: &&Arc<StoredSeries>| {
            let value = |name| series.labels.get(name).unwrap_or_default();
            request.matchers.iter().all(|matcher| matcher.matches(value(matcher.name())))
        };
        let series: Vec<Arc<StoredSeries>> = self.series.values().filter(matches).cloned().collect();
        if series.len() > request.series_max {
            return Err(SourceError::TooManySeries { series_max: request.series_max });
        }
        let in_range = |time: &i64| *time > request.after_ms && *time <= request.until_ms;
        if let Some(series) = series.iter().find(|series| series.histograms_ms.iter().any(in_range)) {
            self.met_histograms.store(true, Ordering::Relaxed);
            return Err(SourceError::Failed(format!("series {} has native histograms", series.labels)));
        }
        Ok(Box::new(Selected { series }))
    }
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
    fn histograms_are_refused_only_where_they_are() {
        let mut source = MemorySource::new();
        let labels = Labels::from_sorted([("__name__", "x")]);
        source.append(&labels, [(0, 1.0)]);
        source.note_histograms(&labels, [60_000]);
        let select =
            |until_ms| source.select(&SelectRequest { matchers: &[], after_ms: -1, until_ms, series_max: 1 }).is_ok();
        assert!(select(59_999) && !source.take_met_histograms());
        assert!(!select(60_000) && source.take_met_histograms() && !source.take_met_histograms());
    }
}
