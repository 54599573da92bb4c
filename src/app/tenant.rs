//! Everything that one tenant has for itself: samples, queries, rules and alerts.

use super::common::Common;
use super::load::{self, Features};
use super::retention;
use super::rule_groups::{RuleGroups, Terms};
use super::store::report_takeover;
use crate::cluster::ring::{NodeId, Ring};
use crate::config::{AlertingConfig, Config, HttpHeader, PromDuration, RuleConfigApi, ServeFlags};
use crate::http;
use crate::http::remote_write::{self, RemoteWriteState};
use crate::http::state::{AppParts, AppState, ConfigReload, RulesSource};
use crate::ingest::{Ingest, IngestOptions};
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
use crate::scrape::self_scrape::TargetStatus;
#[cfg(feature = "sql")]
use crate::sql::{Sql, SqlSources};
use crate::telemetry::alert_journal::AlertJournalCollector;
use crate::telemetry::blocks::BlockCollector;
use crate::telemetry::notifier::NotifierCollector;
use crate::telemetry::storage::StorageCollector;
use axum::Router;
use model::labels::Labels;
use model::tenant::{self, TenantId};
use prometheus_client::registry::Registry;
use promql::budget::BudgetLimits;
use promql::engine::Engine as PromqlEngine;
use promql::parse::ParseOptions;
use ruler::annotate::TemplateContext;
use ruler::driver::SharedGroup;
use ruler::group::GroupSettings;
use ruler::restore::ForRestore;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
#[cfg(feature = "sql")]
use storage::engine::Engine;
use storage::error::Error;
use storage::record_log::RecordLogOptions;
use storage::store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the start waits for configured rules.
const CONFIGURED_RULES_WAIT: Duration = Duration::from_secs(5);

/// The rules of a tenant.
pub(super) type Rules = RuleManager<RuleQueries, Ingest, AlertDesk>;

/// The parts of a tenant.
pub(super) struct Tenant {
    id: TenantId,
    router: Router,
    queries: QueryExecutor,
    query_metrics: QueryMetrics,
    ingest: Ingest,
    store: Store,
    rules: Rules,
    groups: Arc<RuleGroups>,
    rule_config: Option<RuleConfig>,
    notifier: Notifier,
    alerts: AlertStore,
    histories: Histories,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What a tenant gets from whoever starts it.
pub(super) struct Given {
    pub(super) store: Store,
    pub(super) reload: Arc<dyn ConfigReload>,
    /// How the scrape of the own metrics goes, for the tenant to whom they go.
    pub(super) self_scrape: Option<Arc<Mutex<TargetStatus>>>,
}

impl Tenant {
    /// Starts everything over an open store. Rules begin with [`Self::apply`].
    ///
    /// # Errors
    /// The alert journal cannot be opened.
    pub(super) async fn start(common: &Common, id: TenantId, given: Given) -> Result<Self, String> {
        let Common { flags, features, memory, .. } = common;
        let Given { store, reload, self_scrape } = given;
        let directory = common.directory(&id);
        let engine = store.engine().clone();
        let source = Arc::new(EngineStore::new(store.clone()));
        let query_metrics = QueryMetrics::default();
        query_metrics.allow(flags.query_concurrency_max);
        let queries = queries(common, &source, &query_metrics, &directory);

        let node = NodeId::new("local");
        let ring = Arc::new(Ring::of_one(node.clone()));
        let (options, cpu) = (ingest_options(flags), common.ingest_pool.clone());
        let ingest = Ingest::new(id.clone(), options, ring, node, Arc::new(engine.clone()), cpu);
        ingest.bound_by(memory.clone());
        ingest.stored_within(common.space.clone());

        let (bytes_max, keep) = (flags.alert_history_bytes, flags.alert_history_time);
        let of_alerts = directory.join("alerts");
        let history =
            open_history("alerts", bytes_max, keep, |log| AlertHistory::open(&of_alerts.join("history"), log));
        let told = history.clone();
        let opened = tokio::task::spawn_blocking(move || AlertStore::open(&of_alerts, told)).await;
        let alerts = opened.map_err(|panic| panic.to_string())?;
        let alerts = alerts.map_err(|error| format!("cannot start threads: {error}"))?;
        let notifier = Notifier::new(notifier_options(flags), Arc::new(alerts.clone()));
        let desk = AlertDesk::new(alerts.clone(), notifier.clone());
        let mut rule_queries = RuleQueries::new(queries.clone(), id.clone()).watching(engine.head().clone());
        if features.concurrent_rule_eval {
            rule_queries = rule_queries.at_once(flags.rules_concurrent_max);
        }
        let rules = RuleManager::new(rule_queries, ingest.clone(), desk);
        let (bytes_max, keep) = (flags.rule_history_bytes, flags.rule_history_time);
        let of_rules = |log| RuleHistory::open(&directory.join("rules"), log);
        let histories = Histories { alerts: history, rules: open_history("rules", bytes_max, keep, of_rules) };
        rules.keep_histories(histories.clone());
        let groups = Arc::new(RuleGroups::new(rules.clone()));
        let rule_config = rule_config(flags, features, &id, &store, groups.clone());

        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let backfill = || Backfill::new(queries.clone(), ingest.clone(), tasks.clone(), stop.clone());
        let state = AppState::new(AppParts {
            tenant: id.clone(),
            early: common.early.clone(),
            #[cfg(feature = "sql")]
            sql: Sql::new(sql_sources(flags, source.clone(), &engine), queries.clone()),
            store: source,
            queries: queries.clone(),
            metadata: Arc::new(engine),
            rules: Arc::new(RunningRules(rules.clone())),
            rule_config: rule_config.clone(),
            histories: histories.clone(),
            admin: flags.enable_admin_api.then(|| store.clone()),
            backfill: flags.enable_admin_api.then(backfill),
            alertmanagers: Arc::new(notifier.clone()),
            self_scrape,
            config: Arc::clone(&common.config),
            reload,
            process: common.process.clone(),
        });
        let router = http::app(&state, remote_write::router(RemoteWriteState::new(ingest.clone())));
        tasks.spawn(report_takeover(store.clone(), stop.clone()));
        let tenant = Self {
            id,
            router,
            queries,
            query_metrics,
            ingest,
            store,
            rules,
            groups,
            rule_config,
            notifier,
            alerts,
            histories,
            tasks,
            stop,
        };
        tenant.register(common);
        Ok(tenant)
    }

