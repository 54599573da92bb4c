//! Which series belong together.

use super::limit::label_hash;
use crate::budget::Charge;
use crate::eval::exec::Exec;
use crate::eval::numbered::{Interner, interned_bytes};
use crate::eval::vector::SeriesVector;
use crate::query_error::QueryError;
use crate::source::NUMBERED_SERIES;
use hashbrown::HashMap;
use model::labels::{Labels, METRIC_NAME};
use smallvec::SmallVec;
use std::hash::BuildHasher;
use std::ops::Range;

/// `by (…)` or `without (…)`; names are sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grouping {
    pub(crate) names: Vec<String>,
    pub(crate) without: bool,
}

impl Grouping {
    /// The labels of the group that a series belongs to.
    pub(crate) fn key(&self, vector: &dyn SeriesVector, index: usize, names: &[&str]) -> Labels {
        if self.without { self.keep(&vector.labels(index)) } else { vector.labels_among(index, names) }
    }

    /// The labels of the group that a series with these labels belongs to.
    pub(crate) fn keep(&self, labels: &Labels) -> Labels {
        let listed = |name: &str| self.names.binary_search_by(|n| n.as_str().cmp(name)).is_ok();
        if self.without { labels.filter(|name| name != METRIC_NAME && !listed(name)) } else { labels.filter(listed) }
    }

    /// The names as borrowed strings.
    pub(crate) fn borrowed(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// Whether all series form one group without labels.
    fn is_everything(&self) -> bool {
        self.names.is_empty() && !self.without
    }
}

/// The series of a vector by group; groups in the order in which they first occur, series of a group in theirs.
#[derive(Debug)]
pub(crate) struct Groups<'q> {
    labels: Vec<Labels>,
    /// Indices of series, group by group; `None` when the one group has all of them in order.
    members: Option<Vec<u32>>,
    /// Where each group's members begin, and where the last ends.
    starts: Vec<usize>,
    /// The order of members within a group follows from their labels alone.
    by_labels: bool,
    _charge: Option<Charge<'q>>,
}

/// Chunks for each thread: fewer mean fewer groups that several of them number, more mean that all end at about the same time.
const CHUNKS_PER_THREAD: usize = 4;

/// Hashes label sets for the time of one grouping.
type Hasher = foldhash::fast::RandomState;

/// Numbers the groups of series; looks at their labels only where the numbers that stand for them are new.
#[derive(Debug)]
struct KeyInterner<'h> {
    keys: Interner,
    hasher: &'h Hasher,
    known: HashMap<SmallVec<[u32; 4]>, u32, foldhash::fast::RandomState>,
    scratch: Vec<u32>,
}

impl<'h> KeyInterner<'h> {
    fn new(hasher: &'h Hasher) -> Self {
        Self { keys: Interner::default(), hasher, known: HashMap::default(), scratch: Vec::new() }
    }

    /// The numbers of the groups of some series.
    fn numbers(
        &mut self,
        vector: &dyn SeriesVector,
        grouping: &Grouping,
        range: Range<usize>,
        names: &[&str],
    ) -> Vec<u32> {
        let mut numbers = Vec::with_capacity(range.len());
        for start in range.clone().step_by(NUMBERED_SERIES) {
            let indices = start..range.end.min(start + NUMBERED_SERIES);
            let mut label_numbers = std::mem::take(&mut self.scratch);
            label_numbers.clear();
            if grouping.without || !vector.label_numbers(indices.clone(), names, &mut label_numbers) {
                numbers.extend(indices.map(|index| self.of_labels(grouping.key(vector, index, names))));
            } else {
                let keys = indices.zip(label_numbers.chunks_exact(names.len() + 1));
                numbers.extend(keys.map(|(index, key)| self.number(key, || grouping.key(vector, index, names))));
            }
            self.scratch = label_numbers;
        }
        numbers
    }

    fn number(&mut self, key: &[u32], labels: impl FnOnce() -> Labels) -> u32 {
        if let Some(number) = self.known.get(key) {
            return *number;
        }
        let number = self.of_labels(labels());
        self.known.insert(SmallVec::from_slice(key), number);
        number
    }

    fn of_labels(&mut self, labels: Labels) -> u32 {
        let hash = self.hasher.hash_one(&labels);
        self.keys.number(labels, hash).0
    }

