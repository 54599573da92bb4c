//! Series that are no longer needed leave the head, and their memory and numbers are used again.
//!
//! A series without a sample that is not in blocks, and idle for long enough, is *doomed* first. Whoever looks it up from
//! then on revives it. When the pins of all who may have found it earlier are gone, it is still without samples and nobody
//! has revived it, nobody can know its reference, and it goes. Everything is done in steps of a millisecond or so per
//! lock, and not in a shard of which a snapshot is being written.

use super::lock::RwLock;
use super::shard::Shard;
use super::slot::{NONE, Slot};
use super::{Head, Inner};
use crate::append::{LabelHash, SeriesRef};

/// Slots that are looked at under one lock.
const LOOK: usize = 2048;
/// Series that go under one lock.
const FREE: usize = 128;
/// Pairs and label sets that are worked on under one lock.
const TIDY: usize = 1024;

/// A series that left the head: its reference, and the hash of its labels.
pub type Gone = (SeriesRef, LabelHash);

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Series that left the head.
    pub freed: u64,
    /// Series that will leave at a later call, unless somebody needs them.
    pub doomed: u64,
}

/// Series on their way out.
#[derive(Debug, Default)]
pub(super) struct Collection {
    /// Of each shard, the doomed slots.
    doomed: Vec<Vec<u32>>,
    /// The last era in which somebody may have found them.
    era: Option<u64>,
}

impl Head {
    /// Lets go of series that were doomed by an earlier call, and dooms others: those without samples that are not in blocks,
    /// whose newest sample is older than `idle_before_ms`, and that `keep` does not want kept. To be called every minute or
    /// so; half a second after a call that doomed some, most of them can go.
    ///
    /// `log` is told of each series that goes, before its reference can be that of another one.
    pub fn collect_idle(
        &self,
        idle_before_ms: i64,
        keep: &dyn Fn(SeriesRef) -> bool,
        log: &mut dyn FnMut(&[Gone]),
    ) -> Collected {
        self.release();
        let mut collection = self.inner.collection.lock();
        let mut collected = Collected::default();
        if let Some(era) = collection.era {
            if !self.inner.eras.are_over(era) {
                collected.doomed = collection.doomed.iter().map(|slots| slots.len() as u64).sum();
                return collected;
            }
            for (shard, doomed) in self.inner.shards.iter().zip(&mut collection.doomed) {
                collected.freed += free(shard, doomed, idle_before_ms, keep, log);
                tidy(shard);
            }
        }
        collection.doomed.resize(self.shards(), Vec::new());
        for (shard, doomed) in self.inner.shards.iter().zip(&mut collection.doomed) {
            doom(shard, doomed, idle_before_ms, keep);
            collected.doomed += doomed.len() as u64;
        }
        collection.era = (collected.doomed > 0).then(|| self.inner.eras.advance(|visible| visible));
        collected
    }

    /// Removes a series at replay, as the log tells, if it is still the one that the log means.
    pub(crate) fn remove_series(&self, series: SeriesRef, hash: LabelHash) -> bool {
        let mut shard = self.inner.shard_of(series).write();
        let number = shard.slot_number(series);
        let found = shard.hashes.get(hash) == Some(number);
        if found {
            shard.free_series(number);
        }
        found
    }
}

impl Inner {
    /// Finds the series of some hashes of one shard, and keeps them if they are doomed.
    #[cold]
    pub(super) fn revive(&self, shard: usize, hashes: &[LabelHash], picks: &[u32], out: &mut [Option<SeriesRef>]) {
        let mut shard = self.shards[shard].write();
        for &pick in picks {
            let found = shard.hashes.get(hashes[pick as usize]);
            found.into_iter().for_each(|slot| shard.keep(slot));
            out[pick as usize] = found.map(|slot| shard.series_ref(slot));
        }
    }
}

