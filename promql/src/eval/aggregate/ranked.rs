//! `topk` and `bottomk`: at each step the `k` series of a group with the largest or smallest values.
//!
//! A heap per group and step holds values and the numbers of their series; rows are not kept. Of equal values that of the
//! series whose labels come first stays. NaN ranks below everything.

use super::grouping::Groups;
use super::{Context, SEGMENT_LEAST, segments, tasks};
use crate::budget::Charge;
use crate::eval::exec::Exec;
use crate::eval::row::Row;
use crate::eval::vector::{SeriesVector, Table, Vector, announced};
use crate::query_error::QueryError;
use hashbrown::{HashMap, hash_map};
use model::labels::Labels;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::sync::Arc;

/// Which end counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    Top,
    Bottom,
}

impl Rank {
    /// `Less` when `a` ranks before `b`: better value, then earlier labels. `ties` compares two series by labels.
    fn order(self, a: &Entry, b: &Entry, ties: &impl Fn(u32, u32) -> Ordering) -> Ordering {
        let by_value = match (a.value.is_nan(), b.value.is_nan()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let ascending = a.value.partial_cmp(&b.value).unwrap_or(Ordering::Equal);
                if self == Self::Top { ascending.reverse() } else { ascending }
            }
        };
        by_value.then_with(|| if a.series == b.series { Ordering::Equal } else { ties(a.series, b.series) })
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    value: f64,
    series: u32,
}

/// The best entries of one group at one step: a heap with the worst at its root.
#[derive(Debug, Clone, Default)]
struct Best {
    entries: Vec<Entry>,
}

impl Best {
    fn offer(&mut self, entry: Entry, k: usize, rank: Rank, ties: &impl Fn(u32, u32) -> Ordering) {
        if self.entries.len() < k {
            self.entries.push(entry);
            self.rise(rank, ties);
        } else if k > 0 && rank.order(&entry, &self.entries[0], ties) == Ordering::Less {
            self.entries[0] = entry;
            self.sink(rank, ties);
        }
    }

    fn rise(&mut self, rank: Rank, ties: &impl Fn(u32, u32) -> Ordering) {
        let mut at = self.entries.len() - 1;
        while at > 0 {
            let parent = (at - 1) / 2;
            if rank.order(&self.entries[at], &self.entries[parent], ties) != Ordering::Greater {
                return;
            }
            self.entries.swap(at, parent);
            at = parent;
        }
    }

    fn sink(&mut self, rank: Rank, ties: &impl Fn(u32, u32) -> Ordering) {
        let mut at = 0;
        loop {
            let mut worst = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.entries.len()
                    && rank.order(&self.entries[child], &self.entries[worst], ties) == Ordering::Greater
                {
                    worst = child;
                }
            }
            if worst == at {
                return;
            }
            self.entries.swap(at, worst);
            at = worst;
        }
    }
}

/// Compares series by labels; remembers those that were asked for last, since many have the value of the worst so far.
struct Ties<'a> {
    inner: &'a dyn SeriesVector,
    last: RefCell<[Option<(u32, Labels)>; 2]>,
}

impl<'a> Ties<'a> {
    fn new(inner: &'a dyn SeriesVector) -> Self {
        Self { inner, last: RefCell::default() }
    }

    fn compare(&self, a: u32, b: u32) -> Ordering {
        let mut last = self.last.borrow_mut();
        let [first, second] = &mut *last;
        for (place, series) in [(&mut *first, a), (&mut *second, b)] {
            if place.as_ref().is_none_or(|(known, _)| *known != series) {
                *place = Some((series, self.inner.labels(series as usize)));
            }
        }
        first.as_ref().map(|(_, labels)| labels).cmp(&second.as_ref().map(|(_, labels)| labels))
    }
}

