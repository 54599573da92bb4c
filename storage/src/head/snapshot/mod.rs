//! Snapshots: the whole state of a shard as a stream of bytes.
//!
//! A snapshot is taken in two steps. [`Shard::freeze`] fixes a point in time under the shard's lock: small parts are
//! encoded at once, slots and cells are only marked (see `paged.rs`). [`FrozenShard::write`] then streams everything while
//! the shard goes on, after making the chunk files durable that the state refers to. Hash index and postings are not
//! stored; they follow from the labels. Byte layout: `docs/formats/head-shard-state.md`. File, checksum and publication are
//! the caller's.

mod encode;
mod load;
#[cfg(test)]
mod tests;

pub(crate) use load::Loaded;

use super::chunk_file::ChunkFile;
use super::error::{HeadError, Notice};
use super::{FlushedState, Head, Inner};
use crate::index::IndexExtent;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"HrthShrd";
/// The version that is written. Version 1 has neither native histograms nor start timestamps, version 2 has neither floors nor
/// below-floor generations nor free numbers of names and pairs.
const VERSION: u32 = 3;

/// Sections; `docs/formats/head-shard-state.md` has their order. Each begins with its tag and the number of its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Section {
    Files = 1,
    Timelines = 2,
    Groups = 3,
    Segments = 4,
    Late = 5,
    Names = 6,
    Pairs = 7,
    LabelSets = 8,
    Cells = 9,
    Slots = 10,
    End = 11,
    Histograms = 12,
    Starts = 13,
    Generations = 14,
}

/// A point in time of one shard, to be written out while the shard goes on. One per shard at a time; dropping it lets the
/// point in time go.
#[derive(Debug)]
pub struct FrozenShard {
    head: Arc<Inner>,
    shard: usize,
    /// Header and small sections, encoded.
    front: Vec<u8>,
    files: Vec<Arc<ChunkFile>>,
    labels: IndexExtent,
    cells: usize,
    free_cells: (u32, usize),
    slots: usize,
}

impl Drop for FrozenShard {
    fn drop(&mut self) {
        let mut shard = self.head.shards[self.shard].write();
        shard.slots.thaw();
        shard.cells.slab.thaw();
        shard.frozen = false;
    }
}

impl FrozenShard {
    /// Which shard it is.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// Makes the chunk files it refers to durable, then writes the state.
    ///
    /// # Errors
    /// The stream or a chunk file failed.
    pub fn write(self, out: &mut dyn Write) -> Result<(), HeadError> {
        for file in &self.files {
            file.sync()?;
        }
        if let Some(dir) = self.files.first().and_then(|file| file.path.parent()) {
            let synced = File::open(dir).and_then(|dir| dir.sync_all());
            synced.map_err(super::chunk_file::io_error("sync", dir))?;
        }
        let failed = |source| HeadError::SnapshotIo { step: "write", shard: self.shard, source };
        self.encode(out).map_err(failed)
    }
}

impl Head {
    /// Takes a point in time of one shard, in milliseconds at most; writing it out is the caller's, on any thread. Rows
    /// appended and series created before are in it, those after are not.
    ///
    /// # Errors
    /// Chunks that wait to be written could not be, or the shard is frozen already.
    pub fn freeze_shard(&self, shard: usize) -> Result<FrozenShard, HeadError> {
        let mut locked = self.inner.shards[shard].write();
        if locked.frozen {
            return Err(HeadError::SnapshotUnderWay { shard });
        }
        locked.files.write()?;
        locked.frozen = true;
        Ok(FrozenShard {
            head: Arc::clone(&self.inner),
            shard,
            front: locked.encode_front(self.shards()),
            files: locked.files.reader().files().to_vec(),
            labels: locked.labels.extent(),
            free_cells: locked.cells.free_list(),
            cells: locked.cells.slab.freeze(),
            slots: locked.slots.freeze(),
        })
    }

    /// Freezes a shard and writes it.
    ///
    /// # Errors
    /// As [`Head::freeze_shard`] and [`FrozenShard::write`].
    pub fn write_shard_snapshot(&self, shard: usize, out: &mut dyn Write) -> Result<(), HeadError> {
        self.freeze_shard(shard)?.write(out)
    }

    /// Replaces the state of an empty shard by a snapshot and takes over the chunk files it refers to; those of which blocks hold
    /// everything, as `flushed` says, may be gone. Shards may be read in parallel.
    ///
    /// # Errors
    /// The stream failed or does not hold a snapshot of this shard; the shard is then still empty.
    pub fn read_shard_snapshot(
        &self,
        shard: usize,
        from: &mut dyn Read,
        flushed: &FlushedState,
    ) -> Result<Vec<Notice>, HeadError> {
        let loaded = load::load(shard, self.shards(), from)?;
        let floors = loaded.floors;
        let notices = self.inner.shards[shard].write().replace_empty(loaded, flushed)?;
        self.raise_floors(floors.append_floor_ms, floors.generation);
        Ok(notices)
    }
}
