//! What the user asked for, read and checked as a whole before anything of it counts.

use super::load::{self, Features};
use super::retention;
use crate::config::{Config, ServeFlags};
use crate::http::cors::AllowedOrigins;
use crate::http::readiness::Readiness;
use crate::http::request_metrics::RequestMetrics;
use crate::http::state::EarlyState;
use crate::rules::load::Loaded;
use crate::runtime::notices::{Notice, Notices};
use crate::telemetry::process::ProcessCollector;
use crate::telemetry::registries::Registries;
use model::tenant::TenantId;
use prometheus_client::registry::Registry;
use promql::parse::ParseOptions;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A configuration that is valid with the rule files and selectors that it names.
pub(super) struct Checked {
    pub(super) config: Config,
    /// The rules of `anonymous` and of those that the configuration names, by tenant.
    pub(super) rules: BTreeMap<TenantId, Loaded>,
    /// It has a section `tenants`, which does not count here.
    ignores_tenants: bool,
}

impl Checked {
    /// Reads the file that the flags name, and all that it names.
    ///
    /// # Errors
    /// What is wrong with it; the text names every cause.
    pub(super) fn load(flags: &ServeFlags, parse: &ParseOptions) -> Result<Self, String> {
        let mut config = load::config(flags)?;
        let ignores_tenants = !flags.tenants_enabled && !config.tenants.is_empty();
        if ignores_tenants {
            config.tenants.clear();
        }
        // For tenants that the configuration does not name.
        retention::classes(&config, None, parse)?;
        let mut rules = BTreeMap::new();
        for tenant in load::tenants(&config) {
            retention::retention(flags, &config, &tenant, parse)?;
            let loaded = load::rules(&config, flags.config_file.as_deref(), parse, &tenant)?;
            rules.insert(tenant, loaded);
        }
        Ok(Self { config, rules, ignores_tenants })
    }

    /// Says what an operator should know about it.
    pub(super) fn warn(&self, flags: &ServeFlags) {
        if let Some(file) = flags.config_file.as_deref() {
            for warning in self.config.warnings(file) {
                tracing::warn!(warning, "configuration");
            }
        }
        for warning in self.rules.values().flat_map(|loaded| &loaded.warnings) {
            tracing::warn!(warning, "rules");
        }
        if self.ignores_tenants {
            tracing::warn!("the section tenants does not count without --tenants.enabled");
        }
    }
}

/// What the user asked for, checked.
pub(super) struct Plan {
    pub(super) checked: Checked,
    pub(super) features: Features,
    cors: AllowedOrigins,
}

impl Plan {
    /// Reads and checks everything that the user can get wrong.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn new(flags: &ServeFlags) -> Result<Self, String> {
        let features = Features::from_names(&flags.enable_feature);
        for warning in &features.warnings {
            tracing::warn!(warning, "features");
        }
        let checked = Checked::load(flags, &features.parse)?;
        let cors = AllowedOrigins::new(&flags.cors_origin).map_err(|error| format!("--web.cors.origin: {error}"))?;
        Ok(Self { checked, features, cors })
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
            registries: Registries::of(registry),
            prometheus_names: flags.prometheus_metric_names,
            request_metrics,
            notices,
            cors: self.cors.clone(),
        }
    }
}
