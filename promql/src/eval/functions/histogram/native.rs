//! Quantiles, fractions and moments of native histograms.
//!
//! Inside an exponential bucket observations are taken to be spread evenly on a logarithmic scale, inside any other on a
//! linear one.

use crate::eval::kahan;
use model::histogram::{Bucket, Histogram};

/// What observations of NaN, which are in no bucket, do to a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NanObservations {
    /// A quantile lies among them.
    MadeResultNan,
    /// A quantile is higher than without them.
    SkewedResult,
    /// A fraction leaves them out.
    Excluded,
}

impl NanObservations {
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::MadeResultNan => "input to histogram_quantile has NaN observations, result is NaN",
            Self::SkewedResult => "input to histogram_quantile has NaN observations, result is skewed higher",
            Self::Excluded => "input to histogram_fraction has NaN observations, which are excluded from all fractions",
        }
    }
}

/// The function of that name in PromQL that makes a number of a histogram.
pub(crate) fn named(name: &str) -> Option<fn(&Histogram) -> f64> {
    Some(match name {
        "histogram_count" => |histogram| histogram.count,
        "histogram_sum" => |histogram| histogram.sum,
        "histogram_avg" => |histogram| histogram.sum / histogram.count,
        "histogram_stdvar" => variance,
        "histogram_stddev" => |histogram| variance(histogram).sqrt(),
        _ => return None,
    })
}

/// The mean square distance from the mean, every observation taken to be in the middle of its bucket.
fn variance(histogram: &Histogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let (mut sum, mut correction) = (0.0, 0.0);
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        let middle = if histogram.has_custom_buckets() {
            f64::midpoint(bucket.upper, bucket.lower)
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            let geometric = (bucket.upper * bucket.lower).sqrt();
            if bucket.upper < 0.0 { -geometric } else { geometric }
        };
        let distance = middle - mean;
        (sum, correction) = kahan::add(bucket.count * distance * distance, sum, correction);
    }
    (sum + correction) / histogram.count
}

/// Where the zero bucket ends if only one side has buckets: zero is the natural end of the other.
fn clipped(mut bucket: Bucket, histogram: &Histogram) -> Bucket {
    match (histogram.negative_buckets.is_empty(), histogram.positive_buckets.is_empty()) {
        (true, false) => bucket.lower = 0.0,
        (false, true) => bucket.upper = 0.0,
        _ => {}
    }
    bucket
}

/// The `q`-quantile.
pub(super) fn quantile(q: f64, histogram: &Histogram) -> (f64, Option<NanObservations>) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return (f64::NAN, None);
    }
    // Observations of NaN are counted and in no bucket: they come after all others, so we walk upwards.
    let may_have_nan = histogram.sum.is_nan();
    let upwards = may_have_nan || q < 0.5;
    let Walk { mut bucket, mut count, mut rank, rest } = walk(q, histogram, upwards);
    if !histogram.has_custom_buckets() {
        if bucket.lower < 0.0 && bucket.upper > 0.0 {
            bucket = clipped(bucket, histogram);
        }
    } else if bucket.lower == f64::NEG_INFINITY {
        if bucket.upper <= 0.0 {
            return (bucket.upper, None);
        }
        bucket.lower = 0.0;
    } else if bucket.upper == f64::INFINITY {
        return (bucket.lower, None);
    }
    // Rounding may have made more of the buckets than there are observations.
    count = if count > histogram.count { histogram.count } else { count };
    if count < rank {
        return if may_have_nan { (f64::NAN, Some(NanObservations::MadeResultNan)) } else { (bucket.upper, None) };
    }
    rank = if upwards { rank - (count - bucket.count) } else { count - rank };
    let skewed = may_have_nan && count + rest < histogram.count;
    let value = interpolated(&bucket, rank / bucket.count, histogram.has_custom_buckets());
    (value, skewed.then_some(NanObservations::SkewedResult))
}

/// How far a walk over the buckets got.
struct Walk {
    /// The bucket that the rank falls into, or the last one.
    bucket: Bucket,
    /// Observations up to and including it.
    count: f64,
    rank: f64,
    /// Observations in the buckets beyond.
    rest: f64,
}

fn walk(q: f64, histogram: &Histogram, upwards: bool) -> Walk {
    let rank = if upwards { q * histogram.count } else { (1.0 - q) * histogram.count };
    let mut buckets = histogram.buckets();
    let mut next = || if upwards { buckets.next() } else { buckets.next_back() };
    let nothing = Bucket { lower: 0.0, upper: 0.0, lower_inclusive: true, upper_inclusive: true, count: 0.0 };
    let mut walk = Walk { bucket: nothing, count: 0.0, rank, rest: 0.0 };
    while let Some(bucket) = next() {
        walk.bucket = bucket;
        walk.count += bucket.count;
        if bucket.count != 0.0 && walk.count >= rank {
            break;
        }
    }
    while let Some(bucket) = next() {
        walk.rest += bucket.count;
    }
    walk
}

