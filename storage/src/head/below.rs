//! Below-floor samples: those that come so late that a flush has passed their time already.
//!
//! The main structures of a shard hold what is not older than the append floor. Older samples are kept aside in
//! *generations*: the newest takes what comes, the others wait, unchanged, until a flush has written them to blocks. Then
//! each is dropped as a whole. Within a generation samples are kept like out-of-order ones: buffers that are cut into chunks.
//!
//! A sample is checked against all generations and against what the main structures still hold, so no timestamp is stored
//! twice here that somebody sees; what only blocks know is for readers to merge. What was in blocks when something was deleted is
//! checked no more: it may be what is gone.

use super::Inner;
use super::appender::{Verdict, cut_buffers};
use super::chunk_link::ChunkLink;
use super::eras::Visible;
use super::error::HeadError;
use super::histograms::{self, HistogramSeries};
use super::late::{BUFFER_MAX, LateChunk, LateSamples};
use super::read::{Source, bad_chunk};
use super::shard::Shard;
use super::slot::Slot;
use super::starts::{StartSpans, StartTimes};
use super::views::Hidden;
use crate::append::{Rejection, SeriesRef};
use crate::chunk::decode::{Decoded, Times};
use crate::histogram::stored::Stored;
use crate::select::TimeRange;
use crate::tiers::day_spans::DaySpans;
use hashbrown::HashMap;

/// The late samples of one span between two flushes, by slot.
#[derive(Debug, Default)]
pub(crate) struct Generation {
    /// Numbers ascend, also across restarts.
    pub(crate) number: u64,
    pub(crate) late: HashMap<u32, LateSamples>,
    /// Samples in the buffers of `late`.
    pub(crate) late_buffered: usize,
    pub(crate) histograms: HashMap<u32, HistogramSeries>,
    /// Bytes of the rows in `histograms`.
    pub(crate) histogram_bytes: usize,
    pub(crate) starts: HashMap<u32, StartTimes>,
    /// The days of which there are floats, and maybe others that a start took for such.
    pub(crate) float_days: DaySpans,
}

/// Which generations are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generations {
    pub(crate) after: u64,
    pub(crate) up_to: u64,
}

impl Generations {
    /// Those that somebody sees to whom so much is visible.
    pub(crate) fn of(visible: Visible) -> Self {
        Self { after: visible.after_generation, up_to: u64::MAX }
    }

    pub(crate) fn contain(self, number: u64) -> bool {
        number > self.after && number <= self.up_to
    }
}

impl Generation {
    /// As a snapshot has it.
    pub(super) fn restored(
        number: u64,
        late: HashMap<u32, LateSamples>,
        histograms: HashMap<u32, HistogramSeries>,
        starts: HashMap<u32, StartTimes>,
    ) -> Self {
        let mut float_days = DaySpans::default();
        for late in late.values() {
            late.buffer.iter().for_each(|(time_ms, _)| float_days.add(*time_ms, *time_ms));
            late.chunks.iter().for_each(|chunk| float_days.add(chunk.first_ms, chunk.last_ms));
        }
        let late_buffered = late.values().map(|late| late.buffer.len()).sum();
        let histogram_bytes = histograms.values().map(|series| series.run.as_bytes().len()).sum();
        Self { number, late, late_buffered, histograms, histogram_bytes, starts, float_days }
    }

    /// Whether a series has samples with `after_ms < t <= until_ms`, or may have.
    fn may_overlap(&self, slot: u32, range: TimeRange) -> bool {
        let late = self.late.get(&slot).is_some_and(|late| late.may_overlap(range.after_ms, range.until_ms));
        late || self.histograms.get(&slot).is_some_and(|series| series.may_overlap(range.after_ms, range.until_ms))
    }

    fn holds(&self, slot: u32) -> bool {
        self.late.contains_key(&slot) || self.histograms.contains_key(&slot)
    }