/// Lets doomed series go; returns how many went. None stays in `doomed` unless the shard is being written out.
fn free(
    shard: &RwLock<Shard>,
    doomed: &mut Vec<u32>,
    idle_before_ms: i64,
    keep: &dyn Fn(SeriesRef) -> bool,
    log: &mut dyn FnMut(&[Gone]),
) -> u64 {
    let mut freed = 0;
    while !doomed.is_empty() {
        let mut shard = shard.write();
        if shard.frozen {
            break;
        }
        let mut gone: Vec<Gone> = Vec::new();
        for number in doomed.drain(doomed.len().saturating_sub(FREE)..) {
            let is_doomed = shard.is_doomed(number);
            shard.keep(number);
            let series = shard.series_ref(number);
            if is_doomed && shard.is_idle(number, idle_before_ms) && !keep(series) {
                gone.push((series, shard.free_series(number)));
            }
        }
        // While the lock is held nobody can be given these references.
        log(&gone);
        freed += gone.len() as u64;
    }
    freed
}

/// Gives back what no series needs any more, and what the main structures hold of samples that are in blocks.
fn tidy(shard: &RwLock<Shard>) {
    let step = |work: &mut dyn FnMut(&mut Shard) -> bool| {
        loop {
            let mut shard = shard.write();
            if shard.frozen || !work(&mut shard) {
                return !shard.frozen;
            }
        }
    };
    let done = step(&mut |shard| shard.labels.bury(TIDY))
        && step(&mut |shard| shard.labels.unlist())
        && step(&mut |shard| shard.labels.free_buried(TIDY))
        && step(&mut |shard| shard.labels.copy_text(TIDY));
    if !done || !shard.write().begin_copy_sets() {
        return;
    }
    let mut at = 0;
    let done = step(&mut |shard| {
        let more = shard.copy_sets(at, TIDY);
        at += TIDY;
        more
    });
    shard.write().end_copy_sets(done);
}

/// Dooms idle series, and trims what the others hold of samples that are in blocks.
fn doom(shard: &RwLock<Shard>, doomed: &mut Vec<u32>, idle_before_ms: i64, keep: &dyn Fn(SeriesRef) -> bool) {
    let (len, floor_ms, trimmed_ms) = {
        let shard = shard.read();
        (shard.slots.len(), shard.read_floor_ms, shard.trimmed_ms)
    };
    for start in (0..len).step_by(LOOK) {
        let (mut idle, mut dead) = (Vec::new(), Vec::new());
        {
            let shard = shard.read();
            if shard.frozen {
                return;
            }
            for number in start..len.min(start + LOOK) {
                let slot = shard.slots.get(number);
                let number = number as u32;
                if shard.is_idle(number, idle_before_ms) && !slot.has(Slot::DOOMED) && !keep(shard.series_ref(number)) {
                    idle.push(number);
                } else if floor_ms > trimmed_ms
                    && slot.has(Slot::HAS_OUT_OF_ORDER | Slot::HAS_HISTOGRAMS | Slot::HAS_STARTS)
                {
                    dead.push(number);
                }
            }
        }
        for some in idle.chunks(LOOK / 8) {
            let mut shard = shard.write();
            for &number in some {
                if !shard.frozen && shard.is_idle(number, idle_before_ms) {
                    shard.slots.get_mut(number as usize).flags |= Slot::DOOMED;
                    shard.doomed += 1;
                    doomed.push(number);
                }
            }
        }
        for some in dead.chunks(LOOK / 8) {
            let mut shard = shard.write();
            some.iter().for_each(|number| shard.trim(*number));
        }
    }
    shard.write().trimmed_ms = floor_ms;
}

impl Shard {
    /// Whether a series has no sample that is not in blocks, and no sample since.
    fn is_idle(&self, number: u32, idle_before_ms: i64) -> bool {
        let slot = self.slots.get(number as usize);
        let before_ms = idle_before_ms.min(self.read_floor_ms);
        let floats = slot.has(Slot::HAS_SAMPLE) && slot.last_ms >= before_ms;
        if !slot.has(Slot::LIVE) || slot.has(Slot::HAS_BELOW) || floats {
            return false;
        }
        let histograms = || self.histograms.get(&number).is_some_and(|series| series.last_ms >= before_ms);
        !slot.has(Slot::HAS_HISTOGRAMS) || !histograms()
    }

    #[cold]
    pub(super) fn is_doomed(&self, number: u32) -> bool {
        self.slots.get(number as usize).has(Slot::DOOMED)
    }

