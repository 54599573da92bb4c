//! How long deliveries take.

use std::time::Duration;

/// Upper bounds of the buckets of delivery times, in seconds.
pub const LATENCY_BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// Delivery times.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Latency {
    /// Not cumulative, bounds in [`LATENCY_BUCKETS`].
    pub buckets: [u64; LATENCY_BUCKETS.len() + 1],
    /// Sum of all.
    pub seconds: f64,
}

impl Latency {
    pub(super) fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = LATENCY_BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(LATENCY_BUCKETS.len());
        self.buckets[bucket] += 1;
        self.seconds += seconds;
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, count)| *sum += count);
        self.seconds += other.seconds;
    }
}