    /// The slots that have samples here, some of them twice.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> {
        self.late.keys().chain(self.histograms.keys()).copied()
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> (usize, usize, usize) {
        let late: usize = self.late.values().map(LateSamples::bytes).sum();
        let histograms: usize = self.histograms.values().map(HistogramSeries::bytes).sum();
        let starts: usize = self.starts.values().map(StartTimes::bytes).sum();
        (
            late + self.late.capacity() * (size_of::<LateSamples>() + 5),
            histograms + self.histograms.capacity() * (size_of::<HistogramSeries>() + 5),
            starts + self.starts.capacity() * (size_of::<StartTimes>() + 5),
        )
    }
}

impl Shard {
    /// Takes a float that is older than the append floor.
    #[cold]
    pub(super) fn append_below(&mut self, number: u32, timestamp_ms: i64, bits: u64) -> Verdict {
        if !self.slots.get(number as usize).has(Slot::LIVE) {
            return Verdict::Refused(Rejection::SeriesGone);
        }
        let in_main = timestamp_ms >= self.compared.floor_ms;
        if in_main && self.has_histogram(number, timestamp_ms) || self.has_histogram_below(number, timestamp_ms) {
            self.late_known = self.generation;
            return Verdict::Refused(Rejection::ConflictingValue);
        }
        let stored = self.float_at(number, timestamp_ms).or_else(|| self.float_below(number, timestamp_ms));
        if let Some(stored) = stored {
            self.late_known = self.generation;
            return if stored == bits { Verdict::Repeated } else { Verdict::Refused(Rejection::ConflictingValue) };
        }
        self.mark_below(number, 0);
        let max = self.late_buffered_max;
        let newest = self.newest_generation();
        newest.float_days.add(timestamp_ms, timestamp_ms);
        let late = newest.late.entry(number).or_default();
        if let Err(at) = late.find(timestamp_ms) {
            late.buffer.insert(at, (timestamp_ms, bits));
            newest.late_buffered += 1;
        }
        if late.buffer.len() >= BUFFER_MAX || newest.late_buffered > max {
            self.cut_below(number);
        }
        Verdict::Below
    }

    /// Takes a native histogram that is older than the append floor.
    #[cold]
    pub(super) fn append_histogram_below(&mut self, number: u32, sample: Stored) -> histograms::Verdict {
        let timestamp_ms = sample.timestamp_ms;
        if self.float_at(number, timestamp_ms).or_else(|| self.float_below(number, timestamp_ms)).is_some() {
            self.late_known = self.generation;
            return histograms::Verdict::Refused(Rejection::ConflictingValue);
        }
        let in_main = self.histograms.get(&number).filter(|_| timestamp_ms >= self.compared.floor_ms);
        let below = self.compared_below().filter_map(|generation| generation.histograms.get(&number));
        let stored = in_main.into_iter().chain(below).find_map(|series| series.at(timestamp_ms, &self.files));
        if let Some(stored) = stored {
            self.late_known = self.generation;
            return match stored.repeats(&sample) {
                true => histograms::Verdict::Repeated,
                false => histograms::Verdict::Refused(Rejection::ConflictingValue),
            };
        }
        self.mark_below(number, if sample.start_ms != 0 { Slot::HAS_STARTS } else { 0 });
        self.newest_generation();
        let Some(newest) = self.below.last_mut() else { unreachable!("it was made") };
        let series = newest.histograms.entry(number).or_default();
        let before = series.run.as_bytes().len();
        series.append(sample, &self.files);
        newest.histogram_bytes = newest.histogram_bytes + series.run.as_bytes().len() - before;
        let full = series.is_full();
        if full || newest.histogram_bytes > self.histogram_bytes_max {
            self.files.generation = newest.number;
            let all = newest.histograms.iter_mut().filter(|(slot, _)| !full || **slot == number);
            for (&slot, series) in all {
                newest.histogram_bytes -= series.run.as_bytes().len();
                self.counters.histogram_chunks_cut += series.cut(slot, &mut self.files) as u64;
            }
            self.files.generation = 0;
        }
        histograms::Verdict::OutOfOrder
    }