/// Ranks the series of `inner`; `k` holds how many to keep at each step.
pub(crate) fn ranked<'q>(
    context: Context<'_, 'q>,
    groups: &Groups<'q>,
    k: &[usize],
    rank: Rank,
) -> Result<Vector<'q>, QueryError> {
    let Context { exec, inner, .. } = context;
    let segments = segments(groups);
    let tasks = tasks(&segments, SEGMENT_LEAST);
    let found = exec.map(tasks.len(), |task, worker| {
        let ties = Ties::new(inner);
        let ties = |a, b| ties.compare(a, b);
        let mut row = worker.take_row();
        let mut found = Vec::new();
        let mut charge = Charge::none(exec.budget);
        for segment in &segments[tasks[task].clone()] {
            let mut best = vec![Best::default(); k.len()];
            for index in announced(inner, groups.members(segment.start..segment.end)) {
                inner.row(index, worker, &mut row)?;
                if row.histograms().any(|(step, _)| k[step] > 0) {
                    context.ignore_histograms(&row);
                }
                for (step, value) in row.iter() {
                    best[step].offer(Entry { value, series: index as u32 }, k[step], rank, &ties);
                }
            }
            let held: usize = best.iter().map(|best| best.entries.len()).sum();
            charge.add(held, size_of_val(&*best) + held * size_of::<Entry>())?;
            found.push(best);
        }
        worker.give_row(row);
        Ok((found, charge))
    })?;
    let (found, charges): (Vec<Vec<Vec<Best>>>, Vec<Charge<'_>>) = found.into_iter().unzip();
    let ties = Ties::new(inner);
    let ties = |a, b| ties.compare(a, b);
    let mut winners: Vec<(usize, Entry)> = Vec::new();
    let mut last_group = None;
    let mut merged: Vec<Best> = Vec::new();
    for (segment, best) in segments.iter().zip(found.into_iter().flatten()) {
        if last_group == Some(segment.group) {
            for ((merged, best), k) in merged.iter_mut().zip(best).zip(k) {
                best.entries.into_iter().for_each(|entry| merged.offer(entry, *k, rank, &ties));
            }
        } else {
            winners.extend(in_order(std::mem::replace(&mut merged, best), rank, &ties));
            last_group = Some(segment.group);
        }
    }
    winners.extend(in_order(merged, rank, &ties));
    drop(charges);
    Ok(Arc::new(table(inner, winners, k.len(), exec)?))
}

/// The winners with their steps, best first.
fn in_order(best: Vec<Best>, rank: Rank, ties: &impl Fn(u32, u32) -> Ordering) -> impl Iterator<Item = (usize, Entry)> {
    best.into_iter().enumerate().flat_map(move |(step, mut best)| {
        best.entries.sort_by(|a, b| rank.order(a, b, ties));
        best.entries.into_iter().map(move |entry| (step, entry))
    })
}

/// The winners as series, in the order in which they first win.
fn table<'q>(
    inner: &dyn SeriesVector,
    winners: Vec<(usize, Entry)>,
    steps: usize,
    exec: &Exec<'q>,
) -> Result<Table<'q>, QueryError> {
    let mut charge = Charge::none(exec.budget);
    let bytes = size_of_val(&*winners);
    charge.add(winners.len(), bytes)?;
    let mut at: HashMap<u32, usize> = HashMap::new();
    let mut rows: Vec<(u32, Row)> = Vec::new();
    for (step, entry) in winners {
        let row = match at.entry(entry.series) {
            hash_map::Entry::Occupied(known) => *known.get(),
            hash_map::Entry::Vacant(free) => {
                charge.add(0, Row::float_bytes(steps))?;
                rows.push((entry.series, Row::absent(steps)));
                *free.insert(rows.len() - 1)
            }
        };
        rows[row].1.set(step, entry.value);
    }
    charge.give_back(0, bytes);
    let rows = rows.into_iter().map(|(series, row)| {
        // The table charges it.
        let (samples, bytes) = row.held();
        charge.give_back(samples, bytes);
        let index = series as usize;
        (inner.labels(index), inner.drops_name(index), row)
    });
    Table::from_rows(steps, rows, exec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_loses_and_the_earlier_of_equals_stays() {
        let values = [1.0, f64::NAN, 3.0, 3.0, 2.0];
        let by_number = |a: u32, b: u32| a.cmp(&b);
        for (rank, expected) in [(Rank::Top, vec![2, 3, 4]), (Rank::Bottom, vec![0, 4, 2])] {
            let mut best = Best::default();
            for (series, value) in (0..).zip(values) {
                best.offer(Entry { value, series }, 3, rank, &by_number);
            }
            let series: Vec<u32> = in_order(vec![best], rank, &by_number).map(|(_, entry)| entry.series).collect();
            assert_eq!(series, expected);
        }
    }
}
