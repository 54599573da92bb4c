//! The label index of a shard: which label pairs there are, which series have them, and the pairs of each series.
//!
//! A label set is stored as the numbers of its pairs. Each pair has postings, each name the set of series that have it at all
//! (so "absent" needs no search) and its values in order. Queries read what a shard's lock protects, series are added one at
//! a time; how they leave is in `removal.rs`.

mod arena;
mod cardinality;
mod listing;
mod matching;
mod names;
mod postings;
mod removal;
mod restore;

pub(crate) use arena::Address;
pub(crate) use listing::Among;
pub(crate) use restore::IndexExtent;

use crate::head::varint;
use arena::{ArenaFull, ByteArena, Text, TextArena};
use hashbrown::HashTable;
use model::labels::METRIC_NAME;
use model::matcher::{MatchOp, Matcher};
use names::Name;
use postings::Postings;
use removal::Removal;
use roaring::RoaringBitmap;
use smallvec::SmallVec;
use std::hash::BuildHasher;
use std::ops::RangeInclusive;

/// The name whose value names the metric's target, with [`INSTANCE`] the group that shares a timeline.
const JOB: &str = "job";
const INSTANCE: &str = "instance";
/// Of so many series it matters how many another value leaves, and finding out takes a few microseconds at most.
const WORTH_A_LOOK: RangeInclusive<u32> = 16..=4096;
/// No pair.
const NO_PAIR: u32 = u32::MAX;
/// No name: of a number that is free.
const NO_NAME: u32 = u32::MAX;

/// One (name, value) pair.
#[derive(Debug, Clone, Copy)]
struct Pair {
    name: u32,
    value: Text,
    /// How many series have it.
    series: u32,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(crate) struct LabelIndex {
    text: TextArena,
    names: Vec<Name>,
    name_table: HashTable<u32>,
    /// Numbers of names that nothing has.
    free_names: Vec<u32>,
    pairs: Vec<Pair>,
    pair_numbers: HashTable<u32>,
    /// Numbers of pairs that nothing has.
    free_pairs: Vec<u32>,
    postings: Vec<Postings>,
    sets: ByteArena,
    all: Postings,
    series: u32,
    removal: Removal,
    hasher: foldhash::fast::RandomState,
}

/// Where a new series' labels are and which group it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) labels: Address,
    /// Its `job` and `instance` pairs.
    pub(crate) group: (u32, u32),
}

/// What of the index takes how many bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct IndexBytes {
    pub(crate) label_sets: usize,
    pub(crate) pairs: usize,
    pub(crate) postings: usize,
}

impl LabelIndex {
    /// Adds a series, whose slot is not in the index yet. Names ascend, values are not empty.
    pub(crate) fn add(&mut self, slot: u32, labels: &[(&str, &str)]) -> Result<Added, ArenaFull> {
        let mut set = Vec::with_capacity(4 * labels.len() + 2);
        let mut group = (NO_PAIR, NO_PAIR);
        varint::push(&mut set, labels.len() as u64);
        for (name, value) in labels {
            let pair = self.intern(name, value)?;
            varint::push(&mut set, u64::from(pair));
            match *name {
                JOB => group.0 = pair,
                INSTANCE => group.1 = pair,
                _ => {}
            }
        }
        let labels = self.sets.push(&set)?;
        for pair in pairs_of(&set) {
            self.post(pair, slot);
        }
        self.all.insert(slot, self.series);
        self.series += 1;
        Ok(Added { labels, group })
    }

    fn post(&mut self, pair: u32, slot: u32) {
        let known = &mut self.pairs[pair as usize];
        self.postings[pair as usize].insert(slot, known.series);
        known.series += 1;
        let name = &mut self.names[known.name as usize];
        name.present.insert(slot, name.series);
        name.series += 1;
        name.value_bytes += u64::from(known.value.len);
    }

    /// The number of a pair, given out when it is new.
    fn intern(&mut self, name: &str, value: &str) -> Result<u32, ArenaFull> {
        let name = self.intern_name(name)?;
        self.intern_value(name, value)
    }

