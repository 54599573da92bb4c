//! What of blocks stays in memory: one cache with one budget in bytes for all blocks and kinds.
//!
//! Blocks never change, so nothing is ever invalid. A tenant that holds more than its share gives up what it has held longest,
//! so that it cannot push out what others need.

use hashbrown::HashMap;
use moka::sync::Cache;
use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheKind {
    /// Where the pages of a file are.
    Layout,
    /// Columns of series, as stored.
    Column,
    /// Pages of samples and timelines, as stored.
    Page,
    /// Labels and numbers of series, decoded.
    Series,
    /// Timestamps of timelines, decoded.
    Timeline,
    /// Pages of samples and buckets of which small parts are read: decompressed, with places from which reading can begin, or decoded.
    Opened,
}

impl CacheKind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Layout, Self::Column, Self::Page, Self::Series, Self::Timeline, Self::Opened];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Layout => "layout",
            Self::Column => "column",
            Self::Page => "page",
            Self::Series => "series",
            Self::Timeline => "timeline",
            Self::Opened => "opened",
        }
    }
}

/// What one thing is called in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey {
    /// Which object: the hash of its name.
    pub(crate) object: u64,
    pub(crate) kind: CacheKind,
    /// Which of its pages, by where it starts.
    pub(crate) place: u64,
}

/// How often things were found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Found.
    pub hits: u64,
    /// Not found.
    pub misses: u64,
}

/// Size and use of the caches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheFigures {
    /// Bytes held.
    pub bytes: u64,
    /// Bytes that may be held.
    pub bytes_max: u64,
    /// Things held.
    pub entries: u64,
    /// Per kind, in the order of [`CacheKind::ALL`].
    pub counts: [CacheCounts; CacheKind::ALL.len()],
}

/// The caches of all blocks. Cheap to clone: clones share everything.
#[derive(Debug, Clone)]
pub struct BlockCaches {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Behind a pointer of its own: whoever looks one up counts nothing that all others count too.
    entries: Cache<CacheKey, Arc<Entry>, foldhash::fast::RandomState>,
    bytes_max: u64,
    share_max: u64,
    hits: [AtomicU64; CacheKind::ALL.len()],
    misses: [AtomicU64; CacheKind::ALL.len()],
    tenants: Mutex<HashMap<String, Arc<Share>>>,
}

#[derive(Debug)]
struct Entry {
    value: Arc<dyn Any + Send + Sync>,
    bytes: u32,
    share: Arc<Share>,
}

/// What one tenant holds.
#[derive(Debug, Default)]
struct Share {
    bytes: AtomicU64,
    /// In the order of insertion; some may be gone.
    order: Mutex<VecDeque<CacheKey>>,
}

/// Things that a tenant may hold, however small.
const ENTRIES_PER_TENANT_MAX: usize = 1 << 18;

/// Memory of an entry beside its value.
const ENTRY_BYTES: usize = 200;

