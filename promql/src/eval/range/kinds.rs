//! Windows of series that have native histograms, alone or beside floats.
//!
//! The floats of a series are folded first, as if there were nothing else; then every step that sees a histogram is looked
//! at again.

use super::histograms::HistogramWindow;
use super::starts::Stamp;
use super::{RangeFunction, WindowInput, counts};
use crate::eval::buckets::{Tiers, Window};
use crate::eval::exec::Exec;
use crate::eval::range_call::RangeCall;
use crate::eval::remarks::{self, Place};
use crate::eval::row::Row;
use crate::eval::samples::Extras;
use crate::eval::windows::Windows;
use crate::query_error::QueryError;
use model::histogram::Histogram;
use std::sync::Arc;

/// One series of a call.
pub(crate) struct Kinds<'a, 'x> {
    pub(crate) call: &'a RangeCall<'a>,
    pub(crate) exec: &'a Exec<'x>,
    /// If some histograms were left out: windows then consist of whole buckets.
    pub(crate) tiers: Option<&'a Tiers>,
    /// The metric's name, empty when it has none.
    pub(crate) name: String,
    pub(crate) place: Place,
}

/// One sample of either kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample<'a> {
    pub(crate) stamp: Stamp,
    pub(crate) value: f64,
    /// `None` for a float.
    pub(crate) histogram: Option<&'a Arc<Histogram>>,
}

impl Sample<'_> {
    /// Whether the counter was reset since `before`; a change of kind is a reset.
    pub(crate) fn is_reset_after(&self, before: &Self) -> bool {
        let by_start = self.stamp.is_reset_after(before.stamp);
        match (before.histogram, self.histogram) {
            (None, None) => self.value < before.value || by_start,
            (Some(before), Some(histogram)) => by_start || histogram.is_reset_after(before),
            _ => true,
        }
    }

    /// Whether it differs from `before`.
    pub(crate) fn is_change_after(&self, before: &Self) -> bool {
        match (before.histogram, self.histogram) {
            (None, None) => counts::is_change(before.value, self.value),
            (Some(before), Some(histogram)) => !histogram.is_same_data(before),
            _ => true,
        }
    }
}

/// The floats with these times, values and starts (empty when not known) and the histograms of `window`, in order of time.
pub(crate) fn in_order<'a>(
    (times, values, starts): (&[i64], &[f64], &[i64]),
    floats: std::ops::Range<usize>,
    window: &HistogramWindow<'a, '_>,
) -> Vec<Sample<'a>> {
    let float = |i: usize| Sample { stamp: Stamp::of(times, starts, i), value: values[i], histogram: None };
    let histogram = |i: usize| Sample {
        stamp: Stamp::of(window.times, window.starts, i),
        value: f64::NAN,
        histogram: Some(&window.histograms[i]),
    };
    let mut all: Vec<Sample<'a>> = floats.map(float).chain((0..window.times.len()).map(histogram)).collect();
    all.sort_by_key(|sample| sample.stamp.time_ms);
    all
}

