//! When a failed request is tried again. Pure: time and randomness are arguments.

use std::time::Duration;

/// How long a request may take and how it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// Time since the first attempt began after which no other begins.
    pub deadline: Duration,
    /// Pause after the first attempt, about; it doubles with each further one.
    pub pause_min: Duration,
    /// Longest pause.
    pub pause_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_secs(30),
            deadline: Duration::from_secs(60),
            pause_min: Duration::from_millis(100),
            pause_max: Duration::from_secs(10),
        }
    }
}

impl RetryPolicy {
    /// How long to wait after `attempts` failed ones, or `None` when there is no time for another.
    ///
    /// `random` is from 0 to 1 and moves the pause between half and all of its length, so that clients that failed together do
    /// not come back together. Near the deadline pauses are shorter: there are attempts until then.
    #[must_use]
    pub fn pause(&self, attempts: u32, elapsed: Duration, random: f64) -> Option<Duration> {
        let doublings = attempts.saturating_sub(1).min(20);
        let full = self.pause_min.saturating_mul(1 << doublings).min(self.pause_max);
        let left = self.deadline.saturating_sub(elapsed);
        let pause = full.min(left).mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        (left > self.pause_min && pause < left).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let policy = RetryPolicy::default();
        let pauses: Vec<_> = (1..=9).map(|n| policy.pause(n, Duration::ZERO, 1.0).unwrap().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(policy.pause(u32::MAX, Duration::ZERO, 0.0), Some(Duration::from_secs(5)));
    }

    #[test]
    fn no_attempt_begins_after_the_deadline() {
        let policy = RetryPolicy::default();
        assert!(policy.pause(1, Duration::from_millis(59_800), 1.0).is_some());
        assert_eq!(policy.pause(1, Duration::from_millis(59_900), 1.0), None);
    }

    #[test]
    fn attempts_go_on_until_shortly_before_the_deadline() {
        let policy = RetryPolicy { deadline: Duration::from_secs(10), ..RetryPolicy::default() };
        for random in [0.0, 0.3, 0.9, 0.99] {
            let (mut elapsed, mut attempts) = (Duration::ZERO, 1);
            while let Some(pause) = policy.pause(attempts, elapsed, random) {
                (elapsed, attempts) = (elapsed + pause, attempts + 1);
            }
            assert!(elapsed >= Duration::from_secs(9) && elapsed < policy.deadline, "{random}: {elapsed:?}");
            assert!(attempts < 20, "{random}: {attempts} attempts");
        }
    }
}
