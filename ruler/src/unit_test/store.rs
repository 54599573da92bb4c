//! The series of one test: samples are appended in order of time, between queries.

use crate::ports::Discard;
use hashbrown::HashMap;
use model::histogram::{Histogram, HistogramColumns};
use model::labels::{Labels, METRIC_NAME};
use model::matcher::{MatchOp, Matcher};
use model::sample::SampleColumns;
use promql::source::{SelectRequest, SeriesSet, SeriesSource, SourceError, TimelineToken};
use promql::testing::memory::with_stored_hint;
use promql::value::SampleValue;
use std::sync::Arc;

/// Series in memory. Appending takes constant time; a selection looks at the series of the metric that it names.
#[derive(Debug, Clone, Default)]
pub struct TestStore {
    series: Vec<Arc<Series>>,
    by_labels: HashMap<Labels, usize>,
    by_metric: HashMap<String, Vec<usize>>,
}

/// Times of the two kinds of samples strictly increase, and no time is one of both.
#[derive(Debug, Clone, Default)]
struct Series {
    labels: Labels,
    samples: SampleColumns,
    histograms: HistogramColumns,
    /// The last histogram as it was appended, unless it is stale or a float follows it.
    run: Option<Arc<Histogram>>,
}

impl TestStore {
    /// Appends a sample. One that is there already is not appended again.
    ///
    /// # Errors
    /// The series has a later sample, or another value at that time.
    pub fn append(&mut self, labels: &Labels, at_ms: i64, value: &SampleValue) -> Result<(), Discard> {
        let index = self.index(labels);
        let series = Arc::make_mut(&mut self.series[index]);
        match series.newest_ms() {
            Some(newest) if newest > at_ms => return Err(Discard::Other("out of order sample".to_owned())),
            Some(newest) if newest == at_ms => {
                return if series.ends_with(value) { Ok(()) } else { Err(Discard::Duplicate) };
            }
            _ => {}
        }
        match value {
            SampleValue::Float(value) => {
                series.samples.timestamps_ms.push(at_ms);
                series.samples.values.push(*value);
                series.run = None;
            }
            SampleValue::Histogram(histogram) => {
                series.histograms.push(at_ms, with_stored_hint(series.run.as_deref(), histogram));
                series.run = (!histogram.is_stale()).then(|| Arc::clone(histogram));
            }
        }
        Ok(())
    }

    /// Forgets samples older than `before_ms`, and series that have none left.
    pub fn forget(&mut self, before_ms: i64) {
        for series in std::mem::take(&mut self.series) {
            let mut series = Arc::unwrap_or_clone(series);
            let old = series.samples.timestamps_ms.partition_point(|time| *time < before_ms);
            series.samples.timestamps_ms.drain(..old);
            series.samples.values.drain(..old);
            let old = series.histograms.timestamps_ms.partition_point(|time| *time < before_ms);
            series.histograms.timestamps_ms.drain(..old);
            series.histograms.histograms.drain(..old);
            if series.newest_ms().is_some() {
                self.series.push(Arc::new(series));
            }
        }
        self.by_labels.clear();
        self.by_metric.clear();
        for (index, series) in self.series.iter().enumerate() {
            self.by_labels.insert(series.labels.clone(), index);
            let metric = series.labels.metric_name().unwrap_or_default().to_owned();
            self.by_metric.entry(metric).or_default().push(index);
        }
    }

    fn index(&mut self, labels: &Labels) -> usize {
        if let Some(index) = self.by_labels.get(labels) {
            return *index;
        }
        let index = self.series.len();
        self.series.push(Arc::new(Series { labels: labels.clone(), ..Series::default() }));
        self.by_labels.insert(labels.clone(), index);
        let metric = labels.metric_name().unwrap_or_default().to_owned();
        self.by_metric.entry(metric).or_default().push(index);
        index
    }

    /// All series with their samples as text, in order of labels, one line each.
    #[must_use]
    pub fn dump(&self) -> Vec<String> {
        let mut series: Vec<&Arc<Series>> = self.series.iter().collect();
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        series.into_iter().map(|series| series.dump()).collect()
    }

