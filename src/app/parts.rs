//! Puts the parts of the process together, and takes them apart at the end.

use super::load::{self, Features};
use super::reload::{Reloader, Rules};
use super::retention;
use super::room::{Room, watch};
use super::rule_groups::RuleGroups;
use crate::cluster::ring::{NodeId, Ring};
use crate::config::{Config, PromDuration, RuleConfigApi, ServeFlags};
use crate::http::cors::AllowedOrigins;
use crate::http::readiness::{Phase, Readiness};
use crate::http::remote_write::{self, RemoteWriteState};
use crate::http::request_metrics::RequestMetrics;
use crate::http::state::{AppParts, AppState, ConfigReload, EarlyState, ProcessInfo, ReloadStatus, RulesSource};
use crate::http::{self, exposition};
use crate::ingest::{Ingest, IngestOptions, OwnSample};
use crate::notify::{Notifier, NotifierOptions};
use crate::query::admission::AdmissionOptions;
use crate::query::engine_store::EngineStore;
use crate::query::executor::QueryExecutor;
use crate::query::journal::Journal;
use crate::query::metrics::QueryMetrics;
use crate::query::request::QueryOptions;
use crate::rules::backfill::Backfill;
use crate::rules::config::{RuleConfig, RuleConfigCollector, RuleLimits};
use crate::rules::durable::{AlertDesk, AlertStore};
use crate::rules::event_log::Histories;
use crate::rules::history::{AlertHistory, HistoryCollector};
use crate::rules::load::Loaded;
use crate::rules::manager::RuleManager;
use crate::rules::metrics::RuleCollector;
use crate::rules::query_port::RuleQueries;
use crate::rules::rule_history::RuleHistory;
use crate::runtime::cpu::CpuPool;
use crate::runtime::local_space::LocalSpace;
use crate::runtime::notices::{Notice, Notices};
use crate::scrape::self_scrape::{SelfScrape, Sink, TargetStatus};
#[cfg(feature = "sql")]
use crate::sql::{Sql, SqlSources};
use crate::telemetry::alert_journal::AlertJournalCollector;
use crate::telemetry::blocks::BlockCollector;
use crate::telemetry::local_space::LocalSpaceCollector;
use crate::telemetry::memory::MemoryCollector;
use crate::telemetry::notifier::NotifierCollector;
use crate::telemetry::process::ProcessCollector;
use crate::telemetry::reload::ReloadCollector;
use crate::telemetry::storage::StorageCollector;
use arc_swap::ArcSwap;
use axum::Router;
use model::labels::Labels;
use model::metadata::Metadata;
use model::tenant::TenantId;
use prometheus_client::registry::Registry;
use promql::budget::BudgetLimits;
use promql::engine::{Engine as PromqlEngine, EngineOptions};
use promql::parse::ParseOptions;
use promql::value::SampleValue;
use ruler::driver::SharedGroup;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
#[cfg(feature = "sql")]
use storage::engine::Engine;
use storage::error::Error;
use storage::lifecycle::retention::Retention;
use storage::record_log::RecordLogOptions;
use storage::store::Store;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the start waits for configured rules.
const CONFIGURED_RULES_WAIT: Duration = Duration::from_secs(5);

/// What the user asked for, checked.
pub(super) struct Plan {
    config: Config,
    loaded: Loaded,
    features: Features,
    cors: AllowedOrigins,
    retention: Retention,
}

/// Reads and checks everything that the user can get wrong.
pub(super) fn plan(flags: &ServeFlags) -> Result<Plan, String> {
    let features = Features::from_names(&flags.enable_feature);
    for warning in &features.warnings {
        tracing::warn!(warning, "features");
    }
    let config = load::config(flags)?;
    let loaded = load::rules(&config, flags.config_file.as_deref(), &features.parse)?;
    let cors = AllowedOrigins::new(&flags.cors_origin).map_err(|error| format!("--web.cors.origin: {error}"))?;
    let retention = retention::retention(flags, &config, &features.parse)?;
    Ok(Plan { config, loaded, features, cors, retention })
}

