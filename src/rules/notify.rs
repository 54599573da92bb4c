//! Delivers alerts to every configured Alertmanager.
//!
//! Each Alertmanager has a queue and a task of its own; what to send and when to try again is decided by
//! [`alertmanager_compat::client::DeliveryQueue`]. A reload keeps the queues of targets that stay.

use crate::config::{AlertingConfig, AlertmanagerConfig, AlertmanagerScheme, BasicAuth};
use crate::http::state::AlertmanagersSource;
use alertmanager_compat::alert::PostableAlert;
use alertmanager_compat::client::{Batch, DeliveryQueue, QueueOptions, QueueStats};
use model::labels::Labels;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ruler::ports::{AlertMessage, NotifyPort};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long alerts that still wait may take to leave when the process stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Upper bounds of the buckets of delivery times, in seconds.
pub const LATENCY_BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// The notifier. Cheap to clone.
#[derive(Clone)]
pub struct Notifier {
    shared: Arc<Shared>,
}

struct Shared {
    client: reqwest::Client,
    queue_options: QueueOptions,
    state: Mutex<State>,
    started: Instant,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Default)]
struct State {
    external_labels: Labels,
    external_url: Arc<str>,
    /// By URL.
    targets: BTreeMap<String, Arc<Target>>,
}

/// One Alertmanager.
struct Target {
    url: String,
    timeout: Duration,
    basic_auth: Option<BasicAuth>,
    outbox: Mutex<Outbox>,
    /// Rings when something was pushed.
    news: Notify,
    /// Cancelled when a reload takes the target away.
    gone: CancellationToken,
}

#[derive(Default)]
struct Outbox {
    queue: DeliveryQueue,
    latency: Latency,
}

/// Delivery times.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Latency {
    /// Not cumulative, bounds in [`LATENCY_BUCKETS`].
    pub buckets: [u64; LATENCY_BUCKETS.len() + 1],
    /// Sum of all.
    pub seconds: f64,
}

impl Latency {
    fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = LATENCY_BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(LATENCY_BUCKETS.len());
        self.buckets[bucket] += 1;
        self.seconds += seconds;
    }
}

/// What is known about one Alertmanager.
#[derive(Debug, Clone)]
pub struct TargetStats {
    /// Where alerts are posted.
    pub url: String,
    /// Its queue.
    pub queue: QueueStats,
    /// Its deliveries.
    pub latency: Latency,
}

