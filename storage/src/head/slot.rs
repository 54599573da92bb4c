//! Slots: what the head keeps of each series besides its labels' text and its samples' bits, in one cache line.

use super::cells::{Chain, NO_CELL};
use super::chunk_link::ChunkLink;
use crate::chunk::WINDOW_MS;
use crate::chunk::bits::Tail;
use crate::chunk::value::ValueState;

/// 64 KiB of slots.
pub(crate) const SLOTS_PAGE: usize = 1024;

/// No timeline, no segment.
pub(crate) const NONE: u32 = u32::MAX;

/// One series.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Slot {
    /// Newest timestamp; meaningless while the series has no sample.
    pub(crate) last_ms: i64,
    /// Newest value.
    pub(crate) last_bits: u64,
    /// Newest chunk in the chunk files.
    pub(crate) link: ChunkLink,
    /// Where the label set starts.
    pub(crate) labels: u32,
    /// The timeline of its group, or [`NONE`].
    pub(crate) timeline: u32,
    /// The timeline's segment that the open chunk refers to; [`NONE`] when the chunk has its own timestamps.
    pub(crate) segment: u32,
    /// In a chunk with its own timestamps: the distance of the last two. On a timeline: the chunk's first row.
    pub(crate) aside: u32,
    chain_head: u32,
    chain_tail: u32,
    tail_word: u32,
    /// State of the value codec.
    pub(crate) values: ValueState,
    /// Samples in the open chunk; 0 when there is none.
    pub(crate) count: u8,
    /// Rows of the segment that the open chunk covers, gaps included.
    pub(crate) rows: u8,
    tail_len: u8,
    chain_tail_words: u8,
    /// See the constants.
    pub(crate) flags: u8,
    /// Window of the earliest sample, counted from the epoch, clamped to 24 bits: no sample is older.
    first_window: [u8; 3],
}

const _: () = assert!(size_of::<Slot>() == 64);

impl Slot {
    /// The slot is a series.
    pub(crate) const LIVE: u8 = 1;
    /// The series has a sample.
    pub(crate) const HAS_SAMPLE: u8 = 2;
    /// The series has out-of-order samples, kept aside.
    pub(crate) const HAS_OUT_OF_ORDER: u8 = 4;
    /// The series never shares a timeline again: it fits none.
    pub(crate) const LONER: u8 = 8;

    /// The series has native histograms, kept aside.
    pub(crate) const HAS_HISTOGRAMS: u8 = 16;

    /// Some sample of the series has a start timestamp.
    pub(crate) const HAS_STARTS: u8 = 32;

    /// The series is about to leave the head, unless somebody looks it up. Of no meaning in a snapshot.
    pub(crate) const DOOMED: u8 = 64;

    /// The series has samples that are older than the append floor, kept aside.
    pub(crate) const HAS_BELOW: u8 = 128;

    /// A series without a sample.
    pub(crate) fn new(labels: u32, timeline: u32) -> Self {
        Self { labels, timeline, flags: Self::LIVE, ..Self::default() }
    }

    /// Whether any of the flags is set.
    #[inline]
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    #[inline]
    pub(crate) fn chain(&self) -> Chain {
        Chain { head: self.chain_head, tail: self.chain_tail, tail_words: self.chain_tail_words }
    }

    #[inline]
    pub(crate) fn set_chain(&mut self, chain: Chain) {
        (self.chain_head, self.chain_tail, self.chain_tail_words) = (chain.head, chain.tail, chain.tail_words);
    }

    #[inline]
    pub(crate) fn tail(&self) -> Tail {
        Tail { word: self.tail_word, len: self.tail_len }
    }

    #[inline]
    pub(crate) fn set_tail(&mut self, tail: Tail) {
        (self.tail_word, self.tail_len) = (tail.word, tail.len);
    }

    /// Lowers the bound of the earliest sample to `timestamp_ms`.
    pub(crate) fn note_first(&mut self, timestamp_ms: i64) {
        let window = timestamp_ms.div_euclid(WINDOW_MS).clamp(0, 0xff_ffff) as u32;
        if !self.has(Self::HAS_SAMPLE) || window < self.first_window() {
            let [a, b, c, _] = window.to_le_bytes();
            self.first_window = [a, b, c];
        }
    }

