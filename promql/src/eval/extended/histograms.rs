//! `anchored` and `smoothed` windows with native histograms.

use super::{Extended, Extension};
use crate::eval::range::RangeFunction;
use crate::eval::range::histograms::HistogramWindow;
use crate::eval::range::kinds::{Kinds, count_pairs, in_order};
use crate::eval::remarks::{self, Operation};
use crate::eval::row::Row;
use crate::eval::samples::Extras;
use model::histogram::{CounterResetHint, Histogram};
use model::sample::SampleColumns;
use std::sync::Arc;

impl Extension {
    /// Folds every window of a series that has histograms or start timestamps.
    pub(crate) fn fold_kinds(
        self,
        kinds: &Kinds<'_, '_>,
        floats: &SampleColumns,
        extras: &Extras,
        lookback_ms: i64,
        out: &mut Row,
    ) {
        let (before, after) = self.margins(lookback_ms);
        let call = kinds.call;
        out.reset(call.steps.count);
        for step in 0..call.steps.count {
            if kinds.exec.budget.check().is_err() {
                return;
            }
            let end = call.look.time(step);
            let start = end.saturating_sub(call.range_ms);
            let seen = |times: &[i64]| {
                let low = times.partition_point(|t| *t <= start.saturating_sub(before));
                (low, times.partition_point(|t| *t <= end.saturating_add(after)).max(low))
            };
            let (low, high) = seen(&floats.timestamps_ms);
            let histograms = seen(&extras.histograms.timestamps_ms);
            if matches!(call.function, RangeFunction::Changes | RangeFunction::Resets) {
                let columns =
                    (floats.timestamps_ms.as_slice(), floats.values.as_slice(), extras.float_starts.as_slice());
                let all = in_order(columns, low..high, &kinds.window(extras, histograms.0..histograms.1));
                let inside = all.partition_point(|sample| sample.stamp.time_ms <= start);
                if inside < all.len() {
                    let pairs = count_pairs(call.function, &all[inside.saturating_sub(1)..]);
                    out.set(step, pairs as f64);
                }
                continue;
            }
            let smoothed = self == Self::Smoothed;
            if histograms.0 == histograms.1 {
                let (times, values) = (&floats.timestamps_ms[low..high], &floats.values[low..high]);
                if let Some(value) = (Extended { times, values, start, end, smoothed }).fold(call) {
                    out.set(step, value);
                }
                continue;
            }
            let window = kinds.window(extras, histograms.0..histograms.1);
            if low < high {
                window.warn(remarks::mixed_samples(window.name));
                continue;
            }
            let extended = ExtendedHistograms { window, start, end, smoothed };
            if let Some(histogram) = extended.fold(call.function, call.range_ms) {
                out.set_histogram(step, Arc::new(histogram));
            }
        }
    }
}

/// The histograms around one window.
struct ExtendedHistograms<'a, 'x> {
    window: HistogramWindow<'a, 'x>,
    /// Exclusive.
    start: i64,
    end: i64,
    smoothed: bool,
}

impl ExtendedHistograms<'_, '_> {
    /// The difference between the histograms at the two bounds, counter resets added back unless it is `delta`.
    fn fold(&self, function: RangeFunction, range_ms: i64) -> Option<Histogram> {
        let is_counter = function != RangeFunction::Delta;
        let times = self.window.times;
        let last = times.len().checked_sub(1)?;
        let first = times[..last].partition_point(|t| *t <= self.start).saturating_sub(1);
        let last = if self.smoothed { times[..last].partition_point(|t| *t < self.end) } else { last };
        if times[last] <= self.start || (self.smoothed && times[first] > self.end) {
            return None;
        }
        self.check(&self.window.histograms[first..=last], is_counter)?;
        let left = if self.smoothed && times[first] < self.start {
            self.window.between(first, self.start, is_counter)?
        } else {
            Histogram::clone(&self.window.histograms[first])
        };
        let right = if self.smoothed && last > 0 && times[last] > self.end {
            self.window.between(last - 1, self.end, is_counter)?
        } else {
            Histogram::clone(&self.window.histograms[last])
        };
        let any_counter = [&left, &right].iter().any(|bound| bound.counter_reset_hint != CounterResetHint::Gauge);
        if !is_counter && any_counter {
            self.window.warn(remarks::not_a_gauge(self.window.name));
        }
        let mut increase = right.clone();
        self.window.combine(&mut increase, &left, Operation::Subtraction)?;
        if is_counter && let Some(hidden) = self.hidden_by_resets((first, left), (last, &right))? {
            self.window.combine(&mut increase, &hidden, Operation::Addition)?;
        }
        if function == RangeFunction::Rate {
            increase.divide(range_ms as f64 / 1000.0);
        }
        increase.counter_reset_hint = CounterResetHint::Gauge;
        increase.compact();
        Some(increase)
    }

