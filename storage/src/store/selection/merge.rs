//! Puts parts of one series together.

use crate::tombstone::DeletedSpans;
use model::sample::SampleColumns;

/// Puts parts of a series together: one behind the other as long as they are in order.
#[derive(Debug)]
pub(crate) struct Merge {
    ordered: bool,
    parts: usize,
    /// All samples so far, once two parts overlap: time, number of the part, value.
    overlapping: Vec<(i64, usize, f64)>,
}

impl Default for Merge {
    fn default() -> Self {
        Self { ordered: true, parts: 0, overlapping: Vec::new() }
    }
}

impl Merge {
    /// Takes what `part` has.
    pub(crate) fn add(&mut self, part: &mut SampleColumns, into: &mut SampleColumns) {
        let number = self.parts;
        self.parts += 1;
        let (Some(first), Some(_)) = (part.timestamps_ms.first(), part.values.first()) else { return };
        if self.ordered && into.timestamps_ms.last().is_none_or(|last| last < first) {
            if into.is_empty() {
                std::mem::swap(part, into);
            } else {
                into.timestamps_ms.extend_from_slice(&part.timestamps_ms);
                into.values.extend_from_slice(&part.values);
            }
            part.clear();
            return;
        }
        if self.ordered {
            self.ordered = false;
            let so_far = into.timestamps_ms.drain(..).zip(into.values.drain(..));
            self.overlapping.extend(so_far.map(|(timestamp_ms, value)| (timestamp_ms, 0, value)));
        }
        let more = part.timestamps_ms.drain(..).zip(part.values.drain(..));
        self.overlapping.extend(more.map(|(timestamp_ms, value)| (timestamp_ms, number, value)));
    }

    /// Leaves everything in `into`; returns whether the parts were in order.
    pub(crate) fn finish(mut self, into: &mut SampleColumns) -> bool {
        if !self.ordered {
            self.overlapping.sort_by_key(|(timestamp_ms, part, _)| (*timestamp_ms, *part));
            self.overlapping.dedup_by_key(|(timestamp_ms, _, _)| *timestamp_ms);
            self.overlapping.iter().for_each(|(timestamp_ms, _, value)| into.push(*timestamp_ms, *value));
        }
        self.ordered
    }
}

/// Names a list of timestamps by those of its parts.
#[derive(Debug, Default)]
pub(crate) struct Token {
    /// `None` in the end when a part has no name.
    parts: u64,
    hash: u64,
    nameless: bool,
}

impl Token {
    pub(crate) fn add(&mut self, source: u64, part: Option<u64>, empty: bool) {
        if empty {
            return;
        }
        // Tokens of blocks are equal across blocks; those of the head are another kind.
        let kind = u64::from(source == 0);
        match part {
            Some(token) => self.hash = xxhash_rust::xxh3::xxh3_64_with_seed(&token.to_le_bytes(), self.hash ^ kind),
            None => self.nameless = true,
        }
        self.parts += 1;
    }

    pub(crate) fn finish(&self) -> Option<u64> {
        (!self.nameless && self.parts > 0).then_some(self.hash)
    }
}

/// Leaves hidden samples out; returns whether there were none.
pub(crate) fn remove_hidden(hidden: &DeletedSpans, columns: &mut SampleColumns) -> bool {
    let keep: Vec<bool> = columns.timestamps_ms.iter().map(|timestamp_ms| !hidden.contains(*timestamp_ms)).collect();
    if keep.iter().all(|keep| *keep) {
        return true;
    }
    let mut kept = keep.iter();
    columns.timestamps_ms.retain(|_| kept.next() == Some(&true));
    let mut kept = keep.iter();
    columns.values.retain(|_| kept.next() == Some(&true));
    false
}
