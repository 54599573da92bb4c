//! Label sets numbered in the order in which they first occur, charged to the query as they come.

use super::exec::Exec;
use crate::budget::{BYTES_AT_ONCE, Charge};
use crate::query_error::QueryError;
use hashbrown::HashTable;
use model::labels::Labels;
use std::hash::BuildHasher;

/// Distinct label sets.
pub(crate) struct NumberedLabels<'q> {
    labels: Vec<Labels>,
    places: HashTable<u32>,
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
            labels: Vec::new(),
            places: HashTable::new(),
            hasher: foldhash::fast::RandomState::default(),
            beside: beside + PLACE_BYTES,
            owed: 0,
            charge: Charge::none(exec.budget),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// The label sets by their numbers.
    pub(crate) fn labels(&self) -> &[Labels] {
        &self.labels
    }

    /// The same, when numbers are no longer asked for; they are charged to whoever takes them.
    pub(crate) fn into_labels(self) -> Vec<Labels> {
        self.labels
    }

    /// The number of a label set that may be new.
    ///
    /// # Errors
    /// The query may hold no more.
    pub(crate) fn number(&mut self, labels: Labels) -> Result<usize, QueryError> {
        let Self { labels: known, places, hasher, .. } = self;
        let hash = hasher.hash_one(&labels);
        if let Some(place) = places.find(hash, |place| known[*place as usize] == labels) {
            return Ok(*place as usize);
        }
        let number = known.len();
        places.insert_unique(hash, number as u32, |place| hasher.hash_one(&known[*place as usize]));
        self.owed += labels.held_bytes() + self.beside;
        known.push(labels);
        if self.owed >= BYTES_AT_ONCE {
            self.charge_rest()?;
        }
        Ok(number)
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
        let place = self.places.find(self.hasher.hash_one(labels), |place| self.labels[*place as usize] == *labels);
        place.map(|place| *place as usize)
    }
}

/// Bytes of a place in the table, a third of which are empty, about.
const PLACE_BYTES: usize = 8;
