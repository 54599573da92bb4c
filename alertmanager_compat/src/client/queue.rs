//! Alerts on their way to one Alertmanager.
//!
//! Pure: [`DeliveryQueue::next_batch`] says what to send and [`DeliveryQueue::handle_outcome`] is told what became of it. A
//! batch that failed waits and is sent again, unless something newer about the same alert has arrived meanwhile. Beyond the
//! capacity the oldest alert is dropped, and counted. Invariant: an alert (by its labels) is in the queue at most once.

use crate::alert::PostableAlert;
use model::labels::Labels;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Habits of a queue.
#[derive(Debug, Clone, Copy)]
pub struct QueueOptions {
    /// How many alerts may wait.
    pub capacity: usize,
    /// How many alerts one request carries.
    pub batch_max: usize,
    /// Wait after the first failure; doubles with each further one.
    pub backoff_min: Duration,
    /// Longest wait after a failure.
    pub backoff_max: Duration,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            capacity: 10_000,
            batch_max: 256,
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
    /// Alerts that wait, those under way included.
    pub waiting: usize,
}

/// Alerts to send in one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// In the order in which they arrived.
    pub alerts: Vec<PostableAlert>,
    numbers: Vec<u64>,
}

/// Alerts that wait for one Alertmanager.
#[derive(Debug, Default)]
pub struct DeliveryQueue {
    options: QueueOptions,
    /// By number of arrival.
    waiting: BTreeMap<u64, PostableAlert>,
    /// Number by labels.
    places: HashMap<Labels, u64>,
    next_number: u64,
    failures: u32,
    /// Not before this time, on the caller's monotonic clock.
    not_before: Duration,
    stats: QueueStats,
}

impl DeliveryQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(options: QueueOptions) -> Self {
        Self { options, ..Self::default() }
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

    /// Adds alerts. What an alert says replaces what still waits of the same alert; it goes to the end of the queue.
    pub fn push(&mut self, alerts: impl IntoIterator<Item = PostableAlert>) {
        for alert in alerts {
            let number = self.next_number;
            self.next_number += 1;
            if let Some(older) = self.places.insert(alert.labels.clone(), number) {
                self.waiting.remove(&older);
            }
            self.waiting.insert(number, alert);
        }
        while self.waiting.len() > self.options.capacity {
            if let Some((_, alert)) = self.waiting.pop_first() {
                self.places.remove(&alert.labels);
                self.stats.dropped += 1;
            }
        }
    }

    /// What to send at `now`.
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
        let (numbers, alerts) = self.waiting.iter().take(self.options.batch_max).map(|(n, a)| (*n, a.clone())).unzip();
        Ok(Batch { alerts, numbers })
    }

    /// Takes note of what became of a batch.
    pub fn handle_outcome(&mut self, batch: &Batch, delivered: bool, now: Duration) {
        if delivered {
            self.failures = 0;
            self.not_before = now;
            self.stats.sent += batch.alerts.len() as u64;
            for number in &batch.numbers {
                if let Some(alert) = self.waiting.remove(number) {
                    self.places.remove(&alert.labels);
                }
            }
        } else {
            self.stats.failed += batch.alerts.len() as u64;
            let factor = 2_u32.saturating_pow(self.failures.min(16));
            self.not_before = now + self.options.backoff_min.saturating_mul(factor).min(self.options.backoff_max);
            self.failures = self.failures.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(name: &str, ends_at_ms: i64) -> PostableAlert {
        PostableAlert {
            labels: Labels::from_pairs([("alertname", name)]).unwrap(),
            annotations: [].into(),
            starts_at_ms: 0,
            ends_at_ms,
            generator_url: "".into(),
        }
    }

    fn queue(capacity: usize, batch_max: usize) -> DeliveryQueue {
        DeliveryQueue::new(QueueOptions { capacity, batch_max, ..QueueOptions::default() })
    }

    fn names(batch: &Batch) -> Vec<(&str, i64)> {
        batch.alerts.iter().map(|a| (a.labels.get("alertname").unwrap(), a.ends_at_ms)).collect()
    }

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn batches_leave_in_order_of_arrival() {
        let mut queue = queue(10, 2);
        queue.push([alert("a", 1), alert("b", 1), alert("c", 1)]);
        let batch = queue.next_batch(NOW).unwrap();
        assert_eq!(names(&batch), [("a", 1), ("b", 1)]);
        queue.handle_outcome(&batch, true, NOW);
        let batch = queue.next_batch(NOW).unwrap();
        assert_eq!(names(&batch), [("c", 1)]);
        queue.handle_outcome(&batch, true, NOW);
        assert_eq!(queue.next_batch(NOW), Err(None));
        assert_eq!(queue.stats(), QueueStats { sent: 3, ..QueueStats::default() });
    }

    #[test]
    fn a_failed_batch_waits_and_newer_news_replace_it() {
        let mut queue = queue(10, 10);
        queue.push([alert("a", 1), alert("b", 1)]);
        let batch = queue.next_batch(NOW).unwrap();
        queue.push([alert("a", 2)]);
        queue.handle_outcome(&batch, false, NOW);
        let later = NOW + Duration::from_millis(250);
        assert_eq!(queue.next_batch(NOW), Err(Some(later)));
        let batch = queue.next_batch(later).unwrap();
        assert_eq!(names(&batch), [("b", 1), ("a", 2)]);
        queue.handle_outcome(&batch, false, later);
        assert_eq!(queue.next_batch(later), Err(Some(later + Duration::from_millis(500))));
        assert_eq!(queue.stats(), QueueStats { failed: 4, waiting: 2, ..QueueStats::default() });
    }

    #[test]
    fn news_that_arrive_while_a_batch_is_under_way_are_sent_too() {
        let mut queue = queue(10, 10);
        queue.push([alert("a", 1)]);
        let batch = queue.next_batch(NOW).unwrap();
        queue.push([alert("a", 2)]);
        queue.handle_outcome(&batch, true, NOW);
        assert_eq!(names(&queue.next_batch(NOW).unwrap()), [("a", 2)]);
    }

    #[test]
    fn beyond_the_capacity_the_oldest_are_dropped_and_counted() {
        let mut queue = queue(2, 10);
        queue.push((0..5).map(|i| alert(&i.to_string(), i)));
        assert_eq!(names(&queue.next_batch(NOW).unwrap()), [("3", 3), ("4", 4)]);
        assert_eq!(queue.stats(), QueueStats { dropped: 3, waiting: 2, ..QueueStats::default() });
    }

    #[test]
    fn waits_stop_growing() {
        let mut queue = queue(2, 10);
        queue.push([alert("a", 1)]);
        let mut now = NOW;
        for _ in 0..100 {
            let batch = queue.next_batch(now).unwrap();
            queue.handle_outcome(&batch, false, now);
            now = queue.next_batch(now).unwrap_err().unwrap();
        }
        assert!(now < NOW + Duration::from_secs(100 * 30));
    }
}
