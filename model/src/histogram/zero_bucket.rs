//! The zero bucket of two histograms that are to be combined.

use super::Histogram;
use super::arithmetic::Working;
use super::bounds::exponential;
use super::buckets::listed;
use super::compensated::add_compensated;
use super::side::Side;

/// A zero bucket: how far it reaches and its population with the correction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ZeroBucket {
    pub(super) threshold: f64,
    pub(super) count: (f64, f64),
}

impl Working {
    /// Grows the zero bucket until it covers that of `other` and neither histogram has a populated bucket that reaches into
    /// it; returns what the zero bucket of `other` then counts.
    pub(super) fn reconcile_zero_buckets(&mut self, other: &Self) -> (f64, f64) {
        let mut theirs = ZeroBucket { threshold: other.zero_threshold, count: other.zero_count };
        if self.has_custom_buckets() {
            return theirs.count;
        }
        // A threshold that is not a number is neither above nor below: nothing can be reconciled then.
        while theirs.threshold < self.zero_threshold || self.zero_threshold < theirs.threshold {
            if theirs.threshold < self.zero_threshold {
                theirs = other.zero_bucket_up_to(self.zero_threshold);
            }
            if self.zero_threshold < theirs.threshold {
                let ours = self.zero_bucket_up_to(theirs.threshold);
                (self.zero_threshold, self.zero_count) = (ours.threshold, ours.count);
                let (threshold, schema) = (self.zero_threshold, self.schema);
                for side in [&mut self.positive, &mut self.negative] {
                    *side = side.without_first(|index| exponential(index.saturating_sub(1), schema) < threshold);
                }
            }
        }
        theirs.count
    }

    fn zero_bucket_up_to(&self, threshold: f64) -> ZeroBucket {
        let own = ZeroBucket { threshold: self.zero_threshold, count: self.zero_count };
        grown(own, threshold, [&self.positive, &self.negative], self.schema)
    }
}

impl Histogram {
    /// The zero bucket if its threshold were `threshold`, or as much more as it takes not to cut a populated bucket.
    pub(super) fn zero_bucket_up_to(&self, threshold: f64) -> ZeroBucket {
        let own = ZeroBucket { threshold: self.zero_threshold, count: (self.zero_count, 0.0) };
        if threshold == self.zero_threshold {
            return own;
        }
        let side = |spans: &[_], buckets: &[f64]| Side {
            spans: spans.to_vec(),
            buckets: buckets.to_vec(),
            corrections: Vec::new(),
        };
        let positive = side(&self.positive_spans, &self.positive_buckets);
        let negative = side(&self.negative_spans, &self.negative_buckets);
        grown(own, threshold, [&positive, &negative], self.schema)
    }
}

/// `own` grown to `threshold` or as much more as it takes not to cut a populated bucket.
fn grown(own: ZeroBucket, mut threshold: f64, sides: [&Side; 2], schema: i8) -> ZeroBucket {
    loop {
        let mut count = own.count;
        let cut = sides.iter().find_map(|side| swallow(side, threshold, schema, &mut count));
        match cut {
            // The other side may reach into the larger zero bucket as well: look again.
            Some(upper) => threshold = upper,
            None => return ZeroBucket { threshold, count },
        }
    }
}

/// Adds to `count` the buckets that begin below `threshold`; the upper bound of the populated one that it cuts, if any.
fn swallow(side: &Side, threshold: f64, schema: i8, count: &mut (f64, f64)) -> Option<f64> {
    let corrections = side.corrections.iter().copied().chain(std::iter::repeat(0.0));
    for ((index, population), correction) in listed(&side.spans, &side.buckets).zip(corrections) {
        if exponential(index.saturating_sub(1), schema) >= threshold {
            return None;
        }
        *count = add_compensated(population, count.0, count.1);
        *count = add_compensated(correction, count.0, count.1);
        let upper = exponential(index, schema);
        if upper > threshold {
            return (population != 0.0).then_some(upper);
        }
    }
    None
}
