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
    shared: Arc<Shared>,
}

struct Shared {
    /// Not before they have started.
    tenants: OnceLock<Weak<Tenants>>,
    notices: Notices,
    status: Mutex<ReloadStatus>,
}

impl Reloader {
    /// Nothing to reload yet. The start counts as a successful load.
    pub(super) fn new(notices: Notices) -> Self {
        let status = Mutex::new(ReloadStatus { successful: true, last_success: jiff::Timestamp::now() });
        Self { shared: Arc::new(Shared { tenants: OnceLock::new(), notices, status }) }
    }

    /// Reloads the configuration of `tenants` from now on.
    pub(super) fn reloads(&self, tenants: &Arc<Tenants>) {
        self.shared.tenants.get_or_init(|| Arc::downgrade(tenants));
    }
}

impl Shared {
    async fn reload(&self, tenants: Arc<Tenants>) -> Result<(), String> {
        let outcome = try_reload(&tenants).await;
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
}

async fn try_reload(tenants: &Arc<Tenants>) -> Result<(), String> {
    let (flags, parse) = (tenants.common().flags.clone(), tenants.common().features.parse.clone());
    let load = move || Checked::load(&flags, &parse);
    let checked = tokio::task::spawn_blocking(load).await.map_err(|panic| panic.to_string())??;
    tenants.apply(checked).await;
    Ok(())
}

impl ConfigReload for Reloader {
    fn reload(&self) -> BoxFuture<'_, Result<(), String>> {
        async {
            let tenants = self.shared.tenants.get().and_then(Weak::upgrade).ok_or("the process starts or stops")?;
            let (shared, tasks) = (Arc::clone(&self.shared), tenants.tasks().clone());
            // Whoever asked may go away: what was begun is finished all the same.
            let reloaded = tasks.spawn(async move { shared.reload(tenants).await }).await;
            reloaded.map_err(|panic| panic.to_string())?
        }
        .boxed()
    }

    fn status(&self) -> ReloadStatus {
        *self.shared.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
