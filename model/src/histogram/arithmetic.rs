//! Sums, differences, multiples and quotients of histograms.
//!
//! Two histograms are brought to a common layout first: the coarser of two exponential schemas, the bounds that two lists of
//! bounds share, a zero bucket that covers both and ends where no populated bucket is cut.

use super::bounds::exponential;
use super::compensated::add_compensated;
use super::side::Side;
use super::{CounterResetHint, Histogram, custom_bounds};
use std::sync::Arc;

/// What combining two histograms found besides the result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Combined {
    /// One said that it follows a counter reset, the other that it does not.
    pub resets_collide: bool,
    /// Their listed bounds differ; the result has those that both have.
    pub bounds_reconciled: bool,
}

/// One histogram has listed bounds, the other exponential ones: nothing sensible comes of combining them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot apply this operation on histograms with a mix of exponential and custom bucket schemas")]
pub struct IncompatibleBuckets;

impl Histogram {
    /// Adds `other`. Buckets that are empty may be listed in the result.
    ///
    /// # Errors
    /// See [`IncompatibleBuckets`]; nothing is changed then.
    pub fn add(&mut self, other: &Self) -> Result<Combined, IncompatibleBuckets> {
        self.combine(other, 1.0)
    }

    /// Subtracts `other`. The hint of the result is as for a sum: whoever subtracts counters sets another.
    ///
    /// # Errors
    /// See [`IncompatibleBuckets`]; nothing is changed then.
    pub fn subtract(&mut self, other: &Self) -> Result<Combined, IncompatibleBuckets> {
        self.combine(other, -1.0)
    }

    fn combine(&mut self, other: &Self, sign: f64) -> Result<Combined, IncompatibleBuckets> {
        if self.has_custom_buckets() != other.has_custom_buckets() {
            return Err(IncompatibleBuckets);
        }
        let mut working = Working::take(self);
        let combined = working.add_histogram(other, sign);
        *self = working.finish();
        combined
    }