    /// Notes since when a below-floor float is counted, if that is known of any of its generation.
    pub(super) fn note_start_below(&mut self, number: u32, timestamp_ms: i64, start_ms: i64) {
        let Some(newest) = self.below.last_mut() else { return };
        let starts = match newest.starts.get_mut(&number) {
            Some(starts) => starts,
            None if start_ms == 0 => return,
            None => newest.starts.entry(number).or_default(),
        };
        starts.note(timestamp_ms, start_ms, false);
        if starts.is_full() {
            self.files.generation = newest.number;
            starts.cut(number, &mut self.files);
            self.files.generation = 0;
        }
        if start_ms != 0 {
            self.slots.get_mut(number as usize).flags |= Slot::HAS_STARTS;
        }
    }

    fn mark_below(&mut self, number: u32, flags: u8) {
        self.slots.get_mut(number as usize).flags |= Slot::HAS_BELOW | flags;
    }

    /// The generation that takes a sample, made with its first one.
    fn newest_generation(&mut self) -> &mut Generation {
        if self.below.last().is_none_or(|newest| newest.number < self.generation) {
            self.below.push(Generation { number: self.generation, ..Generation::default() });
        }
        self.below.last_mut().unwrap_or_else(|| unreachable!("it was made if there was none"))
    }

    /// Moves the buffer of a series to the chunk files, and all of them when they are too large together.
    fn cut_below(&mut self, number: u32) {
        let Some(newest) = self.below.last_mut() else { return };
        self.files.generation = newest.number;
        if let Some(late) = newest.late.get_mut(&number).filter(|late| late.buffer.len() >= BUFFER_MAX) {
            newest.late_buffered -= late.buffer.len();
            self.counters.late_chunks_cut += late.cut(number, &mut self.files) as u64;
        }
        let max = self.late_buffered_max;
        let cut = cut_buffers(&mut newest.late, &mut newest.late_buffered, max, &mut self.files);
        self.counters.late_chunks_cut += cut;
        self.files.generation = 0;
    }

    /// The generations that samples are compared with.
    fn compared_below(&self) -> impl Iterator<Item = &Generation> {
        let which = Generations::of(self.compared);
        self.below.iter().filter(move |generation| which.contain(generation.number))
    }

    /// The float that the main structures have at a timestamp, and that samples are compared with.
    fn float_at(&mut self, number: u32, timestamp_ms: i64) -> Option<u64> {
        let slot = self.slots.get(number as usize);
        if timestamp_ms < self.compared.floor_ms || !slot.has(Slot::HAS_SAMPLE) || timestamp_ms > slot.last_ms {
            return None;
        }
        if timestamp_ms == slot.last_ms { Some(slot.last_bits) } else { self.stored_before(number, timestamp_ms) }
    }

    fn float_below(&mut self, number: u32, timestamp_ms: i64) -> Option<u64> {
        if !self.slots.get(number as usize).has(Slot::HAS_BELOW) {
            return None;
        }
        let mut links: Vec<ChunkLink> = Vec::new();
        for late in self.compared_below().filter_map(|generation| generation.late.get(&number)) {
            if let Ok(bits) = late.find(timestamp_ms) {
                return Some(bits);
            }
            links.extend(late.chunks_within(timestamp_ms, timestamp_ms).map(|chunk| chunk.link));
        }
        links.into_iter().find_map(|link| self.value_in_chunk(link, timestamp_ms))
    }

    fn has_histogram_below(&self, number: u32, timestamp_ms: i64) -> bool {
        let mut below = self.compared_below().filter_map(|generation| generation.histograms.get(&number));
        below.any(|series| series.has(timestamp_ms, &self.files))
    }