    /// Refuses a mix of exponential and listed bounds, and remarks on gauges that are taken for counters.
    fn check(&self, histograms: &[Arc<Histogram>], is_counter: bool) -> Option<()> {
        for histogram in histograms {
            if histogram.has_custom_buckets() != histograms[0].has_custom_buckets() {
                self.window.warn(remarks::mixed_buckets(self.window.name));
                return None;
            }
            if is_counter && histogram.counter_reset_hint == CounterResetHint::Gauge {
                self.window.warn(remarks::not_a_counter(self.window.name));
            }
        }
        Some(())
    }

    /// What counter resets hide between the bounds; `left` and `right` stand for samples `first` and `last`.
    fn hidden_by_resets(
        &self,
        (first, left): (usize, Histogram),
        (last, right): (usize, &Histogram),
    ) -> Option<Option<Histogram>> {
        let histograms = self.window.histograms;
        let mut before = Arc::new(left);
        let mut from = first + 1;
        if self.smoothed && self.window.times[first] < self.start && histograms[from].is_reset_after(&histograms[first])
        {
            // The left bound was interpolated across this reset: it is accounted for.
            before = Arc::clone(&histograms[from]);
            from += 1;
        }
        if from > last {
            // Nothing lies between the bounds, which stand for one sample or for neighbours around that reset.
            return Some(None);
        }
        let mut hidden = None;
        for histogram in &histograms[from..last] {
            if histogram.is_reset_after(&before) {
                hidden = self.with_hidden(hidden, &before)?;
            }
            before = Arc::clone(histogram);
        }
        if right.is_reset_after(&before) { self.with_hidden(hidden, &before) } else { Some(hidden) }
    }

    fn with_hidden(&self, hidden: Option<Histogram>, before: &Histogram) -> Option<Option<Histogram>> {
        let Some(mut sum) = hidden else { return Some(Some(before.clone())) };
        self.window.combine(&mut sum, before, Operation::Addition)?;
        Some(Some(sum))
    }
}

impl HistogramWindow<'_, '_> {
    /// The histogram at `at` on the line from sample `i` to the next; a counter that was reset starts at nothing. `None`,
    /// with a warning, when the two do not go together.
    pub(super) fn between(&self, i: usize, at: i64, is_counter: bool) -> Option<Histogram> {
        let (from, to) = (&self.histograms[i], &self.histograms[i + 1]);
        let (from_time, to_time) = (self.times[i], self.times[i + 1]);
        if at == from_time || at == to_time {
            return Some(Histogram::clone(if at == from_time { from } else { to }));
        }
        let share = (at - from_time) as f64 / (to_time - from_time) as f64;
        let mut result = Histogram::clone(to);
        if is_counter && to.is_reset_after(from) {
            result.multiply(share);
            return Some(result);
        }
        self.combine(&mut result, from, Operation::Subtraction)?;
        result.multiply(share);
        self.combine(&mut result, from, Operation::Addition)?;
        Some(result)
    }

    /// The histogram at `at` for an instant selector: on the line between its neighbours, or the last one before it.
    pub(super) fn smoothed_at(&self, at: i64) -> Option<Histogram> {
        let next = self.times.partition_point(|t| *t < at);
        if self.times.get(next) == Some(&at) {
            return Some(Histogram::clone(&self.histograms[next]));
        }
        let before = &self.histograms[next.checked_sub(1)?];
        let Some(after) = self.histograms.get(next) else {
            let mut carried = Histogram::clone(before);
            // The hint is about the sample before, not about the value.
            carried.counter_reset_hint = CounterResetHint::Unknown;
            return Some(carried);
        };
        if before.has_custom_buckets() != after.has_custom_buckets() {
            self.warn(remarks::mixed_buckets(self.name));
            return None;
        }
        let is_counter = [before, after].iter().any(|h| h.counter_reset_hint != CounterResetHint::Gauge);
        self.between(next - 1, at, is_counter)
    }
}
