//! A process of a few handles with fixed content.

use crate::config::Config;
use crate::http::cors::AllowedOrigins;
use crate::http::readiness::{Phase, Readiness};
use crate::http::request_metrics::RequestMetrics;
use crate::http::state::{
    AlertmanagersSource, AppParts, AppState, ConfigReload, EarlyState, MetadataSource, ProcessInfo, ReloadStatus,
};
use crate::query::admission::AdmissionOptions;
use crate::query::executor::QueryExecutor;
use crate::query::metrics::QueryMetrics;
use crate::query::request::QueryOptions;
use crate::query::testing::{MemoryStore, ReadLog};
use crate::rules::config::RuleConfig;
use crate::rules::event_log::Histories;
use crate::runtime::cpu::CpuPool;
use crate::runtime::notices::Notices;
use crate::scrape::self_scrape::TargetStatus;
#[cfg(feature = "sql")]
use crate::sql::{NoBlocks, Sql, SqlSources};
use crate::telemetry::registries::Registries;
use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method};
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use model::metadata::{Metadata, MetricType};
use model::sample::stale_marker;
use model::tenant::TenantId;
use prometheus_client::registry::Registry;
use promql::budget::BudgetLimits;
use promql::engine::Engine;
use promql::parse::ParseOptions;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::ServiceExt;

pub(super) struct App {
    pub(super) router: Router,
    pub(super) early: EarlyState,
    pub(super) readiness: Readiness,
    pub(super) queries: QueryExecutor,
    pub(super) reads: ReadLog,
    pub(super) rule_config: RuleConfig,
    config: Arc<FixedConfig>,
}

impl App {
    pub(super) fn new() -> Self {
        Self::over(store())
    }

    pub(super) fn failing(message: &str) -> Self {
        let mut store = MemoryStore::default();
        store.failure = Some(message.to_owned());
        Self::over(store)
    }

    pub(super) fn slow() -> Self {
        Self::over(MemoryStore::slow())
    }

    /// A counter, a series that is up, and one that ended, all a few seconds old.
    pub(super) fn recent() -> Self {
        let now = jiff::Timestamp::now().as_millisecond();
        let mut store = MemoryStore::default();
        store.add(&[("__name__", "up"), ("job", "a"), ("instance", "x:1")], [(now - 9000, 0.0), (now - 4000, 1.0)]);
        store.add(&[("__name__", "up"), ("job", "b")], [(now - 9000, 1.0), (now - 4000, stale_marker())]);
        store.add(&[("__name__", "requests_total"), ("job", "a")], [(now - 3000, 620.0)]);
        store.add(&[("__name__", "old"), ("job", "a")], [(now - 400_000, 1.0)]);
        Self::over(store)
    }

    pub(super) fn break_config(&self) {
        self.config.broken.store(true, Ordering::SeqCst);
    }

    /// With `pairs` as external labels.
    pub(super) fn with_external_labels(pairs: &[(&str, &str)]) -> Self {
        let mut config = Config::default();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        config.global.external_labels = pairs.iter().map(owned).collect();
        Self::over_with(store(), config)
    }

    /// A series of more samples than one query may hold.
    pub(super) fn long() -> Self {
        let mut store = MemoryStore::default();
        store.add(&[("__name__", "long")], (0..20_001).map(|i| (i, 1.0)));
        Self::over(store)
    }

    fn over(store: MemoryStore) -> Self {
        Self::over_with(store, Config::default())
    }

    fn over_with(store: MemoryStore, in_force: Config) -> Self {
        let reads = store.reads.clone();
        let store = Arc::new(store);
        let mut registry = Registry::default();
        let (query_metrics, request_metrics) = (QueryMetrics::default(), RequestMetrics::default());
        query_metrics.register(&mut registry);
        request_metrics.register(&mut registry);
        let readiness = Readiness::default();
        readiness.set(Phase::Ready);
        let pool = CpuPool::with_size(2, 1).unwrap();
        let queries = QueryExecutor::new(query_options(), Engine::default(), store.clone(), pool, query_metrics);
        let early = EarlyState {
            readiness: readiness.clone(),
            replay: Arc::default(),
            registries: Registries::of(registry),
            prometheus_names: false,
            request_metrics,
            notices: Notices::new(2),
            cors: AllowedOrigins::new(".*").unwrap(),
        };
        let config = Arc::new(FixedConfig::default());
        #[cfg(feature = "sql")]
        let sources = SqlSources {
            store: store.clone(),
            metadata: Arc::new(KnownMetadata),
            blocks: Arc::new(NoBlocks),
            lookback_ms: 300_000,
        };
        let rule_config = super::rule_config::rule_config();
        let parts = AppParts {
            tenant: TenantId::anonymous(),
            early: early.clone(),
            store,
            #[cfg(feature = "sql")]
            sql: Sql::new(sources, queries.clone()),
            queries: queries.clone(),
            metadata: Arc::new(KnownMetadata),
            rules: Arc::new(super::rules::FixedRules::new()),
            rule_config: Some(rule_config.clone()),
            histories: Histories::default(),
            admin: None,
            backfill: None,
            alertmanagers: Arc::new(OneAlertmanager),
            self_scrape: Some(Arc::new(Mutex::new(target()))),
            config: Arc::new(ArcSwap::from_pointee(in_force)),
            reload: config.clone(),
            process: process(),
        };
        let router = crate::http::app(&AppState::new(parts), Router::new());
        Self { router, early, readiness, queries, reads, rule_config, config }
    }
}