impl BlockCaches {
    /// Caches that hold at most `bytes_max`, of which one tenant may have the part `tenant_share` (0 to 1).
    #[must_use]
    pub fn new(bytes_max: u64, tenant_share: f64) -> Self {
        let entries = Cache::builder()
            .max_capacity(bytes_max)
            .weigher(|_: &CacheKey, entry: &Arc<Entry>| entry.bytes)
            .eviction_listener(|_, entry: Arc<Entry>, _| {
                entry.share.bytes.fetch_sub(u64::from(entry.bytes), Ordering::Relaxed);
            })
            .build_with_hasher(foldhash::fast::RandomState::default());
        let share_max = (bytes_max as f64 * tenant_share.clamp(0.0, 1.0)) as u64;
        let (hits, misses) = (Default::default(), Default::default());
        let shared = Shared { entries, bytes_max, share_max, hits, misses, tenants: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Size and use.
    #[must_use]
    pub fn figures(&self) -> CacheFigures {
        let counts = std::array::from_fn(|kind| CacheCounts {
            hits: self.shared.hits.get(kind).map_or(0, |count| count.load(Ordering::Relaxed)),
            misses: self.shared.misses.get(kind).map_or(0, |count| count.load(Ordering::Relaxed)),
        });
        let entries = &self.shared.entries;
        CacheFigures {
            bytes: entries.weighted_size(),
            bytes_max: self.shared.bytes_max,
            entries: entries.entry_count(),
            counts,
        }
    }

    /// Lets go of everything that nobody is reading.
    pub fn clear(&self) {
        self.shared.entries.invalidate_all();
        self.shared.entries.run_pending_tasks();
        let tenants = self.shared.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        for share in tenants.values() {
            *share.order.lock().unwrap_or_else(PoisonError::into_inner) = VecDeque::new();
        }
    }

    /// The view of one tenant.
    pub(crate) fn of_tenant(&self, tenant: &str) -> TenantCache {
        let mut tenants = self.shared.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let share = tenants.entry_ref(tenant).or_default();
        TenantCache { shared: Arc::clone(&self.shared), share: Arc::clone(share) }
    }
}

/// The caches, for the blocks of one tenant.
#[derive(Debug, Clone)]
pub(crate) struct TenantCache {
    shared: Arc<Shared>,
    share: Arc<Share>,
}

impl TenantCache {
    pub(crate) fn get<T: Send + Sync + 'static>(&self, key: &CacheKey) -> Option<Arc<T>> {
        let found = self.shared.entries.get(key).and_then(|entry| Arc::clone(&entry.value).downcast().ok());
        let counts = if found.is_some() { &self.shared.hits } else { &self.shared.misses };
        if let Some(count) = counts.get(key.kind as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    /// Whether it is the same tenant's view of the same caches.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.share, &other.share) && Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// How often things of a kind were found, by any tenant.
    #[cfg(test)]
    pub(crate) fn counts(&self, kind: CacheKind) -> CacheCounts {
        let figures = BlockCaches { shared: Arc::clone(&self.shared) }.figures();
        figures.counts.get(kind as usize).copied().unwrap_or_default()
    }

    /// Whether something is there, without using it.
    pub(crate) fn contains(&self, key: &CacheKey) -> bool {
        self.shared.entries.contains_key(key)
    }

    pub(crate) fn insert<T: Send + Sync + 'static>(&self, key: CacheKey, value: Arc<T>, bytes: usize) {
        let bytes = u32::try_from(bytes + ENTRY_BYTES).unwrap_or(u32::MAX);
        if u64::from(bytes) > self.shared.share_max {
            return;
        }
        self.share.bytes.fetch_add(u64::from(bytes), Ordering::Relaxed);
        let entry = Entry { value, bytes, share: Arc::clone(&self.share) };
        self.shared.entries.insert(key, Arc::new(entry));
        let mut order = self.share.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.push_back(key);
        while order.len() > ENTRIES_PER_TENANT_MAX || self.share.bytes.load(Ordering::Relaxed) > self.shared.share_max {
            let Some(oldest) = order.pop_front() else { return };
            self.shared.entries.invalidate(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(place: u64) -> CacheKey {
        CacheKey { object: 1, kind: CacheKind::Page, place }
    }

    #[test]
    fn a_tenant_above_its_share_gives_up_its_oldest() {
        let caches = BlockCaches::new(100_000, 0.1);
        let (greedy, modest) = (caches.of_tenant("greedy"), caches.of_tenant("modest"));
        modest.insert(CacheKey { object: 2, ..key(0) }, Arc::new(7u64), 1000);
        for place in 0..100 {
            greedy.insert(key(place), Arc::new(place), 1000);
        }
        assert_eq!(greedy.get::<u64>(&key(99)).as_deref(), Some(&99));
        assert_eq!(greedy.get::<u64>(&key(0)), None);
        assert_eq!(modest.get::<u64>(&CacheKey { object: 2, ..key(0) }).as_deref(), Some(&7));
        caches.shared.entries.run_pending_tasks();
        assert!(greedy.share.bytes.load(Ordering::Relaxed) <= 10_000);
        assert_eq!(caches.figures().counts[CacheKind::Page as usize], CacheCounts { hits: 2, misses: 1 });
    }
}
