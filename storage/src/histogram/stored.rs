//! One native histogram in the form that equal ones share: populated buckets alone, by their index.
//!
//! Which empty buckets a sender lists differs from sample to sample and says nothing; without them a repeated sample is
//! recognised by comparing bits, and columns of a chunk are those of its populated buckets.

use model::histogram::{CounterResetHint, Histogram, Span};
use std::sync::Arc;

/// Which bucket: positive ones first, then by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Bucket {
    pub(crate) negative: bool,
    pub(crate) index: i32,
}

/// What the buckets of a sample mean. Floats by their bits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Scale {
    pub(crate) schema: i8,
    pub(crate) zero_threshold: u64,
    pub(crate) custom_values: Vec<u64>,
    /// The histogram may go up and down.
    pub(crate) gauge: bool,
}

/// One sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Milliseconds since the Unix epoch.
    pub(crate) timestamp_ms: i64,
    /// As `timestamp_ms`; 0 when not known.
    pub(crate) start_ms: i64,
    pub(crate) scale: Arc<Scale>,
    /// The sender knows of a counter reset before this sample.
    pub(crate) after_reset: bool,
    /// Bits of what every histogram has: see the constants.
    pub(crate) totals: [u64; TOTALS],
    /// Populated buckets, ascending, and the bits of their populations.
    pub(crate) buckets: Vec<(Bucket, u64)>,
}

/// Numbers that every histogram has.
pub(crate) const TOTALS: usize = 3;
pub(crate) const COUNT: usize = 0;
pub(crate) const ZERO_COUNT: usize = 1;
pub(crate) const SUM: usize = 2;

impl Stored {
    /// The form of a histogram. `scale` is used again if it is the same.
    pub(crate) fn new(timestamp_ms: i64, start_ms: i64, histogram: &Histogram, scale: Option<&Arc<Scale>>) -> Self {
        let own = Scale {
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold.to_bits(),
            custom_values: histogram.custom_values.iter().map(|bound| bound.to_bits()).collect(),
            gauge: histogram.counter_reset_hint == CounterResetHint::Gauge,
        };
        let mut buckets = Vec::with_capacity(histogram.positive_buckets.len() + histogram.negative_buckets.len());
        push_populated(&mut buckets, false, &histogram.positive_spans, &histogram.positive_buckets);
        push_populated(&mut buckets, true, &histogram.negative_spans, &histogram.negative_buckets);
        Self {
            timestamp_ms,
            start_ms,
            scale: scale.filter(|shared| ***shared == own).map_or_else(|| Arc::new(own), Arc::clone),
            after_reset: histogram.counter_reset_hint == CounterResetHint::Reset,
            totals: [histogram.count, histogram.zero_count, histogram.sum].map(f64::to_bits),
            buckets,
        }
    }

    /// The histogram, with spans around its populated buckets. `custom_values` is used again if it is the same.
    pub(crate) fn to_histogram(&self, custom_values: Option<&Arc<[f64]>>) -> Histogram {
        let negative_at = self.buckets.partition_point(|(bucket, _)| !bucket.negative);
        let (positive, negative) = self.buckets.split_at(negative_at);
        let (positive_spans, positive_buckets) = spans_of(positive);
        let (negative_spans, negative_buckets) = spans_of(negative);
        let bounds = || self.scale.custom_values.iter().map(|bits| f64::from_bits(*bits));
        let same = |shared: &&Arc<[f64]>| shared.iter().map(|bound| bound.to_bits()).eq(bounds().map(f64::to_bits));
        let hint = match (self.scale.gauge, self.after_reset) {
            (true, _) => CounterResetHint::Gauge,
            (false, true) => CounterResetHint::Reset,
            (false, false) => CounterResetHint::Unknown,
        };
        let [count, zero_count, sum] = self.totals.map(f64::from_bits);
        Histogram {
            counter_reset_hint: hint,
            schema: self.scale.schema,
            zero_threshold: f64::from_bits(self.scale.zero_threshold),
            zero_count,
            count,
            sum,
            positive_spans,
            negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values: custom_values.filter(same).map_or_else(|| bounds().collect(), Arc::clone),
        }
    }

    /// Whether it is the sample that a sender sent twice: what is known about resets and starts may have changed since.
    pub(crate) fn repeats(&self, other: &Self) -> bool {
        self.scale == other.scale && self.totals == other.totals && self.buckets == other.buckets
    }