impl<'x> Kinds<'_, 'x> {
    /// Folds the steps that see a histogram; `out` holds the results of the floats alone.
    pub(crate) fn fold(
        &self,
        input: &WindowInput<'_>,
        extras: &Extras,
        histogram_windows: &Windows,
        out: &mut Row,
    ) -> Result<(), QueryError> {
        let mut overlaps = 0;
        for (step, (low, high)) in histogram_windows.by_step() {
            if low == high {
                continue;
            }
            input.budget.check()?;
            let range = low as usize..high as usize;
            let window = self.window(extras, range.clone());
            let (float_low, float_high) = input.windows.at(step);
            let floats = float_low as usize..float_high as usize;
            self.fold_step(step, input, floats, &window, out);
            overlaps += usize::from(self.call.function.is_counter_rate() && window.any_overlap());
        }
        if overlaps > 0 {
            let Place { ordinal, span } = self.place;
            let message = remarks::overlapping_starts(&self.name);
            self.exec.with_annotations(|all| all.add_counted(message, ordinal, span, overlaps));
        }
        Ok(())
    }

    /// Some consecutive histograms of the series.
    pub(crate) fn window<'w>(&'w self, extras: &'w Extras, range: std::ops::Range<usize>) -> HistogramWindow<'w, 'x> {
        HistogramWindow {
            times: &extras.histograms.timestamps_ms[range.clone()],
            histograms: &extras.histograms.histograms[range.clone()],
            starts: extras.histogram_starts.get(range.clone()).unwrap_or_default(),
            left_out: extras.histograms.left_out.get(range).unwrap_or_default(),
            exec: self.exec,
            name: &self.name,
            place: self.place,
        }
    }

    fn fold_step(
        &self,
        step: usize,
        input: &WindowInput<'_>,
        floats: std::ops::Range<usize>,
        window: &HistogramWindow<'_, '_>,
        out: &mut Row,
    ) {
        use RangeFunction as F;
        let is_mixed = !floats.is_empty();
        let end = input.look.time(step);
        let Window { after_ms, until_ms } = match self.tiers {
            Some(tiers) => tiers.histogram_window(end, input.range_ms),
            None => Window { after_ms: end.saturating_sub(input.range_ms), until_ms: end },
        };
        let length_ms = until_ms.saturating_sub(after_ms);
        // Amounts grow with the window.
        let scale = (length_ms != input.range_ms).then(|| input.range_ms as f64 / length_ms as f64);
        let scaled = |amount: usize| scale.map_or(amount as f64, |scale| amount as f64 * scale);
        let grows = !matches!(self.call.function, F::Rate | F::Avg);
        let set = |out: &mut Row, result: Option<Histogram>| {
            out.clear_step(step);
            if let Some(mut histogram) = result {
                scale.filter(|_| grows).into_iter().for_each(|scale| histogram.multiply(scale));
                out.set_histogram(step, Arc::new(histogram));
            }
        };
        if matches!(self.call.function, F::Sum | F::Avg | F::Changes) && window.leaves_out() {
            window.warn(remarks::left_out(&self.name));
        }
        match self.call.function {
            F::Rate | F::Increase | F::Delta | F::Sum | F::Avg if is_mixed => {
                window.warn(remarks::mixed_samples(&self.name));
                out.clear_step(step);
            }
            function @ (F::Rate | F::Increase | F::Delta) => {
                let divisor = if function == F::Rate { length_ms as f64 / 1000.0 } else { 1.0 };
                set(out, window.extrapolated(function != F::Delta, (after_ms, until_ms), divisor));
            }
            F::Sum => set(out, window.sum()),
            F::Avg => set(out, window.avg()),
            F::Irate | F::Idelta => self.last_two(step, input, floats, window, out),
            F::Resets | F::Changes => {
                let all = in_order((input.timestamps_ms, input.values, input.starts), floats, window);
                out.set(step, scaled(count_pairs(self.call.function, &all)));
            }
            F::Count => out.set(step, scaled(floats.len() + window.samples())),
            F::Present => out.set(step, 1.0),
            F::First | F::Last | F::TsOfFirst | F::TsOfLast => self.end_of_window(step, input, floats, window, out),
            F::Deriv
            | F::PredictLinear
            | F::DoubleExponentialSmoothing
            | F::Stddev
            | F::Stdvar
            | F::Min
            | F::Max
            | F::TsOfMin
            | F::TsOfMax
            | F::Quantile
            | F::Mad => {
                if is_mixed {
                    self.place.inform(self.exec, remarks::ignored_in_range(&self.name));
                }
            }
        }
    }

    /// `irate` and `idelta`: of the last two samples whatever their kind.
    fn last_two(
        &self,
        step: usize,
        input: &WindowInput<'_>,
        floats: std::ops::Range<usize>,
        window: &HistogramWindow<'_, '_>,
        out: &mut Row,
    ) {
        let last_float = floats.clone().next_back().map(|i| input.timestamps_ms[i]);
        let float_before = floats.clone().rev().nth(1).map(|i| input.timestamps_ms[i]);
        let [.., last] = window.times else { return };
        let before = window.times.len().checked_sub(2).map(|i| window.times[i]);
        if float_before > Some(*last) {
            return;
        }
        out.clear_step(step);
        if before >= last_float && before.is_some() {
            let from = window.times.len() - 2;
            let two = HistogramWindow {
                times: &window.times[from..],
                histograms: &window.histograms[from..],
                left_out: window.left_out.get(from..).unwrap_or_default(),
                starts: window.starts.get(from..).unwrap_or_default(),
                ..*window
            };
            if let Some(histogram) = two.between_two(self.call.function == RangeFunction::Irate) {
                out.set_histogram(step, Arc::new(histogram));
            }
        } else if last_float.is_some() {
            window.warn(remarks::mixed_samples(&self.name));
        }
    }

    /// `first_over_time`, `last_over_time` and their times.
    fn end_of_window(
        &self,
        step: usize,
        input: &WindowInput<'_>,
        floats: std::ops::Range<usize>,
        window: &HistogramWindow<'_, '_>,
        out: &mut Row,
    ) {
        use RangeFunction as F;
        let is_first = matches!(self.call.function, F::First | F::TsOfFirst);
        let at = if is_first { 0 } else { window.times.len() - 1 };
        let time = window.times[at];
        let float = if is_first { floats.clone().next() } else { floats.clone().next_back() };
        let float_time = float.map(|i| input.timestamps_ms[i]);
        // The result of the floats stands if they have the first or last sample.
        if float_time.is_some_and(|float_time| if is_first { float_time < time } else { float_time > time }) {
            return;
        }
        match self.call.function {
            F::First | F::Last => out.set_histogram(step, Arc::clone(&window.histograms[at])),
            _ => out.set(step, time as f64 / 1000.0),
        }
    }
}

/// How many samples are a reset or a change after the one before.
pub(crate) fn count_pairs(function: RangeFunction, samples: &[Sample<'_>]) -> usize {
    let counts = |pair: &&[Sample<'_>]| {
        if function == RangeFunction::Resets {
            pair[1].is_reset_after(&pair[0])
        } else {
            pair[1].is_change_after(&pair[0])
        }
    };
    samples.windows(2).filter(counts).count()
}
