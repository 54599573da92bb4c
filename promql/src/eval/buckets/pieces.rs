//! One series as samples and buckets side by side, and the parts of a window.

use super::{Span, Window, spans};
use model::bucket::{BucketColumns, Segment};
use model::sample::SampleColumns;
use smallvec::SmallVec;
use std::ops::Range;

/// The buckets of one segment.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) segment: Segment,
    pub(super) columns: BucketColumns,
}

impl Run {
    /// Removes buckets that hold nothing but a stale marker.
    pub(super) fn drop_empty(&mut self) {
        if !self.columns.counts.contains(&0) {
            return;
        }
        let counts = std::mem::take(&mut self.columns.counts);
        let columns = &mut self.columns;
        [&mut columns.ends_ms, &mut columns.first_times_ms, &mut columns.last_times_ms]
            .into_iter()
            .for_each(|column| keep(column, &counts));
        let BucketColumns { firsts, lasts, sums, mins, maxs, reset_sums, .. } = columns;
        [firsts, lasts, sums, mins, maxs, reset_sums].into_iter().for_each(|column| keep(column, &counts));
        [&mut columns.resets, &mut columns.changes].into_iter().for_each(|column| keep(column, &counts));
        keep(&mut columns.stale_ends, &counts);
        columns.counts = counts;
        columns.counts.retain(|count| *count > 0);
    }
}

fn keep<T>(column: &mut Vec<T>, counts: &[u32]) {
    let mut counts = counts.iter();
    column.retain(|_| counts.next().is_none_or(|count| *count > 0));
}

/// What was read of one series.
pub(super) struct Pieces<'a> {
    /// Those outside of all segments.
    pub(super) samples: &'a SampleColumns,
    /// Those of the segments that were read.
    pub(super) runs: &'a [Run],
    pub(super) segments: &'a [Segment],
}

/// Consecutive samples or buckets; never empty.
pub(super) enum Part<'a> {
    Samples { times: &'a [i64], values: &'a [f64] },
    Buckets { columns: &'a BucketColumns, rows: Range<usize> },
}

/// The parts of a window in order of time.
pub(super) struct Parts<'a>(SmallVec<[Part<'a>; 4]>);

impl<'a> Pieces<'a> {
    pub(super) fn parts(&self, window: Window) -> Parts<'a> {
        let range = |times: &[i64], window: Window| {
            let low = times.partition_point(|time| *time <= window.after_ms);
            low..times.partition_point(|time| *time <= window.until_ms).max(low)
        };
        let mut parts = SmallVec::new();
        for span in spans(self.segments, window) {
            match span {
                Span::Samples(window) => {
                    let range = range(&self.samples.timestamps_ms, window);
                    if !range.is_empty() {
                        let values = &self.samples.values[range.clone()];
                        parts.push(Part::Samples { times: &self.samples.timestamps_ms[range], values });
                    }
                }
                Span::Buckets(number, window) => {
                    let Some(run) = self.runs.iter().find(|run| run.segment == self.segments[number]) else { continue };
                    let rows = range(&run.columns.ends_ms, window);
                    if !rows.is_empty() {
                        parts.push(Part::Buckets { columns: &run.columns, rows });
                    }
                }
            }
        }
        Parts(parts)
    }
}

impl<'a> Parts<'a> {
    pub(super) fn last_part(&self) -> Option<&Part<'a>> {
        self.0.last()
    }

    /// How many samples and buckets there are.
    pub(super) fn rows(&self) -> u64 {
        let rows = |part: &Part<'_>| match part {
            Part::Samples { times, .. } => times.len(),
            Part::Buckets { rows, .. } => rows.len(),
        };
        self.0.iter().map(rows).sum::<usize>() as u64
    }

    /// How many samples there are, those in buckets included.
    pub(super) fn count(&self) -> u64 {
        let count = |part: &Part<'_>| match part {
            Part::Samples { times, .. } => times.len() as u64,
            Part::Buckets { columns, rows } => columns.counts[rows.clone()].iter().map(|count| u64::from(*count)).sum(),
        };
        self.0.iter().map(count).sum()
    }

    /// The value of the first sample.
    pub(super) fn first(&self) -> f64 {
        match self.0.first() {
            Some(Part::Samples { values, .. }) => values[0],
            Some(Part::Buckets { columns, rows }) => columns.firsts[rows.start],
            None => f64::NAN,
        }
    }

    /// The value of the last sample.
    pub(super) fn last(&self) -> f64 {
        match self.0.last() {
            Some(Part::Samples { values, .. }) => values[values.len() - 1],
            Some(Part::Buckets { columns, rows }) => columns.lasts[rows.end - 1],
            None => f64::NAN,
        }
    }

    /// The time of the first sample.
    pub(super) fn first_time(&self) -> i64 {
        match self.0.first() {
            Some(Part::Samples { times, .. }) => times[0],
            Some(Part::Buckets { columns, rows }) => columns.first_times_ms[rows.start],
            None => 0,
        }
    }

    /// The time of the last sample.
    pub(super) fn last_time(&self) -> i64 {
        match self.0.last() {
            Some(Part::Samples { times, .. }) => times[times.len() - 1],
            Some(Part::Buckets { columns, rows }) => columns.last_times_ms[rows.end - 1],
            None => 0,
        }
    }

    /// Tells of every value and the one before it, unless both are in one bucket; of that `within` is told. In order.
    pub(super) fn pairs(&self, mut between: impl FnMut(f64, f64), mut within: impl FnMut(&BucketColumns, usize)) {
        let mut before: Option<f64> = None;
        for part in &self.0 {
            match part {
                Part::Samples { values, .. } => {
                    for value in *values {
                        before.into_iter().for_each(|before| between(before, *value));
                        before = Some(*value);
                    }
                }
                Part::Buckets { columns, rows } => {
                    for row in rows.clone() {
                        before.into_iter().for_each(|before| between(before, columns.firsts[row]));
                        within(columns, row);
                        before = Some(columns.lasts[row]);
                    }
                }
            }
        }
    }

    /// All values of samples, and of buckets those of one column.
    pub(super) fn values(&self, column: impl Fn(&'a BucketColumns) -> &'a [f64]) -> impl Iterator<Item = f64> {
        self.0
            .iter()
            .flat_map(move |part| match part {
                Part::Samples { values, .. } => values.iter(),
                Part::Buckets { columns, rows } => column(columns)[rows.clone()].iter(),
            })
            .copied()
    }
}
