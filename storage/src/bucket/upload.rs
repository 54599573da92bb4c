//! How a local file becomes an object.
//!
//! Into a directory: the system copies it. Elsewhere: by one request, or above 16 MiB by parts that are read, sent and repeated
//! one by one. All uploads of a bucket together hold [`PARTS_IN_FLIGHT`] parts in memory.

use super::{Bucket, BucketError, Operation};
use bytes::Bytes;
use futures::StreamExt;
use object_store::PutOptions;
use object_store::local::LocalFileSystem;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Larger files are sent in parts.
const WHOLE_BYTES_MAX: u64 = 16 << 20;
/// Size of every part but the last. Stores take 10,000 parts: 80 GB.
const PART_BYTES: u64 = 8 << 20;
/// Parts of all uploads that are in memory at the same time.
pub(super) const PARTS_IN_FLIGHT: usize = 4;
/// An upload is begun again when it cannot be finished, up to this often.
const UPLOADS_MAX: u32 = 3;

impl Bucket {
    /// Where an object, or all whose keys continue `key`, is in the file system, if it is there at all.
    #[must_use]
    pub fn local_path(&self, key: &str) -> Option<std::path::PathBuf> {
        let path = self.path(key.trim_end_matches('/')).ok()?;
        self.shared.store.local.as_ref()?.path_to_filesystem(&path).ok()
    }

    /// Writes a local file as an object and returns its size; an object of that name is replaced.
    ///
    /// The file must not change meanwhile.
    ///
    /// # Errors
    /// The file cannot be read, or as of the store. When it is unavailable, whether the object was written is not known.
    pub async fn upload_file(&self, key: &str, file: &std::path::Path) -> Result<u64, BucketError> {
        let path = self.path(key)?;
        let source = Source::open(file).await?;
        let store = &self.shared.store;
        match (&store.local, &store.parts) {
            (Some(local), _) => self.copy(key, &path, local, source).await,
            (None, Some(parts)) if source.bytes > WHOLE_BYTES_MAX => {
                self.upload_parts(key, &path, parts.as_ref(), source).await
            }
            _ => self.upload_whole(key, &path, source).await,
        }
    }

    async fn upload_whole(&self, key: &str, path: &Path, source: Source) -> Result<u64, BucketError> {
        let _permit = self.shared.parts.acquire().await;
        let bytes = source.read(0, source.bytes).await?;
        let attempt = || async {
            self.store().put_opts(path, bytes.clone().into(), PutOptions::default()).await?;
            Ok((source.bytes, source.bytes))
        };
        self.run(Operation::Put, key, attempt).await
    }

