//! Takes series out of the index and gives their memory back, in steps between which others may use it.
//!
//! ```text
//!   remove ──▶ dead: pairs that no series has      found by a new series, they live on
//!   bury   ──▶ buried: no longer found             still listed in the order of their name
//!   unlist ──▶ no longer listed                    one name at a time
//!   free   ──▶ their numbers are used again, the text is garbage
//! ```
//! Garbage of text and label sets is given back by copying what is left, see `arena.rs`.

use super::arena::{Address, ArenaFull, Text};
use super::postings::Postings;
use super::{LabelIndex, NO_NAME, Pair, pairs_of};
use roaring::RoaringBitmap;
use smallvec::SmallVec;
use std::collections::BTreeSet;

/// Pairs on their way out.
#[derive(Debug, Default)]
pub(super) struct Removal {
    /// May have no series any more.
    dead: Vec<u32>,
    /// Taken out of the table.
    buried: RoaringBitmap,
    /// Names of buried pairs that still list them.
    names: BTreeSet<u32>,
    /// Where copying goes on: pairs first, then names.
    copied: Option<usize>,
}

impl LabelIndex {
    /// Takes a series out.
    pub(crate) fn remove(&mut self, slot: u32, labels: Address) {
        let set = self.sets.from(labels);
        let pairs: SmallVec<[u32; 32]> = pairs_of(set).collect();
        let bytes = set_bytes(&pairs);
        self.sets.discard(bytes);
        for pair in pairs {
            self.postings[pair as usize].remove(slot);
            let known = &mut self.pairs[pair as usize];
            known.series -= 1;
            if known.series == 0 {
                self.removal.dead.push(pair);
            }
            let name = &mut self.names[known.name as usize];
            name.present.remove(slot);
            name.series -= 1;
            name.value_bytes -= u64::from(known.value.len);
        }
        self.all.remove(slot);
        self.series -= 1;
    }

    /// Buries some dead pairs; returns whether there are more.
    pub(crate) fn bury(&mut self, count: usize) -> bool {
        for _ in 0..count {
            let Some(pair) = self.removal.dead.pop() else { return false };
            let known = self.pairs[pair as usize];
            if known.series > 0 || known.name == NO_NAME || self.removal.buried.contains(pair) {
                continue;
            }
            let hash = self.hash_of_value(known.name, self.text.get(known.value));
            if let Ok(entry) = self.pair_numbers.find_entry(hash, |other| *other == pair) {
                entry.remove();
            }
            self.removal.buried.insert(pair);
            self.removal.names.insert(known.name);
        }
        true
    }

    /// Takes the buried pairs of one name out of its order; returns whether there are more names.
    pub(crate) fn unlist(&mut self) -> bool {
        let Some(name) = self.removal.names.pop_first() else { return false };
        let buried = &self.removal.buried;
        let held = &mut self.names[name as usize];
        held.retain(|pair| !buried.contains(pair));
        if held.value_count() == 0 {
            let text = held.text;
            let hash = self.hash_of_name(self.text.get(text));
            if let Ok(entry) = self.name_table.find_entry(hash, |other| *other == name) {
                entry.remove();
            }
            self.text.discard(text.len as usize);
            self.names[name as usize] = super::Name::new(Text::EMPTY);
            self.free_names.push(name);
        }
        true
    }

    /// Frees the numbers of some buried pairs, when none is listed any more; returns whether there are more.
    pub(crate) fn free_buried(&mut self, count: usize) -> bool {
        let some: Vec<u32> = self.removal.buried.iter().take(count).collect();
        for &pair in &some {
            self.text.discard(self.pairs[pair as usize].value.len as usize);
            self.pairs[pair as usize] = Pair { name: NO_NAME, value: Text::EMPTY, series: 0 };
            self.postings[pair as usize] = Postings::default();
            self.removal.buried.remove(pair);
            self.free_pairs.push(pair);
        }
        !some.is_empty()
    }

    /// Copies some of the text that is still needed, if much of it is garbage; returns whether there is more to do.
    pub(crate) fn copy_text(&mut self, count: usize) -> bool {
        if self.removal.copied.is_none() {
            if !self.text.wants_copy() {
                return false;
            }
            self.text.begin_copy();
        }
        let start = self.removal.copied.unwrap_or(0);
        let end = start + count;
        for place in start..end {
            let in_pairs = place < self.pairs.len();
            let name = place.wrapping_sub(self.pairs.len());
            let text = match self.pairs.get(place) {
                Some(pair) if pair.name == NO_NAME => continue,
                Some(pair) => pair.value,
                None => match self.names.get(name) {
                    Some(name) if name.text.len == 0 => continue,
                    Some(name) => name.text,
                    None => {
                        self.text.end_copy();
                        self.removal.copied = None;
                        return false;
                    }
                },
            };
            if !self.text.is_old(text.at) {
                continue;
            }
            let copy = self.text.get(text).to_owned();
            let Ok(moved) = self.text.push(&copy) else {
                self.text.cancel_copy();
                self.removal.copied = None;
                return false;
            };
            if in_pairs {
                self.pairs[place].value = moved;
            } else {
                self.names[name].text = moved;
            }
        }
        // Pairs that came meanwhile shift the names, but their own text is new: going through them again costs little.
        self.removal.copied = Some(end);
        true
    }

    /// Whether label sets are worth copying; then [`LabelIndex::copy_set`] is to be called for every series.
    pub(crate) fn begin_copy_sets(&mut self) -> bool {
        let wanted = self.sets.wants_copy();
        if wanted {
            self.sets.begin_copy();
        }
        wanted
    }

    /// The new address of a label set.
    pub(crate) fn copy_set(&mut self, labels: Address) -> Result<Address, ArenaFull> {
        if !self.sets.is_old(labels) {
            return Ok(labels);
        }
        let set = self.sets.from(labels);
        let pairs: SmallVec<[u32; 32]> = pairs_of(set).collect();
        let set = set.get(..set_bytes(&pairs)).unwrap_or_default().to_vec();
        self.sets.push(&set)
    }

    /// Every set was copied.
    pub(crate) fn end_copy_sets(&mut self) {
        self.sets.end_copy();
    }

    /// Not every set could be copied.
    pub(crate) fn cancel_copy_sets(&mut self) {
        self.sets.cancel_copy();
    }
}

/// Bytes of a stored label set.
fn set_bytes(pairs: &[u32]) -> usize {
    let varint = |number: u32| (u32::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize;
    varint(pairs.len() as u32) + pairs.iter().map(|pair| varint(*pair)).sum::<usize>()
}
