//! One Alertmanager: its queue, and the task that empties it.

use super::client::HttpClient;
use super::{Latency, Shared, TargetStats, post};
use alertmanager_compat::alert::PostableAlert;
use alertmanager_compat::client::{DeliveryQueue, Outcome, QueueOptions};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What waits for one Alertmanager, whether or not it is a target just now.
pub(super) struct Outbox {
    url: String,
    content: Mutex<Content>,
    /// Rings when something was pushed.
    news: Notify,
}

struct Content {
    queue: DeliveryQueue,
    latency: Latency,
}

impl Outbox {
    pub(super) fn new(url: &str, options: QueueOptions) -> Self {
        let content = Content { queue: DeliveryQueue::new(options), latency: Latency::default() };
        Self { url: url.to_owned(), content: Mutex::new(content), news: Notify::new() }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, alerts: &[PostableAlert]) {
        self.content().queue.push(alerts.iter().cloned());
        self.news.notify_one();
    }

    pub(super) fn stats(&self) -> TargetStats {
        let content = self.content();
        TargetStats { url: self.url.clone(), queue: content.queue.stats(), latency: content.latency }
    }
}

/// An Alertmanager that alerts are sent to. Its task ends when this is dropped.
pub(super) struct Target {
    pub(super) outbox: Arc<Outbox>,
    gone: CancellationToken,
}

impl Drop for Target {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

impl Target {
    /// Begins to empty `outbox`.
    pub(super) fn start(shared: &Arc<Shared>, outbox: Arc<Outbox>, client: Arc<HttpClient>, timeout: Duration) -> Self {
        let gone = CancellationToken::new();
        let task =
            Task { shared: Arc::clone(shared), outbox: Arc::clone(&outbox), client, timeout, gone: gone.clone() };
        shared.tasks.spawn(task.run());
        Self { outbox, gone }
    }
}

struct Task {
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
    client: Arc<HttpClient>,
    timeout: Duration,
    gone: CancellationToken,
}

impl Task {
    /// Sends what waits until the target is gone, or the process stops and nothing waits. What is under way when the target
    /// goes stays in the outbox.
    async fn run(self) {
        let mut stopping = false;
        loop {
            if !stopping && self.shared.stop.is_cancelled() {
                stopping = true;
                if !self.shared.options.drain {
                    return;
                }
                self.outbox.content().queue.retry_now();
            }
            let next = self.outbox.content().queue.next_batch(self.shared.now());
            match next {
                Ok(batch) => {
                    let started = Instant::now();
                    let posted = post::post(&self.client, &self.outbox.url, self.timeout, &batch);
                    let Some((outcome, problem)) = self.gone.run_until_cancelled(posted).await else { return };
                    let mut content = self.outbox.content();
                    if outcome == Outcome::Accepted {
                        content.latency.observe(started.elapsed());
                    }
                    content.queue.handle_outcome(&batch, outcome, self.shared.now());
                    drop(content);
                    if let Some(problem) = problem {
                        let (alertmanager, alerts) = (&self.outbox.url, batch.alerts.len());
                        let refused = outcome == Outcome::Refused;
                        tracing::warn!(
                            alertmanager,
                            alerts,
                            refused,
                            problem,
                            "alerts were not accepted; they are sent again, but for a single one that was refused"
                        );
                    }
                }
                Err(None) if stopping => return,
                Err(wait) => {
                    tokio::select! {
                        () = self.until(wait) => {}
                        () = self.outbox.news.notified() => {}
                        () = self.gone.cancelled() => return,
                        () = self.shared.stop.cancelled(), if !stopping => {}
                    }
                }
            }
        }
    }

    async fn until(&self, time: Option<Duration>) {
        match time {
            Some(time) => tokio::time::sleep(time.saturating_sub(self.shared.now())).await,
            None => std::future::pending().await,
        }
    }
}
