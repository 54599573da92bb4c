//! Adding many histograms: every number carries what rounding took from it.

use super::Histogram;
use super::arithmetic::{Combined, IncompatibleBuckets, Working, is_huge};
pub(super) use crate::compensated::add as add_compensated;

fn has_huge_numbers(histogram: &Histogram) -> bool {
    let totals = [histogram.zero_count, histogram.count, histogram.sum];
    let buckets = histogram.positive_buckets.iter().chain(&histogram.negative_buckets);
    totals.iter().chain(buckets).any(|value| is_huge(*value))
}

/// The sum of histograms.
#[derive(Debug, Clone)]
pub struct HistogramSum {
    working: Working,
}

impl HistogramSum {
    /// The sum of one histogram.
    #[must_use]
    pub fn new(first: &Histogram) -> Self {
        Self { working: Working::new(first) }
    }

    /// Adds one histogram.
    ///
    /// # Errors
    /// One has listed bounds, the other exponential ones; the sum is then as it was.
    pub fn add(&mut self, next: &Histogram) -> Result<Combined, IncompatibleBuckets> {
        self.working.compensate();
        self.working.add_histogram(next, 1.0)
    }

    /// Adds a sum of histograms that come after those of this one.
    ///
    /// # Errors
    /// As [`HistogramSum::add`].
    pub fn merge(&mut self, other: &Self) -> Result<Combined, IncompatibleBuckets> {
        self.working.compensate();
        self.working.add(&other.working, 1.0)
    }

    /// Bytes of memory behind it.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.working.held_bytes()
    }

    /// The sum. Buckets that are empty may be listed.
    #[must_use]
    pub fn finish(self) -> Histogram {
        self.working.finish()
    }
}

/// The mean of histograms: the plain quotient until the sum would overflow, and from then on moved by each histogram.
#[derive(Debug, Clone)]
pub struct HistogramMean {
    /// The sum, or the mean itself once `moving`.
    working: Working,
    count: f64,
    moving: bool,
}

impl HistogramMean {
    /// The mean of one histogram.
    #[must_use]
    pub fn new(first: &Histogram) -> Self {
        Self { working: Working::new(first), count: 1.0, moving: false }
    }

    /// Adds one histogram.
    ///
    /// # Errors
    /// One has listed bounds, the other exponential ones.
    pub fn add(&mut self, next: &Histogram) -> Result<Combined, IncompatibleBuckets> {
        if !self.moving && !self.working.has_huge_numbers() && !has_huge_numbers(next) {
            self.working.compensate();
            let combined = self.working.add_histogram(next, 1.0)?;
            self.count += 1.0;
            return Ok(combined);
        }
        let mut next = Working::new(next);
        if !self.moving {
            let mut sum = self.working.clone();
            sum.compensate();
            let combined = sum.add(&next, 1.0)?;
            if !sum.has_overflow() {
                self.working = sum;
                self.count += 1.0;
                return Ok(combined);
            }
            self.start_moving();
        }
        self.count += 1.0;
        self.working.scale((self.count - 1.0) / self.count);
        next.divide(self.count);
        self.working.add(&next, 1.0)
    }

    /// Adds the histograms of `other`, which come after those of this one.
    ///
    /// # Errors
    /// As [`HistogramMean::add`].
    pub fn merge(&mut self, other: &Self) -> Result<Combined, IncompatibleBuckets> {
        if !self.moving && !other.moving {
            let mut sum = self.working.clone();
            sum.compensate();
            let combined = sum.add(&other.working, 1.0)?;
            if !sum.has_overflow() {
                self.working = sum;
                self.count += other.count;
                return Ok(combined);
            }
        }
        let mut other = other.clone();
        self.start_moving();
        other.start_moving();
        let count = self.count + other.count;
        self.working.scale(self.count / count);
        other.working.scale(other.count / count);
        self.count = count;
        self.working.add(&other.working, 1.0)
    }

    fn start_moving(&mut self) {
        if !self.moving {
            self.moving = true;
            self.working.compensate();
            self.working.divide(self.count);
        }
    }

    /// Bytes of memory behind it.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.working.held_bytes()
    }

    /// The mean. Buckets that are empty may be listed.
    #[must_use]
    pub fn finish(self) -> Histogram {
        let mut histogram = self.working.finish();
        if !self.moving {
            // What is rounded is the sum, which is the same in any order; its parts are not.
            histogram.divide(self.count);
        }
        histogram
    }
}
