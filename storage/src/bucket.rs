//! One handle for every place that blocks can live in: a directory, S3, Google Cloud Storage, Azure or memory.
//!
//! What the stores do differently ends here. Each request has a timeout of its own and is repeated, with a growing and jittered
//! pause, until a deadline; bodies are checked to be as long as they should be; failures are sorted by what a caller can
//! do about them; requests are counted. Callers see whole objects and ranges, never parts of an answer.
//!
//! Dropping a future gives the operation up. A write that was given up or failed may still happen later, so names of objects are
//! never used for a second content, with the exception of hints that anyone may overwrite with [`Bucket::put`].

mod error;
mod metrics;
mod open;
mod options;
mod retry;
mod store;
pub mod testing;
mod upload;

pub use error::{BucketError, RequestError};
pub use metrics::{BucketSnapshot, Operation, OperationSnapshot, SECONDS_BOUNDS};
pub use options::{
    AzureOptions, BucketKind, BucketOptions, FilesystemOptions, GcsOptions, S3Encryption, S3Options, Secret,
};
pub use retry::RetryPolicy;
pub use store::{BucketStore, install_tls_provider};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use metrics::Metrics;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Requests of one call of [`Bucket::get_ranges`] that run at the same time.
const RANGES_IN_FLIGHT: usize = 16;
/// Requests of all readers of a bucket that run at the same time; others wait.
const READS_IN_FLIGHT: usize = 64;

/// A place for objects. Clones share it.
#[derive(Clone)]
pub struct Bucket {
    shared: Arc<Shared>,
}

struct Shared {
    store: BucketStore,
    /// Put before every key, without slashes at its ends; may be empty.
    prefix: String,
    retry: RetryPolicy,
    /// Only for the jitter of pauses.
    random: Mutex<SmallRng>,
    metrics: Metrics,
    reads: Semaphore,
    parts: Semaphore,
}

/// What became of an object that should be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// The object now exists with exactly these bytes.
    Created,
    /// The object existed with other bytes; they are untouched.
    Exists,
}

/// What a list says about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its name, as other operations take it.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// When it was last written by the store's clock, in milliseconds since the Unix epoch.
    pub modified_ms: i64,
}

impl Bucket {
    /// A bucket over an opened store. `seed` decides the jitter of pauses and nothing else.
    #[must_use]
    pub fn new(store: BucketStore, prefix: &str, retry: RetryPolicy, seed: u64) -> Self {
        let shared = Shared {
            store,
            prefix: prefix.trim_matches('/').to_owned(),
            retry,
            random: Mutex::new(SmallRng::seed_from_u64(seed)),
            metrics: Metrics::default(),
            reads: Semaphore::new(READS_IN_FLIGHT),
            parts: Semaphore::new(upload::PARTS_IN_FLIGHT),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Objects in the memory of this process, for tests.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(BucketStore::in_memory(), "", RetryPolicy::default(), 0)
    }

    /// Creates an object unless one of that name exists.
    ///
    /// Of several callers with different bytes exactly one is told [`Creation::Created`]. An answer that got lost is resolved by
    /// reading the object back, therefore equal bytes count as created, whoever wrote them: bytes that shall tell writers
    /// apart have to hold something unique.
    ///
    /// # Errors
    /// As of the store. When it is unavailable, whether the object was created is not known.
    pub async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<Creation, BucketError> {
        let path = self.path(key)?;
        let attempt = || async {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.store().put_opts(&path, bytes.clone().into(), options).await {
                Ok(_) => Ok((Creation::Created, bytes.len() as u64)),
                // Also how a store says that another request for this name is in progress: only a look tells.
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                    match self.read_whole(&path).await {
                        Ok(found) if found == bytes => Ok((Creation::Created, bytes.len() as u64)),
                        Ok(_) => Ok((Creation::Exists, 0)),
                        Err(RequestError::Store(object_store::Error::NotFound { .. })) => Err(RequestError::Conflict),
                        Err(error) => Err(error),
                    }
                }
                Err(error) => Err(error.into()),
            }
        };
        self.run(Operation::PutIfAbsent, key, attempt).await
    }

