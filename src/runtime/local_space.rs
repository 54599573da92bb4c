//! One bound for what lies on the local disk because the object store does not have it yet: the log, snapshots and the chunk
//! files of the head. One flush that waits to be published comes on top.
//!
//! While the object store is away, nothing of that can be given up. From [`SHORT_PERCENT`] of the bound on the head is emptied
//! into blocks as while memory is short, which helps when the store takes them; at the bound senders are asked to keep their
//! samples and to come again, so that other programs on the same disk, and what rules record, still have room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of the bound, what makes the head be emptied.
const SHORT_PERCENT: u64 = 80;

/// The local space. A cheap handle: clones share the measurement.
#[derive(Debug, Clone)]
pub struct LocalSpace {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// In bytes.
    limit: u64,
    used: AtomicU64,
    turned_away: AtomicU64,
}

/// There is no local space now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the local space is full: samples that are not in blocks yet take {used} bytes, and --storage.local.size allows {limit}; \
     they leave when the object store takes them"
)]
pub struct LocalSpaceFull {
    /// Bytes in use.
    pub used: u64,
    /// The bound.
    pub limit: u64,
}

impl LocalSpace {
    /// A bound of `limit` bytes; 0: the disk is the bound.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        let limit = if limit == 0 { u64::MAX } else { limit };
        Self { inner: Arc::new(Inner { limit, used: AtomicU64::new(0), turned_away: AtomicU64::new(0) }) }
    }

    /// The bound in bytes, if there is one.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        (self.inner.limit < u64::MAX).then_some(self.inner.limit)
    }

    /// Bytes in use when they were last noted.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.inner.used.load(Ordering::Relaxed)
    }

    /// Writes that were turned away.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.inner.turned_away.load(Ordering::Relaxed)
    }

    /// Notes what is in use, and returns whether that is the bound or more.
    pub fn note(&self, used: u64) -> bool {
        self.inner.used.store(used, Ordering::Relaxed);
        self.is_full()
    }

    /// Whether so little is left that the head had better be emptied.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.used() >= self.inner.limit / 100 * SHORT_PERCENT
    }

    /// Whether samples may be taken.
    ///
    /// # Errors
    /// They are better kept by their sender for now.
    pub fn admit_write(&self) -> Result<(), LocalSpaceFull> {
        if !self.is_full() {
            return Ok(());
        }
        self.inner.turned_away.fetch_add(1, Ordering::Relaxed);
        Err(LocalSpaceFull { used: self.used(), limit: self.inner.limit })
    }

    fn is_full(&self) -> bool {
        self.used() >= self.inner.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_emptied_before_samples_are_turned_away() {
        let space = LocalSpace::new(1000);
        let at = |used| (space.note(used), space.is_short(), space.admit_write().is_ok());
        assert_eq!(at(799), (false, false, true));
        assert_eq!(at(800), (false, true, true));
        assert_eq!(at(1000), (true, true, false));
        assert_eq!(space.admit_write(), Err(LocalSpaceFull { used: 1000, limit: 1000 }));
        assert_eq!(at(10), (false, false, true));
        assert_eq!((space.turned_away(), space.limit()), (2, Some(1000)));
    }

    #[test]
    fn without_a_bound_nobody_is_turned_away() {
        let space = LocalSpace::new(0);
        assert!(!space.note(1 << 60) && !space.is_short() && space.admit_write().is_ok());
        assert_eq!(space.limit(), None);
    }
}