    /// A doomed series stays.
    pub(super) fn keep(&mut self, number: u32) {
        if self.slots.get(number as usize).has(Slot::DOOMED) {
            self.slots.get_mut(number as usize).flags &= !Slot::DOOMED;
            self.doomed -= 1;
        }
    }

    /// Removes a series with all that it has; returns the hash of its labels.
    fn free_series(&mut self, number: u32) -> LabelHash {
        self.keep(number);
        let slot = *self.slots.get(number as usize);
        let hash = LabelHash::of_pairs(self.labels.labels(slot.labels), &mut self.hash_bytes);
        self.hashes.remove(hash);
        self.labels.remove(number, slot.labels);
        self.cells.release(&mut slot.chain());
        if slot.segment != NONE {
            self.timelines.release(slot.segment);
        }
        if slot.timeline != NONE {
            self.timelines.leave(slot.timeline);
        }
        if let Some(late) = self.late.remove(&number) {
            self.late_buffered -= late.buffer.len();
        }
        if let Some(histograms) = self.histograms.remove(&number) {
            self.histogram_bytes -= histograms.run.as_bytes().len();
        }
        self.starts.remove(&number);
        self.sampled -= usize::from(slot.has(Slot::HAS_SAMPLE | Slot::HAS_HISTOGRAMS));
        if slot.has(Slot::HAS_BELOW) {
            self.forget_below(number);
        }
        *self.slots.get_mut(number as usize) = Slot::default();
        self.free.push(number);
        self.counters.series_removed += 1;
        hash
    }

    /// Forgets what is kept aside for a series and is in blocks.
    fn trim(&mut self, number: u32) {
        let floor_ms = self.read_floor_ms;
        let mut flags = 0;
        if let Some(late) = self.late.get_mut(&number) {
            let dead = late.buffer.partition_point(|sample| sample.0 < floor_ms);
            self.late_buffered -= dead;
            late.buffer.drain(..dead);
            late.chunks.retain(|chunk| chunk.last_ms >= floor_ms);
            if late.buffer.is_empty() && late.chunks.is_empty() {
                self.late.remove(&number);
                flags |= Slot::HAS_OUT_OF_ORDER;
            }
        }
        if let Some(series) = self.histograms.get_mut(&number) {
            series.chunks.retain(|chunk| chunk.last_ms >= floor_ms);
            if series.last_ms < floor_ms {
                self.histogram_bytes -= series.run.as_bytes().len();
                self.histograms.remove(&number);
                flags |= Slot::HAS_HISTOGRAMS;
            }
        }
        if let Some(starts) = self.starts.get_mut(&number) {
            starts.trim(floor_ms);
            if starts.is_empty() {
                self.starts.remove(&number);
            }
        }
        if flags != 0 {
            let slot = self.slots.get_mut(number as usize);
            slot.flags &= !flags;
            self.sampled -= usize::from(flags & Slot::HAS_HISTOGRAMS != 0 && !slot.has(Slot::HAS_SAMPLE));
        }
    }

    fn begin_copy_sets(&mut self) -> bool {
        !self.frozen && self.labels.begin_copy_sets()
    }

    /// Moves the label sets of some slots; returns whether there are more.
    fn copy_sets(&mut self, start: usize, count: usize) -> bool {
        for number in start..self.slots.len().min(start + count) {
            let slot = *self.slots.get(number);
            if !slot.has(Slot::LIVE) {
                continue;
            }
            match self.labels.copy_set(slot.labels) {
                Ok(moved) if moved != slot.labels => self.slots.get_mut(number).labels = moved,
                Ok(_) => {}
                Err(_) => {
                    self.labels.cancel_copy_sets();
                    return false;
                }
            }
        }
        start + count < self.slots.len()
    }

    /// Ends the copy of label sets; what was made meanwhile was never old.
    fn end_copy_sets(&mut self, done: bool) {
        // A snapshot that began between two steps may still want the old pages.
        if done && !self.frozen {
            self.labels.end_copy_sets();
        } else {
            self.labels.cancel_copy_sets();
        }
    }
}
