//! Native histograms in a window: rates, sums, means.

use super::starts::{Reach, Stamp};
use crate::eval::exec::Exec;
use crate::eval::remarks::{self, Operation, Place};
use model::histogram::{CounterResetHint, Histogram, HistogramMean, HistogramSum, IncompatibleBuckets};
use std::sync::Arc;

/// The histograms of one window, and where remarks on them go.
#[derive(Clone, Copy)]
pub(crate) struct HistogramWindow<'a, 'x> {
    pub(crate) times: &'a [i64],
    pub(crate) histograms: &'a [Arc<Histogram>],
    /// When the counting began, per sample; empty when not known.
    pub(crate) starts: &'a [i64],
    /// How many samples were left out before each; empty when there are all.
    pub(crate) left_out: &'a [u32],
    pub(crate) exec: &'a Exec<'x>,
    /// The metric's name, empty when it has none.
    pub(crate) name: &'a str,
    pub(crate) place: Place,
}

/// Whether one of them says that it is a gauge.
fn is_gauge(histogram: &Histogram) -> bool {
    histogram.counter_reset_hint == CounterResetHint::Gauge
}

impl HistogramWindow<'_, '_> {
    pub(crate) fn warn(&self, message: String) {
        self.place.warn(self.exec, message);
    }

    /// How many samples there are, those included that were left out between them.
    pub(crate) fn samples(&self) -> usize {
        self.times.len() + self.left_out_inside().map(|left_out| *left_out as usize).sum::<usize>()
    }

    /// Whether any sample was left out.
    pub(crate) fn leaves_out(&self) -> bool {
        self.left_out_inside().any(|left_out| *left_out > 0)
    }

    /// What was left out before the first one is not in the window.
    fn left_out_inside(&self) -> impl Iterator<Item = &u32> {
        self.left_out.iter().skip(1)
    }

    fn stamp(&self, i: usize) -> Stamp {
        Stamp::of(self.times, self.starts, i)
    }

    /// Whether the counter was reset between sample `i - 1`, for which `before` may stand in, and sample `i`.
    fn is_reset(&self, i: usize, before: &Histogram) -> bool {
        self.stamp(i).is_reset_after(self.stamp(i - 1)) || self.histograms[i].is_reset_after(before)
    }

    /// Adds or subtracts `other`; `None`, with a warning, when the buckets do not go together. What is known of resets is
    /// handled by the caller, so hints that contradict each other are fine.
    pub(crate) fn combine(&self, sum: &mut Histogram, other: &Histogram, operation: Operation) -> Option<()> {
        let combined = match operation {
            Operation::Subtraction => sum.subtract(other),
            Operation::Addition | Operation::Aggregation => sum.add(other),
        };
        match combined {
            Ok(combined) => self.place.remark_on_bounds(self.exec, combined, operation),
            Err(IncompatibleBuckets) => {
                self.warn(remarks::mixed_buckets(self.name));
                return None;
            }
        }
        Some(())
    }

    /// `rate`, `increase`, `delta`; `divisor` is the range in seconds for the first, 1 for the others. The window begins
    /// after `window_ms.0`.
    pub(crate) fn extrapolated(&self, is_counter: bool, window_ms: (i64, i64), divisor: f64) -> Option<Histogram> {
        let (first, last) = (self.histograms.first()?, self.times.last()?);
        let samples = self.samples();
        let mut increase = if self.histograms.len() > 1 { Some(self.increase(is_counter)?) } else { None };
        let reach = Reach { window_ms, first: self.stamp(0), last_ms: *last, samples };
        if is_counter && reach.begins_at_zero() {
            match &mut increase {
                Some(increase) => self.combine(increase, first, Operation::Addition)?,
                None => increase = Some(Histogram::clone(first)),
            }
        }
        let mut increase = increase?;
        // Of a gauge nothing is known of zero.
        let first_count = if is_counter { first.count } else { f64::NAN };
        increase.multiply(reach.factor(first_count, increase.count, divisor));
        Some(increase)
    }

