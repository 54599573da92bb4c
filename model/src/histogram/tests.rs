//! Histograms against maps from bucket to population: the naive twin of everything in this module.

use super::bounds::exponential;
use super::buckets::listed;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Populated buckets by side (positive?) and index.
type Cells = BTreeMap<(bool, i32), f64>;

fn cells(histogram: &Histogram) -> Cells {
    let side = |positive, spans: &[Span], buckets: &[f64]| {
        listed(spans, buckets).map(move |(index, count)| ((positive, index), count)).collect::<Vec<_>>()
    };
    let positive = side(true, &histogram.positive_spans, &histogram.positive_buckets);
    let negative = side(false, &histogram.negative_spans, &histogram.negative_buckets);
    positive.into_iter().chain(negative).filter(|(_, count)| *count != 0.0).collect()
}

fn spans_of(cells: &[(i32, f64)]) -> (Vec<Span>, Vec<f64>) {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0;
    for (index, _) in cells {
        match spans.last_mut() {
            Some(span) if *index == next => span.length += 1,
            _ => spans.push(Span { offset: index - next, length: 1 }),
        }
        next = index + 1;
    }
    (spans, cells.iter().map(|(_, count)| *count).collect())
}

fn build(schema: i8, zero: (f64, f64), positive: &BTreeMap<i32, u8>, negative: &BTreeMap<i32, u8>) -> Histogram {
    let side = |cells: &BTreeMap<i32, u8>| {
        // A valid histogram has no bucket inside its zero bucket.
        let outside = cells.iter().filter(|(index, _)| exponential(**index - 1, schema) >= zero.0);
        spans_of(&outside.map(|(index, count)| (*index, f64::from(*count))).collect::<Vec<_>>())
    };
    let (positive_spans, positive_buckets) = side(positive);
    let (negative_spans, negative_buckets) = side(negative);
    let count = zero.1 + positive_buckets.iter().chain(&negative_buckets).sum::<f64>();
    Histogram {
        schema,
        zero_threshold: zero.0,
        zero_count: zero.1,
        count,
        sum: count * 2.0,
        positive_spans,
        positive_buckets,
        negative_spans,
        negative_buckets,
        ..Histogram::default()
    }
}

prop_compose! {
    fn exponential_histogram()(
        schema in -4i8..=8,
        threshold in prop_oneof![Just(0.0), Just(0.001), Just(0.5), Just(1.0), Just(1.3), Just(3.0)],
        zero_count in 0u8..5,
        positive in proptest::collection::btree_map(-6i32..12, 0u8..5, 0..8),
        negative in proptest::collection::btree_map(-6i32..12, 0u8..5, 0..8),
    ) -> Histogram {
        build(schema, (threshold, f64::from(zero_count)), &positive, &negative)
    }
}

prop_compose! {
    fn custom_histogram()(
        bounds in proptest::collection::btree_set(-3i32..6, 0..6),
        counts in proptest::collection::vec(0u8..5, 7),
    ) -> Histogram {
        let custom_values: std::sync::Arc<[f64]> = bounds.iter().map(|bound| f64::from(*bound)).collect();
        let all: Vec<(i32, f64)> =
            (0..).zip(counts).take(custom_values.len() + 1).map(|(index, count)| (index, f64::from(count))).collect();
        let (positive_spans, positive_buckets) = spans_of(&all);
        let count = positive_buckets.iter().sum();
        Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA, count, sum: count, positive_spans, positive_buckets, custom_values,
            ..Histogram::default()
        }
    }
}

