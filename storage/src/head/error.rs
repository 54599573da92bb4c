//! What can go wrong in the head, and what a caller can do about it.

use std::path::PathBuf;

/// What a caller can do about a failure of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadErrorKind {
    /// The request can never succeed.
    Invalid,
    /// A fixed capacity is used up.
    Limited,
    /// A file operation failed; trying again may help.
    Unavailable,
    /// Stored bytes contradict their checksum or each other.
    Corrupt,
}

/// A failure of the head.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
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
    /// A snapshot could not be written to or read from its stream.
    #[error("{step} the snapshot of shard {shard}")]
    SnapshotIo {
        /// `read` or `write`.
        step: &'static str,
        /// Whose snapshot.
        shard: usize,
        /// The stream's reason.
        source: std::io::Error,
    },
    /// A file or stream does not hold what its format says.
    #[error("{what} at byte {offset} of `{place}`")]
    Corrupt {
        /// What is wrong.
        what: &'static str,
        /// File or stream.
        place: String,
        /// Where in it.
        offset: u64,
    },
    /// The format is newer than this program.
    #[error("`{place}` has format version {found}; this program knows up to {known}")]
    NewerFormat {
        /// File or stream.
        place: String,
        /// The version it says.
        found: u32,
        /// The newest known version.
        known: u32,
    },
    /// A restored series contradicts what the head already holds under its reference.
    #[error("series {series} is restored with labels that contradict those it has")]
    SeriesConflict {
        /// The reference in question.
        series: u32,
    },
    /// No further series or label fits the shard's 32-bit addresses.
    #[error("shard {shard} has no room for another {what}")]
    Full {
        /// Which shard.
        shard: usize,
        /// What is used up.
        what: &'static str,
    },
    /// A snapshot can only be read into an empty shard.
    #[error("shard {shard} is not empty")]
    NotEmpty {
        /// Which shard.
        shard: usize,
    },
    /// One snapshot of a shard at a time.
    #[error("a snapshot of shard {shard} is under way")]
    SnapshotUnderWay {
        /// Which shard.
        shard: usize,
    },
    /// The options contradict themselves or the stored head.
    #[error("head options: {0}")]
    Options(String),
}

impl HeadError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> HeadErrorKind {
        match self {
            Self::Io { .. } | Self::SnapshotIo { .. } => HeadErrorKind::Unavailable,
            Self::Corrupt { .. } | Self::NewerFormat { .. } | Self::SeriesConflict { .. } => HeadErrorKind::Corrupt,
            Self::Full { .. } | Self::SnapshotUnderWay { .. } => HeadErrorKind::Limited,
            Self::Options(_) | Self::NotEmpty { .. } => HeadErrorKind::Invalid,
        }
    }
}

/// Something that opening or restoring the head noticed and dealt with; worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What was found and what was done, as a sentence without a full stop.
    pub message: String,
}