    fn first_window(&self) -> u32 {
        let [a, b, c] = self.first_window;
        u32::from_le_bytes([a, b, c, 0])
    }

    /// No sample is older than this.
    pub(crate) fn earliest_ms(&self) -> i64 {
        match self.first_window() {
            0 => i64::MIN,
            window => i64::from(window) * WINDOW_MS,
        }
    }

    /// Whether there may be floats with `after_ms < t <= until_ms`.
    #[inline]
    pub(crate) fn may_overlap(&self, after_ms: i64, until_ms: i64) -> bool {
        self.has(Self::HAS_SAMPLE) && self.last_ms > after_ms && self.earliest_ms() <= until_ms
    }

    /// The slot as it is kept in a snapshot.
    pub(crate) fn to_bytes(self) -> [u8; 64] {
        let mut out = [0; 64];
        out[0..8].copy_from_slice(&self.last_ms.to_le_bytes());
        out[8..16].copy_from_slice(&self.last_bits.to_le_bytes());
        out[16..24].copy_from_slice(&self.link.0.to_le_bytes());
        let words =
            [self.labels, self.timeline, self.segment, self.aside, self.chain_head, self.chain_tail, self.tail_word];
        for (to, word) in out[24..52].chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        out[52..56].copy_from_slice(&self.values.to_bytes());
        let flags = self.flags & !Self::DOOMED;
        out[56..61].copy_from_slice(&[self.count, self.rows, self.tail_len, self.chain_tail_words, flags]);
        out[61..64].copy_from_slice(&self.first_window);
        out
    }

    /// The inverse of [`Slot::to_bytes`]; `None` when no slot has these bytes. What they refer to is for the caller to
    /// check.
    pub(crate) fn from_bytes(bytes: &[u8; 64]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let values = ValueState::from_bytes([bytes[52], bytes[53], bytes[54], bytes[55]])?;
        let [count, rows, tail_len, chain_tail_words, flags] = [bytes[56], bytes[57], bytes[58], bytes[59], bytes[60]];
        let sane = count <= 128 && rows <= 128 && tail_len < 32 && chain_tail_words <= 7;
        sane.then_some(Self {
            last_ms: long(0) as i64,
            last_bits: long(8),
            link: ChunkLink(long(16)),
            labels: word(24),
            timeline: word(28),
            segment: word(32),
            aside: word(36),
            chain_head: word(40),
            chain_tail: word(44),
            tail_word: word(48),
            values,
            count,
            rows,
            tail_len,
            chain_tail_words,
            flags,
            first_window: [bytes[61], bytes[62], bytes[63]],
        })
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            last_ms: 0,
            last_bits: 0,
            link: ChunkLink::NONE,
            labels: 0,
            timeline: NONE,
            segment: NONE,
            aside: 0,
            chain_head: NO_CELL,
            chain_tail: NO_CELL,
            tail_word: 0,
            values: ValueState::default(),
            count: 0,
            rows: 0,
            tail_len: 0,
            chain_tail_words: 0,
            flags: 0,
            first_window: [0; 3],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_sample_is_bounded_from_below() {
        let mut slot = Slot::new(0, NONE);
        for (timestamp, expected) in [
            (1_790_000_000_000, 1_790_000_000_000 / WINDOW_MS * WINDOW_MS),
            (1_780_000_000_000, 1_780_000_000_000 / WINDOW_MS * WINDOW_MS),
            (1_790_000_000_000, 1_780_000_000_000 / WINDOW_MS * WINDOW_MS),
            (-5, i64::MIN),
        ] {
            slot.note_first(timestamp);
            slot.flags |= Slot::HAS_SAMPLE;
            assert_eq!(slot.earliest_ms(), expected);
        }
    }

    #[test]
    fn far_future_samples_are_bounded_too() {
        let mut slot = Slot::new(0, NONE);
        slot.note_first(i64::MAX);
        assert!(slot.earliest_ms() < i64::MAX);
    }
}