    /// Populated buckets and listed bounds.
    pub(crate) fn size(&self) -> usize {
        self.buckets.len() + self.scale.custom_values.len()
    }
}

fn push_populated(out: &mut Vec<(Bucket, u64)>, negative: bool, spans: &[Span], populations: &[f64]) {
    let (mut index, mut rest) = (0i32, populations.iter());
    for span in spans {
        index = index.wrapping_add(span.offset);
        for population in rest.by_ref().take(span.length as usize) {
            if *population != 0.0 {
                out.push((Bucket { negative, index }, population.to_bits()));
            }
            index = index.wrapping_add(1);
        }
    }
}

fn spans_of(buckets: &[(Bucket, u64)]) -> (Vec<Span>, Vec<f64>) {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0i32;
    for (bucket, _) in buckets {
        match spans.last_mut() {
            Some(span) if bucket.index == next => span.length += 1,
            _ => spans.push(Span { offset: bucket.index.wrapping_sub(next), length: 1 }),
        }
        next = bucket.index.wrapping_add(1);
    }
    (spans, buckets.iter().map(|(_, bits)| f64::from_bits(*bits)).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any sample with a few buckets; populations mostly whole numbers.
    pub(crate) fn any_stored() -> impl Strategy<Value = Stored> {
        let population = prop_oneof![4 => (1u32..100_000).prop_map(f64::from), 1 => any::<f64>()];
        let index = prop_oneof![6 => -20i32..20, 1 => any::<i32>()];
        let bucket = (prop::bool::weighted(0.3), index).prop_map(|(negative, index)| Bucket { negative, index });
        let buckets = prop::collection::btree_map(bucket, population, 0..12);
        let scale = (
            prop_oneof![3 => Just(3i8), 1 => -4i8..9],
            prop_oneof![Just(0.001f64), Just(0.0)],
            prop_oneof![5 => Just(Vec::new()), 1 => prop::collection::vec(any::<f64>(), 1..4)],
            prop::bool::weighted(0.2),
        );
        let totals = (any::<u32>(), any::<u16>(), any::<f64>());
        let times = (0i64..2_000_000_000_000, prop_oneof![Just(0i64), 1i64..2_000_000_000_000]);
        (times, scale, prop::bool::weighted(0.1), totals, buckets).prop_map(|(times, scale, reset, totals, buckets)| {
            let (schema, zero_threshold, custom_values, gauge) = scale;
            Stored {
                timestamp_ms: times.0,
                start_ms: times.1,
                scale: Arc::new(Scale {
                    schema,
                    zero_threshold: zero_threshold.to_bits(),
                    custom_values: custom_values.iter().map(|bound| bound.to_bits()).collect(),
                    gauge,
                }),
                after_reset: reset && !gauge,
                totals: [f64::from(totals.0), f64::from(totals.1), totals.2].map(f64::to_bits),
                buckets: buckets
                    .into_iter()
                    .filter(|(_, population)| *population != 0.0)
                    .map(|(bucket, population)| (bucket, population.to_bits()))
                    .collect(),
            }
        })
    }

    proptest! {
        #[test]
        fn samples_become_histograms_and_back(stored in any_stored()) {
            let histogram = stored.to_histogram(None);
            let back = Stored::new(stored.timestamp_ms, stored.start_ms, &histogram, None);
            prop_assert!(back.repeats(&stored));
            prop_assert_eq!(back, stored);
        }
    }

    #[test]
    fn empty_buckets_make_no_difference() {
        let with = |spans: &[(i32, u32)], populations: &[f64]| {
            let positive_spans =
                spans.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect();
            let histogram =
                Histogram { positive_spans, positive_buckets: populations.to_vec(), ..Histogram::default() };
            Stored::new(0, 0, &histogram, None)
        };
        let sparse = with(&[(-1, 1), (2, 1)], &[1.0, 2.0]);
        assert!(sparse.repeats(&with(&[(-2, 5)], &[0.0, 1.0, 0.0, -0.0, 2.0])));
        assert!(!sparse.repeats(&with(&[(-2, 4)], &[0.0, 1.0, 0.0, 2.0])));
        assert_eq!(
            sparse.to_histogram(None).positive_spans,
            [Span { offset: -1, length: 1 }, Span { offset: 2, length: 1 }]
        );
    }
}
