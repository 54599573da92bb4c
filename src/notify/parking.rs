//! What waits for Alertmanagers that are no targets just now, in case they come back. Pure but for what it keeps.

use super::target::Outbox;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// As long as resolved alerts are sent again: what waited longer would be old news.
const KEEP: Duration = Duration::from_secs(15 * 60);
/// More than anybody has Alertmanagers; the oldest go first.
const OUTBOXES_MAX: usize = 1_000;

/// Outboxes by URL, the oldest first.
pub(super) struct Parking<T = Arc<Outbox>> {
    parked: VecDeque<(String, T, Duration)>,
}

impl<T> Default for Parking<T> {
    fn default() -> Self {
        Self { parked: VecDeque::new() }
    }
}

impl<T> Parking<T> {
    /// Keeps what waits for `url`, from `now` on.
    pub(super) fn put(&mut self, url: String, outbox: T, now: Duration) {
        self.expire(now);
        if self.parked.len() == OUTBOXES_MAX {
            self.parked.pop_front();
        }
        self.parked.push_back((url, outbox, now));
    }

    /// What waits for `url`, if it is kept.
    pub(super) fn take(&mut self, url: &str) -> Option<T> {
        let place = self.parked.iter().position(|(parked, _, _)| parked == url)?;
        self.parked.remove(place).map(|(_, outbox, _)| outbox)
    }

    /// Forgets what was kept too long.
    pub(super) fn expire(&mut self, now: Duration) {
        while self.parked.front().is_some_and(|(_, _, since)| now.saturating_sub(*since) > KEEP) {
            self.parked.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_kept_for_a_while() {
        let mut parking = Parking::default();
        let at = |minutes: u64| Duration::from_secs(60 * minutes);
        parking.put("a".into(), 1, at(0));
        parking.put("b".into(), 2, at(5));
        parking.expire(at(15));
        assert_eq!(parking.take("a"), Some(1));
        assert_eq!(parking.take("a"), None, "it is a target again");
        parking.put("a".into(), 3, at(16));
        parking.expire(at(21));
        assert_eq!((parking.take("b"), parking.take("a")), (None, Some(3)));
    }

    #[test]
    fn it_is_bounded() {
        let mut parking = Parking::default();
        (0..OUTBOXES_MAX + 1).for_each(|i| parking.put(i.to_string(), i, Duration::ZERO));
        assert_eq!((parking.take("0"), parking.take("1"), parking.parked.len()), (None, Some(1), OUTBOXES_MAX - 1));
    }
}
