//! Appends samples to the series of a shard.
//!
//! The verdict on a sample follows from the samples stored before it alone, never from how chunks, timelines or files
//! happen to be cut: replaying a log comes to the same verdicts, but for late samples that repeat or contradict what is in blocks alone.

use super::cells::Cells;
use super::chunk_files::ChunkFiles;
use super::chunk_link::ChunkLink;
use super::frame::{Frame, FrameKind};
use super::late::{BUFFER_MAX, LateSamples};
use super::shard::{Counters, Shard};
use super::slot::{NONE, Slot};
use super::timeline::{Place, Timelines};
use super::views::{Newly, Recording};
use crate::append::{Rejection, Rows};
use crate::chunk::bits::{Code, push_tail};
use crate::chunk::value::{encode, encode_first, gap_code};
use crate::chunk::{SAMPLES_MAX, segment, timestamp, window_of};
use hashbrown::HashMap;

/// Slots are touched this many rows ahead, so that their cache misses overlap: a third less time for rows in random order.
const AHEAD: usize = 16;
/// A series without samples for so long is idle.
const IDLE_MS: i64 = 60 * 60 * 1000;
/// Slots that are looked at per batch to find idle series: all of them in minutes, for a nanosecond a sample.
const SWEEP_SLOTS: usize = 32;
/// A series leaves its timeline for good when it has had so many rows and filled less than half of them, or left within
/// fewer.
const PROBATION_ROWS: u32 = 16;

/// What became of one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    InOrder,
    OutOfOrder,
    /// As out of order, and older than the append floor.
    Below,
    Repeated,
    Refused(Rejection),
}

impl Shard {
    /// Appends the rows with the given indices, all of series of this shard; returns how many are stored.
    pub(crate) fn append(
        &mut self,
        rows: &Rows,
        picks: &[u32],
        recording: Option<Recording>,
        rejected: &mut Vec<(u32, Rejection)>,
    ) -> u64 {
        let mut written = 0;
        self.notes.begin(recording, self.slots.len());
        let mut touched = 0;
        let starts = !rows.starts_ms.is_empty() || !self.starts.is_empty() || !self.below.is_empty();
        for (i, &pick) in picks.iter().enumerate() {
            if let Some(&next) = picks.get(i + AHEAD) {
                touched ^= self.slots.get(self.slot_number(rows.series[next as usize]) as usize).count;
            }
            let row = pick as usize;
            let slot = self.slot_number(rows.series[row]);
            let verdict = self.append_sample(slot, rows.timestamps_ms[row], rows.values[row].to_bits());
            if starts {
                let start_ms = rows.starts_ms.get(row).copied().unwrap_or(0);
                self.note_start(slot, rows.timestamps_ms[row], start_ms, verdict);
            }
            match verdict {
                Verdict::InOrder => {
                    self.counters.in_order += 1;
                    self.notes.add(slot, rows.timestamps_ms[row], Newly::FloatsFrom);
                }
                Verdict::OutOfOrder => {
                    self.counters.out_of_order += 1;
                    self.notes.add(slot, rows.timestamps_ms[row], Newly::Float);
                }
                Verdict::Below => {
                    self.counters.below_floor += 1;
                    self.notes.add(slot, rows.timestamps_ms[row], Newly::Float);
                }
                Verdict::Repeated => self.counters.repeated += 1,
                Verdict::Refused(why) => {
                    self.counters.conflicting += 1;
                    rejected.push((pick, why));
                    continue;
                }
            }
            written += 1;
        }
        std::hint::black_box(touched);
        if let Some(&newest) = picks.last() {
            self.sweep(rows.timestamps_ms[newest as usize]);
        }
        self.files.write_if_due();
        written
    }

    /// Notes since when a stored sample is counted, if that is known of any sample of its series.
    #[cold]
    fn note_start(&mut self, number: u32, timestamp_ms: i64, start_ms: i64, verdict: Verdict) {
        if verdict == Verdict::Below {
            return self.note_start_below(number, timestamp_ms, start_ms);
        }
        if !matches!(verdict, Verdict::InOrder | Verdict::OutOfOrder) {
            return;
        }
        let starts = match self.starts.get_mut(&number) {
            Some(starts) => starts,
            None if start_ms == 0 => return,
            None => self.starts.entry(number).or_default(),
        };
        starts.note(timestamp_ms, start_ms, verdict == Verdict::InOrder);
        if starts.is_full() {
            starts.cut(number, &mut self.files);
        }
        if start_ms != 0 {
            self.slots.get_mut(number as usize).flags |= Slot::HAS_STARTS;
        }
    }