    /// The increase from the first to the last of at least two histograms, resets of a counter added back.
    fn increase(&self, is_counter: bool) -> Option<Histogram> {
        let histograms = self.histograms;
        let last = histograms.last()?;
        let mut before = Arc::clone(&histograms[0]);
        let ends_are = |hint: fn(&Histogram) -> bool| (hint(&histograms[0]), hint(last));
        if is_counter && ends_are(is_gauge) != (false, false) {
            self.warn(remarks::not_a_counter(self.name));
        }
        if is_counter && self.is_reset(1, &before) {
            // Nothing is left of the first one: its layout does not matter.
            let second = &histograms[1];
            let nothing = Histogram {
                schema: second.schema,
                custom_values: Arc::clone(&second.custom_values),
                ..Histogram::default()
            };
            before = Arc::new(nothing);
        }
        let custom = before.has_custom_buckets();
        if last.has_custom_buckets() != custom {
            self.warn(remarks::mixed_buckets(self.name));
            return None;
        }
        let mut schema = last.schema.min(before.schema);
        if is_counter {
            for histogram in &histograms[1..histograms.len() - 1] {
                if is_gauge(histogram) {
                    self.warn(remarks::not_a_counter(self.name));
                }
                schema = schema.min(histogram.schema);
                if histogram.has_custom_buckets() != custom {
                    self.warn(remarks::mixed_buckets(self.name));
                    return None;
                }
            }
        }
        let mut increase = Histogram::clone(last);
        increase.reduce_resolution(schema);
        self.combine(&mut increase, &before, Operation::Subtraction)?;
        if is_counter {
            for (i, histogram) in histograms.iter().enumerate().skip(1) {
                if self.is_reset(i, &before) {
                    self.combine(&mut increase, &before, Operation::Addition)?;
                }
                before = Arc::clone(histogram);
            }
        } else if ends_are(is_gauge) != (true, true) {
            self.warn(remarks::not_a_gauge(self.name));
        }
        increase.counter_reset_hint = CounterResetHint::Gauge;
        increase.compact();
        Some(increase)
    }

    /// Whether any sample claims to count from a time at which the counting before had not ended.
    pub(crate) fn any_overlap(&self) -> bool {
        (1..self.times.len()).any(|i| self.stamp(i).overlaps(self.stamp(i - 1)))
    }

    /// `irate` (`is_counter`) and `idelta` of two histograms.
    pub(crate) fn between_two(&self, is_counter: bool) -> Option<Histogram> {
        let [before, last] = self.histograms else { return None };
        let gauges = (is_gauge(before), is_gauge(last));
        if is_counter && gauges != (false, false) {
            self.warn(remarks::not_a_counter(self.name));
        }
        if !is_counter && gauges != (true, true) {
            self.warn(remarks::not_a_gauge(self.name));
        }
        let mut difference = Histogram::clone(last);
        if !is_counter || !self.is_reset(1, before) {
            self.combine(&mut difference, before, Operation::Subtraction)?;
        }
        difference.counter_reset_hint = CounterResetHint::Gauge;
        difference.compact();
        if is_counter {
            difference.divide((self.times[1] - self.times[0]) as f64 / 1000.0);
        }
        Some(difference)
    }

    /// The samples, each as often as it stands for itself and for half of those that were left out next to it.
    fn weighted(&self) -> Vec<Arc<Histogram>> {
        let left_out = |at: usize| self.left_out.get(at).copied().unwrap_or(0);
        let weight = |at: usize| {
            1.0 + f64::from(if at > 0 { left_out(at) } else { 0 }) / 2.0 + f64::from(left_out(at + 1)) / 2.0
        };
        let of = |(at, histogram): (usize, &Arc<Histogram>)| {
            let mut histogram = Histogram::clone(histogram);
            histogram.multiply(weight(at));
            Arc::new(histogram)
        };
        self.histograms.iter().enumerate().map(of).collect()
    }

    /// The sum when some samples were left out.
    fn approximate_sum(&self) -> Option<Histogram> {
        HistogramWindow { histograms: &self.weighted(), left_out: &[], ..*self }.sum()
    }

    /// `sum_over_time`
    pub(crate) fn sum(&self) -> Option<Histogram> {
        if self.leaves_out() {
            return self.approximate_sum();
        }
        let (first, rest) = self.histograms.split_first()?;
        let mut sum = HistogramSum::new(first);
        self.add_all(rest, |next| sum.add(next))?;
        Some(sum.finish())
    }

    /// `avg_over_time`
    pub(crate) fn avg(&self) -> Option<Histogram> {
        if self.leaves_out() {
            let mut sum = self.approximate_sum()?;
            sum.divide(self.samples() as f64);
            return Some(sum);
        }
        let (first, rest) = self.histograms.split_first()?;
        let mut mean = HistogramMean::new(first);
        self.add_all(rest, |next| mean.add(next))?;
        Some(mean.finish())
    }

    fn add_all(
        &self,
        rest: &[Arc<Histogram>],
        mut add: impl FnMut(&Histogram) -> Result<model::histogram::Combined, IncompatibleBuckets>,
    ) -> Option<()> {
        let mut bounds_reconciled = false;
        for next in rest {
            match add(next) {
                Ok(combined) => bounds_reconciled |= combined.bounds_reconciled,
                Err(IncompatibleBuckets) => {
                    self.warn(remarks::mixed_buckets(self.name));
                    return None;
                }
            }
        }
        if bounds_reconciled {
            self.place.inform(self.exec, remarks::reconciled(Operation::Aggregation));
        }
        let any = |hint| self.histograms.iter().any(|histogram| histogram.counter_reset_hint == hint);
        if any(CounterResetHint::Reset) && any(CounterResetHint::NotReset) {
            self.warn(remarks::colliding_resets(Operation::Aggregation));
        }
        Some(())
    }
}
