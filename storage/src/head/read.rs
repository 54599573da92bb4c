//! Reads the samples of one series.
//!
//! Under the shard's lock only bytes are copied: the slot, the cells of the open chunk, the rows of its segment, buffered
//! out-of-order samples. Everything is decoded after the lock is gone, from the copies and from the mapped chunk files; the
//! exception are chunks so new that they still wait to be written.

use super::Inner;
use super::below::{self, Generations};
use super::cells::NO_CELL;
use super::chunk_files::{ChunkFiles, ChunkReader, Missing};
use super::chunk_link::ChunkLink;
use super::error::HeadError;
use super::frame::{Frame, FrameKind};
use super::shard::Shard;
use super::slot::{NONE, Slot};
use super::views::Sight;
use crate::append::SeriesRef;
use crate::chunk::bits::push_tail;
use crate::chunk::decode::{Decoded, Times};
use crate::chunk::segment::SegmentTimes;
use crate::chunk::{timestamp, window_of};
use crate::select::TimeRange;
use model::sample::{Sample, SampleColumns};
use smallvec::SmallVec;
use std::cell::RefCell;

/// What reading needs per thread, kept so that it allocates nothing.
struct Scratch {
    /// Bits of the open chunk.
    stream: Vec<u8>,
    /// Rows that the open chunk refers to.
    open_times: SegmentTimes,
    decoded: Decoded,
    late: Vec<(i64, u64)>,
    segments: SegmentCache,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        stream: Vec::new(),
        open_times: SegmentTimes::default(),
        decoded: Decoded::default(),
        late: Vec::new(),
        segments: SegmentCache::default(),
    });
}

/// Segments of chunk files decoded lately by this thread: series of one target are often read together.
#[derive(Default)]
struct SegmentCache {
    entries: Vec<(SegmentKey, SegmentTimes)>,
}

type SegmentKey = (u64, usize, ChunkLink);

impl SegmentCache {
    const ENTRIES: usize = 16;

    fn get(&mut self, key: SegmentKey, frame: &Frame<'_>) -> Result<&SegmentTimes, HeadError> {
        let at = (key.2.0 as usize).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as usize) >> (usize::BITS - 4);
        if self.entries.is_empty() {
            self.entries.resize_with(Self::ENTRIES, || ((0, 0, ChunkLink::NONE), SegmentTimes::default()));
        }
        let (held, times) = &mut self.entries[at % Self::ENTRIES];
        if *held != key {
            *held = (0, 0, ChunkLink::NONE);
            times.unpack(frame.first_ms, frame.payload).map_err(|_| bad_chunk(key.2))?;
            *held = key;
        }
        Ok(times)
    }
}

pub(super) fn bad_chunk(link: ChunkLink) -> HeadError {
    HeadError::Corrupt {
        what: "a chunk with a right checksum that cannot be decoded",
        place: format!("chunk file {}", link.file()),
        offset: u64::from(link.offset()),
    }
}

/// The open chunk as it was when the lock was held; its bits and rows are in the scratch.
#[derive(Clone, Copy)]
struct OpenCopy {
    count: usize,
    first_ms: i64,
    /// Number of the timeline and start of its segment, when the chunk has no timestamps of its own.
    timeline: Option<(u32, i64)>,
}

/// Where frames come from: the mapped files, or the shard itself while its newest chunks wait.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Files(&'a ChunkReader),
    Shard(&'a ChunkFiles),
    /// No frame is needed.
    Nowhere,
}

impl<'a> Source<'a> {
    /// The frame under a link; `None` when its file has been removed.
    pub(super) fn frame(self, link: ChunkLink) -> Result<Option<Frame<'a>>, HeadError> {
        let found = match self {
            Self::Files(files) => files.frame(link),
            Self::Shard(files) => files.frame(link),
            Self::Nowhere => return Ok(None),
        };
        match found {
            Ok(frame) => Ok(Some(frame)),
            Err(Missing::Expired) => Ok(None),
            Err(Missing::Corrupt(error)) => Err(error),
        }
    }
}

