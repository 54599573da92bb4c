//! What can go wrong with an import.

use crate::error::ErrorKind;
use crate::store::StoreError;
use std::path::{Path, PathBuf};

/// Why something was not imported. What was committed before stays.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file operation failed.
    #[error("{step} `{}`", path.display())]
    Io {
        /// What was tried.
        step: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A text is not what it should be.
    #[error("{}: {problem}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: TextError,
    },
    /// Foreign bytes contradict their format or checksum.
    #[error("`{}` is damaged at byte {offset}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// It is readable, but not something that can be imported.
    #[error("`{}` cannot be imported: {why}", path.display())]
    Unsupported {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A part of the import takes more memory than it may.
    #[error(
        "{what} take more than {bytes_max} bytes, their part of the {limit} that `--memory.limit` allows: raise it, or import less at once"
    )]
    NoRoom {
        /// Which part.
        what: &'static str,
        /// What it may take.
        bytes_max: u64,
        /// What all of it may take.
        limit: u64,
    },
    /// A page of a foreign file takes more memory than decoding may.
    #[error(
        "column `{column}` of `{}` has a page of {bytes} bytes at byte {offset}; decoding it takes more than {bytes_max} bytes, a quarter of what \
         `--memory.limit` allows: raise it, or write the file with smaller pages",
        path.display()
    )]
    PageTooLarge {
        /// The file.
        path: PathBuf,
        /// The path of the column.
        column: String,
        /// Where the page begins.
        offset: u64,
        /// Its size as stored and decompressed, together.
        bytes: u64,
        /// What decoding may take.
        bytes_max: u64,
    },
    /// Blocks could not be written or committed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A mistake in a text, by its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct TextError {
    /// From 1.
    pub line: u64,
    /// Of the character, from 1.
    pub column: u64,
    /// What is wrong there.
    pub problem: String,
}

impl ImportError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Unavailable,
            Self::Text { .. } | Self::Unsupported { .. } => ErrorKind::Invalid,
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::NoRoom { .. } | Self::PageTooLarge { .. } => ErrorKind::Limited,
            Self::Store(error) => error.kind(),
        }
    }

    /// For `map_err`: a file operation that failed.
    pub(crate) fn io(step: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { step, path, source }
    }

    pub(crate) fn unsupported(path: &Path, why: impl Into<String>) -> Self {
        Self::Unsupported { path: path.to_owned(), why: why.into() }
    }
}
