//! Calls of functions over range vectors: reads each series, cuts its samples into windows and folds them.
//!
//! Input is either stored series or the result of a subquery, which is evaluated series by series too. Stale markers are
//! no samples here.

mod remarks;

use super::buckets::{self, Tiers, Window};
use super::exec::{Counting, Exec, Samples, Worker};
use super::extended::Extension;
use super::profile::Reading;
use super::range::kinds::Kinds;
use super::range::{RangeFunction, WindowInput};
use super::remarks::Place;
use super::row::{Row, samples_of};
use super::samples::Extras;
use super::scalar::ScalarRow;
use super::select::Selection;
use super::steps::{LookTimes, Steps};
use super::vector::{SeriesVector, Vector};
use super::windows::Windows;
use crate::ast::Span;
use crate::query_error::QueryError;
use crate::source::TimelineToken;
use model::labels::Labels;
use model::sample::{STALE_MARKER_BITS, SampleColumns};
use std::ops::Range;
use std::sync::Arc;

pub(crate) use remarks::{Remarks, bad_quantile};

/// Where samples come from.
pub(crate) enum RangeInput<'q> {
    /// Stored series.
    Stored(Selection),
    /// A vector evaluated on a grid of its own.
    Subquery {
        /// What was evaluated.
        vector: Vector<'q>,
        /// The grid.
        steps: Steps,
    },
}

impl RangeInput<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Stored(selection) => selection.set.len(),
            Self::Subquery { vector, .. } => vector.len(),
        }
    }

    pub(crate) fn labels(&self, index: usize) -> Labels {
        match self {
            Self::Stored(selection) => selection.set.labels(index),
            Self::Subquery { vector, .. } => vector.labels(index),
        }
    }

    /// The metric's name of one series.
    pub(crate) fn metric_name(&self, index: usize) -> Option<String> {
        match self {
            Self::Stored(selection) => selection.metric_name(index),
            Self::Subquery { vector, .. } => super::vector::metric_name(vector.as_ref(), index),
        }
    }

    /// Fills `columns` with the floats of one series in `after_ms < t <= until_ms`, without stale markers.
    pub(crate) fn load(
        &self,
        index: usize,
        (after_ms, until_ms): (i64, i64),
        with_starts: bool,
        worker: &mut Worker<'_, '_>,
        columns: &mut SampleColumns,
    ) -> Result<Loaded, QueryError> {
        let loaded = match self {
            Self::Stored(selection) => {
                let token = selection.read(index, (after_ms, until_ms), columns)?;
                match Extras::read(selection, index, (after_ms, until_ms), with_starts, columns)? {
                    None => {
                        let token = if without_stale_markers(columns) { token } else { None };
                        Loaded { token, extras: None }
                    }
                    Some(mut extras) => {
                        extras.remove_stale(columns);
                        Loaded { token: None, extras: Some(Box::new(extras)) }
                    }
                }
            }
            Self::Subquery { vector, steps } => {
                let mut row = worker.take_row();
                vector.row(index, worker, &mut row)?;
                let full = present_samples(&row, steps, columns);
                let extras = row.has_histograms().then(|| Box::new(Extras::of_subquery(&row, steps)));
                worker.give_row(row);
                // Rows without a gap all have the grid's timestamps.
                Loaded { token: full.then_some(TimelineToken(0)), extras }
            }
        };
        worker.hold_samples(columns.len() + loaded.extras.as_ref().map_or(0, |extras| extras.samples()))?;
        Ok(loaded)
    }

    /// Whether a series may have histograms.
    fn may_have_histograms(&self, index: usize) -> bool {
        match self {
            Self::Stored(selection) => selection.set.may_have_histograms(index),
            Self::Subquery { vector, .. } => vector.may_have_histograms(index),
        }
    }
}

/// What came with the floats of a series.
pub(crate) struct Loaded {
    /// Names the floats' timestamps.
    token: Option<TimelineToken>,
    /// Histograms and start timestamps, if the series has any.
    pub(crate) extras: Option<Box<Extras>>,
}

impl Loaded {
    /// Whether some histograms were left out when they were stored.
    fn leaves_out(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| !extras.histograms.left_out.is_empty())
    }
}

/// Removes stale markers; whether there was none.
pub(crate) fn without_stale_markers(columns: &mut SampleColumns) -> bool {
    let is_stale = |value: &f64| value.to_bits() == STALE_MARKER_BITS;
    if !columns.values.iter().fold(false, |any, value| any | is_stale(value)) {
        return true;
    }
    let mut kept = 0;
    for i in 0..columns.values.len() {
        if !is_stale(&columns.values[i]) {
            columns.values[kept] = columns.values[i];
            columns.timestamps_ms[kept] = columns.timestamps_ms[i];
            kept += 1;
        }
    }
    columns.values.truncate(kept);
    columns.timestamps_ms.truncate(kept);
    false
}

