//! Fetches ranges of objects: near ones in one request, several requests at a time, what is cached not at all.

use super::cache::{CacheKey, CacheKind, TenantCache};
use super::error::ReadError;
use crate::bucket::Bucket;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use hashbrown::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Bytes between two ranges that are read along rather than asking twice.
const GAP_MAX: u64 = 512 << 10;
/// Bytes of one request, unless one range alone is larger.
const REQUEST_MAX: u64 = 8 << 20;
/// Requests at a time.
const PARALLEL: usize = 16;

/// An object of a block.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) key: Arc<str>,
    /// Hash of key and checksum: its name in caches.
    pub(crate) id: u64,
    pub(crate) bytes: u64,
}

impl Object {
    pub(crate) fn new(key: String, bytes: u64, crc32: u32) -> Self {
        let id = xxhash_rust::xxh3::xxh3_64_with_seed(key.as_bytes(), crc32.into());
        Self { id, key: key.into(), bytes }
    }
}

/// A range of an object.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) object: Arc<Object>,
    pub(crate) range: Range<u64>,
}

/// Bytes that are here. They stay until this is dropped, whatever the cache does.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    parts: HashMap<(u64, u64), Bytes>,
}

impl Fetched {
    pub(crate) fn get(&self, object: &Object, offset: u64) -> Option<&Bytes> {
        self.parts.get(&(object.id, offset))
    }

    /// Takes what another has.
    pub(crate) fn extend(&mut self, other: Self) {
        self.parts.extend(other.parts);
    }

    /// How many bytes are held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts.values().map(Bytes::len).sum()
    }
}

/// Fetches what is wanted; each range is found by where it starts.
pub(crate) async fn fetch(
    bucket: &Bucket,
    cache: &TenantCache,
    kind: CacheKind,
    mut wanted: Vec<Wanted>,
) -> Result<Fetched, ReadError> {
    wanted.sort_unstable_by_key(|wanted| (wanted.object.id, wanted.range.start));
    wanted.dedup_by(|a, b| (a.object.id, a.range.start) == (b.object.id, b.range.start));
    let mut fetched = Fetched::default();
    wanted.retain(|wanted| match cache.get::<Bytes>(&key(kind, wanted)) {
        Some(bytes) => {
            fetched.parts.insert((wanted.object.id, wanted.range.start), Bytes::clone(&bytes));
            false
        }
        None => true,
    });
    let requests = plan(&wanted);
    let answers = stream::iter(requests.into_iter().map(|parts| request(bucket, parts, &wanted)));
    let mut answers = std::pin::pin!(answers.buffer_unordered(PARALLEL));
    while let Some((parts, start, bytes)) = answers.try_next().await? {
        for part in wanted.get(parts).unwrap_or_default() {
            let from = (part.range.start - start) as usize;
            let to = (part.range.end - start) as usize;
            let Some(these) = bytes.get(from..to) else { continue };
            // A copy, so that a small part does not keep all of the answer in memory.
            let these = if these.len() == bytes.len() { bytes.clone() } else { Bytes::copy_from_slice(these) };
            cache.insert(key(kind, part), Arc::new(these.clone()), these.len());
            fetched.parts.insert((part.object.id, part.range.start), these);
        }
    }
    Ok(fetched)
}

fn key(kind: CacheKind, wanted: &Wanted) -> CacheKey {
    CacheKey { object: wanted.object.id, kind, place: wanted.range.start }
}

async fn request(
    bucket: &Bucket,
    parts: Range<usize>,
    wanted: &[Wanted],
) -> Result<(Range<usize>, u64, Bytes), ReadError> {
    let these = wanted.get(parts.clone()).unwrap_or_default();
    let (Some(first), Some(end)) = (these.first(), these.iter().map(|part| part.range.end).max()) else {
        return Ok((parts, 0, Bytes::new()));
    };
    let range = first.range.start..end;
    let bytes = get(bucket, &first.object, range.clone()).await?;
    Ok((parts, range.start, bytes))
}

/// One range with one request.
pub(crate) async fn get(bucket: &Bucket, object: &Object, range: Range<u64>) -> Result<Bytes, ReadError> {
    let failed = |source| ReadError::Bucket { key: Arc::clone(&object.key), source: Arc::new(source) };
    let mut answers = bucket.get_ranges(&object.key, &[range]).await.map_err(failed)?;
    Ok(answers.pop().unwrap_or_default())
}

/// Which of the wanted ranges, sorted, go into one request each.
fn plan(wanted: &[Wanted]) -> Vec<Range<usize>> {
    let mut requests: Vec<Range<usize>> = Vec::new();
    let (mut start, mut end) = (0, 0);
    for (at, part) in wanted.iter().enumerate() {
        let near = at > 0
            && wanted.get(at - 1).is_some_and(|before| before.object.id == part.object.id)
            && part.range.start <= end + GAP_MAX
            && part.range.end.max(end) - start <= REQUEST_MAX;
        match requests.last_mut() {
            Some(request) if near => request.end = at + 1,
            _ => {
                requests.push(at..at + 1);
                (start, end) = (part.range.start, 0);
            }
        }
        end = end.max(part.range.end);
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_ranges_share_a_request() {
        let objects = ["a", "b"].map(|key| Arc::new(Object::new(key.into(), 1 << 30, 0)));
        let part = |object: usize, start: u64, bytes: u64| Wanted {
            object: Arc::clone(&objects[object]),
            range: start..start + bytes,
        };
        const K: u64 = 1 << 10;
        let wanted = [
            part(0, 0, 16 * K),
            part(0, 16 * K, 16 * K),
            part(0, 500 * K, 16 * K),
            part(0, 2000 * K, 16 * K),
            part(0, 2100 * K, 8100 * K),
            part(1, 2100 * K, K),
        ];
        assert_eq!(plan(&wanted), [0..3, 3..4, 4..5, 5..6]);
        assert!(plan(&[]).is_empty());
    }
}
