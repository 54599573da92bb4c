//! Loads the state of a shard from a snapshot.
//!
//! The stream comes with a checksum of its own; still every number is checked before it is used, so that no stream makes the
//! head allocate without bound, panic or loop.
#![warn(clippy::indexing_slicing)]

use super::{MAGIC, Section, VERSION};
use crate::append::LabelHash;
use crate::chunk::SAMPLES_MAX;
use crate::head::below::Generation;
use crate::head::cells::{CELL_WORDS, CELLS_PAGE, Cell, Cells, NO_CELL};
use crate::head::chunk_file::FileSummary;
use crate::head::chunk_link::ChunkLink;
use crate::head::error::HeadError;
use crate::head::hash_index::HashIndex;
use crate::head::histograms::{HistogramSeries, Run};
use crate::head::late::{LateChunk, LateSamples};
use crate::head::paged::Paged;
use crate::head::slot::{NONE, SLOTS_PAGE, Slot};
use crate::head::starts::{StartSpans, StartTimes};
use crate::head::timeline::{Segment, Timeline, Timelines};
use crate::index::LabelIndex;
use hashbrown::HashMap;
use std::io::{self, BufReader, Read};

/// A shard's state, complete and consistent.
pub(crate) struct Loaded {
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    pub(crate) floors: Floors,
    pub(crate) files: Vec<FileSummary>,
    pub(crate) timelines: Timelines,
    pub(crate) late: HashMap<u32, LateSamples>,
    pub(crate) histograms: HashMap<u32, HistogramSeries>,
    pub(crate) starts: HashMap<u32, StartTimes>,
    pub(crate) below: Vec<Generation>,
    pub(crate) labels: LabelIndex,
    pub(crate) cells: Cells,
    pub(crate) slots: Paged<Slot, SLOTS_PAGE>,
    pub(crate) hashes: HashIndex,
}

/// Lists are not allocated larger than this before their items have been seen.
const TRUST: usize = 1 << 16;

/// Reads the state of one of `shards` shards.
pub(super) fn load(shard: usize, shards: usize, from: &mut dyn Read) -> Result<Loaded, HeadError> {
    let mut input = Input { from: BufReader::with_capacity(1 << 18, from), shard, offset: 0 };
    let version = input.header(shards)?;
    let (first_ms, last_ms) = (input.i64()?, input.i64()?);
    let floors = if version < 3 { Floors::default() } else { input.floors()? };
    let files = input.files(version)?;
    let mut timelines = input.timelines()?;
    let late = input.late()?;
    let (histograms, starts) = if version < 2 { Default::default() } else { (input.histograms()?, input.starts()?) };
    let below = if version < 3 { Vec::new() } else { input.generations(&floors)? };
    let mut labels = input.labels(version)?;
    let cells = input.cells()?;
    let slots = input.slots(&timelines, &cells)?;
    input.begin(Section::End)?;
    timelines.recount(slots.iter().filter(|slot| slot.has(Slot::LIVE)).map(|slot| slot.timeline));
    let mut hashes = HashIndex::default();
    hashes.reserve(slots.len());
    let mut scratch = Vec::new();
    for (number, slot) in slots.iter().enumerate().filter(|(_, slot)| slot.has(Slot::LIVE)) {
        if !labels.is_whole(slot.labels) {
            return Err(input.corrupt("a series without whole labels"));
        }
        let hash = LabelHash::of_pairs(labels.labels(slot.labels), &mut scratch);
        if hash.0 as usize & (shards - 1) != shard || hashes.get(hash).is_some() {
            return Err(input.corrupt("a series with labels that belong elsewhere"));
        }
        hashes.insert(hash, number as u32);
    }
    let live = slots.iter().enumerate().filter(|(_, slot)| slot.has(Slot::LIVE));
    labels.restore_postings(live.map(|(number, slot)| (number as u32, slot.labels)));
    if late.keys().any(|slot| *slot as usize >= slots.len()) {
        return Err(input.corrupt("out-of-order samples of no series"));
    }
    let flagged = slots.iter().filter(|slot| slot.has(Slot::HAS_HISTOGRAMS)).count();
    let has_flag = |slot: &u32| (*slot as usize) < slots.len() && slots.get(*slot as usize).has(Slot::HAS_HISTOGRAMS);
    if flagged != histograms.len() || !histograms.keys().all(has_flag) {
        return Err(input.corrupt("native histograms of no series"));
    }
    if starts.keys().any(|slot| *slot as usize >= slots.len()) {
        return Err(input.corrupt("start timestamps of no series"));
    }
    check_below(&input, &below, &slots)?;
    Ok(Loaded {
        first_ms,
        last_ms,
        floors,
        files,
        timelines,
        late,
        histograms,
        starts,
        below,
        labels,
        cells,
        slots,
        hashes,
    })
}

