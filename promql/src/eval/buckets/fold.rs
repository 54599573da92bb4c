//! Functions over windows of samples and buckets.
//!
//! Operations and their order are those of the folds over samples, as far as buckets allow. First, last, their times,
//! counts, resets, changes and extremes are equal to the last bit; so are `rate`, `increase` and `delta` unless a bucket
//! holds several resets of a counter that has fractions. Sums are rounded once per bucket more: equal to the last bit for
//! whole numbers below 2^53, else within the rounding of the buckets' sums.

use super::Window;
use super::pieces::Parts;
use crate::eval::extrapolation::Extrapolation;
use crate::eval::kahan;
use crate::eval::range::RangeFunction;
use crate::eval::range::rates::counter;
use model::sample::is_change;

/// The value of one window, scaled if the window that was asked for has another length; `None` when there is none.
pub(super) fn window(function: RangeFunction, parts: &Parts<'_>, window: Window, range_ms: i64) -> Option<f64> {
    use RangeFunction as F;
    let count = parts.count();
    if count == 0 {
        return None;
    }
    let length_ms = window.until_ms.saturating_sub(window.after_ms);
    // Amounts grow with the window.
    let scaled = |amount: f64| if length_ms == range_ms { amount } else { amount * range_ms as f64 / length_ms as f64 };
    Some(match function {
        F::Rate => extrapolated(parts, count, window, length_ms as f64 / 1000.0, true)?,
        F::Increase => scaled(extrapolated(parts, count, window, 1.0, true)?),
        F::Delta => scaled(extrapolated(parts, count, window, 1.0, false)?),
        F::Count => scaled(count as f64),
        F::Present => 1.0,
        F::Sum => {
            let (sum, correction) = sum(parts);
            scaled(if sum.is_infinite() { sum } else { sum + correction })
        }
        F::Avg => mean(parts, count as f64),
        F::Min => extreme(parts.values(|columns| &columns.mins), |new, best| new < best),
        F::Max => extreme(parts.values(|columns| &columns.maxs), |new, best| new > best),
        F::First => parts.first(),
        F::Last => parts.last(),
        F::TsOfFirst => parts.first_time() as f64 / 1000.0,
        F::TsOfLast => parts.last_time() as f64 / 1000.0,
        F::Resets => {
            let (mut between, mut within) = (0, 0);
            parts.pairs(
                |before, after| between += u32::from(after < before),
                |columns, row| within += columns.resets[row],
            );
            scaled(f64::from(between + within))
        }
        F::Changes => {
            let (mut between, mut within) = (0, 0);
            let count = |before, after| between += u32::from(is_change(before, after));
            parts.pairs(count, |columns, row| within += columns.changes[row]);
            scaled(f64::from(between + within))
        }
        F::Irate
        | F::Idelta
        | F::Deriv
        | F::PredictLinear
        | F::DoubleExponentialSmoothing
        | F::Stddev
        | F::Stdvar
        | F::TsOfMin
        | F::TsOfMax
        | F::Quantile
        | F::Mad => unreachable!("needs samples"),
    })
}

fn extrapolated(parts: &Parts<'_>, count: u64, window: Window, divisor: f64, is_counter: bool) -> Option<f64> {
    if count < 2 {
        return None;
    }
    let Window { after_ms, until_ms } = window;
    let (first_ms, last_ms) = (parts.first_time(), parts.last_time());
    let reach = Extrapolation::new(after_ms, until_ms, first_ms, last_ms, count as usize, divisor);
    let (first, last) = (parts.first(), parts.last());
    if !is_counter {
        return Some((last - first) * reach.factor);
    }
    let increase = std::cell::Cell::new(last - first);
    let add = |amount: f64| increase.set(increase.get() + amount);
    parts.pairs(
        |before, after| {
            if after < before {
                add(before);
            }
        },
        |columns, row| {
            if columns.resets[row] > 0 {
                add(columns.reset_sums[row]);
            }
        },
    );
    Some(counter(first, increase.get(), &reach, divisor))
}

fn sum(parts: &Parts<'_>) -> (f64, f64) {
    parts
        .values(|columns| &columns.sums)
        .fold((0.0, 0.0), |(sum, correction), value| kahan::add(value, sum, correction))
}

fn mean(parts: &Parts<'_>, count: f64) -> f64 {
    let (total, correction) = sum(parts);
    if total.is_finite() {
        return total / count + correction / count;
    }
    // Overflown on the way, or a value is no finite number: divided first, only the latter remains.
    let divided = parts.values(|columns| &columns.sums).map(|value| value / count);
    let (total, correction) = divided.fold((0.0, 0.0), |(sum, correction), value| kahan::add(value, sum, correction));
    total + correction
}

/// A NaN is skipped unless there is nothing else; of equal values the first counts.
fn extreme(mut values: impl Iterator<Item = f64>, better: impl Fn(f64, f64) -> bool) -> f64 {
    let first = values.next().unwrap_or(f64::NAN);
    values.fold(first, |best, new| if better(new, best) || best.is_nan() { new } else { best })
}
