//! What a series has at a timestamp that it may have already: the question that every late sample asks.

use super::chunk_link::ChunkLink;
use super::frame::FrameKind;
use super::shard::Shard;
use super::slot::{NONE, Slot};
use crate::chunk::bits::push_tail;
use crate::chunk::decode::Times;
use crate::chunk::{segment, window_of};

impl Shard {
    /// The value that a series has at a timestamp older than its newest.
    pub(super) fn stored_before(&mut self, number: u32, timestamp_ms: i64) -> Option<u64> {
        let slot = *self.slots.get(number as usize);
        if timestamp_ms < slot.earliest_ms() {
            return None;
        }
        if let Some(late) = self.late.get(&number) {
            if let Ok(bits) = late.find(timestamp_ms) {
                return Some(bits);
            }
            let chunks: Vec<_> = late.chunks_within(timestamp_ms, timestamp_ms).map(|chunk| chunk.link).collect();
            for link in chunks {
                if let Some(bits) = self.value_in_chunk(link, timestamp_ms) {
                    return Some(bits);
                }
            }
        }
        self.value_in_open_chunk(&slot, timestamp_ms).or_else(|| self.value_in_order(number, &slot, timestamp_ms))
    }

    fn value_in_open_chunk(&mut self, slot: &Slot, timestamp_ms: i64) -> Option<u64> {
        if slot.count == 0 || window_of(timestamp_ms) != window_of(slot.last_ms) {
            return None;
        }
        let scratch = &mut self.late_scratch;
        scratch.link = ChunkLink::NONE;
        self.stream.clear();
        self.cells.copy_to(&slot.chain(), &mut self.stream);
        push_tail(&mut self.stream, slot.tail());
        let count = usize::from(slot.count);
        let decoded = if slot.segment == NONE {
            scratch.decoded.decode(&self.stream, count, Times::Own)
        } else {
            let times = self.timelines.segment(slot.segment).times();
            scratch.decoded.decode(&self.stream, count, Times::Shared(times.as_slice()))
        };
        decoded.expect("an open chunk is as it was encoded");
        scratch.decoded.value_at(timestamp_ms)
    }

    /// Follows the chain of chunks back to the one that may hold the timestamp.
    fn value_in_order(&mut self, number: u32, slot: &Slot, timestamp_ms: i64) -> Option<u64> {
        let known_first = self.late.get(&number).and_then(|late| late.in_order_first_ms);
        if known_first.is_some_and(|first_ms| timestamp_ms < first_ms) {
            return None;
        }
        let (mut link, mut first_ms) = (slot.link, None);
        while !link.is_none() {
            let Ok(frame) = self.files.frame(link) else { break };
            if timestamp_ms > frame.last_ms {
                return None;
            }
            if timestamp_ms >= frame.first_ms {
                return self.value_in_chunk(link, timestamp_ms);
            }
            (link, first_ms) = (frame.previous, Some(frame.first_ms));
        }
        if let Some(first_ms) = first_ms {
            self.late.entry(number).or_default().in_order_first_ms = Some(first_ms);
        }
        None
    }

    /// An unreadable chunk holds nothing: the sample is stored, and readers hear of the damage.
    pub(super) fn value_in_chunk(&mut self, link: ChunkLink, timestamp_ms: i64) -> Option<u64> {
        let scratch = &mut self.late_scratch;
        if scratch.link != link {
            scratch.link = ChunkLink::NONE;
            let frame = self.files.frame(link).ok()?;
            let count = usize::from(frame.count);
            if frame.kind == FrameKind::Shared {
                let rows = self.files.frame(frame.segment).ok()?;
                let mut times = segment::SegmentTimes::default();
                times.unpack(rows.first_ms, rows.payload).ok()?;
                scratch.decoded.decode(frame.payload, count, Times::Shared(times.as_slice())).ok()?;
            } else {
                scratch.decoded.decode(frame.payload, count, Times::Own).ok()?;
            }
            scratch.link = link;
        }
        scratch.decoded.value_at(timestamp_ms)
    }
}
