//! Label sets numbered in the order in which they first occur.

use super::exec::Exec;
use crate::budget::{BYTES_AT_ONCE, Charge};
use crate::query_error::QueryError;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use model::labels::Labels;
use std::hash::BuildHasher;

/// Distinct label sets, each with the hash that it came with. What they hold is the account of whoever has them.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    numbers: HashTable<u32>,
    pub(crate) labels: Vec<Labels>,
    /// Of the labels, all by one hasher.
    pub(crate) hashes: Vec<u64>,
}

impl Interner {
    /// The number of a label set, and whether it is new.
    pub(crate) fn number(&mut self, labels: Labels, hash: u64) -> (u32, bool) {
        let Self { numbers, labels: known, hashes } = self;
        let is_it = |number: &u32| known.get(*number as usize) == Some(&labels);
        match numbers.entry(hash, is_it, |number| hashes.get(*number as usize).copied().unwrap_or(0)) {
            Entry::Occupied(found) => (*found.get(), false),
            Entry::Vacant(free) => {
                let number = known.len() as u32;
                free.insert(number);
                known.push(labels);
                hashes.push(hash);
                (number, true)
            }
        }
    }

    /// The number of a label set, if it is known.
    fn find(&self, labels: &Labels, hash: u64) -> Option<u32> {
        self.numbers.find(hash, |number| self.labels.get(*number as usize) == Some(labels)).copied()
    }

    /// Memory, about.
    pub(crate) fn bytes(&self) -> usize {
        interned_bytes(&self.labels)
    }
}

/// Memory of distinct label sets, about: texts, references and what finds them.
pub(crate) fn interned_bytes(labels: &[Labels]) -> usize {
    labels.iter().map(|labels| labels.packed_len() + 4 * size_of::<Labels>()).sum()
}

/// Distinct label sets, charged to the query as they come.
pub(crate) struct NumberedLabels<'q> {
    known: Interner,
    hasher: foldhash::fast::RandomState,
    /// Bytes that whoever numbers them holds for each.
    beside: usize,
    owed: usize,
    charge: Charge<'q>,
}

impl<'q> NumberedLabels<'q> {
    /// None yet; `beside` are the bytes that the caller holds for each.
    pub(crate) fn new(beside: usize, exec: &Exec<'q>) -> Self {
        Self {
            known: Interner::default(),
            hasher: foldhash::fast::RandomState::default(),
            beside: beside + PLACE_BYTES,
            owed: 0,
            charge: Charge::none(exec.budget),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.known.labels.len()
    }

    /// The label sets by their numbers.
    pub(crate) fn labels(&self) -> &[Labels] {
        &self.known.labels
    }

    /// The same, when numbers are no longer asked for; they are charged to whoever takes them.
    pub(crate) fn into_labels(self) -> Vec<Labels> {
        self.known.labels
    }

    /// The number of a label set that may be new.
    ///
    /// # Errors
    /// The query may hold no more.
    pub(crate) fn number(&mut self, labels: Labels) -> Result<usize, QueryError> {
        let bytes = labels.held_bytes() + self.beside;
        let hash = self.hasher.hash_one(&labels);
        let (number, is_new) = self.known.number(labels, hash);
        if is_new {
            self.owed += bytes;
        }
        if self.owed >= BYTES_AT_ONCE {
            self.charge_rest()?;
        }
        Ok(number as usize)
    }

    /// Charges what came since it was last charged; for when no more come and those that came are kept.
    ///
    /// # Errors
    /// The query may hold no more.
    pub(crate) fn charge_rest(&mut self) -> Result<(), QueryError> {
        self.charge.add(0, std::mem::take(&mut self.owed))
    }

    /// The number of a label set, if it is known.
    pub(crate) fn find(&self, labels: &Labels) -> Option<usize> {
        self.known.find(labels, self.hasher.hash_one(labels)).map(|number| number as usize)
    }
}

/// Bytes of a hash and of a place in the table, a third of which are empty, about.
const PLACE_BYTES: usize = 16;