/// The value `fraction` of the way into a bucket.
fn interpolated(bucket: &Bucket, fraction: f64, linear: bool) -> f64 {
    let Bucket { lower, upper, .. } = *bucket;
    if linear || (lower <= 0.0 && upper >= 0.0) {
        return lower + (upper - lower) * fraction;
    }
    let (low, high) = (lower.abs().log2(), upper.abs().log2());
    if lower > 0.0 { (low + (high - low) * fraction).exp2() } else { -(high + (low - high) * (1.0 - fraction)).exp2() }
}

/// The share of observations between two values; observations of NaN are among all, but between none.
pub(super) fn fraction(lower: f64, upper: f64, histogram: &Histogram) -> (f64, Option<NanObservations>) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, None);
    }
    if lower >= upper {
        return (0.0, None);
    }
    let mut numbers = histogram.count;
    let mut remark = None;
    if histogram.sum.is_nan() {
        numbers = histogram.buckets().map(|bucket| bucket.count).fold(0.0, |sum, count| sum + count);
        remark = (numbers < histogram.count).then_some(NanObservations::Excluded);
    }
    let rank = |value| rank_of(value, histogram).filter(|rank| *rank <= numbers).unwrap_or(numbers);
    ((rank(upper) - rank(lower)) / histogram.count, remark)
}

/// How many observations lie below `value`; `None` when it is above all buckets.
fn rank_of(value: f64, histogram: &Histogram) -> Option<f64> {
    let mut below = 0.0;
    for bucket in histogram.buckets() {
        let around_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        let Bucket { lower, upper, count, .. } = if around_zero { clipped(bucket, histogram) } else { bucket };
        if lower >= value {
            return Some(below);
        }
        if upper > value {
            let linear = histogram.has_custom_buckets() || around_zero;
            // Nobody knows how a bucket without a lower end is filled: all of it counts.
            if linear && lower == f64::NEG_INFINITY {
                return Some(count);
            }
            let inside = Bucket { lower, upper, ..bucket };
            return Some(below + count * inside.fraction_below(value, linear));
        }
        below += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};

    /// Two observations in each of (1, 2], (2, 4], (4, 8].
    fn exponential() -> Histogram {
        Histogram {
            count: 6.0,
            sum: 20.0,
            positive_spans: vec![Span { offset: 1, length: 3 }],
            positive_buckets: vec![2.0; 3],
            ..Histogram::default()
        }
    }

    #[test]
    fn quantiles_of_exponential_buckets_are_even_on_a_logarithmic_scale() {
        let ask = |q| quantile(q, &exponential()).0;
        assert!((ask(0.5) - 2f64.powf(1.5)).abs() < 1e-12);
        assert_eq!((ask(0.0), ask(1.0)), (1.0, 8.0));
        assert_eq!((ask(-1.0), ask(2.0)), (f64::NEG_INFINITY, f64::INFINITY));
        assert!(quantile(0.5, &Histogram::default()).0.is_nan());
    }

    #[test]
    fn fractions_are_the_inverse_of_quantiles() {
        for q in [0.0, 0.1, 0.4, 0.5, 0.9, 1.0] {
            let value = quantile(q, &exponential()).0;
            assert!((fraction(f64::NEG_INFINITY, value, &exponential()).0 - q).abs() < 1e-9, "{q}");
        }
    }

    #[test]
    fn observations_of_nan_are_remarked_on() {
        let with_nan = Histogram { count: 8.0, sum: f64::NAN, ..exponential() };
        assert_eq!(quantile(0.9, &with_nan).1, Some(NanObservations::MadeResultNan));
        assert_eq!(quantile(0.1, &with_nan).1, Some(NanObservations::SkewedResult));
        assert_eq!(fraction(1.0, 8.0, &with_nan), (0.75, Some(NanObservations::Excluded)));
    }

    #[test]
    fn listed_bounds_have_no_ends_to_interpolate_to() {
        let custom = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: 4.0,
            sum: 4.0,
            positive_spans: vec![Span { offset: 0, length: 2 }],
            positive_buckets: vec![2.0, 2.0],
            custom_values: [1.0].into(),
            ..Histogram::default()
        };
        assert_eq!((quantile(0.25, &custom).0, quantile(0.9, &custom).0), (0.5, 1.0));
        assert!(variance(&exponential()).is_finite());
    }
}
