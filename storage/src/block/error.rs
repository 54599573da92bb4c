//! What can go wrong with the files of a block, and what a caller can do about it.

use crate::error::ErrorKind;
use parquet::errors::ParquetError;
use std::path::{Path, PathBuf};

/// A failure to write or check a block.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// A file operation failed.
    #[error("{step} `{}`", path.display())]
    Io {
        /// What was tried.
        step: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// Encoding failed, mostly because the file could not be written.
    #[error("write `{}`", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// What the encoder says.
        source: ParquetError,
    },
    /// Stored bytes are not what was written.
    #[error("`{file}` is damaged at byte {offset}: {what}")]
    Damaged {
        /// The file, by its name within the block or its path.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A file of the block is not there.
    #[error("`{file}` is missing")]
    Missing {
        /// The file.
        file: String,
    },
    /// The format is newer than this program.
    #[error("`{file}` has format version {found}; this program knows up to {known}")]
    NewerFormat {
        /// The file.
        file: String,
        /// The version it says.
        found: u32,
        /// The newest known version.
        known: u32,
    },
    /// More rows than a column of row numbers can count.
    #[error("a block cannot hold more than 2^32 {what}")]
    TooMany {
        /// Rows of what.
        what: &'static str,
    },
}

impl BlockError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NewerFormat { .. } | Self::TooMany { .. } => ErrorKind::Invalid,
            Self::Io { .. } | Self::Encode { .. } => ErrorKind::Unavailable,
            Self::Damaged { .. } | Self::Missing { .. } => ErrorKind::Corrupt,
        }
    }

    /// For `map_err`: a file operation that failed.
    pub(crate) fn io(step: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { step, path, source }
    }

    /// For `map_err`: an encoder that failed.
    pub(crate) fn encode(path: &Path) -> impl FnOnce(ParquetError) -> Self {
        let path = path.to_owned();
        move |source| Self::Encode { path, source }
    }
}