impl Plan {
    /// The configuration.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// What expires.
    pub(super) fn retention(&self) -> &Retention {
        &self.retention
    }

    /// What can be asked while storage opens. The metrics then are those of the process alone.
    pub(super) fn early(&self, flags: &ServeFlags) -> EarlyState {
        let mut registry = Registry::default();
        let request_metrics = RequestMetrics::default();
        request_metrics.register(&mut registry);
        registry.register_collector(Box::new(ProcessCollector::new()));
        let notices = Notices::new(flags.notifications_subscribers_max);
        notices.raise(Notice::Starting);
        EarlyState {
            readiness: Readiness::default(),
            replay: Arc::default(),
            registry: Arc::new(registry),
            prometheus_names: flags.prometheus_metric_names,
            request_metrics,
            notices,
            cors: self.cors.clone(),
        }
    }
}

/// The parts of a process that answers.
pub(super) struct Parts {
    state: AppState,
    ingest: Ingest,
    store: Store,
    reloader: Arc<Reloader>,
    rules: Rules,
    notifier: Notifier,
    alerts: AlertStore,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Parts {
    /// Starts everything over an open store.
    pub(super) async fn start(flags: &ServeFlags, plan: Plan, early: EarlyState, store: Store) -> Result<Self, String> {
        let engine = store.engine().clone();
        let mut registry = Registry::default();
        let query_metrics = QueryMetrics::default();
        query_metrics.register(&mut registry);
        query_metrics.allow(flags.query_concurrency_max);
        let pool = CpuPool::new().map_err(|error| format!("cannot start threads: {error}"))?;
        let source = Arc::new(EngineStore::new(store.clone()));
        let options = query_options(flags, &plan.features);
        let language = PromqlEngine::new(engine_options(flags, &plan));
        let queries = QueryExecutor::new(options, language, source.clone(), pool, query_metrics);
        if flags.query_results_cache_bytes > 0 {
            queries.keep_results(flags.query_results_cache_bytes, source.clone());
        }
        let memory = load::memory(flags);
        queries.bound_by(memory.clone());
        match Journal::open(&flags.storage_path.join("queries.active")) {
            Ok((journal, interrupted)) => queries.active().keep_journal(journal, interrupted),
            Err(error) => tracing::warn!(%error, "running queries are not written down: cannot open queries.active"),
        }

        let node = NodeId::new("local");
        let ring = Arc::new(Ring::of_one(node.clone()));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cpu = CpuPool::with_size(1, cores).map_err(|error| format!("cannot start threads: {error}"))?;
        let ingest = Ingest::new(ingest_options(flags), ring, node, Arc::new(engine.clone()), cpu);
        ingest.metrics().register(&mut registry);
        let space = LocalSpace::new(flags.local_size);
        ingest.bound_by(memory.clone());
        ingest.stored_within(space.clone());
        let room = Room { memory, space };

        let directory = flags.storage_path.join("alerts");
        let (bytes_max, keep) = (flags.alert_history_bytes, flags.alert_history_time);
        let history =
            open_history("alerts", bytes_max, keep, |log| AlertHistory::open(&directory.join("history"), log));
        let told = history.clone();
        let opened = tokio::task::spawn_blocking(move || AlertStore::open(&directory, told)).await;
        let alerts = opened.map_err(|panic| panic.to_string())?;
        let alerts = alerts.map_err(|error| format!("cannot start threads: {error}"))?;
        let notifier = Notifier::new(notifier_options(flags), Arc::new(alerts.clone()));
        let desk = AlertDesk::new(alerts.clone(), notifier.clone());
        let mut rule_queries = RuleQueries::new(queries.clone(), TenantId::anonymous()).watching(engine.head().clone());
        if plan.features.concurrent_rule_eval {
            rule_queries = rule_queries.at_once(flags.rules_concurrent_max);
        }
        let rules = RuleManager::new(rule_queries, ingest.clone(), desk);
        let config = Arc::new(ArcSwap::from_pointee(plan.config.clone()));
        let (bytes_max, keep) = (flags.rule_history_bytes, flags.rule_history_time);
        let of_rules = |log| RuleHistory::open(&flags.storage_path.join("rules"), log);
        let histories = Histories { alerts: history, rules: open_history("rules", bytes_max, keep, of_rules) };
        registry.register_collector(Box::new(HistoryCollector::new(histories.clone())));
        rules.keep_histories(histories.clone());
        let groups = Arc::new(RuleGroups::new(rules.clone()));
        let rule_config = rule_config(flags, &plan.features, &store, groups.clone());
        let reloader = Arc::new(Reloader {
            flags: flags.clone(),
            parse: plan.features.parse.clone(),
            config: Arc::clone(&config),
            rules: groups,
            notifier: notifier.clone(),
            store: store.clone(),
            notices: early.notices.clone(),
            status: Mutex::new(ReloadStatus { successful: true, last_success: jiff::Timestamp::now() }),
        });

        early.request_metrics.register(&mut registry);
        registry.register_collector(Box::new(BlockCollector::new(store.clone())));
        let counted = engine.clone();
        registry.register_collector(Box::new(StorageCollector::new(move || counted.stats())));
        registry.register_collector(Box::new(RuleCollector::new(rules.clone())));
        registry.register_collector(Box::new(NotifierCollector::new(notifier.clone())));
        registry.register_collector(Box::new(AlertJournalCollector::new(alerts.clone())));
        registry.register_collector(Box::new(ReloadCollector::new(reloader.clone())));
        registry.register_collector(Box::new(ProcessCollector::new()));
        registry.register_collector(Box::new(MemoryCollector::new(room.memory.clone())));
        registry.register_collector(Box::new(LocalSpaceCollector::new(room.space.clone())));
        if let Some(config) = &rule_config {
            registry.register_collector(Box::new(RuleConfigCollector::new(config.clone())));
        }
        let registry = Arc::new(registry);

        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let backfill = || Backfill::new(queries.clone(), ingest.clone(), tasks.clone(), stop.clone());
        let backfill = flags.enable_admin_api.then(backfill);
        let scrape = &plan.config.self_scrape;
        let status = scrape.enabled.then(|| Arc::new(Mutex::new(target_status(flags, &plan.config))));
        let parts = AppParts {
            early: EarlyState { registry: Arc::clone(&registry), ..early },
            #[cfg(feature = "sql")]
            sql: Sql::new(sql_sources(flags, source.clone(), &engine), queries.clone()),
            store: source,
            queries,
            metadata: Arc::new(engine.clone()),
            rules: Arc::new(RunningRules(rules.clone())),
            rule_config: rule_config.clone(),
            histories,
            admin: flags.enable_admin_api.then(|| store.clone()),
            backfill,
            alertmanagers: Arc::new(notifier.clone()),
            self_scrape: status.clone(),
            config,
            reload: reloader.clone(),
            process: process_info(flags),
        };
        let state = AppState::new(parts);
        let notices = state.early.notices.clone();
        tasks.spawn(watch(room, state.queries.clone(), store.clone(), notices.clone(), stop.clone()));
        tasks.spawn(super::store::watch(store.clone(), notices.clone(), stop.clone()));
        tasks.spawn(super::store::report_takeover(store.clone(), stop.clone()));
        if let Some(status) = status {
            let prometheus_names = flags.prometheus_metric_names;
            let page = Arc::new(move || exposition::page(&registry, prometheus_names).unwrap_or_default());
            tasks.spawn(SelfScrape::new(OwnSamples(ingest.clone()), page, status).run(stop.clone()));
        }
        state.early.readiness.set(Phase::Ready);
        if let Some(config) = &rule_config {
            load_configured(config).await;
            tasks.spawn(config.clone().run(stop.clone()));
        }
        reloader.apply(plan.config, plan.loaded, plan.retention).await;
        tasks.spawn(end_left(rules.clone(), rule_config, stop.clone()));
        Ok(Self { state, ingest, store, reloader, rules, notifier, alerts, tasks, stop })
    }

    /// All routes.
    pub(super) fn router(&self) -> Router {
        http::app(&self.state, remote_write::router(RemoteWriteState::new(self.ingest.clone())))
    }

    /// Says what to do next.
    pub(super) fn announce(&self, flags: &ServeFlags) {
        self.state.early.notices.clear(Notice::Starting);
        let url = flags.external_url();
        tracing::info!(
            write = format!("{url}/api/v1/write"),
            query = format!("{url}/api/v1/query?query=up"),
            rules = self.rules.groups().len(),
            "Hearth is ready: point remote_write and Grafana here, or run `hearth query up`"
        );
    }

    /// Serves, and loads the configuration again at each `SIGHUP`, until `end`.
    pub(super) async fn run_until(&self, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return end.await };
        loop {
            tokio::select! {
                () = &mut end => return,
                _ = hangup.recv() => {
                    // What came of it is in the log and in the metrics.
                    let _ = self.reloader.reload().await;
                }
            }
        }
    }

