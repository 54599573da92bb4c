//! Decides whether what a sender calls a native histogram is one.
//!
//! Refuses what Prometheus refuses: lengths that contradict each other, negative populations, a count that is not the sum
//! of the buckets, bounds out of order, schemas that do not exist. Finer schemas than we keep are reduced, as Prometheus
//! reduces them.

use super::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Histogram, SCHEMA_MAX, SCHEMA_MIN, Span};

/// The finest schema that is reduced to [`SCHEMA_MAX`] instead of being refused.
const REDUCIBLE_SCHEMA_MAX: i32 = 52;

/// A histogram as a sender writes it; nothing of it is checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Candidate {
    /// What the sender knows about a reset before this sample.
    pub counter_reset_hint: CounterResetHint,
    /// The resolution.
    pub schema: i32,
    /// Observations with an absolute value up to this are in the zero bucket.
    pub zero_threshold: f64,
    /// Sum of the observations.
    pub sum: f64,
    /// Which buckets of positive observations are listed.
    pub positive_spans: Vec<Span>,
    /// Which buckets of negative observations are listed.
    pub negative_spans: Vec<Span>,
    /// Bounds of the custom schema.
    pub custom_values: Vec<f64>,
    /// How many observations there are, and where.
    pub populations: Populations,
}

/// The numbers of a histogram, in either of the two forms that senders use.
#[derive(Debug, Clone, PartialEq)]
pub enum Populations {
    /// Whole observations.
    Integers {
        /// In all.
        count: u64,
        /// In the zero bucket.
        zero_count: u64,
        /// Each bucket's difference from the one before.
        positive_deltas: Vec<i64>,
        /// Each bucket's difference from the one before.
        negative_deltas: Vec<i64>,
    },
    /// Results of arithmetic, or weighted observations.
    Floats {
        /// In all.
        count: f64,
        /// In the zero bucket.
        zero_count: f64,
        /// Of each bucket.
        positive: Vec<f64>,
        /// Of each bucket.
        negative: Vec<f64>,
    },
}

impl Default for Populations {
    fn default() -> Self {
        Self::Integers { count: 0, zero_count: 0, positive_deltas: Vec::new(), negative_deltas: Vec::new() }
    }
}

/// Why it is no histogram.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum InvalidHistogram {
    /// There is no such schema.
    #[error("schema {0} does not exist")]
    Schema(i32),
    /// Spans overlap.
    #[error("a span begins {0} buckets behind the one before")]
    SpanOffset(i32),
    /// The spans do not describe the buckets.
    #[error("the spans need {needed} buckets, there are {found}")]
    SpanLengths {
        /// As the spans say.
        needed: u64,
        /// As there are.
        found: usize,
    },
    /// No schema has buckets so far out.
    #[error("a bucket index exceeds 32 bits")]
    BucketIndex,
    /// Nobody can be observed less than never.
    #[error("a bucket, or the histogram, has a negative number of observations")]
    NegativePopulation,
    /// Integers only: they cannot be told apart from an error.
    #[error("the buckets have {buckets} observations, the histogram has {count}")]
    Count {
        /// In all buckets.
        buckets: u128,
        /// As the histogram says.
        count: u64,
    },
    /// Bounds of custom buckets are not ascending numbers below infinity.
    #[error("the bounds of the custom buckets are not ascending and finite")]
    CustomBounds,
    /// More custom buckets than bounds.
    #[error("{bounds} bounds do not suffice for custom buckets up to number {needed}")]
    TooFewCustomBounds {
        /// How many there are.
        bounds: usize,
        /// Buckets that the spans reach.
        needed: u64,
    },
    /// Zero bucket, threshold or negative buckets beside custom ones.
    #[error("custom buckets have neither a zero bucket nor negative buckets")]
    BesideCustomBuckets,
    /// Bounds beside an exponential schema.
    #[error("exponential buckets have no listed bounds")]
    BoundsOfExponential,
}