/// Replaces `into` by the samples of a series in a range; see [`crate::select::Selection::read`].
pub(crate) fn read(
    head: &Inner,
    series: SeriesRef,
    range: TimeRange,
    sight: Sight,
    into: &mut SampleColumns,
) -> Result<Option<u64>, HeadError> {
    let (token, has_below) = read_slot(head, series, range.from(sight.visible.floor_ms), sight.appended, into)?;
    if !has_below {
        return Ok(token);
    }
    let mut late = Vec::new();
    below::read_floats(head, series, range, Generations::of(sight.visible), sight.appended, &mut late)?;
    if late.is_empty() {
        return Ok(token);
    }
    merge_late(&mut late, into);
    Ok(None)
}

/// As [`read`], of the main structures alone and whatever the floor is.
pub(super) fn read_main(
    head: &Inner,
    series: SeriesRef,
    range: TimeRange,
    appended: Option<u64>,
    into: &mut SampleColumns,
) -> Result<Option<u64>, HeadError> {
    Ok(read_slot(head, series, range, appended, into)?.0)
}

/// As [`read_main`]; says, too, whether the series has below-floor samples.
fn read_slot(
    head: &Inner,
    series: SeriesRef,
    range: TimeRange,
    appended: Option<u64>,
    into: &mut SampleColumns,
) -> Result<(Option<u64>, bool), HeadError> {
    into.clear();
    SCRATCH.with_borrow_mut(|scratch| {
        let lock = head.shard_of(series).read();
        let hidden = lock.hidden(series, appended);
        let asked_until_ms = range.until_ms;
        let range = hidden.clip_floats(range);
        let Some(slot) = lock.live(series).copied() else { return Ok((Some(0), false)) };
        let has_below = slot.has(Slot::HAS_BELOW);
        if !slot.may_overlap(range.after_ms, range.until_ms) {
            return Ok((Some(0), has_below));
        }
        let open = copy_open_chunk(&lock, &slot, range, scratch);
        let late = copy_late(&lock, series, &slot, range, scratch);
        let reaches_back = open.is_none_or(|open| open.first_ms > range.after_ms.saturating_add(1));
        let newest = if reaches_back { slot.link } else { ChunkLink::NONE };
        let pieces = Pieces { head: head.id, shard: lock.number, range, newest, open };
        let token = if newest.is_none() && late.is_empty() {
            drop(lock);
            pieces.collect(Source::Nowhere, &late, scratch, into)
        } else if lock.files.waits(newest) || late.iter().any(|link| lock.files.waits(*link)) {
            pieces.collect(Source::Shard(&lock.files), &late, scratch, into)
        } else {
            let files = lock.files.reader();
            drop(lock);
            pieces.collect(Source::Files(&files), &late, scratch, into)
        }?;
        if scratch.late.is_empty() {
            // Two series are cut off alike only if it is at one time.
            let cut_off = range.until_ms < asked_until_ms;
            let token = token.map(|token| if cut_off { mix(token, range.until_ms as u64) } else { token });
            return Ok((token, has_below));
        }
        let unseen = hidden.floats_within(range);
        scratch.late.retain(|(t, _)| unseen.binary_search(t).is_err());
        merge_late(&mut scratch.late, into);
        Ok((None, has_below))
    })
}

/// How many series are warmed at once: as many misses as a core keeps in flight.
pub(crate) const WARM_SERIES: usize = 8;

/// Brings what the open chunks of some series of one shard are made of into the caches; others, and more than
/// [`WARM_SERIES`], are left alone.
pub(crate) fn warm(head: &Inner, series: impl Iterator<Item = SeriesRef>) {
    let mut series = series.take(WARM_SERIES).peekable();
    let Some(first) = series.peek().copied() else { return };
    let number = head.shard_number(first);
    let lock = head.shard_of(first).read();
    let mut heads = [NO_CELL; WARM_SERIES];
    for (head_cell, series) in heads.iter_mut().zip(series.filter(|series| head.shard_number(*series) == number)) {
        *head_cell = lock.live(series).map_or(NO_CELL, |slot| slot.chain().head);
    }
    lock.cells.warm(&mut heads);
}

