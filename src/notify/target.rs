//! One Alertmanager: its queue, and the task that empties it.

use super::{Latency, Shared, http};
use crate::config::{AlertmanagerConfig, BasicAuth};
use alertmanager_compat::client::{DeliveryQueue, QueueOptions};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// One Alertmanager.
pub(super) struct Target {
    url: String,
    pub(super) timeout: Duration,
    pub(super) basic_auth: Option<BasicAuth>,
    outbox: Mutex<Outbox>,
    /// Rings when something was pushed.
    news: Notify,
    /// Cancelled when a reload takes the target away.
    gone: CancellationToken,
}

/// What waits for it, and how its deliveries went.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) queue: DeliveryQueue,
    pub(super) latency: Latency,
}

impl Target {
    pub(super) fn new(url: &str, group: &AlertmanagerConfig, options: QueueOptions) -> Self {
        Self {
            url: url.to_owned(),
            timeout: group.timeout.as_std(),
            basic_auth: group.basic_auth.clone(),
            outbox: Mutex::new(Outbox { queue: DeliveryQueue::new(options), latency: Latency::default() }),
            news: Notify::new(),
            gone: CancellationToken::new(),
        }
    }

    /// Where alerts are posted.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that something was pushed.
    pub(super) fn ring(&self) {
        self.news.notify_one();
    }

    /// Ends its task; what still waits is lost.
    pub(super) fn end(&self) {
        self.gone.cancel();
    }

    pub(super) fn has_settings_of(&self, group: &AlertmanagerConfig) -> bool {
        self.timeout == group.timeout.as_std() && self.basic_auth == group.basic_auth
    }
}

/// Sends what is in the queue of one target until the target is gone, or the process stops and the queue is empty.
pub(super) async fn deliver(shared: Arc<Shared>, target: Arc<Target>) {
    loop {
        let next = target.outbox().queue.next_batch(shared.now());
        match next {
            Ok(batch) => {
                let started = Instant::now();
                let outcome = http::post(&shared.client, &target, &batch).await;
                let mut outbox = target.outbox();
                outbox.latency.observe(started.elapsed());
                outbox.queue.handle_outcome(&batch, outcome.is_ok(), shared.now());
                drop(outbox);
                if let Err(problem) = outcome {
                    let alerts = batch.alerts.len();
                    tracing::warn!(
                        alertmanager = target.url,
                        alerts,
                        problem,
                        "alerts were not accepted; they are sent again"
                    );
                }
            }
            Err(None) if shared.stop.is_cancelled() => return,
            Err(wait) => {
                let stopping = shared.stop.is_cancelled();
                tokio::select! {
                    () = until(wait, &shared) => {}
                    () = target.news.notified() => {}
                    () = target.gone.cancelled() => return,
                    () = shared.stop.cancelled(), if !stopping => {}
                }
            }
        }
    }
}

async fn until(time: Option<Duration>, shared: &Shared) {
    match time {
        Some(time) => tokio::time::sleep(time.saturating_sub(shared.now())).await,
        None => std::future::pending().await,
    }
}
