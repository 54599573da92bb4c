//! The store as queries see it.

mod session;

use super::results_cache::ChangeLog;
use super::store::{HeadSummary, LookupRequest, MetadataSource, SeriesStore};
use crate::runtime::cpu::give_up;
#[cfg(feature = "sql")]
use crate::sql::{BlockRow, BlockSource};
use model::bucket::{BucketColumns, BucketFields, BucketUse, Coverage, Segment};
use model::exemplar::Exemplar;
use model::histogram::{Histogram, HistogramColumns};
use model::labels::Labels;
use model::matcher::Matcher;
use model::metadata::Metadata;
use model::sample::{Sample, SampleColumns};
use promql::budget::Budget;
use promql::engine::QueryError;
use promql::source::{SelectRequest, SeriesSet, SeriesSource, SourceError, TimelineToken};
use session::{QuerySession, account, refusal};
use std::ops::Range;
use std::sync::Arc;
use storage::block::meta::BlockMeta;
use storage::block::read::ReadError;
use storage::cardinality::HeadExtent;
use storage::engine::Engine;
use storage::error::{ErrorKind, with_causes};
use storage::head::Changed;
use storage::select::{Cardinality, Listing, SelectError, TimeRange};
use storage::store::{Selection, Store, StoreStats};

/// The series of a store. Cheap to clone.
#[derive(Clone)]
pub struct EngineStore {
    store: Store,
}

impl EngineStore {
    /// What `store` holds.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

#[cfg(test)]
impl EngineStore {
    /// What it reads.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }
}

impl SeriesSource for EngineStore {
    fn view(&self) -> Option<Box<dyn SeriesSource>> {
        QuerySession::unpaid(self).view()
    }

    fn session(&self, budget: &Arc<Budget>) -> Option<Box<dyn SeriesSource>> {
        Some(Box::new(QuerySession::new(self, budget)))
    }

    fn may_wait(&self, after_ms: i64) -> bool {
        after_ms.saturating_add(1) < self.store.resident_from_ms()
    }

    fn series_bound(&self, matchers: &[Matcher], after_ms: i64, until_ms: i64) -> usize {
        let range = TimeRange { after_ms, until_ms };
        // The head first, as always.
        let head = self.store.engine().head().series_bound(matchers, range);
        if !self.may_wait(after_ms) {
            return head;
        }
        let in_blocks = self.store.count_in_blocks_at_a_glance(matchers, range);
        in_blocks.map_or(usize::MAX, |in_blocks| head.saturating_add(in_blocks))
    }

    fn select(&self, request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        let SelectRequest { matchers, after_ms, until_ms, series_max } = *request;
        selected(self.store.select(matchers, after_ms, until_ms, series_max))
    }

    fn select_with_buckets(
        &self,
        request: &SelectRequest<'_>,
        buckets: &BucketUse,
    ) -> Result<Box<dyn SeriesSet>, SourceError> {
        let SelectRequest { matchers, after_ms, until_ms, series_max } = *request;
        let range = TimeRange { after_ms, until_ms };
        selected(self.store.select_with_buckets(matchers, range, series_max, buckets))
    }
}

impl SeriesStore for EngineStore {
    fn select_first(&self, request: &LookupRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        selected(self.store.select_first(request.matchers, range(request), request.limit))
    }

    fn list_at_a_glance(&self, label: Option<&str>, request: &LookupRequest<'_>) -> Option<Listing> {
        self.store.list_at_a_glance(label, request.matchers, range(request), request.limit)
    }

    fn label_names(&self, request: &LookupRequest<'_>) -> Result<Listing, SourceError> {
        self.store.label_names(request.matchers, range(request), request.limit).map_err(source_error)
    }

    fn label_values(&self, name: &str, request: &LookupRequest<'_>) -> Result<Listing, SourceError> {
        self.store.label_values(name, request.matchers, range(request), request.limit).map_err(source_error)
    }

    fn exemplars(
        &self,
        sets: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SourceError> {
        self.store.exemplars(sets, start_ms, end_ms).map_err(source_error)
    }

    fn cardinality(&self, top: usize) -> Cardinality {
        self.store.engine().cardinality(top)
    }

    fn block_summary(&self) -> Option<StoreStats> {
        Some(self.store.stats())
    }

    fn blocks(&self) -> Vec<BlockMeta> {
        self.store.manifest().blocks.clone()
    }

    fn block_cardinality(
        &self,
        ulid: &str,
        top: usize,
        budget: &Arc<Budget>,
    ) -> Result<Option<Cardinality>, SourceError> {
        self.store.block_cardinality(ulid, top, &account(budget)).map_err(source_error)
    }

    fn head_summary(&self) -> HeadSummary {
        let HeadExtent { series, chunks, time_range_ms } = self.store.engine().head().extent();
        HeadSummary { series, chunks, time_range_ms }
    }
}

impl MetadataSource for Engine {
    fn metadata(&self, metric: Option<&str>, limit: usize, limit_per_metric: usize) -> Vec<(String, Vec<Metadata>)> {
        Engine::metadata(self, metric, limit, limit_per_metric)
    }
}

#[cfg(feature = "sql")]
impl BlockSource for EngineStore {
    fn blocks(&self) -> Result<Vec<BlockRow>, SourceError> {
        let row = |meta: &BlockMeta| BlockRow {
            ulid: meta.ulid.clone(),
            level: meta.level,
            resolution_ms: meta.resolution_ms,
            min_ms: meta.min_ms,
            max_ms: meta.max_ms,
            series: meta.series,
            samples: meta.samples,
            histograms: meta.histograms,
            bytes: meta.bytes(),
        };
        Ok(self.store.manifest().blocks.iter().map(row).collect())
    }
}

impl ChangeLog for EngineStore {
    fn changed_since(&self, number: u64) -> Changed {
        self.store.engine().head().changed_since(number)
    }
}

struct SelectedSeries {
    selection: Selection,
}

fn selected(found: Result<Selection, SelectError>) -> Result<Box<dyn SeriesSet>, SourceError> {
    Ok(Box::new(SelectedSeries { selection: found.map_err(source_error)? }))
}

impl SeriesSet for SelectedSeries {
    fn len(&self) -> usize {
        self.selection.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.selection.labels(index).unwrap_or_else(unreadable)
    }

