//! Delivers alerts to every configured Alertmanager.
//!
//! Each Alertmanager has a queue and a task of its own (`target.rs`); what to send and when to try again is decided by
//! [`alertmanager_compat::client::DeliveryQueue`]. A reload keeps the queues of targets that stay.

mod http;
mod latency;
mod target;

pub use latency::{LATENCY_BUCKETS, Latency};

use crate::config::{AlertingConfig, AlertmanagerConfig, AlertmanagerScheme};
use crate::http::state::AlertmanagersSource;
use alertmanager_compat::alert::PostableAlert;
use alertmanager_compat::client::{QueueOptions, QueueStats};
use model::labels::Labels;
use model::time::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ruler::ports::{AlertMessage, NotifyPort};
use ruler::state::{Departure, GroupId, GroupMemory, RuleId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use target::Target;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long alerts that still wait may take to leave when the process stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

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
        before.values().for_each(|target| target.end());
    }

    fn start(&self, url: &str, group: &AlertmanagerConfig) -> Arc<Target> {
        let target = Arc::new(Target::new(url, group, self.shared.queue_options));
        self.shared.tasks.spawn(target::deliver(Arc::clone(&self.shared), Arc::clone(&target)));
        target
    }

    /// Figures of every target.
    #[must_use]
    pub fn stats(&self) -> Vec<TargetStats> {
        let state = self.shared.state();
        let of_target = |target: &Arc<Target>| {
            let outbox = target.outbox();
            TargetStats { url: target.url().to_owned(), queue: outbox.queue.stats(), latency: outbox.latency }
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

impl NotifyPort for Notifier {
    async fn send(&self, departure: Departure) {
        let state = self.shared.state();
        let post = |alert: AlertMessage| postable(alert, &state.external_labels, &state.external_url);
        let alerts: Vec<_> = departure.messages().map(post).collect();
        if alerts.is_empty() {
            return;
        }
        for target in state.targets.values() {
            target.outbox().queue.push(alerts.iter().cloned());
            target.ring();
        }
    }

    fn evaluated(&self, _: &Arc<GroupId>, _: Timestamp) {}

    fn begin(&self, _: &Arc<GroupId>, _: &[Arc<RuleId>]) -> GroupMemory {
        GroupMemory::default()
    }

    fn end(&self, _: &GroupId) {}
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