    /// Looks at a few more slots and moves the open chunks of idle series to the files: their cells are of use to others, and
    /// so is the memory of timeline segments that only they still refer to.
    ///
    /// `now_ms` is the time of a sample of the batch. Should it be of a wrong clock, a few chunks are cut early.
    pub(super) fn sweep(&mut self, now_ms: i64) {
        let slots = self.slots.len();
        let idle_since = now_ms.saturating_sub(IDLE_MS);
        for _ in 0..SWEEP_SLOTS.min(slots) {
            self.sweep_at = if self.sweep_at + 1 < slots { self.sweep_at + 1 } else { 0 };
            let slot = *self.slots.get(self.sweep_at);
            if slot.count > 0 && slot.last_ms < idle_since {
                self.open_chunk(self.sweep_at as u32).cut();
            }
            if slot.has(Slot::HAS_HISTOGRAMS) {
                self.sweep_histograms(self.sweep_at as u32, idle_since);
            }
        }
    }

    #[inline]
    fn append_sample(&mut self, number: u32, timestamp_ms: i64, bits: u64) -> Verdict {
        if timestamp_ms < self.append_floor_ms {
            return self.append_below(number, timestamp_ms, bits);
        }
        let mut slot = self.slots.get_mut(number as usize);
        if slot.flags & (Slot::HAS_SAMPLE | Slot::HAS_HISTOGRAMS) != Slot::HAS_SAMPLE {
            if self.has_histogram(number, timestamp_ms) {
                return Verdict::Refused(Rejection::ConflictingValue);
            }
            slot = self.slots.get_mut(number as usize);
        }
        if !slot.has(Slot::HAS_SAMPLE) {
            if !slot.has(Slot::LIVE) {
                return Verdict::Refused(Rejection::SeriesGone);
            }
            slot.note_first(timestamp_ms);
            self.first_ms = self.first_ms.min(timestamp_ms);
            self.sampled += usize::from(!slot.has(Slot::HAS_HISTOGRAMS));
        } else if timestamp_ms <= slot.last_ms {
            return match (timestamp_ms == slot.last_ms, slot.last_bits == bits) {
                (true, true) => Verdict::Repeated,
                (true, false) => Verdict::Refused(Rejection::ConflictingValue),
                (false, _) => self.append_late(number, timestamp_ms, bits),
            };
        }
        self.last_ms = self.last_ms.max(timestamp_ms);
        if slot.segment == NONE {
            self.open_chunk(number).append_own(timestamp_ms, bits);
            return Verdict::InOrder;
        }
        let rows = usize::from(slot.rows);
        match self.timelines.place(slot.segment, rows, timestamp_ms) {
            Place::Here(row) if row == rows => {
                let code = encode(&mut slot.values, slot.last_bits, bits);
                push_code(slot, &mut self.cells, code);
                (slot.last_ms, slot.last_bits) = (timestamp_ms, bits);
                slot.count += 1;
                slot.rows += 1;
            }
            place => self.open_chunk(number).append_at(place, timestamp_ms, bits),
        }
        Verdict::InOrder
    }

    fn open_chunk(&mut self, number: u32) -> OpenChunk<'_> {
        OpenChunk {
            number,
            slot: self.slots.get_mut(number as usize),
            cells: &mut self.cells,
            timelines: &mut self.timelines,
            files: &mut self.files,
            counters: &mut self.counters,
            stream: &mut self.stream,
        }
    }

    #[cold]
    fn append_late(&mut self, number: u32, timestamp_ms: i64, bits: u64) -> Verdict {
        if let Some(stored) = self.stored_before(number, timestamp_ms) {
            return if stored == bits { Verdict::Repeated } else { Verdict::Refused(Rejection::ConflictingValue) };
        }
        let slot = self.slots.get_mut(number as usize);
        slot.flags |= Slot::HAS_OUT_OF_ORDER;
        slot.note_first(timestamp_ms);
        self.first_ms = self.first_ms.min(timestamp_ms);
        let late = self.late.entry(number).or_default();
        if let Err(at) = late.find(timestamp_ms) {
            late.buffer.insert(at, (timestamp_ms, bits));
            self.late_buffered += 1;
        }
        if late.buffer.len() >= BUFFER_MAX {
            self.late_buffered -= late.buffer.len();
            self.counters.late_chunks_cut += late.cut(number, &mut self.files) as u64;
        } else if self.late_buffered > self.late_buffered_max {
            self.cut_late_buffers();
        }
        Verdict::OutOfOrder
    }

    fn cut_late_buffers(&mut self) {
        let max = self.late_buffered_max;
        let cut = cut_buffers(&mut self.late, &mut self.late_buffered, max, &mut self.files);
        self.counters.late_chunks_cut += cut;
    }
}

