//! What the search for Alertmanagers counted, over all configurations since the start.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that every search shares.
#[derive(Debug, Default)]
pub(in crate::notify) struct Counters {
    dns_lookups: AtomicU64,
    dns_lookup_failures: AtomicU64,
    file_read_errors: AtomicU64,
    http_failures: AtomicU64,
}

/// Figures of the search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiscoveryStats {
    /// Names that were asked for.
    pub dns_lookups: u64,
    /// Names that nobody could answer for.
    pub dns_lookup_failures: u64,
    /// Files that could not be read, or are no lists.
    pub file_read_errors: u64,
    /// Requests for lists that failed.
    pub http_failures: u64,
}

impl Counters {
    pub(super) fn looked_up(&self) {
        self.dns_lookups.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lookup_failed(&self) {
        self.dns_lookup_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read_failed(&self) {
        self.file_read_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn http_failed(&self) {
        self.http_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::notify) fn stats(&self) -> DiscoveryStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DiscoveryStats {
            dns_lookups: read(&self.dns_lookups),
            dns_lookup_failures: read(&self.dns_lookup_failures),
            file_read_errors: read(&self.file_read_errors),
            http_failures: read(&self.http_failures),
        }
    }
}
