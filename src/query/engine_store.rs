//! The storage engine as queries see it.

use super::results_cache::ChangeLog;
use super::store::{HeadSummary, LookupRequest, SeriesStore};
use model::exemplar::Exemplar;
use model::histogram::{Histogram, HistogramColumns};
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::{Sample, SampleColumns};
use promql::source::{SelectRequest, SeriesSet, SeriesSource, SourceError, TimelineToken};
use std::error::Error;
use std::sync::Arc;
use storage::cardinality::HeadExtent;
use storage::engine::Engine;
use storage::head::Changed;
use storage::select::{Cardinality, Listing, SelectError, Selection, TimeRange};

/// The series of a storage engine. Cheap to clone.
#[derive(Clone)]
pub struct EngineStore {
    engine: Engine,
}

impl EngineStore {
    /// What `engine` stores.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

impl SeriesSource for EngineStore {
    fn series_bound(&self, matchers: &[Matcher]) -> usize {
        self.engine.head().series_bound(matchers)
    }

    fn select(&self, request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        let SelectRequest { matchers, after_ms, until_ms, series_max } = *request;
        let selection = self.engine.select(matchers, after_ms, until_ms, series_max).map_err(source_error)?;
        Ok(Box::new(SelectedSeries { selection }))
    }
}

impl SeriesStore for EngineStore {
    fn select_first(&self, request: &LookupRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        let selection = self.engine.head().select_first(request.matchers, range(request), request.limit);
        Ok(Box::new(SelectedSeries { selection }))
    }

    fn label_names(&self, request: &LookupRequest<'_>) -> Result<Listing, SourceError> {
        self.engine.label_names(request.matchers, range(request), request.limit).map_err(source_error)
    }

    fn label_values(&self, name: &str, request: &LookupRequest<'_>) -> Result<Listing, SourceError> {
        self.engine.label_values(name, request.matchers, range(request), request.limit).map_err(source_error)
    }

    fn exemplars(&self, sets: &[Vec<Matcher>], start_ms: i64, end_ms: i64) -> Vec<(Labels, Vec<Exemplar>)> {
        self.engine.exemplars(sets, start_ms, end_ms)
    }

    fn cardinality(&self, top: usize) -> Cardinality {
        self.engine.cardinality(top)
    }

    fn head_summary(&self) -> HeadSummary {
        let HeadExtent { series, label_pairs, chunks, time_range_ms } = self.engine.head().extent();
        HeadSummary { series, label_pairs, chunks, time_range_ms }
    }
}

impl ChangeLog for EngineStore {
    fn changed_since(&self, number: u64) -> Changed {
        self.engine.head().changed_since(number)
    }
}

struct SelectedSeries {
    selection: Selection,
}

impl SeriesSet for SelectedSeries {
    fn len(&self) -> usize {
        self.selection.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.selection.labels(index)
    }

    fn labels_among(&self, index: usize, names: &[&str]) -> Labels {
        self.selection.labels_among(index, names)
    }

    fn label_numbers(&self, index: usize, names: &[&str], into: &mut Vec<u32>) -> bool {
        self.selection.label_numbers(index, names, into);
        true
    }

    fn prefetch(&self, indices: &[usize]) {
        self.selection.prefetch(indices);
    }

    fn may_have_label(&self, name: &str) -> bool {
        self.selection.may_have_label(name)
    }

    fn read(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut SampleColumns,
    ) -> Result<Option<TimelineToken>, SourceError> {
        let token = self.selection.read(index, after_ms, until_ms, into).map_err(source_error)?;
        Ok(token.map(TimelineToken))
    }

    fn latest(&self, index: usize, after_ms: i64, at_ms: i64) -> Result<Option<Sample>, SourceError> {
        self.selection.latest(index, after_ms, at_ms).map_err(source_error)
    }

    fn may_have_histograms(&self, index: usize) -> bool {
        self.selection.has_histograms(index)
    }

    fn read_histograms(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut HistogramColumns,
    ) -> Result<(), SourceError> {
        self.selection.read_histograms(index, after_ms, until_ms, into).map_err(source_error)
    }

    fn latest_histogram(
        &self,
        index: usize,
        after_ms: i64,
        at_ms: i64,
    ) -> Result<Option<(i64, Arc<Histogram>)>, SourceError> {
        self.selection.latest_histogram(index, after_ms, at_ms).map_err(source_error)
    }

    fn may_have_start_timestamps(&self, index: usize) -> bool {
        self.selection.has_start_timestamps(index)
    }