    /// Whether a series may have below-floor samples in a range.
    #[cold]
    pub(crate) fn may_overlap_below(&self, number: u32, range: TimeRange, which: Generations) -> bool {
        let mut below = self.below.iter().filter(|generation| which.contain(generation.number));
        below.any(|generation| generation.may_overlap(number, range))
    }

    /// Whether a series has below-floor samples of any time.
    pub(crate) fn has_below(&self, number: u32, which: Generations) -> bool {
        let mut below = self.below.iter().filter(|generation| which.contain(generation.number));
        self.slots.get(number as usize).has(Slot::HAS_BELOW) && below.any(|generation| generation.holds(number))
    }

    /// Whether any series has below-floor samples.
    pub(crate) fn any_below(&self, which: Generations) -> bool {
        self.below.iter().any(|generation| which.contain(generation.number))
    }

    /// Whether a series has below-floor histograms.
    #[cold]
    pub(crate) fn has_histograms_below(&self, number: u32) -> bool {
        self.below.iter().any(|generation| generation.histograms.contains_key(&number))
    }

    /// Forgets all below-floor samples of a series.
    #[cold]
    pub(super) fn forget_below(&mut self, number: u32) {
        for generation in &mut self.below {
            if let Some(late) = generation.late.remove(&number) {
                generation.late_buffered -= late.buffer.len();
            }
            if let Some(series) = generation.histograms.remove(&number) {
                generation.histogram_bytes -= series.run.as_bytes().len();
            }
            generation.starts.remove(&number);
        }
    }

    /// Forgets the generations up to a number.
    pub(crate) fn drop_generations(&mut self, up_to: u64) {
        let keep = self.below.partition_point(|generation| generation.number <= up_to);
        let gone: Vec<Generation> = self.below.drain(..keep).collect();
        for slot in gone.iter().flat_map(Generation::slots) {
            let kept = self.below.iter().any(|generation| generation.holds(slot));
            let slot = self.slots.get_mut(slot as usize);
            slot.flags = if kept { slot.flags } else { slot.flags & !Slot::HAS_BELOW };
        }
    }
}

/// What is read of a series' late samples: the rows in memory and the chunks that may hold others.
struct Copied<T> {
    rows: Vec<T>,
    links: Vec<ChunkLink>,
}

/// Appends the below-floor floats of a series in a range to `into`, in no order, without what a view hides that sees
/// `appended` batches.
pub(super) fn read_floats(
    head: &Inner,
    series: SeriesRef,
    range: TimeRange,
    which: Generations,
    appended: Option<u64>,
    into: &mut Vec<(i64, u64)>,
) -> Result<(), HeadError> {
    let mut hidden = Hidden::default();
    let copy = |shard: &Shard, number: u32, copied: &mut Copied<(i64, u64)>| {
        hidden = shard.hidden(series, appended);
        for generation in shard.below.iter().filter(|generation| which.contain(generation.number)) {
            let Some(late) = generation.late.get(&number) else { continue };
            copied.rows.extend_from_slice(&late.buffer);
            copied.links.extend(late.chunks_within(range.after_ms.saturating_add(1), range.until_ms).map(link_of));
        }
    };
    let mut decoded = Decoded::default();
    let decode = |source: Source<'_>, link: ChunkLink, rows: &mut Vec<(i64, u64)>| {
        let Some(frame) = source.frame(link)? else { return Ok(()) };
        decoded.decode(frame.payload, usize::from(frame.count), Times::Own).map_err(|_| bad_chunk(link))?;
        rows.extend(decoded.timestamps_ms().iter().zip(decoded.values()).map(|(t, value)| (*t, value.to_bits())));
        Ok(())
    };
    let rows = read(head, series, copy, decode)?;
    let range = hidden.clip_floats(range);
    let unseen = hidden.floats_within(range);
    let seen = |t: i64| t > range.after_ms && t <= range.until_ms && unseen.binary_search(&t).is_err();
    into.extend(rows.into_iter().filter(|(t, _)| seen(*t)));
    Ok(())
}

