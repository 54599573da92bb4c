//! Delivers alerts to every Alertmanager of the configuration.
//!
//! A group of Alertmanagers (`group.rs`) looks for its targets (`discovery.rs`), which relabelling turns into URLs
//! (`resolve.rs`). Each URL has a queue and a task of its own (`target.rs`), so that a dead one delays nobody else; what to
//! send and when to try again is decided by [`alertmanager_compat::client::DeliveryQueue`].
//! Invariant: what waits for a URL outlives reloads and gaps in discovery (`parking.rs`).

mod alert;
mod client;
mod discovery;
mod group;
mod keeper;
mod latency;
mod oauth2;
mod parking;
mod post;
mod resolve;
mod target;
mod url;

pub use discovery::{CheckedLists, DiscoveryStats, check_lists};
pub use keeper::Keeper;
pub use latency::{LATENCY_BUCKETS, Latency};

use crate::config::AlertingConfig;
use crate::http::state::AlertmanagersSource;
use crate::telemetry::recent::Durations;
use alert::Outgoing;
use alertmanager_compat::client::{QueueOptions, QueueStats};
use discovery::Source;
use group::Group;
use model::labels::Labels;
use parking::Parking;
use resolve::TargetGroup;
use ruler::ports::AlertMessage;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long alerts that still wait may take to leave when the process stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Habits of a notifier.
#[derive(Debug, Clone, Copy)]
pub struct NotifierOptions {
    /// How many alerts may wait for each Alertmanager, each with all its messages.
    pub queue_capacity: usize,
    /// How many bytes these messages may have.
    pub queue_bytes_max: usize,
    /// How many alerts one request carries.
    pub batch_max: usize,
    /// Whether alerts that wait are sent when the process stops.
    pub drain: bool,
}

/// The notifier. Cheap to clone.
#[derive(Clone)]
pub struct Notifier {
    shared: Arc<Shared>,
}

struct Shared {
    options: NotifierOptions,
    keeper: Arc<dyn Keeper>,
    discovery: Arc<discovery::Counters>,
    state: Mutex<State>,
    started: Instant,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Default)]
struct State {
    outgoing: Outgoing,
    groups: Vec<Group>,
    parking: Parking,
    /// Groups that there have been.
    numbers: u64,
}

/// What is known about one Alertmanager.
#[derive(Debug, Clone)]
pub struct TargetStats {
    /// Where alerts are posted.
    pub url: String,
    /// Its queue.
    pub queue: QueueStats,
    /// Its deliveries that were accepted.
    pub latency: Latency,
    /// Those of the last ten minutes.
    pub recent: Durations,
}

