//! Notices that the wall clock was set, by comparing it with the one that cannot be.
//!
//! After a step forward the data seem to be as old as the step was long, and queries find nothing although nothing ended. As
//! long as a query may look at such data, what they no longer return is believed to go on. After a step back slots come again
//! that were evaluated before; the schedule leaves them out (`group.rs`).

use crate::ports::Moment;
use std::time::Duration;

/// Differences up to this are no steps: clocks are trimmed, and processes are paused.
const STEP_MIN_MS: i64 = 30_000;
/// How long samples are visible to queries, and so how long after a step they may be missing.
const DOUBT: Duration = Duration::from_secs(5 * 60);

/// Watches the clocks of one group.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClockWatch {
    last: Option<Moment>,
    doubt_until: Duration,
}

impl ClockWatch {
    /// Takes note of both clocks; returns by how many milliseconds the wall clock was set since the last time.
    pub fn look(&mut self, now: Moment) -> Option<i64> {
        let last = self.last.replace(now)?;
        let wall_ms = now.wall.0.saturating_sub(last.wall.0);
        let passed = now.monotonic.saturating_sub(last.monotonic).as_millis();
        let step_ms = wall_ms.saturating_sub(i64::try_from(passed).unwrap_or(i64::MAX));
        if step_ms.saturating_abs() < STEP_MIN_MS {
            return None;
        }
        self.doubt_until = now.monotonic.saturating_add(DOUBT);
        Some(step_ms)
    }

    /// Whether queries may miss what is there, because the clock was set a short while ago.
    #[must_use]
    pub fn is_doubtful(&self, now: Moment) -> bool {
        now.monotonic < self.doubt_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::time::Timestamp;

    fn moment(wall_secs: i64, monotonic_secs: u64) -> Moment {
        Moment { wall: Timestamp(wall_secs * 1000), monotonic: Duration::from_secs(monotonic_secs) }
    }

    #[test]
    fn steps_are_told_once_and_doubted_for_as_long_as_samples_are_visible() {
        let mut watch = ClockWatch::default();
        assert_eq!(watch.look(moment(1_000, 0)), None);
        assert_eq!(watch.look(moment(1_062, 60)), None, "a clock that is a little fast");
        assert!(!watch.is_doubtful(moment(1_062, 60)));
        assert_eq!(watch.look(moment(1_422, 120)), Some(300_000));
        assert_eq!(watch.look(moment(1_482, 180)), None);
        assert!(watch.is_doubtful(moment(1_721, 419)));
        assert!(!watch.is_doubtful(moment(1_722, 420)));
        assert_eq!(watch.look(moment(1_422, 420)), Some(-300_000));
    }

    #[test]
    fn clocks_at_their_ends_do_not_overflow() {
        let mut watch = ClockWatch::default();
        let ends = [(i64::MIN, Duration::ZERO), (i64::MAX, Duration::MAX), (i64::MIN, Duration::ZERO)];
        for (wall, monotonic) in ends {
            watch.look(Moment { wall: Timestamp(wall), monotonic });
        }
        let _ = watch.is_doubtful(moment(0, 0));
    }
}