    /// Multiplies every number by `factor`; a negative one makes a gauge.
    pub fn multiply(&mut self, factor: f64) {
        self.change_each(|value| value * factor);
        if factor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    /// Divides every number by `divisor`; a negative one makes a gauge, zero removes all buckets.
    pub fn divide(&mut self, divisor: f64) {
        self.change_each(|value| value / divisor);
        if divisor == 0.0 {
            self.positive_spans.clear();
            self.positive_buckets.clear();
            self.negative_spans.clear();
            self.negative_buckets.clear();
        } else if divisor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    fn change_each(&mut self, change: impl Fn(f64) -> f64) {
        let numbers = [&mut self.zero_count, &mut self.count, &mut self.sum];
        for value in numbers.into_iter().chain(&mut self.positive_buckets).chain(&mut self.negative_buckets) {
            *value = change(*value);
        }
    }

    /// Leaves out empty buckets, whatever they are between.
    pub fn compact(&mut self) {
        let mut working = Working::take(self);
        working.positive.compact();
        working.negative.compact();
        *self = working.finish();
    }

    /// Merges buckets to those of a coarser exponential schema. Does nothing to other schemas and to coarser histograms.
    pub fn reduce_resolution(&mut self, schema: i8) {
        if self.has_custom_buckets() || schema >= self.schema {
            return;
        }
        let mut working = Working::take(self);
        working.reduce(schema);
        *self = working.finish();
    }
}

/// A histogram taken apart to be computed with. Corrections are zero, and their columns empty, until
/// [`Working::compensate`] is called.
#[derive(Debug, Clone)]
pub(super) struct Working {
    pub(super) hint: CounterResetHint,
    pub(super) schema: i8,
    pub(super) zero_threshold: f64,
    /// Populations with their corrections.
    pub(super) zero_count: (f64, f64),
    count: (f64, f64),
    sum: (f64, f64),
    pub(super) positive: Side,
    pub(super) negative: Side,
    custom_values: Arc<[f64]>,
    compensated: bool,
}

impl Working {
    pub(super) fn new(histogram: &Histogram) -> Self {
        Self::take(&mut histogram.clone())
    }

    fn take(histogram: &mut Histogram) -> Self {
        let side = |spans: &mut _, buckets: &mut _| Side {
            spans: std::mem::take(spans),
            buckets: std::mem::take(buckets),
            corrections: Vec::new(),
        };
        Self {
            hint: histogram.counter_reset_hint,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero_count: (histogram.zero_count, 0.0),
            count: (histogram.count, 0.0),
            sum: (histogram.sum, 0.0),
            positive: side(&mut histogram.positive_spans, &mut histogram.positive_buckets),
            negative: side(&mut histogram.negative_spans, &mut histogram.negative_buckets),
            custom_values: Arc::clone(&histogram.custom_values),
            compensated: false,
        }
    }

    /// Bytes of its buckets.
    pub(super) fn held_bytes(&self) -> usize {
        self.positive.held_bytes() + self.negative.held_bytes()
    }

    /// Starts to keep corrections.
    pub(super) fn compensate(&mut self) {
        self.compensated = true;
        for side in [&mut self.positive, &mut self.negative] {
            side.corrections.resize(side.buckets.len(), 0.0);
        }
    }

    /// The histogram, corrections added in.
    pub(super) fn finish(self) -> Histogram {
        let compensated = self.compensated;
        let corrected = |(value, correction): (f64, f64)| if compensated { value + correction } else { value };
        let side = |side: Side| {
            let mut buckets = side.buckets;
            buckets.iter_mut().zip(side.corrections).for_each(|(value, correction)| *value += correction);
            (side.spans, buckets)
        };
        let (positive_spans, positive_buckets) = side(self.positive);
        let (negative_spans, negative_buckets) = side(self.negative);
        Histogram {
            counter_reset_hint: self.hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: corrected(self.zero_count),
            count: corrected(self.count),
            sum: corrected(self.sum),
            positive_spans,
            negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values: self.custom_values,
        }
    }

    /// Adds `sign` times `other`, without a copy if both list the same buckets, as consecutive samples mostly do.
    pub(super) fn add_histogram(&mut self, other: &Histogram, sign: f64) -> Result<Combined, IncompatibleBuckets> {
        if !self.has_layout_of(other) {
            return self.add(&Self::new(other), sign);
        }
        let (hint, resets_collide) = combined_hint(self.hint, other.counter_reset_hint);
        self.hint = hint;
        let compensated = self.compensated;
        let totals =
            [(&mut self.zero_count, other.zero_count), (&mut self.count, other.count), (&mut self.sum, other.sum)];
        for (sum, value) in totals {
            *sum = combined(*sum, (value, 0.0), sign, compensated);
        }
        self.positive.add_in_place(&other.positive_buckets, &[], sign);
        self.negative.add_in_place(&other.negative_buckets, &[], sign);
        Ok(Combined { resets_collide, bounds_reconciled: false })
    }

    /// Whether `other` lists the same buckets, none of which lies in the zero bucket.
    fn has_layout_of(&self, other: &Histogram) -> bool {
        let outside = |side: &Side| match side.spans.first() {
            Some(span) if !self.has_custom_buckets() => exponential(span.offset, self.schema) > self.zero_threshold,
            _ => true,
        };
        self.schema == other.schema
            && self.zero_threshold == other.zero_threshold
            && self.custom_values == other.custom_values
            && self.positive.has_layout(&other.positive_spans, &other.positive_buckets)
            && self.negative.has_layout(&other.negative_spans, &other.negative_buckets)
            && outside(&self.positive)
            && outside(&self.negative)
    }

    /// Adds `sign` times `other`.
    pub(super) fn add(&mut self, other: &Self, sign: f64) -> Result<Combined, IncompatibleBuckets> {
        if self.has_custom_buckets() != other.has_custom_buckets() {
            return Err(IncompatibleBuckets);
        }
        let (hint, resets_collide) = combined_hint(self.hint, other.hint);
        self.hint = hint;
        let other_zero_count = self.reconcile_zero_buckets(other);
        let compensated = self.compensated;
        let sums =
            [(&mut self.zero_count, other_zero_count), (&mut self.count, other.count), (&mut self.sum, other.sum)];
        for (sum, value) in sums {
            *sum = combined(*sum, value, sign, compensated);
        }
        let bounds_reconciled = if self.has_custom_buckets() {
            self.add_custom_buckets(other, sign)
        } else {
            self.add_exponential_buckets(other, sign);
            false
        };
        Ok(Combined { resets_collide, bounds_reconciled })
    }

    fn add_exponential_buckets(&mut self, other: &Self, sign: f64) {
        self.reduce(other.schema);
        let threshold = self.zero_threshold;
        let in_zero_bucket = |index| exponential(index, other.schema) <= threshold;
        if other.schema == self.schema {
            self.positive.add(&other.positive, sign, in_zero_bucket);
            self.negative.add(&other.negative, sign, in_zero_bucket);
            return;
        }
        // What the zero bucket took goes first: a bucket that it was merged into would count it once more.
        for (own, side) in [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)] {
            let mut side = side.without_first(in_zero_bucket);
            if self.compensated {
                side.corrections.resize(side.buckets.len(), 0.0);
            }
            side.reduce(other.schema, self.schema);
            own.add(&side, sign, |_| false);
        }
    }

    /// Whether the bounds had to be reconciled.
    fn add_custom_buckets(&mut self, other: &Self, sign: f64) -> bool {
        if self.custom_values == other.custom_values {
            self.positive.add(&other.positive, sign, |_| false);
            return false;
        }
        let common = custom_bounds::common(&self.custom_values, &other.custom_values);
        let parts = [(&self.positive, &self.custom_values, 1.0), (&other.positive, &other.custom_values, sign)];
        let mut sums = vec![(0.0, 0.0); common.len() + 1];
        for (side, bounds, sign) in parts {
            custom_bounds::add_mapped(side, bounds, sign, &common, &mut sums);
        }
        let populated = (0..).zip(sums).filter(|(_, sum)| *sum != (0.0, 0.0));
        self.positive = Side::of_cells(populated.map(|(index, (sum, lost))| (index, sum, lost)), self.compensated);
        self.custom_values = common;
        true
    }

    fn reduce(&mut self, schema: i8) {
        if schema < self.schema {
            self.positive.reduce(self.schema, schema);
            self.negative.reduce(self.schema, schema);
            self.schema = schema;
        }
    }

    /// Multiplies every number and correction.
    pub(super) fn scale(&mut self, factor: f64) {
        self.change_each(|value| value * factor);
    }

    /// Divides every number and correction.
    pub(super) fn divide(&mut self, divisor: f64) {
        self.change_each(|value| value / divisor);
    }

    fn change_each(&mut self, change: impl Fn(f64) -> f64) {
        for (value, correction) in [&mut self.zero_count, &mut self.count, &mut self.sum] {
            (*value, *correction) = (change(*value), change(*correction));
        }
        for side in [&mut self.positive, &mut self.negative] {
            side.buckets.iter_mut().chain(&mut side.corrections).for_each(|value| *value = change(*value));
        }
    }

    /// Whether any number is so large that adding another one like it may overflow.
    pub(super) fn has_huge_numbers(&self) -> bool {
        let totals = [self.zero_count.0, self.count.0, self.sum.0];
        totals.iter().chain(&self.positive.buckets).chain(&self.negative.buckets).any(|value| is_huge(*value))
    }

    /// Whether any number is infinite.
    pub(super) fn has_overflow(&self) -> bool {
        let numbers = [self.zero_count.0, self.count.0, self.sum.0];
        numbers.iter().chain(&self.positive.buckets).chain(&self.negative.buckets).any(|value| value.is_infinite())
    }

    pub(super) fn has_custom_buckets(&self) -> bool {
        self.schema == super::CUSTOM_BUCKETS_SCHEMA
    }
}

/// Whether a number may overflow when another one that is not larger is added.
pub(super) fn is_huge(value: f64) -> bool {
    value.abs() > f64::MAX / 4.0
}

fn combined((sum, lost): (f64, f64), (value, correction): (f64, f64), sign: f64, compensated: bool) -> (f64, f64) {
    if !compensated {
        return (sum + sign * value, 0.0);
    }
    let (sum, lost) = add_compensated(sign * value, sum, lost);
    add_compensated(sign * correction, sum, lost)
}

/// The hint of a sum, and whether the two contradict each other. Sums are usually of gauges; of counters the hint is kept
/// as meaningful as it can be.
fn combined_hint(a: CounterResetHint, b: CounterResetHint) -> (CounterResetHint, bool) {
    use CounterResetHint::{Gauge, Unknown};
    match (a, b) {
        _ if a == b => (a, false),
        (Gauge, _) | (_, Gauge) => (Gauge, false),
        (Unknown, _) | (_, Unknown) => (Unknown, false),
        _ => (Unknown, true),
    }
}
