//! Values of the naive evaluator: floats, and histograms as maps from bucket to population.

use model::histogram::{CounterResetHint, Histogram};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Float(f64),
    Histogram(Hist),
}

impl Cell {
    pub(crate) fn float(&self) -> Option<f64> {
        if let Self::Float(value) = self { Some(*value) } else { None }
    }

    pub(crate) fn histogram(&self) -> Option<&Hist> {
        if let Self::Histogram(histogram) = self { Some(histogram) } else { None }
    }

    /// Equal but for rounding.
    pub(crate) fn close(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => close(*a, *b),
            (Self::Histogram(a), Self::Histogram(b)) => a.close(b),
            _ => false,
        }
    }

    /// Its numbers as bits, to tell whether two answers are the same.
    pub(crate) fn bits(&self) -> Vec<u64> {
        match self {
            Self::Float(value) => vec![value.to_bits()],
            Self::Histogram(Hist { zero, count, sum, buckets, .. }) => {
                [*zero, *count, *sum].iter().chain(buckets.values()).map(|value| value.to_bits()).collect()
            }
        }
    }
}

pub(crate) fn close(a: f64, b: f64) -> bool {
    let sum = a.abs() + b.abs();
    a.is_nan() && b.is_nan() || a == b || (a - b).abs() <= 1e-9 * sum || (a - b).abs() < 1e-9
}

/// A histogram; the zero bucket is as wide in all that are generated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hist {
    pub schema: i8,
    /// Bounds of the custom schema.
    pub bounds: Vec<f64>,
    pub zero: f64,
    pub count: f64,
    pub sum: f64,
    /// Populated buckets by side (positive?) and index.
    pub buckets: BTreeMap<(bool, i32), f64>,
    pub gauge: bool,
}

impl From<&Histogram> for Hist {
    fn from(histogram: &Histogram) -> Self {
        let mut buckets = BTreeMap::new();
        let sides = [
            (true, &histogram.positive_spans, &histogram.positive_buckets),
            (false, &histogram.negative_spans, &histogram.negative_buckets),
        ];
        for (positive, spans, populations) in sides {
            let mut index = 0;
            let mut populations = populations.iter();
            for span in spans {
                index += span.offset;
                for population in populations.by_ref().take(span.length as usize) {
                    buckets.insert((positive, index), *population);
                    index += 1;
                }
            }
        }
        buckets.retain(|_, population| *population != 0.0);
        Self {
            schema: histogram.schema,
            bounds: histogram.custom_values.to_vec(),
            zero: histogram.zero_count,
            count: histogram.count,
            sum: histogram.sum,
            buckets,
            gauge: histogram.counter_reset_hint == CounterResetHint::Gauge,
        }
    }
}

impl Hist {
    /// Nothing, with the layout of `other`.
    pub(crate) fn empty_like(other: &Self) -> Self {
        Self { zero: 0.0, count: 0.0, sum: 0.0, buckets: BTreeMap::new(), gauge: false, ..other.clone() }
    }

    /// The same numbers in the same buckets, bit for bit.
    pub(crate) fn is_same_data(&self, other: &Self) -> bool {
        let numbers = |histogram: &Self| [histogram.zero, histogram.count, histogram.sum].map(f64::to_bits);
        (self.schema, &self.bounds, &self.buckets) == (other.schema, &other.bounds, &other.buckets)
            && numbers(self) == numbers(other)
    }

    fn close(&self, other: &Self) -> bool {
        let all: std::collections::BTreeSet<_> = self.buckets.keys().chain(other.buckets.keys()).collect();
        let population = |histogram: &Self, key| histogram.buckets.get(key).copied().unwrap_or(0.0);
        self.schema == other.schema
            && self.bounds == other.bounds
            && close(self.zero, other.zero)
            && close(self.count, other.count)
            && close(self.sum, other.sum)
            && all.into_iter().all(|key| close(population(self, key), population(other, key)))
    }

    fn reduced(&self, schema: i8) -> Self {
        let mut reduced = Self { schema, buckets: BTreeMap::new(), ..self.clone() };
        for ((positive, index), population) in &self.buckets {
            let index = ((index - 1) >> (self.schema - schema)) + 1;
            *reduced.buckets.entry((*positive, index)).or_default() += population;
        }
        reduced
    }

    /// `self + sign * other`; `None` when one lists its bounds and the other does not.
    pub(crate) fn plus(&self, sign: f64, other: &Self) -> Option<Self> {
        if (self.schema == -53) != (other.schema == -53) {
            return None;
        }
        let schema = self.schema.min(other.schema);
        let (mut sum, other) = (self.reduced(schema), other.reduced(schema));
        sum.zero += sign * other.zero;
        sum.count += sign * other.count;
        sum.sum += sign * other.sum;
        for (key, population) in other.buckets {
            *sum.buckets.entry(key).or_default() += sign * population;
        }
        sum.buckets.retain(|_, population| *population != 0.0);
        sum.gauge |= other.gauge;
        Some(sum)
    }

    pub(crate) fn mapped(&self, f: impl Fn(f64) -> f64) -> Self {
        let buckets = self.buckets.iter().map(|(key, population)| (*key, f(*population))).collect();
        let mut mapped = Self { zero: f(self.zero), count: f(self.count), sum: f(self.sum), buckets, ..self.clone() };
        mapped.buckets.retain(|_, population| *population != 0.0);
        mapped
    }

    pub(crate) fn divided(&self, divisor: f64) -> Self {
        let mut quotient = self.mapped(|value| value / divisor);
        if divisor == 0.0 {
            quotient.buckets.clear();
        }
        quotient
    }

    /// Whether the counter was reset between `before` and this.
    pub(crate) fn is_reset_after(&self, before: &Self) -> bool {
        if self.count < before.count || self.schema > before.schema || (self.schema == -53) != (before.schema == -53) {
            return true;
        }
        let before = before.reduced(self.schema);
        // A populated bucket that is gone tells of a reset even if its population was negative.
        let fell = |(key, count): (&(bool, i32), &f64)| self.buckets.get(key).is_none_or(|now| now < count);
        self.zero < before.zero || before.buckets.iter().any(fell)
    }
}

/// The sum of histograms; `None` when some list their bounds and others do not.
pub(crate) fn sum_of(histograms: &[&Hist]) -> Option<Hist> {
    let (first, rest) = histograms.split_first()?;
    rest.iter().try_fold((*first).clone(), |sum, next| sum.plus(1.0, next))
}
