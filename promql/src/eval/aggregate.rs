//! Aggregations: which series form a group, and how a group becomes one series.
//!
//! A group's series are cut into segments by their number alone; segments are folded on any thread, each series as it is
//! evaluated, and merged in order. So nothing is held but one accumulator per segment, and results do not depend on the
//! number of threads.

pub(crate) mod accumulators;
pub(crate) mod grouping;
pub(crate) mod histograms;
pub(crate) mod limit;
pub(crate) mod quantile;
pub(crate) mod ranked;
pub(crate) mod values;

use super::exec::Exec;
use super::remarks::{self, Place};
use super::row::Row;
use super::vector::{SeriesVector, Table, Vector, announce, metric_name};
use crate::ast::AggregateOp;
use crate::budget::Charge;
use crate::query_error::QueryError;
use crate::source::PREFETCH_SERIES;
use accumulators::Accumulator;
use grouping::Groups;
use std::sync::Arc;

/// Groups of at most this many series are folded in one go, exactly as a plain loop would.
pub(crate) const SEGMENT_LEAST: usize = 512;
/// Larger groups are cut into at most this many segments.
pub(crate) const SEGMENTS_MAX: usize = 64;

/// Consecutive members of one group.
#[derive(Debug, Clone, Copy)]
struct Segment {
    group: usize,
    /// Positions in [`Groups::members`].
    start: usize,
    end: usize,
}

fn segments(groups: &Groups<'_>) -> Vec<Segment> {
    let mut segments = Vec::new();
    for group in 0..groups.len() {
        let range = groups.range(group);
        let size = SEGMENT_LEAST.max(range.len().div_ceil(SEGMENTS_MAX));
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + size);
            segments.push(Segment { group, start, end });
            start = end;
        }
    }
    segments
}

/// Tasks for each thread, so that all end at about the same time.
pub(crate) const TASKS_PER_THREAD: usize = 16;

/// Segments that make up one task: at least `least` series.
fn tasks(segments: &[Segment], least: usize) -> Vec<std::ops::Range<usize>> {
    let mut tasks = Vec::new();
    let (mut start, mut series) = (0, 0);
    for (i, segment) in segments.iter().enumerate() {
        series += segment.end - segment.start;
        if series >= least {
            tasks.push(start..i + 1);
            (start, series) = (i + 1, 0);
        }
    }
    if start < segments.len() {
        tasks.push(start..segments.len());
    }
    tasks
}

/// The series of some segments in ascending order, as they lie in memory, each with the number of its segment; or in the
/// order in which the groups have them, if that is by labels.
fn in_order(groups: &Groups<'_>, segments: &[Segment]) -> Vec<(u32, u32)> {
    let members = segments.iter().zip(0_u32..).flat_map(|(segment, number)| {
        (segment.start..segment.end).map(move |position| (groups.member(position) as u32, number))
    });
    let mut members: Vec<_> = members.collect();
    if !groups.are_by_labels() {
        members.sort_unstable(); // of a single segment they are in order already, which this notices
    }
    members
}

/// What an aggregation is about, for remarks on it.
#[derive(Clone, Copy)]
pub(crate) struct Context<'e, 'q> {
    pub(crate) exec: &'e Exec<'q>,
    /// Where the operand stands.
    pub(crate) place: Place,
    pub(crate) op: AggregateOp,
    /// What is aggregated.
    pub(crate) inner: &'e dyn SeriesVector,
}

impl Context<'_, '_> {
    /// The metric's name of a series, empty when it has none.
    pub(crate) fn name_of(&self, series: usize) -> String {
        metric_name(self.inner, series).unwrap_or_default()
    }

    /// Says that the histograms of a row do not count.
    pub(crate) fn ignore_histograms(&self, row: &Row) {
        if row.histograms().next().is_some() {
            self.place.inform(self.exec, remarks::ignored_in_aggregation(self.op.as_str()));
        }
    }
}

