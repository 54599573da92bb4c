//! One Alertmanager: its queue, and the task that empties it.

use super::client::HttpClient;
use super::{Keeper, Latency, Shared, TargetStats, post};
use crate::rules::clock::wall_clock;
use crate::telemetry::recent::Recent;
use alertmanager_compat::client::{Batch, DeliveryQueue, Outcome, Parcel, QueueOptions};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What waits for one Alertmanager, whether or not it is a target just now.
pub(super) struct Outbox {
    url: String,
    content: Mutex<Content>,
    keeper: Arc<dyn Keeper>,
    /// Deliveries that were accepted.
    recent: Recent,
    /// Rings when something was pushed.
    news: Notify,
}

struct Content {
    queue: DeliveryQueue,
    latency: Latency,
}

impl Outbox {
    pub(super) fn new(url: &str, options: QueueOptions, keeper: Arc<dyn Keeper>) -> Self {
        let content = Content { queue: DeliveryQueue::new(options), latency: Latency::default() };
        Self {
            url: url.to_owned(),
            content: Mutex::new(content),
            keeper,
            recent: Recent::default(),
            news: Notify::new(),
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds messages to what waits. Of those that this target need not hear, there is only the number.
    pub(super) fn push(&self, parcels: impl IntoIterator<Item = Result<Parcel, u64>>) {
        let mut unheard = Vec::new();
        let mut content = self.content();
        content.queue.push(parcels.into_iter().filter_map(|parcel| parcel.map_err(|number| unheard.push(number)).ok()));
        self.settle(content, unheard);
        self.news.notify_one();
    }

    /// Takes note of what became of a delivery.
    fn handle_outcome(&self, batch: &Batch, outcome: Outcome, took: Duration, now: Duration) {
        let mut content = self.content();
        if outcome == Outcome::Accepted {
            content.latency.observe(took);
            self.recent.observe(took);
        }
        content.queue.handle_outcome(batch, outcome, now);
        self.settle(content, Vec::new());
    }

    /// What to send now.
    fn next_batch(&self, now: Duration) -> Result<Batch, Option<Duration>> {
        let mut content = self.content();
        let next = content.queue.next_batch(now, wall_clock().0);
        self.settle(content, Vec::new());
        next
    }

    /// Tells what need not be kept any more, these numbers included.
    fn settle(&self, mut content: MutexGuard<'_, Content>, mut numbers: Vec<u64>) {
        numbers.append(&mut content.queue.take_settled());
        let lost = content.queue.take_lost();
        drop(content);
        if !lost.is_empty() {
            self.keeper.lost(&self.url, &lost);
        }
        if !numbers.is_empty() {
            self.keeper.settled(&self.url, &numbers);
        }
    }

    pub(super) fn stats(&self) -> TargetStats {
        let content = self.content();
        let (queue, latency) = (content.queue.stats(), content.latency);
        drop(content);
        TargetStats { url: self.url.clone(), queue, latency, recent: self.recent.now() }
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
            let next = self.outbox.next_batch(self.shared.now());
            match next {
                Ok(batch) => {
                    let started = Instant::now();
                    let posted = post::post(&self.client, &self.outbox.url, self.timeout, &batch);
                    let Some((outcome, problem)) = self.gone.run_until_cancelled(posted).await else { return };
                    self.outbox.handle_outcome(&batch, outcome, started.elapsed(), self.shared.now());
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
