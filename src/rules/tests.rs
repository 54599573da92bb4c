//! Rules over the real engine, store and query executor.

mod backfill;
mod early;

use super::manager::RuleManager;
use super::query_port::RuleQueries;
use crate::cluster::ring::{NodeId, Ring};
use crate::ingest::testing::cpu;
use crate::ingest::{Ingest, IngestOptions, OwnSample, Reason};
use crate::query::admission::AdmissionOptions;
use crate::query::engine_store::EngineStore;
use crate::query::executor::QueryExecutor;
use crate::query::metrics::QueryMetrics;
use crate::query::request::{QueryOptions, QueryRequest, Window};
use crate::rules::clock::wall_clock;
use crate::runtime::cpu::CpuPool;
use model::histogram::{CounterResetHint, Histogram, Span};
use model::labels::Labels;
use model::sample::stale_marker;
use model::tenant::TenantId;
use model::time::Timestamp;
use promql::budget::BudgetLimits;
use promql::parse::ParseOptions;
use promql::resolution::SourceResolution;
use promql::value::{QueryValue, SampleValue, VectorSample};
use ruler::annotate::TemplateContext;
use ruler::group::GroupSettings;
use ruler::ports::{AlertMessage, NotifyPort};
use ruler::restore::ForRestore;
use ruler::rule_file::{GroupDefaults, RuleFile};
use ruler::state::shape::GroupShape;
use ruler::state::{Departure, GroupId, GroupMemory};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use storage::engine::Engine;
use storage::store::{Store, StoreOptions};
use storage::wal::replay::ReplayProgress;

#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<AlertMessage>>>);

impl NotifyPort for Sent {
    async fn send(&self, departure: Departure) {
        self.0.lock().unwrap().extend(departure.messages());
    }

    fn evaluated(&self, _: &Arc<GroupId>, _: Timestamp) {}

    fn begin(&self, _: GroupShape) -> GroupMemory {
        GroupMemory::default()
    }

    fn end(&self, _: &GroupId) {}
}

