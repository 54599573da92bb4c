//! Walking over the buckets of a histogram.

use super::{Histogram, Span};

/// One bucket with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Where it begins.
    pub lower: f64,
    /// Where it ends.
    pub upper: f64,
    /// Whether observations of `lower` itself are in it.
    pub lower_inclusive: bool,
    /// Whether observations of `upper` itself are in it.
    pub upper_inclusive: bool,
    /// Observations in it.
    pub count: f64,
}

impl Bucket {
    /// Which share of the bucket's width lies below `value`, which is strictly inside its finite bounds: on a linear scale,
    /// or on the logarithmic one of exponential buckets.
    #[must_use]
    pub fn fraction_below(&self, value: f64, linear: bool) -> f64 {
        if linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let [lower, upper, at] = [self.lower, self.upper, value].map(|bound| bound.abs().log2());
        if value > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
    }
}

/// Which bucket of its histogram one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BucketKey {
    /// On the negative side, by its index.
    Negative(i32),
    /// The one around zero.
    Zero,
    /// On the positive side, by its index.
    Positive(i32),
}

impl BucketKey {
    /// The index on its side; the bucket around zero has none.
    #[must_use]
    pub fn index(self) -> Option<i32> {
        match self {
            Self::Negative(index) | Self::Positive(index) => Some(index),
            Self::Zero => None,
        }
    }
}

impl Histogram {
    /// The positive buckets as listed, empty ones included, ascending: away from zero.
    pub fn positive_buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        listed(&self.positive_spans, &self.positive_buckets).map(|(index, count)| self.bucket(index, count))
    }

    /// The negative buckets as listed, empty ones included, descending: away from zero.
    pub fn negative_buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        listed(&self.negative_spans, &self.negative_buckets).map(|(index, count)| self.bucket(index, count).mirrored())
    }

    /// The zero bucket.
    #[must_use]
    pub fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    /// All buckets in ascending order, the zero bucket only if it is populated. A bucket that reaches into the zero bucket
    /// ends there.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        self.keyed_buckets().map(|(_, bucket)| bucket)
    }

    /// The same with what tells them apart.
    pub fn keyed_buckets(&self) -> impl DoubleEndedIterator<Item = (BucketKey, Bucket)> + '_ {
        let zero = (self.zero_count > 0.0).then(|| (BucketKey::Zero, self.zero_bucket()));
        let negative = listed(&self.negative_spans, &self.negative_buckets)
            .map(|(index, count)| (BucketKey::Negative(index), self.bucket(index, count).mirrored()));
        let positive = listed(&self.positive_spans, &self.positive_buckets)
            .map(|(index, count)| (BucketKey::Positive(index), self.bucket(index, count)));
        let outside = |mut bucket: Bucket| {
            if bucket.upper < 0.0 && bucket.upper > -self.zero_threshold {
                bucket.upper = -self.zero_threshold;
            } else if bucket.lower > 0.0 && bucket.lower < self.zero_threshold {
                bucket.lower = self.zero_threshold;
            }
            bucket
        };
        negative.rev().chain(zero).chain(positive).map(move |(key, bucket)| (key, outside(bucket)))
    }

    /// All buckets in ascending order as they are listed, with the bounds of the schema whatever the zero bucket covers.
    pub fn listed_buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        let zero = (self.zero_count != 0.0).then(|| self.zero_bucket());
        self.negative_buckets().rev().chain(zero).chain(self.positive_buckets())
    }

    fn bucket(&self, index: i32, count: f64) -> Bucket {
        let (lower, upper) = (self.bound(index.saturating_sub(1)), self.bound(index));
        let lower_inclusive = if self.has_custom_buckets() { index == 0 } else { lower < 0.0 };
        Bucket { lower, upper, lower_inclusive, upper_inclusive: self.has_custom_buckets() || upper > 0.0, count }
    }
}

impl Bucket {
    fn mirrored(self) -> Self {
        let (lower, upper) = (-self.upper, -self.lower);
        Self { lower, upper, lower_inclusive: lower < 0.0, upper_inclusive: upper > 0.0, count: self.count }
    }
}

/// Index and population of the listed buckets. Spans that promise other than `buckets` has leave the surplus out; indices
/// that no valid histogram has saturate.
pub(super) fn listed<'a>(spans: &[Span], buckets: &'a [f64]) -> impl DoubleEndedIterator<Item = (i32, f64)> + 'a {
    let mut next = 0i32;
    let mut rest = buckets;
    let runs: Vec<(i32, &[f64])> = spans
        .iter()
        .map(|span| {
            let first = next.saturating_add(span.offset);
            next = first.saturating_add_unsigned(span.length);
            let (run, after) = rest.split_at(rest.len().min(span.length as usize));
            rest = after;
            (first, run)
        })
        .collect();
    runs.into_iter().flat_map(|(first, run)| {
        run.iter().enumerate().map(move |(i, count)| (first.saturating_add_unsigned(i as u32), *count))
    })
}
