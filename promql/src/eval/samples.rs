//! What a series has besides floats: native histograms and start timestamps.
//!
//! Read only for series that may have them; everything here is off the path of plain float series.

use super::row::{Row, samples_of};
use super::select::Selection;
use super::steps::Steps;
use crate::query_error::QueryError;
use model::histogram::{CounterResetHint, Histogram, HistogramColumns};
use model::sample::{SampleColumns, is_stale_marker};
use std::sync::Arc;

/// Histograms and start timestamps of one series, in order of time.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    pub(crate) histograms: HistogramColumns,
    /// When the counting began, per float; 0 where nobody knows. Empty when not asked for or known for none.
    pub(crate) float_starts: Vec<i64>,
    /// The same per histogram.
    pub(crate) histogram_starts: Vec<i64>,
}

impl Extras {
    /// Reads what series `index` has in `after_ms < t <= until_ms`; `floats` holds its floats, stale markers included.
    /// `None` when there is nothing.
    pub(crate) fn read(
        selection: &Selection,
        index: usize,
        (after_ms, until_ms): (i64, i64),
        with_starts: bool,
        floats: &SampleColumns,
    ) -> Result<Option<Self>, QueryError> {
        let has_histograms = selection.set.may_have_histograms(index);
        let has_starts = with_starts && selection.set.may_have_start_timestamps(index);
        if !has_histograms && !has_starts {
            return Ok(None);
        }
        let mut extras = Self::default();
        if has_histograms {
            read_histograms(selection, index, after_ms, until_ms, &mut extras.histograms)?;
        }
        if has_starts {
            let mut merged = Vec::new();
            selection.set.read_start_timestamps(index, after_ms, until_ms, &mut merged)?;
            extras.split_starts(&merged, floats);
        }
        Ok(Some(extras))
    }

    /// The histograms of an evaluated row, at the times of `steps`. Between the steps samples may have been left out, or one
    /// may be there several times, so nothing is known of resets any more.
    pub(crate) fn of_subquery(row: &Row, steps: &Steps) -> Self {
        let mut extras = Self::default();
        for (step, histogram) in row.histograms() {
            let mut histogram = Arc::clone(histogram);
            if matches!(histogram.counter_reset_hint, CounterResetHint::Reset | CounterResetHint::NotReset) {
                Arc::make_mut(&mut histogram).counter_reset_hint = CounterResetHint::Unknown;
            }
            extras.histograms.push(steps.time(step), histogram);
        }
        extras
    }

    /// Gives the start timestamps of all samples, in order of time, to the samples.
    fn split_starts(&mut self, merged: &[i64], floats: &SampleColumns) {
        if merged.len() != floats.len() + self.histograms.len() {
            return;
        }
        let (mut float, mut histogram) = (0, 0);
        for start in merged {
            let float_time = floats.timestamps_ms.get(float).copied().unwrap_or(i64::MAX);
            if self.histograms.timestamps_ms.get(histogram).is_some_and(|time| *time < float_time) {
                self.histogram_starts.push(*start);
                histogram += 1;
            } else {
                self.float_starts.push(*start);
                float += 1;
            }
        }
    }

    /// Removes stale markers, from `floats` as well.
    pub(crate) fn remove_stale(&mut self, floats: &mut SampleColumns) {
        keep_where(&mut self.float_starts, |i| !is_stale_marker(floats.values[i]));
        let stale: Vec<bool> = floats.values.iter().map(|value| is_stale_marker(*value)).collect();
        keep_where(&mut floats.timestamps_ms, |i| !stale[i]);
        keep_where(&mut floats.values, |i| !stale[i]);
        let stale: Vec<bool> = self.histograms.histograms.iter().map(|histogram| histogram.is_stale()).collect();
        keep_where(&mut self.histogram_starts, |i| !stale[i]);
        keep_where(&mut self.histograms.left_out, |i| !stale[i]);
        keep_where(&mut self.histograms.timestamps_ms, |i| !stale[i]);
        keep_where(&mut self.histograms.histograms, |i| !stale[i]);
    }

    /// For how many samples the histograms count.
    pub(crate) fn samples(&self) -> usize {
        self.histograms.histograms.iter().map(|histogram| samples_of(histogram)).sum()
    }
}

fn keep_where<T>(column: &mut Vec<T>, keep: impl Fn(usize) -> bool) {
    let mut at = 0;
    column.retain(|_| {
        at += 1;
        keep(at - 1)
    });
}

/// The histograms of one series, stale ones included, as the query sees them.
fn read_histograms(
    selection: &Selection,
    index: usize,
    after_ms: i64,
    until_ms: i64,
    into: &mut HistogramColumns,
) -> Result<(), QueryError> {
    if !selection.stats_only {
        selection.set.read_histograms(index, after_ms, until_ms, into)?;
        return Ok(());
    }
    // A sample at the very start is none of the result, but says whether a reset follows it.
    selection.set.read_histograms(index, after_ms.saturating_sub(1), until_ms, into)?;
    without_buckets(into);
    if into.timestamps_ms.first() == Some(&after_ms) {
        into.timestamps_ms.remove(0);
        into.histograms.remove(0);
        into.left_out.drain(..into.left_out.len().min(1));
    }
    Ok(())
}

/// Leaves of each histogram what `histogram_count`, `histogram_sum` and `histogram_avg` need. Resets are found first, while
/// there are buckets to compare.
fn without_buckets(columns: &mut HistogramColumns) {
    let mut before: Option<Arc<Histogram>> = None;
    for histogram in &mut columns.histograms {
        let counter_reset_hint =
            match (histogram.counter_reset_hint, &before) {
                (CounterResetHint::Unknown, Some(before)) if !histogram.is_stale() => {
                    if histogram.is_reset_after(before) { CounterResetHint::Reset } else { CounterResetHint::NotReset }
                }
                (hint, _) => hint,
            };
        let stripped = Histogram {
            counter_reset_hint,
            schema: histogram.schema,
            count: histogram.count,
            sum: histogram.sum,
            ..Histogram::default()
        };
        let whole = std::mem::replace(histogram, Arc::new(stripped));
        if !whole.is_stale() {
            before = Some(whole);
        }
    }
}