/// The newest sample of a series with `after_ms < t <= at_ms`.
pub(crate) fn latest(
    head: &Inner,
    series: SeriesRef,
    range: TimeRange,
    sight: Sight,
) -> Result<Option<Sample>, HeadError> {
    let lock = head.shard_of(series).read();
    let Some(slot) = lock.live(series).copied() else { return Ok(None) };
    if slot.has(Slot::HAS_BELOW) {
        drop(lock);
        return latest_of_all(head, series, range, sight);
    }
    let range = lock.hidden(series, sight.appended).clip_floats(range.from(sight.visible.floor_ms));
    if !slot.may_overlap(range.after_ms, range.until_ms) {
        return Ok(None);
    }
    if slot.last_ms <= range.until_ms {
        let newest = Sample { timestamp_ms: slot.last_ms, value: f64::from_bits(slot.last_bits) };
        return Ok(Some(newest));
    }
    let open = if slot.has(Slot::HAS_OUT_OF_ORDER) {
        None
    } else {
        SCRATCH.with_borrow_mut(|scratch| copy_open_chunk(&lock, &slot, range, scratch))
    };
    drop(lock);
    let in_open_chunk = |scratch: &mut Scratch, open| {
        decode_open(open, scratch);
        newest_within(&scratch.decoded, range)
    };
    let found = open.and_then(|open| SCRATCH.with_borrow_mut(|scratch| in_open_chunk(scratch, open)));
    if found.is_some() {
        return Ok(found);
    }
    latest_of_all(head, series, range, sight)
}

fn latest_of_all(head: &Inner, series: SeriesRef, range: TimeRange, sight: Sight) -> Result<Option<Sample>, HeadError> {
    let mut columns = SampleColumns::default();
    read(head, series, range, sight, &mut columns)?;
    let newest = columns.timestamps_ms.last().zip(columns.values.last());
    Ok(newest.map(|(&timestamp_ms, &value)| Sample { timestamp_ms, value }))
}

fn newest_within(decoded: &Decoded, range: TimeRange) -> Option<Sample> {
    let until = decoded.timestamps_ms().partition_point(|t| *t <= range.until_ms);
    let at = until.checked_sub(1)?;
    let timestamp_ms = *decoded.timestamps_ms().get(at)?;
    let value = *decoded.values().get(at)?;
    (timestamp_ms > range.after_ms).then_some(Sample { timestamp_ms, value })
}

/// Copies the open chunk's bits and rows to the scratch, unless it is newer than the range.
fn copy_open_chunk(shard: &Shard, slot: &Slot, range: TimeRange, scratch: &mut Scratch) -> Option<OpenCopy> {
    if slot.count == 0 || window_of(slot.last_ms) > window_of(range.until_ms) {
        return None;
    }
    scratch.stream.clear();
    shard.cells.copy_to(&slot.chain(), &mut scratch.stream);
    push_tail(&mut scratch.stream, slot.tail());
    let count = usize::from(slot.count);
    if slot.segment == NONE {
        let first_ms = timestamp::first_ms(&scratch.stream).expect("a chunk begins with its first timestamp");
        return Some(OpenCopy { count, first_ms, timeline: None });
    }
    let segment = shard.timelines.segment(slot.segment);
    let rows = segment.offsets.get(..usize::from(slot.rows)).unwrap_or_default();
    scratch.open_times.set(segment.base_ms, rows);
    let first_ms = segment.row_ms(slot.aside as usize);
    Some(OpenCopy { count, first_ms, timeline: Some((segment.timeline, segment.base_ms)) })
}