impl Candidate {
    /// The histogram that this is.
    ///
    /// # Errors
    /// It is none.
    pub fn validate(self) -> Result<Histogram, InvalidHistogram> {
        let custom = self.schema == i32::from(CUSTOM_BUCKETS_SCHEMA);
        if !custom && !(i32::from(SCHEMA_MIN)..=REDUCIBLE_SCHEMA_MAX).contains(&self.schema) {
            return Err(InvalidHistogram::Schema(self.schema));
        }
        let (positive, negative) = self.populations.bucket_counts();
        if custom {
            self.check_custom(positive)?;
        } else {
            check_spans(&self.positive_spans, positive)?;
            check_spans(&self.negative_spans, negative)?;
            if !self.custom_values.is_empty() {
                return Err(InvalidHistogram::BoundsOfExponential);
            }
        }
        let mut histogram = Histogram {
            counter_reset_hint: self.counter_reset_hint,
            schema: self.schema as i8,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            positive_spans: self.positive_spans,
            negative_spans: self.negative_spans,
            custom_values: self.custom_values.into(),
            ..Histogram::default()
        };
        self.populations.fill(&mut histogram)?;
        if histogram.schema > SCHEMA_MAX {
            histogram.reduce_resolution(SCHEMA_MAX);
        }
        Ok(histogram)
    }

    fn check_custom(&self, buckets: usize) -> Result<(), InvalidHistogram> {
        let finite_end = self.custom_values.last().is_none_or(|last| *last < f64::INFINITY);
        let ascending = self.custom_values.is_sorted_by(|a, b| a < b);
        if !ascending || !finite_end || self.custom_values.iter().any(|bound| bound.is_nan()) {
            return Err(InvalidHistogram::CustomBounds);
        }
        if let Some(first) = self.positive_spans.first().filter(|first| first.offset < 0) {
            return Err(InvalidHistogram::SpanOffset(first.offset));
        }
        let needed = check_spans(&self.positive_spans, buckets)?;
        if needed > self.custom_values.len() as u64 + 1 {
            return Err(InvalidHistogram::TooFewCustomBounds { bounds: self.custom_values.len(), needed });
        }
        let (_, negative) = self.populations.bucket_counts();
        let zero = self.zero_threshold == 0.0 && self.populations.has_no_zero_count();
        if zero && self.negative_spans.is_empty() && negative == 0 {
            Ok(())
        } else {
            Err(InvalidHistogram::BesideCustomBuckets)
        }
    }
}

impl Populations {
    /// How many buckets there are on the positive and on the negative side.
    fn bucket_counts(&self) -> (usize, usize) {
        match self {
            Self::Integers { positive_deltas, negative_deltas, .. } => (positive_deltas.len(), negative_deltas.len()),
            Self::Floats { positive, negative, .. } => (positive.len(), negative.len()),
        }
    }

    fn has_no_zero_count(&self) -> bool {
        match self {
            Self::Integers { zero_count, .. } => *zero_count == 0,
            Self::Floats { zero_count, .. } => *zero_count == 0.0,
        }
    }

    /// Checks the numbers and hands them over; `histogram` has its sum already.
    fn fill(self, histogram: &mut Histogram) -> Result<(), InvalidHistogram> {
        match self {
            Self::Integers { count, zero_count, positive_deltas, negative_deltas } => {
                let mut buckets = u128::from(zero_count);
                histogram.positive_buckets = absolute(&positive_deltas, &mut buckets)?;
                histogram.negative_buckets = absolute(&negative_deltas, &mut buckets)?;
                // Observations of NaN are in no bucket.
                let agrees = if histogram.sum.is_nan() { buckets <= count.into() } else { buckets == count.into() };
                if !agrees {
                    return Err(InvalidHistogram::Count { buckets, count });
                }
                (histogram.count, histogram.zero_count) = (count as f64, zero_count as f64);
            }
            Self::Floats { count, zero_count, positive, negative } => {
                if [count, zero_count].iter().chain(&positive).chain(&negative).any(|population| *population < 0.0) {
                    return Err(InvalidHistogram::NegativePopulation);
                }
                (histogram.count, histogram.zero_count) = (count, zero_count);
                (histogram.positive_buckets, histogram.negative_buckets) = (positive, negative);
            }
        }
        Ok(())
    }
}