    /// New requests are told to come back later; who follows notices is told, and need not be waited for.
    pub(super) fn stop_taking(&self) {
        self.state.early.readiness.set(Phase::Stopping);
        self.state.early.notices.raise(Notice::Stopping);
    }

    /// Ends what runs by itself and closes storage.
    pub(super) async fn shutdown(self) -> Result<(), String> {
        self.state.queries.active().cancel_all();
        self.rules.shutdown().await;
        let histories = self.state.histories.clone();
        // What waits is written; rules have ended, so that nothing follows.
        let _ = tokio::task::spawn_blocking(move || histories.close()).await;
        self.notifier.shutdown().await;
        let alerts = self.alerts.clone();
        if let Err(panic) = tokio::task::spawn_blocking(move || alerts.close()).await {
            tracing::error!(%panic, "the alert journal was not closed");
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let store = self.store.clone();
        let closed = tokio::task::spawn_blocking(move || store.close()).await;
        match closed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("close storage: {}", error.to_line())),
            Err(panic) => Err(format!("close storage: {panic}")),
        }
    }
}

/// A history of `what`, unless it is off (of no bytes) or cannot be opened, which keeps nothing from running.
fn open_history<T>(
    what: &str,
    bytes_max: u64,
    keep: PromDuration,
    open: impl FnOnce(RecordLogOptions) -> Result<T, Error>,
) -> Option<T> {
    if bytes_max == 0 {
        return None;
    }
    match open(RecordLogOptions { bytes_max, keep_ms: keep.as_millis() }) {
        Ok(history) => Some(history),
        Err(error) => {
            tracing::warn!(error = error.to_line(), "no history of {what} is kept");
            None
        }
    }
}

