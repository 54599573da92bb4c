//! Which blocks there are at one moment: what a manifest names, ready to be read.

use super::StoreError;
use crate::block::meta::BlockMeta;
use crate::block::read::{Block, BlockCaches, ReadError};
use crate::bucket::Bucket;
use crate::manifest::Manifest;
use crate::select::TimeRange;
use crate::tiers::days::TierCoverage;
use crate::tombstone::{Deletion, Since};
use hashbrown::HashMap;
use std::sync::Arc;

/// See the head of the file. Whoever reads holds one for as long as that takes.
#[derive(Debug)]
pub(crate) struct BlockView {
    pub(crate) manifest: Arc<Manifest>,
    /// By precedence: where two blocks have a sample of one series at one time, that of the earlier one counts.
    pub(crate) blocks: Vec<Block>,
    /// Blocks that this version cannot read, and why: whoever asks for their time is told.
    unreadable: Vec<(Arc<BlockMeta>, ReadError)>,
    pub(crate) deletions: Vec<Deletion>,
    /// Of blocks that not all of the deletions concern.
    since: HashMap<String, Since>,
    /// What of tiers can be read.
    pub(crate) tiers: TierCoverage,
    /// The newest sample of all blocks: asked for by every query.
    pub(crate) newest_ms: i64,
    /// Why it is only what was known once, while that is so.
    pub(crate) away: Option<Away>,
}

/// The object store has not answered since the start.
#[derive(Debug, Clone)]
pub(crate) struct Away {
    /// Everything from this time on is here.
    pub(crate) from_ms: i64,
    pub(crate) why: Arc<str>,
}

impl BlockView {
    /// What a manifest names. Blocks that `before` has are taken over.
    ///
    /// # Errors
    /// A tombstone is none.
    pub(crate) fn new(
        manifest: Arc<Manifest>,
        before: Option<&Self>,
        bucket: &Bucket,
        caches: &BlockCaches,
    ) -> Result<Self, StoreError> {
        let known = before.into_iter().flat_map(|view| &view.blocks);
        let known: HashMap<&str, &Block> = known.map(|block| (block.meta().ulid.as_str(), block)).collect();
        let mut blocks = Vec::with_capacity(manifest.blocks.len());
        let mut unreadable = Vec::new();
        for meta in &manifest.blocks {
            match known.get(meta.ulid.as_str()) {
                Some(block) => blocks.push((*block).clone()),
                None => {
                    let meta = Arc::new(meta.clone());
                    match Block::new(bucket, Arc::clone(&meta), caches) {
                        Ok(block) => blocks.push(block),
                        Err(error) => unreadable.push((meta, error)),
                    }
                }
            }
        }
        blocks.sort_by(|a, b| {
            let (a, b) = (a.meta(), b.meta());
            (a.resolution_ms, a.oldest_origin(), &a.ulid).cmp(&(b.resolution_ms, b.oldest_origin(), &b.ulid))
        });
        let deletions = manifest.tombstones.iter().map(Deletion::of).collect::<Result<_, _>>()?;
        let since = since(&manifest);
        let tiers = TierCoverage::of(blocks.iter().map(|block| block.meta().as_ref()));
        let newest_ms = manifest.blocks.iter().map(|meta| meta.max_ms).max().unwrap_or(i64::MIN);
        Ok(Self { manifest, blocks, unreadable, deletions, since, tiers, newest_ms, away: None })
    }

    /// Since when a block is there, as far as deletions tell blocks apart.
    pub(crate) fn since(&self, block: &Block) -> Since {
        self.since.get(&block.meta().ulid).copied().unwrap_or(Since::version(0))
    }

    /// The same while the object store does not answer. Blocks that came since may be missing: what is older than the newest
    /// known one, or than a first start, cannot be told.
    pub(crate) fn away(mut self, why: Arc<str>) -> Self {
        if self.manifest.version == 0 {
            self.newest_ms = self.manifest.created_ms.saturating_sub(1);
        }
        self.away = Some(Away { from_ms: self.newest_ms.saturating_add(1), why });
        self
    }

    /// The blocks of raw samples that may have some in a range, by precedence.
    pub(crate) fn raw_within(&self, range: TimeRange) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(move |block| {
            let meta = block.meta();
            meta.resolution_ms == 0 && meta.max_ms > range.after_ms && meta.min_ms <= range.until_ms
        })
    }

    /// Fails when a block that cannot be read may have samples in a range.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(crate) fn check(&self, range: TimeRange) -> Result<(), ReadError> {
        if let Some(Away { from_ms, why }) = &self.away
            && range.after_ms.saturating_add(1) < *from_ms
        {
            return Err(ReadError::Away { from_ms: *from_ms, why: Arc::clone(why) });
        }
        let within = |meta: &BlockMeta| meta.max_ms > range.after_ms && meta.min_ms <= range.until_ms;
        match self.unreadable.iter().find(|(meta, _)| within(meta)) {
            Some((_, error)) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// The blocks of tiers that have buckets of a range. `expired`: all of those whose samples are gone; otherwise those that
    /// may be read.
    pub(crate) fn tiers_within(&self, range: TimeRange, expired: bool) -> impl Iterator<Item = &Block> {
        let overlapping = self.blocks.iter().filter(move |block| {
            let meta = block.meta();
            meta.resolution_ms > 0 && meta.max_ms > range.after_ms && meta.min_ms <= range.until_ms
        });
        overlapping.filter(move |block| {
            let meta = block.meta();
            match expired {
                true => self.tiers.expired_until_ms.is_some_and(|expired_ms| meta.min_ms <= expired_ms),
                false => self.tiers.ulids.contains(&meta.ulid),
            }
        })
    }

    /// The blocks that know the series of a range: those of samples, and where they have expired those of the finest tier.
    pub(crate) fn known_within(&self, range: TimeRange) -> impl Iterator<Item = &Block> {
        let expired = self.tiers_within(range, true);
        let finest = expired.filter(|block| self.tiers.expired_ulids.contains(&block.meta().ulid));
        self.raw_within(range).chain(finest.filter(|block| block.meta().series > 0))
    }
}

/// Blocks that the same deletions concern have one number, so that few are to be told apart.
fn since(manifest: &Manifest) -> HashMap<String, Since> {
    let mut bounds: Vec<u64> = manifest.tombstones.iter().filter_map(|tombstone| tombstone.up_to_version).collect();
    bounds.sort_unstable();
    let class = |version: &u64| {
        let at = bounds.partition_point(|bound| bound < version);
        bounds.get(at).map_or(Since::NOW, |bound| Since::version(*bound))
    };
    manifest.added.iter().map(|(ulid, version)| (ulid.clone(), class(version))).collect()
}