/// Copies buffered out-of-order samples to the scratch; returns the chunks that may hold others.
fn copy_late(
    shard: &Shard,
    series: SeriesRef,
    slot: &Slot,
    range: TimeRange,
    scratch: &mut Scratch,
) -> SmallVec<[ChunkLink; 4]> {
    scratch.late.clear();
    if !slot.has(Slot::HAS_OUT_OF_ORDER) {
        return SmallVec::new();
    }
    let Some(late) = shard.late.get(&shard.slot_number(series)) else { return SmallVec::new() };
    let start = late.buffer.partition_point(|sample| sample.0 <= range.after_ms);
    let end = late.buffer.partition_point(|sample| sample.0 <= range.until_ms);
    scratch.late.extend_from_slice(late.buffer.get(start..end).unwrap_or_default());
    late.chunks_within(range.after_ms.saturating_add(1), range.until_ms).map(|chunk| chunk.link).collect()
}

/// One series between locking and decoding.
struct Pieces {
    head: u64,
    shard: usize,
    range: TimeRange,
    /// The newest chunk in the files that may be needed.
    newest: ChunkLink,
    open: Option<OpenCopy>,
}

impl Pieces {
    /// Decodes everything: chunks in order into `into`, out-of-order chunks into the scratch. The token names the
    /// timestamps that came from timelines alone.
    fn collect(
        &self,
        source: Source<'_>,
        late: &[ChunkLink],
        scratch: &mut Scratch,
        into: &mut SampleColumns,
    ) -> Result<Option<u64>, HeadError> {
        for link in late {
            self.collect_late(source, *link, scratch)?;
        }
        let mut token = Token::new(self.shard);
        let chain = self.chain(source)?;
        let Scratch { decoded, segments, .. } = scratch;
        for (link, frame) in chain.iter().rev() {
            let piece = self.decode_frame(source, *link, frame, decoded, segments)?;
            self.take(piece, decoded, &mut token, into);
        }
        if let Some(open) = self.open {
            decode_open(open, scratch);
            self.take(open.timeline, &scratch.decoded, &mut token, into);
        }
        Ok(token.finish())
    }

    /// The chunks that overlap the range, newest first.
    fn chain<'a>(&self, source: Source<'a>) -> Result<SmallVec<[(ChunkLink, Frame<'a>); 8]>, HeadError> {
        let mut chain = SmallVec::new();
        let mut link = self.newest;
        while !link.is_none() {
            let Some(frame) = source.frame(link)? else { break };
            if frame.last_ms <= self.range.after_ms {
                break;
            }
            if frame.first_ms <= self.range.until_ms {
                chain.push((link, frame));
            }
            link = frame.previous;
        }
        Ok(chain)
    }

    /// Returns the timeline and start of the segment of a shared chunk.
    fn decode_frame(
        &self,
        source: Source<'_>,
        link: ChunkLink,
        frame: &Frame<'_>,
        decoded: &mut Decoded,
        segments: &mut SegmentCache,
    ) -> Result<Option<(u32, i64)>, HeadError> {
        let count = usize::from(frame.count);
        if frame.kind != FrameKind::Shared {
            decoded.decode(frame.payload, count, Times::Own).map_err(|_| bad_chunk(link))?;
            return Ok(None);
        }
        let Some(segment) = source.frame(frame.segment)? else {
            return Err(bad_chunk(frame.segment));
        };
        let times = segments.get((self.head, self.shard, frame.segment), &segment)?;
        let shared = Times::Shared(times.as_slice());
        decoded.decode(frame.payload, count, shared).map_err(|_| bad_chunk(link))?;
        Ok(Some((segment.owner, segment.first_ms)))
    }

    fn collect_late(&self, source: Source<'_>, link: ChunkLink, scratch: &mut Scratch) -> Result<(), HeadError> {
        let Some(frame) = source.frame(link)? else { return Ok(()) };
        let Scratch { decoded, late, segments, .. } = scratch;
        self.decode_frame(source, link, &frame, decoded, segments)?;
        let samples = decoded.timestamps_ms().iter().zip(decoded.values());
        let within = samples.filter(|(t, _)| **t > self.range.after_ms && **t <= self.range.until_ms);
        late.extend(within.map(|(t, value)| (*t, value.to_bits())));
        Ok(())
    }

    /// Appends what of a decoded chunk is in the range.
    fn take(&self, piece: Option<(u32, i64)>, decoded: &Decoded, token: &mut Token, into: &mut SampleColumns) {
        let (timestamps, values) = (decoded.timestamps_ms(), decoded.values());
        let inside = |t: Option<&i64>| t.is_some_and(|t| *t > self.range.after_ms && *t <= self.range.until_ms);
        let (start, end) = if inside(timestamps.first()) && inside(timestamps.last()) {
            (0, timestamps.len())
        } else {
            let start = timestamps.partition_point(|t| *t <= self.range.after_ms);
            (start, timestamps.partition_point(|t| *t <= self.range.until_ms))
        };
        if start < end {
            into.timestamps_ms.extend_from_slice(timestamps.get(start..end).unwrap_or_default());
            into.values.extend_from_slice(values.get(start..end).unwrap_or_default());
            token.add(piece, decoded.rows());
        }
    }
}

