//! What can go wrong with blocks, and what a caller can do about it.

use crate::block::error::BlockError;
use crate::block::read::ReadError;
use crate::bucket::BucketError;
use crate::error::{Error, ErrorKind};
use crate::manifest::ManifestError;
use crate::select::SelectError;
use crate::tombstone::MatcherError;
use std::path::{Path, PathBuf};

/// A failure of what stores blocks.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The head or its log failed.
    #[error(transparent)]
    Engine(#[from] Error),
    /// The object store failed.
    #[error("the object store failed")]
    Bucket(#[from] BucketError),
    /// The chain of manifests cannot be read or extended.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A block could not be written.
    #[error(transparent)]
    Write(#[from] BlockError),
    /// A block could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The head could not be read.
    #[error("read the head")]
    Head(#[from] crate::head::HeadError),
    /// Series could not be selected.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// A tombstone in the manifest is none.
    #[error("a tombstone cannot be understood")]
    Tombstone(#[from] MatcherError),
    /// A file operation failed.
    #[error("{step} {}", path.display())]
    Io {
        /// What was attempted.
        step: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The object store does not answer, and what it holds was not written down here.
    #[error("the object store does not answer, and what it holds is not known here: {why}")]
    Away {
        /// What was tried.
        why: String,
    },
    /// A block could not be read before, and was not tried again.
    #[error("block {ulid} is damaged: {why}")]
    Damaged {
        /// Which block.
        ulid: String,
        /// What was found.
        why: String,
    },
    /// The same work is under way.
    #[error("another flush is under way")]
    Busy,
    /// The process ends.
    #[error("storage is shutting down")]
    Closed,
}

impl StoreError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Engine(error) => error.kind(),
            Self::Bucket(error) => error.kind(),
            Self::Manifest(error) => error.kind(),
            Self::Write(error) => error.kind(),
            Self::Read(error) => error.kind(),
            Self::Head(_) | Self::Tombstone(_) | Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Select(SelectError::TooManySeries { .. }) => ErrorKind::Limited,
            Self::Select(SelectError::Block(error)) => error.kind(),
            Self::Select(SelectError::Chunk { .. }) => ErrorKind::Corrupt,
            Self::Io { .. } | Self::Away { .. } | Self::Busy | Self::Closed => ErrorKind::Unavailable,
        }
    }

    /// Whether another process took over; whoever claims the right anew can go on.
    pub(crate) fn is_takeover(&self) -> bool {
        matches!(self, Self::Manifest(ManifestError::Fenced { .. }))
    }

    /// Whether another process was faster: what is to be done has to be decided anew.
    pub(crate) fn is_outrun(&self) -> bool {
        self.is_takeover()
            || matches!(self, Self::Manifest(ManifestError::Conflict(conflict)) if conflict.is_outdated())
    }

    /// For `map_err`: a file operation that failed.
    pub(crate) fn io(step: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { step, path, source }
    }

    /// The failure with all its causes, in one line.
    #[must_use]
    pub fn to_line(&self) -> String {
        crate::error::with_causes(self)
    }
}
