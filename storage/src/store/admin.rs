//! What operators ask for.

use super::{Store, StoreError};
use crate::block::meta::{BlockMeta, ulid};
use crate::block::schema::META_FILE;
use crate::bucket::Bucket;
use crate::lifecycle::deletion_jobs::DeletionJob;
use crate::lifecycle::worker::Request;
use crate::tombstone::{StoredMatcher, Tombstone};
use crate::wal::pool::now_ms;
use model::matcher::Matcher;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::Receiver;

/// Directory of snapshots, below that of all data.
const SNAPSHOTS: &str = "snapshots";
/// Bytes of an object that are copied at once.
const COPY_BYTES: u64 = 8 << 20;

impl Store {
    /// Publishes everything that the head holds, and with `compact` merges all blocks of each day, too. Returns when that is
    /// done. Appends go on.
    ///
    /// # Errors
    /// The object store failed; nothing is lost, and it is tried again later.
    pub fn flush(&self, compact: bool) -> Result<(), StoreError> {
        self.ask(Request::Flush { compact })
    }

    /// Deletes the samples with `start_ms <= t <= end_ms`, up to now, that are stored of the series that satisfy all matchers of
    /// any of the `sets`. They are hidden when this returns and leave the store when blocks are written anew. What is written
    /// later counts, whatever its time. If the head holds any of it, it is published before.
    ///
    /// # Errors
    /// What the head holds could not be published, or the deletion could not be taken down.
    pub fn delete_series(&self, sets: &[Vec<Matcher>], start_ms: i64, end_ms: i64) -> Result<(), StoreError> {
        let created_ms = now_ms();
        let tombstone = |matchers: &Vec<Matcher>| Tombstone {
            id: ulid(created_ms.max(0).unsigned_abs(), rand::random()),
            matchers: matchers.iter().map(StoredMatcher::from).collect(),
            min_ms: start_ms,
            max_ms: end_ms.min(created_ms),
            created_ms,
            // Told by the manifest that it comes after.
            up_to_version: None,
        };
        let tombstones: Vec<_> = sets.iter().filter(|matchers| !matchers.is_empty()).map(tombstone).collect();
        self.ask(Request::Delete(tombstones))?;
        self.engine().head().note_all_changed();
        Ok(())
    }

    /// Carries out all deletions: nothing of what they are about is in a block that is used afterwards. The head is flushed only if
    /// one of them is about it: an earlier version of Hearth wrote it down.
    ///
    /// # Errors
    /// A block could not be read, written or published.
    pub fn clean_tombstones(&self) -> Result<(), StoreError> {
        self.ask(Request::CleanTombstones)
    }

    /// The deletions that were asked for, the newest first: what became of them.
    #[must_use]
    pub fn deletions(&self) -> Vec<DeletionJob> {
        self.inner.shared.deletions.list()
    }

    /// Copies all blocks to a directory below that of all data, from which a store can be opened, and returns its name. What
    /// the head holds is published before, unless `skip_head`.
    ///
    /// # Errors
    /// A block could not be published, read or copied.
    pub fn snapshot(&self, skip_head: bool) -> Result<String, StoreError> {
        if !skip_head {
            self.flush(false)?;
        }
        let shared = &self.inner.shared;
        let now_ms = now_ms();
        let name = ulid(now_ms.max(0).unsigned_abs(), rand::random());
        let unfinished = shared.options.engine.path.join(SNAPSHOTS).join(format!("{name}.tmp"));
        let view = shared.view();
        for block in &view.blocks {
            copy_block(self, &shared.bucket, block.meta(), &unfinished)?;
        }
        let manifest = unfinished.join(format!("t={}", crate::block::meta::path_part(&shared.options.tenant)));
        let manifest = manifest.join("manifest");
        std::fs::create_dir_all(&manifest).map_err(StoreError::io("create", &manifest))?;
        let file = manifest.join(format!("{:020}.json.zst", view.manifest.version));
        write(&file, &view.manifest.encode())?;
        let finished = shared.options.engine.path.join(SNAPSHOTS).join(&name);
        std::fs::rename(&unfinished, &finished).map_err(StoreError::io("rename", &unfinished))?;
        Ok(name)
    }

    fn ask(&self, request: Request) -> Result<(), StoreError> {
        self.request(request)?.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Asks without waiting for the answer.
    pub(crate) fn request(&self, request: Request) -> Result<Receiver<Result<(), StoreError>>, StoreError> {
        match &*self.inner.worker.lock() {
            Some(worker) => worker.ask(request),
            None => Err(StoreError::Closed),
        }
    }
}

fn copy_block(store: &Store, bucket: &Bucket, meta: &BlockMeta, to: &Path) -> Result<(), StoreError> {
    let dir = to.join(meta.prefix());
    std::fs::create_dir_all(&dir).map_err(StoreError::io("create", &dir))?;
    for file in &meta.files {
        let key = format!("{}{}", meta.prefix(), file.name);
        let path = dir.join(&file.name);
        let mut out = File::create(&path).map_err(StoreError::io("create", &path))?;
        let mut at = 0;
        while at < file.bytes {
            let end = file.bytes.min(at + COPY_BYTES);
            let bytes = store.inner.shared.io.wait(bucket.get_ranges(&key, std::slice::from_ref(&(at..end))))?;
            bytes.iter().try_for_each(|bytes| out.write_all(bytes)).map_err(StoreError::io("write", &path))?;
            at = end;
        }
        out.sync_all().map_err(StoreError::io("sync", &path))?;
    }
    write(&dir.join(META_FILE), &meta.to_json())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = File::create(path).map_err(StoreError::io("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(StoreError::io("write", path))
}