/// Populations from differences; adds them to `sum`.
fn absolute(deltas: &[i64], sum: &mut u128) -> Result<Vec<f64>, InvalidHistogram> {
    let mut population = 0i64;
    let absolute = deltas.iter().map(|delta| {
        population =
            population.checked_add(*delta).filter(|now| *now >= 0).ok_or(InvalidHistogram::NegativePopulation)?;
        *sum += u128::from(population.unsigned_abs());
        Ok(population as f64)
    });
    absolute.collect()
}

/// Checks the spans of one side against its number of buckets. Returns how many buckets, listed or not, they reach over.
fn check_spans(spans: &[Span], found: usize) -> Result<u64, InvalidHistogram> {
    let (mut needed, mut index) = (0u64, 0i64);
    for (number, span) in spans.iter().enumerate() {
        if number > 0 && span.offset < 0 {
            return Err(InvalidHistogram::SpanOffset(span.offset));
        }
        needed += u64::from(span.length);
        index += i64::from(span.offset) + i64::from(span.length);
        if i32::try_from(index).is_err() {
            return Err(InvalidHistogram::BucketIndex);
        }
    }
    if needed == found as u64 { Ok(index.unsigned_abs()) } else { Err(InvalidHistogram::SpanLengths { needed, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integers(count: u64, zero_count: u64, positive_deltas: &[i64]) -> Candidate {
        let length = positive_deltas.len() as u32;
        Candidate {
            zero_threshold: 0.001,
            sum: 1.5,
            positive_spans: vec![Span { offset: 0, length }],
            populations: Populations::Integers {
                count,
                zero_count,
                positive_deltas: positive_deltas.to_vec(),
                negative_deltas: Vec::new(),
            },
            ..Candidate::default()
        }
    }

    fn floats(count: f64, zero_count: f64, positive: &[f64]) -> Candidate {
        Candidate {
            populations: Populations::Floats { count, zero_count, positive: positive.to_vec(), negative: Vec::new() },
            ..integers(0, 0, &vec![0; positive.len()])
        }
    }

    fn custom(bounds: &[f64], deltas: &[i64]) -> Candidate {
        let mut population = 0;
        let count = deltas.iter().map(|delta| {
            population += delta;
            population as u64
        });
        Candidate {
            schema: -53,
            custom_values: bounds.to_vec(),
            zero_threshold: 0.0,
            ..integers(count.sum(), 0, deltas)
        }
    }

    #[test]
    fn integers_become_absolute_populations() {
        let histogram = integers(12, 2, &[2, 1, 2]).validate().unwrap();
        assert_eq!((histogram.count, histogram.zero_count), (12.0, 2.0));
        assert_eq!(histogram.positive_buckets, [2.0, 3.0, 5.0]);
        assert_eq!(Candidate::default().validate().unwrap(), Histogram::default());
    }

    #[test]
    fn counts_agree_with_buckets_unless_nan_was_observed() {
        let refused = InvalidHistogram::Count { buckets: 12, count: 99 };
        assert_eq!(integers(99, 2, &[2, 1, 2]).validate(), Err(refused));
        let with_nan = |count| Candidate { sum: f64::NAN, ..integers(count, 2, &[2, 1, 2]) }.validate();
        assert!(with_nan(99).is_ok());
        assert!(with_nan(11).is_err());
        assert!(floats(99.0, 2.0, &[2.0]).validate().is_ok(), "floats may differ by what arithmetic lost");
    }

    #[test]
    fn negative_and_overflowing_populations_are_refused() {
        for deltas in [&[-1][..], &[1, -2], &[i64::MAX, 1]] {
            assert_eq!(integers(0, 0, deltas).validate(), Err(InvalidHistogram::NegativePopulation), "{deltas:?}");
        }
        for candidate in [floats(-1.0, 0.0, &[]), floats(1.0, -1.0, &[]), floats(1.0, 0.0, &[-0.5])] {
            assert_eq!(candidate.validate(), Err(InvalidHistogram::NegativePopulation));
        }
    }

    #[test]
    fn spans_have_to_fit_the_buckets() {
        let with = |spans: &[(i32, u32)]| {
            let positive_spans =
                spans.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect();
            Candidate { positive_spans, ..integers(3, 0, &[1, 0, 0]) }.validate().map(|_| ())
        };
        assert_eq!(with(&[(-7, 1), (0, 0), (3, 2)]), Ok(()));
        assert_eq!(with(&[(0, 4)]), Err(InvalidHistogram::SpanLengths { needed: 4, found: 3 }));
        assert_eq!(with(&[]), Err(InvalidHistogram::SpanLengths { needed: 0, found: 3 }));
        assert_eq!(with(&[(0, 2), (-1, 1)]), Err(InvalidHistogram::SpanOffset(-1)));
        assert_eq!(with(&[(i32::MAX, 3)]), Err(InvalidHistogram::BucketIndex));
        let wide = vec![(0, u32::MAX); 3];
        assert!(with(&wide).is_err());
    }

    #[test]
    fn custom_buckets_have_ascending_bounds_and_nothing_else() {
        assert!(custom(&[0.1, 0.5, 1.0], &[1, 0, 2, -1]).validate().is_ok());
        assert!(custom(&[], &[1]).validate().is_ok());
        assert_eq!(
            custom(&[1.0], &[1, 0, 0]).validate(),
            Err(InvalidHistogram::TooFewCustomBounds { bounds: 1, needed: 3 })
        );
        for bounds in [&[1.0, 1.0][..], &[2.0, 1.0], &[1.0, f64::INFINITY], &[f64::NAN]] {
            assert_eq!(custom(bounds, &[1]).validate(), Err(InvalidHistogram::CustomBounds), "{bounds:?}");
        }
        let beside = Err(InvalidHistogram::BesideCustomBuckets);
        assert_eq!(Candidate { zero_threshold: 0.1, ..custom(&[1.0], &[1]) }.validate(), beside);
        let negative_spans = vec![Span { offset: 0, length: 0 }];
        assert_eq!(Candidate { negative_spans, ..custom(&[1.0], &[1]) }.validate(), beside);
        let bounds = Candidate { custom_values: vec![1.0], ..integers(1, 0, &[1]) };
        assert_eq!(bounds.validate(), Err(InvalidHistogram::BoundsOfExponential));
    }

    #[test]
    fn schemas_that_do_not_exist_are_refused_and_finer_ones_reduced() {
        for schema in [-54, -52, -9, -5, 53, 127, i32::MAX, i32::MIN] {
            let refused = Candidate { schema, ..integers(1, 0, &[1]) }.validate();
            assert_eq!(refused, Err(InvalidHistogram::Schema(schema)));
        }
        // Buckets 1 and 2 of schema 9 are bucket 1 of schema 8, 3 and 4 are 2, 9 is 5.
        let fine = Candidate {
            schema: 9,
            positive_spans: vec![Span { offset: 1, length: 4 }, Span { offset: 4, length: 1 }],
            ..integers(15, 0, &[1, 1, 1, 1, 1])
        };
        let histogram = fine.validate().unwrap();
        assert_eq!((histogram.schema, histogram.positive_buckets), (8, vec![3.0, 7.0, 5.0]));
        assert_eq!(histogram.positive_spans, [Span { offset: 1, length: 2 }, Span { offset: 2, length: 1 }]);
    }
}
