//! Folds that fit a line or smooth: `deriv`, `predict_linear`, `double_exponential_smoothing`.

use super::WindowInput;
use crate::eval::kahan;
use crate::eval::row::Row;
use crate::eval::scalar::ScalarRow;
use crate::query_error::QueryError;

/// `deriv`
pub(crate) fn deriv(input: &WindowInput<'_>, out: &mut Row) {
    input.each(2, out, |_, low, high| {
        // Times are taken relative to the first sample: large ones would cost precision.
        fit(&input.timestamps_ms[low..high], &input.values[low..high], input.timestamps_ms[low]).0
    });
}

/// `predict_linear`: the line's value `ahead` seconds after the evaluation time.
pub(crate) fn predict_linear(input: &WindowInput<'_>, ahead: &ScalarRow, out: &mut Row) {
    input.each(2, out, |step, low, high| {
        let now = input.steps.time(step);
        let (slope, intercept) = fit(&input.timestamps_ms[low..high], &input.values[low..high], now);
        slope * ahead.at(step) + intercept
    });
}

/// Slope and value at `origin_ms` of the line with the least squares.
fn fit(timestamps_ms: &[i64], values: &[f64], origin_ms: i64) -> (f64, f64) {
    let first = values[0];
    if values[1..].iter().all(|value| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let n = values.len() as f64;
    let (mut x_sum, mut y_sum, mut xy_sum, mut xx_sum) = ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0));
    for (time, y) in timestamps_ms.iter().zip(values) {
        let x = time.saturating_sub(origin_ms) as f64 / 1e3;
        x_sum = kahan::add(x, x_sum.0, x_sum.1);
        y_sum = kahan::add(*y, y_sum.0, y_sum.1);
        xy_sum = kahan::add(x * y, xy_sum.0, xy_sum.1);
        xx_sum = kahan::add(x * x, xx_sum.0, xx_sum.1);
    }
    let total = |(sum, correction): (f64, f64)| sum + correction;
    let (x_sum, y_sum, xy_sum, xx_sum) = (total(x_sum), total(y_sum), total(xy_sum), total(xx_sum));
    let covariance = xy_sum - x_sum * y_sum / n;
    let variance = xx_sum - x_sum * x_sum / n;
    let slope = covariance / variance;
    (slope, y_sum / n - slope * x_sum / n)
}

/// `double_exponential_smoothing`
pub(crate) fn smooth(
    input: &WindowInput<'_>,
    smoothing: &ScalarRow,
    trend: &ScalarRow,
    out: &mut Row,
) -> Result<(), QueryError> {
    for (step, (low, high)) in input.windows.by_step() {
        if low < high {
            check_factor("smoothing", "sf", smoothing.at(step))?;
            check_factor("trend", "tf", trend.at(step))?;
        }
    }
    input.each(2, out, |step, low, high| {
        let (smoothing, trend) = (smoothing.at(step), trend.at(step));
        let window = &input.values[low..high];
        let (mut before, mut level) = (0.0, window[0]);
        let mut slope = window[1] - window[0];
        for (i, value) in window[1..].iter().enumerate() {
            if i > 0 {
                slope = trend * (level - before) + (1.0 - trend) * slope;
            }
            let next = smoothing * value + (1.0 - smoothing) * (level + slope);
            (before, level) = (level, next);
        }
        level
    });
    Ok(())
}

fn check_factor(factor: &'static str, symbol: &'static str, value: f64) -> Result<(), QueryError> {
    if value <= 0.0 || value >= 1.0 {
        return Err(QueryError::SmoothingFactor { factor, symbol, value });
    }
    Ok(())
}
