//! What an operator wants to know about blocks and their lifecycle.

use super::Store;
use crate::block::read::CacheFigures;
use crate::bucket::BucketSnapshot;
use crate::lifecycle::compaction_plan::{Candidate, backlog};
use crate::lifecycle::damage::DamagedBlock;
use crate::wal::pool::now_ms;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the lifecycle counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) flush: Work,
    pub(crate) compaction: Work,
    pub(crate) collection: Work,
    pub(crate) collected_bytes: AtomicU64,
    pub(crate) expired_blocks: AtomicU64,
    pub(crate) series_left: AtomicU64,
    takeovers: AtomicU64,
    last_takeover: Mutex<Option<String>>,
}

impl Counters {
    /// Another process took over what this one did.
    pub(crate) fn taken_over(&self, how: String) {
        self.takeovers.fetch_add(1, Ordering::Relaxed);
        *self.last_takeover.lock() = Some(how);
    }
}

/// One kind of work.
#[derive(Debug, Default)]
pub(crate) struct Work {
    done: AtomicU64,
    failed: AtomicU64,
    samples: AtomicU64,
    micros: AtomicU64,
    last_failure: Mutex<Option<String>>,
}

impl Work {
    pub(crate) fn succeeded(&self, samples: u64, took: Duration) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.samples.fetch_add(samples, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        *self.last_failure.lock() = None;
    }

    pub(crate) fn failed(&self, why: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        *self.last_failure.lock() = Some(why);
    }

    fn stats(&self) -> WorkStats {
        WorkStats {
            done: self.done.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            samples: self.samples.load(Ordering::Relaxed),
            seconds: self.micros.load(Ordering::Relaxed) as f64 / 1e6,
            failure: self.last_failure.lock().clone(),
        }
    }
}

/// One kind of work.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WorkStats {
    /// How often it was done.
    pub done: u64,
    /// How often it failed; it is tried again.
    pub failed: u64,
    /// Samples that it moved.
    pub samples: u64,
    /// Time that it took.
    pub seconds: f64,
    /// Why it failed last, until it succeeds.
    pub failure: Option<String>,
}

/// Blocks and their lifecycle.
#[derive(Debug, Clone)]
pub struct StoreStats {
    /// Why the object store did not answer at the start, as long as it has not answered since.
    pub away: Option<Arc<str>>,
    /// Number of the newest manifest.
    pub manifest_version: u64,
    /// Blocks that readers use: resolution in milliseconds, level, how many, bytes, samples.
    pub blocks: Vec<BlockGroup>,
    /// Blocks that merges, deletions and tiers could not read and leave out.
    pub damaged: Vec<DamagedBlock>,
    /// Deletions that are not carried out yet.
    pub tombstones: u64,
    /// Flushes.
    pub flush: WorkStats,
    /// Merges of blocks.
    pub compaction: WorkStats,
    /// Days of which blocks wait to be merged.
    pub compaction_backlog: u64,
    /// Collections of garbage.
    pub collection: WorkStats,
    /// Bytes that collections gave back.
    pub collected_bytes: u64,
    /// Blocks that expired.
    pub expired_blocks: u64,
    /// Series that left memory.
    pub series_left: u64,
    /// How often another process took over as writer or compactor of the same blocks.
    pub takeovers: u64,
    /// Requests to the object store.
    pub bucket: BucketSnapshot,
    /// Parts of blocks in memory.
    pub caches: CacheFigures,
}

/// Blocks of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlockGroup {
    /// Width of a bucket of time, 0 for raw samples.
    pub resolution_ms: u64,
    /// 0 as flushed, more when merged.
    pub level: u8,
    /// How many.
    pub blocks: u64,
    /// Of all their files.
    pub bytes: u64,
    /// Float samples and histograms.
    pub samples: u64,
    /// Series, counted in each block that has them.
    pub series: u64,
    /// Series of the block that has most.
    pub series_max: u64,
    /// Time of the oldest sample, milliseconds since the Unix epoch.
    pub min_ms: i64,
    /// Time of the newest sample.
    pub max_ms: i64,
}

impl Store {
    /// How another process took over last as writer or compactor of the same blocks.
    #[must_use]
    pub fn last_takeover(&self) -> Option<String> {
        self.inner.shared.counters.last_takeover.lock().clone()
    }

    /// What was asked of the object store so far; a part of [`Store::stats`] that costs little.
    #[must_use]
    pub fn requests(&self) -> BucketSnapshot {
        self.inner.shared.bucket.metrics()
    }

    /// Parts of blocks in memory; a part of [`Store::stats`] that costs little.
    #[must_use]
    pub fn cached(&self) -> CacheFigures {
        self.inner.shared.caches.figures()
    }

    /// Figures for the operator.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let shared = &self.inner.shared;
        let view = shared.view();
        let mut groups: Vec<BlockGroup> = Vec::new();
        for block in &view.blocks {
            let meta = block.meta();
            let same = |group: &&mut BlockGroup| (group.resolution_ms, group.level) == (meta.resolution_ms, meta.level);
            let group = match groups.iter_mut().find(same) {
                Some(group) => group,
                None => {
                    let (resolution_ms, level) = (meta.resolution_ms, meta.level);
                    let (min_ms, max_ms) = (meta.min_ms, meta.max_ms);
                    groups.push(BlockGroup { resolution_ms, level, min_ms, max_ms, ..BlockGroup::default() });
                    let Some(group) = groups.last_mut() else { continue };
                    group
                }
            };
            group.blocks += 1;
            group.bytes += meta.bytes();
            group.samples += meta.samples + meta.histograms;
            group.series += meta.series;
            group.series_max = group.series_max.max(meta.series);
            group.min_ms = group.min_ms.min(meta.min_ms);
            group.max_ms = group.max_ms.max(meta.max_ms);
        }
        let counters = &shared.counters;
        let candidates: Vec<_> =
            shared.damage.readable(&view.blocks).map(|block| Candidate::of(block.meta())).collect();
        let compaction_backlog = backlog(&candidates, now_ms(), shared.options.compaction) as u64;
        StoreStats {
            away: view.away.as_ref().map(|away| Arc::clone(&away.why)),
            manifest_version: view.manifest.version,
            blocks: groups,
            damaged: shared.damage.list(&view.manifest),
            tombstones: view.manifest.tombstones.len() as u64,
            flush: counters.flush.stats(),
            compaction: counters.compaction.stats(),
            compaction_backlog,
            collection: counters.collection.stats(),
            collected_bytes: counters.collected_bytes.load(Ordering::Relaxed),
            expired_blocks: counters.expired_blocks.load(Ordering::Relaxed),
            series_left: counters.series_left.load(Ordering::Relaxed),
            takeovers: counters.takeovers.load(Ordering::Relaxed),
            bucket: shared.bucket.metrics(),
            caches: shared.caches.figures(),
        }
    }
}
