//! The storage engine as ingest's store.

use super::appender::{AppendError, AppendErrorKind, Appender, Done};
use model::metadata::Metadata;
use storage::append::{AppendOutcome, Batch, LabelHash, Pin, SeriesRef};
use storage::engine::Engine;
use storage::error::{Error, ErrorKind};

impl Appender for Engine {
    fn pin(&self) -> Option<Pin> {
        Some(Engine::pin(self))
    }

    fn lookup(&self, hashes: &[LabelHash], out: &mut [Option<SeriesRef>]) {
        Engine::lookup(self, hashes, out);
    }

    fn create(&self, hash: LabelHash, labels: &[(&str, &str)]) -> Result<SeriesRef, AppendError> {
        Ok(Engine::create(self, hash, labels)?)
    }

    fn append(&self, batch: Batch, done: Done<AppendOutcome>) {
        Engine::append(self, batch, move |outcome| done(outcome.map_err(AppendError::from)));
    }

    fn put_metadata(&self, entries: Vec<(String, Metadata)>, done: Done<u64>) {
        self.append_metadata(entries, move |outcome| {
            done(outcome.map(|refused| refused as u64).map_err(AppendError::from));
        });
    }
}

impl From<Error> for AppendError {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Invalid => AppendErrorKind::Invalid,
            ErrorKind::Limited => AppendErrorKind::Limited,
            // What is damaged may be repaired, and nothing that is refused because of it is the sender's fault.
            ErrorKind::Unavailable | ErrorKind::Corrupt | ErrorKind::Internal => AppendErrorKind::Unavailable,
        };
        Self { kind, reason: error.to_line() }
    }
}
