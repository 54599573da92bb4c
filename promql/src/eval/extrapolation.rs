//! How far `rate`, `increase` and `delta` reach beyond the samples of a window.
//!
//! Everything here follows from timestamps alone, so series that share a timeline share it. The order of operations is
//! Prometheus', so that results are equal to the last bit.

/// The reach of one window; meaningless when the window has fewer than two samples.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Extrapolation {
    /// Seconds from the first to the last sample.
    pub(crate) sampled: f64,
    /// Seconds to go beyond the first sample, unless the counter was zero before.
    pub(crate) to_start: f64,
    /// Seconds to go beyond the last sample.
    pub(crate) to_end: f64,
    /// The factor on the difference when `to_start` is used as it is.
    pub(crate) factor: f64,
}

impl Extrapolation {
    /// The reach of a window from `start_ms` (exclusive) to `end_ms` whose first and last of `count` samples are at
    /// `first_ms` and `last_ms`; `divisor` is the range in seconds for `rate` and 1 otherwise.
    pub(crate) fn new(start_ms: i64, end_ms: i64, first_ms: i64, last_ms: i64, count: usize, divisor: f64) -> Self {
        let sampled = seconds(last_ms - first_ms);
        let between = sampled / (count - 1) as f64;
        let threshold = between * 1.1;
        let bounded = |distance: f64| if distance >= threshold { between / 2.0 } else { distance };
        let to_start = bounded(seconds(first_ms.saturating_sub(start_ms)));
        let to_end = bounded(seconds(end_ms.saturating_sub(last_ms)));
        let mut reach = Self { sampled, to_start, to_end, factor: 0.0 };
        reach.factor = reach.factor_from(to_start, divisor);
        reach
    }

    /// The factor on the difference when the window reaches `to_start` seconds beyond its first sample.
    pub(crate) fn factor_from(&self, to_start: f64, divisor: f64) -> f64 {
        let factor = if self.sampled == 0.0 { 1.0 } else { (self.sampled + to_start + self.to_end) / self.sampled };
        factor / divisor
    }
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_edges_are_reached_and_far_ones_by_half_a_spacing() {
        // Samples every 10 s from 5 s to 35 s; the window is (0 s, 100 s].
        let reach = Extrapolation::new(0, 100_000, 5_000, 35_000, 4, 1.0);
        assert_eq!((reach.sampled, reach.to_start, reach.to_end), (30.0, 5.0, 5.0));
        assert_eq!(reach.factor, 40.0 / 30.0);
    }
}