    fn bytes(&self) -> usize {
        self.keys.bytes() + self.known.capacity() * size_of::<(SmallVec<[u32; 4]>, u32)>()
    }
}

impl<'q> Groups<'q> {
    /// Groups the series of `vector`.
    pub(crate) fn find(vector: &dyn SeriesVector, grouping: &Grouping, exec: &Exec<'q>) -> Result<Self, QueryError> {
        let len = vector.len();
        if len == 0 {
            return Ok(Self { labels: Vec::new(), members: None, starts: vec![0], by_labels: false, _charge: None });
        }
        if grouping.is_everything() {
            return Ok(Self {
                labels: vec![Labels::empty()],
                members: None,
                starts: vec![0, len],
                by_labels: false,
                _charge: None,
            });
        }
        let names = grouping.borrowed();
        // Chunks sort their own series first: most of a chunk share few groups. The result does not depend on where chunks end.
        let least = len.div_ceil(exec.threads() * CHUNKS_PER_THREAD).max(1024);
        let hasher = Hasher::default();
        let chunks = exec.map_chunks(len, least, |range, _| {
            let mut own = KeyInterner::new(&hasher);
            let group_of = own.numbers(vector, grouping, range.clone(), &names);
            let mut charge = Charge::none(exec.budget);
            charge.add(0, own.bytes() + group_of.len() * size_of::<u32>())?;
            let Interner { labels, hashes, .. } = own.keys;
            let (members, starts) = by_group(range.start as u32, &group_of, labels.len());
            Ok(Chunk { labels, hashes, members, starts, _charge: charge })
        })?;
        let (labels, members, starts) = united(chunks, len);
        let mut charge = Charge::none(exec.budget);
        charge.add(0, interned_bytes(&labels) + len * size_of::<u32>())?;
        Ok(Self { labels, members: Some(members), starts, by_labels: false, _charge: Some(charge) })
    }

    /// The same groups with their members in an order that follows from labels alone, for whom the order matters: that of
    /// `vector` depends on where and when the series were stored.
    pub(crate) fn by_labels(mut self, vector: &dyn SeriesVector, exec: &Exec<'_>) -> Result<Self, QueryError> {
        let len = vector.len();
        let mut charge = Charge::none(exec.budget);
        charge.add(0, len * (size_of::<u64>() + size_of::<u32>()))?;
        let hashes: Vec<Vec<u64>> =
            exec.map_chunks(len, 1024, |range, _| Ok(range.map(|index| label_hash(&vector.labels(index))).collect()))?;
        let hashes = hashes.concat();
        let mut members = self.members.take().unwrap_or_else(|| (0..len as u32).collect());
        for group in 0..self.len() {
            members[self.range(group)].sort_unstable_by_key(|index| hashes[*index as usize]);
        }
        (self.members, self.by_labels) = (Some(members), true);
        Ok(self)
    }

    /// Whether the order of members follows from labels alone.
    pub(crate) fn are_by_labels(&self) -> bool {
        self.by_labels
    }

    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    pub(crate) fn labels(&self, group: usize) -> &Labels {
        &self.labels[group]
    }

    /// The positions of a group's members.
    pub(crate) fn range(&self, group: usize) -> Range<usize> {
        self.starts[group]..self.starts[group + 1]
    }

    /// The series at one position.
    pub(crate) fn member(&self, position: usize) -> usize {
        self.members.as_ref().map_or(position, |members| members[position] as usize)
    }

    /// The series at some positions.
    pub(crate) fn members(&self, positions: Range<usize>) -> impl Iterator<Item = usize> + Clone + '_ {
        positions.map(|position| self.member(position))
    }

    /// Whether the group's name is to be removed at the end: when any member's is.
    pub(crate) fn drops_name(&self, group: usize, vector: &dyn SeriesVector, exec: &Exec<'_>) -> bool {
        exec.settings.delayed_name_removal && self.members(self.range(group)).any(|index| vector.drops_name(index))
    }

    #[cfg(test)]
    pub(crate) fn of_sizes(sizes: &[usize]) -> Self {
        let mut starts = vec![0];
        for size in sizes {
            starts.push(starts[starts.len() - 1] + size);
        }
        Self { labels: vec![Labels::empty(); sizes.len()], members: None, starts, by_labels: false, _charge: None }
    }
}

