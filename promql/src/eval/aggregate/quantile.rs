//! `quantile`: needs all values of a group at a step at once.
//!
//! Segments are evaluated on any thread and keep their values by step. A group that is one segment is finished where it was
//! evaluated; of larger ones the values of a step are put together in the order of series, different steps on different threads.

use super::grouping::Groups;
use super::{Context, SEGMENT_LEAST, Segment, segments, tasks};
use crate::budget::Charge;
use crate::eval::exec::{Exec, Worker};
use crate::eval::range::order;
use crate::eval::row::Row;
use crate::eval::scalar::ScalarRow;
use crate::eval::vector::{Table, Vector, announced};
use crate::query_error::QueryError;
use std::sync::Arc;

/// The quantile `q` of each group's values at each step.
pub(crate) fn quantile<'q>(
    context: Context<'_, 'q>,
    groups: &Groups<'q>,
    q: &ScalarRow,
    steps: usize,
) -> Result<Vector<'q>, QueryError> {
    let Context { exec, inner, .. } = context;
    let segments = segments(groups);
    let tasks = tasks(&segments, SEGMENT_LEAST);
    let evaluated: Vec<Vec<Evaluated<'q>>> = exec.map(tasks.len(), |task, worker| {
        let of_segment = |segment: &Segment| {
            let mut part = Part::of(segment, &context, groups, steps, worker)?;
            let is_whole = groups.range(segment.group) == (segment.start..segment.end);
            Ok(if is_whole { Evaluated::Group(part.finish(q)) } else { Evaluated::Part(part) })
        };
        segments[tasks[task].clone()].iter().map(of_segment).collect()
    })?;
    let mut evaluated = evaluated.into_iter().flatten();
    let mut segments = segments.iter().peekable();
    let mut table = Table::builder(steps, exec);
    while let (Some(Segment { group, .. }), Some(first)) = (segments.next(), evaluated.next()) {
        let row = match first {
            Evaluated::Group(row) => row,
            Evaluated::Part(part) => {
                let mut parts = vec![part];
                while segments.next_if(|next| next.group == *group).is_some() {
                    let Some(Evaluated::Part(part)) = evaluated.next() else { unreachable!("one for each segment") };
                    parts.push(part);
                }
                finish_together(&parts, q, steps, exec)?
            }
        };
        table.push(groups.labels(*group).clone(), groups.drops_name(*group, inner, exec), &row)?;
    }
    Ok(Arc::new(table.finish()))
}

/// Samples that are charged at once.
const CHARGED_SAMPLES: usize = 1024;

/// What became of a segment.
enum Evaluated<'q> {
    /// It was all of its group.
    Group(Row),
    /// Its group has others.
    Part(Part<'q>),
}

/// The values of a segment.
struct Part<'q> {
    /// By step, in the order of series.
    cells: Vec<Vec<f64>>,
    _charge: Charge<'q>,
}

impl<'q> Part<'q> {
    fn of(
        segment: &Segment,
        context: &Context<'_, 'q>,
        groups: &Groups<'_>,
        steps: usize,
        worker: &mut Worker<'_, 'q>,
    ) -> Result<Self, QueryError> {
        let Context { exec, inner, .. } = *context;
        let mut charge = Charge::none(exec.budget);
        let mut cells: Vec<Vec<f64>> = vec![Vec::new(); steps];
        let mut row = worker.take_row();
        // Charged in lots: threads that charge one budget for each series would wait for each other.
        let mut uncharged = 0;
        for index in announced(inner, groups.members(segment.start..segment.end)) {
            inner.row(index, worker, &mut row)?;
            context.ignore_histograms(&row);
            uncharged += row.count();
            if uncharged >= CHARGED_SAMPLES {
                charge.add(uncharged, uncharged * size_of::<f64>())?;
                uncharged = 0;
            }
            for (step, value) in row.iter() {
                cells[step].push(value);
            }
        }
        charge.add(uncharged, uncharged * size_of::<f64>())?;
        worker.give_row(row);
        Ok(Self { cells, _charge: charge })
    }

    fn finish(&mut self, q: &ScalarRow) -> Row {
        let mut out = Row::absent(self.cells.len());
        for (step, values) in self.cells.iter_mut().enumerate().filter(|(_, values)| !values.is_empty()) {
            out.set(step, order::quantile(q.at(step), values));
        }
        out
    }
}

/// The quantiles of a group that is several segments.
fn finish_together(parts: &[Part<'_>], q: &ScalarRow, steps: usize, exec: &Exec<'_>) -> Result<Row, QueryError> {
    let quantiles = exec.map_chunks(steps, 1, |range, _| {
        let mut values = Vec::new();
        let of_step = |step: usize| {
            values.clear();
            parts.iter().for_each(|part| values.extend_from_slice(&part.cells[step]));
            (!values.is_empty()).then(|| order::quantile(q.at(step), &mut values))
        };
        Ok(range.map(of_step).collect::<Vec<_>>())
    })?;
    let mut out = Row::absent(steps);
    for (step, value) in quantiles.into_iter().flatten().enumerate() {
        if let Some(value) = value {
            out.set(step, value);
        }
    }
    Ok(out)
}
