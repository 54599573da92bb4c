//! What can go wrong in storage, and what a caller can do about it.

use crate::head::{HeadError, HeadErrorKind};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// What a caller can do about a failure. HTTP status and retry follow from this alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Can never succeed: reject and tell the sender why.
    Invalid,
    /// A limit is reached: ask the sender to slow down.
    Limited,
    /// Cannot be done now: retry with backoff.
    Unavailable,
    /// Stored bytes contradict their checksum: keep the file, wake a human.
    Corrupt,
    /// A mistake of Hearth's own: trying again will not help, report it.
    Internal,
}

/// A failure of the storage engine. Cheap to clone: one failed disk operation may answer many writers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Another process has the directory open.
    #[error("the data directory {} is in use by another process{}", path.display(), holder_note(holder))]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the lock file says about its holder; may be empty.
        holder: String,
    },
    /// The directory was written by a version that this one does not know.
    #[error("{} has format version {found}; this version reads up to {known}", path.display())]
    UnknownVersion {
        /// The file that says so.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The newest version that can be read.
        known: u32,
    },
    /// An operation of the operating system failed.
    #[error("{step} {}", path.display())]
    Io {
        /// What was attempted, such as `open log segment`.
        step: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's reason.
        source: Arc<io::Error>,
    },
    /// Stored bytes are not what was written.
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// More bytes wait for the disk than may wait.
    #[error("the write queue is full: {bytes_max} bytes wait for the disk")]
    QueueFull {
        /// The bound, see `Options::queue_bytes_max`.
        bytes_max: usize,
    },
    /// The log has no room and none can be made now; it is tried again on its own.
    #[error("no room for the write-ahead log: {reason}")]
    NoLogSpace {
        /// Why the next segment could not be prepared.
        reason: Arc<str>,
    },
    /// A write or sync of the log failed. Nothing is acknowledged until a restart.
    #[error("the write-ahead log failed, nothing is accepted until a restart: {reason}")]
    LogFailed {
        /// The first failure.
        reason: Arc<str>,
    },
    /// The engine was closed.
    #[error("storage is shutting down")]
    Closed,
    /// The label set of one series is larger than a log record may be.
    #[error("labels of {bytes} bytes exceed the limit of {bytes_max} for one series")]
    LabelsTooLarge {
        /// Size of the set.
        bytes: usize,
        /// Largest size.
        bytes_max: usize,
    },
    /// The head failed.
    #[error("the head failed")]
    Head {
        /// How.
        source: Arc<HeadError>,
    },
    /// An option has a value that cannot work.
    #[error("option {option}: {why}")]
    Option {
        /// Name of the field of `Options`.
        option: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

fn holder_note(holder: &str) -> String {
    if holder.is_empty() { String::new() } else { format!(" ({holder})") }
}

impl Error {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownVersion { .. } | Self::LabelsTooLarge { .. } | Self::Option { .. } => ErrorKind::Invalid,
            Self::Locked { .. }
            | Self::Io { .. }
            | Self::QueueFull { .. }
            | Self::NoLogSpace { .. }
            | Self::LogFailed { .. }
            | Self::Closed => ErrorKind::Unavailable,
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Head { source } => match source.kind() {
                HeadErrorKind::Invalid => ErrorKind::Invalid,
                HeadErrorKind::Limited => ErrorKind::Limited,
                HeadErrorKind::Unavailable => ErrorKind::Unavailable,
                HeadErrorKind::Corrupt => ErrorKind::Corrupt,
            },
        }
    }

    /// Wraps a failure of the operating system: `disk.open(path).map_err(Error::io("open log segment", path))`.
    pub(crate) fn io(step: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { step, path, source: Arc::new(source) }
    }

    /// The failure with its causes in one line, for logs and answers.
    #[must_use]
    pub fn to_line(&self) -> String {
        with_causes(self)
    }
}

/// A failure and what caused it in one line, for logs and answers. A cause that the text before it ends with already is not
/// repeated.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        source = cause.source();
    }
    line
}

impl From<HeadError> for Error {
    fn from(error: HeadError) -> Self {
        Self::Head { source: Arc::new(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_every_cause() {
        let error = Error::io("open log segment", "/data/wal/1")(io::Error::other("no such device"));
        assert_eq!(error.to_line(), "open log segment /data/wal/1: no such device");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}
