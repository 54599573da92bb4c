//! Quantiles and fractions of classic buckets, which count the observations up to their bound.

/// Observations up to a bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bucket {
    pub(super) bound: f64,
    pub(super) count: f64,
}

/// How counts were changed so that they never fall.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Repair {
    pub(super) buckets: (f64, f64),
    pub(super) difference_max: f64,
}

/// The `q`-quantile of buckets with ascending bounds, linear inside a bucket; makes counts monotonic.
pub(super) fn quantile(q: f64, buckets: &mut [Bucket]) -> (f64, Option<Repair>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if !(0.0..=1.0).contains(&q) {
        return (if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY }, None);
    }
    if buckets.last().is_none_or(|last| last.bound != f64::INFINITY) {
        return (f64::NAN, None);
    }
    let repair = make_monotonic(buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, repair);
    }
    let mut rank = q * observations;
    let at = buckets[..last].partition_point(|bucket| bucket.count < rank || bucket.count.is_nan());
    let value = if at == last {
        buckets[last - 1].bound
    } else if at == 0 && buckets[0].bound <= 0.0 {
        buckets[0].bound
    } else {
        let Bucket { bound: end, mut count } = buckets[at];
        let mut start = 0.0;
        if at > 0 {
            start = buckets[at - 1].bound;
            count -= buckets[at - 1].count;
            rank -= buckets[at - 1].count;
        }
        start + (end - start) * (rank / count)
    };
    (value, repair)
}

/// Relative differences below this are taken for rounding errors.
const SMALL_DIFFERENCE: f64 = 1e-12;

fn make_monotonic(buckets: &mut [Bucket]) -> Option<Repair> {
    let mut repair: Option<Repair> = None;
    let mut highest = buckets[0].count;
    for bucket in &mut buckets[1..] {
        let count = bucket.count;
        if count == highest {
            continue;
        }
        if nearly_equal(highest, count) {
            bucket.count = highest;
        } else if count < highest {
            bucket.count = highest;
            let repair = repair.get_or_insert(Repair { buckets: (bucket.bound, bucket.bound), difference_max: 0.0 });
            repair.buckets = (repair.buckets.0.min(bucket.bound), repair.buckets.1.max(bucket.bound));
            repair.difference_max = repair.difference_max.max(highest - count);
        } else {
            highest = count;
        }
    }
    repair
}

fn nearly_equal(a: f64, b: f64) -> bool {
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < SMALL_DIFFERENCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < SMALL_DIFFERENCE
}

/// The share of observations between two values, linear inside a bucket; none of a bucket without an end.
pub(super) fn fraction(lower: f64, upper: f64, buckets: &[Bucket]) -> f64 {
    let Some(last) = buckets.last().filter(|last| last.bound == f64::INFINITY) else { return f64::NAN };
    let total = last.count;
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, total) - rank_of(lower, buckets, total)) / total
}

/// How many observations lie below `value`.
fn rank_of(value: f64, buckets: &[Bucket], total: f64) -> f64 {
    let mut start = if buckets[0].bound <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    let mut below: f64 = 0.0;
    for bucket in buckets {
        if start >= value {
            return below.min(total);
        }
        if bucket.bound > value {
            let inside = if start == f64::NEG_INFINITY {
                bucket.count
            } else {
                below + (bucket.count - below) * (value - start) / (bucket.bound - start)
            };
            return if inside > total { total } else { inside };
        }
        below = bucket.count;
        start = bucket.bound;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(list: &[(f64, f64)]) -> Vec<Bucket> {
        list.iter().map(|(bound, count)| Bucket { bound: *bound, count: *count }).collect()
    }

    const INF: f64 = f64::INFINITY;

    #[test]
    fn quantiles_interpolate_inside_a_bucket() {
        let ask = |q| quantile(q, &mut buckets(&[(0.1, 5.0), (0.2, 7.0), (1.0, 11.0), (INF, 12.0)])).0;
        assert!((ask(0.2) - 0.048).abs() < 1e-12);
        assert!((ask(0.5) - 0.15).abs() < 1e-12);
        assert_eq!(ask(1.0), 1.0);
        assert_eq!((ask(-0.1), ask(1.1)), (f64::NEG_INFINITY, INF));
        assert!(quantile(0.5, &mut buckets(&[(1.0, 5.0)])).0.is_nan());
        assert!(quantile(0.5, &mut buckets(&[(INF, 5.0)])).0.is_nan());
    }

    #[test]
    fn falling_counts_are_lifted_and_reported() {
        let mut falling = buckets(&[(0.1, 20.0), (1.0, 10.0), (10.0, 50.0), (100.0, 40.0), (INF, 80.0)]);
        let (_, repair) = quantile(0.5, &mut falling);
        assert_eq!(repair, Some(Repair { buckets: (1.0, 100.0), difference_max: 10.0 }));
        let (_, repair) = quantile(0.5, &mut buckets(&[(1.0, 10.0), (2.0, 10.0 - 1e-13), (INF, 10.0)]));
        assert_eq!(repair, None);
    }

    #[test]
    fn fractions_leave_out_buckets_without_an_end() {
        let ask = |lower, upper, list: &[(f64, f64)]| fraction(lower, upper, &buckets(list));
        let positive = [(1.0, 1.0), (2.0, 3.0), (3.0, 6.0), (INF, 100.0)];
        assert_eq!(ask(0.0, 1.5, &positive), 0.02);
        assert_eq!(ask(2.0, 5.0, &positive), 0.03);
        assert_eq!(ask(400.0, INF, &positive), 0.94);
        let negative = [(-3.0, 10.0), (-2.0, 12.0), (-1.0, 15.0), (INF, 100.0)];
        assert_eq!(ask(-4.0, -2.0, &negative), 0.02);
        assert_eq!(ask(f64::NEG_INFINITY, -1.5, &negative), 0.135);
    }
}
