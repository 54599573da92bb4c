//! Functions over range vectors: folds over the samples that each step sees.
//!
//! A fold gets the two columns of one series and the windows of all steps, and fills a row. Results equal those of a loop
//! over each window alone, to the last bit: where a fold shares work between windows, its own file says why that is exact.

pub(crate) mod counts;
pub(crate) mod extremes;
pub(crate) mod histograms;
pub(crate) mod kinds;
pub(crate) mod order;
pub(crate) mod picks;
pub(crate) mod rates;
pub(crate) mod starts;
pub(crate) mod sums;
pub(crate) mod trends;

use super::row::Row;
use super::scalar::ScalarRow;
use super::steps::{LookTimes, Steps};
use super::windows::Windows;
use crate::budget::Budget;
use crate::query_error::QueryError;

/// A function that folds a window of samples to one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of PromQL")]
pub(crate) enum RangeFunction {
    Rate,
    Increase,
    Delta,
    Irate,
    Idelta,
    Deriv,
    PredictLinear,
    DoubleExponentialSmoothing,
    Resets,
    Changes,
    Count,
    Present,
    Sum,
    Avg,
    Stddev,
    Stdvar,
    Min,
    Max,
    TsOfMin,
    TsOfMax,
    First,
    Last,
    TsOfFirst,
    TsOfLast,
    Quantile,
    Mad,
}

impl RangeFunction {
    /// The function of that name in PromQL; `absent_over_time` folds like `present_over_time`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "rate" => Self::Rate,
            "increase" => Self::Increase,
            "delta" => Self::Delta,
            "irate" => Self::Irate,
            "idelta" => Self::Idelta,
            "deriv" => Self::Deriv,
            "predict_linear" => Self::PredictLinear,
            "double_exponential_smoothing" => Self::DoubleExponentialSmoothing,
            "resets" => Self::Resets,
            "changes" => Self::Changes,
            "count_over_time" => Self::Count,
            "present_over_time" | "absent_over_time" => Self::Present,
            "sum_over_time" => Self::Sum,
            "avg_over_time" => Self::Avg,
            "stddev_over_time" => Self::Stddev,
            "stdvar_over_time" => Self::Stdvar,
            "min_over_time" => Self::Min,
            "max_over_time" => Self::Max,
            "ts_of_min_over_time" => Self::TsOfMin,
            "ts_of_max_over_time" => Self::TsOfMax,
            "first_over_time" => Self::First,
            "last_over_time" => Self::Last,
            "ts_of_first_over_time" => Self::TsOfFirst,
            "ts_of_last_over_time" => Self::TsOfLast,
            "quantile_over_time" => Self::Quantile,
            "mad_over_time" => Self::Mad,
            _ => return None,
        })
    }

    /// Whether start timestamps matter.
    pub(crate) fn uses_starts(self) -> bool {
        matches!(self, Self::Rate | Self::Increase | Self::Irate | Self::Resets)
    }

    /// Whether it is one of the two that extrapolate counters.
    pub(crate) fn is_counter_rate(self) -> bool {
        matches!(self, Self::Rate | Self::Increase)
    }

    /// Whether it makes histograms of histograms.
    pub(crate) fn may_return_histograms(self) -> bool {
        matches!(
            self,
            Self::Rate
                | Self::Increase
                | Self::Delta
                | Self::Irate
                | Self::Idelta
                | Self::Sum
                | Self::Avg
                | Self::First
                | Self::Last
        )
    }

    /// Whether the result is still the metric that was selected, at another time.
    pub(crate) fn keeps_name(self) -> bool {
        matches!(self, Self::First | Self::Last)
    }
}

/// About so many samples are folded between two looks at whether to go on: milliseconds, or some dozen where they are put in order.
const SAMPLES_AT_ONCE: usize = 1 << 20;

/// One series and what each step sees of it.
pub(crate) struct WindowInput<'a> {
    /// Ascending, in milliseconds, without stale markers.
    pub(crate) timestamps_ms: &'a [i64],
    pub(crate) values: &'a [f64],
    /// When the counting began, per sample; 0 where nobody knows. Empty when known for none.
    pub(crate) starts: &'a [i64],
    pub(crate) windows: &'a Windows,
    /// When each step looks: the end of its window.
    pub(crate) look: &'a LookTimes,
    /// When each step is.
    pub(crate) steps: &'a Steps,
    pub(crate) range_ms: i64,
    /// Whether to go on: many long windows take a while.
    pub(crate) budget: &'a Budget,
}