/// Both histograms as maps over one schema and one zero bucket: threshold, zero counts, cells.
fn reconciled(a: &Histogram, b: &Histogram) -> (f64, [f64; 2], [Cells; 2]) {
    let schema = a.schema.min(b.schema);
    let mut threshold = a.zero_threshold.max(b.zero_threshold);
    loop {
        let cut = [a, b].into_iter().find_map(|histogram| {
            cells(histogram).keys().find_map(|(_, index)| {
                let (lower, upper) = (exponential(index - 1, histogram.schema), exponential(*index, histogram.schema));
                (lower < threshold && threshold < upper).then_some(upper)
            })
        });
        match cut {
            // Only a zero bucket that grows has to look where it ends.
            Some(upper) if a.zero_threshold != b.zero_threshold => threshold = upper,
            _ => break,
        }
    }
    let one = |histogram: &Histogram| {
        let mut zero = histogram.zero_count;
        let mut outside = Cells::new();
        for ((positive, index), count) in cells(histogram) {
            if exponential(index - 1, histogram.schema) < threshold {
                zero += count;
            } else {
                let merged = ((index - 1) >> (histogram.schema - schema)) + 1;
                *outside.entry((positive, merged)).or_default() += count;
            }
        }
        (zero, outside)
    };
    let ((zero_a, cells_a), (zero_b, cells_b)) = (one(a), one(b));
    (threshold, [zero_a, zero_b], [cells_a, cells_b])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sums_equal_those_of_maps(a in exponential_histogram(), b in exponential_histogram(), subtract: bool) {
        let sign = if subtract { -1.0 } else { 1.0 };
        let mut sum = a.clone();
        let combined = if subtract { sum.subtract(&b) } else { sum.add(&b) };
        prop_assert_eq!(combined, Ok(Combined::default()));
        let (threshold, zeros, [mut expected, other]) = reconciled(&a, &b);
        for (cell, count) in other {
            *expected.entry(cell).or_default() += sign * count;
        }
        expected.retain(|_, count| *count != 0.0);
        prop_assert_eq!(sum.schema, a.schema.min(b.schema));
        prop_assert_eq!(sum.zero_threshold, threshold);
        prop_assert_eq!(sum.zero_count, zeros[0] + sign * zeros[1]);
        prop_assert_eq!(sum.count, a.count + sign * b.count);
        prop_assert_eq!(cells(&sum), expected.clone());
        sum.compact();
        prop_assert_eq!(cells(&sum), expected);
        prop_assert!(sum.positive_buckets.iter().chain(&sum.negative_buckets).all(|count| *count != 0.0));
        prop_assert!(sum.positive_spans.iter().skip(1).all(|span| span.offset > 0 && span.length > 0));
    }

    #[test]
    fn sums_of_many_do_not_depend_on_how_they_are_cut(
        all in proptest::collection::vec(exponential_histogram(), 1..6), cut in 0usize..6,
    ) {
        let mut plain = all[0].clone();
        for next in &all[1..] {
            plain.add(next).expect("all are exponential");
        }
        let fold = |part: &[Histogram]| {
            let mut sum = HistogramSum::new(&part[0]);
            let mut mean = HistogramMean::new(&part[0]);
            for next in &part[1..] {
                sum.add(next).and_then(|_| mean.add(next)).expect("all are exponential");
            }
            (sum, mean)
        };
        let (mut sum, mut mean) = fold(&all[..cut.clamp(1, all.len())]);
        if cut.max(1) < all.len() {
            let (other_sum, other_mean) = fold(&all[cut.max(1)..]);
            sum.merge(&other_sum).and_then(|_| mean.merge(&other_mean)).expect("all are exponential");
        }
        let (sum, mut mean) = (sum.finish(), mean.finish());
        prop_assert_eq!(sum.count, plain.count);
        // Where the zero bucket ends may depend on the order, what is counted does not.
        let total = |h: &Histogram| h.zero_count + cells(h).values().sum::<f64>();
        prop_assert_eq!(total(&sum), total(&plain));
        mean.multiply(all.len() as f64);
        prop_assert!((total(&mean) - total(&plain)).abs() < 1e-9);
    }

    #[test]
    fn resets_equal_those_of_maps(before in exponential_histogram(), growth in exponential_histogram(), grown: bool) {
        let mut now = growth;
        if grown {
            now.schema = before.schema;
            now.zero_threshold = before.zero_threshold;
            now.add(&before).expect("both are exponential");
        }
        let (threshold, zeros, [own, previous]) = reconciled(&now, &before);
        let expected = now.count < before.count
            || now.schema > before.schema
            || now.zero_threshold < before.zero_threshold
            || threshold != now.zero_threshold
            || zeros[0] < zeros[1]
            || previous.iter().any(|(cell, count)| own.get(cell).copied().unwrap_or(0.0) < *count);
        // Buckets of the later histogram that its own zero bucket reaches into are none of a valid one.
        prop_assume!(cells(&now).keys().all(|(_, index)| exponential(index - 1, now.schema) >= now.zero_threshold));
        prop_assert_eq!(now.is_reset_after(&before), expected);
        now.counter_reset_hint = CounterResetHint::NotReset;
        prop_assert!(!now.is_reset_after(&before));
    }

    #[test]
    fn reduced_buckets_contain_the_finer_ones(histogram in exponential_histogram(), steps in 0i8..4) {
        let mut coarse = histogram.clone();
        coarse.reduce_resolution((histogram.schema - steps).max(SCHEMA_MIN));
        for fine in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
            prop_assert!(coarse.buckets().any(|wide| wide.lower <= fine.lower && fine.upper <= wide.upper));
        }
        prop_assert_eq!(
            coarse.buckets().map(|bucket| bucket.count).sum::<f64>(),
            histogram.buckets().map(|bucket| bucket.count).sum::<f64>()
        );
    }

    #[test]
    fn custom_buckets_meet_at_common_bounds(a in custom_histogram(), b in custom_histogram()) {
        let up_to = |histogram: &Histogram, bound: f64| {
            histogram.buckets().filter(|bucket| bucket.upper <= bound).map(|bucket| bucket.count).sum::<f64>()
        };
        let mut sum = a.clone();
        let combined = sum.add(&b).expect("both have listed bounds");
        prop_assert_eq!(combined.bounds_reconciled, a.custom_values != b.custom_values);
        let common: Vec<f64> = a.custom_values.iter().copied().filter(|bound| b.custom_values.contains(bound)).collect();
        prop_assert_eq!(&sum.custom_values[..], &common[..]);
        let all: Vec<f64> = common.into_iter().chain([f64::INFINITY]).collect();
        for bound in &all {
            prop_assert_eq!(up_to(&sum, *bound), up_to(&a, *bound) + up_to(&b, *bound));
        }
        let mut below = f64::NEG_INFINITY;
        let mut fell = a.count < b.count;
        for bound in all {
            let between = |histogram: &Histogram| up_to(histogram, bound) - up_to(histogram, below);
            fell |= between(&a) < between(&b);
            below = bound;
        }
        prop_assert_eq!(a.is_reset_after(&b), fell);
    }

    #[test]
    fn the_two_parts_of_a_cut_histogram_make_the_whole(
        histogram in prop_oneof![exponential_histogram(), custom_histogram()], at in -20.0..20.0f64,
    ) {
        let (mut below, mut above) = (histogram.clone(), histogram.clone());
        below.trim(Keep::Below, at);
        above.trim(Keep::Above, at);
        let total = |histogram: &Histogram| histogram.buckets().map(|bucket| bucket.count).sum::<f64>();
        let endless = |bucket: &Bucket| bucket.lower.is_infinite() || bucket.upper.is_infinite();
        let lost: f64 = histogram.buckets().filter(endless).map(|bucket| bucket.count).sum();
        let parts = total(&below) + total(&above);
        prop_assert!(parts <= total(&histogram) + lost + 1e-9 && parts >= total(&histogram) - lost - 1e-9);
        prop_assert!(below.buckets().all(|bucket| bucket.lower < at && bucket.count > 0.0 || bucket.count == 0.0));
        prop_assert!(above.buckets().all(|bucket| bucket.upper > at && bucket.count > 0.0 || bucket.count == 0.0));
        prop_assert!((below.count - total(&below)).abs() < 1e-9);
    }
}

