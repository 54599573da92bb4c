//! What can go wrong while a block is read.

use crate::account::Refused;
use crate::error::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is wrong with a page; whoever knows its file and offset says so in a [`ReadError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageError(pub(crate) &'static str);

impl PageError {
    pub(crate) fn at(self, key: &str, offset: u64) -> ReadError {
        ReadError::Damaged { key: key.into(), offset, what: self.0 }
    }
}

/// Of all blocks of the process: there is nothing to be told apart, since every one is a mistake.
static PAGES_NOT_FETCHED: AtomicU64 = AtomicU64::new(0);

/// How many pages were read that had not been fetched before, since the process began; 0 unless Hearth has a mistake.
#[must_use]
pub fn pages_not_fetched() -> u64 {
    PAGES_NOT_FETCHED.load(Ordering::Relaxed)
}

/// Why a block could not be read. Other blocks stay usable.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The object store did not give the bytes.
    #[error("read object `{key}`")]
    Bucket {
        /// The object.
        key: Arc<str>,
        /// Why.
        source: Arc<crate::bucket::BucketError>,
    },
    /// Stored bytes are not what was written.
    #[error("object `{key}` is damaged at byte {offset}: {what}")]
    Damaged {
        /// The object.
        key: Arc<str>,
        /// The page or structure that is damaged.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// Metadata or columns of an object are not what this version reads.
    #[error("object `{key}` cannot be read: {reason}")]
    Unreadable {
        /// The object.
        key: Arc<str>,
        /// What the parser says.
        reason: Arc<str>,
    },
    /// Pages are read that were not fetched before: a mistake of the caller, which [`pages_not_fetched`] counts.
    #[error(
        "this is a mistake in Hearth, please report it: a page of object `{key}` was read that was not fetched before, \
         the one at byte {offset}"
    )]
    NotFetched {
        /// The object.
        key: Arc<str>,
        /// The page.
        offset: u64,
    },
    /// The object store has not answered since the process began, so what it holds is not known well enough.
    #[error(
        "the object store has not answered since the start; answers that reach back before {from_ms} (Unix time in milliseconds) need what \
         it holds, which is not known until it answers: {why}"
    )]
    Away {
        /// Everything from this time on is here.
        from_ms: i64,
        /// Why the store did not answer.
        why: Arc<str>,
    },
    /// More series match than the caller allows.
    #[error("the query selects more than {series_max} series")]
    TooManySeries {
        /// The bound that was passed.
        series_max: usize,
    },
    /// Whoever reads may not hold so much memory.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl ReadError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Bucket { source, .. } => source.kind(),
            Self::Damaged { .. } | Self::Unreadable { .. } => ErrorKind::Corrupt,
            Self::NotFetched { .. } => ErrorKind::Internal,
            Self::Away { .. } => ErrorKind::Unavailable,
            Self::TooManySeries { .. } | Self::Refused(_) => ErrorKind::Limited,
        }
    }

    /// Counts it, too: whoever gets the error may drop it.
    pub(crate) fn not_fetched(key: &Arc<str>, offset: u64) -> Self {
        PAGES_NOT_FETCHED.fetch_add(1, Ordering::Relaxed);
        Self::NotFetched { key: Arc::clone(key), offset }
    }

    pub(crate) fn unreadable(key: &Arc<str>, reason: impl ToString) -> Self {
        Self::Unreadable { key: Arc::clone(key), reason: reason.to_string().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_was_not_fetched_is_our_mistake_and_counted() {
        let before = pages_not_fetched();
        let error = ReadError::not_fetched(&"a/samples.parquet".into(), 7);
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(error.to_string().contains("mistake in Hearth"), "{error}");
        assert!(pages_not_fetched() > before);
    }
}
