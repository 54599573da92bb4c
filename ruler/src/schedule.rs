//! When a group is evaluated.
//!
//! Evaluations happen at slots: `k * interval + phase`, where the phase is derived from the group's file and name, so that
//! groups spread over the interval and every restart and every replica finds the same slots. A slot that passed while the
//! group was busy is skipped and counted; `repair.rs` says what becomes of it. All times are wall clock milliseconds.

use model::time::Timestamp;
use xxhash_rust::xxh64::xxh64;

/// The slots of one group and the next one to evaluate.
#[derive(Debug, Clone)]
pub struct Schedule {
    interval_ms: i64,
    phase_ms: i64,
    next: Option<Timestamp>,
}

/// A slot that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The timestamp of everything the evaluation writes, before the query offset.
    pub at: Timestamp,
    /// Slots that passed unevaluated since the one before.
    pub missed: u64,
}

impl Schedule {
    /// The schedule of a group; `interval_ms` is at least 1.
    #[must_use]
    pub fn new(file: &str, group: &str, interval_ms: i64) -> Self {
        assert!(interval_ms > 0, "an interval is positive: rule files and configuration refuse others");
        let mut identity = Vec::with_capacity(file.len() + group.len() + 1);
        identity.extend_from_slice(file.as_bytes());
        identity.push(0xff); // no byte of UTF-8, so that no two pairs have one identity
        identity.extend_from_slice(group.as_bytes());
        let phase = xxh64(&identity, 0) % interval_ms.unsigned_abs();
        Self { interval_ms, phase_ms: phase.cast_signed(), next: None }
    }

    /// A schedule whose slots are the multiples of the interval; `interval_ms` is at least 1.
    #[must_use]
    pub fn aligned(interval_ms: i64) -> Self {
        assert!(interval_ms > 0, "an interval is positive: rule files and configuration refuse others");
        Self { interval_ms, phase_ms: 0, next: None }
    }

    /// Distance of the slots in milliseconds.
    #[must_use]
    pub fn interval_ms(&self) -> i64 {
        self.interval_ms
    }

    /// The first slot after `now`.
    #[must_use]
    pub fn slot_after(&self, now: Timestamp) -> Timestamp {
        let since_slot = now.0.saturating_sub(self.phase_ms).rem_euclid(self.interval_ms);
        Timestamp(now.0.saturating_sub(since_slot).saturating_add(self.interval_ms))
    }

    /// The slot that [`Schedule::wake`] returns next, unless it is skipped.
    pub fn next_slot(&mut self, now: Timestamp) -> Timestamp {
        self.plan(now)
    }

    /// Milliseconds to sleep before asking [`Schedule::wake`] again; at most one interval, whatever the clock does.
    pub fn wait_ms(&mut self, now: Timestamp) -> u64 {
        let next = self.plan(now);
        next.0.saturating_sub(now.0).max(0).unsigned_abs()
    }

    /// The slot to evaluate at `now`, or `None` when it is too early. A slot is returned once.
    pub fn wake(&mut self, now: Timestamp) -> Option<Slot> {
        let next = self.plan(now);
        if now < next {
            return None;
        }
        let missed = now.0.saturating_sub(next.0) / self.interval_ms;
        let at = Timestamp(next.0 + missed * self.interval_ms);
        self.next = Some(Timestamp(at.0.saturating_add(self.interval_ms)));
        Some(Slot { at, missed: missed.unsigned_abs() })
    }

    /// The next slot. A plan further away than one interval means that the clock was set back: it is made anew, since
    /// waiting for the old one could take hours.
    fn plan(&mut self, now: Timestamp) -> Timestamp {
        match self.next {
            Some(next) if next.0.saturating_sub(now.0) <= self.interval_ms => next,
            Some(_) | None => {
                let next = self.slot_after(now);
                self.next = Some(next);
                next
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn schedule() -> Schedule {
        Schedule::new("rules.yml", "group", MINUTE)
    }

    fn slot(schedule: &mut Schedule, now: i64) -> Option<(i64, u64)> {
        schedule.wake(Timestamp(now)).map(|slot| (slot.at.0, slot.missed))
    }

    #[test]
    fn slots_are_multiples_of_the_interval_shifted_by_the_groups_phase() {
        let mut schedule = schedule();
        let first = schedule.slot_after(Timestamp(1_000_000)).0;
        assert_eq!(schedule.wait_ms(Timestamp(1_000_000)), (first - 1_000_000).unsigned_abs());
        assert_eq!(slot(&mut schedule, first - 1), None);
        assert_eq!(slot(&mut schedule, first), Some((first, 0)));
        assert_eq!(slot(&mut schedule, first), None);
        assert_eq!(slot(&mut schedule, first + MINUTE + 7), Some((first + MINUTE, 0)));
        assert_eq!(first.rem_euclid(MINUTE), schedule.phase_ms);
    }

    #[test]
    fn the_first_slot_lies_strictly_after_the_start() {
        let schedule = schedule();
        let slot = schedule.slot_after(Timestamp(0));
        assert_eq!(schedule.slot_after(slot), Timestamp(slot.0 + MINUTE));
        assert_eq!(schedule.slot_after(Timestamp(slot.0 - 1)), slot);
    }

    #[test]
    fn phases_differ_between_groups_and_files_and_never_change() {
        let phase = |file: &str, group: &str| Schedule::new(file, group, MINUTE).phase_ms;
        assert_ne!(phase("a", "bc"), phase("ab", "c"));
        assert_ne!(phase("a", "x"), phase("a", "y"));
        assert_eq!(phase("rules.yml", "group"), 16_295);
    }

    #[test]
    fn aligned_slots_are_multiples_of_the_interval() {
        assert_eq!(Schedule::aligned(MINUTE).slot_after(Timestamp(5 * MINUTE + 1)), Timestamp(6 * MINUTE));
    }

    #[test]
    fn slots_that_passed_are_skipped_and_counted() {
        let mut schedule = schedule();
        let first = schedule.slot_after(Timestamp(0)).0;
        assert_eq!(slot(&mut schedule, 0), None);
        assert_eq!(slot(&mut schedule, first + 3 * MINUTE + 5), Some((first + 3 * MINUTE, 3)));
        assert_eq!(slot(&mut schedule, first + 4 * MINUTE), Some((first + 4 * MINUTE, 0)));
    }

    #[test]
    fn a_clock_set_back_by_hours_delays_the_next_evaluation_by_one_interval_at_most() {
        let mut schedule = schedule();
        let day = 86_400_000;
        let first = schedule.slot_after(Timestamp(day)).0;
        assert_eq!(slot(&mut schedule, day), None);
        assert_eq!(slot(&mut schedule, first), Some((first, 0)));
        assert!(schedule.wait_ms(Timestamp(0)) <= MINUTE.unsigned_abs());
        let next = schedule.slot_after(Timestamp(0)).0;
        assert_eq!(slot(&mut schedule, next), Some((next, 0)));
    }

    #[test]
    fn times_before_1970_and_extreme_times_have_slots() {
        let schedule = schedule();
        assert!(schedule.slot_after(Timestamp(-1)).0 > -1);
        let _ = schedule.slot_after(Timestamp(i64::MIN));
        let _ = schedule.slot_after(Timestamp(i64::MAX));
    }
}
