//! A store of a few series and what runs statements over it.

use crate::query::admission::AdmissionOptions;
use crate::query::engine_store::EngineStore;
use crate::query::error::QueryFailure;
use crate::query::executor::QueryExecutor;
use crate::query::metrics::QueryMetrics;
use crate::query::request::QueryOptions;
use crate::query::store::{MetadataSource, SeriesStore};
use crate::query::testing::{MemoryStore, ReadLog};
use crate::runtime::cpu::CpuPool;
use crate::sql::request::{SqlFormat, SqlRequest};
use crate::sql::{BlockRow, BlockSource, Sql, SqlSources};
use ::promql::budget::BudgetLimits;
use ::promql::engine::Engine;
use ::promql::parse::ParseOptions;
use ::promql::source::SourceError;
use futures::StreamExt;
use model::metadata::{Metadata, MetricType};
use model::sample::stale_marker;
use model::tenant::TenantId;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

pub(in crate::sql) struct Fixture {
    pub(in crate::sql) sql: Sql,
    pub(in crate::sql) queries: QueryExecutor,
    pub(in crate::sql) reads: ReadLog,
}

impl Fixture {
    pub(in crate::sql) fn new() -> Self {
        Self::over(store())
    }

    pub(in crate::sql) fn over(store: MemoryStore) -> Self {
        Self::with_limits(store, BudgetLimits::default(), Duration::from_secs(60))
    }

    pub(in crate::sql) fn with_limits(store: MemoryStore, limits: BudgetLimits, timeout: Duration) -> Self {
        let reads = store.reads.clone();
        Self::build(store, reads, Arc::new(OneBlock), (limits, timeout))
    }

    pub(in crate::sql) fn over_engine(stored: storage::store::Store) -> Self {
        Self::over_engine_within(stored, BudgetLimits::default())
    }

    pub(in crate::sql) fn over_engine_within(stored: storage::store::Store, limits: BudgetLimits) -> Self {
        let store = EngineStore::new(stored);
        Self::build(store.clone(), ReadLog::default(), Arc::new(store), (limits, Duration::from_secs(60)))
    }

    fn build(
        store: impl SeriesStore + 'static,
        reads: ReadLog,
        blocks: Arc<dyn BlockSource>,
        (limits, timeout): (BudgetLimits, Duration),
    ) -> Self {
        let store = Arc::new(store);
        let options = QueryOptions {
            parse: ParseOptions::default(),
            limits,
            timeout,
            admission: AdmissionOptions { interactive_max: 4, rules_max: 1, waiting_max: 16 },
            log_slower_than: Duration::from_secs(3600),
        };
        let pool = CpuPool::with_size(2, 2).unwrap();
        let metrics = QueryMetrics::default();
        let queries = QueryExecutor::new(options, Engine::default(), store.clone(), pool, metrics);
        let sources = SqlSources { store, metadata: Arc::new(KnownMetadata), blocks, lookback_ms: 300_000 };
        Self { sql: Sql::new(sources, queries.clone()), queries, reads }
    }

    /// The whole answer.
    pub(in crate::sql) async fn answer(&self, request: SqlRequest) -> Result<Vec<u8>, QueryFailure> {
        let mut body = self.sql.run(request).await?.body;
        let mut all = Vec::new();
        while let Some(bytes) = body.next().await {
            all.extend_from_slice(&bytes?);
        }
        Ok(all)
    }

    async fn json(&self, text: &str) -> Result<Value, QueryFailure> {
        let answer = self.answer(request(text)).await?;
        Ok(serde_json::from_slice(&answer).unwrap_or_else(|error| panic!("{text}: {error}")))
    }

