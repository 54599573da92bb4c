//! Floors: which part of time the head owns.
//!
//! ```text
//!   time ─────────▶        read floor           append floor
//!   in blocks, counts      │ in blocks soon,    │ main structures
//!   no more here           │ read here          │ take what comes
//!                          │                    │
//!   older than the append floor and new: below-floor generations
//! ```
//! A flush raises the append floor first; what the main structures hold below it, and the generations so far, do not change
//! any more and are written to blocks. When these are published, the read floor follows and the generations are dropped.
//! Until then everything stays readable here, and a flush that fails leaves it to the next.

use super::Head;
use super::eras::Visible;
use super::flush::Flushing;
use super::lock::RwLock;
use super::shard::Shard;
use crate::tiers::day_spans::DaySpans;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What blocks hold of a data directory: the part of a manifest that tells a start what the log need not bring back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FlushedState {
    /// Everything older than this that had come by `lsn` is in blocks; milliseconds since the Unix epoch.
    pub boundary_ms: i64,
    /// Position in the log at which the flush began.
    pub lsn: u64,
    /// Below-floor generations up to this one are in blocks.
    pub generation: u64,
    /// Identity of the data directory that `lsn` and `generation` are of.
    pub directory: [u8; 16],
}

impl Default for FlushedState {
    fn default() -> Self {
        Self { boundary_ms: i64::MIN, lsn: 0, generation: 0, directory: [0; 16] }
    }
}

/// The floors of a head and what waits for the end of an era.
#[derive(Debug)]
pub(super) struct Floors {
    append_floor_ms: i64,
    /// The generation that takes samples.
    generation: u64,
    /// A flush is under way.
    flushing: Arc<AtomicBool>,
    release: Option<Release>,
}

/// What is in blocks, to be released when nobody reads it any more.
#[derive(Debug, Clone, Copy)]
struct Release {
    boundary_ms: i64,
    generation: u64,
    /// The last era that sees it.
    era: u64,
}

impl Default for Floors {
    fn default() -> Self {
        Self { append_floor_ms: i64::MIN, generation: 1, flushing: Arc::default(), release: None }
    }
}

