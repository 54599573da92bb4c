//! Removing metric names, and what follows when series become equal by it.
//!
//! Names go either at once, where an operation gives the metric another meaning, or (delayed removal) at the end of the
//! query, the series being marked until then. Series that become equal are one series if they are never present at the
//! same step; else the query fails.

use super::exec::{Exec, Worker};
use super::row::{Row, set_bits};
use super::vector::{SeriesVector, Table, Vector, announce, announced};
use crate::budget::Charge;
use crate::query_error::QueryError;
use hashbrown::hash_table::Entry;
use hashbrown::{HashMap, HashTable};
use model::labels::{Labels, METRIC_NAME, METRIC_TYPE, METRIC_UNIT};
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

/// What to do with series that become equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnEqual {
    /// Fail, even if they are never present together.
    Refuse,
    /// Join them, unless they are present together.
    Merge,
}

/// Removes the names of a result that is no longer the metric it came from, or marks them for removal.
pub(crate) fn drop_names<'q>(
    inner: Vector<'q>,
    steps: usize,
    on_equal: OnEqual,
    exec: &Exec<'q>,
) -> Result<Vector<'q>, QueryError> {
    if exec.settings.delayed_name_removal {
        return Ok(Arc::new(Renamed { inner, how: How::Mark }));
    }
    let unique = inner.has_one_name();
    let nameless: Vector<'q> = Arc::new(Renamed { inner, how: How::Remove });
    if unique { Ok(nameless) } else { settle(nameless, steps, on_equal, exec) }
}

/// Removes the names that were marked, at the end of a query.
pub(crate) fn remove_marked<'q>(inner: Vector<'q>, steps: usize, exec: &Exec<'q>) -> Result<Vector<'q>, QueryError> {
    let marked = (0..inner.len()).filter(|index| inner.drops_name(*index)).count();
    if marked == 0 {
        return Ok(inner);
    }
    let unique = marked == inner.len() && inner.has_one_name();
    let finished: Vector<'q> = Arc::new(Renamed { inner, how: How::RemoveMarked });
    if unique { Ok(finished) } else { settle(finished, steps, OnEqual::Merge, exec) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Mark,
    Remove,
    RemoveMarked,
}

/// A vector without some names.
struct Renamed<'q> {
    inner: Vector<'q>,
    how: How,
}

fn is_reserved(name: &str) -> bool {
    matches!(name, METRIC_NAME | METRIC_TYPE | METRIC_UNIT)
}

impl SeriesVector for Renamed<'_> {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn labels(&self, index: usize) -> Labels {
        let labels = self.inner.labels(index);
        match self.how {
            How::Mark => labels,
            How::RemoveMarked if !self.inner.drops_name(index) => labels,
            How::Remove | How::RemoveMarked => labels.without_metric_name(),
        }
    }

    fn labels_among(&self, index: usize, names: &[&str]) -> Labels {
        if self.how == How::Remove && names.iter().any(|name| is_reserved(name)) {
            let names: Vec<&str> = names.iter().copied().filter(|name| !is_reserved(name)).collect();
            return self.inner.labels_among(index, &names);
        }
        if self.how == How::RemoveMarked {
            return self.labels(index).filter(|name| names.binary_search(&name).is_ok());
        }
        self.inner.labels_among(index, names)
    }

    fn label_numbers(&self, indices: Range<usize>, names: &[&str], into: &mut Vec<u32>) -> bool {
        // Names that are removed are nobody's labels any more.
        let keeps_all = self.how == How::Mark || !names.iter().any(|name| is_reserved(name));
        keeps_all && self.inner.label_numbers(indices, names, into)
    }

    fn prefetch(&self, indices: &[usize]) {
        self.inner.prefetch(indices);
    }

    fn drops_name(&self, _index: usize) -> bool {
        self.how == How::Mark
    }

    fn has_one_name(&self) -> bool {
        self.how == How::Remove || self.inner.has_one_name()
    }

    fn may_have_histograms(&self, index: usize) -> bool {
        self.inner.may_have_histograms(index)
    }

    fn row(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        self.inner.row(index, worker, out)
    }
}

