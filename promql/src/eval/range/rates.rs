//! `rate`, `increase`, `delta` with extrapolation; `irate`, `idelta` from the last two samples.
//!
//! A window needs its first and last sample and the counter resets between them. Resets are rare: their positions are
//! found once per series, and windows without one cost the same however long they are.

use super::WindowInput;
use crate::eval::extrapolation::Extrapolation;
use crate::eval::row::Row;
use crate::eval::windows::Extrapolations;

/// Which of the three extrapolating functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Rate,
    Increase,
    Delta,
}

/// `rate`, `increase`, `delta`
pub(crate) fn extrapolated(input: &WindowInput<'_>, kind: Kind, out: &mut Row) {
    let divisor = if kind == Kind::Rate { input.range_seconds() } else { 1.0 };
    let (first_step, reaches) = (input.windows.first(), input.windows.extrapolation(|| reaches(input, divisor)));
    if kind == Kind::Delta {
        input.each(2, out, |step, low, high| {
            (input.values[high - 1] - input.values[low]) * reaches[step - first_step].factor
        });
        return;
    }
    let resets = resets(input.values);
    if resets.is_empty() {
        input.each(2, out, |step, low, high| {
            let first = input.values[low];
            counter(first, input.values[high - 1] - first, &reaches[step - first_step], divisor)
        });
        return;
    }
    let mut passed = 0;
    input.each(2, out, |step, low, high| {
        while resets.get(passed).is_some_and(|reset| *reset <= low) {
            passed += 1;
        }
        let first = input.values[low];
        let mut increase = input.values[high - 1] - first;
        for reset in resets[passed..].iter().take_while(|reset| **reset < high) {
            increase += input.values[reset - 1];
        }
        counter(first, increase, &reaches[step - first_step], divisor)
    });
}

/// The extrapolated increase of a counter that began the window at `first`.
#[inline(always)]
pub(crate) fn counter(first: f64, increase: f64, reach: &Extrapolation, divisor: f64) -> f64 {
    if increase > 0.0 && first >= 0.0 {
        // A counter is never below zero: do not reach beyond the point where the line meets it. Whether it does is
        // decided by the quotient, as Prometheus computes it; the product only says when that is out of question.
        let clear = first * reach.sampled > reach.to_start * increase * 1.000_001;
        if !clear {
            let to_zero = reach.sampled * (first / increase);
            if to_zero < reach.to_start {
                return increase * reach.factor_from(to_zero, divisor);
            }
        }
    }
    increase * reach.factor
}

fn reaches(input: &WindowInput<'_>, divisor: f64) -> Extrapolations {
    let times = input.timestamps_ms;
    let reach = |(step, (low, high)): (usize, (u32, u32))| {
        let (low, high) = (low as usize, high as usize);
        if high - low < 2 {
            return Extrapolation::default();
        }
        let end = input.look.time(step);
        let start = end.saturating_sub(input.range_ms);
        Extrapolation::new(start, end, times[low], times[high - 1], high - low, divisor)
    };
    input.windows.by_step().map(reach).collect()
}

/// The positions of samples that are lower than the one before, ascending.
fn resets(values: &[f64]) -> Vec<usize> {
    let mut found = Vec::new();
    // In blocks: the common case, no reset at all, is then one vectorised comparison.
    const BLOCK: usize = 64;
    let mut from = 1;
    while from < values.len() {
        let until = (from + BLOCK).min(values.len());
        let (before, after) = (&values[from - 1..until - 1], &values[from..until]);
        if before.iter().zip(after).fold(false, |any, (before, after)| any | (after < before)) {
            found.extend((from..until).filter(|i| values[*i] < values[i - 1]));
        }
        from = until;
    }
    found
}

/// `irate` (`counter`) and `idelta`
pub(crate) fn last_two(input: &WindowInput<'_>, counter: bool, out: &mut Row) {
    input.each(2, out, |_, _, high| {
        let (before, last) = (input.values[high - 2], input.values[high - 1]);
        let difference = if counter && last < before { last } else { last - before };
        if !counter {
            return difference;
        }
        let interval_ms = input.timestamps_ms[high - 1] - input.timestamps_ms[high - 2];
        difference / (interval_ms as f64 / 1000.0)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_found_across_blocks() {
        let mut values: Vec<f64> = (0..200).map(f64::from).collect();
        values[64] = -1.0;
        values[199] = f64::NAN;
        assert_eq!(resets(&values), [64]);
        assert!(resets(&[]).is_empty());
        assert!(resets(&[1.0]).is_empty());
    }
}