    async fn upload_parts(
        &self,
        key: &str,
        path: &Path,
        store: &dyn MultipartStore,
        source: Source,
    ) -> Result<u64, BucketError> {
        let mut uploads = 0;
        loop {
            uploads += 1;
            match self.upload_once(key, path, store, &source).await {
                Ok(()) => return Ok(source.bytes),
                // The answer to the last request may have been lost: then the upload exists no more, but the object may.
                // Writing it again is the only way to be sure of its bytes.
                Err(BucketError::NotFound { .. } | BucketError::Refused { .. }) if uploads < UPLOADS_MAX => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn upload_once(
        &self,
        key: &str,
        path: &Path,
        store: &dyn MultipartStore,
        source: &Source,
    ) -> Result<(), BucketError> {
        let begin = || async { Ok((store.create_multipart(path).await?, 0)) };
        let upload = self.run(Operation::Upload, key, begin).await?;
        let outcome = self.send_parts(key, path, store, source, &upload).await;
        if outcome.is_err() {
            // A courtesy to the bill. Where it fails, a rule of the bucket has to remove unfinished uploads.
            let _ = tokio::time::timeout(self.shared.retry.attempt_timeout, store.abort_multipart(path, &upload)).await;
        }
        outcome
    }

    async fn send_parts(
        &self,
        key: &str,
        path: &Path,
        store: &dyn MultipartStore,
        source: &Source,
        upload: &String,
    ) -> Result<(), BucketError> {
        let send = |index: u64| async move {
            let _permit = self.shared.parts.acquire().await;
            let offset = index * PART_BYTES;
            let bytes = source.read(offset, PART_BYTES.min(source.bytes - offset)).await?;
            let attempt = || async {
                let part = store.put_part(path, upload, index as usize, bytes.clone().into()).await?;
                Ok((part, bytes.len() as u64))
            };
            self.run(Operation::Upload, key, attempt).await
        };
        let mut parts: Vec<PartId> = Vec::new();
        let mut answers =
            futures::stream::iter((0..source.bytes.div_ceil(PART_BYTES)).map(send)).buffered(PARTS_IN_FLIGHT);
        while let Some(part) = answers.next().await {
            parts.push(part?);
        }
        drop(answers);
        let finish = || async {
            store.complete_multipart(path, upload, parts.clone()).await?;
            Ok(((), 0))
        };
        self.run(Operation::Upload, key, finish).await
    }

    /// Removes what crashes left of unfinished uploads into a directory before `before_ms`, and returns how many there were.
    ///
    /// Elsewhere a rule of the bucket has to do this: the services hide unfinished uploads from lists.
    ///
    /// # Errors
    /// The directory cannot be read or changed.
    pub async fn remove_unfinished(&self, prefix: &str, before_ms: i64) -> Result<u64, BucketError> {
        let Some(local) = &self.shared.store.local else { return Ok(0) };
        let root = local
            .path_to_filesystem(&self.path(&format!("{prefix}/x"))?)
            .map_err(|error| BucketError::Key { key: prefix.to_owned(), why: error.to_string() })?;
        let root = root.parent().map(std::path::Path::to_owned).unwrap_or(root);
        let before = UNIX_EPOCH + Duration::from_millis(u64::try_from(before_ms).unwrap_or(0));
        let shown = root.clone();
        blocking(move || sweep(&root, before))
            .await
            .map_err(BucketError::file("remove unfinished objects below", shown))
    }

    async fn copy(&self, key: &str, path: &Path, local: &LocalFileSystem, source: Source) -> Result<u64, BucketError> {
        let target = local
            .path_to_filesystem(path)
            .map_err(|error| BucketError::Key { key: key.to_owned(), why: error.to_string() })?;
        let begun = tokio::time::Instant::now();
        let (bytes, shown) = (source.bytes, target.clone());
        let outcome = blocking(move || place(&source, &target)).await;
        self.shared.metrics.request(Operation::Upload, begun.elapsed(), bytes, outcome.is_ok());
        if outcome.is_err() {
            self.shared.metrics.failure(Operation::Upload);
        }
        outcome.map(|()| bytes).map_err(BucketError::file("write object", shown))
    }
}

/// The file to upload.
#[derive(Clone)]
struct Source {
    path: Arc<std::path::Path>,
    file: Arc<File>,
    bytes: u64,
}

impl Source {
    async fn open(path: &std::path::Path) -> Result<Self, BucketError> {
        let path: Arc<std::path::Path> = path.into();
        let opened = path.clone();
        let open = move || {
            let file = File::open(&opened)?;
            let bytes = file.metadata()?.len();
            Ok((file, bytes))
        };
        let (file, bytes) = blocking(open).await.map_err(BucketError::file("open file to upload", path.as_ref()))?;
        Ok(Self { path, file: Arc::new(file), bytes })
    }

    async fn read(&self, offset: u64, length: u64) -> Result<Bytes, BucketError> {
        let file = self.file.clone();
        let read = move || {
            let mut bytes = vec![0; length as usize];
            file.read_exact_at(&mut bytes, offset)?;
            Ok(Bytes::from(bytes))
        };
        blocking(read).await.map_err(BucketError::file("read file to upload", self.path.as_ref()))
    }
}

/// Copies `source` to `target`, durably; readers of `target` see all of it or what was there before.
///
/// Not by a hard link: whoever writes the source again, as a repeated flush does, would write into the object.
fn place(source: &Source, target: &std::path::Path) -> io::Result<()> {
    let directory = target.parent().ok_or_else(|| io::Error::other("an object needs a directory"))?;
    // A name that the store takes for an unfinished object: lists skip it, and what a crash leaves is swept later.
    let mut staged = target.as_os_str().to_owned();
    staged.push("#0");
    let staged = std::path::PathBuf::from(staged);
    let mut tries = 0;
    let copied = loop {
        make_directories(directory)?;
        match std::fs::copy(&source.path, &staged) {
            // Somebody who removed the last object of the directory removed it, too.
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < 3 => tries += 1,
            outcome => break outcome?,
        }
    };
    if copied != source.bytes {
        return Err(io::Error::other("the file changed while it was uploaded"));
    }
    File::open(&staged)?.sync_all()?;
    std::fs::rename(&staged, target)?;
    File::open(directory)?.sync_all()
}

/// Makes a directory and those above it, each durable in its parent.
fn make_directories(directory: &std::path::Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        make_directories(parent)?;
        match std::fs::create_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Removes files below a directory whose name is that of an unfinished object and that are older than `before`.
fn sweep(directory: &std::path::Path, before: SystemTime) -> io::Result<u64> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            removed += sweep(&entry.path(), before)?;
        } else if is_unfinished(&entry.file_name().to_string_lossy()) && entry.metadata()?.modified()? < before {
            std::fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether a file is one that the store hides: `name#17`.
fn is_unfinished(name: &str) -> bool {
    let number = name.rsplit_once('#').map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Runs file operations where they may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(io::Error::other(error)),
    }
}