impl Notifier {
    /// A notifier without targets; `keeper` is told what became of every message.
    #[must_use]
    pub fn new(options: NotifierOptions, keeper: Arc<dyn Keeper>) -> Self {
        let shared = Shared {
            options,
            keeper,
            discovery: Arc::default(),
            state: Mutex::default(),
            started: Instant::now(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Sends to the Alertmanagers of `config` from now on. Groups that stay as they are go on; of the others, what was
    /// discovered stays known, and what waits for a URL waits on.
    pub fn apply(&self, config: &AlertingConfig, external_labels: Labels, external_url: &str) {
        let shared = &self.shared;
        let mut state = shared.state();
        let rules = crate::config::relabel::rules(&config.alert_relabel_configs);
        state.outgoing = Outgoing { external_labels, external_url: external_url.to_owned(), rules };
        let mut before = std::mem::take(&mut state.groups);
        let mut take_equal =
            |wanted| before.iter().position(|group| group.config() == wanted).map(|i| before.remove(i));
        let kept: Vec<Option<Group>> = config.alertmanagers.iter().map(&mut take_equal).collect();
        let mut clients: Vec<_> = kept.iter().flatten().chain(&before).map(|group| group.client().clone()).collect();
        let mut known: Vec<(Source, Vec<TargetGroup>)> = Vec::new();
        for group in before {
            known.extend(group.retire(&mut state.parking, shared.now()));
        }
        for (config, kept) in config.alertmanagers.iter().zip(kept) {
            let group = kept.unwrap_or_else(|| {
                state.numbers += 1;
                let State { outgoing, parking, numbers, .. } = &mut *state;
                let group = Group::start(shared, *numbers, config, &clients, &known, outgoing, parking);
                clients.push(group.client().clone());
                group
            });
            state.groups.push(group);
        }
        shared.keep_for(&state.groups);
    }

    /// Hands messages to every target, with the numbers under which they are kept. Returns as soon as they are queued.
    pub fn queue(&self, messages: Vec<(u64, AlertMessage)>) {
        let mut state = self.shared.state();
        state.parking.expire(self.shared.now());
        let mut dropped = Vec::new();
        let mut parcels = Vec::with_capacity(messages.len());
        for (number, message) in messages {
            match state.outgoing.prepare(number, message) {
                Some(parcel) => parcels.push(parcel),
                None => dropped.push(number),
            }
        }
        state.groups.iter().for_each(|group| group.push(&parcels, &dropped));
    }

    /// Figures of every target, by URL.
    #[must_use]
    pub fn stats(&self) -> Vec<TargetStats> {
        let state = self.shared.state();
        let mut by_url: BTreeMap<String, TargetStats> = BTreeMap::new();
        for target in state.groups.iter().flat_map(Group::stats) {
            match by_url.get_mut(&target.url) {
                Some(sum) => sum.add(&target),
                None => {
                    by_url.insert(target.url.clone(), target);
                }
            }
        }
        by_url.into_values().collect()
    }

    /// What the search for Alertmanagers counted.
    #[must_use]
    pub fn discovery_stats(&self) -> DiscoveryStats {
        self.shared.discovery.stats()
    }

    /// How many targets every group of the configuration lists or found, in their order, before its rules.
    #[must_use]
    pub fn discovered(&self) -> Vec<usize> {
        self.shared.state().groups.iter().map(Group::discovered).collect()
    }

    /// How many alerts may wait for each Alertmanager.
    #[must_use]
    pub fn queue_capacity(&self) -> usize {
        self.shared.options.queue_capacity
    }

    /// Sends what waits, at most for some seconds and if that is wanted, and stops.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        let in_time = tokio::time::timeout(DRAIN_TIMEOUT, self.shared.tasks.wait()).await.is_ok();
        let waiting: usize = self.stats().iter().map(|target| target.queue.waiting).sum();
        if !in_time || waiting > 0 {
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

    fn queue_options(&self) -> QueueOptions {
        let NotifierOptions { queue_capacity: capacity, queue_bytes_max: bytes_max, batch_max, .. } = self.options;
        QueueOptions { capacity, bytes_max, batch_max, ..QueueOptions::default() }
    }

    /// Messages leave for the targets of these groups.
    fn keep_for(&self, groups: &[Group]) {
        self.keeper.set_targets(groups.iter().flat_map(Group::active).map(str::to_owned).collect());
    }

    /// Something else was found at the place `source` of the group `number`.
    fn found(self: &Arc<Self>, number: u64, source: usize, found: Vec<TargetGroup>) {
        let mut state = self.state();
        let State { groups, parking, outgoing, .. } = &mut *state;
        if let Some(group) = groups.iter_mut().find(|group| group.number() == number) {
            group.found(self, source, found, outgoing, parking);
            self.keep_for(groups);
        }
    }
}

impl TargetStats {
    /// Two groups may have a target of the same URL.
    fn add(&mut self, other: &Self) {
        let QueueStats { sent, failed, dropped, refused, superseded, late, waiting, waiting_bytes } = other.queue;
        self.queue.sent += sent;
        self.queue.failed += failed;
        self.queue.dropped += dropped;
        self.queue.refused += refused;
        self.queue.superseded += superseded;
        self.queue.late += late;
        self.queue.waiting += waiting;
        self.queue.waiting_bytes += waiting_bytes;
        self.latency.add(&other.latency);
        self.recent.add(&other.recent);
    }
}

impl AlertmanagersSource for Notifier {
    fn active(&self) -> Vec<String> {
        self.shared.state().groups.iter().flat_map(Group::active).map(str::to_owned).collect()
    }

    fn dropped(&self) -> Vec<String> {
        self.shared.state().groups.iter().flat_map(Group::dropped).cloned().collect()
    }
}

#[cfg(test)]
mod certificates;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