/// Folds every group with an accumulator made by `make`. Each accumulator gets its series in ascending order, or in that of
/// the groups if it is by labels, whatever else is folded beside it.
pub(crate) fn fold<'q, A: Accumulator>(
    context: Context<'_, 'q>,
    groups: Groups<'q>,
    steps: usize,
    make: impl Fn() -> A + Sync,
) -> Result<Vector<'q>, QueryError> {
    let Context { exec, inner, .. } = context;
    let segments = segments(&groups);
    let least = SEGMENT_LEAST.max(inner.len() / (exec.threads() * TASKS_PER_THREAD));
    let tasks = tasks(&segments, least);
    let cells = make().bytes();
    let folded = exec.map(tasks.len(), |task, worker| {
        let segments = &segments[tasks[task].clone()];
        let mut charge = Charge::none(exec.budget);
        charge.add(0, segments.len() * cells)?;
        let mut row = worker.take_row();
        let mut accumulators: Vec<A> = segments.iter().map(|_| make()).collect();
        for next in in_order(&groups, segments).chunks(PREFETCH_SERIES) {
            announce(inner, next.iter().map(|(series, _)| *series as usize));
            for (series, segment) in next {
                let (series, accumulator) = (*series as usize, &mut accumulators[*segment as usize]);
                inner.row(series, worker, &mut row)?;
                accumulator.add(&row);
                if row.has_histograms() {
                    let before = accumulator.bytes();
                    accumulator.add_histograms(&row, series, &context);
                    charge.exchange((0, before), (0, accumulator.bytes()))?;
                }
            }
        }
        worker.give_row(row);
        // The row of a group that is done takes less than what it was folded with.
        let before = accumulators.iter().map(Accumulator::bytes).sum();
        let folded = accumulators.into_iter().zip(segments).map(|(accumulator, segment)| {
            let is_whole = groups.range(segment.group) == (segment.start..segment.end);
            if is_whole { Folded::Group(finish(accumulator, steps, &context)) } else { Folded::Part(accumulator) }
        });
        let folded: Vec<Folded<A>> = folded.collect();
        let held = folded.iter().map(Folded::held).fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
        charge.exchange((0, before), held)?;
        Ok((folded, charge))
    })?;
    let mut charge = Charge::none(exec.budget);
    let (folded, charges): (Vec<_>, Vec<_>) = folded.into_iter().unzip();
    charges.into_iter().for_each(|of_task| charge.absorb(of_task));
    let mut folded = folded.into_iter().flatten();
    let mut segments = segments.iter().peekable();
    let rows = std::iter::from_fn(|| {
        let group = segments.next()?.group;
        let first = folded.next()?;
        let others = std::iter::from_fn(|| {
            segments.next_if(|next| next.group == group)?;
            folded.next()
        });
        let (row, (samples, bytes)) = merged(first, others, steps, &context);
        // The table charges the row.
        charge.give_back(samples, bytes);
        Some((groups.labels(group).clone(), groups.drops_name(group, inner, exec), row))
    });
    Ok(Arc::new(Table::from_rows(steps, rows, exec)?))
}

/// What became of a segment.
enum Folded<A> {
    /// It was all of its group.
    Group(Row),
    /// Its group has others, which are merged in order.
    Part(A),
}

impl<A: Accumulator> Folded<A> {
    /// Samples and bytes; only rows count as samples.
    fn held(&self) -> (usize, usize) {
        match self {
            Self::Group(row) => row.held(),
            Self::Part(accumulator) => (0, accumulator.bytes()),
        }
    }
}

/// The row of a group of which `first` is the first segment, and the samples and bytes that its segments held.
fn merged<A: Accumulator>(
    first: Folded<A>,
    others: impl Iterator<Item = Folded<A>>,
    steps: usize,
    context: &Context<'_, '_>,
) -> (Row, (usize, usize)) {
    let (samples, mut bytes) = first.held();
    let row = match first {
        Folded::Group(row) => row,
        Folded::Part(mut whole) => {
            for other in others {
                let Folded::Part(part) = other else { unreachable!("a part has others beside it") };
                bytes += part.bytes();
                whole.merge(part, context);
            }
            finish(whole, steps, context)
        }
    };
    (row, (samples, bytes))
}

fn finish<A: Accumulator>(accumulator: A, steps: usize, context: &Context<'_, '_>) -> Row {
    let mut row = Row::absent(steps);
    accumulator.finish(&mut row, context);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_cut_by_their_size_alone() {
        let sizes = [3, 512, 513, 100_000];
        let groups = Groups::of_sizes(&sizes);
        let segments = segments(&groups);
        let per_group = |group| segments.iter().filter(|segment| segment.group == group).count();
        assert_eq!((0..4).map(per_group).collect::<Vec<_>>(), [1, 1, 2, 64]);
        let tasks = tasks(&segments, SEGMENT_LEAST);
        assert_eq!(tasks[0], 0..2);
        assert_eq!(tasks.iter().map(|task| task.len()).sum::<usize>(), segments.len());
    }
}
