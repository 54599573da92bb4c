//! What the HTTP handlers work with: handles to every part of the process, each as small as its readers need.

use super::cors::AllowedOrigins;
use super::readiness::Readiness;
use super::request_metrics::RequestMetrics;
use crate::config::Config;
use crate::query::executor::QueryExecutor;
pub use crate::query::store::MetadataSource;
use crate::query::store::SeriesStore;
use crate::rules::backfill::Backfill;
use crate::rules::config::RuleConfig;
use crate::rules::event_log::Histories;
use crate::runtime::notices::Notices;
use crate::scrape::self_scrape::TargetStatus;
#[cfg(feature = "sql")]
use crate::sql::Sql;
use crate::telemetry::registries::Registries;
use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use model::tenant::TenantId;
use ruler::driver::SharedGroup;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use storage::store::Store;
use storage::wal::replay::ReplayProgress;

/// What can be asked in every phase of the process. Cheap to clone.
#[derive(Clone)]
pub struct EarlyState {
    /// Whether requests may be answered.
    pub readiness: Readiness,
    /// How far the replay of the log has come.
    pub replay: Arc<ReplayProgress>,
    /// The own metrics.
    pub registries: Registries,
    /// Whether metrics are shown under Prometheus' names too.
    pub prometheus_names: bool,
    /// Counts requests; registered in `registries`.
    pub request_metrics: RequestMetrics,
    /// What people must know.
    pub notices: Notices,
    /// Which pages in a browser may read our answers.
    pub cors: AllowedOrigins,
}

/// Handles to the parts of the process. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    parts: Arc<AppParts>,
}

/// The parts.
pub struct AppParts {
    /// Whose parts they are.
    pub tenant: TenantId,
    /// What there was before the others.
    pub early: EarlyState,
    /// The stored series.
    pub store: Arc<dyn SeriesStore>,
    /// Runs queries over `store`.
    pub queries: QueryExecutor,
    /// Runs SQL over `store`.
    #[cfg(feature = "sql")]
    pub sql: Sql,
    /// What senders told about metrics.
    pub metadata: Arc<dyn MetadataSource>,
    /// The rule groups that run.
    pub rules: Arc<dyn RulesSource>,
    /// The rule groups that come by API; `None` while that is off.
    pub rule_config: Option<RuleConfig>,
    /// What happened to alerts and rules, as far as that is kept.
    pub histories: Histories,
    /// Evaluates recording rules over the past; `None` while operators may not change samples.
    pub backfill: Option<Backfill>,
    /// What operators may change stored samples by; `None` while that is not enabled.
    pub admin: Option<Store>,
    /// Where alerts go.
    pub alertmanagers: Arc<dyn AlertmanagersSource>,
    /// How the scrape of the own metrics goes; `None` when they are not scraped.
    pub self_scrape: Option<Arc<Mutex<TargetStatus>>>,
    /// The configuration in force.
    pub config: Arc<ArcSwap<Config>>,
    /// Loads the configuration again.
    pub reload: Arc<dyn ConfigReload>,
    /// What is known about the process.
    pub process: ProcessInfo,
}

impl AppState {
    /// Shares the parts.
    #[must_use]
    pub fn new(parts: AppParts) -> Self {
        Self { parts: Arc::new(parts) }
    }
}

impl Deref for AppState {
    type Target = AppParts;

    fn deref(&self) -> &AppParts {
        &self.parts
    }
}

/// Facts that do not change while the process runs.
#[derive(Debug, Clone)]
pub struct ProcessInfo {
    /// Start of the process.
    pub started: jiff::Timestamp,
    /// The flags in force, by name.
    pub flags: BTreeMap<String, String>,
    /// URL under which others reach this process, without a slash at its end.
    pub external_url: String,
    /// Directory in which the process was started.
    pub working_directory: PathBuf,
    /// Name of the machine.
    pub hostname: String,
    /// How long samples are kept, for people.
    pub storage_retention: String,
    /// How far back an instant selector looks when the query does not say.
    pub lookback: Duration,
    /// Whether `status/buildinfo` tells that rules can be edited.
    pub announces_rule_config: bool,
}

/// The rule groups that run.
pub trait RulesSource: Send + Sync {
    /// All of them.
    fn groups(&self) -> Vec<SharedGroup>;
}

/// Where alerts go.
pub trait AlertmanagersSource: Send + Sync {
    /// The URLs to which alerts are posted.
    fn active(&self) -> Vec<String>;

    /// The URLs of Alertmanagers that were found and dropped by relabelling.
    fn dropped(&self) -> Vec<String>;
}

/// Loads the configuration again.
pub trait ConfigReload: Send + Sync {
    /// Loads the configuration and puts it in force; when it is invalid, the old one stays.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    fn reload(&self) -> BoxFuture<'_, Result<(), String>>;

    /// How the last load went.
    fn status(&self) -> ReloadStatus;
}

/// How the last load of the configuration went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReloadStatus {
    /// Whether it succeeded.
    pub successful: bool,
    /// When one last succeeded.
    pub last_success: jiff::Timestamp,
}
