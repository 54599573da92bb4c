//! Decides which objects may be deleted. Pure: a list of objects, the newest manifest and the time are arguments.

use super::{Manifest, names};
use crate::bucket::ObjectInfo;
use std::collections::HashMap;
use std::time::Duration;

/// How long objects outlive their use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GarbageOptions {
    /// How long files of a block stay after it left the manifest, because queries still read it: longer than any query takes.
    pub removed_block_grace: Duration,
    /// How long files stay that belong to no block of the manifest: longer than it takes from the first byte of an upload to
    /// its commit. Older versions of the manifest stay as long.
    pub orphan_grace: Duration,
}

impl Default for GarbageOptions {
    fn default() -> Self {
        Self { removed_block_grace: Duration::from_secs(3600), orphan_grace: Duration::from_secs(24 * 3600) }
    }
}

/// Objects to delete.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Garbage {
    /// Files of blocks that left the manifest.
    pub(super) removed: Vec<ObjectInfo>,
    /// Files of blocks that no manifest names.
    pub(super) orphans: Vec<ObjectInfo>,
    /// Versions of the manifest that were followed by another long ago.
    pub(super) versions: Vec<ObjectInfo>,
}

/// The newest versions that always stay.
const VERSIONS_KEPT: usize = 2;

/// What of `objects`, a list of the tenant's objects by key that is older than `latest`, may be deleted at `now_ms`.
///
/// Objects that are neither a block's file nor a manifest are never touched. Without a manifest nothing is: then it is missing
/// rather than the data being garbage.
pub(super) fn plan(now_ms: i64, options: GarbageOptions, objects: &[ObjectInfo], latest: &Manifest) -> Garbage {
    let mut garbage = Garbage::default();
    if latest.version == 0 {
        return garbage;
    }
    let removed: HashMap<&str, i64> =
        latest.removed.iter().map(|block| (block.ulid.as_str(), block.removed_ms)).collect();
    let is_over = |since_ms: i64, grace: Duration| now_ms.saturating_sub(since_ms) >= grace.as_millis() as i64;
    for object in objects {
        let Some(ulid) = names::parse_block(&object.key) else { continue };
        if latest.block(ulid).is_some() {
            continue;
        }
        match removed.get(ulid) {
            Some(removed_ms) if is_over(*removed_ms, options.removed_block_grace) => {
                garbage.removed.push(object.clone())
            }
            Some(_) => {}
            None if is_over(object.modified_ms, options.orphan_grace) => garbage.orphans.push(object.clone()),
            None => {}
        }
    }
    let versions: Vec<&ObjectInfo> =
        objects.iter().filter(|object| names::parse_version(&object.key).is_some()).collect();
    let followed = versions.iter().zip(versions.iter().skip(1));
    let candidates = versions.len().saturating_sub(VERSIONS_KEPT);
    for (version, next) in followed.take(candidates) {
        if is_over(next.modified_ms, options.orphan_grace) {
            garbage.versions.push((*version).clone());
        }
    }
    garbage
}