    /// Shows its metrics, which say whose they are when there may be others.
    fn register(&self, common: &Common) {
        let mut registry = Registry::default();
        self.query_metrics.register(&mut registry);
        self.ingest.metrics().register(&mut registry);
        registry.register_collector(Box::new(HistoryCollector::new(self.histories.clone())));
        registry.register_collector(Box::new(BlockCollector::new(self.store.clone())));
        let counted = self.store.engine().clone();
        registry.register_collector(Box::new(StorageCollector::new(move || counted.stats())));
        registry.register_collector(Box::new(RuleCollector::new(self.rules.clone())));
        registry.register_collector(Box::new(NotifierCollector::new(self.notifier.clone())));
        registry.register_collector(Box::new(AlertJournalCollector::new(self.alerts.clone())));
        if let Some(config) = &self.rule_config {
            registry.register_collector(Box::new(RuleConfigCollector::new(config.clone())));
        }
        common.early.registries.set_tenant(&self.id, registry, common.flags.tenants_enabled);
    }

    /// Reads the rules that came by API, as far as they can be read now.
    pub(super) async fn load_configured(&self) {
        if let Some(rules) = &self.rule_config {
            load_configured(rules).await;
        }
    }

    /// Begins with those rules and with `loaded`.
    pub(super) async fn begin(&self, common: &Common, config: &Config, loaded: Loaded) {
        if let Some(rules) = &self.rule_config {
            self.tasks.spawn(rules.clone().run(self.stop.clone()));
        }
        self.apply(common, config, loaded).await;
        self.tasks.spawn(end_left(self.rules.clone(), self.rule_config.clone(), self.stop.clone()));
    }

