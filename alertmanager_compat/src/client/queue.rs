//! Alerts on their way to one Alertmanager.
//!
//! Pure: [`DeliveryQueue::next_batch`] says what to send and [`DeliveryQueue::handle_outcome`] is told what became of it. What
//! could not be delivered is sent again, until it is accepted or something newer is known. What the Alertmanager will never
//! accept is found by halving the batch, and dropped alone. Beyond the capacity the oldest message is dropped. All that is
//! dropped is counted.
//!
//! Alerts (by their labels) wait in the order of arrival, the messages of one alert in a line: one per transition. A message
//! about a transition that still waits takes its place, so that no stream of repetitions can keep an alert from ever being
//! sent. A message about another transition waits behind it: that an alert fired is told even if it resolved meanwhile,
//! and an Alertmanager that was away hears both in their order, one request after the other. Two bounds: a firing message
//! that is no longer to be believed and has another behind it is dropped, for the Alertmanager would take it as resolved
//! anyway; and a line has at most [`LINE_MAX`] messages, of which the oldest goes first.
//!
//! Every message has a number. Who keeps messages until they are delivered learns from [`DeliveryQueue::take_settled`] which
//! of them need no longer be kept.

use super::outcome::Outcome;
use crate::alert::PostableAlert;
use model::labels::Labels;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

/// Most messages of one alert that wait.
pub const LINE_MAX: usize = 4;

/// A message on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Parcel {
    /// Tells it from all others of the same queue.
    pub number: u64,
    /// Whether the alert resolved. With its start this says which transition the message is about.
    pub resolved: bool,
    /// What is sent.
    pub alert: PostableAlert,
}

/// Habits of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueOptions {
    /// How many messages may wait.
    pub capacity: usize,
    /// How many bytes the waiting alerts may have.
    pub bytes_max: usize,
    /// How many alerts one request carries.
    pub batch_max: usize,
    /// How many bytes the alerts of one request may have; a larger alert travels alone.
    pub batch_bytes_max: usize,
    /// Wait after the first failure; doubles with each further one.
    pub backoff_min: Duration,
    /// Longest wait after a failure, even if the Alertmanager asks for more.
    pub backoff_max: Duration,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            capacity: 10_000,
            bytes_max: 64 << 20,
            batch_max: 256,
            batch_bytes_max: 4 << 20,
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
        }
    }
}

/// What a queue counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Alerts that were accepted.
    pub sent: u64,
    /// Alerts in requests that failed; each attempt counts.
    pub failed: u64,
    /// Alerts that were dropped because too many waited.
    pub dropped: u64,
    /// Alerts that were dropped because the Alertmanager does not accept them.
    pub refused: u64,
    /// Messages that were replaced by a repetition before they were accepted.
    pub superseded: u64,
    /// Firing messages that were dropped because the time until when to believe them passed and there was something newer.
    pub expired: u64,
    /// Messages that wait, those under way included.
    pub waiting: usize,
}

/// Alerts to send in one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Longest waiting first. At least one.
    pub alerts: Vec<PostableAlert>,
    /// Place and number of each.
    entries: Vec<(u64, u64)>,
}

/// Alerts that wait for one Alertmanager.
#[derive(Debug)]
pub struct DeliveryQueue {
    options: QueueOptions,
    /// By place, ascending in the order in which the alerts began to wait. No line is empty.
    waiting: BTreeMap<u64, Line>,
    /// Place by labels.
    places: HashMap<Labels, u64>,
    /// Messages that arrived so far.
    arrivals: u64,
    /// How many messages wait.
    messages: usize,
    /// Of all messages that wait.
    bytes: usize,
    /// Failures since something was last accepted.
    failures: u32,
    /// Not before this time, on the caller's monotonic clock.
    not_before: Duration,
    /// How many alerts the next request may carry: fewer while a refused one is searched for.
    batch_limit: usize,
    /// Numbers of messages that wait no more, until somebody asks.
    settled: Vec<u64>,
    stats: QueueStats,
}

/// The messages of one alert, oldest first, each about another transition.
type Line = VecDeque<Waiting>;

#[derive(Debug)]
struct Waiting {
    /// Ascends in a line but for repetitions, which arrive when they do.
    arrival: u64,
    parcel: Parcel,
}

impl Default for DeliveryQueue {
    fn default() -> Self {
        Self::new(QueueOptions::default())
    }
}