/// The below-floor histograms of a series in a range, in no order; `appended` as with [`read_floats`].
pub(super) fn read_histograms(
    head: &Inner,
    series: SeriesRef,
    range: TimeRange,
    which: Generations,
    appended: Option<u64>,
) -> Result<Vec<Stored>, HeadError> {
    let mut hidden = Hidden::default();
    let copy = |shard: &Shard, number: u32, copied: &mut Copied<Stored>| {
        hidden = shard.hidden(series, appended);
        for generation in shard.below.iter().filter(|generation| which.contain(generation.number)) {
            let Some(found) = generation.histograms.get(&number) else { continue };
            copied.rows.extend(found.run.rows());
            copied.links.extend(found.chunks_within(range.after_ms.saturating_add(1), range.until_ms).map(link_of));
        }
    };
    let decode = |source: Source<'_>, link: ChunkLink, rows: &mut Vec<Stored>| {
        let Some(frame) = source.frame(link)? else { return Ok(()) };
        let count = usize::from(frame.count);
        crate::histogram::chunk::decode_run(frame.payload, count, rows).map_err(|_| bad_chunk(link))
    };
    let mut rows = read(head, series, copy, decode)?;
    let range = hidden.clip_histograms(range);
    let unseen = hidden.histograms_within(range);
    let seen = |t: i64| t > range.after_ms && t <= range.until_ms && unseen.binary_search(&t).is_err();
    rows.retain(|row| seen(row.timestamp_ms));
    Ok(rows)
}

/// The starts of the below-floor floats of a series.
pub(super) fn read_starts(
    head: &Inner,
    series: SeriesRef,
    range: TimeRange,
    which: Generations,
) -> Result<StartSpans, HeadError> {
    let copy = |shard: &Shard, number: u32, copied: &mut Copied<StartSpans>| {
        for generation in shard.below.iter().filter(|generation| which.contain(generation.number)) {
            let Some(starts) = generation.starts.get(&number) else { continue };
            copied.rows.push(starts.recent.clone());
            copied.links.extend(starts.chunks_within(range).map(link_of));
        }
    };
    let decode = |source: Source<'_>, link: ChunkLink, rows: &mut Vec<StartSpans>| {
        let Some(frame) = source.frame(link)? else { return Ok(()) };
        rows.push(StartSpans::from_bytes(frame.payload).ok_or_else(|| bad_chunk(link))?);
        Ok(())
    };
    let mut spans = StartSpans::default();
    read(head, series, copy, decode)?.into_iter().for_each(|part| spans.append(part));
    spans.sort();
    Ok(spans)
}

fn link_of(chunk: LateChunk) -> ChunkLink {
    chunk.link
}

/// Copies under the lock, decodes after it is gone unless chunks still wait to be written.
fn read<T>(
    head: &Inner,
    series: SeriesRef,
    copy: impl FnOnce(&Shard, u32, &mut Copied<T>),
    mut decode: impl FnMut(Source<'_>, ChunkLink, &mut Vec<T>) -> Result<(), HeadError>,
) -> Result<Vec<T>, HeadError> {
    let mut copied = Copied { rows: Vec::new(), links: Vec::new() };
    let lock = head.shard_of(series).read();
    if lock.live(series).is_none_or(|slot| !slot.has(Slot::HAS_BELOW)) {
        return Ok(copied.rows);
    }
    copy(&lock, lock.slot_number(series), &mut copied);
    let Copied { mut rows, links } = copied;
    if links.iter().any(|link| lock.files.waits(*link)) {
        links.iter().try_for_each(|link| decode(Source::Shard(&lock.files), *link, &mut rows))?;
    } else {
        let files = lock.files.reader();
        drop(lock);
        links.iter().try_for_each(|link| decode(Source::Files(&files), *link, &mut rows))?;
    }
    Ok(rows)
}