/// Ends what groups wrote that are configured no more, as soon as all are known that are.
async fn end_left(rules: Rules, config: Option<RuleConfig>, stop: CancellationToken) {
    if let Some(config) = config
        && stop.run_until_cancelled(config.until_whole()).await.is_none()
    {
        return;
    }
    rules.end_left().await;
}

/// The rule groups that come by API, unless that is off.
fn rule_config(flags: &ServeFlags, features: &Features, store: &Store, groups: Arc<RuleGroups>) -> Option<RuleConfig> {
    if flags.rules_config_api == RuleConfigApi::Off {
        return None;
    }
    let limits = RuleLimits { groups_max: flags.rules_config_groups_max, rules_max: flags.rules_config_rules_max };
    Some(RuleConfig::new(store.documents("rules"), limits, features.parse.clone(), groups))
}

/// Reads configured rules before the first evaluation, so that they begin together with those of files. A store that does not
/// answer keeps nobody waiting: the groups of files begin, the others follow.
async fn load_configured(config: &RuleConfig) {
    match tokio::time::timeout(CONFIGURED_RULES_WAIT, config.load()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let problem = load::with_causes(&error);
            tracing::warn!(problem, "configured rules could not be read; rules of files begin without them");
        }
        Err(_) => tracing::warn!("configured rules could not be read in time; rules of files begin without them"),
    }
}

