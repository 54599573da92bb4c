//! Makes written blocks known: their files are uploaded, then a manifest names them. Only the latter can be seen.

use super::expiring::Expiring;
use super::flush::StagedBlock;
use crate::block::schema::META_FILE;
use crate::bucket::Bucket;
use crate::head::FlushedState;
use crate::manifest::{Conflict, Epoch, Manifest, ManifestChain, ManifestError};
use crate::tiers::day_spans::DaySpans;
use crate::tiers::days::TierCoverage;
use crate::tombstone::Tombstone;
use futures::stream::{StreamExt, TryStreamExt};
use std::sync::Arc;

/// Files of one block that are uploaded at once.
const UPLOADS_IN_FLIGHT: usize = 4;

/// What one commit changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    /// Blocks that are no longer used.
    pub(crate) remove: Vec<String>,
    /// How far the head is in blocks now.
    pub(crate) flushed: Option<FlushedState>,
    /// Deletions that came to be: they concern the blocks that are there before the change.
    pub(crate) tombstones: Vec<Tombstone>,
    /// Deletions that have been carried out everywhere.
    pub(crate) done_tombstones: Vec<String>,
    /// The days whose floats go with what is removed.
    pub(crate) expiring: Option<Expiring>,
    /// The days of the floats that were imported: while only tiers are left of one, it takes none.
    pub(crate) imported: DaySpans,
    /// The version of the manifest whose deletions are carried out in what stands in for other blocks.
    pub(crate) deleted_up_to: Option<u64>,
}

/// Uploads the blocks and commits the change. To repeat it after a failure is harmless.
pub(crate) async fn publish(
    chain: &ManifestChain,
    epoch: Epoch,
    staged: &[StagedBlock],
    change: &Change,
) -> Result<Arc<Manifest>, ManifestError> {
    for block in staged {
        upload(chain.bucket(), block).await?;
    }
    fail::fail_point!("publish-uploaded");
    let committed = chain
        .commit(epoch, |manifest| {
            // Who holds the epoch may not have held it all the time.
            let came_later = |tombstone: &Tombstone| tombstone.up_to_version >= change.deleted_up_to;
            if change.deleted_up_to.is_some() && manifest.tombstones.iter().any(came_later) {
                return Err(Conflict::Deleted);
            }
            if change.expiring.as_ref().is_some_and(|expiring| expiring.is_outdated(manifest)) {
                return Err(Conflict::Late);
            }
            let expired = || TierCoverage::of(manifest.blocks.iter()).expired;
            if change.imported != DaySpans::default() && change.imported.meet(&expired()) {
                return Err(Conflict::Expired);
            }
            let add = staged.iter().map(|block| block.meta.clone()).collect();
            let mut next = manifest.replace_blocks(&change.remove, add)?;
            if change.flushed.is_some() {
                next.flushed = change.flushed;
            }
            let known = |new: &&Tombstone| !manifest.tombstones.iter().any(|tombstone| tombstone.id == new.id);
            let up_to_version = Some(manifest.version);
            let new = change.tombstones.iter().filter(known).cloned();
            next.tombstones.extend(new.map(|tombstone| Tombstone { up_to_version, ..tombstone }));
            next.tombstones.retain(|tombstone| !change.done_tombstones.contains(&tombstone.id));
            Ok(next)
        })
        .await?;
    fail::fail_point!("publish-committed");
    Ok(committed)
}

async fn upload(bucket: &Bucket, block: &StagedBlock) -> Result<(), ManifestError> {
    let prefix = block.meta.prefix();
    let names = block.meta.files.iter().map(|file| file.name.clone()).chain([META_FILE.to_owned()]);
    let uploads = names.map(|name| {
        let (key, path) = (format!("{prefix}{name}"), block.dir.join(&name));
        async move { bucket.upload_file(&key, &path).await }
    });
    // Sizes are of no interest here; a short file would have failed.
    futures::stream::iter(uploads).buffer_unordered(UPLOADS_IN_FLIGHT).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}
