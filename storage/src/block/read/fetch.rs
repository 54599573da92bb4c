//! Fetches ranges of objects: near ones in one request, several requests at a time, what is cached not at all.

use super::cache::{CacheKey, CacheKind};
use super::error::{PageError, ReadError};
use super::sums::{Source, Sums, widen};
use crate::bucket::Bucket;
use bytes::Bytes;
use futures::future::try_join;
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
pub(crate) async fn fetch(source: &Source, kind: CacheKind, mut wanted: Vec<Wanted>) -> Result<Fetched, ReadError> {
    sort(&mut wanted);
    let cache = &source.cache;
    let mut fetched = Fetched::default();
    wanted.retain(|wanted| match cache.get::<Bytes>(&key(kind, wanted)) {
        Some(bytes) => {
            fetched.parts.insert((wanted.object.id, wanted.range.start), Bytes::clone(&bytes));
            false
        }
        None => true,
    });
    let requests = plan(&wanted);
    let answers = stream::iter(requests.into_iter().map(|parts| request(source, parts, &wanted)));
    let mut answers = std::pin::pin!(answers.buffer_unordered(PARALLEL));
    // Held until the last answer is checked, even if the cache has no room for it.
    let mut sums = None;
    while let Some(answer) = answers.try_next().await? {
        for part in wanted.get(answer.parts).unwrap_or_default() {
            let from = (part.range.start - answer.start) as usize;
            let to = (part.range.end - answer.start) as usize;
            let Some(these) = answer.bytes.get(from..to) else { continue };
            // A copy, so that a small part does not keep all of the answer in memory.
            let these = Bytes::copy_from_slice(these);
            cache.insert(key(kind, part), Arc::new(these.clone()), these.len());
            fetched.parts.insert((part.object.id, part.range.start), these);
        }
        sums = answer.sums;
    }
    drop(sums);
    Ok(fetched)
}

/// Puts what is wanted in order, everything once.
pub(crate) fn sort(wanted: &mut Vec<Wanted>) {
    wanted.sort_unstable_by_key(|wanted| (wanted.object.id, wanted.range.start));
    wanted.dedup_by(|a, b| (a.object.id, a.range.start) == (b.object.id, b.range.start));
}

/// Whether nothing of what is wanted takes a request.
pub(crate) fn is_cached(source: &Source, kind: CacheKind, wanted: &[Wanted]) -> bool {
    wanted.iter().all(|wanted| source.cache.contains(&key(kind, wanted)))
}

fn key(kind: CacheKind, wanted: &Wanted) -> CacheKey {
    CacheKey { object: wanted.object.id, kind, place: wanted.range.start }
}

/// Bytes of an object that were checked.
struct Answer {
    /// Which of the wanted ranges are in it.
    parts: Range<usize>,
    start: u64,
    bytes: Bytes,
    sums: Option<Arc<Sums>>,
}

async fn request(source: &Source, parts: Range<usize>, wanted: &[Wanted]) -> Result<Answer, ReadError> {
    let these = wanted.get(parts.clone()).unwrap_or_default();
    let (Some(first), Some(end)) = (these.first(), these.iter().map(|part| part.range.end).max()) else {
        return Ok(Answer { parts, start: 0, bytes: Bytes::new(), sums: None });
    };
    let object = &first.object;
    let range = widen(&(first.range.start..end), object.bytes);
    let (bytes, sums) = try_join(get(&source.bucket, object, range.clone()), source.sums()).await?;
    if let Some(sums) = &sums {
        sums.check(object, range.start, &bytes, these.iter().map(|part| &part.range))?;
    }
    Ok(Answer { parts, start: range.start, bytes, sums })
}

/// One range with one request, checked.
pub(crate) async fn get_checked(source: &Source, object: &Arc<Object>, range: Range<u64>) -> Result<Bytes, ReadError> {
    let wanted = [Wanted { object: Arc::clone(object), range: range.clone() }];
    let answer = request(source, 0..1, &wanted).await?;
    let (from, to) = ((range.start - answer.start) as usize, (range.end - answer.start) as usize);
    if to > answer.bytes.len() {
        return Err(PageError("the object is shorter than its block says").at(&object.key, answer.bytes.len() as u64));
    }
    Ok(answer.bytes.slice(from..to))
}

/// One range with one request, as it comes.
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