/// Makes the labels of `vector` unique.
pub(crate) fn settle<'q>(
    vector: Vector<'q>,
    steps: usize,
    on_equal: OnEqual,
    exec: &Exec<'q>,
) -> Result<Vector<'q>, QueryError> {
    let groups = equal_series(vector.as_ref(), exec)?;
    if groups.is_empty() {
        return Ok(vector);
    }
    let mut worker = exec.worker();
    let mut repeated = vec![false; vector.len()];
    let mut merged = Vec::new();
    for group in groups {
        let mut whole = Row::absent(steps);
        // The series that is present first decides whether the name goes.
        let mut first: Option<(usize, bool)> = None;
        let mut row = worker.take_row();
        for index in announced(vector.as_ref(), group.iter().copied()) {
            repeated[index] = true;
            vector.row(index, &mut worker, &mut row)?;
            if row.is_empty() {
                continue;
            }
            if first.is_some() && on_equal == OnEqual::Refuse {
                return Err(QueryError::SameLabelset);
            }
            let begins = set_bits(&row.seen()).next().unwrap_or(usize::MAX);
            if first.is_none_or(|(earliest, _)| begins < earliest) {
                first = Some((begins, vector.drops_name(index)));
            }
            absorb(&mut whole, &row)?;
        }
        worker.give_row(row);
        merged.push((vector.labels(group[0]), first.is_some_and(|(_, drops_name)| drops_name), whole));
    }
    let kept = (0..vector.len()).filter(|index| !repeated[*index]).collect();
    let merged = Table::from_rows(steps, merged, exec)?;
    Ok(Arc::new(Settled { inner: vector, kept, merged }))
}

/// Adds the present steps of `row`, none of which `whole` may have.
pub(crate) fn absorb(whole: &mut Row, row: &Row) -> Result<(), QueryError> {
    for (step, value) in row.iter() {
        if whole.is_seen(step) {
            return Err(QueryError::SameLabelset);
        }
        whole.set(step, value);
    }
    for (step, histogram) in row.histograms() {
        if whole.is_seen(step) {
            return Err(QueryError::SameLabelset);
        }
        whole.set_histogram(step, Arc::clone(histogram));
    }
    Ok(())
}

/// What finding equal series takes for each: its hash twice, and a place in a table.
const EQUAL_BYTES: usize = 24;

/// The series whose labels repeat, by labels.
fn equal_series(vector: &dyn SeriesVector, exec: &Exec<'_>) -> Result<Vec<Vec<usize>>, QueryError> {
    let mut charge = Charge::none(exec.budget);
    charge.add(0, vector.len() * EQUAL_BYTES)?;
    let hasher = foldhash::fast::RandomState::default();
    let mut hashes: Vec<u64> = Vec::with_capacity(vector.len());
    for chunk in exec.map_chunks(vector.len(), 1024, |range, _| {
        Ok(range.map(|index| hasher.hash_one(vector.labels(index))).collect::<Vec<u64>>())
    })? {
        hashes.extend(chunk);
    }
    let mut first: HashTable<u32> = HashTable::with_capacity(vector.len());
    let mut suspects: Vec<usize> = Vec::new();
    for (index, &hash) in hashes.iter().enumerate() {
        match first.entry(hash, |earlier| hashes[*earlier as usize] == hash, |earlier| hashes[*earlier as usize]) {
            Entry::Occupied(earlier) => suspects.extend([*earlier.get() as usize, index]),
            Entry::Vacant(place) => {
                place.insert(index as u32);
            }
        }
    }
    drop(first);
    suspects.sort_unstable();
    suspects.dedup();
    // Equal hashes may still be of different labels.
    let mut by_labels: HashMap<Labels, usize, foldhash::fast::RandomState> = HashMap::default();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for index in suspects {
        let group = *by_labels.entry(vector.labels(index)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(index);
    }
    groups.retain(|group| group.len() > 1);
    Ok(groups)
}

/// A vector some of whose series were joined.
struct Settled<'q> {
    inner: Vector<'q>,
    /// Series of `inner` that are as they were; the joined ones follow.
    kept: Vec<usize>,
    merged: Table<'q>,
}

impl Settled<'_> {
    fn part(&self, index: usize) -> (&dyn SeriesVector, usize) {
        match self.kept.get(index) {
            Some(&index) => (self.inner.as_ref(), index),
            None => (&self.merged, index - self.kept.len()),
        }
    }
}

impl SeriesVector for Settled<'_> {
    fn len(&self) -> usize {
        self.kept.len() + self.merged.len()
    }

    fn labels(&self, index: usize) -> Labels {
        let (part, index) = self.part(index);
        part.labels(index)
    }

    fn labels_among(&self, index: usize, names: &[&str]) -> Labels {
        let (part, index) = self.part(index);
        part.labels_among(index, names)
    }

    fn prefetch(&self, indices: &[usize]) {
        announce(self.inner.as_ref(), indices.iter().filter_map(|index| self.kept.get(*index).copied()));
    }

    fn drops_name(&self, index: usize) -> bool {
        let (part, index) = self.part(index);
        part.drops_name(index)
    }

    fn has_one_name(&self) -> bool {
        self.inner.has_one_name()
    }

    fn may_have_histograms(&self, index: usize) -> bool {
        let (part, index) = self.part(index);
        part.may_have_histograms(index)
    }

    fn row(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        let (part, index) = self.part(index);
        part.row(index, worker, out)
    }
}
