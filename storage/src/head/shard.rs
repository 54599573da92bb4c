//! A shard: the series whose hashes agree in the low bits, with everything they need, behind one lock.

use super::HeadOptions;
use super::below::Generation;
use super::cells::Cells;
use super::chunk_files::ChunkFiles;
use super::chunk_link::ChunkLink;
use super::eras::Visible;
use super::error::{HeadError, Notice};
use super::floors::FlushedState;
use super::hash_index::HashIndex;
use super::histograms::HistogramSeries;
use super::late::LateSamples;
use super::paged::Paged;
use super::slot::{SLOTS_PAGE, Slot};
use super::snapshot::Loaded;
use super::starts::StartTimes;
use super::timeline::Timelines;
use super::views::Notes;
use crate::append::{LabelHash, SeriesRef};
use crate::chunk::decode::Decoded;
use crate::index::LabelIndex;
use hashbrown::HashMap;

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) number: usize,
    shard_bits: u32,
    pub(crate) slots: Paged<Slot, SLOTS_PAGE>,
    pub(crate) cells: Cells,
    pub(crate) timelines: Timelines,
    pub(crate) hashes: HashIndex,
    pub(crate) labels: LabelIndex,
    pub(crate) files: ChunkFiles,
    pub(crate) late: HashMap<u32, LateSamples>,
    /// Samples in the buffers of `late`.
    pub(crate) late_buffered: usize,
    /// Buffers are cut when they hold more samples than this together.
    pub(crate) late_buffered_max: usize,
    /// Native histograms, by slot.
    pub(crate) histograms: HashMap<u32, HistogramSeries>,
    /// Bytes of the rows in `histograms`.
    pub(crate) histogram_bytes: usize,
    /// Rows are cut when they take more bytes than this together.
    pub(crate) histogram_bytes_max: usize,
    /// Start timestamps of floats, by slot.
    pub(crate) starts: HashMap<u32, StartTimes>,
    /// What open views must not see.
    pub(crate) notes: Notes,
    pub(crate) counters: Counters,
    /// Timestamps of the samples.
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    /// Series that have a sample.
    pub(crate) sampled: usize,
    /// A snapshot is under way.
    pub(crate) frozen: bool,
    /// Older samples go to the newest below-floor generation.
    pub(crate) append_floor_ms: i64,
    /// Older samples of the main structures are in blocks and count no more.
    pub(crate) read_floor_ms: i64,
    /// The read floor when what is dead was forgotten last.
    pub(super) trimmed_ms: i64,
    /// Number of the below-floor generation that takes samples.
    pub(crate) generation: u64,
    /// Below-floor generations that have samples, oldest first.
    pub(crate) below: Vec<Generation>,
    /// What this sees is all that late samples are compared with: the rest is in blocks and may be deleted there.
    pub(super) compared: Visible,
    /// The generation that took samples when one below the floor was last logged and not stored, because it was there already.
    pub(super) late_known: u64,
    /// Slots of series that have left; some may be taken again.
    pub(super) free: Vec<u32>,
    /// Series that are doomed, see `collect.rs`.
    pub(super) doomed: usize,
    pub(super) hash_bytes: Vec<u8>,
    /// The slot at which the search for idle series goes on.
    pub(super) sweep_at: usize,
    /// The chunk that was decoded last for an out-of-order sample.
    pub(super) late_scratch: LateScratch,
    /// Bytes of a chunk that is being cut.
    pub(super) stream: Vec<u8>,
}

/// What has happened to a shard since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) series_created: u64,
    pub(crate) series_removed: u64,
    pub(crate) in_order: u64,
    pub(crate) out_of_order: u64,
    pub(crate) below_floor: u64,
    pub(crate) repeated: u64,
    pub(crate) conflicting: u64,
    pub(crate) histograms_in_order: u64,
    pub(crate) histograms_out_of_order: u64,
    pub(crate) histogram_chunks_cut: u64,
    pub(crate) chunks_cut: u64,
    pub(crate) late_chunks_cut: u64,
    pub(crate) segments_written: u64,
    pub(crate) detached: u64,
}

#[derive(Debug)]
pub(super) struct LateScratch {
    pub(super) link: ChunkLink,
    pub(super) decoded: Box<Decoded>,
}

impl Shard {
    /// An empty shard; chunk files of an earlier life count once a snapshot vouches for them.
    pub(crate) fn open(options: &HeadOptions, number: usize, shards: usize) -> Result<Self, HeadError> {
        Ok(Self {
            number,
            shard_bits: shards.trailing_zeros(),
            slots: Paged::default(),
            cells: Cells::default(),
            timelines: Timelines::default(),
            hashes: HashIndex::default(),
            labels: LabelIndex::default(),
            files: ChunkFiles::open(&options.dir, number)?,
            late: HashMap::new(),
            late_buffered: 0,
            late_buffered_max: options.out_of_order_bytes_max / shards / size_of::<(i64, u64)>(),
            histograms: HashMap::new(),
            histogram_bytes: 0,
            starts: HashMap::new(),
            notes: Notes::new(shards),
            histogram_bytes_max: options.histogram_bytes_max / shards,
            counters: Counters::default(),
            first_ms: i64::MAX,
            last_ms: i64::MIN,
            sampled: 0,
            frozen: false,
            append_floor_ms: i64::MIN,
            read_floor_ms: i64::MIN,
            trimmed_ms: i64::MIN,
            generation: 1,
            below: Vec::new(),
            compared: Visible::ALL,
            late_known: 0,
            free: Vec::new(),
            doomed: 0,
            hash_bytes: Vec::new(),
            sweep_at: 0,
            late_scratch: LateScratch { link: ChunkLink::NONE, decoded: Box::default() },
            stream: Vec::new(),
        })
    }

