//! Deletes what [`super::garbage`] says may be deleted.

use super::{GarbageOptions, ManifestChain, ManifestError, garbage, names};
use crate::bucket::ObjectInfo;
use futures::StreamExt;

/// Deletions that run at the same time.
const DELETES_IN_FLIGHT: usize = 8;

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Files of blocks that left the manifest.
    pub removed_files: u64,
    /// Files of blocks that no manifest names.
    pub orphan_files: u64,
    /// Versions of the manifest.
    pub versions: u64,
    /// Unfinished uploads into a directory.
    pub unfinished: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// Deletes the garbage of one tenant.
///
/// Any process may do this at any time. It must be repeated: what fails now is found again.
///
/// # Errors
/// The store fails; what was deleted until then stays deleted.
pub async fn collect_garbage(
    chain: &ManifestChain,
    now_ms: i64,
    options: GarbageOptions,
) -> Result<Collected, ManifestError> {
    // In this order: what is committed in between is in the manifest, and what is uploaded in between is not in the list.
    let objects = chain.bucket().list(&names::tenant_prefix(chain.tenant())).await?;
    let latest = chain.refresh().await?;
    let garbage = garbage::plan(now_ms, options, &objects, &latest);
    let mut collected = Collected {
        removed_files: garbage.removed.len() as u64,
        orphan_files: garbage.orphans.len() as u64,
        versions: garbage.versions.len() as u64,
        ..Collected::default()
    };
    for objects in [&garbage.removed, &garbage.orphans, &garbage.versions] {
        collected.bytes += delete(chain, objects).await?;
    }
    let before_ms = now_ms.saturating_sub(options.orphan_grace.as_millis() as i64);
    let unfinished = chain.bucket().remove_unfinished(&names::tenant_prefix(chain.tenant()), before_ms).await?;
    collected.unfinished = unfinished;
    Ok(collected)
}

async fn delete(chain: &ManifestChain, objects: &[ObjectInfo]) -> Result<u64, ManifestError> {
    let mut bytes = 0;
    let delete = |object: &ObjectInfo| {
        let (key, size) = (object.key.clone(), object.bytes);
        async move { chain.bucket().delete(&key).await.map(|()| size) }
    };
    let mut deletions = futures::stream::iter(objects.iter().map(delete)).buffered(DELETES_IN_FLIGHT);
    while let Some(deleted) = deletions.next().await {
        bytes += deleted?;
    }
    Ok(bytes)
}