impl DeliveryQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(options: QueueOptions) -> Self {
        Self {
            options,
            waiting: BTreeMap::new(),
            places: HashMap::new(),
            arrivals: 0,
            messages: 0,
            bytes: 0,
            failures: 0,
            not_before: Duration::ZERO,
            batch_limit: options.batch_max.max(1),
            settled: Vec::new(),
            stats: QueueStats::default(),
        }
    }

    /// Figures for the operator.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        QueueStats { waiting: self.messages, ..self.stats }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Numbers of the messages that were accepted or dropped since the last call, in any order.
    #[must_use]
    pub fn take_settled(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.settled)
    }

    /// Adds messages; one about a transition that still waits takes the place of what it repeats. One that waits already, by
    /// its number, waits on.
    pub fn push(&mut self, parcels: impl IntoIterator<Item = Parcel>) {
        for parcel in parcels {
            self.push_one(parcel);
            while self.messages > self.options.capacity || self.bytes > self.options.bytes_max {
                self.drop_oldest();
            }
        }
    }

    fn push_one(&mut self, parcel: Parcel) {
        self.arrivals += 1;
        let arrival = self.arrivals;
        let place = *self.places.entry(parcel.alert.labels.clone()).or_insert(arrival);
        let line = self.waiting.entry(place).or_default();
        if line.iter().any(|waiting| waiting.parcel.number == parcel.number) {
            return;
        }
        self.messages += 1;
        self.bytes += parcel.alert.size_bytes();
        match line.iter_mut().find(|older| older.parcel.is_about_the_same(&parcel)) {
            Some(older) => {
                let older = std::mem::replace(older, Waiting { arrival, parcel });
                self.stats.superseded += 1;
                self.note_gone(&older.parcel);
            }
            None => {
                line.push_back(Waiting { arrival, parcel });
                if line.len() > LINE_MAX {
                    self.stats.dropped += 1;
                    self.remove_first(place);
                }
            }
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(place) = self.waiting.keys().next().copied() {
            self.remove_first(place);
            self.stats.dropped += 1;
        }
    }

    /// Takes the first message of a line away, and the line when it was the only one.
    fn remove_first(&mut self, place: u64) {
        let Some(line) = self.waiting.get_mut(&place) else { return };
        let gone = line.pop_front();
        if line.is_empty() {
            self.waiting.remove(&place);
            gone.iter().for_each(|gone| {
                self.places.remove(&gone.parcel.alert.labels);
            });
        }
        gone.iter().for_each(|gone| self.note_gone(&gone.parcel));
    }

    fn note_gone(&mut self, parcel: &Parcel) {
        self.messages -= 1;
        self.bytes -= parcel.alert.size_bytes();
        self.settled.push(parcel.number);
    }

    /// What to send at `now`, when the wall clock says `wall_ms`. Until its outcome is told, the same alerts are offered again.
    ///
    /// # Errors
    /// Nothing is to be sent yet: ask again at that time, or when something was pushed if there is none.
    pub fn next_batch(&mut self, now: Duration, wall_ms: i64) -> Result<Batch, Option<Duration>> {
        if self.waiting.is_empty() {
            return Err(None);
        }
        if now < self.not_before {
            return Err(Some(self.not_before));
        }
        self.drop_expired(wall_ms);
        let mut batch = Batch { alerts: Vec::new(), entries: Vec::new() };
        let mut bytes = 0;
        for (place, line) in self.waiting.iter().take(self.batch_limit) {
            let Some(Waiting { parcel: first, .. }) = line.front() else { continue };
            bytes += first.alert.size_bytes();
            if bytes > self.options.batch_bytes_max && !batch.alerts.is_empty() {
                break;
            }
            batch.alerts.push(first.alert.clone());
            batch.entries.push((*place, first.number));
        }
        Ok(batch)
    }

    /// Of the alerts whose turn it is, drops firing messages that are no longer to be believed and have others behind them.
    fn drop_expired(&mut self, wall_ms: i64) {
        let turn: Vec<u64> = self.waiting.keys().take(self.batch_limit).copied().collect();
        for place in turn {
            while self.waiting.get(&place).is_some_and(|line| has_expired(line, wall_ms)) {
                self.stats.expired += 1;
                self.remove_first(place);
            }
        }
    }

    /// Takes note of what became of a batch.
    pub fn handle_outcome(&mut self, batch: &Batch, outcome: Outcome, now: Duration) {
        let alerts = batch.alerts.len() as u64;
        match outcome {
            Outcome::Accepted => {
                self.stats.sent += alerts;
                self.forget(batch);
                self.failures = 0;
                self.not_before = now;
                self.batch_limit = self.batch_limit.saturating_mul(2).min(self.options.batch_max.max(1));
            }
            Outcome::Refused => {
                self.stats.failed += alerts;
                self.failures = 0;
                self.not_before = now;
                if batch.alerts.len() <= 1 {
                    self.stats.refused += alerts;
                    self.forget(batch);
                } else {
                    self.batch_limit = batch.alerts.len() / 2;
                }
            }
            Outcome::Unavailable { retry_after } => {
                self.stats.failed += alerts;
                let factor = 2_u32.saturating_pow(self.failures.min(16));
                let backoff = self.options.backoff_min.saturating_mul(factor);
                let wait = backoff.max(retry_after.unwrap_or_default()).min(self.options.backoff_max);
                self.not_before = now.saturating_add(wait);
                self.failures = self.failures.saturating_add(1);
            }
        }
    }

    /// Takes the messages of a batch away. Alerts of which more is to be told wait on where what comes next arrived.
    fn forget(&mut self, batch: &Batch) {
        for (place, number) in &batch.entries {
            if self.waiting.get(place).and_then(VecDeque::front).is_some_and(|first| first.parcel.number == *number) {
                self.remove_first(*place);
            }
            if let Some(line) = self.waiting.remove(place)
                && let Some(Waiting { arrival, parcel }) = line.front()
            {
                self.places.insert(parcel.alert.labels.clone(), *arrival);
                self.waiting.insert(*arrival, line);
            }
        }
    }

    /// Ends the current wait, for a last attempt before the process stops.
    pub fn retry_now(&mut self) {
        self.not_before = Duration::ZERO;
    }
}

impl Parcel {
    fn is_about_the_same(&self, other: &Self) -> bool {
        (self.resolved, self.alert.starts_at_ms) == (other.resolved, other.alert.starts_at_ms)
    }
}

fn has_expired(line: &Line, wall_ms: i64) -> bool {
    line.len() > 1
        && line.front().is_some_and(|first| !first.parcel.resolved && first.parcel.alert.ends_at_ms <= wall_ms)
}

#[cfg(test)]
mod tests;
