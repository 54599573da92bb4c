//! Native histograms: the distribution of many observations in one sample.
//!
//! Follows Prometheus' float histograms. Integer histograms of senders become these: a count above 2⁵³ is rounded, as
//! Prometheus rounds it when it is queried.
//!
//! The type is here; what can be done with it is in one file per kind of question.

mod arithmetic;
mod bounds;
mod buckets;
mod compensated;
mod custom_bounds;
mod equality;
mod print;
mod reset;
mod side;
#[cfg(test)]
mod tests;
mod trim;
pub mod validate;
mod zero_bucket;

pub use arithmetic::{Combined, IncompatibleBuckets};
pub use buckets::{Bucket, BucketKey};
pub use compensated::{HistogramMean, HistogramSum};
pub use trim::Keep;

use crate::sample::is_stale_marker;
use std::sync::Arc;

/// The schema of histograms whose bucket bounds are listed in [`Histogram::custom_values`].
pub const CUSTOM_BUCKETS_SCHEMA: i8 = -53;
/// The coarsest exponential schema: each bucket is 2¹⁶ times as wide as the one before.
pub const SCHEMA_MIN: i8 = -4;
/// The finest exponential schema: 256 buckets to each power of two.
pub const SCHEMA_MAX: i8 = 8;

/// What is known about a counter reset between a histogram and the one before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum CounterResetHint {
    /// Nothing: compare the two to find out.
    #[default]
    Unknown,
    /// There was one.
    Reset,
    /// There was none.
    NotReset,
    /// It is a gauge: it may go up and down.
    Gauge,
}

/// A run of consecutive buckets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Of the first span of a side: the index of its first bucket. Of a later one: buckets left out since the one before.
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
}

/// One native histogram.
///
/// Bucket `i` of an exponential schema covers `(base^(i-1), base^i]` with `base = 2^(2^-schema)`; of the custom schema
/// `(custom_values[i-1], custom_values[i]]`, open at both ends. The lengths of a side's spans add up to the number of its
/// buckets, which whoever builds one from foreign bytes checks. Populations are absolute, never deltas.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// What is known about a reset before this sample.
    pub counter_reset_hint: CounterResetHint,
    /// The resolution: [`SCHEMA_MIN`] to [`SCHEMA_MAX`], or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i8,
    /// Observations with an absolute value up to this are in the zero bucket.
    pub zero_threshold: f64,
    /// Population of the zero bucket.
    pub zero_count: f64,
    /// Observations in all.
    pub count: f64,
    /// Their sum; the stale marker in a stale histogram.
    pub sum: f64,
    /// Which buckets of positive observations are listed, in ascending order.
    pub positive_spans: Vec<Span>,
    /// Which buckets of negative observations are listed, in ascending order of absolute values.
    pub negative_spans: Vec<Span>,
    /// Populations of the positive buckets.
    pub positive_buckets: Vec<f64>,
    /// Populations of the negative buckets.
    pub negative_buckets: Vec<f64>,
    /// Upper bounds of the custom schema, ascending, +Inf left out; empty with every other schema. Shared: they rarely
    /// change from sample to sample.
    pub custom_values: Arc<[f64]>,
}

impl Histogram {
    /// Whether this marks the end of its series.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        is_stale_marker(self.sum)
    }

    /// Whether the bucket bounds are listed.
    #[must_use]
    pub fn has_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }
}

/// The histograms of one series as columns of equal length; timestamps strictly increase.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistogramColumns {
    /// Milliseconds since the Unix epoch.
    pub timestamps_ms: Vec<i64>,
    /// One histogram per timestamp.
    pub histograms: Vec<Arc<Histogram>>,
    /// How many samples were left out between the one before and each; empty when there are all.
    pub left_out: Vec<u32>,
}

impl HistogramColumns {
    /// Appends one sample; the caller keeps timestamps increasing.
    pub fn push(&mut self, timestamp_ms: i64, histogram: Arc<Histogram>) {
        self.push_after(timestamp_ms, histogram, 0);
    }

    /// Appends one sample, before which so many were left out; the caller keeps timestamps increasing.
    pub fn push_after(&mut self, timestamp_ms: i64, histogram: Arc<Histogram>, left_out: u32) {
        if left_out > 0 || !self.left_out.is_empty() {
            self.left_out.resize(self.timestamps_ms.len(), 0);
            self.left_out.push(left_out);
        }
        self.timestamps_ms.push(timestamp_ms);
        self.histograms.push(histogram);
    }

    /// Takes all samples out, each with how many were left out before it, and keeps the memory.
    pub fn drain(&mut self) -> impl Iterator<Item = (i64, Arc<Histogram>, u32)> + '_ {
        let left_out = self.left_out.drain(..).chain(std::iter::repeat(0));
        let samples = self.timestamps_ms.drain(..).zip(self.histograms.drain(..));
        samples.zip(left_out).map(|((timestamp_ms, histogram), left_out)| (timestamp_ms, histogram, left_out))
    }

    /// Forgets the samples and keeps the memory.
    pub fn clear(&mut self) {
        self.timestamps_ms.clear();
        self.histograms.clear();
        self.left_out.clear();
    }

    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.timestamps_ms.len()
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timestamps_ms.is_empty()
    }
}