    /// The slot of a series of this shard.
    #[inline]
    pub(crate) fn slot_number(&self, series: SeriesRef) -> u32 {
        series.0 >> self.shard_bits
    }

    /// The reference of a slot.
    #[inline]
    pub(crate) fn series_ref(&self, slot: u32) -> SeriesRef {
        SeriesRef(slot << self.shard_bits | self.number as u32)
    }

    /// The slot of a series that exists.
    pub(crate) fn live(&self, series: SeriesRef) -> Option<&Slot> {
        let number = self.slot_number(series) as usize;
        (number < self.slots.len()).then(|| self.slots.get(number)).filter(|slot| slot.has(Slot::LIVE))
    }

    /// Finds or makes a series; `log` sees a new one's reference first.
    pub(crate) fn create(
        &mut self,
        hash: LabelHash,
        labels: &[(&str, &str)],
        log: impl FnOnce(SeriesRef),
    ) -> Result<(SeriesRef, bool), HeadError> {
        if let Some(slot) = self.hashes.get(hash) {
            self.keep(slot);
            return Ok((self.series_ref(slot), false));
        }
        let slot = self.next_slot();
        if let Err(error) = self.add(slot, hash, labels) {
            if (slot as usize) < self.slots.len() {
                self.free.push(slot);
            }
            return Err(error);
        }
        self.counters.series_created += 1;
        let series = self.series_ref(slot);
        log(series);
        Ok((series, true))
    }

    /// A slot that nobody has.
    fn next_slot(&mut self) -> u32 {
        while let Some(slot) = self.free.pop() {
            if !self.slots.get(slot as usize).has(Slot::LIVE) {
                return slot;
            }
        }
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Puts a series back under its reference.
    pub(crate) fn restore_series(
        &mut self,
        series: SeriesRef,
        hash: LabelHash,
        labels: &[(&str, &str)],
    ) -> Result<(), HeadError> {
        let slot = self.slot_number(series);
        match self.hashes.get(hash) {
            Some(found) if found == slot => Ok(()),
            None if self.live(series).is_none() => {
                while self.slots.len() < slot as usize {
                    self.slots.push(Slot::default());
                }
                self.add(slot, hash, labels)
            }
            Some(_) | None => Err(HeadError::SeriesConflict { series: series.0 }),
        }
    }

    /// Forgets chunks that end before `before_ms`, file by file, except of below-floor generations after `generation`.
    pub(crate) fn expire(&mut self, before_ms: i64, generation: u64) {
        let bytes = self.files.expire(before_ms, generation);
        let oldest = self.files.summaries().first().map_or(u32::MAX, |file| file.number);
        if bytes > 0 {
            self.late.values_mut().for_each(|late| late.chunks.retain(|chunk| chunk.link.file() >= oldest));
            self.histograms.values_mut().for_each(|series| series.chunks.retain(|chunk| chunk.link.file() >= oldest));
            self.starts.values_mut().for_each(|starts| starts.chunks.retain(|chunk| chunk.link.file() >= oldest));
        }
    }

    /// Timestamps of the oldest and the newest sample in the main structures that are not in blocks.
    pub(crate) fn time_range_ms(&self) -> Option<(i64, i64)> {
        let first_ms = self.first_ms.max(self.read_floor_ms);
        (first_ms <= self.last_ms).then_some((first_ms, self.last_ms))
    }

    /// Takes over the state that a snapshot holds, of which blocks hold what `flushed` says.
    pub(crate) fn replace_empty(&mut self, loaded: Loaded, flushed: &FlushedState) -> Result<Vec<Notice>, HeadError> {
        if self.slots.len() > 0 {
            return Err(HeadError::NotEmpty { shard: self.number });
        }
        let notices = self.files.adopt(loaded.files, loaded.floors.last_file, flushed)?;
        (self.first_ms, self.last_ms) = (loaded.first_ms, loaded.last_ms);
        (self.slots, self.cells, self.timelines) = (loaded.slots, loaded.cells, loaded.timelines);
        (self.hashes, self.labels) = (loaded.hashes, loaded.labels);
        let sampled = |slot: &&Slot| slot.has(Slot::HAS_SAMPLE | Slot::HAS_HISTOGRAMS);
        self.sampled = self.slots.iter().filter(sampled).count();
        self.histogram_bytes = loaded.histograms.values().map(|series| series.run.as_bytes().len()).sum();
        self.histograms = loaded.histograms;
        self.starts = loaded.starts;
        (self.append_floor_ms, self.read_floor_ms) = (loaded.floors.append_floor_ms, loaded.floors.read_floor_ms);
        self.generation = loaded.floors.generation;
        // Nobody knows any more whether something late was known already, and an older snapshot may have to do at the next start.
        self.late_known = self.generation;
        self.below = loaded.below;
        let free = (0u32..).zip(self.slots.iter()).filter(|(_, slot)| !slot.has(Slot::LIVE));
        self.free = free.map(|(number, _)| number).collect();
        self.late_buffered = loaded.late.values().map(|late| late.buffer.len()).sum();
        self.late = loaded.late;
        Ok(notices)
    }

    fn add(&mut self, slot: u32, hash: LabelHash, labels: &[(&str, &str)]) -> Result<(), HeadError> {
        let full = |what| HeadError::Full { shard: self.number, what };
        if slot >= u32::MAX >> self.shard_bits {
            return Err(full("series"));
        }
        let added = self.labels.add(slot, labels).map_err(|_| full("label"))?;
        let timeline = self.timelines.join(added.group);
        let made = Slot::new(added.labels, timeline);
        if slot as usize == self.slots.len() {
            self.slots.push(made);
        } else {
            *self.slots.get_mut(slot as usize) = made;
        }
        self.hashes.insert(hash, slot);
        Ok(())
    }
}
