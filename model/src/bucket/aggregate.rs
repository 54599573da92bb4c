//! Samples to buckets, and buckets to coarser ones.
//!
//! Both ways lead to the same bucket: everything but the two sums is equal to the last bit, and those are as long as their
//! terms are whole numbers below 2^53. Otherwise a sum of sums was rounded once per bucket more.

use super::{Bucket, BucketColumns, bucket_end};
use crate::compensated;
use crate::sample::{SampleColumns, is_change, is_stale_marker};

/// Appends to `into` the buckets of `samples`, which begin after the buckets that are there already.
pub fn aggregate(samples: &SampleColumns, resolution_ms: i64, into: &mut BucketColumns) {
    let all =
        samples.timestamps_ms.iter().zip(&samples.values).map(|(&time_ms, &value)| Bucket::of_sample(time_ms, value));
    combine(all, resolution_ms, into);
}

/// Appends to `into` the buckets of `resolution_ms` that consist of the `finer` ones, whose resolution divides it.
pub fn coarsen(finer: &BucketColumns, resolution_ms: i64, into: &mut BucketColumns) {
    combine(finer.iter(), resolution_ms, into);
}

fn combine(parts: impl Iterator<Item = Bucket>, resolution_ms: i64, into: &mut BucketColumns) {
    let mut open: Option<Open> = None;
    for part in parts {
        match &mut open {
            Some(open) if part.end_ms <= open.bucket.end_ms => open.push(&part),
            _ => {
                if let Some(full) = open.replace(Open::new(&part, resolution_ms)) {
                    into.push(&full.finish());
                }
            }
        }
    }
    if let Some(last) = open {
        into.push(&last.finish());
    }
}

impl Bucket {
    /// A sample as a bucket that ends with it; a stale marker is one without samples.
    #[must_use]
    pub fn of_sample(time_ms: i64, value: f64) -> Self {
        let empty = Self { end_ms: time_ms, first_ms: time_ms, last_ms: time_ms, ..Self::default() };
        if is_stale_marker(value) {
            return Self { stale_end: true, ..empty };
        }
        Self { count: 1, first: value, last: value, sum: value, min: value, max: value, ..empty }
    }
}

/// A bucket that may get more.
struct Open {
    bucket: Bucket,
    /// What rounding took from the sum.
    correction: f64,
}

impl Open {
    fn new(first: &Bucket, resolution_ms: i64) -> Self {
        let end_ms = bucket_end(first.end_ms, resolution_ms);
        Self { bucket: Bucket { end_ms, ..*first }, correction: 0.0 }
    }

    /// Adds what comes next in time.
    fn push(&mut self, next: &Bucket) {
        let own = &mut self.bucket;
        own.stale_end = next.stale_end;
        if next.count == 0 {
            return;
        }
        if own.count == 0 {
            *own = Bucket { end_ms: own.end_ms, ..*next };
            return;
        }
        if next.first < own.last {
            own.resets += 1;
            own.reset_sum += own.last;
        }
        own.changes += u32::from(is_change(own.last, next.first)) + next.changes;
        own.resets += next.resets;
        own.reset_sum += next.reset_sum;
        own.count += next.count;
        (own.last, own.last_ms) = (next.last, next.last_ms);
        if next.min < own.min || own.min.is_nan() {
            own.min = next.min;
        }
        if next.max > own.max || own.max.is_nan() {
            own.max = next.max;
        }
        (own.sum, self.correction) = compensated::add(next.sum, own.sum, self.correction);
    }

