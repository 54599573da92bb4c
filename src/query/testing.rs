//! A store of a few vectors, for tests of whatever reads series, and what queries log.

use super::store::{HeadSummary, LookupRequest, SeriesStore};
use model::exemplar::Exemplar;
use model::labels::{Labels, METRIC_NAME};
use model::matcher::Matcher;
use model::sample::SampleColumns;
use promql::budget::Budget;
use promql::source::{SelectRequest, SeriesSet, SeriesSource, SourceError, TimelineToken};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use storage::block::meta::BlockMeta;
use storage::select::{Cardinality, Count, Listing};
use storage::store::StoreStats;
use tracing::subscriber::DefaultGuard;

/// Series in memory, in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryStore {
    series: Vec<(Labels, Arc<SampleColumns>)>,
    exemplars: Vec<(Labels, Vec<Exemplar>)>,
    /// Storage fails with this message.
    pub(crate) failure: Option<String>,
    /// Counts the series that were read, and makes each take a millisecond when set.
    pub(crate) reads: ReadLog,
}

/// What happens at each read of a series.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadLog {
    count: Arc<AtomicU64>,
    pub(crate) slow: bool,
}

impl ReadLog {
    /// How many series were read so far.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    fn read(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        if self.slow {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl MemoryStore {
    /// Adds a series with samples of (milliseconds, value).
    pub(crate) fn add(&mut self, labels: &[(&str, &str)], samples: impl IntoIterator<Item = (i64, f64)>) {
        let mut columns = SampleColumns::default();
        samples.into_iter().for_each(|(at, value)| columns.push(at, value));
        let labels = Labels::from_pairs(labels.iter().copied()).expect("labels of a test are valid");
        self.series.push((labels, Arc::new(columns)));
    }

    /// Adds exemplars of a series: trace, milliseconds, value.
    pub(crate) fn add_exemplars(&mut self, labels: &[(&str, &str)], exemplars: &[(&str, i64, f64)]) {
        let labels_of = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).expect("valid labels");
        let exemplar = |(trace, timestamp_ms, value): &(&str, i64, f64)| Exemplar {
            labels: labels_of(&[("trace_id", trace)]),
            value: *value,
            timestamp_ms: *timestamp_ms,
        };
        self.exemplars.push((labels_of(labels), exemplars.iter().map(exemplar).collect()));
    }

    /// A store in which reading everything takes most of a minute.
    pub(crate) fn slow() -> Self {
        let mut store = Self::default();
        store.reads.slow = true;
        for i in 0..50_000 {
            store.add(&[("__name__", "slow"), ("i", &i.to_string())], [(1000, f64::from(i))]);
        }
        store
    }

    fn matching(&self, matchers: &[Matcher], after_ms: i64, until_ms: i64) -> Vec<(Labels, Arc<SampleColumns>)> {
        let wanted = |(labels, columns): &&(Labels, Arc<SampleColumns>)| {
            matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")))
                && columns.timestamps_ms.iter().any(|t| after_ms < *t && *t <= until_ms)
        };
        self.series.iter().filter(wanted).cloned().collect()
    }

    fn listing(
        &self,
        request: &LookupRequest<'_>,
        items: impl Fn(&Labels) -> Vec<String>,
    ) -> Result<Listing, SourceError> {
        self.check()?;
        let matching = self.matching(request.matchers, request.after_ms, request.until_ms);
        let all: BTreeSet<String> = matching.iter().flat_map(|(labels, _)| items(labels)).collect();
        Ok(Listing { truncated: all.len() > request.limit, items: all.into_iter().take(request.limit).collect() })
    }

    fn check(&self) -> Result<(), SourceError> {
        self.failure.clone().map_or(Ok(()), |message| Err(SourceError::Failed(message)))
    }
}

impl SeriesSource for MemoryStore {
    fn series_bound(&self, _matchers: &[Matcher], _after_ms: i64, _until_ms: i64) -> usize {
        self.series.len()
    }