    fn intern_value(&mut self, name: u32, value: &str) -> Result<u32, ArenaFull> {
        let hash = self.hash_of_value(name, value);
        let (pairs, text) = (&self.pairs, &self.text);
        let same = |&pair: &u32| {
            let known = &pairs[pair as usize];
            known.name == name && text.get(known.value) == value
        };
        if let Some(&pair) = self.pair_numbers.find(hash, same) {
            return Ok(pair);
        }
        let stored = self.text.push(value)?;
        Ok(self.add_pair(hash, name, stored))
    }

    fn add_pair(&mut self, hash: u64, name: u32, value: Text) -> u32 {
        let pair = Pair { name, value, series: 0 };
        let number = match self.free_pairs.pop() {
            Some(number) => {
                self.pairs[number as usize] = pair;
                number
            }
            None => {
                self.pairs.push(pair);
                self.postings.push(Postings::default());
                (self.pairs.len() - 1) as u32
            }
        };
        let (pairs, text, hasher) = (&self.pairs, &self.text, &self.hasher);
        self.pair_numbers.insert_unique(hash, number, |&pair| {
            let known = &pairs[pair as usize];
            hasher.hash_one((known.name, text.get(known.value)))
        });
        self.names[name as usize].add_value(number, |pair| text.get(pairs[pair as usize].value));
        number
    }

    fn intern_name(&mut self, name: &str) -> Result<u32, ArenaFull> {
        if let Some(number) = self.name_number(name) {
            return Ok(number);
        }
        let made = Name::new(self.text.push(name)?);
        let number = match self.free_names.pop() {
            Some(number) => {
                self.names[number as usize] = made;
                number
            }
            None => {
                self.names.push(made);
                (self.names.len() - 1) as u32
            }
        };
        let (names, text, hasher) = (&self.names, &self.text, &self.hasher);
        self.name_table.insert_unique(hasher.hash_one(name), number, |&number| {
            hasher.hash_one(text.get(names[number as usize].text))
        });
        Ok(number)
    }

    fn name_number(&self, name: &str) -> Option<u32> {
        let same = |&number: &u32| self.text.get(self.names[number as usize].text) == name;
        self.name_table.find(self.hash_of_name(name), same).copied()
    }

    fn pair_number(&self, name: u32, value: &str) -> Option<u32> {
        let same = |&pair: &u32| {
            let known = &self.pairs[pair as usize];
            known.name == name && self.text.get(known.value) == value
        };
        self.pair_numbers.find(self.hash_of_value(name, value), same).copied()
    }

    fn hash_of_name(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }

    fn hash_of_value(&self, name: u32, value: &str) -> u64 {
        self.hasher.hash_one((name, value))
    }

    fn value(&self, pair: u32) -> &str {
        self.text.get(self.pairs[pair as usize].value)
    }

    fn name_text(&self, name: u32) -> &str {
        self.text.get(self.names[name as usize].text)
    }

    /// The labels of a set in ascending order of names.
    pub(crate) fn labels(&self, labels: Address) -> impl Iterator<Item = (&str, &str)> {
        pairs_of(self.sets.from(labels)).map(|pair| {
            let pair = &self.pairs[pair as usize];
            (self.name_text(pair.name), self.text.get(pair.value))
        })
    }

    /// The labels of a set whose names are among `names`.
    pub(crate) fn labels_among(&self, labels: Address, names: &[&str]) -> impl Iterator<Item = (&str, &str)> {
        self.pairs_among(labels, names).map(|pair| {
            let pair = &self.pairs[pair as usize];
            (self.name_text(pair.name), self.text.get(pair.value))
        })
    }

    /// The numbers of some names; `None` for those that no series has.
    pub(crate) fn name_numbers(&self, names: &[&str]) -> SmallVec<[Option<u32>; 8]> {
        names.iter().map(|name| self.name_number(name)).collect()
    }

    /// Appends for each of `names` the number of the pair of a set that has the name, or [`NO_PAIR`].
    pub(crate) fn push_pairs(&self, labels: Address, names: &[Option<u32>], into: &mut Vec<u32>) {
        let start = into.len();
        into.resize(start + names.len(), NO_PAIR);
        let mut missing = names.iter().flatten().count();
        let mut pairs = pairs_of(self.sets.from(labels));
        while let (1.., Some(pair)) = (missing, pairs.next()) {
            let name = self.pairs[pair as usize].name;
            if let Some(at) = names.iter().position(|wanted| *wanted == Some(name)) {
                into[start + at] = pair;
                missing -= 1;
            }
        }
    }

