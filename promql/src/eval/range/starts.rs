//! Counters with start timestamps: samples that say since when they count.
//!
//! A start after the sample before says that the counter was reset in between, even if its value did not fall; a first
//! sample whose start lies inside the window says that it was zero then. Few series have starts, so windows are folded one
//! by one.

use super::WindowInput;
use crate::eval::row::Row;

/// When a sample was taken and since when it counts; 0 where nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) time_ms: i64,
    pub(crate) start_ms: i64,
}

impl Stamp {
    /// The stamp of sample `i`; `starts` is empty when none is known.
    pub(crate) fn of(times: &[i64], starts: &[i64], i: usize) -> Self {
        Self { time_ms: times[i], start_ms: starts.get(i).copied().unwrap_or(0) }
    }

    /// Whether the counting began anew after `before`.
    pub(crate) fn is_reset_after(self, before: Self) -> bool {
        if self.start_ms == 0 || self.start_ms >= self.time_ms || self.start_ms < before.time_ms {
            return false;
        }
        // A start at the very time of the sample before is a reset of deltas, but says nothing when the start before was
        // not known either (senders then repeat the first sample's time).
        let known_before = before.start_ms != 0 && before.start_ms < before.time_ms;
        self.start_ms > before.time_ms || known_before
    }

    /// Whether it claims to count from a time at which `before`, which counts from another start, was still counting.
    pub(crate) fn overlaps(self, before: Self) -> bool {
        self.start_ms != 0 && self.start_ms < before.time_ms && self.start_ms != before.start_ms
    }

    /// Whether the counting began inside the window that begins after `window_start_ms` and has this as first sample.
    pub(crate) fn starts_inside(self, window_start_ms: i64) -> bool {
        self.start_ms != 0 && self.start_ms > window_start_ms && self.start_ms < self.time_ms
    }
}

/// Whether any sample of a window overlaps the one before.
pub(crate) fn any_overlap(input: &WindowInput<'_>, low: usize, high: usize) -> bool {
    let stamp = |i| Stamp::of(input.timestamps_ms, input.starts, i);
    (low + 1..high).any(|i| stamp(i).overlaps(stamp(i - 1)))
}

/// How far a rate reaches beyond the samples of its window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    /// The window: exclusive, inclusive.
    pub(crate) window_ms: (i64, i64),
    pub(crate) first: Stamp,
    pub(crate) last_ms: i64,
    pub(crate) samples: usize,
}

impl Reach {
    /// Whether the first sample's start is used as a sample of zero.
    pub(crate) fn begins_at_zero(&self) -> bool {
        self.first.starts_inside(self.window_ms.0)
    }

    /// The factor on the increase; `first` and `increase` are values, or counts of histograms. The first value is part of
    /// the increase if the counter began at zero inside the window.
    pub(crate) fn factor(&self, first: f64, increase: f64, divisor: f64) -> f64 {
        let seconds = |from: i64, to: i64| to.saturating_sub(from) as f64 / 1000.0;
        let mut sampled = seconds(self.first.time_ms, self.last_ms);
        let gaps = self.samples.saturating_sub(1);
        let between = if gaps > 0 { sampled / gaps as f64 } else { 0.0 };
        let threshold = between * 1.1;
        let bounded = |distance: f64| if distance >= threshold { between / 2.0 } else { distance };
        let to_start = if self.begins_at_zero() {
            sampled = seconds(self.first.start_ms, self.last_ms);
            0.0
        } else {
            let to_start = bounded(seconds(self.window_ms.0, self.first.time_ms));
            let is_counter_above_zero = increase > 0.0 && first >= 0.0;
            let to_zero = if is_counter_above_zero { sampled * (first / increase) } else { to_start };
            if to_zero < to_start { to_zero } else { to_start }
        };
        let to_end = bounded(seconds(self.last_ms, self.window_ms.1));
        let factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
        factor / divisor
    }
}

/// `rate` and `increase`; `divisor` is the range in seconds for the former, 1 for the latter.
pub(super) fn extrapolated(input: &WindowInput<'_>, divisor: f64, out: &mut Row) {
    let stamp = |i| Stamp::of(input.timestamps_ms, input.starts, i);
    input.each(1, out, |step, low, high| {
        let end = input.look.time(step);
        let window_ms = (end.saturating_sub(input.range_ms), end);
        let (first, last) = (input.values[low], input.values[high - 1]);
        let reach = Reach { window_ms, first: stamp(low), last_ms: input.timestamps_ms[high - 1], samples: high - low };
        let mut increase = last - first;
        for i in low + 1..high {
            if input.values[i] < input.values[i - 1] || stamp(i).is_reset_after(stamp(i - 1)) {
                increase += input.values[i - 1];
            }
        }
        if reach.begins_at_zero() {
            increase += first;
        }
        increase * reach.factor(first, increase, divisor)
    });
    // One sample is enough only if it says since when it counts.
    for (step, (low, high)) in input.windows.by_step() {
        let window_start = input.look.time(step).saturating_sub(input.range_ms);
        if high - low == 1 && !stamp(low as usize).starts_inside(window_start) {
            out.clear_step(step);
        }
    }
}

/// `irate`
pub(super) fn irate(input: &WindowInput<'_>, out: &mut Row) {
    let stamp = |i| Stamp::of(input.timestamps_ms, input.starts, i);
    input.each(2, out, |_, _, high| {
        let (before, last) = (input.values[high - 2], input.values[high - 1]);
        let reset = last < before || stamp(high - 1).is_reset_after(stamp(high - 2));
        let interval_ms = input.timestamps_ms[high - 1] - input.timestamps_ms[high - 2];
        (if reset { last } else { last - before }) / (interval_ms as f64 / 1000.0)
    });
}

/// `resets`
pub(super) fn resets(input: &WindowInput<'_>, out: &mut Row) {
    let stamp = |i| Stamp::of(input.timestamps_ms, input.starts, i);
    input.each(1, out, |_, low, high| {
        let is_reset = |i: &usize| input.values[*i] < input.values[i - 1] || stamp(*i).is_reset_after(stamp(i - 1));
        (low + 1..high).filter(is_reset).count() as f64
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_after_the_sample_before_is_a_reset() {
        let stamp = |time_ms, start_ms| Stamp { time_ms, start_ms };
        let before = stamp(100, 10);
        for (start, expected) in [(0, false), (10, false), (99, false), (100, true), (150, true), (200, false)] {
            assert_eq!(stamp(200, start).is_reset_after(before), expected, "start {start}");
        }
        for unknown in [0, 100, 120] {
            assert!(!stamp(200, 100).is_reset_after(stamp(100, unknown)));
        }
        assert!(
            stamp(200, 50).overlaps(before) && !stamp(200, 10).overlaps(before) && !stamp(200, 100).overlaps(before)
        );
    }
}