    fn select(&self, request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        self.check()?;
        let series = self.matching(request.matchers, request.after_ms, request.until_ms);
        if series.len() > request.series_max {
            return Err(SourceError::TooManySeries { series_max: request.series_max });
        }
        Ok(Box::new(MemorySet { series, reads: self.reads.clone() }))
    }
}

struct MemorySet {
    series: Vec<(Labels, Arc<SampleColumns>)>,
    reads: ReadLog,
}

impl SeriesSet for MemorySet {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.series[index].0.clone()
    }

    fn read(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut SampleColumns,
    ) -> Result<Option<TimelineToken>, SourceError> {
        self.reads.read();
        into.clear();
        let columns = &self.series[index].1;
        for (&at, &value) in columns.timestamps_ms.iter().zip(&columns.values) {
            if after_ms < at && at <= until_ms {
                into.push(at, value);
            }
        }
        Ok(None)
    }
}

impl SeriesStore for MemoryStore {
    fn select_first(&self, request: &LookupRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        self.check()?;
        let mut series = self.matching(request.matchers, request.after_ms, request.until_ms);
        series.truncate(request.limit);
        Ok(Box::new(MemorySet { series, reads: self.reads.clone() }))
    }

    fn label_names(&self, request: &LookupRequest<'_>) -> Result<Listing, SourceError> {
        self.listing(request, |labels| labels.iter().map(|(name, _)| name.to_owned()).collect())
    }

    fn label_values(&self, name: &str, request: &LookupRequest<'_>) -> Result<Listing, SourceError> {
        self.listing(request, |labels| labels.get(name).map(str::to_owned).into_iter().collect())
    }

    fn exemplars(
        &self,
        sets: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SourceError> {
        let satisfies = |labels: &Labels, set: &Vec<Matcher>| {
            set.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
        };
        let mut found = Vec::new();
        for (labels, exemplars) in self.exemplars.iter().filter(|held| sets.iter().any(|set| satisfies(&held.0, set))) {
            let inside = |exemplar: &&Exemplar| (start_ms..=end_ms).contains(&exemplar.timestamp_ms);
            let inside: Vec<Exemplar> = exemplars.iter().filter(inside).cloned().collect();
            found.extend((!inside.is_empty()).then(|| (labels.clone(), inside)));
        }
        Ok(found)
    }

    fn cardinality(&self, top: usize) -> Cardinality {
        let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
        for (labels, _) in &self.series {
            *by_name.entry(labels.get(METRIC_NAME).unwrap_or("").to_owned()).or_default() += 1;
        }
        let mut counts: Vec<Count> = by_name.into_iter().map(|(name, value)| Count { name, value }).collect();
        counts.sort_by_key(|count| std::cmp::Reverse(count.value));
        counts.truncate(top);
        Cardinality { series_by_metric_name: counts, label_pairs: 7, ..Cardinality::default() }
    }

    fn block_summary(&self) -> Option<StoreStats> {
        None
    }

    fn blocks(&self) -> Vec<BlockMeta> {
        Vec::new()
    }

    fn block_cardinality(
        &self,
        _ulid: &str,
        _top: usize,
        _budget: &Arc<Budget>,
    ) -> Result<Option<Cardinality>, SourceError> {
        Ok(None)
    }

    fn head_summary(&self) -> HeadSummary {
        let times = || self.series.iter().flat_map(|(_, columns)| columns.timestamps_ms.iter().copied());
        HeadSummary {
            series: self.series.len() as u64,
            chunks: self.series.len() as u64,
            time_range_ms: times().min().zip(times().max()),
        }
    }
}

/// What this thread logs.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Keeps what is logged until the guard is dropped.
    pub(crate) fn begin() -> (Self, DefaultGuard) {
        let lines = Self::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
        (lines, tracing::subscriber::set_default(layer))
    }

    /// The lines about queries.
    pub(crate) fn told(&self) -> Vec<serde_json::Value> {
        let text = String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["message"].as_str().unwrap().starts_with("slow query")).collect()
    }
}