fn query_options() -> QueryOptions {
    QueryOptions {
        parse: ParseOptions::default(),
        limits: BudgetLimits { samples_max: 20_000, series_max: 100_000, ..BudgetLimits::default() },
        timeout: Duration::from_secs(60),
        admission: AdmissionOptions { interactive_max: 4, rules_max: 1, waiting_max: 16 },
        log_slower_than: Duration::from_secs(3600),
    }
}

/// Two jobs that are up and down, a counter, and names that need quotes.
fn store() -> MemoryStore {
    let mut store = MemoryStore::default();
    let every_15s = |value: fn(i64) -> f64| (0..=40).map(move |i| (i * 15_000, value(i)));
    store.add(&[("__name__", "up"), ("job", "a"), ("instance", "x:1")], every_15s(|_| 1.0));
    store.add(&[("__name__", "up"), ("job", "b"), ("instance", "y\"1")], every_15s(|_| 0.0));
    store.add(&[("__name__", "requests_total"), ("job", "a"), ("code", "200")], every_15s(|i| i as f64 * 15.5));
    store.add(&[("__name__", "tiny"), ("job", "a")], [(600_000, 1.5e-9), (600_123, f64::NEG_INFINITY)]);
    store.add(&[("__name__", "http.requests"), ("http.code", "5_0")], [(600_000, f64::NAN)]);
    let traces = [("a\"b", 1_500, 0.25), ("c", 600_000, f64::INFINITY)];
    store.add_exemplars(&[("__name__", "requests_total"), ("job", "a"), ("code", "200")], &traces);
    store.add_exemplars(&[("__name__", "traced"), ("job", "b")], &[("d", 3_000, 1e-9)]);
    store
}

fn target() -> TargetStatus {
    TargetStatus {
        job: "hearth".into(),
        instance: "127.0.0.1:9009".into(),
        url: "http://127.0.0.1:9009/metrics".into(),
        last_scrape_ms: 1_700_000_000_123,
        last_duration: Duration::from_micros(1500),
        last_error: String::new(),
        interval: Duration::from_secs(15),
    }
}

fn process() -> ProcessInfo {
    ProcessInfo {
        started: "2026-11-20T12:00:00Z".parse().unwrap(),
        flags: BTreeMap::from([("web.listen-address".to_owned(), "127.0.0.1:9009".to_owned())]),
        external_url: "http://hearth.example".into(),
        working_directory: PathBuf::from("/srv"),
        hostname: "lab".into(),
        storage_retention: "unlimited".into(),
        lookback: Duration::from_secs(300),
        announces_rule_config: false,
    }
}

struct KnownMetadata;

impl MetadataSource for KnownMetadata {
    fn metadata(&self, metric: Option<&str>, limit: usize, limit_per_metric: usize) -> Vec<(String, Vec<Metadata>)> {
        let entry = |metric_type, help: &str| Metadata { metric_type, help: help.into(), unit: String::new() };
        let up = vec![entry(MetricType::Gauge, "Whether it is."), entry(MetricType::Unknown, "")];
        let requests = vec![entry(MetricType::Counter, "How often.")];
        let all = [("requests_total".to_owned(), requests), ("up".to_owned(), up)];
        let wanted = all.into_iter().filter(|(name, _)| metric.is_none_or(|metric| metric == name)).take(limit);
        wanted.map(|(name, entries)| (name, entries.into_iter().take(limit_per_metric).collect())).collect()
    }
}

struct OneAlertmanager;

impl AlertmanagersSource for OneAlertmanager {
    fn active(&self) -> Vec<String> {
        vec!["http://127.0.0.1:9093/api/v2/alerts".to_owned()]
    }

    fn dropped(&self) -> Vec<String> {
        Vec::new()
    }
}

#[derive(Default)]
struct FixedConfig {
    broken: AtomicBool,
}

impl ConfigReload for FixedConfig {
    fn reload(&self) -> BoxFuture<'_, Result<(), String>> {
        let broken = self.broken.load(Ordering::SeqCst);
        Box::pin(async move { if broken { Err("line 1: no".to_owned()) } else { Ok(()) } })
    }

    fn status(&self) -> ReloadStatus {
        ReloadStatus { successful: true, last_success: "2026-11-20T12:00:01Z".parse().unwrap() }
    }
}

/// An answer that was read to its end.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

pub(super) async fn answer(router: &Router, request: Request) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub(super) fn get_request(path: &str) -> Request {
    request(Method::GET, path)
}

/// A request without a body. The characters of PromQL that URIs must not contain may stand in `path` as they are.
pub(super) fn request(method: Method, path: &str) -> Request {
    Request::builder().method(method).uri(escaped(path)).body(Body::empty()).unwrap()
}

pub(super) fn escaped(path: &str) -> String {
    let escape = |c: char| match c {
        '"' | '{' | '}' | '<' | '>' | ' ' | '^' | '|' => format!("%{:02X}", c as u32),
        c => c.to_string(),
    };
    path.chars().map(escape).collect()
}