    /// Writes an object, over an existing one. Only for hints: readers may see the old bytes for a while.
    ///
    /// # Errors
    /// As of the store. When it is unavailable, whether the object was written is not known.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BucketError> {
        let path = self.path(key)?;
        let attempt = || async {
            self.store().put_opts(&path, bytes.clone().into(), PutOptions::default()).await?;
            Ok(((), bytes.len() as u64))
        };
        self.run(Operation::Put, key, attempt).await
    }

    /// All bytes of an object. They are held in memory: for large objects use [`Bucket::get_ranges`].
    ///
    /// # Errors
    /// There is no such object, or as of the store.
    pub async fn get(&self, key: &str) -> Result<Bytes, BucketError> {
        let path = self.path(key)?;
        let attempt = || async {
            let bytes = self.read_whole(&path).await?;
            let length = bytes.len() as u64;
            Ok((bytes, length))
        };
        let _permit = self.shared.reads.acquire().await;
        self.run(Operation::Get, key, attempt).await
    }

    /// The bytes of each range, in the order asked for, by one request each; several run at the same time.
    ///
    /// Callers join ranges that are near each other before.
    ///
    /// # Errors
    /// There is no such object, it ends before a range does ([`BucketError::Truncated`]), or as of the store.
    pub async fn get_ranges(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BucketError> {
        let path = self.path(key)?;
        let mut answers = Vec::with_capacity(ranges.len());
        let requests = ranges.iter().map(|range| self.get_range(key, &path, range.clone()));
        let mut stream = futures::stream::iter(requests).buffered(RANGES_IN_FLIGHT);
        while let Some(answer) = stream.next().await {
            answers.push(answer?);
        }
        Ok(answers)
    }

    /// The bytes of one range, by one request.
    ///
    /// # Errors
    /// As [`Bucket::get_ranges`].
    pub async fn get_part(&self, key: &str, range: Range<u64>) -> Result<Bytes, BucketError> {
        self.get_range(key, &self.path(key)?, range).await
    }

    async fn get_range(&self, key: &str, path: &Path, range: Range<u64>) -> Result<Bytes, BucketError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let attempt = || async {
            let bytes = self.read_range(path, &range).await?;
            let length = bytes.len() as u64;
            Ok((bytes, length))
        };
        let _permit = self.shared.reads.acquire().await;
        self.run(Operation::GetRange, key, attempt).await
    }

    /// Size of an object in bytes.
    ///
    /// # Errors
    /// There is no such object, or as of the store.
    pub async fn size(&self, key: &str) -> Result<u64, BucketError> {
        let path = self.path(key)?;
        let attempt = || async { Ok((self.store().head(&path).await?.size, 0)) };
        self.run(Operation::Head, key, attempt).await
    }

    /// Every object whose key continues `prefix` behind a `/`, sorted by key. An empty prefix means all.
    ///
    /// # Errors
    /// As of the store.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, BucketError> {
        let prefix = prefix.trim_end_matches('/');
        let path = if prefix.is_empty() { Path::from(self.shared.prefix.as_str()) } else { self.path(prefix)? };
        // Kept from attempt to attempt: a long list takes many requests, one of which may fail each time.
        let found = Mutex::new(Vec::new());
        let attempt = || async {
            let mut objects = self.list_on(&path, &found);
            while let Some(object) = objects.next().await {
                found.lock().push(object?);
            }
            Ok(((), 0))
        };
        self.run(Operation::List, prefix, attempt).await?;
        let info = |object: ObjectMeta| {
            let (key, modified_ms) = (self.key(&object.location)?, object.last_modified.timestamp_millis());
            Some(ObjectInfo { key, bytes: object.size, modified_ms })
        };
        let mut found: Vec<_> = found.into_inner().into_iter().filter_map(info).collect();
        found.sort_by(|a, b| a.key.cmp(&b.key));
        // Not every service begins a list where it is asked to.
        found.dedup_by(|a, b| a.key == b.key);
        Ok(found)
    }

    /// The first parts, up to a `/`, of all keys that have one, sorted.
    ///
    /// # Errors
    /// As of the store.
    pub async fn directories(&self) -> Result<Vec<String>, BucketError> {
        let root = Path::from(self.shared.prefix.as_str());
        let attempt = || async {
            let found = self.store().list_with_delimiter(Some(&root)).await?;
            Ok((found.common_prefixes, 0))
        };
        let found = self.run(Operation::List, "", attempt).await?;
        let mut names: Vec<String> = found.iter().filter_map(|path| self.key(path)).collect();
        names.sort();
        Ok(names)
    }

    /// Lists what is missing in `found`: requests list by name, a directory in any order.
    fn list_on(
        &self,
        path: &Path,
        found: &Mutex<Vec<ObjectMeta>>,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let mut found = found.lock();
        match found.last() {
            Some(last) if self.shared.store.local.is_none() => {
                self.store().list_with_offset(Some(path), &last.location.clone())
            }
            _ => {
                found.clear();
                self.store().list(Some(path))
            }
        }
    }

    /// Removes an object; one that does not exist is no error.
    ///
    /// # Errors
    /// As of the store.
    pub async fn delete(&self, key: &str) -> Result<(), BucketError> {
        let path = self.path(key)?;
        let attempt = || async {
            match self.store().delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(((), 0)),
                Err(error) => Err(error.into()),
            }
        };
        self.run(Operation::Delete, key, attempt).await
    }

    /// Where the objects are, in words: equal for the same place.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}", self.shared.store.objects, self.shared.prefix)
    }

    /// What was asked of the store so far.
    #[must_use]
    pub fn metrics(&self) -> BucketSnapshot {
        self.shared.metrics.snapshot()
    }

    fn store(&self) -> &dyn ObjectStore {
        &*self.shared.store.objects
    }

    async fn read_whole(&self, path: &Path) -> Result<Bytes, RequestError> {
        let answer = self.store().get_opts(path, GetOptions::default()).await?;
        let expected = answer.meta.size;
        let bytes = answer.bytes().await?;
        if bytes.len() as u64 == expected { Ok(bytes) } else { Err(RequestError::cut(&bytes, expected)) }
    }

    async fn read_range(&self, path: &Path, range: &Range<u64>) -> Result<Bytes, RequestError> {
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let answer = match self.store().get_opts(path, options).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.explain_range(path, range, error).await),
        };
        if answer.range != *range {
            return Err(RequestError::Short { bytes: answer.meta.size, end: range.end });
        }
        let bytes = answer.bytes().await?;
        let expected = range.end - range.start;
        if bytes.len() as u64 == expected { Ok(bytes) } else { Err(RequestError::cut(&bytes, expected)) }
    }

    /// Stores refuse a range that begins behind the end in words of their own; the size tells.
    async fn explain_range(&self, path: &Path, range: &Range<u64>, error: object_store::Error) -> RequestError {
        let error = RequestError::Store(error);
        if error.class() != error::Class::Refused {
            return error;
        }
        match self.store().head(path).await {
            Ok(meta) if meta.size < range.end => RequestError::Short { bytes: meta.size, end: range.end },
            Ok(_) => error,
            Err(unknown) => RequestError::Store(unknown),
        }
    }

    /// Makes attempts until one succeeds, one fails for good, or there is no time for another.
    async fn run<T, F>(&self, operation: Operation, key: &str, mut attempt: impl FnMut() -> F) -> Result<T, BucketError>
    where
        F: Future<Output = Result<(T, u64), RequestError>>,
    {
        let policy = &self.shared.retry;
        let begun = tokio::time::Instant::now();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let started = tokio::time::Instant::now();
            let answer = match tokio::time::timeout(policy.attempt_timeout, attempt()).await {
                Ok(answer) => answer,
                Err(_) => Err(RequestError::TimedOut { after: policy.attempt_timeout }),
            };
            let taken = started.elapsed();
            let error = match answer {
                Ok((value, bytes)) => {
                    self.shared.metrics.request(operation, taken, bytes, true);
                    return Ok(value);
                }
                Err(error) => error,
            };
            let class = error.class();
            self.shared.metrics.request(operation, taken, 0, class == error::Class::NotFound);
            let pause = policy.pause(attempts, begun.elapsed(), self.shared.random.lock().random());
            match pause.filter(|_| class == error::Class::Retryable) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => {
                    if class != error::Class::NotFound {
                        self.shared.metrics.failure(operation);
                    }
                    return Err(BucketError::new(operation, key, attempts, error));
                }
            }
        }
    }

    /// The place of a key in the store.
    fn path(&self, key: &str) -> Result<Path, BucketError> {
        let prefix = &self.shared.prefix;
        let whole = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}/{key}") };
        Path::parse(whole).map_err(|error| BucketError::Key { key: key.to_owned(), why: error.to_string() })
    }

    /// The key of a place; `None` when it lies outside the prefix.
    fn key(&self, path: &Path) -> Option<String> {
        let prefix = &self.shared.prefix;
        if prefix.is_empty() {
            return Some(path.to_string());
        }
        Some(path.as_ref().strip_prefix(prefix.as_str())?.strip_prefix('/')?.to_owned())
    }
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket")
            .field("store", &self.store().to_string())
            .field("prefix", &self.shared.prefix)
            .finish_non_exhaustive()
    }
}