#[test]
fn exponential_and_custom_buckets_do_not_mix() {
    let custom = Histogram { schema: CUSTOM_BUCKETS_SCHEMA, ..Histogram::default() };
    let mut exponential = Histogram { count: 3.0, ..Histogram::default() };
    assert_eq!(exponential.add(&custom), Err(IncompatibleBuckets));
    assert_eq!(exponential.count, 3.0);
    assert!(exponential.is_reset_after(&custom));
}

#[test]
fn hints_of_sums_are_as_careful_as_they_must_be() {
    use CounterResetHint::{Gauge, NotReset, Reset, Unknown};
    let sum = |a, b| {
        let with = |hint| Histogram { counter_reset_hint: hint, ..Histogram::default() };
        let mut sum = with(a);
        let combined = sum.add(&with(b)).expect("both are exponential");
        (sum.counter_reset_hint, combined.resets_collide)
    };
    assert_eq!(sum(Reset, Reset), (Reset, false));
    assert_eq!(sum(Gauge, Reset), (Gauge, false));
    assert_eq!(sum(NotReset, Unknown), (Unknown, false));
    assert_eq!(sum(NotReset, Reset), (Unknown, true));
    let mut negative = Histogram::default();
    negative.multiply(-1.0);
    assert_eq!(negative.counter_reset_hint, Gauge);
}

