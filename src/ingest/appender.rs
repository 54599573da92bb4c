//! What ingest needs of a store, and what can go wrong there.

use model::metadata::Metadata;
use storage::append::{AppendOutcome, Batch, LabelHash, Pin, SeriesRef};

/// Called once, from any thread, when what was handed over is durable and visible, or will never be.
pub type Done<T> = Box<dyn FnOnce(Result<T, AppendError>) + Send>;

/// A store of series and samples.
///
/// A series is found or created first, then its rows are appended; both by whole requests, so that calls cost little per
/// sample. Nothing here waits for a disk.
pub trait Appender: Send + Sync + 'static {
    /// Keeps the references that are found from now on, until it is dropped: taken before the first lookup of a batch and
    /// handed over with it. `None` of a store that never lets series go.
    fn pin(&self) -> Option<Pin>;

    /// Finds the series of many label sets; `out` has the length of `hashes`.
    fn lookup(&self, hashes: &[LabelHash], out: &mut [Option<SeriesRef>]);

    /// Finds or makes the series of one label set, whose names ascend and whose values are not empty.
    ///
    /// # Errors
    /// The series cannot be made, now or ever; [`AppendError::kind`] says which.
    fn create(&self, hash: LabelHash, labels: &[(&str, &str)]) -> Result<SeriesRef, AppendError>;

    /// Takes samples and exemplars of series that exist.
    fn append(&self, batch: Batch, done: Done<AppendOutcome>);

    /// Takes what is known about metrics, by name; answers how many entries it has no room for.
    fn put_metadata(&self, entries: Vec<(String, Metadata)>, done: Done<u64>);
}

/// What a sender can do about a failure of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendErrorKind {
    /// This can never be stored.
    Invalid,
    /// A limit is reached: slow down and try again.
    Limited,
    /// Something that storing depends on does not work now: try again.
    Unavailable,
}

/// Why the store did not take something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct AppendError {
    /// What to do about it.
    pub kind: AppendErrorKind,
    /// The store's words, causes included.
    pub reason: String,
}

impl AppendError {
    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> AppendErrorKind {
        self.kind
    }

    /// A failure that passes.
    #[must_use]
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self { kind: AppendErrorKind::Unavailable, reason: reason.into() }
    }
}
