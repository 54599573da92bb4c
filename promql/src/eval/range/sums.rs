//! Folds that add: `sum_over_time`, `avg_over_time`, `stddev_over_time`, `stdvar_over_time`.
//!
//! A corrected sum cannot be moved from one window to the next without changing its last bits, so each window is added
//! afresh. Additions of one window wait for each other; those of four windows do not, so four are added side by side.

use super::WindowInput;
use crate::eval::kahan;
use crate::eval::row::Row;

const LANES: usize = 4;

/// `sum_over_time`
pub(crate) fn sum(input: &WindowInput<'_>, out: &mut Row) {
    sums(input, out, |sum, correction, _| if sum.is_infinite() { sum } else { sum + correction });
}

/// `avg_over_time`
pub(crate) fn avg(input: &WindowInput<'_>, out: &mut Row) {
    sums(input, out, |sum, correction, window| {
        if !sum.is_finite() {
            // The sum overflowed on the way, or a value is no finite number: the careful mean decides.
            return kahan::mean(window);
        }
        let count = window.len() as f64;
        sum / count + correction / count
    });
}

/// Adds up every window and finishes it with `finish(sum, correction, window)`.
fn sums(input: &WindowInput<'_>, out: &mut Row, finish: impl Fn(f64, f64, &[f64]) -> f64) {
    let (first, bounds) = (input.windows.first(), input.windows.bounds());
    out.reset(input.windows.steps());
    let mut at = 0;
    while let Some(four) = bounds.get(at..at + LANES) {
        if input.budget.check().is_err() {
            return;
        }
        let (sums, corrections) = add_side_by_side(input.values, four);
        for lane in 0..LANES {
            let (low, high) = (four[lane].0 as usize, four[lane].1 as usize);
            if low < high {
                out.set(first + at + lane, finish(sums[lane], corrections[lane], &input.values[low..high]));
            }
        }
        at += LANES;
    }
    for (step, (low, high)) in input.windows.by_step().skip(at) {
        let window = &input.values[low as usize..high as usize];
        if !window.is_empty() {
            let (sum, correction) = window.iter().fold((0.0, 0.0), |(s, c), value| kahan::add(*value, s, c));
            out.set(step, finish(sum, correction, window));
        }
    }
}

/// The corrected sums of four windows.
#[inline]
fn add_side_by_side(values: &[f64], bounds: &[(u32, u32)]) -> ([f64; LANES], [f64; LANES]) {
    let windows: [&[f64]; LANES] =
        std::array::from_fn(|lane| &values[bounds[lane].0 as usize..bounds[lane].1 as usize]);
    let shared = windows.iter().map(|window| window.len()).min().unwrap_or(0);
    let (mut sums, mut corrections) = ([0.0; LANES], [0.0; LANES]);
    let [a, b, c, d]: [&[f64]; LANES] = std::array::from_fn(|lane| &windows[lane][..shared]);
    for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
        for (lane, value) in [a, b, c, d].into_iter().enumerate() {
            (sums[lane], corrections[lane]) = kahan::add(*value, sums[lane], corrections[lane]);
        }
    }
    for lane in 0..LANES {
        for value in &windows[lane][shared..] {
            (sums[lane], corrections[lane]) = kahan::add(*value, sums[lane], corrections[lane]);
        }
    }
    (sums, corrections)
}

/// `stddev_over_time` and `stdvar_over_time`: Welford's method with corrected sums.
pub(crate) fn variance(input: &WindowInput<'_>, out: &mut Row, finish: impl Fn(f64) -> f64) {
    input.each(1, out, |_, low, high| {
        let mut count = 0.0;
        let (mut mean, mut mean_correction) = (0.0, 0.0);
        let (mut squares, mut squares_correction) = (0.0, 0.0);
        for value in &input.values[low..high] {
            count += 1.0;
            let delta = value - (mean + mean_correction);
            (mean, mean_correction) = kahan::add(delta / count, mean, mean_correction);
            let square = delta * (value - (mean + mean_correction));
            (squares, squares_correction) = kahan::add(square, squares, squares_correction);
        }
        finish((squares + squares_correction) / count)
    });
}
