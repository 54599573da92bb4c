//! Loads the configuration again while the process runs: all of it or nothing.

use super::plan::Checked;
use super::tenants::Tenants;
use crate::http::state::{ConfigReload, ReloadStatus};
use crate::runtime::notices::{Notice, Notices};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// Puts a new configuration in force.
pub(super) struct Reloader {
    /// Not before they have started.
    tenants: OnceLock<Weak<Tenants>>,
    notices: Notices,
    status: Mutex<ReloadStatus>,
}

impl Reloader {
    /// Nothing to reload yet. The start counts as a successful load.
    pub(super) fn new(notices: Notices) -> Self {
        let status = Mutex::new(ReloadStatus { successful: true, last_success: jiff::Timestamp::now() });
        Self { tenants: OnceLock::new(), notices, status }
    }

    /// Reloads the configuration of `tenants` from now on.
    pub(super) fn reloads(&self, tenants: &Arc<Tenants>) {
        self.tenants.get_or_init(|| Arc::downgrade(tenants));
    }

    async fn try_reload(&self) -> Result<(), String> {
        let tenants = self.tenants.get().and_then(Weak::upgrade).ok_or("the process starts or stops")?;
        let (flags, parse) = (tenants.common().flags.clone(), tenants.common().features.parse.clone());
        let load = move || Checked::load(&flags, &parse);
        let checked = tokio::task::spawn_blocking(load).await.map_err(|panic| panic.to_string())??;
        tenants.apply(checked).await;
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
