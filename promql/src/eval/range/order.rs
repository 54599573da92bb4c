//! Folds that need the values in order: `quantile_over_time`, `mad_over_time`.

use super::WindowInput;
use crate::eval::row::Row;
use crate::eval::scalar::ScalarRow;
use std::cmp::Ordering;

/// By value, NaN before everything, the negative zero before the other: which of them is taken never depends on where they
/// were found.
pub(crate) fn by_value(a: &f64, b: &f64) -> Ordering {
    b.is_nan().cmp(&a.is_nan()).then_with(|| a.total_cmp(b))
}

/// The `q`-quantile, between two neighbours in proportion; reorders `values`. Out of range: an infinity; NaN for no
/// values or a NaN `q`.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = (rank.floor() as usize).min(last);
    let upper = (lower + 1).min(last);
    let weight = rank - rank.floor();
    let (_, at_lower, above) = values.select_nth_unstable_by(lower, by_value);
    let at_lower = *at_lower;
    let at_upper = if upper == lower { at_lower } else { above.iter().copied().min_by(by_value).unwrap_or(at_lower) };
    at_lower * (1.0 - weight) + at_upper * weight
}

/// `quantile_over_time`
pub(crate) fn quantile_over_time(input: &WindowInput<'_>, q: &ScalarRow, out: &mut Row) {
    let mut sorted = Vec::new();
    input.each(1, out, |step, low, high| {
        sorted.clear();
        sorted.extend_from_slice(&input.values[low..high]);
        quantile(q.at(step), &mut sorted)
    });
}

/// `mad_over_time`: the median distance from the median; NaN when any value is.
pub(crate) fn mad_over_time(input: &WindowInput<'_>, out: &mut Row) {
    let mut sorted = Vec::new();
    input.each(1, out, |_, low, high| {
        let window = &input.values[low..high];
        if window.iter().any(|value| value.is_nan()) {
            return f64::NAN;
        }
        sorted.clear();
        sorted.extend_from_slice(window);
        let median = quantile(0.5, &mut sorted);
        if input.budget.check().is_err() {
            return f64::NAN;
        }
        for value in &mut sorted {
            *value = (*value - median).abs();
        }
        quantile(0.5, &mut sorted)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate_and_put_nan_lowest() {
        assert_eq!(quantile(0.8, &mut [4.0, 0.0, 1.0]), 2.8000000000000003);
        assert_eq!(quantile(0.5, &mut [f64::NAN, 1.0, 0.0]), 0.0);
        assert!(quantile(0.2, &mut [f64::NAN, 1.0, 0.0]).is_nan());
        assert_eq!(quantile(1.0, &mut [3.0]), 3.0);
        assert_eq!(quantile(-0.1, &mut [3.0]), f64::NEG_INFINITY);
        assert!(quantile(0.5, &mut []).is_nan());
    }
}
