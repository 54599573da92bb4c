//! Cutting a histogram at a value.
//!
//! A bucket that the value lies in is cut as if its observations were spread evenly: on a logarithmic scale in exponential
//! buckets, on a linear one in the others. Count and sum of the result are estimated from what is left, the sum from the
//! middle of each bucket.

use super::{Bucket, Histogram};

/// Which part is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Observations below the value: `</`.
    Below,
    /// Observations above the value: `>/`.
    Above,
}

/// What is left of a bucket: how many observations, and where their middle is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Left {
    count: f64,
    middle: f64,
    /// The value is not inside the bucket and all of it is kept.
    whole: bool,
}

impl Histogram {
    /// Keeps the part below or above `at`. Count and sum stay as they are when nothing is cut.
    pub fn trim(&mut self, keep: Keep, at: f64) {
        let cut = Cut { keep, at, linear: self.has_custom_buckets() };
        let positive: Vec<Left> = self.positive_buckets().map(|bucket| cut.bucket(&bucket, true)).collect();
        let negative: Vec<Left> = self.negative_buckets().map(|bucket| cut.bucket(&bucket, false)).collect();
        let populated = |buckets: &[f64]| buckets.iter().any(|count| *count != 0.0);
        let sides = (populated(&self.negative_buckets), populated(&self.positive_buckets));
        let mut count = 0.0;
        let mut sum = 0.0;
        let mut is_cut = false;
        let own = self.positive_buckets.iter_mut().zip(positive).chain(self.negative_buckets.iter_mut().zip(negative));
        for (population, left) in own.filter(|(population, _)| **population != 0.0) {
            is_cut |= !left.whole && *population != left.count;
            *population = left.count;
            count += left.count;
            if left.count != 0.0 {
                sum += left.middle * left.count;
            }
        }
        if self.zero_count > 0.0 {
            let left = cut.zero_bucket(&self.zero_bucket(), sides);
            is_cut |= self.zero_count != left.count;
            self.zero_count = left.count;
            count += left.count;
            sum += left.middle * left.count;
        }
        if is_cut {
            self.count = count;
            self.sum = sum;
            self.compact();
        }
    }
}

/// Where to cut, and how.
#[derive(Debug, Clone, Copy)]
struct Cut {
    keep: Keep,
    at: f64,
    linear: bool,
}

impl Cut {
    fn bucket(self, bucket: &Bucket, positive: bool) -> Left {
        let Self { keep, at, .. } = self;
        let (whole, inside) = match keep {
            Keep::Below => (bucket.upper <= at, bucket.lower < at),
            Keep::Above => (bucket.lower >= at, bucket.upper > at),
        };
        if whole {
            let middle = self.middle(bucket.lower, bucket.upper, positive);
            return Left { count: bucket.count, middle, whole };
        }
        if !inside {
            return Left { count: 0.0, middle: 0.0, whole };
        }
        if bucket.lower == f64::NEG_INFINITY || bucket.upper == f64::INFINITY {
            return self.endless_bucket(bucket);
        }
        let below = if at <= bucket.lower {
            0.0
        } else if at >= bucket.upper {
            bucket.count
        } else {
            bucket.count * bucket.fraction_below(at, self.linear)
        };
        match keep {
            Keep::Below => Left { count: below, middle: self.middle(bucket.lower, at, positive), whole },
            Keep::Above => Left { count: bucket.count - below, middle: self.middle(at, bucket.upper, positive), whole },
        }
    }

    /// A bucket without a lower or an upper end, with the value inside. Nobody knows how its observations are spread, so it
    /// goes as a whole, except where zero is a natural lower end or all that is known of the observations is on the side
    /// that is kept.
    fn endless_bucket(self, bucket: &Bucket) -> Left {
        let Self { keep, at, .. } = self;
        let left = |count, middle| Left { count, middle, whole: false };
        let gone = left(0.0, 0.0);
        if bucket.lower == f64::NEG_INFINITY {
            let begins_at_zero = bucket.upper > 0.0 && bucket.upper != f64::INFINITY;
            return match keep {
                Keep::Below if at > 0.0 && begins_at_zero => left(bucket.count * at / bucket.upper, at / 2.0),
                Keep::Below if bucket.upper <= 0.0 => left(bucket.count, at),
                Keep::Above if at >= 0.0 && begins_at_zero => {
                    left(bucket.count * (1.0 - at / bucket.upper), (at + bucket.upper) / 2.0)
                }
                _ => gone,
            };
        }
        match keep {
            Keep::Above if at >= bucket.lower => left(bucket.count, at),
            _ => gone,
        }
    }

    /// Observations in the zero bucket are spread evenly; if only one side has others, it ends at zero. `sides` says whether
    /// the negative and the positive one have any.
    fn zero_bucket(self, bucket: &Bucket, sides: (bool, bool)) -> Left {
        let Self { keep, at, .. } = self;
        let lower = if sides == (false, true) { 0.0 } else { bucket.lower };
        let upper = if sides == (true, false) { 0.0 } else { bucket.upper };
        let all = Left { count: bucket.count, middle: (lower + upper) / 2.0, whole: true };
        let nothing = Left { count: 0.0, middle: 0.0, whole: false };
        let (kept, middle) = match keep {
            Keep::Below if at <= lower => return nothing,
            Keep::Below if at >= upper => return all,
            Keep::Below => (at - lower, (lower + at) / 2.0),
            Keep::Above if at <= lower => return all,
            Keep::Above if at >= upper => return nothing,
            Keep::Above => (upper - at, (at + upper) / 2.0),
        };
        Left { count: bucket.count * (kept / (upper - lower)), middle, whole: false }
    }

    /// Where the observations between two values are taken to be: in the geometric or arithmetic middle, or at the only end
    /// there is.
    fn middle(self, lower: f64, upper: f64, positive: bool) -> f64 {
        match (lower.is_infinite(), upper.is_infinite()) {
            (true, true) => 0.0,
            (true, false) => {
                if upper > 0.0 {
                    upper / 2.0
                } else {
                    upper
                }
            }
            (false, true) => lower,
            (false, false) if self.linear => (lower + upper) / 2.0,
            (false, false) => {
                let geometric = (lower * upper).abs().sqrt();
                if positive { geometric } else { -geometric }
            }
        }
    }
}
