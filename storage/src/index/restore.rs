//! Takes the index apart for a snapshot and puts it together again.
//!
//! Names, pairs and label sets are stored in the order of their numbers; all that helps to find them is built anew.

use super::arena::ByteArena;
use super::postings::Postings;
use super::{Address, LabelIndex, NO_NAME, pairs_of};
use crate::head::varint;
use roaring::RoaringBitmap;

/// How much of the append-only index belongs to a point in time.
#[derive(Debug, Clone)]
pub(crate) struct IndexExtent {
    pub(crate) names: usize,
    pub(crate) pairs: usize,
    /// Bytes of each page of label sets.
    pub(crate) set_pages: Vec<usize>,
}

impl LabelIndex {
    pub(crate) fn extent(&self) -> IndexExtent {
        let set_pages = self.sets.pages().iter().map(Vec::len).collect();
        IndexExtent { names: self.names.len(), pairs: self.pairs.len(), set_pages }
    }

    pub(crate) fn name_at(&self, number: u32) -> &str {
        self.name_text(number)
    }

    pub(crate) fn pair_at(&self, number: u32) -> (u32, &str) {
        (self.pairs[number as usize].name, self.value(number))
    }

    pub(crate) fn set_page(&self, page: usize) -> &[u8] {
        &self.sets.pages()[page]
    }

    /// Whether a pair has a number and no series, so that nobody misses it.
    pub(crate) fn is_unused(&self, pair: u32) -> bool {
        self.pairs[pair as usize].series == 0
    }

    /// Leaves the next number of a name free.
    pub(crate) fn restore_free_name(&mut self) {
        self.names.push(super::Name::new(super::Text::EMPTY));
    }

    /// Leaves the next number of a pair free.
    pub(crate) fn restore_free_pair(&mut self) {
        self.pairs.push(super::Pair { name: NO_NAME, value: super::Text::EMPTY, series: 0 });
        self.postings.push(Postings::default());
    }

    /// Adds the next name; returns its number, that of an earlier one if it repeats it.
    pub(crate) fn restore_name(&mut self, name: &str) -> Option<u32> {
        self.intern_name(name).ok()
    }

    /// Adds the next pair; returns its number, that of an earlier one if it repeats it.
    pub(crate) fn restore_pair(&mut self, name: u32, value: &str) -> Option<u32> {
        if self.names.get(name as usize).is_none_or(|name| name.text.len == 0) {
            return None;
        }
        self.intern_value(name, value).ok()
    }

    pub(crate) fn restore_sets(&mut self, pages: Vec<Vec<u8>>) {
        self.sets = ByteArena::restore(pages);
        let free = (0u32..).zip(&self.pairs).filter(|(_, pair)| pair.name == NO_NAME);
        self.free_pairs = free.map(|(number, _)| number).collect();
        let free = (0u32..).zip(&self.names).filter(|(_, name)| name.text.len == 0);
        self.free_names = free.map(|(number, _)| number).collect();
    }

    /// Whether a whole label set of known pairs, in ascending order of names, lies at an address.
    pub(crate) fn is_whole(&self, labels: Address) -> bool {
        let mut set = self.sets.from(labels);
        let Some(count) = varint::take_u32(&mut set) else { return false };
        let mut before: Option<&str> = None;
        for _ in 0..count {
            let pair = varint::take_u32(&mut set).and_then(|pair| self.pairs.get(pair as usize));
            let Some(pair) = pair.filter(|pair| pair.name != NO_NAME) else { return false };
            let name = self.name_text(pair.name);
            if before.is_some_and(|before| before >= name) {
                return false;
            }
            before = Some(name);
        }
        true
    }

    /// Builds all postings from the label sets of all series, which come in ascending order of slots.
    pub(crate) fn restore_postings(&mut self, series: impl Iterator<Item = (u32, Address)> + Clone) {
        for (_, labels) in series.clone() {
            for pair in pairs_of(self.sets.from(labels)) {
                self.pairs[pair as usize].series += 1;
            }
        }
        let mut end = 0usize;
        let mut ends: Vec<usize> = Vec::with_capacity(self.pairs.len());
        for pair in &self.pairs {
            ends.push(end);
            end += pair.series as usize;
        }
        let mut slots = vec![0u32; end];
        for (slot, labels) in series.clone() {
            for pair in pairs_of(self.sets.from(labels)) {
                let at = &mut ends[pair as usize];
                slots[*at] = slot;
                *at += 1;
            }
        }
        let mut start = 0;
        for (postings, &end) in self.postings.iter_mut().zip(&ends) {
            *postings = Postings::from_ascending(&slots[start..end]);
            start = end;
        }
        self.restore_presence(&slots, &ends);
        self.all = Postings::from_bitmap(series.map(|(slot, _)| slot).collect());
        self.series = self.all.len() as u32;
    }

    /// The series of each name: those of all its pairs.
    fn restore_presence(&mut self, slots: &[u32], ends: &[usize]) {
        let mut bits = vec![0u8; slots.iter().max().map_or(0, |newest| *newest as usize / 8 + 1)];
        for name in &mut self.names {
            bits.fill(0);
            let mut value_bytes = 0;
            for pair in name.pairs() {
                let end = ends[pair as usize];
                let known = &self.pairs[pair as usize];
                let start = end - known.series as usize;
                value_bytes += u64::from(known.series) * u64::from(known.value.len);
                slots[start..end].iter().for_each(|slot| bits[*slot as usize / 8] |= 1 << (slot % 8));
            }
            let present = RoaringBitmap::from_lsb0_bytes(0, &bits);
            name.series = present.len() as u32;
            name.value_bytes = value_bytes;
            name.present = Postings::from_bitmap(present);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a restart of a shard whose series had all left.
    #[test]
    fn a_free_name_has_no_text_even_when_nothing_has_any() {
        let mut index = LabelIndex::default();
        index.restore_free_name();
        assert_eq!(index.name_at(0), "");
    }
}
