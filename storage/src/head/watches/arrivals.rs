//! Who sent what a watch looks at, and whether all of them have sent what there is up to some time.
//!
//! Pure: told of samples and of the time. A target is what its labels `job` and `instance` say. What is awaited of it follows from
//! its own rhythm: of one whose next sample comes only later nothing is awaited, and nothing of one that is silent.

use hashbrown::HashMap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Targets that are told apart; what others send counts as sent by one.
const TARGETS_MAX: usize = 100_000;
/// Samples that are closer belong together.
const PERIOD_MS_MIN: i64 = 500;

/// What arrived, by target.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    targets: Vec<Target>,
    /// By the hash of their names: two of one hash count as one.
    ids: HashMap<u64, u32>,
    /// The target that was lacking last; it is asked first.
    suspect: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Target {
    /// Time of its newest sample, and when the last one arrived; `None` before the first.
    last: Option<Last>,
    /// Distance of its samples; 0 until there were two.
    period_ms: i64,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    newest_ms: i64,
    arrived_ms: i64,
}

impl Arrivals {
    /// The number of a target.
    pub(super) fn target(&mut self, job: &str, instance: &str) -> u32 {
        let hash = xxh3_64_with_seed(instance.as_bytes(), xxh3_64(job.as_bytes()));
        if let Some(id) = self.ids.get(&hash) {
            return *id;
        }
        if self.targets.len() < TARGETS_MAX {
            self.targets.push(Target::default());
            self.ids.insert(hash, self.targets.len() as u32 - 1);
        }
        self.targets.len() as u32 - 1
    }

    /// Notes that a sample of the time `at_ms` arrived from a target at `now_ms`.
    pub(super) fn note(&mut self, target: u32, at_ms: i64, now_ms: i64) {
        let Some(target) = self.targets.get_mut(target as usize) else { return };
        let Some(last) = &mut target.last else {
            target.last = Some(Last { newest_ms: at_ms, arrived_ms: now_ms });
            return;
        };
        last.arrived_ms = last.arrived_ms.max(now_ms);
        let distance_ms = at_ms.saturating_sub(last.newest_ms);
        if distance_ms <= 0 {
            return;
        }
        last.newest_ms = at_ms;
        if distance_ms >= PERIOD_MS_MIN {
            // A gap does not make it slow: a longer distance counts when it comes again.
            let longest_ms = if target.period_ms == 0 { i64::MAX } else { target.period_ms.saturating_mul(2) };
            target.period_ms = distance_ms.min(longest_ms);
        }
    }

    /// Whether samples up to `at_ms` may be on their way: nothing arrived at all, or a target that sends has not sent what its
    /// rhythm says. Silent is who sent nothing for two of its periods and for `silence_ms`.
    pub(super) fn lack(&mut self, at_ms: i64, now_ms: i64, silence_ms: i64) -> bool {
        let lacks = |target: &Target| target.lacks(at_ms, now_ms, silence_ms);
        if self.targets.get(self.suspect).is_some_and(lacks) {
            return true;
        }
        match self.targets.iter().position(lacks) {
            Some(suspect) => {
                self.suspect = suspect;
                true
            }
            None => self.targets.iter().all(|target| target.last.is_none()),
        }
    }
}

impl Target {
    fn lacks(&self, at_ms: i64, now_ms: i64, silence_ms: i64) -> bool {
        let Some(Last { newest_ms, arrived_ms }) = self.last else { return false };
        let is_silent = now_ms.saturating_sub(arrived_ms) > silence_ms.max(self.period_ms.saturating_mul(2));
        // A little early, since senders are not exact.
        let next_ms = newest_ms.saturating_add(self.period_ms / 10 * 9);
        newest_ms < at_ms && next_ms <= at_ms && !is_silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    /// Two targets that send every 15 s, at 3 s and 8 s past, arriving after `lag_ms`; up to `until_ms`.
    fn steady(until_ms: i64, lag_ms: i64) -> Arrivals {
        let mut arrivals = Arrivals::default();
        for (instance, phase_ms) in [("a", 3_000), ("b", 8_000)] {
            let target = arrivals.target("job", instance);
            for at_ms in (phase_ms..).step_by(15_000).take_while(|at_ms| at_ms + lag_ms <= until_ms) {
                arrivals.note(target, at_ms, at_ms + lag_ms);
            }
        }
        arrivals
    }

    #[test]
    fn nothing_is_awaited_of_targets_that_have_sent_by_their_rhythm() {
        let at = 4 * MINUTE;
        assert!(!steady(at, 100).lack(at, at, MINUTE), "the next samples are of times behind it");
        // Samples of 3:48 and 3:53 are on their way.
        assert!(steady(at, 14_000).lack(at, at, MINUTE));
        assert!(!steady(at + 7_000, 14_000).lack(at, at + 7_000, MINUTE), "now they are there");
    }

    #[test]
    fn a_target_that_lags_is_awaited_and_one_that_is_silent_is_not() {
        let at = 4 * MINUTE;
        assert!(steady(at, 90_000).lack(at, at, MINUTE), "everything comes 90 s late");
        let mut one_died = steady(at, 100);
        let dead = one_died.target("job", "dead");
        one_died.note(dead, MINUTE, MINUTE);
        one_died.note(dead, MINUTE + 15_000, MINUTE + 15_000);
        assert!(!one_died.lack(at, at, MINUTE));
        assert!(one_died.lack(at, MINUTE + 50_000, MINUTE), "at first it is awaited");
    }

    #[test]
    fn before_anything_arrived_everything_is_awaited() {
        let mut arrivals = Arrivals::default();
        assert!(arrivals.lack(0, 0, MINUTE));
        let target = arrivals.target("job", "a");
        assert!(arrivals.lack(0, 0, MINUTE), "it is known and has sent nothing");
        let silent = arrivals.target("job", "b");
        assert_ne!(target, silent);
        assert_eq!(arrivals.target("job", "a"), target);
        arrivals.note(target, MINUTE, MINUTE);
        assert!(!arrivals.lack(MINUTE, MINUTE, MINUTE));
        assert!(arrivals.lack(MINUTE + 1, MINUTE, MINUTE), "its rhythm is not known yet");
    }

    #[test]
    fn samples_of_one_scrape_that_differ_a_little_and_gaps_make_no_rhythm() {
        let mut arrivals = Arrivals::default();
        let target = arrivals.target("job", "a");
        for scrape in 0..10 {
            for at_ms in [0, 3, 7, 2] {
                arrivals.note(target, scrape * 15_000 + at_ms, scrape * 15_000 + 50);
            }
        }
        assert!((14_000..=15_000).contains(&arrivals.targets[0].period_ms));
        arrivals.note(target, 10 * MINUTE, 10 * MINUTE);
        assert!(arrivals.targets[0].period_ms <= 30_000);
    }

    #[test]
    fn targets_have_a_bound() {
        let mut arrivals = Arrivals::default();
        for number in 0..TARGETS_MAX + 10 {
            arrivals.target("job", &number.to_string());
        }
        assert_eq!((arrivals.targets.len(), arrivals.ids.len()), (TARGETS_MAX, TARGETS_MAX));
        assert_eq!(arrivals.target("job", "another"), TARGETS_MAX as u32 - 1);
    }
}