#[test]
fn division_by_zero_leaves_no_bucket() {
    let mut histogram = build(0, (0.0, 0.0), &BTreeMap::from([(1, 3)]), &BTreeMap::new());
    histogram.divide(0.0);
    assert!(histogram.count.is_infinite() && histogram.zero_count.is_nan());
    assert!(histogram.positive_buckets.is_empty() && histogram.positive_spans.is_empty());
}

#[test]
fn small_counts_survive_large_ones_that_cancel() {
    let with = |count: f64| Histogram {
        count,
        positive_spans: vec![Span { offset: 0, length: 1 }],
        positive_buckets: vec![count],
        ..Histogram::default()
    };
    let mut sum = HistogramSum::new(&with(1.0));
    let mut mean = HistogramMean::new(&with(f64::MAX));
    for count in [1e100, 1.0, -1e100] {
        sum.add(&with(count)).expect("both are exponential");
    }
    mean.add(&with(f64::MAX)).expect("both are exponential");
    let (sum, mean) = (sum.finish(), mean.finish());
    assert_eq!((sum.count, sum.positive_buckets[0]), (2.0, 2.0));
    assert_eq!((mean.count, mean.positive_buckets[0]), (f64::MAX, f64::MAX));
}

#[test]
fn broken_spans_do_no_harm() {
    let mut broken = Histogram {
        positive_spans: vec![Span { offset: i32::MAX, length: u32::MAX }, Span { offset: i32::MAX, length: 2 }],
        positive_buckets: vec![1.0, 2.0, 3.0],
        negative_spans: vec![Span { offset: i32::MIN, length: 0 }],
        negative_buckets: vec![1.0],
        ..Histogram::default()
    };
    let other = build(-4, (0.5, 1.0), &BTreeMap::from([(1, 3)]), &BTreeMap::new());
    assert!(broken.is_reset_after(&other));
    broken.add(&other).expect("both are exponential");
    broken.trim(Keep::Above, 1.0);
    assert!(broken.buckets().count() < 10);
    for schema in [i8::MIN, -60, 9, i8::MAX] {
        let strange = Histogram { schema, ..other.clone() };
        let mut sum = broken.clone();
        sum.add(&strange).expect("neither lists its bounds");
        sum.trim(Keep::Below, 0.5);
        assert!(!strange.is_reset_after(&strange) && sum.buckets().count() < 10);
    }
}