    /// The numbers of the pairs of a set whose names are among `names`, in ascending order of names.
    fn pairs_among(&self, labels: Address, names: &[&str]) -> impl Iterator<Item = u32> {
        let wanted: SmallVec<[u32; 8]> = names.iter().filter_map(|name| self.name_number(name)).collect();
        pairs_of(self.sets.from(labels)).filter(move |pair| wanted.contains(&self.pairs[*pair as usize].name))
    }

    /// No more series than this satisfy the matchers: the fewest that any one value asked for has, or that have the two rarest.
    pub(crate) fn series_bound(&self, matchers: &[Matcher]) -> usize {
        let mut asked = SmallVec::<[u32; 8]>::new();
        for matcher in matchers.iter().filter(|matcher| matcher.op() == MatchOp::Equal && !matcher.value().is_empty()) {
            match self.name_number(matcher.name()).and_then(|name| self.pair_number(name, matcher.value())) {
                Some(pair) => asked.push(pair),
                None => return 0,
            }
        }
        let series = |pair: u32| self.pairs[pair as usize].series;
        asked.sort_unstable_by_key(|pair| series(*pair));
        match *asked {
            [] => self.series as usize,
            [rarest, next, ..] if WORTH_A_LOOK.contains(&series(rarest)) => {
                self.postings[rarest as usize].common(&self.postings[next as usize]) as usize
            }
            [rarest, ..] => series(rarest) as usize,
        }
    }

    /// How many names there are, or values of a label.
    pub(crate) fn listing_bound(&self, label: Option<&str>) -> usize {
        match label {
            None => self.names.len(),
            Some(name) => self.name_number(name).map_or(0, |name| self.names[name as usize].value_count()),
        }
    }

    /// The numbers of the names of a set.
    pub(crate) fn name_numbers_of(&self, labels: Address) -> impl Iterator<Item = u32> {
        pairs_of(self.sets.from(labels)).map(|pair| self.pairs[pair as usize].name)
    }

    /// The values of a label that series have, in no order.
    pub(crate) fn values_in_use(&self, name: &str) -> impl Iterator<Item = &str> {
        let name = self.name_number(name).map(|name| &self.names[name as usize]);
        let pairs = name.into_iter().flat_map(Name::pairs);
        pairs.filter(|pair| self.pairs[*pair as usize].series > 0).map(|pair| self.value(pair))
    }

    /// The series of a metric, or those without a metric name.
    pub(crate) fn with_metric(&self, metric: Option<&str>) -> RoaringBitmap {
        let name = self.name_number(METRIC_NAME);
        match (name, metric) {
            (None, None) => self.all.to_bitmap(),
            (None, Some(_)) => RoaringBitmap::new(),
            (Some(name), None) => {
                let mut series = self.all.to_bitmap();
                self.names[name as usize].present.subtract_from(&mut series);
                series
            }
            (Some(name), Some(metric)) => {
                let pair = self.pair_number(name, metric);
                pair.map(|pair| self.postings[pair as usize].to_bitmap()).unwrap_or_default()
            }
        }
    }

    /// Whether any series has the label.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.name_number(name).is_some()
    }

    /// Distinct pairs.
    pub(crate) fn pair_count(&self) -> usize {
        self.pairs.len() - self.free_pairs.len()
    }

    /// Bytes of memory by part.
    pub(crate) fn bytes(&self) -> IndexBytes {
        let postings: usize = self.postings.iter().map(Postings::bytes).sum();
        let names: usize = self.names.iter().map(Name::bytes).sum();
        IndexBytes {
            label_sets: self.sets.bytes(),
            pairs: self.text.bytes()
                + self.pairs.capacity() * size_of::<Pair>()
                + (self.free_pairs.capacity() + self.free_names.capacity()) * size_of::<u32>()
                + (self.pair_numbers.capacity() + self.name_table.capacity()) * 8 / 7 * 5,
            postings: postings + names + self.postings.capacity() * size_of::<Postings>(),
        }
    }
}

/// The pair numbers of a stored label set.
fn pairs_of(mut set: &[u8]) -> impl Iterator<Item = u32> {
    let count = varint::take_u32(&mut set).unwrap_or(0);
    (0..count).map_while(move |_| varint::take_u32(&mut set))
}
