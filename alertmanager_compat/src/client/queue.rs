//! Alerts on their way to one Alertmanager.
//!
//! Pure: [`DeliveryQueue::next_batch`] says what to send and [`DeliveryQueue::handle_outcome`] is told what became of it. What
//! could not be delivered is sent again, until it is accepted or something newer is known about the alert. What the
//! Alertmanager will never accept is found by halving the batch, and dropped alone. Beyond the capacity the oldest alert is
//! dropped. All that is dropped is counted.
//! Invariants: an alert (by its labels) waits at most once; news about it take its place, so that no stream of news can
//! keep an alert from ever being sent.

use super::outcome::Outcome;
use crate::alert::PostableAlert;
use model::labels::Labels;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Habits of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueOptions {
    /// How many alerts may wait.
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
    /// Alerts that were replaced by news before they were accepted.
    pub superseded: u64,
    /// Alerts that wait, those under way included.
    pub waiting: usize,
}

/// Alerts to send in one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Longest waiting first. At least one.
    pub alerts: Vec<PostableAlert>,
    /// Place and revision of each.
    entries: Vec<(u64, u64)>,
}

/// Alerts that wait for one Alertmanager.
#[derive(Debug)]
pub struct DeliveryQueue {
    options: QueueOptions,
    /// By place, ascending in the order in which the alerts began to wait.
    waiting: BTreeMap<u64, Entry>,
    /// Place by labels.
    places: HashMap<Labels, u64>,
    /// Places and revisions given so far.
    numbers: u64,
    /// Of all alerts that wait.
    bytes: usize,
    /// Failures since something was last accepted.
    failures: u32,
    /// Not before this time, on the caller's monotonic clock.
    not_before: Duration,
    /// How many alerts the next request may carry: fewer while a refused one is searched for.
    batch_limit: usize,
    stats: QueueStats,
}

#[derive(Debug)]
struct Entry {
    alert: PostableAlert,
    /// Changes with every piece of news.
    revision: u64,
    bytes: usize,
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
            numbers: 0,
            bytes: 0,
            failures: 0,
            not_before: Duration::ZERO,
            batch_limit: options.batch_max.max(1),
            stats: QueueStats::default(),
        }
    }

    /// Figures for the operator.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        QueueStats { waiting: self.waiting.len(), ..self.stats }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds alerts; one that still waits is replaced where it stands.
    pub fn push(&mut self, alerts: impl IntoIterator<Item = PostableAlert>) {
        for alert in alerts {
            self.push_one(alert);
            while self.waiting.len() > self.options.capacity || self.bytes > self.options.bytes_max {
                self.drop_oldest();
            }
        }
    }

    fn push_one(&mut self, alert: PostableAlert) {
        self.numbers += 1;
        let revision = self.numbers;
        let place = *self.places.entry(alert.labels.clone()).or_insert(revision);
        let bytes = alert.size_bytes();
        self.bytes += bytes;
        if let Some(older) = self.waiting.insert(place, Entry { alert, revision, bytes }) {
            self.bytes -= older.bytes;
            self.stats.superseded += 1;
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(place) = self.waiting.keys().next().copied() {
            self.remove(place);
            self.stats.dropped += 1;
        }
    }

    fn remove(&mut self, place: u64) {
        if let Some(entry) = self.waiting.remove(&place) {
            self.places.remove(&entry.alert.labels);
            self.bytes -= entry.bytes;
        }
    }

    /// What to send at `now`. Until its outcome is told, the same alerts are offered again.
    ///
    /// # Errors
    /// Nothing is to be sent yet: ask again at that time, or when something was pushed if there is none.
    pub fn next_batch(&self, now: Duration) -> Result<Batch, Option<Duration>> {
        if self.waiting.is_empty() {
            return Err(None);
        }
        if now < self.not_before {
            return Err(Some(self.not_before));
        }
        let mut batch = Batch { alerts: Vec::new(), entries: Vec::new() };
        let mut bytes = 0;
        for (place, entry) in self.waiting.iter().take(self.batch_limit) {
            bytes += entry.bytes;
            if bytes > self.options.batch_bytes_max && !batch.alerts.is_empty() {
                break;
            }
            batch.alerts.push(entry.alert.clone());
            batch.entries.push((*place, entry.revision));
        }
        Ok(batch)
    }

    /// Takes note of what became of a batch.
    pub fn handle_outcome(&mut self, batch: &Batch, outcome: impl Into<Outcome>, now: Duration) {
        let alerts = batch.alerts.len() as u64;
        match outcome.into() {
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

    /// Takes the alerts of a batch away. Those of which there is news meanwhile begin to wait anew, behind all others.
    fn forget(&mut self, batch: &Batch) {
        for (place, revision) in &batch.entries {
            match self.waiting.get(place).map(|entry| entry.revision) {
                Some(current) if current == *revision => self.remove(*place),
                Some(news) => self.move_to(*place, news),
                None => {}
            }
        }
    }

    /// Gives the alert at `from` the place that equals the number of its last news: later than all places given before.
    fn move_to(&mut self, from: u64, to: u64) {
        if let Some(entry) = self.waiting.remove(&from) {
            self.places.insert(entry.alert.labels.clone(), to);
            self.waiting.insert(to, entry);
        }
    }

    /// Ends the current wait, for a last attempt before the process stops.
    pub fn retry_now(&mut self) {
        self.not_before = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests;