/// A process in small: a store on disk, queries, rules.
struct World {
    engine: Engine,
    ingest: Ingest,
    queries: QueryExecutor,
    sent: Sent,
    rules: RuleManager<RuleQueries, Ingest, Sent>,
    _directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let stored = Store::open(StoreOptions::new(directory.path()), &ReplayProgress::default()).unwrap();
        let engine = stored.engine().clone();
        let local = NodeId::new("local");
        let ring = Arc::new(Ring::of_one(local.clone()));
        let ingest =
            Ingest::new(TenantId::anonymous(), IngestOptions::default(), ring, local, Arc::new(engine.clone()), cpu());
        let options = QueryOptions {
            parse: ParseOptions::default(),
            limits: BudgetLimits::default(),
            timeout: Duration::from_secs(30),
            admission: AdmissionOptions { interactive_max: 2, rules_max: 2, waiting_max: 10 },
            log_slower_than: Duration::from_secs(30),
        };
        let source = Arc::new(EngineStore::new(stored));
        let pool = CpuPool::with_size(2, 1).unwrap();
        let language = promql::Engine::new(promql::EngineOptions::default());
        let queries = QueryExecutor::new(options, language, source, pool, QueryMetrics::default());
        let sent = Sent::default();
        let rule_queries = RuleQueries::new(queries.clone(), TenantId::anonymous()).watching(engine.head().clone());
        let rules = RuleManager::new(rule_queries, ingest.clone(), sent.clone());
        Self { engine, ingest, queries, sent, rules, _directory: directory }
    }

    async fn start(&self, rules: &str) {
        let file = RuleFile::parse("r.yml", rules, &ParseOptions::default()).unwrap();
        let defaults = GroupDefaults { interval_ms: 200, query_offset_ms: 0 };
        let specs = file.groups.into_iter().map(|group| group.resolve("r.yml", defaults)).collect();
        let context = TemplateContext {
            external_labels: Labels::empty(),
            external_url: "".into(),
            parse: ParseOptions::default(),
        };
        self.rules
            .apply(
                specs,
                GroupSettings {
                    context: Arc::new(context),
                    resend_delay_ms: 60_000,
                    repair_window_ms: 600_000,
                    unknown_max_ms: 3_600_000,
                    for_restore: ForRestore::default(),
                },
            )
            .await;
    }

    async fn write(&self, labels: &[(&str, &str)], value: f64) {
        self.write_value(labels, SampleValue::Float(value)).await;
    }

    async fn write_value(&self, labels: &[(&str, &str)], value: SampleValue) {
        let labels = Labels::from_pairs(labels.iter().copied()).unwrap();
        let sample = OwnSample { labels, timestamp_ms: wall_clock().0, value };
        let outcome = self.ingest.write_own(&[sample]).await.unwrap();
        assert_eq!(outcome.written, 1);
    }

    async fn query(&self, text: &str) -> QueryValue {
        let request = QueryRequest {
            text: text.into(),
            tenant: TenantId::anonymous(),
            window: Window::Instant(wall_clock().0),
            timeout: None,
            lookback_ms: None,
            source_resolution: SourceResolution::default(),
            per_step_stats: false,
            explain: false,
            no_cache: false,
        };
        self.queries.run(request).await.unwrap().result.value
    }

    async fn vector(&self, text: &str) -> Vec<VectorSample> {
        match self.query(text).await {
            QueryValue::Vector { samples, .. } => samples,
            other => panic!("{other:?}"),
        }
    }

    /// Times and values of the native histograms of the only series of `name`.
    async fn histograms(&self, name: &str) -> Vec<(i64, Histogram)> {
        match self.query(&format!("{name}[5m]")).await {
            QueryValue::Matrix(series) => {
                assert_eq!(series.len(), 1, "{name}");
                let columns = &series[0].histograms;
                let histograms = columns.histograms.iter().map(|histogram| Histogram::clone(histogram));
                columns.timestamps_ms.iter().copied().zip(histograms).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Times of the samples of the only series of `name`.
    async fn times(&self, name: &str) -> Vec<i64> {
        match self.query(&format!("{name}[5m]")).await {
            QueryValue::Matrix(series) => series[0].timestamps_ms.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// Waits until `text` has a result, or none.
    async fn until(&self, text: &str, present: bool) {
        let waiting = async {
            while self.vector(text).await.is_empty() == present {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("{text}: {present}"));
    }

    async fn stop(self) {
        self.rules.shutdown().await;
        self.engine.flush_and_close().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_rules_fires_in_one_slot_and_ends_when_the_cause_does() {
    let world = World::new();
    world.write(&[("__name__", "up"), ("job", "a")], 0.0).await;
    world
        .start(
            "
groups:
- name: chain
  rules:
  - record: job:down:count
    expr: count by (job) (up == 0)
  - alert: Down
    expr: job:down:count > 0
    annotations:
      summary: '{{ with query \"job:down:count\" }}{{ . | first | value }}{{ end }} of {{ $labels.job }} down'
  - record: alerts:firing
    expr: count(ALERTS{alertname=\"Down\", alertstate=\"firing\"})
",
        )
        .await;
    world.until("alerts:firing", true).await;
    let sent = world.sent.0.lock().unwrap().clone();
    assert_eq!(sent.len(), 1);
    assert_eq!(&*sent[0].annotations[0].1, "1 of a down");
    let slot = sent[0].starts_at.0;
    for name in ["job:down:count", "alerts:firing"] {
        assert_eq!(world.times(name).await[0], slot, "{name}");
    }
    world.write(&[("__name__", "up"), ("job", "a")], 1.0).await;
    for name in ["job:down:count", "ALERTS", "ALERTS_FOR_STATE", "alerts:firing"] {
        world.until(name, false).await;
    }
    let resolved = world.sent.0.lock().unwrap()[1].clone();
    assert!(resolved.ends_at > sent[0].starts_at && resolved.starts_at == sent[0].starts_at);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_cannot_be_evaluated_says_why_and_disturbs_no_other() {
    let world = World::new();
    world.write(&[("__name__", "a"), ("x", "1")], 1.0).await;
    world.write(&[("__name__", "a"), ("x", "2")], 1.0).await;
    world.write(&[("__name__", "b"), ("y", "1")], 1.0).await;
    let rules = "groups: [{name: g, rules: [{record: bad, expr: b + on() a}, {record: text, expr: 'a[1m]'}, {record: good, expr: b}]}]";
    world.start(rules).await;
    world.until("good", true).await;
    let groups = world.rules.groups();
    let health: Vec<String> =
        ruler::driver::lock(&groups[0]).rules().iter().map(|rule| format!("{:?}", rule.health)).collect();
    assert!(
        health[0].contains("found duplicate series for the match group") && health[0].contains("Invalid"),
        "{health:?}"
    );
    assert!(health[1].contains("NotAVector"), "{health:?}");
    assert_eq!(health[2], "Good");
    world.stop().await;
}

/// `count` observations between 1 and 2, which may go up and down.
fn histogram(count: f64) -> Histogram {
    Histogram {
        counter_reset_hint: CounterResetHint::Gauge,
        count,
        sum: 1.5 * count,
        positive_spans: vec![Span { offset: 1, length: 1 }],
        positive_buckets: vec![count],
        ..Histogram::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_rules_over_histograms_stores_them_and_ends_when_the_cause_does() {
    let world = World::new();
    let latency = |instance| [("__name__", "latency"), ("instance", instance), ("job", "h")];
    for (instance, count) in [("1", 2.0), ("2", 3.0)] {
        world.write_value(&latency(instance), SampleValue::Histogram(Arc::new(histogram(count)))).await;
    }
    world.write(&[("__name__", "plain"), ("job", "f")], 7.0).await;
    world
        .start(
            "
groups:
- name: chain
  rules:
  - record: job:mixed:sum
    expr: sum by (job) (latency or plain)
  - record: job:latency:doubled
    expr: 2 * job:mixed:sum{job=\"h\"}
  - record: job:latency:count
    expr: histogram_count(job:latency:doubled)
  - record: job:latency:negative
    expr: -job:mixed:sum{job=\"h\"}
  - alert: Slow
    expr: job:latency:doubled
    annotations:
      summary: '{{ $value }} of {{ $labels.job }}'
",
        )
        .await;
    world.until("ALERTS", true).await;
    let sent = world.sent.0.lock().unwrap()[0].clone();
    assert_eq!(&*sent.annotations[0].1, "{count:10, sum:15, (1,2]:10} of h");
    let slot = sent.starts_at.0;
    for (name, count) in [("job:mixed:sum{job=\"h\"}", 5.0), ("job:latency:doubled", 10.0)] {
        let (at, stored) = world.histograms(name).await.remove(0);
        assert!(at == slot && stored.is_same_data(&histogram(count)), "{name} {at} {stored:?}");
    }
    assert_eq!(world.times("job:latency:count").await[0], slot);
    let values = |samples: Vec<VectorSample>| -> Vec<_> { samples.into_iter().map(|sample| sample.value).collect() };
    for (series, value) in [("job:mixed:sum{job=\"f\"}", 7.0), ("job:latency:count", 10.0), ("ALERTS", 1.0)] {
        assert_eq!(values(world.vector(series).await), [SampleValue::Float(value)], "{series}");
    }
    assert!(world.vector("job:latency:negative").await.is_empty());
    assert!(world.ingest.metrics().rejected(Reason::InvalidHistogram) > 0, "and it was said why");

    for instance in ["1", "2"] {
        world.write(&latency(instance), stale_marker()).await;
    }
    for name in ["job:mixed:sum{job=\"h\"}", "job:latency:doubled", "job:latency:count", "ALERTS"] {
        world.until(name, false).await;
    }
    assert_eq!(world.vector("job:mixed:sum").await.len(), 1, "the float goes on");
    world.stop().await;
}
