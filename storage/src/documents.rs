//! Small named documents in the object store, each a chain of numbered versions.
//!
//! A change creates the version after the newest one if it is absent, so of two writers who change a document at the same time
//! one is told to look again: no change is lost. The newest versions stay, older ones are deleted. A document that was
//! removed is a version without content. Byte layout and rules: `docs/formats/documents.md`.

mod format;
mod names;

pub use format::{Document, FORMAT_VERSION};
pub use names::NAME_BYTES_MAX;

use crate::bucket::{Bucket, BucketError, Creation};
use crate::error::ErrorKind;
use crate::manifest::Clock;
use bytes::Bytes;
use futures::StreamExt;
use std::collections::BTreeMap;

/// A change is tried this often against others who change the same document.
const ATTEMPTS_MAX: u32 = 50;
/// Versions of one document that stay, the newest included.
const VERSIONS_KEPT: usize = 10;
/// Documents that are read at the same time.
const READS_IN_FLIGHT: usize = 16;
/// After so long the versions of a removed document are deleted. Nobody may take longer for a change.
const REMOVED_FOR_MS: i64 = 7 * 24 * 3_600_000;

/// The documents of one kind of one tenant. Cheap to clone.
#[derive(Clone)]
pub struct Documents {
    bucket: Bucket,
    /// Without a slash at its end.
    directory: String,
    clock: Clock,
}

/// Why documents cannot be read or changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DocumentError {
    /// The store failed. A version that was about to be created may exist all the same.
    #[error("the object store failed")]
    Bucket(#[from] BucketError),
    /// The bytes are not a document.
    #[error("document `{object}` is damaged: {what}")]
    Damaged {
        /// Which object.
        object: String,
        /// What is wrong with it.
        what: String,
    },
    /// Written by a version of Hearth that this one does not know.
    #[error("document `{object}` has format version {found}; this version reads up to {known}")]
    Newer {
        /// Which object.
        object: String,
        /// The version in it.
        found: u32,
        /// The newest version that can be read.
        known: u32,
    },
    /// No document can have this name.
    #[error("a name of {bytes} bytes is too long: at most {NAME_BYTES_MAX} after escaping")]
    Name {
        /// Its length after escaping.
        bytes: usize,
    },
    /// Others were faster, again and again.
    #[error("others changed it {attempts} times meanwhile")]
    Contended {
        /// How often it was tried.
        attempts: u32,
    },
}

impl DocumentError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Bucket(error) => error.kind(),
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Newer { .. } | Self::Name { .. } => ErrorKind::Invalid,
            Self::Contended { .. } => ErrorKind::Unavailable,
        }
    }
}

/// What a change makes of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It stays as it is.
    Nothing,
    /// This is its content now.
    Content(String),
    /// It is removed.
    Remove,
}

/// What became of [`Documents::update`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Updated<R> {
    /// The newest version now, this change included.
    To(Document),
    /// The change did not want anything changed; what it read, if there was anything.
    Unchanged(Option<Document>),
    /// The change refused what it read.
    Refused(R),
}

impl Documents {
    /// The documents below `t=<tenant>/<kind>`; `kind` is a word.
    #[must_use]
    pub fn new(bucket: Bucket, tenant: &str, kind: &str, clock: Clock) -> Self {
        Self { bucket, directory: names::directory(tenant, kind), clock }
    }

    /// Reads every document whose newest version is not among `known`, which has version numbers by [`Document::name`].
    /// Costs one request when there is nothing new. Removed documents are among the answers, without content; long after
    /// their removal they are forgotten.
    ///
    /// # Errors
    /// The store cannot be listed. One document that cannot be read does not keep others from being read.
    pub async fn load(
        &self,
        known: &BTreeMap<String, u64>,
    ) -> Result<Vec<Result<Document, DocumentError>>, DocumentError> {
        let listed = self.bucket.list(&self.directory).await?;
        let mut newest: BTreeMap<String, u64> = BTreeMap::new();
        for (name, version) in listed.iter().filter_map(|object| names::parse(&self.directory, &object.key)) {
            let newest = newest.entry(name).or_default();
            *newest = version.max(*newest);
        }
        newest.retain(|name, version| known.get(name) != Some(version));
        let reads = newest.into_iter().map(|(name, version)| async move { self.read(&name, version).await });
        let read: Vec<_> = futures::stream::iter(reads).buffered(READS_IN_FLIGHT).collect().await;
        let now_ms = (self.clock)();
        let mut documents = Vec::with_capacity(read.len());
        for document in read {
            match document {
                // It was pruned since the list was made: the next load sees the newer one.
                Ok(None) => {}
                Ok(Some(document)) if document.is_forgotten(now_ms) => self.forget(&document).await?,
                Ok(Some(document)) => documents.push(Ok(document)),
                Err(error) => documents.push(Err(error)),
            }
        }
        Ok(documents)
    }