impl Notifier {
    /// A notifier without targets.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(capacity: usize) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().user_agent(concat!("Hearth/", env!("CARGO_PKG_VERSION"))).build()?;
        let shared = Shared {
            client,
            queue_options: QueueOptions { capacity, ..QueueOptions::default() },
            state: Mutex::default(),
            started: Instant::now(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes the Alertmanagers of `config` the targets. One that was there before with the same settings keeps its queue.
    pub fn apply(&self, config: &AlertingConfig, external_labels: Labels, external_url: &str) {
        let mut state = self.shared.state();
        state.external_labels = external_labels;
        state.external_url = external_url.into();
        let mut before = std::mem::take(&mut state.targets);
        for group in &config.alertmanagers {
            for address in group.static_configs.iter().flat_map(|group| &group.targets) {
                let url = target_url(group, address);
                let kept = before.remove(&url).filter(|target| target.has_settings_of(group));
                let target = kept.unwrap_or_else(|| self.start(&url, group));
                state.targets.insert(url, target);
            }
        }
        before.values().for_each(|target| target.gone.cancel());
    }

    fn start(&self, url: &str, group: &AlertmanagerConfig) -> Arc<Target> {
        let outbox = Outbox { queue: DeliveryQueue::new(self.shared.queue_options), latency: Latency::default() };
        let target = Arc::new(Target {
            url: url.to_owned(),
            timeout: group.timeout.as_std(),
            basic_auth: group.basic_auth.clone(),
            outbox: Mutex::new(outbox),
            news: Notify::new(),
            gone: CancellationToken::new(),
        });
        self.shared.tasks.spawn(deliver(Arc::clone(&self.shared), Arc::clone(&target)));
        target
    }

    /// Figures of every target.
    #[must_use]
    pub fn stats(&self) -> Vec<TargetStats> {
        let state = self.shared.state();
        let of_target = |target: &Arc<Target>| {
            let outbox = lock(&target.outbox);
            TargetStats { url: target.url.clone(), queue: outbox.queue.stats(), latency: outbox.latency }
        };
        state.targets.values().map(of_target).collect()
    }

    /// Sends what waits, at most for some seconds, and stops.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(DRAIN_TIMEOUT, self.shared.tasks.wait()).await.is_err() {
            let waiting: usize = self.stats().iter().map(|target| target.queue.waiting).sum();
            tracing::warn!(alerts = waiting, "alerts were not delivered before the process stopped");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Target {
    fn has_settings_of(&self, group: &AlertmanagerConfig) -> bool {
        self.timeout == group.timeout.as_std() && self.basic_auth == group.basic_auth
    }
}

fn lock(outbox: &Mutex<Outbox>) -> MutexGuard<'_, Outbox> {
    outbox.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NotifyPort for Notifier {
    async fn send(&self, alerts: Vec<AlertMessage>) {
        let state = self.shared.state();
        if state.targets.is_empty() || alerts.is_empty() {
            return;
        }
        let post = |alert: AlertMessage| postable(alert, &state.external_labels, &state.external_url);
        let alerts: Vec<_> = alerts.into_iter().map(post).collect();
        for target in state.targets.values() {
            lock(&target.outbox).queue.push(alerts.iter().cloned());
            target.news.notify_one();
        }
    }
}

impl AlertmanagersSource for Notifier {
    fn urls(&self) -> Vec<String> {
        self.shared.state().targets.keys().cloned().collect()
    }
}

/// What is not escaped in the query of a URL.
const QUERY_ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn postable(alert: AlertMessage, external_labels: &Labels, external_url: &str) -> PostableAlert {
    let expr = utf8_percent_encode(&alert.expr, QUERY_ESCAPED);
    let posted = PostableAlert {
        labels: alert.labels,
        annotations: alert.annotations.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect(),
        starts_at_ms: alert.starts_at.0,
        ends_at_ms: alert.ends_at.0,
        generator_url: format!("{external_url}/graph?g0.expr={expr}&g0.tab=1").into(),
    };
    posted.with_external_labels(external_labels)
}

fn target_url(group: &AlertmanagerConfig, address: &str) -> String {
    let scheme = match group.scheme {
        AlertmanagerScheme::Http => "http",
        AlertmanagerScheme::Https => "https",
    };
    let prefix = group.path_prefix.trim_matches('/');
    let slash = if prefix.is_empty() { "" } else { "/" };
    format!("{scheme}://{address}{slash}{prefix}/api/v2/alerts")
}

/// Sends what is in the queue of one target until the target is gone, or the process stops and the queue is empty.
async fn deliver(shared: Arc<Shared>, target: Arc<Target>) {
    loop {
        let next = lock(&target.outbox).queue.next_batch(shared.now());
        match next {
            Ok(batch) => {
                let started = Instant::now();
                let outcome = post(&shared.client, &target, &batch).await;
                let mut outbox = lock(&target.outbox);
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

async fn post(client: &reqwest::Client, target: &Target, batch: &Batch) -> Result<(), String> {
    let request = client.post(&target.url).timeout(target.timeout).json(&batch.alerts);
    let request = match &target.basic_auth {
        Some(auth) => request.basic_auth(&auth.username, Some(&auth.password)),
        None => request,
    };
    let answer = request.send().await.map_err(|error| crate::app::load::with_causes(&error))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let text = answer.text().await.unwrap_or_default();
    Err(format!("{status}: {}", text.chars().take(500).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_urls() {
        let group = |prefix: &str| AlertmanagerConfig { path_prefix: prefix.into(), ..AlertmanagerConfig::default() };
        assert_eq!(target_url(&group(""), "a:9093"), "http://a:9093/api/v2/alerts");
        assert_eq!(target_url(&group("/am/"), "a:9093"), "http://a:9093/am/api/v2/alerts");
    }
}
