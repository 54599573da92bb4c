//! Summation that keeps what rounding loses (Neumaier's method), as Prometheus adds floats everywhere it adds many.

/// Adds `value` to `sum`; `correction` gathers what rounding lost. The correction is void once the sum is infinite.
#[inline(always)]
#[must_use]
pub fn add(value: f64, sum: f64, correction: f64) -> (f64, f64) {
    let total = sum + value;
    let lost = if sum.abs() >= value.abs() { (sum - total) + value } else { (value - total) + sum };
    (total, if total.is_infinite() { 0.0 } else { correction + lost })
}
