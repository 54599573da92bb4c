//! Folds that find the largest or smallest value.
//!
//! A NaN is skipped unless the window holds nothing else; of equal values the first counts (this matters for the sign of
//! zero). Long windows are folded in eight lanes; an extreme does not depend on the order, except for that sign, which is
//! then looked up.

use super::WindowInput;
use crate::eval::row::Row;

/// `max_over_time`
pub(crate) fn max(input: &WindowInput<'_>, out: &mut Row) {
    input.each(1, out, |_, low, high| extreme(&input.values[low..high], |new, best| new > best));
}

/// `min_over_time`
pub(crate) fn min(input: &WindowInput<'_>, out: &mut Row) {
    input.each(1, out, |_, low, high| extreme(&input.values[low..high], |new, best| new < best));
}

const LANES: usize = 8;

#[inline(always)]
fn extreme(window: &[f64], better: impl Fn(f64, f64) -> bool + Copy) -> f64 {
    let pick = |best: f64, new: f64| if better(new, best) || best.is_nan() { new } else { best };
    if window.len() < 2 * LANES {
        return window[1..].iter().fold(window[0], |best, new| pick(best, *new));
    }
    let mut lanes = [f64::NAN; LANES];
    let chunks = window.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = pick(lanes[lane], chunk[lane]);
        }
    }
    let best = lanes.iter().chain(rest).fold(f64::NAN, |best, new| pick(best, *new));
    if best == 0.0 {
        // The lanes mixed the order; of several zeros the first one is wanted.
        return window.iter().copied().find(|value| *value == 0.0).unwrap_or(best);
    }
    best
}

/// `ts_of_max_over_time` and `ts_of_min_over_time`: the time of the last of equal extremes.
pub(crate) fn time_of(input: &WindowInput<'_>, at_least_as_good: impl Fn(f64, f64) -> bool, out: &mut Row) {
    input.each(1, out, |_, low, high| {
        let (mut best, mut at) = (input.values[low], low);
        for i in low..high {
            if at_least_as_good(input.values[i], best) || best.is_nan() {
                (best, at) = (input.values[i], i);
            }
        }
        input.timestamps_ms[at] as f64 / 1000.0
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(window: &[f64], better: impl Fn(f64, f64) -> bool) -> f64 {
        let mut best = window[0];
        for new in window {
            if better(*new, best) || best.is_nan() {
                best = *new;
            }
        }
        best
    }

    proptest! {
        #[test]
        fn lanes_find_what_a_plain_loop_finds(
            window in proptest::collection::vec(
                prop_oneof![Just(0.0), Just(-0.0), Just(f64::NAN), -2.0..2.0f64, Just(f64::INFINITY)], 1..60
            )
        ) {
            let max = extreme(&window, |new, best| new > best);
            prop_assert_eq!(max.to_bits(), plain(&window, |new, best| new > best).to_bits());
            let min = extreme(&window, |new, best| new < best);
            prop_assert_eq!(min.to_bits(), plain(&window, |new, best| new < best).to_bits());
        }
    }
}
