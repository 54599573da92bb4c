//! `anchored` and `smoothed`: windows whose bounds are given a value of their own.
//!
//! Anchored: the newest sample at or before the start of the window counts as its first. Smoothed: the values at both
//! bounds are interpolated between the samples around them. Neither extrapolates. Both look further than the window: back
//! by the lookback, smoothed ahead as well.

mod histograms;

use super::exec::{Exec, Worker};
use super::range::RangeFunction;
use super::range::histograms::HistogramWindow;
use super::range_call::{RangeCall, without_stale_markers};
use super::remarks::{self, Place};
use super::row::Row;
use super::samples::Extras;
use super::select::Selection;
use super::steps::LookTimes;
use super::vector::SeriesVector;
use crate::budget::Budget;
use crate::query_error::QueryError;
use model::labels::Labels;
use model::sample::SampleColumns;
use std::ops::Range;
use std::sync::Arc;

/// How the bounds of a window get their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extension {
    Anchored,
    Smoothed,
}

impl Extension {
    /// The word in PromQL.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Anchored => "anchored",
            Self::Smoothed => "smoothed",
        }
    }

    /// How much further than the window is read, before and after it.
    pub(crate) fn margins(self, lookback_ms: i64) -> (i64, i64) {
        match self {
            Self::Anchored => (lookback_ms, 0),
            Self::Smoothed => (lookback_ms, lookback_ms),
        }
    }

    /// Refuses functions that the modifier has no meaning for.
    pub(crate) fn check(self, function: &'static str) -> Result<(), QueryError> {
        let (modifier, allowed, list): (_, _, &[&str]) = match self {
            Self::Anchored => (
                "anchored",
                "changes, delta, increase, rate, resets",
                &["changes", "delta", "increase", "rate", "resets"],
            ),
            Self::Smoothed => ("smoothed", "delta, increase, rate", &["delta", "increase", "rate"]),
        };
        if list.contains(&function) {
            return Ok(());
        }
        Err(QueryError::RangeModifier { modifier, allowed, function })
    }

    /// Folds every window of one series. Leaves off when the query is to stop, which the caller sees too.
    pub(crate) fn fold(
        self,
        call: &RangeCall<'_>,
        columns: &SampleColumns,
        lookback_ms: i64,
        budget: &Budget,
        out: &mut Row,
    ) {
        let (before, after) = self.margins(lookback_ms);
        out.reset(call.steps.count);
        for step in 0..call.steps.count {
            if budget.check().is_err() {
                return;
            }
            let end = call.look.time(step);
            let start = end.saturating_sub(call.range_ms);
            let low = columns.timestamps_ms.partition_point(|t| *t <= start.saturating_sub(before));
            let high = columns.timestamps_ms.partition_point(|t| *t <= end.saturating_add(after));
            let window = Extended {
                times: &columns.timestamps_ms[low..high],
                values: &columns.values[low..high],
                start,
                end,
                smoothed: self == Self::Smoothed,
            };
            if let Some(value) = window.fold(call) {
                out.set(step, value);
            }
        }
    }
}

/// The samples around one window.
struct Extended<'a> {
    times: &'a [i64],
    values: &'a [f64],
    /// Exclusive.
    start: i64,
    end: i64,
    smoothed: bool,
}

