//! Checks what comes from the bucket against the checksums of its block, before anything else looks at it.
//!
//! Requests are made of whole chunks, so that every byte that is used has a checksum. The checksums are fetched along with the
//! first bytes of a block and cached as layouts are: four bytes for 16 KiB.

use super::cache::{CacheKey, CacheKind, TenantCache};
use super::error::{PageError, ReadError};
use super::fetch::{Object, UnderWay, get};
use crate::block::checksums::{CHUNK_BYTES, FileSums, parse};
use crate::bucket::Bucket;
use std::ops::Range;
use std::sync::{Arc, Weak};

const CHUNK: u64 = CHUNK_BYTES as u64;

/// Where the bytes of a block come from.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) bucket: Bucket,
    pub(crate) cache: TenantCache,
    /// `None` if the block has no checksums: then nothing is checked.
    sums: Option<SumsFile>,
    pub(crate) under_way: UnderWay,
}

#[derive(Debug)]
struct SumsFile {
    object: Arc<Object>,
    /// Held while they are fetched, so that requests at the same time fetch them once.
    known: tokio::sync::Mutex<Weak<Sums>>,
}

/// The checksums of the files of a block.
#[derive(Debug)]
pub(crate) struct Sums {
    key: Arc<str>,
    files: Vec<FileSums>,
}

impl Source {
    pub(crate) fn new(bucket: &Bucket, cache: TenantCache, sums: Option<Object>) -> Self {
        let file = |object| SumsFile { object: Arc::new(object), known: tokio::sync::Mutex::default() };
        Self { bucket: bucket.clone(), cache, sums: sums.map(file), under_way: UnderWay::default() }
    }

    /// The checksums: one request, if they are not known yet.
    pub(crate) async fn sums(&self) -> Result<Option<Arc<Sums>>, ReadError> {
        let Some(file) = &self.sums else { return Ok(None) };
        let mut known = file.known.lock().await;
        if let Some(sums) = known.upgrade() {
            return Ok(Some(sums));
        }
        let object = &file.object;
        let key = CacheKey { object: object.id, kind: CacheKind::Layout, place: 0 };
        let sums = match self.cache.get::<Sums>(&key) {
            Some(sums) => sums,
            None => {
                let bytes = get(&self.bucket, object, 0..object.bytes).await?;
                let files = parse(&bytes).map_err(|error| ReadError::unreadable(&object.key, error))?;
                let sums = Arc::new(Sums { key: Arc::clone(&object.key), files });
                self.cache.insert(key, Arc::clone(&sums), bytes.len());
                sums
            }
        };
        *known = Arc::downgrade(&sums);
        Ok(Some(sums))
    }
}

/// The chunks with the bytes of a range.
pub(crate) fn widen(range: &Range<u64>, object_bytes: u64) -> Range<u64> {
    range.start / CHUNK * CHUNK..range.end.next_multiple_of(CHUNK).min(object_bytes)
}

impl Sums {
    /// Checks the chunks that hold `parts` (ascending by their start) of `bytes`, which begin with a chunk at `start`.
    pub(crate) fn check<'a>(
        &self,
        object: &Object,
        start: u64,
        bytes: &[u8],
        parts: impl IntoIterator<Item = &'a Range<u64>>,
    ) -> Result<(), ReadError> {
        let name = object.key.rsplit('/').next().unwrap_or_default();
        let unknown = || ReadError::unreadable(&self.key, format!("it has no checksums of `{name}`"));
        let sums = self.files.iter().find(|file| file.name == name).ok_or_else(unknown)?;
        let mut next = 0;
        for part in parts {
            for chunk in next.max(part.start / CHUNK)..part.end.div_ceil(CHUNK) {
                next = chunk + 1;
                let at = chunk * CHUNK;
                let damaged = || PageError("16 KiB from there contradict their checksum").at(&object.key, at);
                let from = at.checked_sub(start).ok_or_else(damaged)? as usize;
                let stored = bytes.get(from..bytes.len().min(from + CHUNK_BYTES)).ok_or_else(damaged)?;
                if sums.chunks.get(chunk as usize) != Some(&crc32fast::hash(stored)) {
                    return Err(damaged());
                }
            }
        }
        Ok(())
    }
}
