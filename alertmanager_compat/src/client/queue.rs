//! Alerts on their way to one Alertmanager.
//!
//! Pure: [`DeliveryQueue::next_batch`] says what to send and [`DeliveryQueue::handle_outcome`] is told what became of it. What
//! could not be delivered is sent again, until it is accepted or something newer is known. What the Alertmanager will never
//! accept is found by halving the batch, and dropped alone. All that is dropped is counted, and told by
//! [`DeliveryQueue::take_lost`].
//!
//! Alerts (by their labels) wait in the order of arrival, the messages of one alert in a line: one per transition. A message
//! about a transition that still waits takes its place, so that no stream of repetitions can keep an alert from ever being
//! sent. A message about another transition waits behind it: that an alert fired is told even if it resolved meanwhile,
//! and an Alertmanager that was away hears all of them in their order, one request after the other. A firing message whose end
//! passed meanwhile, and that has another behind it, is given a new end a little ahead: an Alertmanager would take it as
//! resolved otherwise, and never say that the alert fired.
//!
//! Bounds: the number of alerts that wait, beyond which the one that waits longest goes; and the bytes of their messages,
//! beyond which the oldest messages go, first those of lines with more than [`LINE_KEPT`].
//!
//! Every message has a number. Who keeps messages until they are delivered learns from [`DeliveryQueue::take_settled`] which
//! of them need no longer be kept.

use super::outcome::Outcome;
use crate::alert::PostableAlert;
use model::labels::Labels;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

/// While bytes are short: alerts with more messages than this give theirs up first, from the oldest on.
const LINE_KEPT: usize = 4;
/// A message may repeat one of the last so many of its line: the last one, but for alerts that relabelling made one.
const REPETITION_DISTANCE_MAX: usize = 64;
/// How long a firing message is to be believed that is told late, with another behind it: long enough to reach it.
pub const LATE_BELIEF_MS: i64 = 60_000;

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
    /// How many alerts may wait, each with all its messages.
    pub capacity: usize,
    /// How many bytes the waiting messages may have.
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
    /// Messages that were dropped because too many waited.
    pub dropped: u64,
    /// Alerts that were dropped because the Alertmanager does not accept them.
    pub refused: u64,
    /// Messages that were replaced by a repetition before they were accepted.
    pub superseded: u64,
    /// Firing messages that were accepted after the time until when to believe them, with something newer behind them.
    pub late: u64,
    /// Alerts of which something waits, those under way included.
    pub waiting: usize,
    /// Bytes of all messages that wait.
    pub waiting_bytes: usize,
}

/// A message that will never be delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct Lost {
    /// What it said.
    pub parcel: Parcel,
    /// Why.
    pub reason: LossReason,
}

/// Why a message will never be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossReason {
    /// More alerts waited than [`QueueOptions::capacity`].
    TooManyAlerts,
    /// More bytes waited than [`QueueOptions::bytes_max`].
    TooManyBytes,
    /// The Alertmanager does not accept it.
    Refused,
}

/// Alerts to send in one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Longest waiting first. At least one.
    pub alerts: Vec<PostableAlert>,
    /// Place and number of each.
    entries: Vec<(u64, u64)>,
    /// How many of them are told after their time.
    late: u64,
}