    /// Puts a checked configuration in force; `loaded` are the rules that it gives to this tenant.
    pub(super) async fn apply(&self, common: &Common, config: &Config, loaded: Loaded) {
        let Common { flags, features, .. } = common;
        match retention::retention(flags, config, &self.id, &features.parse) {
            Ok(retention) => self.store.set_retention(retention),
            Err(problem) => tracing::error!(problem, tenant = %self.id, "what is kept stays as it was"),
        }
        let external_labels = Labels::from_pairs(&config.global.external_labels).unwrap_or_default();
        let external_url = flags.external_url();
        let alerting = alerting(flags, config, &self.id);
        self.notifier.apply(&alerting, external_labels.clone(), &external_url);
        let parse: ParseOptions = features.parse.clone();
        let context = TemplateContext { external_labels, external_url: external_url.into(), parse };
        let settings = GroupSettings {
            context: Arc::new(context),
            resend_delay_ms: flags.resend_delay.as_millis(),
            repair_window_ms: flags.rules_repair_window.as_millis(),
            unknown_max_ms: flags.on_error_max.as_millis(),
            for_restore: ForRestore {
                outage_tolerance_ms: flags.for_outage_tolerance.as_millis(),
                grace_period_ms: flags.for_grace_period.as_millis(),
            },
        };
        let (defaults, legacy_names) = (load::group_defaults(config), load::legacy_names(config));
        self.groups.apply_files(loaded.groups, Terms { defaults, settings, legacy_names }).await;
    }

    /// Whose parts they are.
    pub(super) fn id(&self) -> &TenantId {
        &self.id
    }

    /// Its routes. A cheap handle.
    pub(super) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Its queries.
    pub(super) fn queries(&self) -> &QueryExecutor {
        &self.queries
    }

    /// Its samples.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The door to them.
    pub(super) fn ingest(&self) -> &Ingest {
        &self.ingest
    }

    /// How many rule groups run.
    pub(super) fn group_count(&self) -> usize {
        self.rules.groups().len()
    }

    /// Ends what runs by itself and closes storage.
    pub(super) async fn shutdown(&self) -> Result<(), String> {
        self.queries.active().cancel_all();
        self.rules.shutdown().await;
        let histories = self.histories.clone();
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

fn queries(common: &Common, source: &Arc<EngineStore>, metrics: &QueryMetrics, directory: &Path) -> QueryExecutor {
    let Common { flags, features, pool, memory, .. } = common;
    let language = PromqlEngine::new(common.engine.clone());
    let options = query_options(flags, features);
    let queries = QueryExecutor::new(options, language, source.clone(), pool.clone(), metrics.clone());
    if flags.query_results_cache_bytes > 0 {
        queries.keep_results(flags.query_results_cache_bytes, source.clone());
    }
    queries.bound_by(memory.clone());
    match Journal::open(&directory.join("queries.active")) {
        Ok((journal, interrupted)) => queries.active().keep_journal(journal, interrupted),
        Err(error) => tracing::warn!(%error, "running queries are not written down: cannot open queries.active"),
    }
    queries
}

/// Where alerts go. With several tenants each post says whose alerts they are, so that an Alertmanager that knows tenants keeps
/// them apart, unless the configuration says something itself.
fn alerting(flags: &ServeFlags, config: &Config, tenant: &TenantId) -> AlertingConfig {
    let mut alerting = config.alerting.clone();
    if flags.tenants_enabled {
        for group in &mut alerting.alertmanagers {
            let is_said = group.http_headers.keys().any(|name| name.eq_ignore_ascii_case(tenant::HEADER));
            if !is_said {
                let header = HttpHeader { values: vec![tenant.to_string()], ..HttpHeader::default() };
                group.http_headers.insert(tenant::HEADER.to_owned(), header);
            }
        }
    }
    alerting
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
fn rule_config(
    flags: &ServeFlags,
    features: &Features,
    id: &TenantId,
    store: &Store,
    groups: Arc<RuleGroups>,
) -> Option<RuleConfig> {
    if flags.rules_config_api == RuleConfigApi::Off {
        return None;
    }
    let limits = RuleLimits { groups_max: flags.rules_config_groups_max, rules_max: flags.rules_config_rules_max };
    Some(RuleConfig::new(id.clone(), store.documents("rules"), limits, features.parse.clone(), groups))
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

/// Rules as the API shows them.
struct RunningRules(Rules);

impl RulesSource for RunningRules {
    fn groups(&self) -> Vec<SharedGroup> {
        self.0.groups()
    }
}
