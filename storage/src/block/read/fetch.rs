//! Fetches ranges of objects: near ones in one request, several requests at a time, what is cached not at all.

use super::cache::{CacheKey, CacheKind};
use super::error::{PageError, ReadError};
use super::sums::{Source, Sums, widen};
use crate::account::{Account, Held};
use crate::bucket::Bucket;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, Shared, WeakShared, try_join};
use futures::{StreamExt, TryStreamExt, stream};
use hashbrown::HashMap;
use parking_lot::Mutex;
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

/// Bytes that are here. They stay until this is dropped, whatever the cache does, and are charged for so long.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    parts: HashMap<(u64, u64), Bytes>,
    held: Vec<Arc<Held>>,
}

impl Fetched {
    pub(crate) fn get(&self, object: &Object, offset: u64) -> Option<&Bytes> {
        self.parts.get(&(object.id, offset))
    }

    /// Takes what another has.
    pub(crate) fn extend(&mut self, other: Self) {
        self.parts.extend(other.parts);
        self.held.extend(other.held);
    }

    /// How many bytes are held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts.values().map(Bytes::len).sum()
    }
}

/// Requests that are under way: whoever wants the same bytes meanwhile waits for the same answer.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    by_part: Mutex<HashMap<CacheKey, WeakShared<Flight>>>,
}

/// A request, driven by whoever waits for it.
type Flight = BoxFuture<'static, Result<Arc<Landed>, ReadError>>;

/// The parts of an answer by where they start, checked.
#[derive(Debug)]
pub(crate) struct Landed {
    parts: Vec<(u64, Bytes)>,
    /// Held until the last answer is checked, even if the cache has no room for it.
    _sums: Option<Arc<Sums>>,
}

/// Entries of requests that nobody waited for to their end, before they are looked for.
const FORGOTTEN_MAX: usize = 4096;

/// Fetches what is wanted, charged to `account`; each range is found by where it starts.
pub(crate) async fn fetch(
    source: &Arc<Source>,
    kind: CacheKind,
    mut wanted: Vec<Wanted>,
    account: &Account,
) -> Result<Fetched, ReadError> {
    sort(&mut wanted);
    let held = account.hold(bytes(&wanted) as usize)?;
    let mut fetched = Fetched { parts: HashMap::with_capacity(wanted.len()), held: vec![Arc::new(held)] };
    wanted.retain(|wanted| match source.cache.get::<Bytes>(&key(kind, wanted)) {
        Some(bytes) => {
            fetched.parts.insert((wanted.object.id, wanted.range.start), Bytes::clone(&bytes));
            false
        }
        None => true,
    });
    let flights: Vec<_> = join_or_start(source, kind, wanted).into_iter().map(landed).collect();
    let answers = stream::iter(flights);
    let mut answers = std::pin::pin!(answers.buffer_unordered(PARALLEL));
    while let Some((landed, parts)) = answers.try_next().await? {
        for part in parts {
            let at = landed.parts.binary_search_by_key(&part.range.start, |(start, _)| *start);
            let bytes = at.ok().and_then(|at| landed.parts.get(at)).map(|(_, bytes)| bytes.clone());
            let short =
                || PageError("the object is shorter than its block says").at(&part.object.key, part.range.start);
            fetched.parts.insert((part.object.id, part.range.start), bytes.ok_or_else(short)?);
        }
    }
    Ok(fetched)
}

async fn landed((flight, parts): (Shared<Flight>, Vec<Wanted>)) -> Result<(Arc<Landed>, Vec<Wanted>), ReadError> {
    Ok((flight.await?, parts))
}