/// If all buffers together are too large, the fuller ones become chunks, or all of them; returns how many chunks.
pub(super) fn cut_buffers(
    buffers: &mut HashMap<u32, LateSamples>,
    buffered: &mut usize,
    buffered_max: usize,
    files: &mut ChunkFiles,
) -> u64 {
    let (mut cut, mut allowed) = (0, buffered_max);
    for fill in [BUFFER_MAX / 4, 1] {
        if *buffered <= allowed {
            break;
        }
        for (&number, late) in buffers.iter_mut().filter(|(_, late)| late.buffer.len() >= fill) {
            *buffered -= late.buffer.len();
            cut += late.cut(number, files) as u64;
        }
        allowed = buffered_max / 2;
    }
    cut
}

/// One series with what its open chunk needs: the parts of a shard, borrowed apart.
struct OpenChunk<'a> {
    number: u32,
    slot: &'a mut Slot,
    cells: &'a mut Cells,
    timelines: &'a mut Timelines,
    files: &'a mut ChunkFiles,
    counters: &'a mut Counters,
    stream: &'a mut Vec<u8>,
}

impl OpenChunk<'_> {
    /// Appends the newest sample of a series that has no open chunk, or one with its own timestamps.
    fn append_own(&mut self, timestamp_ms: i64, bits: u64) {
        let fits =
            usize::from(self.slot.count) < SAMPLES_MAX && window_of(timestamp_ms) == window_of(self.slot.last_ms);
        if self.slot.count > 0 && fits {
            self.push_own(timestamp_ms, bits);
        } else {
            self.begin(timestamp_ms, bits);
        }
        self.note_newest(timestamp_ms, bits);
    }

    /// Appends the newest sample of a series whose open chunk is on a timeline.
    fn append_at(&mut self, place: Place, timestamp_ms: i64, bits: u64) {
        match place {
            Place::Here(row) => self.push_shared(row, bits),
            Place::Elsewhere { .. } | Place::Nowhere => self.move_on(place, timestamp_ms, bits),
        }
        self.note_newest(timestamp_ms, bits);
    }

    fn note_newest(&mut self, timestamp_ms: i64, bits: u64) {
        (self.slot.last_ms, self.slot.last_bits) = (timestamp_ms, bits);
        self.slot.flags |= Slot::HAS_SAMPLE;
    }

    /// The timeline has no row for the sample, or has it in a newer segment.
    #[cold]
    fn move_on(&mut self, place: Place, timestamp_ms: i64, bits: u64) {
        let rows = u32::from(self.slot.rows) - self.slot.aside;
        let sparse = rows >= PROBATION_ROWS && u32::from(self.slot.count) * 2 < rows;
        match place {
            Place::Elsewhere { segment, row } if !sparse => {
                // Counted before the cut, which may free the old segment, but never this one.
                self.timelines.acquire(segment);
                self.cut();
                self.begin_shared(segment, row, bits);
            }
            Place::Elsewhere { .. } => {
                self.leave_timeline();
                self.begin_own(timestamp_ms, bits);
            }
            Place::Nowhere | Place::Here(_) => {
                if rows < PROBATION_ROWS {
                    self.leave_timeline();
                } else {
                    self.cut();
                }
                self.counters.detached += 1;
                self.begin_own(timestamp_ms, bits);
            }
        }
    }

    fn leave_timeline(&mut self) {
        self.cut();
        self.slot.flags |= Slot::LONER;
    }

    /// Begins a chunk, on the timeline if it has a row for the sample.
    fn begin(&mut self, timestamp_ms: i64, bits: u64) {
        self.cut();
        let place = if self.slot.has(Slot::LONER) || self.slot.timeline == NONE {
            None
        } else {
            self.timelines.place_new(self.slot.timeline, timestamp_ms, false)
        };
        match place {
            Some((segment, row)) => {
                self.timelines.acquire(segment);
                self.begin_shared(segment, row, bits);
            }
            None => self.begin_own(timestamp_ms, bits),
        }
    }

    fn begin_shared(&mut self, segment: u32, row: usize, bits: u64) {
        self.slot.segment = segment;
        self.slot.aside = row as u32;
        self.push_shared(row, bits);
    }

    fn begin_own(&mut self, timestamp_ms: i64, bits: u64) {
        self.slot.segment = NONE;
        self.slot.aside = 0;
        self.push(timestamp::encode_first(timestamp_ms));
        self.push_value(bits);
    }

    fn push_shared(&mut self, row: usize, bits: u64) {
        let gap = row - usize::from(self.slot.rows);
        if gap > 0 {
            self.push(gap_code(gap));
        }
        self.push_value(bits);
        self.slot.rows = row as u8 + 1;
    }

    fn push_own(&mut self, timestamp_ms: i64, bits: u64) {
        let delta = u32::try_from(timestamp_ms - self.slot.last_ms).expect("a window is shorter than 2^32 ms");
        self.push(timestamp::encode(self.slot.aside, delta));
        self.slot.aside = delta;
        self.push_value(bits);
    }

    fn push_value(&mut self, bits: u64) {
        let code = if self.slot.count == 0 {
            let before = self.slot.has(Slot::HAS_SAMPLE).then_some(self.slot.last_bits);
            encode_first(&mut self.slot.values, before, bits)
        } else {
            encode(&mut self.slot.values, self.slot.last_bits, bits)
        };
        self.push(code);
        self.slot.count += 1;
    }

    fn push(&mut self, code: Code) {
        push_code(self.slot, self.cells, code);
    }

    /// Moves the open chunk, if there is one, to the chunk file.
    fn cut(&mut self) {
        if self.slot.count == 0 {
            return;
        }
        self.stream.clear();
        let mut chain = self.slot.chain();
        self.cells.copy_to(&chain, self.stream);
        push_tail(self.stream, self.slot.tail());
        let shared = self.slot.segment != NONE;
        let first_ms = if shared {
            self.timelines.segment(self.slot.segment).row_ms(self.slot.aside as usize)
        } else {
            timestamp::first_ms(self.stream).expect("a chunk begins with its first timestamp")
        };
        let segment = if shared { self.segment_link() } else { ChunkLink::NONE };
        self.slot.link = self.files.append(&Frame {
            kind: if shared { FrameKind::Shared } else { FrameKind::Own },
            count: self.slot.count,
            owner: self.number,
            first_ms,
            last_ms: self.slot.last_ms,
            previous: self.slot.link,
            segment,
            payload: self.stream,
        });
        self.cells.release(&mut chain);
        self.slot.set_chain(chain);
        self.slot.set_tail(Default::default());
        if shared {
            self.timelines.release(self.slot.segment);
        }
        (self.slot.count, self.slot.rows, self.slot.segment) = (0, 0, NONE);
        self.counters.chunks_cut += 1;
    }

    /// The segment's copy in the chunk files. One that still grows is copied as it is, for this chunk alone.
    fn segment_link(&mut self) -> ChunkLink {
        let segment = self.timelines.segment_mut(self.slot.segment);
        if !segment.link.is_none() {
            return segment.link;
        }
        let link = self.files.append(&Frame {
            kind: FrameKind::Segment,
            count: segment.offsets.len() as u8,
            owner: segment.timeline,
            first_ms: segment.base_ms,
            last_ms: segment.last_ms(),
            previous: ChunkLink::NONE,
            segment: ChunkLink::NONE,
            payload: &segment::pack(&segment.offsets),
        });
        self.counters.segments_written += 1;
        if segment.closed {
            segment.link = link;
        }
        link
    }
}

/// Appends a code to the bits of an open chunk. Most codes end within the unfinished word, in the slot.
#[inline]
fn push_code(slot: &mut Slot, cells: &mut Cells, code: Code) {
    let mut tail = slot.tail();
    if !tail.push_within(code) {
        let mut chain = slot.chain();
        tail.push(code, |word| cells.push(&mut chain, word));
        slot.set_chain(chain);
    }
    slot.set_tail(tail);
}