impl Extended<'_> {
    fn fold(&self, call: &RangeCall<'_>) -> Option<f64> {
        let last = self.times.len().checked_sub(1)?;
        match call.function {
            RangeFunction::Changes => self.count_pairs(super::range::counts::is_change),
            RangeFunction::Resets => self.count_pairs(|before, after| after < before),
            RangeFunction::Rate => Some(self.increase(last, true)? / (call.range_ms as f64 / 1000.0)),
            RangeFunction::Increase => self.increase(last, true),
            _ => self.increase(last, false),
        }
    }

    /// Counts neighbours from the anchor on.
    fn count_pairs(&self, counts: impl Fn(f64, f64) -> bool) -> Option<f64> {
        let inside = self.times.partition_point(|t| *t <= self.start);
        if inside == self.times.len() {
            return None;
        }
        let pairs = self.values[inside.saturating_sub(1)..].windows(2);
        Some(pairs.filter(|pair| counts(pair[0], pair[1])).count() as f64)
    }

    /// The difference between the values at the two bounds, counter resets added back when `counter`.
    fn increase(&self, last: usize, counter: bool) -> Option<f64> {
        let mut first = self.times[..last].partition_point(|t| *t <= self.start).saturating_sub(1);
        let mut last = if self.smoothed { self.times[..last].partition_point(|t| *t < self.end) } else { last };
        if self.times[last] <= self.start || (self.smoothed && self.times[first] > self.end) {
            return None;
        }
        let left = self.left(first, counter);
        let right = self.right(last, counter);
        let mut increase = right - left;
        if counter {
            // The bounds stand for the samples at or beyond them.
            if self.times[first] <= self.start {
                first += 1;
            }
            let end = if self.times[last] >= self.end { last } else { last + 1 };
            last = end.max(first);
            increase += resets_between(left, &self.values[first..last], right);
        }
        Some(increase)
    }

    fn left(&self, first: usize, counter: bool) -> f64 {
        if self.smoothed && self.times[first] < self.start {
            return self.between(first, self.start, counter);
        }
        self.values[first]
    }

    fn right(&self, last: usize, counter: bool) -> f64 {
        if self.smoothed && last > 0 && self.times[last] > self.end {
            return self.between(last - 1, self.end, counter);
        }
        self.values[last]
    }

    /// The value at `at` on the line from sample `i` to the next; a counter that was reset starts at zero.
    fn between(&self, i: usize, at: i64, counter: bool) -> f64 {
        interpolate((self.times[i], self.values[i]), (self.times[i + 1], self.values[i + 1]), at, counter)
    }
}

fn interpolate(from: (i64, f64), to: (i64, f64), at: i64, counter: bool) -> f64 {
    let base = if counter && to.1 < from.1 { 0.0 } else { from.1 };
    base + (to.1 - base) * (at - from.0) as f64 / (to.0 - from.0) as f64
}

/// What counter resets hide between the bounds of a window.
fn resets_between(left: f64, inside: &[f64], right: f64) -> f64 {
    let mut hidden = 0.0;
    let mut before = left;
    for value in inside.iter().chain([&right]) {
        if *value < before {
            hidden += before;
        }
        before = *value;
    }
    hidden
}

/// The samples of a range vector with a modifier that is returned as it is: those inside, between a value at each bound.
pub(crate) fn bounded_samples(
    extension: Extension,
    samples: &SampleColumns,
    start: i64,
    end: i64,
    into: &mut SampleColumns,
) {
    into.clear();
    let (times, values) = (samples.timestamps_ms.as_slice(), samples.values.as_slice());
    let Some(last) = times.len().checked_sub(1) else { return };
    let smoothed = extension == Extension::Smoothed;
    let window = Extended { times, values, start, end, smoothed };
    let first = times[..last].partition_point(|t| *t <= start).saturating_sub(1);
    let last = if smoothed { times[..last].partition_point(|t| *t < end) } else { last };
    if times[last] <= start {
        return;
    }
    into.push(start, window.left(first, false));
    for i in first..=last {
        if times[i] > start && times[i] < end {
            into.push(times[i], values[i]);
        }
    }
    into.push(end, window.right(last, false));
}

/// An instant selector with `smoothed`: the value at the step itself, on the line between the samples around it.
pub(crate) struct SmoothedSelector {
    pub(crate) selection: Selection,
    pub(crate) look: LookTimes,
    pub(crate) place: Place,
}

