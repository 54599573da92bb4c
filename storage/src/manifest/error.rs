//! What can go wrong with a chain of manifests.

use super::{Conflict, Role};
use crate::bucket::BucketError;
use crate::error::ErrorKind;

/// Why a manifest could not be read or published.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ManifestError {
    /// The store failed. A version that was about to be created may exist all the same: the next commit finds out.
    #[error("the object store failed")]
    Bucket(#[from] BucketError),
    /// The bytes are not a manifest.
    #[error("manifest `{object}` is damaged: {what}")]
    Damaged {
        /// Which object.
        object: String,
        /// What is wrong with it.
        what: String,
    },
    /// Written by a version of Hearth that this one does not know.
    #[error("manifest `{object}` has format version {found}; this version reads up to {known}")]
    Newer {
        /// Which object.
        object: String,
        /// The version in it.
        found: u32,
        /// The newest version that can be read.
        known: u32,
    },
    /// The store does not have the chain that this directory knew when it was opened without it.
    #[error(
        "the object store is not the one that was known here: it lacks version {known} of the manifest of tenant {tenant}, \
         or has another one; its newest is {newest}. Nothing is published until a restart, which follows what is there"
    )]
    Diverged {
        /// Whose data.
        tenant: String,
        /// The version that was known.
        known: u64,
        /// The newest version in the store; 0 when there is none.
        newest: u64,
    },
    /// Another process took over.
    #[error("another process took over as {role} of tenant {tenant}: it holds epoch {current}, this one {held}")]
    Fenced {
        /// Whose data.
        tenant: String,
        /// What it took over.
        role: Role,
        /// The epoch that was used.
        held: u64,
        /// The epoch that counts.
        current: u64,
    },
    /// The change makes no sense on the newest manifest.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// Others were faster, again and again.
    #[error("others published {attempts} versions while this one was tried")]
    Contended {
        /// How often it was tried.
        attempts: u32,
    },
}

impl ManifestError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Bucket(error) => error.kind(),
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Newer { .. } | Self::Diverged { .. } => ErrorKind::Invalid,
            Self::Conflict(conflict) if !conflict.is_outdated() => ErrorKind::Invalid,
            Self::Conflict(_) => ErrorKind::Unavailable,
            // Whoever claims the role anew can go on.
            Self::Fenced { .. } | Self::Contended { .. } => ErrorKind::Unavailable,
        }
    }

    /// Whether the store does not answer, rather than refusing what is asked.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Bucket(BucketError::Unavailable { .. }))
    }
}