/// Turns the present steps of a row into samples; whether all steps are present.
fn present_samples(row: &Row, steps: &Steps, columns: &mut SampleColumns) -> bool {
    columns.clear();
    if row.is_full() {
        columns.values.extend_from_slice(row.values());
        columns.timestamps_ms.extend((0..row.steps()).map(|step| steps.time(step)));
        return true;
    }
    for (step, value) in row.iter() {
        columns.push(steps.time(step), value);
    }
    false
}

/// A call.
pub(crate) struct RangeCall<'q> {
    pub(crate) input: RangeInput<'q>,
    pub(crate) function: RangeFunction,
    pub(crate) parameters: Vec<ScalarRow>,
    pub(crate) range_ms: i64,
    /// How the bounds of windows are treated, when not left open and plain.
    pub(crate) extension: Option<Extension>,
    /// When windows end.
    pub(crate) look: LookTimes,
    pub(crate) steps: Steps,
    pub(crate) counting: Counting,
    /// The call's place in the plan.
    pub(crate) ordinal: u32,
    /// The place of what it is called with.
    pub(crate) range_ordinal: u32,
    /// The first argument, which remarks are about.
    pub(crate) argument: Span,
    pub(crate) remarks: Remarks,
}

impl RangeCall<'_> {
    /// The part of time that the first and last windows span.
    pub(crate) fn span_read(
        look: &LookTimes,
        range_ms: i64,
        extension: Option<Extension>,
        lookback_ms: i64,
    ) -> (i64, i64) {
        let (before, after) = extension.map_or((0, 0), |extension| extension.margins(lookback_ms));
        let after_ms = look.first().saturating_sub(range_ms).saturating_sub(before);
        (after_ms, look.last().saturating_add(after))
    }

    fn fold(
        &self,
        index: usize,
        worker: &mut Worker<'_, '_>,
        columns: &mut SampleColumns,
        out: &mut Row,
    ) -> Result<(), QueryError> {
        let lookback_ms = worker.exec.settings.lookback_ms;
        let (after_ms, _) = Self::span_read(&self.look, self.range_ms, self.extension, lookback_ms);
        let with_starts = worker.exec.settings.start_timestamps && self.function.uses_starts();
        if let (RangeInput::Stored(selection), None) = (&self.input, self.extension)
            && let Some(tiers) = &selection.tiers
            && let Some(fields) = buckets::fields(self.function)
            && !selection.set.may_have_histograms(index)
        {
            let has_starts = with_starts && selection.set.may_have_start_timestamps(index);
            match tiers.expired_after(after_ms).filter(|_| has_starts) {
                Some(expired_ms) => self.remark_on_expired_starts(expired_ms, worker.exec),
                None if has_starts => return self.fold_samples(index, with_starts, worker, columns, out),
                None => {}
            }
            return tiers.fold(self, (selection, index), fields, worker, columns, out);
        }
        self.fold_samples(index, with_starts, worker, columns, out)
    }

    fn fold_samples(
        &self,
        index: usize,
        with_starts: bool,
        worker: &mut Worker<'_, '_>,
        columns: &mut SampleColumns,
        out: &mut Row,
    ) -> Result<(), QueryError> {
        let lookback_ms = worker.exec.settings.lookback_ms;
        let (after_ms, until_ms) = Self::span_read(&self.look, self.range_ms, self.extension, lookback_ms);
        let tiers = self.tiers_of_histograms(index);
        let reading = Reading::begin(worker.exec, self.range_ordinal);
        let whole_ms = tiers.map_or(after_ms, |tiers| tiers.histograms_after(self.look.first(), self.range_ms));
        let mut loaded = self.input.load(index, (whole_ms, until_ms), with_starts, worker, columns)?;
        // Where there are all samples, windows are what they are.
        let tiers = tiers.filter(|_| loaded.leaves_out());
        if tiers.is_none() && whole_ms < after_ms {
            loaded = self.input.load(index, (after_ms, until_ms), with_starts, worker, columns)?;
        }
        let Loaded { token, extras } = loaded;
        let (histograms, more) =
            extras.as_ref().map_or((0, 0), |extras| (extras.histograms.timestamps_ms.len(), extras.samples()));
        reading.end(columns.len() + histograms, columns.len() + more);
        let has_histograms = extras.as_ref().is_some_and(|extras| !extras.histograms.is_empty());
        if columns.is_empty() && !has_histograms {
            out.reset(self.steps.count);
            return Ok(());
        }
        if let Some(extension) = self.extension {
            let samples = (columns.len() + extras.as_ref().map_or(0, |extras| extras.samples())) as u64;
            match extras {
                Some(extras) => {
                    extension.fold_kinds(&self.kinds(index, worker.exec, None), columns, &extras, lookback_ms, out)
                }
                None => extension.fold(self, columns, lookback_ms, worker.exec.budget, out),
            }
            worker.exec.budget.check()?;
            let samples = Samples::once(samples);
            worker.count(self.counting, samples, 1, |_| samples);
            return Ok(());
        }
        let times = &columns.timestamps_ms;
        let windows = worker.windows(self.ordinal, token, || Windows::find(times, &self.look, self.range_ms))?;
        let starts = extras.as_ref().map_or(&[] as &[i64], |extras| &extras.float_starts);
        let input = WindowInput {
            starts,
            timestamps_ms: times,
            values: &columns.values,
            windows: &windows,
            look: &self.look,
            steps: &self.steps,
            range_ms: self.range_ms,
            budget: worker.exec.budget,
        };
        self.function.fold(&input, &self.parameters, out)?;
        if input.starts.iter().any(|start| *start != 0) {
            self.remark_on_overlaps(&input, index, worker.exec);
        }
        if let (true, Some(extras)) = (has_histograms, &extras) {
            let histogram_times = &extras.histograms.timestamps_ms;
            let histogram_windows = match tiers {
                Some(tiers) => Windows::each(histogram_times, self.look.count(), |step| {
                    let Window { after_ms, until_ms } = tiers.histogram_window(self.look.time(step), self.range_ms);
                    (after_ms, until_ms)
                }),
                None => Windows::find(histogram_times, &self.look, self.range_ms),
            };
            let held = |step: usize| {
                let (low, high) = histogram_windows.at(step);
                let count = |low: u32| {
                    let window = extras.histograms.histograms.get(low as usize..high as usize).unwrap_or_default();
                    window.iter().map(|histogram| samples_of(histogram) as u64).sum::<u64>()
                };
                let (used, fresh) = (count(low), count(histogram_windows.fresh_from(step)));
                let floats = windows.samples(step);
                Samples { used: floats.used + used, fresh: floats.fresh + fresh }
            };
            self.kinds(index, worker.exec, tiers).fold(&input, extras, &histogram_windows, out)?;
            worker.exec.budget.check()?;
            let total = (0..self.steps.count).map(held).sum();
            worker.count(self.counting, total, self.steps.count, held);
            return Ok(());
        }
        worker.exec.budget.check()?;
        worker.count(self.counting, windows.total(), self.steps.count, |step| windows.samples(step));
        Ok(())
    }

    /// The tiers, if the windows of a series have to consist of whole buckets where histograms were left out.
    fn tiers_of_histograms(&self, index: usize) -> Option<&Tiers> {
        let RangeInput::Stored(selection) = &self.input else { return None };
        let are_moved = self.extension.is_none() && buckets::fields(self.function).is_some();
        selection.tiers.as_deref().filter(|_| are_moved && selection.set.may_have_histograms(index))
    }

    /// What folding windows with histograms needs to know of the call.
    fn kinds<'a, 'x>(&'a self, index: usize, exec: &'a Exec<'x>, tiers: Option<&'a Tiers>) -> Kinds<'a, 'x> {
        let name = self.input.metric_name(index).unwrap_or_default();
        Kinds { call: self, exec, tiers, name, place: Place { ordinal: self.ordinal, span: self.argument } }
    }
}