    fn finish(self) -> Bucket {
        let mut bucket = self.bucket;
        if self.correction != 0.0 {
            bucket.sum += self.correction;
        }
        if bucket.count == 0 {
            (bucket.first_ms, bucket.last_ms) = (bucket.end_ms, bucket.end_ms);
        }
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::stale_marker;
    use proptest::prelude::*;

    fn columns(samples: &[(i64, f64)]) -> SampleColumns {
        SampleColumns {
            timestamps_ms: samples.iter().map(|(time, _)| *time).collect(),
            values: samples.iter().map(|(_, value)| *value).collect(),
        }
    }

    fn buckets(samples: &[(i64, f64)], resolution_ms: i64) -> Vec<Bucket> {
        let mut out = BucketColumns::default();
        aggregate(&columns(samples), resolution_ms, &mut out);
        out.iter().collect()
    }

    #[test]
    fn a_bucket_excludes_its_start_and_includes_its_end() {
        let found = buckets(&[(-5, 9.0), (0, 1.0), (1, 3.0), (9, 2.0), (10, 5.0), (21, 7.0)], 10);
        assert_eq!(
            found.iter().map(|bucket| (bucket.end_ms, bucket.count)).collect::<Vec<_>>(),
            [(0, 2), (10, 3), (30, 1)]
        );
        let middle = Bucket {
            end_ms: 10,
            count: 3,
            first_ms: 1,
            last_ms: 10,
            first: 3.0,
            last: 5.0,
            sum: 10.0,
            min: 2.0,
            max: 5.0,
            resets: 1,
            reset_sum: 3.0,
            changes: 2,
            stale_end: false,
        };
        assert_eq!(found[1], middle);
    }

    #[test]
    fn of_stale_markers_only_the_last_matters() {
        let found = buckets(
            &[(1, 1.0), (2, stale_marker()), (3, 2.0), (11, 4.0), (12, stale_marker()), (25, stale_marker())],
            10,
        );
        let seen: Vec<_> = found.iter().map(|bucket| (bucket.count, bucket.changes, bucket.stale_end)).collect();
        assert_eq!(seen, [(2, 1, false), (1, 0, true), (0, 0, true)]);
        assert_eq!((found[2].first_ms, found[2].last_ms), (30, 30));
    }

    #[test]
    fn not_a_number_is_an_extreme_only_when_alone() {
        let found = buckets(&[(1, f64::NAN), (2, -0.0), (3, 0.0), (4, f64::NAN)], 10);
        assert_eq!((found[0].min.to_bits(), found[0].max.to_bits()), ((-0.0f64).to_bits(), (-0.0f64).to_bits()));
        assert_eq!((found[0].changes, found[0].resets), (2, 0));
        assert!(found[0].sum.is_nan() && buckets(&[(1, f64::NAN)], 10)[0].min.is_nan());
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            6 => (0u32..50).prop_map(f64::from),
            4 => -1e3..1e3f64,
            1 => Just(stale_marker()),
            1 => prop_oneof![Just(f64::NAN), Just(-0.0), Just(f64::INFINITY), Just(f64::NEG_INFINITY)],
        ]
    }

    fn close(a: f64, b: f64, terms: f64) -> bool {
        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (a - b).abs() <= terms * 1e-12
    }

    proptest! {
        #[test]
        fn coarse_buckets_are_the_same_from_fine_ones(
            samples in prop::collection::vec((1i64..40, value()), 1..200), start in -500i64..500
        ) {
            let mut time = start;
            let samples: Vec<(i64, f64)> = samples.into_iter().map(|(gap, value)| { time += gap; (time, value) }).collect();
            let (mut fine, mut coarse, mut direct) = Default::default();
            aggregate(&columns(&samples), 30, &mut fine);
            coarsen(&fine, 120, &mut coarse);
            aggregate(&columns(&samples), 120, &mut direct);
            prop_assert_eq!(coarse.len(), direct.len());
            for (a, b) in coarse.iter().zip(direct.iter()) {
                let bits = |bucket: &Bucket| [bucket.first, bucket.last, bucket.min, bucket.max].map(|value| if value.is_nan() { 0 } else { value.to_bits() });
                let counts = |bucket: &Bucket| (bucket.end_ms, bucket.count, bucket.first_ms, bucket.last_ms, bucket.resets, bucket.changes, bucket.stale_end);
                prop_assert_eq!(bits(&a), bits(&b));
                prop_assert_eq!(counts(&a), counts(&b));
                let terms = f64::from(a.count) * 1e3;
                prop_assert!(close(a.sum, b.sum, terms) && close(a.reset_sum, b.reset_sum, terms), "{a:?} {b:?}");
            }
        }

        /// Of whole numbers the sums are equal to the last bit too.
        #[test]
        fn sums_of_whole_numbers_do_not_depend_on_the_way(values in prop::collection::vec(-1_000_000i32..1_000_000, 1..100)) {
            let samples: Vec<(i64, f64)> = (0..).map(|i| i * 7).zip(values.into_iter().map(f64::from)).collect();
            let (mut fine, mut coarse, mut direct) = Default::default();
            aggregate(&columns(&samples), 30, &mut fine);
            coarsen(&fine, 120, &mut coarse);
            aggregate(&columns(&samples), 120, &mut direct);
            prop_assert_eq!(coarse, direct);
        }
    }
}