/// The requests that bring what is wanted, which is sorted: those that are under way, and new ones for what is left.
fn join_or_start(source: &Arc<Source>, kind: CacheKind, wanted: Vec<Wanted>) -> Vec<(Shared<Flight>, Vec<Wanted>)> {
    let mut flights: Vec<(Shared<Flight>, Vec<Wanted>)> = Vec::new();
    if wanted.is_empty() {
        return flights;
    }
    let mut under_way = source.under_way.by_part.lock();
    let mut left = Vec::new();
    for part in wanted {
        match under_way.get(&key(kind, &part)).and_then(WeakShared::upgrade) {
            Some(flight) => match flights.last_mut().filter(|(last, _)| last.ptr_eq(&flight)) {
                Some((_, parts)) => parts.push(part),
                None => flights.push((flight, vec![part])),
            },
            None => left.push(part),
        }
    }
    if under_way.len() > FORGOTTEN_MAX {
        under_way.retain(|_, flight| flight.upgrade().is_some());
    }
    for parts in plan(&left) {
        let parts = left.get(parts).unwrap_or_default().to_vec();
        let flight = fly(Arc::clone(source), kind, parts.clone()).boxed().shared();
        if let Some(weak) = flight.downgrade() {
            under_way.extend(parts.iter().map(|part| (key(kind, part), weak.clone())));
        }
        flights.push((flight, parts));
    }
    flights
}

/// One request, whose parts end in the cache.
async fn fly(source: Arc<Source>, kind: CacheKind, wanted: Vec<Wanted>) -> Result<Arc<Landed>, ReadError> {
    let answer = request(&source, &wanted).await;
    let mut parts = Vec::with_capacity(wanted.len());
    if let Ok(answer) = &answer {
        for part in &wanted {
            let from = (part.range.start - answer.start) as usize;
            let to = (part.range.end - answer.start) as usize;
            let Some(these) = answer.bytes.get(from..to) else { continue };
            // A copy, so that a small part does not keep all of the answer in memory.
            let these = Bytes::copy_from_slice(these);
            source.cache.insert(key(kind, part), Arc::new(these.clone()), these.len());
            parts.push((part.range.start, these));
        }
    }
    let mut under_way = source.under_way.by_part.lock();
    wanted.iter().for_each(|part| drop(under_way.remove(&key(kind, part))));
    Ok(Arc::new(Landed { parts, _sums: answer?.sums }))
}

/// Puts what is wanted in order, everything once.
pub(crate) fn sort(wanted: &mut Vec<Wanted>) {
    wanted.sort_unstable_by_key(|wanted| (wanted.object.id, wanted.range.start));
    wanted.dedup_by(|a, b| (a.object.id, a.range.start) == (b.object.id, b.range.start));
}

/// How many bytes are wanted.
pub(crate) fn bytes(wanted: &[Wanted]) -> u64 {
    wanted.iter().map(|wanted| wanted.range.end - wanted.range.start).sum()
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
    start: u64,
    bytes: Bytes,
    sums: Option<Arc<Sums>>,
}

/// Ranges of one object, ascending by their start, with one request.
async fn request(source: &Source, wanted: &[Wanted]) -> Result<Answer, ReadError> {
    let (Some(first), Some(end)) = (wanted.first(), wanted.iter().map(|part| part.range.end).max()) else {
        return Ok(Answer { start: 0, bytes: Bytes::new(), sums: None });
    };
    let object = &first.object;
    let range = widen(&(first.range.start..end), object.bytes);
    let (bytes, sums) = try_join(get(&source.bucket, object, range.clone()), source.sums()).await?;
    if let Some(sums) = &sums {
        sums.check(object, range.start, &bytes, wanted.iter().map(|part| &part.range))?;
    }
    Ok(Answer { start: range.start, bytes, sums })
}

/// One range with one request, checked.
pub(crate) async fn get_checked(source: &Source, object: &Arc<Object>, range: Range<u64>) -> Result<Bytes, ReadError> {
    let wanted = [Wanted { object: Arc::clone(object), range: range.clone() }];
    let answer = request(source, &wanted).await?;
    let (from, to) = ((range.start - answer.start) as usize, (range.end - answer.start) as usize);
    if to > answer.bytes.len() {
        return Err(PageError("the object is shorter than its block says").at(&object.key, answer.bytes.len() as u64));
    }
    Ok(answer.bytes.slice(from..to))
}

/// One range with one request, as it comes.
pub(crate) async fn get(bucket: &Bucket, object: &Object, range: Range<u64>) -> Result<Bytes, ReadError> {
    let failed = |source| ReadError::Bucket { key: Arc::clone(&object.key), source: Arc::new(source) };
    bucket.get_part(&object.key, range).await.map_err(failed)
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
