//! Which blocks exist: a chain of numbered manifests, one object per version, of which the newest counts.
//!
//! ```text
//! t=<tenant>/manifest/00000000000000000041.json.zst     version n + 1 is created if it is absent, and by nothing else
//!                     00000000000000000042.json.zst     the newest: what readers see
//!                     latest                            a hint where to begin looking
//! ```
//! Creating the next version is the only way to publish anything. Of two processes that try, one loses, reads what the other
//! wrote, and decides again whether its change still makes sense. Whoever wants to write claims an epoch first, by a version of
//! its own; from then on, what holders of older epochs still want to publish is refused. Format: `docs/formats/manifest.md`.
//!
//! [`change`] decides and [`chain`] does; [`garbage`] decides what may be deleted and [`collect`] deletes it.

mod chain;
mod change;
mod collect;
mod error;
mod format;
mod garbage;
mod names;
#[cfg(test)]
mod tests;

pub use chain::{Clock, ManifestChain, system_clock};
pub use change::{Conflict, Epoch, Role};
pub use collect::{Collected, collect_garbage};
pub use error::ManifestError;
pub use format::{FORMAT_VERSION, Manifest, RemovedBlock};
pub use garbage::GarbageOptions;

use crate::bucket::{Bucket, BucketError};

/// The tenants of whom anything is in a bucket, sorted.
///
/// # Errors
/// The bucket cannot be listed.
pub async fn tenants(bucket: &Bucket) -> Result<Vec<String>, BucketError> {
    Ok(bucket.directories().await?.iter().filter_map(|directory| names::parse_tenant(directory)).collect())
}