    fn fetch_labels(&self, account: &Budget) -> Result<usize, QueryError> {
        let (mut held, mut refused) = (0, Ok(()));
        let mut hold = |bytes| {
            refused = account.hold(0, bytes);
            held += bytes;
            refused.is_ok()
        };
        self.selection.fetch_labels(&mut hold).map_err(source_error)?;
        refused.map(|()| held)
    }

    fn labels_among(&self, index: usize, names: &[&str]) -> Labels {
        self.selection.labels_among(index, names).unwrap_or_else(unreadable)
    }

    fn label_numbers(&self, indices: Range<usize>, names: &[&str], into: &mut Vec<u32>) -> bool {
        self.selection.label_numbers(indices, names, into)
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

    fn coverage(&self) -> Option<&Coverage> {
        self.selection.coverage()
    }

    fn read_buckets(
        &self,
        index: usize,
        segment: &Segment,
        range_ms: (i64, i64),
        fields: BucketFields,
        into: &mut BucketColumns,
    ) -> Result<(), SourceError> {
        self.selection.read_buckets(index, segment, range_ms, fields, into).map_err(source_error)
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

/// Labels of a series are read when somebody asks for them; when they cannot be had, an answer would be wrong. The pool that
/// evaluates queries turns this into the error of the query.
fn unreadable<T>(error: SelectError) -> T {
    give_up(source_error(error))
}

fn range(request: &LookupRequest<'_>) -> TimeRange {
    TimeRange { after_ms: request.after_ms, until_ms: request.until_ms }
}

/// With all causes in one line: the query's error message is all that anybody will see of it.
fn source_error(error: SelectError) -> SourceError {
    match error {
        SelectError::TooManySeries { series_max } => SourceError::TooManySeries { series_max },
        SelectError::Block(ReadError::Refused(refused)) => refusal(&refused),
        SelectError::Block(ref block) if block.kind() == ErrorKind::Unavailable => {
            SourceError::Unavailable(with_causes(&error))
        }
        SelectError::Chunk { .. } | SelectError::Block(_) => SourceError::Failed(with_causes(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use storage::append::{Batch, ExemplarRow, HistogramRow, LabelHash, Rows};
    use storage::store::StoreOptions;
    use storage::wal::replay::ReplayProgress;

    fn open(dir: &std::path::Path) -> Store {
        let mut options = StoreOptions::new(dir);
        options.engine.segment_bytes = 64 << 10;
        options.engine.shards = Some(2);
        Store::open(options, &ReplayProgress::default()).unwrap()
    }

    #[test]
    fn a_page_that_was_not_fetched_is_no_reason_to_try_again() {
        let error = ReadError::NotFetched { key: "a".into(), offset: 7 };
        assert!(matches!(source_error(SelectError::Block(error)), SourceError::Failed(_)));
    }

    #[test]
    fn what_was_appended_can_be_selected_and_listed() {
        let dir = tempfile::tempdir().unwrap();
        let stored = open(dir.path());
        let engine = stored.engine();
        let mut rows = Rows::default();
        for job in ["a", "b", "c"] {
            let labels = [("__name__", "up"), ("job", job)];
            let hash = LabelHash::of_pairs(labels, &mut Vec::new());
            let series = engine.create(hash, &labels).unwrap();
            rows.push(series, 1000, 1.0);
            rows.push(series, 2000, 2.0);
        }
        engine.append_wait(rows).unwrap();
        let store = EngineStore::new(stored.clone());

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
        let stored = open(dir.path());
        let engine = stored.engine();
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
        engine
            .append_wait(Batch {
                rows,
                histograms: vec![histogram(2000), histogram(3000)],
                exemplars,
                ..Batch::default()
            })
            .unwrap();
        let store = EngineStore::new(stored.clone());

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
        let found = store.exemplars(&[vec![Matcher::equal("__name__", "latency")]], 0, 1000).unwrap();
        assert_eq!((found.len(), found[0].0.get("job")), (1, Some("b")));
    }
}