impl SmoothedSelector {
    fn value(times: &[i64], values: &[f64], at: i64, lookback_ms: i64) -> Option<f64> {
        let low = times.partition_point(|t| *t <= at.saturating_sub(lookback_ms));
        let high = times.partition_point(|t| *t <= at.saturating_add(lookback_ms));
        let next = low + times[low..high].partition_point(|t| *t < at);
        if next < high && times[next] == at {
            return Some(values[next]);
        }
        let before = next.checked_sub(1).filter(|before| *before >= low)?;
        if next == high {
            return Some(values[before]);
        }
        Some(interpolate((times[before], values[before]), (times[next], values[next]), at, false))
    }

    /// A series that has histograms: each step sees floats alone, histograms alone, or nothing that makes sense.
    fn look_at_all_kinds(&self, index: usize, exec: &Exec<'_>, floats: &SampleColumns, extras: &Extras, out: &mut Row) {
        let lookback_ms = exec.settings.lookback_ms;
        let name = self.selection.metric_name(index).unwrap_or_default();
        let columns = &extras.histograms;
        out.reset(self.look.count());
        for step in 0..self.look.count() {
            let at = self.look.time(step);
            let seen = |times: &[i64]| {
                let low = times.partition_point(|t| *t <= at.saturating_sub(lookback_ms));
                low..times.partition_point(|t| *t <= at.saturating_add(lookback_ms)).max(low)
            };
            let range = seen(&columns.timestamps_ms);
            if range.is_empty() {
                if let Some(value) = Self::value(&floats.timestamps_ms, &floats.values, at, lookback_ms) {
                    out.set(step, value);
                }
                continue;
            }
            let window = HistogramWindow {
                times: &columns.timestamps_ms[range.clone()],
                histograms: &columns.histograms[range],
                starts: &[],
                left_out: &[],
                exec,
                name: &name,
                place: self.place,
            };
            if !seen(&floats.timestamps_ms).is_empty() {
                window.warn(remarks::mixed_samples(&name));
            } else if let Some(histogram) = window.smoothed_at(at) {
                out.set_histogram(step, Arc::new(histogram));
            }
        }
    }
}

impl SeriesVector for SmoothedSelector {
    fn len(&self) -> usize {
        self.selection.set.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.selection.set.labels(index)
    }

    fn labels_among(&self, index: usize, names: &[&str]) -> Labels {
        self.selection.set.labels_among(index, names)
    }

    fn label_numbers(&self, indices: Range<usize>, names: &[&str], into: &mut Vec<u32>) -> bool {
        self.selection.set.label_numbers(indices, names, into)
    }

    fn prefetch(&self, indices: &[usize]) {
        self.selection.set.prefetch(indices);
    }

    fn has_one_name(&self) -> bool {
        self.selection.has_one_name()
    }

    fn may_have_histograms(&self, index: usize) -> bool {
        self.selection.set.may_have_histograms(index)
    }

    fn row(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        worker.exec.budget.check()?;
        let lookback_ms = worker.exec.settings.lookback_ms;
        let (before, after) = Extension::Smoothed.margins(lookback_ms);
        let mut columns = worker.take_columns();
        let after_ms = self.look.first().saturating_sub(before);
        let until_ms = self.look.last().saturating_add(after);
        self.selection.read(index, (after_ms, until_ms), &mut columns)?;
        if let Some(mut extras) = Extras::read(&self.selection, index, (after_ms, until_ms), false, &columns)? {
            extras.remove_stale(&mut columns);
            worker.hold_samples(columns.len() + extras.samples())?;
            self.look_at_all_kinds(index, worker.exec, &columns, &extras, out);
            worker.give_columns(columns);
            return Ok(());
        }
        without_stale_markers(&mut columns);
        worker.hold_samples(columns.len())?;
        out.reset(self.look.count());
        for step in 0..self.look.count() {
            let at = self.look.time(step);
            if let Some(value) = Self::value(&columns.timestamps_ms, &columns.values, at, lookback_ms) {
                out.set(step, value);
            }
        }
        worker.give_columns(columns);
        Ok(())
    }
}