/// Alerts that wait for one Alertmanager.
#[derive(Debug)]
pub struct DeliveryQueue {
    options: QueueOptions,
    /// By place, ascending in the order in which the alerts began to wait. No line is empty.
    waiting: BTreeMap<u64, Line>,
    /// Place by labels.
    places: HashMap<Labels, u64>,
    /// Places of the lines with more than [`LINE_KEPT`] messages.
    long: BTreeSet<u64>,
    /// Of all messages that wait.
    numbers: HashSet<u64>,
    /// Messages that arrived so far.
    arrivals: u64,
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
    /// What was lost, until somebody asks.
    lost: Vec<Lost>,
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
            long: BTreeSet::new(),
            numbers: HashSet::new(),
            arrivals: 0,
            bytes: 0,
            failures: 0,
            not_before: Duration::ZERO,
            batch_limit: options.batch_max.max(1),
            settled: Vec::new(),
            lost: Vec::new(),
            stats: QueueStats::default(),
        }
    }

    /// Figures for the operator.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        QueueStats { waiting: self.waiting.len(), waiting_bytes: self.bytes, ..self.stats }
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

    /// The messages that were lost since the last call, in the order in which that happened.
    #[must_use]
    pub fn take_lost(&mut self) -> Vec<Lost> {
        std::mem::take(&mut self.lost)
    }

    /// Adds messages; one about a transition that still waits takes the place of what it repeats. One that waits already, by
    /// its number, waits on.
    pub fn push(&mut self, parcels: impl IntoIterator<Item = Parcel>) {
        for parcel in parcels {
            self.push_one(parcel);
            while self.waiting.len() > self.options.capacity {
                self.lose_oldest_alert();
            }
            while self.bytes > self.options.bytes_max {
                self.lose_oldest_message();
            }
        }
    }

    fn push_one(&mut self, parcel: Parcel) {
        if !self.numbers.insert(parcel.number) {
            return;
        }
        self.arrivals += 1;
        let arrival = self.arrivals;
        let place = *self.places.entry(parcel.alert.labels.clone()).or_insert(arrival);
        let line = self.waiting.entry(place).or_default();
        self.bytes += parcel.alert.size_bytes();
        let mut newest = line.iter_mut().rev().take(REPETITION_DISTANCE_MAX);
        match newest.find(|older| older.parcel.is_about_the_same(&parcel)) {
            Some(older) => {
                let older = std::mem::replace(older, Waiting { arrival, parcel });
                self.stats.superseded += 1;
                self.note_gone(&older.parcel);
            }
            None => {
                line.push_back(Waiting { arrival, parcel });
                if line.len() > LINE_KEPT {
                    self.long.insert(place);
                }
            }
        }
    }

    fn lose_oldest_alert(&mut self) {
        let Some(place) = self.waiting.keys().next().copied() else { return };
        while self.waiting.contains_key(&place) {
            self.lose_first(place, LossReason::TooManyAlerts);
        }
    }

    fn lose_oldest_message(&mut self) {
        let place = self.long.first().or_else(|| self.waiting.keys().next()).copied();
        if let Some(place) = place {
            self.lose_first(place, LossReason::TooManyBytes);
        }
    }

    fn lose_first(&mut self, place: u64, reason: LossReason) {
        let Some(parcel) = self.remove_first(place) else { return };
        match reason {
            LossReason::TooManyAlerts | LossReason::TooManyBytes => self.stats.dropped += 1,
            LossReason::Refused => self.stats.refused += 1,
        }
        self.lost.push(Lost { parcel, reason });
    }

    /// Takes the first message of a line away, and the line when it was the only one.
    fn remove_first(&mut self, place: u64) -> Option<Parcel> {
        let line = self.waiting.get_mut(&place)?;
        let gone = line.pop_front()?.parcel;
        if line.len() <= LINE_KEPT {
            self.long.remove(&place);
        }
        if line.is_empty() {
            self.waiting.remove(&place);
            self.places.remove(&gone.alert.labels);
        }
        self.note_gone(&gone);
        Some(gone)
    }

    fn note_gone(&mut self, parcel: &Parcel) {
        self.numbers.remove(&parcel.number);
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
        let mut batch = Batch { alerts: Vec::new(), entries: Vec::new(), late: 0 };
        let mut bytes = 0;
        for (place, line) in self.waiting.iter().take(self.batch_limit) {
            let Some(Waiting { parcel: first, .. }) = line.front() else { continue };
            bytes += first.alert.size_bytes();
            if bytes > self.options.batch_bytes_max && !batch.alerts.is_empty() {
                break;
            }
            let mut alert = first.alert.clone();
            if is_late(line, wall_ms) {
                alert.ends_at_ms = wall_ms.saturating_add(LATE_BELIEF_MS);
                batch.late += 1;
            }
            batch.alerts.push(alert);
            batch.entries.push((*place, first.number));
        }
        Ok(batch)
    }

    /// Takes note of what became of a batch.
    pub fn handle_outcome(&mut self, batch: &Batch, outcome: Outcome, now: Duration) {
        let alerts = batch.alerts.len() as u64;
        match outcome {
            Outcome::Accepted => {
                self.stats.sent += alerts;
                self.stats.late += batch.late;
                self.forget(batch, None);
                self.failures = 0;
                self.not_before = now;
                self.batch_limit = self.batch_limit.saturating_mul(2).min(self.options.batch_max.max(1));
            }
            Outcome::Refused => {
                self.stats.failed += alerts;
                self.failures = 0;
                self.not_before = now;
                if batch.alerts.len() <= 1 {
                    self.forget(batch, Some(LossReason::Refused));
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

    /// Takes the messages of a batch away, lost if there is a reason. Alerts of which more is to be told wait on where what
    /// comes next arrived.
    fn forget(&mut self, batch: &Batch, lost: Option<LossReason>) {
        for (place, number) in &batch.entries {
            let is_first = |line: &Line| line.front().is_some_and(|first| first.parcel.number == *number);
            if self.waiting.get(place).is_some_and(is_first) {
                match lost {
                    Some(reason) => self.lose_first(*place, reason),
                    None => drop(self.remove_first(*place)),
                }
            }
            self.move_back(*place);
        }
    }

    /// Gives a line the place of its first message.
    fn move_back(&mut self, place: u64) {
        let Some(line) = self.waiting.remove(&place) else { return };
        let Some(Waiting { arrival, parcel }) = line.front() else { return };
        self.places.insert(parcel.alert.labels.clone(), *arrival);
        if self.long.remove(&place) {
            self.long.insert(*arrival);
        }
        self.waiting.insert(*arrival, line);
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

/// Whether the first message of a line is no longer to be believed, and not the last word.
fn is_late(line: &Line, wall_ms: i64) -> bool {
    line.len() > 1
        && line.front().is_some_and(|first| !first.parcel.resolved && first.parcel.alert.ends_at_ms <= wall_ms)
}

#[cfg(test)]
mod tests;