fn query_options(flags: &ServeFlags, features: &Features) -> QueryOptions {
    QueryOptions {
        parse: ParseOptions {
            // They are held besides what is charged to the query, and before it has a place.
            regex_bytes_max: features.parse.regex_bytes_max.min(flags.query_bytes_max / 4),
            ..features.parse.clone()
        },
        limits: BudgetLimits {
            samples_max: flags.query_samples_max,
            bytes_max: flags.query_bytes_max,
            series_max: flags.query_series_max,
        },
        timeout: flags.query_timeout.as_std(),
        admission: AdmissionOptions {
            interactive_max: flags.query_concurrency_max,
            rules_max: flags.query_concurrency_max,
            waiting_max: 1_000,
        },
        log_slower_than: flags.query_slow.as_std(),
    }
}

#[cfg(feature = "sql")]
fn sql_sources(flags: &ServeFlags, store: Arc<EngineStore>, engine: &Engine) -> SqlSources {
    SqlSources {
        metadata: Arc::new(engine.clone()),
        blocks: store.clone(),
        store,
        lookback_ms: flags.query_lookback.as_millis(),
    }
}

fn engine_options(flags: &ServeFlags, plan: &Plan) -> EngineOptions {
    EngineOptions {
        lookback_ms: flags.query_lookback.as_millis(),
        subquery_step_ms: plan.config.global.evaluation_interval.as_millis(),
        ..plan.features.engine_options()
    }
}

fn notifier_options(flags: &ServeFlags) -> NotifierOptions {
    NotifierOptions {
        queue_capacity: flags.notification_queue_capacity,
        queue_bytes_max: flags.notification_queue_bytes,
        batch_max: flags.notification_batch_size,
        drain: flags.drain_notification_queue,
    }
}

fn ingest_options(flags: &ServeFlags) -> IngestOptions {
    IngestOptions {
        decoded_bytes_max: flags.write_decoded_bytes_max,
        inflight_bytes_max: flags.write_inflight_bytes_max,
        ..IngestOptions::default()
    }
}

fn target_status(flags: &ServeFlags, config: &Config) -> TargetStatus {
    TargetStatus {
        job: config.self_scrape.job.clone(),
        instance: flags.listen_address.to_string(),
        url: format!("http://{}/metrics", flags.listen_address),
        interval: config.global.scrape_interval.as_std(),
        ..TargetStatus::default()
    }
}

fn process_info(flags: &ServeFlags) -> ProcessInfo {
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    ProcessInfo {
        started: jiff::Timestamp::now(),
        flags: flag_values(),
        external_url: flags.external_url(),
        working_directory: std::env::current_dir().unwrap_or_default(),
        hostname: hostname.trim().to_owned(),
        storage_retention: retention::describe(flags),
        lookback: flags.query_lookback.as_std(),
        announces_rule_config: flags.rules_config_api == RuleConfigApi::Announced,
    }
}

/// The flags in force, as the command line and the environment set them.
fn flag_values() -> BTreeMap<String, String> {
    let command = crate::cli::serve_command();
    let matches = command.clone().get_matches();
    let inner = matches.subcommand().map_or(&matches, |(_, inner)| inner);
    let values = |id: &str| {
        let raw = inner.try_get_raw(id).ok().flatten().into_iter().flatten();
        raw.map(|value| value.to_string_lossy().into_owned()).collect::<Vec<_>>().join(",")
    };
    let flags = command.get_arguments().filter_map(|a| Some((a.get_long()?.to_owned(), values(a.get_id().as_str()))));
    flags.collect()
}

/// Rules as the API shows them.
struct RunningRules(Rules);

impl RulesSource for RunningRules {
    fn groups(&self) -> Vec<SharedGroup> {
        self.0.groups()
    }
}

/// The own scrape writes as rules do.
struct OwnSamples(Ingest);

impl Sink for OwnSamples {
    async fn store(
        &self,
        timestamp_ms: i64,
        samples: Vec<(Labels, f64)>,
        metadata: Vec<(String, Metadata)>,
    ) -> Result<(), String> {
        let own = |(labels, value)| OwnSample { labels, timestamp_ms, value: SampleValue::Float(value) };
        let samples: Vec<_> = samples.into_iter().map(own).collect();
        self.0.write_own(&samples).await.map_err(|error| error.to_string())?;
        self.0.write_own_metadata(metadata).await.map_err(|error| error.to_string())
    }
}
