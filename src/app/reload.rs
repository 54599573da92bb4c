//! Loads the configuration again while the process runs: all of it or nothing.

use super::rule_groups::{RuleGroups, Terms};
use super::{load, retention};
use crate::config::{Config, ServeFlags};
use crate::http::state::{ConfigReload, ReloadStatus};
use crate::ingest::Ingest;
use crate::notify::Notifier;
use crate::rules::durable::AlertDesk;
use crate::rules::load::Loaded;
use crate::rules::manager::RuleManager;
use crate::rules::query_port::RuleQueries;
use crate::runtime::notices::{Notice, Notices};
use arc_swap::ArcSwap;
use futures::FutureExt;
use futures::future::BoxFuture;
use model::labels::Labels;
use promql::parse::ParseOptions;
use ruler::annotate::TemplateContext;
use ruler::group::GroupSettings;
use ruler::restore::ForRestore;
use std::sync::{Arc, Mutex, PoisonError};
use storage::lifecycle::retention::Retention;
use storage::store::Store;

/// The rules of this process.
pub(super) type Rules = RuleManager<RuleQueries, Ingest, AlertDesk>;

/// Puts a configuration in force.
pub(super) struct Reloader {
    pub(super) flags: ServeFlags,
    pub(super) parse: ParseOptions,
    pub(super) config: Arc<ArcSwap<Config>>,
    pub(super) rules: Arc<RuleGroups>,
    pub(super) notifier: Notifier,
    pub(super) store: Store,
    pub(super) notices: Notices,
    pub(super) status: Mutex<ReloadStatus>,
}

impl Reloader {
    /// Puts a checked configuration in force; `retention` is what it says about that.
    pub(super) async fn apply(&self, config: Config, loaded: Loaded, retention: Retention) {
        if let Some(file) = self.flags.config_file.as_deref() {
            for warning in config.warnings(file) {
                tracing::warn!(warning, "configuration");
            }
        }
        for warning in &loaded.warnings {
            tracing::warn!(warning, "rules");
        }
        if self.config.load().object_store != config.object_store {
            tracing::warn!("object_store changed: it takes effect at the next start");
        }
        self.store.set_retention(retention);
        let external_labels = Labels::from_pairs(&config.global.external_labels).unwrap_or_default();
        let external_url = self.flags.external_url();
        self.notifier.apply(&config.alerting, external_labels.clone(), &external_url);
        let context = TemplateContext { external_labels, external_url: external_url.into(), parse: self.parse.clone() };
        let settings = GroupSettings {
            context: Arc::new(context),
            resend_delay_ms: self.flags.resend_delay.as_millis(),
            repair_window_ms: self.flags.rules_repair_window.as_millis(),
            unknown_max_ms: self.flags.on_error_max.as_millis(),
            for_restore: ForRestore {
                outage_tolerance_ms: self.flags.for_outage_tolerance.as_millis(),
                grace_period_ms: self.flags.for_grace_period.as_millis(),
            },
        };
        let (defaults, legacy_names) = (load::group_defaults(&config), load::legacy_names(&config));
        self.config.store(Arc::new(config));
        self.rules.apply_files(loaded.groups, Terms { defaults, settings, legacy_names }).await;
    }

    async fn try_reload(&self) -> Result<(), String> {
        let flags = self.flags.clone();
        let parse = self.parse.clone();
        let load = move || {
            let config = load::config(&flags)?;
            let loaded = load::rules(&config, flags.config_file.as_deref(), &parse)?;
            let retention = retention::retention(&flags, &config, &parse)?;
            Ok::<_, String>((config, loaded, retention))
        };
        let (config, loaded, retention) =
            tokio::task::spawn_blocking(load).await.map_err(|panic| panic.to_string())??;
        self.apply(config, loaded, retention).await;
        Ok(())
    }
}

impl ConfigReload for Reloader {
    fn reload(&self) -> BoxFuture<'_, Result<(), String>> {
        async {
            let outcome = self.try_reload().await;
            let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
            status.successful = outcome.is_ok();
            match &outcome {
                Ok(()) => {
                    status.last_success = jiff::Timestamp::now();
                    self.notices.clear(Notice::ReloadFailed);
                    tracing::info!("configuration loaded");
                }
                Err(problem) => {
                    self.notices.raise(Notice::ReloadFailed);
                    tracing::error!(problem, "the configuration is not valid; the old one stays in force");
                }
            }
            outcome
        }
        .boxed()
    }

    fn status(&self) -> ReloadStatus {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