/// The groups of some consecutive series.
struct Chunk<'q> {
    labels: Vec<Labels>,
    hashes: Vec<u64>,
    /// Indices of series, group by group.
    members: Vec<u32>,
    starts: Vec<usize>,
    _charge: Charge<'q>,
}

/// The groups of all chunks as one: labels, members and where those of each group begin.
fn united(mut chunks: Vec<Chunk<'_>>, len: usize) -> (Vec<Labels>, Vec<u32>, Vec<usize>) {
    if let Some(only) = chunks.pop_if(|last| last.members.len() == len) {
        return (only.labels, only.members, only.starts);
    }
    let mut all = Interner::default();
    let mut counts: Vec<usize> = Vec::new();
    let mut numbers_of = Vec::with_capacity(chunks.len());
    for chunk in &mut chunks {
        let labels = std::mem::take(&mut chunk.labels).into_iter().zip(&chunk.hashes);
        let numbers: Vec<usize> = labels.map(|(labels, hash)| all.number(labels, *hash).0 as usize).collect();
        counts.resize(all.labels.len(), 0);
        for (number, range) in numbers.iter().zip(chunk.starts.windows(2)) {
            counts[*number] += range[1] - range[0];
        }
        numbers_of.push(numbers);
    }
    let starts = starts_of(&counts);
    let mut next = starts.clone();
    let mut members = vec![0; len];
    for (chunk, numbers) in chunks.iter().zip(numbers_of) {
        for (number, range) in numbers.into_iter().zip(chunk.starts.windows(2)) {
            let these = &chunk.members[range[0]..range[1]];
            members[next[number]..][..these.len()].copy_from_slice(these);
            next[number] += these.len();
        }
    }
    (all.labels, members, starts)
}

/// Where each group begins, and where the last ends.
fn starts_of(counts: &[usize]) -> Vec<usize> {
    let mut end = 0;
    let ends = counts.iter().map(|count| {
        end += count;
        end
    });
    std::iter::once(0).chain(ends).collect()
}

/// Sorts consecutive series, of which `first` is the first, by group, stably.
fn by_group(first: u32, group_of: &[u32], groups: usize) -> (Vec<u32>, Vec<usize>) {
    let mut counts = vec![0; groups];
    for group in group_of {
        counts[*group as usize] += 1;
    }
    let starts = starts_of(&counts);
    let mut next = starts.clone();
    let mut members = vec![0; group_of.len()];
    for (index, group) in (first..).zip(group_of) {
        let at = &mut next[*group as usize];
        members[*at] = index;
        *at += 1;
    }
    (members, starts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;

    #[test]
    fn members_keep_their_order_within_a_group() {
        let (members, starts) = by_group(7, &[0, 1, 0, 2, 1], 3);
        assert_eq!((members, starts), (vec![7, 9, 8, 11, 10], vec![0, 2, 4, 5]));
    }

    #[test]
    fn chunks_unite_to_the_groups_of_the_whole() {
        let budget = Budget::default();
        let hasher = Hasher::default();
        let (names, group_of) = (["a", "b", "c", "d"], [2usize, 0, 2, 1, 1, 2, 3, 0, 3, 1]);
        let chunk = |range: Range<usize>| {
            let mut own = KeyInterner::new(&hasher);
            let labels = |at: usize| Labels::from_sorted([("l", names[group_of[at]])]);
            let numbers: Vec<u32> = range.clone().map(|at| own.of_labels(labels(at))).collect();
            let (members, starts) = by_group(range.start as u32, &numbers, own.keys.labels.len());
            let (labels, hashes) = (own.keys.labels, own.keys.hashes);
            Chunk { labels, hashes, members, starts, _charge: Charge::none(&budget) }
        };
        let whole = united(vec![chunk(0..10)], 10);
        assert_eq!((&whole.1, &whole.2), (&vec![0, 2, 5, 1, 7, 3, 4, 9, 6, 8], &vec![0, 3, 5, 8, 10]));
        for cut in 1..9 {
            assert_eq!(united(vec![chunk(0..cut), chunk(cut..9), chunk(9..10)], 10), whole);
        }
    }
}