    /// The newest version of a document, removed or not.
    ///
    /// # Errors
    /// The store fails, or the version cannot be read.
    pub async fn newest(&self, name: &str) -> Result<Option<Document>, DocumentError> {
        loop {
            let Some(version) = self.versions(name).await?.pop() else { return Ok(None) };
            // One that vanishes between list and read was pruned because there are newer ones.
            if let Some(document) = self.read(name, version).await? {
                return Ok(Some(document));
            }
        }
    }

    /// Changes a document: `change` is given its newest content, `None` when there is none, and is asked again whenever
    /// somebody else changed the document in between.
    ///
    /// # Errors
    /// The store fails, a version cannot be read, or others are always faster. After an error of the store the change may have
    /// been made.
    pub async fn update<R>(
        &self,
        name: &str,
        mut change: impl FnMut(Option<&str>) -> Result<Change, R>,
    ) -> Result<Updated<R>, DocumentError> {
        names::check(name)?;
        for _ in 0..ATTEMPTS_MAX {
            let newest = self.newest(name).await?;
            let content = match change(newest.as_ref().and_then(|document| document.content.as_deref())) {
                Ok(Change::Nothing) => return Ok(Updated::Unchanged(newest)),
                Ok(Change::Content(content)) => Some(content),
                Ok(Change::Remove) => None,
                Err(refusal) => return Ok(Updated::Refused(refusal)),
            };
            let commit_id = uuid::Uuid::new_v4().simple().to_string();
            let next = Document::after(newest.as_ref(), name, content, (self.clock)(), commit_id);
            if self.publish(&next).await? {
                return Ok(Updated::To(next));
            }
        }
        Err(DocumentError::Contended { attempts: ATTEMPTS_MAX })
    }

    /// Creates a version; `false` when somebody else was faster.
    async fn publish(&self, next: &Document) -> Result<bool, DocumentError> {
        let key = names::version(&self.directory, &next.name, next.version);
        match self.bucket.put_if_absent(&key, Bytes::from(next.encode())).await? {
            Creation::Created => {}
            Creation::Exists => return Ok(false),
        }
        let versions = self.versions(&next.name).await?;
        if versions.last().is_some_and(|newest| *newest > next.version) && !self.is_followed(next).await? {
            // The real one of this number was pruned while this process slept.
            self.bucket.delete(&key).await?;
            return Ok(false);
        }
        let pruned = versions.len().saturating_sub(VERSIONS_KEPT);
        for version in versions.into_iter().take(pruned) {
            // What stays is pruned with the next change.
            if self.bucket.delete(&names::version(&self.directory, &next.name, version)).await.is_err() {
                break;
            }
        }
        Ok(true)
    }

    async fn is_followed(&self, document: &Document) -> Result<bool, DocumentError> {
        let next = self.read(&document.name, document.version + 1).await?;
        Ok(next.is_some_and(|next| next.parent_id == document.commit_id))
    }

    async fn forget(&self, document: &Document) -> Result<(), DocumentError> {
        for version in self.versions(&document.name).await? {
            if version <= document.version {
                self.bucket.delete(&names::version(&self.directory, &document.name, version)).await?;
            }
        }
        Ok(())
    }

    /// Numbers of the versions of a document, ascending.
    async fn versions(&self, name: &str) -> Result<Vec<u64>, DocumentError> {
        let listed = self.bucket.list(&names::document(&self.directory, name)).await?;
        Ok(listed.iter().filter_map(|object| Some(names::parse(&self.directory, &object.key)?.1)).collect())
    }

    async fn read(&self, name: &str, version: u64) -> Result<Option<Document>, DocumentError> {
        let key = names::version(&self.directory, name, version);
        let bytes = match self.bucket.get(&key).await {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let document = Document::decode(&key, &bytes)?;
        if (document.version, document.name.as_str()) != (version, name) {
            let what = format!("it says it is version {} of {:?}", document.version, document.name);
            return Err(DocumentError::Damaged { object: key, what });
        }
        Ok(Some(document))
    }
}

impl Document {
    fn is_forgotten(&self, now_ms: i64) -> bool {
        self.content.is_none() && now_ms.saturating_sub(self.written_ms) > REMOVED_FOR_MS
    }
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Documents").field("directory", &self.directory).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