impl SeriesVector for RangeCall<'_> {
    fn len(&self) -> usize {
        self.input.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.input.labels(index)
    }

    fn labels_among(&self, index: usize, names: &[&str]) -> Labels {
        match &self.input {
            RangeInput::Stored(selection) => selection.set.labels_among(index, names),
            RangeInput::Subquery { vector, .. } => vector.labels_among(index, names),
        }
    }

    fn prefetch(&self, indices: &[usize]) {
        match &self.input {
            RangeInput::Stored(selection) => selection.set.prefetch(indices),
            RangeInput::Subquery { vector, .. } => vector.prefetch(indices),
        }
    }

    fn label_numbers(&self, indices: Range<usize>, names: &[&str], into: &mut Vec<u32>) -> bool {
        match &self.input {
            RangeInput::Stored(selection) => selection.set.label_numbers(indices, names, into),
            RangeInput::Subquery { vector, .. } => vector.label_numbers(indices, names, into),
        }
    }

    fn drops_name(&self, index: usize) -> bool {
        match &self.input {
            RangeInput::Stored(_) => false,
            RangeInput::Subquery { vector, .. } => vector.drops_name(index),
        }
    }

    fn has_one_name(&self) -> bool {
        match &self.input {
            RangeInput::Stored(selection) => selection.has_one_name(),
            RangeInput::Subquery { vector, .. } => vector.has_one_name(),
        }
    }

    fn may_have_histograms(&self, index: usize) -> bool {
        self.function.may_return_histograms() && self.input.may_have_histograms(index)
    }

    fn row(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        worker.exec.budget.check()?;
        let mut columns = worker.take_columns();
        let folded = self.fold(index, worker, &mut columns, out);
        worker.give_columns(columns);
        folded?;
        self.remark(index, worker.exec, out);
        Ok(())
    }
}

/// A vector for [`RangeCall`].
pub(crate) fn vector<'q>(call: RangeCall<'q>) -> Vector<'q> {
    Arc::new(call)
}