/// Exactly the slots that are said to have below-floor samples have some.
fn check_below(input: &Input<'_>, below: &[Generation], slots: &Paged<Slot, SLOTS_PAGE>) -> Result<(), HeadError> {
    let mut found: Vec<u32> = below.iter().flat_map(Generation::slots).collect();
    found.sort_unstable();
    found.dedup();
    let has_flag = |slot: &u32| (*slot as usize) < slots.len() && slots.get(*slot as usize).has(Slot::HAS_BELOW);
    let flagged = slots.iter().filter(|slot| slot.has(Slot::HAS_BELOW)).count();
    let starts_too = below.iter().flat_map(|generation| generation.starts.keys()).all(has_flag);
    input.check(flagged == found.len() && found.iter().all(has_flag) && starts_too, "late samples of no series")
}

/// See `floors.rs`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Floors {
    pub(crate) append_floor_ms: i64,
    pub(crate) read_floor_ms: i64,
    pub(crate) generation: u64,
    /// The highest number that a chunk file ever had.
    pub(crate) last_file: u32,
}

impl Default for Floors {
    fn default() -> Self {
        Self { append_floor_ms: i64::MIN, read_floor_ms: i64::MIN, generation: 1, last_file: 0 }
    }
}

struct Input<'a> {
    from: BufReader<&'a mut dyn Read>,
    shard: usize,
    offset: u64,
}