    fn read_start_timestamps(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut Vec<i64>,
    ) -> Result<(), SourceError> {
        self.selection.read_start_timestamps(index, after_ms, until_ms, into).map_err(source_error)
    }
}

fn range(request: &LookupRequest<'_>) -> TimeRange {
    TimeRange { after_ms: request.after_ms, until_ms: request.until_ms }
}

/// With all causes in one line: the query's error message is all that anybody will see of it.
fn source_error(error: SelectError) -> SourceError {
    match error {
        SelectError::TooManySeries { series_max } => SourceError::TooManySeries { series_max },
        SelectError::Block(_) | SelectError::Chunk { .. } => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(inner) = cause {
                text.push_str(": ");
                text.push_str(&inner.to_string());
                cause = inner.source();
            }
            SourceError::Failed(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::append::{Batch, ExemplarRow, HistogramRow, LabelHash, Rows};
    use storage::engine::Options;

    #[test]
    fn what_was_appended_can_be_selected_and_listed() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 64 << 10, shards: Some(2), ..Options::new(dir.path()) };
        let engine = Engine::open(&options).unwrap();
        let mut rows = Rows::default();
        for job in ["a", "b", "c"] {
            let labels = [("__name__", "up"), ("job", job)];
            let hash = LabelHash::of_pairs(labels, &mut Vec::new());
            let series = engine.create(hash, &labels).unwrap();
            rows.push(series, 1000, 1.0);
            rows.push(series, 2000, 2.0);
        }
        engine.append_wait(rows).unwrap();
        let store = EngineStore::new(engine);

        let matchers = [Matcher::equal("__name__", "up")];
        let request = SelectRequest { matchers: &matchers, after_ms: 1000, until_ms: 2000, series_max: 10 };
        let set = store.select(&request).unwrap();
        let mut columns = SampleColumns::default();
        set.read(0, 1000, 2000, &mut columns).unwrap();
        assert_eq!((set.len(), columns.timestamps_ms, columns.values), (3, vec![2000], vec![2.0]));
        assert_eq!(set.latest(0, 0, 1999).unwrap(), Some(Sample { timestamp_ms: 1000, value: 1.0 }));
        assert_eq!(set.labels_among(0, &["__name__"]).to_string(), r#"{__name__="up"}"#);

        let few = SelectRequest { series_max: 2, ..request };
        assert_eq!(store.select(&few).err(), Some(SourceError::TooManySeries { series_max: 2 }));

        let lookup = LookupRequest { matchers: &matchers, after_ms: 0, until_ms: 9000, limit: 2 };
        assert_eq!(store.select_first(&lookup).unwrap().len(), 2);
        assert_eq!(store.label_names(&lookup).unwrap().items, ["__name__", "job"]);
        let jobs = store.label_values("job", &lookup).unwrap();
        assert_eq!((jobs.items, jobs.truncated), (vec!["a".to_owned(), "b".to_owned()], true));
        let summary = store.head_summary();
        assert_eq!((summary.series, summary.time_range_ms), (3, Some((1000, 2000))));
    }

    #[test]
    fn histograms_starts_and_exemplars_are_read_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 64 << 10, shards: Some(2), ..Options::new(dir.path()) };
        let engine = Engine::open(&options).unwrap();
        let series = ["a", "b"].map(|job| {
            let labels = [("__name__", "latency"), ("job", job)];
            engine.create(LabelHash::of_pairs(labels, &mut Vec::new()), &labels).unwrap()
        });
        let mut rows = Rows::default();
        rows.push_started(series[0], 1000, 1.0, 500);
        rows.push(series[1], 1000, 1.0);
        let histogram = Histogram { count: 3.0, zero_count: 3.0, ..Histogram::default() };
        let histogram =
            |timestamp_ms| HistogramRow { series: series[0], timestamp_ms, start_ms: 0, histogram: histogram.clone() };
        let exemplar = Exemplar { labels: Labels::empty(), value: 1.0, timestamp_ms: 1000 };
        let exemplars = vec![ExemplarRow { series: series[1], exemplar }];
        engine.append_wait(Batch { rows, histograms: vec![histogram(2000), histogram(3000)], exemplars, ..Batch::default() }).unwrap();
        let store = EngineStore::new(engine);

        let read = |job| {
            let matchers = [Matcher::equal("job", job)];
            let set = store.select(&SelectRequest { matchers: &matchers, after_ms: 0, until_ms: 2500, series_max: 10 });
            let (set, mut columns, mut starts) = (set.unwrap(), HistogramColumns::default(), Vec::new());
            set.read_histograms(0, 0, 2500, &mut columns).unwrap();
            set.read_start_timestamps(0, 0, 2500, &mut starts).unwrap();
            let latest = set.latest_histogram(0, 0, 2500).unwrap().map(|(timestamp_ms, _)| timestamp_ms);
            let may_have = (set.may_have_histograms(0), set.may_have_start_timestamps(0));
            (columns.timestamps_ms, starts, latest, may_have)
        };
        assert_eq!(read("a"), (vec![2000], vec![500, 0], Some(2000), (true, true)));
        assert_eq!(read("b"), (vec![], vec![], None, (false, false)));
        let found = store.exemplars(&[vec![Matcher::equal("__name__", "latency")]], 0, 1000);
        assert_eq!((found.len(), found[0].0.get("job")), (1, Some("b")));
    }
}