    /// Rows as JSON without blanks, such as `[1,"a"] [2,null]`.
    pub(in crate::sql) async fn rows(&self, text: &str) -> String {
        let answer = self.json(text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        let rows = answer["data"]["rows"].as_array().unwrap().iter();
        rows.map(Value::to_string).collect::<Vec<_>>().join(" ")
    }

    /// Names of the columns.
    pub(in crate::sql) async fn columns(&self, text: &str) -> String {
        let answer = self.json(text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        let columns = answer["data"]["columns"].as_array().unwrap().iter();
        columns.map(|column| column["name"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    /// What a statement that fails is told.
    pub(in crate::sql) async fn failure(&self, text: &str) -> QueryFailure {
        match self.json(text).await {
            Ok(answer) => panic!("{text}: {answer}"),
            Err(failure) => failure,
        }
    }

    /// The plan, physical part.
    pub(in crate::sql) async fn plan(&self, text: &str) -> String {
        let answer = self.json(text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        let rows = answer["data"]["rows"].as_array().unwrap().iter();
        rows.map(|row| row[1].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>().join("\n")
    }
}

pub(in crate::sql) fn request(text: &str) -> SqlRequest {
    SqlRequest {
        text: text.to_owned(),
        tenant: TenantId::anonymous(),
        start_ms: None,
        end_ms: None,
        include_stale: false,
        timeout: None,
        format: SqlFormat::Json,
    }
}

/// Jobs that are up and down, a counter, an alert, and names that need quotes.
pub(in crate::sql) fn store() -> MemoryStore {
    let mut store = MemoryStore::default();
    let every_15s = |value: fn(i64) -> f64| (0..=40).map(move |i| (i * 15_000, value(i)));
    store.add(&[("__name__", "up"), ("job", "a"), ("instance", "x:1")], every_15s(|_| 1.0));
    store.add(&[("__name__", "up"), ("job", "b"), ("instance", "y\"1")], every_15s(|_| 0.0));
    store.add(&[("__name__", "up"), ("job", "c")], [(0, 1.0), (15_000, stale_marker()), (30_000, 2.0)]);
    store.add(&[("__name__", "requests_total"), ("job", "a"), ("code", "200")], every_15s(|i| i as f64 * 15.0));
    store.add(&[("__name__", "requests_total"), ("job", "a"), ("code", "500")], every_15s(|i| i as f64));
    store.add(&[("__name__", "Odd.Name"), ("time", "t"), ("Value", "v")], [(1_000, f64::NAN)]);
    store.add(
        &[("__name__", "ALERTS"), ("alertname", "Down"), ("alertstate", "firing"), ("job", "b")],
        [(60_000, 1.0), (75_000, 1.0), (90_000, stale_marker()), (450_000, 1.0)],
    );
    store.add_exemplars(&[("__name__", "requests_total"), ("job", "a"), ("code", "200")], &[("t1", 1_500, 0.25)]);
    store
}

struct KnownMetadata;

impl MetadataSource for KnownMetadata {
    fn metadata(&self, metric: Option<&str>, _limit: usize, _limit_per_metric: usize) -> Vec<(String, Vec<Metadata>)> {
        let entry = |metric_type, help: &str| Metadata { metric_type, help: help.into(), unit: String::new() };
        let all = [
            ("requests_total".to_owned(), vec![entry(MetricType::Counter, "How often.")]),
            ("up".to_owned(), vec![entry(MetricType::Gauge, "Whether it is.")]),
        ];
        all.into_iter().filter(|(name, _)| metric.is_none_or(|metric| metric == name)).collect()
    }
}

struct OneBlock;

impl BlockSource for OneBlock {
    fn blocks(&self) -> Result<Vec<BlockRow>, SourceError> {
        let (level, resolution_ms, min_ms, max_ms) = (1, 0, 0, 7_199_999);
        let ulid = "01J00000000000000000000000".to_owned();
        Ok(vec![BlockRow {
            ulid,
            level,
            resolution_ms,
            min_ms,
            max_ms,
            series: 2,
            samples: 960,
            histograms: 0,
            bytes: 1234,
        }])
    }
}