impl Input<'_> {
    fn corrupt(&self, what: &'static str) -> HeadError {
        HeadError::Corrupt { what, place: format!("snapshot of shard {}", self.shard), offset: self.offset }
    }

    fn check(&self, holds: bool, what: &'static str) -> Result<(), HeadError> {
        if holds { Ok(()) } else { Err(self.corrupt(what)) }
    }

    fn bytes(&mut self, out: &mut [u8]) -> Result<(), HeadError> {
        match self.from.read_exact(out) {
            Ok(()) => {
                self.offset += out.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.corrupt("the end is missing")),
            Err(source) => Err(HeadError::SnapshotIo { step: "read", shard: self.shard, source }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HeadError> {
        let mut out = [0; N];
        self.bytes(&mut out)?;
        Ok(out)
    }

    fn u8(&mut self) -> Result<u8, HeadError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, HeadError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, HeadError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, HeadError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// Bytes with their length in front. The length is not trusted: they are read piece by piece.
    fn blob(&mut self) -> Result<Vec<u8>, HeadError> {
        let mut rest = self.u32()? as usize;
        let mut out = Vec::new();
        while rest > 0 {
            let piece = rest.min(TRUST);
            let start = out.len();
            out.resize(start + piece, 0);
            self.bytes(out.get_mut(start..).unwrap_or_default())?;
            rest -= piece;
        }
        Ok(out)
    }

    /// Returns the version of the format.
    fn header(&mut self, shards: usize) -> Result<u32, HeadError> {
        let magic: [u8; 8] = self.array()?;
        self.check(magic == *MAGIC, "not a snapshot of a shard")?;
        let found = self.u32()?;
        if found > VERSION {
            let place = format!("snapshot of shard {}", self.shard);
            return Err(HeadError::NewerFormat { place, found, known: VERSION });
        }
        let (shard, of) = (self.u32()?, self.u32()?);
        self.check(shard as usize == self.shard && of as usize == shards, "a snapshot of another shard")?;
        Ok(found)
    }

    /// The number of items of the section that comes next.
    fn begin(&mut self, section: Section) -> Result<usize, HeadError> {
        let tag = self.u32()?;
        self.check(tag == section as u32, "sections are out of order")?;
        let count = self.u64()?;
        self.check(count <= u64::from(u32::MAX), "an impossible number of items")?;
        Ok(count as usize)
    }

    /// The items of the section that comes next.
    fn list<T>(
        &mut self,
        section: Section,
        mut item: impl FnMut(&mut Self) -> Result<T, HeadError>,
    ) -> Result<Vec<T>, HeadError> {
        let count = self.begin(section)?;
        self.items(count, &mut item)
    }

    fn items<T>(
        &mut self,
        count: usize,
        item: &mut impl FnMut(&mut Self) -> Result<T, HeadError>,
    ) -> Result<Vec<T>, HeadError> {
        let mut items = Vec::with_capacity(count.min(TRUST));
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn floors(&mut self) -> Result<Floors, HeadError> {
        let (append_floor_ms, read_floor_ms, generation) = (self.i64()?, self.i64()?, self.u64()?);
        Ok(Floors { append_floor_ms, read_floor_ms, generation, last_file: self.u32()? })
    }

    fn files(&mut self, version: u32) -> Result<Vec<FileSummary>, HeadError> {
        let files = self.list(Section::Files, |input| {
            let (number, end, first_ms, last_ms) = (input.u32()?, input.u32()?, input.i64()?, input.i64()?);
            let generation = if version < 3 { 0 } else { input.u64()? };
            Ok(FileSummary { number, end, first_ms, last_ms, generation })
        })?;
        let ascend = files.windows(2).all(|pair| matches!(pair, [a, b] if a.number < b.number));
        self.check(ascend, "chunk files are out of order")?;
        Ok(files)
    }

    fn timelines(&mut self) -> Result<Timelines, HeadError> {
        let lines = self.list(Section::Timelines, |input| {
            let (newest, followers, members) = (input.u32()?, input.u32()?, input.u32()?);
            Ok(Timeline { newest, followers, members, group: (NONE, NONE) })
        })?;
        let groups = self.list(Section::Groups, |input| Ok(((input.u32()?, input.u32()?), input.u32()?)))?;
        let segments = self.list(Section::Segments, Self::segment)?;
        let newest_exist = lines.iter().all(|line| match segments.get(line.newest as usize) {
            Some(segment) => !segment.offsets.is_empty(),
            None => line.newest == NONE,
        });
        let timeline_exists = |timeline: u32| (timeline as usize) < lines.len();
        let groups_exist = groups.iter().all(|(_, timeline)| timeline_exists(*timeline));
        let used = segments.iter().filter(|segment| !segment.offsets.is_empty());
        let owners_exist = used.into_iter().all(|segment| timeline_exists(segment.timeline));
        self.check(newest_exist && groups_exist && owners_exist, "timelines contradict each other")?;
        Ok(Timelines::restore(lines, groups, segments))
    }

    fn segment(&mut self) -> Result<Segment, HeadError> {
        let (timeline, users, link) = (self.u32()?, self.u32()?, ChunkLink(self.u64()?));
        let base_ms = self.i64()?;
        let (closed, rows) = (self.u8()? == 1, usize::from(self.u8()?));
        let offsets = self.items(rows, &mut Self::u32)?;
        let ascend = offsets.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
        let starts = offsets.first().is_none_or(|first| *first == 0);
        let fits = offsets.last().is_none_or(|last| base_ms.checked_add(i64::from(*last)).is_some());
        self.check(ascend && starts && fits && rows <= SAMPLES_MAX, "a timeline segment out of order")?;
        Ok(Segment { timeline, users, link, base_ms, offsets, closed })
    }

    fn late(&mut self) -> Result<HashMap<u32, LateSamples>, HeadError> {
        let late = self.list(Section::Late, |input| {
            let slot = input.u32()?;
            let (known, first_ms) = (input.u8()? == 1, input.i64()?);
            let buffered = input.u32()? as usize;
            let buffer = input.items(buffered, &mut |input| Ok((input.i64()?, input.u64()?)))?;
            let ascend = buffer.windows(2).all(|pair| matches!(pair, [a, b] if a.0 < b.0));
            input.check(ascend, "out-of-order samples are not sorted")?;
            let chunks = input.chunks()?;
            Ok((slot, LateSamples { buffer, chunks, in_order_first_ms: known.then_some(first_ms) }))
        })?;
        Ok(late.into_iter().collect())
    }

    fn chunks(&mut self) -> Result<Vec<LateChunk>, HeadError> {
        let count = self.u32()? as usize;
        self.items(count, &mut |input| {
            Ok(LateChunk { link: ChunkLink(input.u64()?), first_ms: input.i64()?, last_ms: input.i64()? })
        })
    }

    fn histograms(&mut self) -> Result<HashMap<u32, HistogramSeries>, HeadError> {
        let histograms = self.list(Section::Histograms, |input| {
            let (slot, first_ms, last_ms) = (input.u32()?, input.i64()?, input.i64()?);
            let count = input.u32()? as usize;
            let run = Run::from_bytes(input.blob()?, count);
            let run = run.ok_or_else(|| input.corrupt("native histograms that cannot be decoded"))?;
            Ok((slot, HistogramSeries { run, chunks: input.chunks()?, first_ms, last_ms }))
        })?;
        Ok(histograms.into_iter().collect())
    }

    fn starts(&mut self) -> Result<HashMap<u32, StartTimes>, HeadError> {
        let starts = self.list(Section::Starts, |input| {
            let (slot, open) = (input.u32()?, input.u8()? == 1);
            let recent = StartSpans::from_bytes(&input.blob()?);
            let recent = recent.ok_or_else(|| input.corrupt("start timestamps that cannot be decoded"))?;
            Ok((slot, StartTimes { recent, open, chunks: input.chunks()? }))
        })?;
        Ok(starts.into_iter().collect())
    }

    fn generations(&mut self, floors: &Floors) -> Result<Vec<Generation>, HeadError> {
        let below = self.list(Section::Generations, |input| {
            let number = input.u64()?;
            let (late, histograms, starts) = (input.late()?, input.histograms()?, input.starts()?);
            Ok(Generation::restored(number, late, histograms, starts))
        })?;
        let ascend = below.is_sorted_by(|a, b| a.number < b.number);
        let known = below.last().is_none_or(|newest| newest.number <= floors.generation);
        self.check(ascend && known, "generations are out of order")?;
        Ok(below)
    }

    fn labels(&mut self, version: u32) -> Result<LabelIndex, HeadError> {
        let mut index = LabelIndex::default();
        for number in 0..self.begin(Section::Names)? {
            let text = self.text()?;
            if text.is_empty() && version >= 3 {
                index.restore_free_name();
                continue;
            }
            let given = index.restore_name(&text);
            self.check(given == Some(number as u32), "label names repeat")?;
        }
        for number in 0..self.begin(Section::Pairs)? {
            let (name, text) = (self.u32()?, self.text()?);
            if name == NONE && version >= 3 {
                index.restore_free_pair();
                continue;
            }
            let given = index.restore_pair(name, &text);
            self.check(given == Some(number as u32), "label pairs repeat or have no name")?;
        }
        let pages = self.list(Section::LabelSets, Self::blob)?;
        index.restore_sets(pages);
        Ok(index)
    }

    fn text(&mut self) -> Result<String, HeadError> {
        let bytes = self.blob()?;
        String::from_utf8(bytes).map_err(|_| self.corrupt("a label that is not UTF-8"))
    }

    fn cells(&mut self) -> Result<Cells, HeadError> {
        let count = self.begin(Section::Cells)?;
        let (free, free_count) = (self.u32()?, self.u32()? as usize);
        let exists = |cell: u32| cell == NO_CELL || (cell as usize) < count;
        self.check(exists(free) && free_count <= count, "free cells that do not exist")?;
        let mut slab = Paged::<Cell, CELLS_PAGE>::default();
        for _ in 0..count {
            let bytes: [u8; 32] = self.array()?;
            let mut fields = bytes.chunks_exact(4).map(|b| b.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b)));
            let mut cell = Cell { words: [0; CELL_WORDS], next: NO_CELL };
            cell.words.iter_mut().zip(&mut fields).for_each(|(word, field)| *word = field);
            cell.next = fields.next().unwrap_or(NO_CELL);
            self.check(exists(cell.next), "a chain of cells that leads nowhere")?;
            slab.push(cell);
        }
        Ok(Cells::restore(slab, free, free_count))
    }

    fn slots(&mut self, timelines: &Timelines, cells: &Cells) -> Result<Paged<Slot, SLOTS_PAGE>, HeadError> {
        let mut slots = Paged::default();
        for _ in 0..self.begin(Section::Slots)? {
            let slot = Slot::from_bytes(&self.array()?).filter(|slot| refers_to_what_exists(slot, timelines, cells));
            slots.push(slot.ok_or_else(|| self.corrupt("a series that refers to what does not exist"))?);
        }
        Ok(slots)
    }
}

fn refers_to_what_exists(slot: &Slot, timelines: &Timelines, cells: &Cells) -> bool {
    let chain = slot.chain();
    let cell_exists = |cell: u32| cell == NO_CELL || (cell as usize) < cells.slab.len();
    let timeline_exists = slot.timeline == NONE || (slot.timeline as usize) < timelines.lines.len();
    let rows_exist = match timelines.segments.get(slot.segment as usize) {
        Some(segment) => usize::from(slot.rows) <= segment.offsets.len() && slot.aside < u32::from(slot.rows),
        None => slot.segment == NONE,
    };
    timeline_exists && rows_exist && cell_exists(chain.head) && cell_exists(chain.tail)
}