fn decode_open(open: OpenCopy, scratch: &mut Scratch) {
    let times = match open.timeline {
        Some(_) => Times::Shared(scratch.open_times.as_slice()),
        None => Times::Own,
    };
    scratch.decoded.decode(&scratch.stream, open.count, times).expect("an open chunk is as it was encoded");
}

/// Merges out-of-order samples, in any order, into samples in order. What came in order wins, though no timestamp is
/// stored twice.
pub(super) fn merge_late(late: &mut Vec<(i64, u64)>, into: &mut SampleColumns) {
    late.sort_unstable_by_key(|sample| sample.0);
    late.dedup_by_key(|sample| sample.0);
    let mut merged = SampleColumns::default();
    let mut rest = late.iter().copied().peekable();
    for (&timestamp_ms, &value) in into.timestamps_ms.iter().zip(&into.values) {
        while let Some((at, bits)) = rest.next_if(|sample| sample.0 <= timestamp_ms) {
            if at < timestamp_ms {
                merged.push(at, f64::from_bits(bits));
            }
        }
        merged.push(timestamp_ms, value);
    }
    rest.for_each(|(at, bits)| merged.push(at, f64::from_bits(bits)));
    *into = merged;
}

/// Names a list of timestamps by where it came from: rows of timeline segments. Two lists with one token are equal, but for
/// collisions of 64-bit hashes among the few timelines of a selection.
struct Token {
    shard: u64,
    /// `None` once timestamps came from elsewhere.
    hash: Option<u64>,
}

impl Token {
    fn new(shard: usize) -> Self {
        Self { shard: shard as u64, hash: Some(0) }
    }

    /// Adds the rows of a segment. The range, the same for all tokens that may be compared, decides which of them count.
    fn add(&mut self, piece: Option<(u32, i64)>, rows: u128) {
        let known = self.hash.zip(piece);
        self.hash = known.map(|(hash, (timeline, base_ms))| {
            let id = self.shard << 32 | u64::from(timeline);
            [id, base_ms as u64, rows as u64, (rows >> 64) as u64].into_iter().fold(hash, mix)
        });
    }

    fn finish(self) -> Option<u64> {
        self.hash
    }
}

/// Folds the 128-bit product of a multiplication, so that every bit of both reaches every bit of the result.
fn mix(hash: u64, word: u64) -> u64 {
    let product =
        u128::from(hash ^ word ^ 0x2d35_8dcc_aa6c_78a5) * u128::from(hash.rotate_left(32) ^ 0x8bb8_4b93_962e_acc9);
    (product as u64) ^ (product >> 64) as u64
}