/// One flush at a time: cleared when dropped.
#[derive(Debug)]
pub(super) struct Turn(Arc<AtomicBool>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Head {
    /// Samples older than this are taken only into below-floor generations.
    #[must_use]
    pub fn append_floor_ms(&self) -> i64 {
        self.inner.floors.lock().append_floor_ms
    }

    /// Samples older than this are in blocks, except those that came after their time was flushed.
    #[must_use]
    pub fn read_floor_ms(&self) -> i64 {
        self.inner.eras.visible().floor_ms
    }

    /// The days of which floats are visible here that are in no block yet. Of what came in time all samples count.
    pub(crate) fn float_days(&self, visible: Visible) -> DaySpans {
        let mut days = DaySpans::default();
        for shard in &self.inner.shards {
            let shard = shard.read();
            let first_ms = shard.first_ms.max(visible.floor_ms);
            if first_ms <= shard.last_ms {
                days.add(first_ms, shard.last_ms);
            }
            let generations = shard.below.iter().filter(|generation| generation.number > visible.after_generation);
            generations.for_each(|generation| days.add_all(&generation.float_days));
        }
        days
    }

    /// Begins a flush of everything older than `boundary_ms`, or than the boundary of an earlier flush that was given up:
    /// from now on such samples are kept aside. `lsn` is the position of what has been appended; nothing is appended
    /// meanwhile. `None` while another flush is under way.
    #[must_use]
    pub fn begin_flush(&self, boundary_ms: i64, lsn: u64) -> Option<Flushing> {
        let _no_append = self.inner.by_shard.lock();
        let mut floors = self.inner.floors.lock();
        if floors.flushing.swap(true, Ordering::AcqRel) {
            return None;
        }
        let turn = Turn(Arc::clone(&floors.flushing));
        let generation = floors.generation;
        floors.append_floor_ms = floors.append_floor_ms.max(boundary_ms);
        floors.generation += 1;
        self.set_floors(&floors);
        Some(Flushing::new(self, turn, floors.append_floor_ms, lsn, generation))
    }

    /// Notes the floors of a shard that was restored.
    pub(super) fn raise_floors(&self, append_floor_ms: i64, generation: u64) {
        let mut floors = self.inner.floors.lock();
        floors.append_floor_ms = floors.append_floor_ms.max(append_floor_ms);
        floors.generation = floors.generation.max(generation);
    }

    fn set_floors(&self, floors: &Floors) {
        for shard in &self.inner.shards {
            let mut shard = shard.write();
            shard.append_floor_ms = floors.append_floor_ms;
            shard.generation = floors.generation;
        }
    }

    /// Ends a flush whose blocks are published and visible to whoever reads this head: who reads from now on does not find
    /// their samples here. Memory and files follow when the last selection from before is gone, see [`Head::release`].
    pub fn finish_flush(&self, flushing: Flushing) {
        let (boundary_ms, generation) = (flushing.boundary_ms(), flushing.generation());
        let era = self.inner.eras.advance(|visible| Visible {
            floor_ms: visible.floor_ms.max(boundary_ms),
            after_generation: visible.after_generation.max(generation),
        });
        self.inner.floors.lock().release = Some(Release { boundary_ms, generation, era });
        self.inner.changes.note(i64::MIN);
        drop(flushing);
        self.release();
    }

    /// Gives memory and files of flushed samples back, if nobody reads them any more. Returns whether nothing is left to do.
    pub fn release(&self) -> bool {
        let mut floors = self.inner.floors.lock();
        let Some(release) = floors.release else { return true };
        if !self.inner.eras.are_over(release.era) {
            return false;
        }
        floors.release = None;
        drop(floors);
        for shard in &self.inner.shards {
            release_shard(shard, release);
        }
        true
    }

    /// Takes over, before anything is appended, what blocks hold according to a manifest.
    pub(crate) fn adopt_flushed(&self, flushed: &FlushedState) {
        let mut floors = self.inner.floors.lock();
        floors.append_floor_ms = floors.append_floor_ms.max(flushed.boundary_ms);
        floors.generation = floors.generation.max(flushed.generation + 1);
        for shard in &self.inner.shards {
            let mut shard = shard.write();
            shard.read_floor_ms = flushed.boundary_ms;
            shard.drop_generations(flushed.generation);
        }
        self.set_floors(&floors);
        self.inner.eras.advance(|_| Visible { floor_ms: flushed.boundary_ms, after_generation: flushed.generation });
        // Nobody here knows what was deleted since.
        self.forget_flushed();
    }

    /// From now on what is in blocks keeps no sample from being taken, although the same may still be in memory: it is deleted, or
    /// about to be. Returns whether the log has late samples that were not stored because they were there already: until the next
    /// flush, replaying it would store them.
    pub(crate) fn forget_flushed(&self) -> bool {
        let visible = self.inner.eras.visible();
        let mut known = false;
        for shard in &self.inner.shards {
            let mut shard = shard.write();
            shard.compared = visible;
            known |= shard.late_known > visible.after_generation;
        }
        known
    }

    /// Learns while samples come what blocks hold according to a manifest. What is here stays and is flushed once more: the next
    /// flush does not fall behind the manifest.
    pub(crate) fn pass_flushed(&self, flushed: &FlushedState) {
        let _no_append = self.inner.by_shard.lock();
        let mut floors = self.inner.floors.lock();
        floors.append_floor_ms = floors.append_floor_ms.max(flushed.boundary_ms);
        floors.generation = floors.generation.max(flushed.generation + 1);
        self.set_floors(&floors);
    }
}

fn release_shard(shard: &RwLock<Shard>, release: Release) {
    let mut shard = shard.write();
    shard.read_floor_ms = shard.read_floor_ms.max(release.boundary_ms);
    shard.drop_generations(release.generation);
    shard.expire(release.boundary_ms, release.generation);
}