    fn candidates(&self, matchers: &[Matcher]) -> Vec<Arc<Series>> {
        let named = matchers.iter().find(|matcher| matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal);
        match named {
            Some(matcher) => {
                let of_metric = self.by_metric.get(matcher.value()).map_or(&[][..], Vec::as_slice);
                of_metric.iter().map(|index| Arc::clone(&self.series[*index])).collect()
            }
            None => self.series.clone(),
        }
    }
}

impl Series {
    fn newest_ms(&self) -> Option<i64> {
        self.samples.timestamps_ms.last().copied().max(self.histograms.timestamps_ms.last().copied())
    }

    fn ends_with(&self, value: &SampleValue) -> bool {
        let float_is_newest = self.samples.timestamps_ms.last() > self.histograms.timestamps_ms.last();
        match value {
            SampleValue::Float(value) => {
                float_is_newest && self.samples.values.last().is_some_and(|last| last.to_bits() == value.to_bits())
            }
            SampleValue::Histogram(histogram) => {
                !float_is_newest && self.histograms.histograms.last().is_some_and(|last| last.is_same_data(histogram))
            }
        }
    }

    fn dump(&self) -> String {
        let floats = self.samples.timestamps_ms.iter().zip(&self.samples.values);
        let mut samples: Vec<(i64, String)> =
            floats.map(|(time, value)| (*time, model::text::format_value(*value))).collect();
        let histograms = self.histograms.timestamps_ms.iter().zip(&self.histograms.histograms);
        samples.extend(histograms.map(|(time, value)| (*time, promql::testing::notation::print_histogram(value))));
        samples.sort_by_key(|(time, _)| *time);
        let samples: Vec<String> =
            samples.into_iter().map(|(time, value)| format!("{value} @{}", model::time::Timestamp(time))).collect();
        format!("{} {}", self.labels, samples.join(" "))
    }
}

impl SeriesSource for TestStore {
    fn series_bound(&self, _matchers: &[Matcher], _after_ms: i64, _until_ms: i64) -> usize {
        self.series.len()
    }

    fn select(&self, request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        let mut selected = self.candidates(request.matchers);
        selected.retain(|series| {
            let value = |name| series.labels.get(name).unwrap_or_default();
            request.matchers.iter().all(|matcher| matcher.matches(value(matcher.name())))
        });
        if selected.len() > request.series_max {
            return Err(SourceError::TooManySeries { series_max: request.series_max });
        }
        Ok(Box::new(Selected(selected)))
    }
}

struct Selected(Vec<Arc<Series>>);

/// Series with one sample each, all at `at_ms`.
pub(crate) fn series_at<'a>(samples: impl Iterator<Item = (&'a Labels, f64)>, at_ms: i64) -> Box<dyn SeriesSet> {
    let series = samples.map(|(labels, value)| {
        let mut series = Series { labels: labels.clone(), ..Series::default() };
        series.samples.timestamps_ms.push(at_ms);
        series.samples.values.push(value);
        Arc::new(series)
    });
    Box::new(Selected(series.collect()))
}

/// The positions of the times in `after_ms < t <= until_ms`.
fn range(times: &[i64], after_ms: i64, until_ms: i64) -> std::ops::Range<usize> {
    let start = times.partition_point(|time| *time <= after_ms);
    start..times.partition_point(|time| *time <= until_ms).max(start)
}

impl SeriesSet for Selected {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.0[index].labels.clone()
    }

    fn read(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut SampleColumns,
    ) -> Result<Option<TimelineToken>, SourceError> {
        let samples = &self.0[index].samples;
        let range = range(&samples.timestamps_ms, after_ms, until_ms);
        into.clear();
        into.timestamps_ms.extend_from_slice(&samples.timestamps_ms[range.clone()]);
        into.values.extend_from_slice(&samples.values[range]);
        Ok(None)
    }

    fn may_have_histograms(&self, index: usize) -> bool {
        !self.0[index].histograms.timestamps_ms.is_empty()
    }

    fn read_histograms(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut HistogramColumns,
    ) -> Result<(), SourceError> {
        let stored = &self.0[index].histograms;
        into.clear();
        for position in range(&stored.timestamps_ms, after_ms, until_ms) {
            into.push(stored.timestamps_ms[position], Arc::clone(&stored.histograms[position]));
        }
        Ok(())
    }
}