impl WindowInput<'_> {
    /// Fills `out` with `fold` of every window of at least `least` samples; the fold gets the step and the window's
    /// bounds. Leaves off when the query is to stop, which the caller sees too.
    #[inline]
    pub(crate) fn each(&self, least: usize, out: &mut Row, mut fold: impl FnMut(usize, usize, usize) -> f64) {
        out.reset(self.windows.steps());
        let (values, present) = out.parts_mut();
        let (mut step, mut bounds) = (self.windows.first(), self.windows.bounds());
        let samples_each = self.windows.total().used as usize / bounds.len().max(1);
        let windows_at_once = (SAMPLES_AT_ONCE / samples_each.max(1)).clamp(1, 64);
        while !bounds.is_empty() {
            if self.budget.check().is_err() {
                return;
            }
            // As far as one word of bits goes, at most.
            let (some, rest) = bounds.split_at(bounds.len().min(64 - step % 64).min(windows_at_once));
            let mut word = 0;
            for (bit, ((low, high), value)) in some.iter().zip(&mut values[step..]).enumerate() {
                let (low, high) = (*low as usize, *high as usize);
                if high - low >= least {
                    *value = fold(step + bit, low, high);
                    word |= 1 << bit;
                }
            }
            present[step / 64] |= word << (step % 64);
            (step, bounds) = (step + some.len(), rest);
        }
    }

    /// The range in seconds.
    pub(crate) fn range_seconds(&self) -> f64 {
        self.range_ms as f64 / 1000.0
    }
}

impl RangeFunction {
    /// Folds all windows of one series; `parameters` are the scalar arguments in order.
    pub(crate) fn fold(
        self,
        input: &WindowInput<'_>,
        parameters: &[ScalarRow],
        out: &mut Row,
    ) -> Result<(), QueryError> {
        match self {
            Self::Rate if !input.starts.is_empty() => starts::extrapolated(input, input.range_seconds(), out),
            Self::Increase if !input.starts.is_empty() => starts::extrapolated(input, 1.0, out),
            Self::Irate if !input.starts.is_empty() => starts::irate(input, out),
            Self::Resets if !input.starts.is_empty() => starts::resets(input, out),
            Self::Rate => rates::extrapolated(input, rates::Kind::Rate, out),
            Self::Increase => rates::extrapolated(input, rates::Kind::Increase, out),
            Self::Delta => rates::extrapolated(input, rates::Kind::Delta, out),
            Self::Irate => rates::last_two(input, true, out),
            Self::Idelta => rates::last_two(input, false, out),
            Self::Deriv => trends::deriv(input, out),
            Self::PredictLinear => trends::predict_linear(input, &parameters[0], out),
            Self::DoubleExponentialSmoothing => trends::smooth(input, &parameters[0], &parameters[1], out)?,
            Self::Resets => counts::pairs(input, |before, after| after < before, out),
            Self::Changes => counts::pairs(input, counts::is_change, out),
            Self::Count => input.each(1, out, |_, low, high| (high - low) as f64),
            Self::Present => input.each(1, out, |_, _, _| 1.0),
            Self::Sum => sums::sum(input, out),
            Self::Avg => sums::avg(input, out),
            Self::Stddev => sums::variance(input, out, f64::sqrt),
            Self::Stdvar => sums::variance(input, out, |variance| variance),
            Self::Min => extremes::min(input, out),
            Self::Max => extremes::max(input, out),
            Self::TsOfMin => extremes::time_of(input, |new, best| new <= best, out),
            Self::TsOfMax => extremes::time_of(input, |new, best| new >= best, out),
            Self::First => picks::first(input, out),
            Self::Last => picks::last(input, out),
            Self::TsOfFirst => picks::first_time(input, out),
            Self::TsOfLast => picks::last_time(input, out),
            Self::Quantile => order::quantile_over_time(input, &parameters[0], out),
            Self::Mad => order::mad_over_time(input, out),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many windows of `samples` samples are folded after the query was stopped, the one that was being folded included.
    fn folded_after_the_end(samples: usize) -> usize {
        let (windows, budget) = (1000, Budget::default());
        let values = vec![1.0; samples + windows];
        let timestamps_ms: Vec<i64> = (0..values.len() as i64).collect();
        let (range_ms, last_ms) = (samples as i64, values.len() as i64 - 1);
        let steps = Steps::range(range_ms, last_ms, 1);
        let look = LookTimes::new(&steps, None, 0);
        let found = Windows::find(&timestamps_ms, &look, range_ms);
        let (timestamps_ms, values, starts) = (timestamps_ms.as_slice(), values.as_slice(), &[][..]);
        let (windows, look, steps, budget) = (&found, &look, &steps, &budget);
        let input = WindowInput { timestamps_ms, values, starts, windows, look, steps, range_ms, budget };
        let mut folded = 0;
        input.each(1, &mut Row::default(), |_, _, _| {
            budget.cancel();
            folded += 1;
            0.0
        });
        folded
    }

    #[test]
    fn a_stopped_query_folds_few_samples_more() {
        assert_eq!([10, 1 << 16, 1 << 20].map(folded_after_the_end), [64, 16, 1]);
    }
}
