//! What the log counts while it works, and the plain figures made of it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets of sync durations, in seconds; one more bucket holds what is above.
pub const SYNC_BUCKETS: [f64; 13] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// Figures of the log since the process started.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WalStats {
    /// Records written.
    pub records: u64,
    /// Samples in them.
    pub samples: u64,
    /// Bytes of them, headers and padding included.
    pub bytes: u64,
    /// Batches that were synced.
    pub syncs: u64,
    /// Time spent in syncs.
    pub sync_seconds: f64,
    /// Syncs by duration: not cumulative, bounds in [`SYNC_BUCKETS`].
    pub sync_buckets: [u64; SYNC_BUCKETS.len() + 1],
    /// Bytes that wait for the disk or to be applied, now.
    pub queue_bytes: u64,
    /// Appends refused because the queue was full.
    pub queue_full: u64,
    /// Appends refused because no segment could be prepared.
    pub no_space: u64,
    /// Segments that hold records which no snapshot covers, the active one included, now.
    pub segments: u64,
    /// Segments made from new space.
    pub segments_created: u64,
    /// Segments given a new life.
    pub segments_recycled: u64,
    /// Segments removed because enough others wait.
    pub segments_removed: u64,
    /// Failed attempts to prepare, recycle or remove a segment.
    pub segment_failures: u64,
    /// The number of the newest record.
    pub last_lsn: u64,
}

#[derive(Debug, Default)]
pub(crate) struct WalCounters {
    pub(crate) records: AtomicU64,
    pub(crate) samples: AtomicU64,
    pub(crate) bytes: AtomicU64,
    sync_nanos: AtomicU64,
    sync_buckets: [AtomicU64; SYNC_BUCKETS.len() + 1],
    pub(crate) queue_full: AtomicU64,
    pub(crate) no_space: AtomicU64,
    pub(crate) segments: AtomicU64,
    pub(crate) segments_created: AtomicU64,
    pub(crate) segments_recycled: AtomicU64,
    pub(crate) segments_removed: AtomicU64,
    pub(crate) segment_failures: AtomicU64,
    pub(crate) last_lsn: AtomicU64,
}

impl WalCounters {
    pub(crate) fn count_sync(&self, duration: Duration) {
        self.sync_nanos.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        let seconds = duration.as_secs_f64();
        let bucket = SYNC_BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(SYNC_BUCKETS.len());
        if let Some(bucket) = self.sync_buckets.get(bucket) {
            bucket.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn read(&self, queue_bytes: usize) -> WalStats {
        let sync_buckets: [u64; SYNC_BUCKETS.len() + 1] =
            std::array::from_fn(|bucket| self.sync_buckets.get(bucket).map_or(0, |count| count.load(Relaxed)));
        WalStats {
            records: self.records.load(Relaxed),
            samples: self.samples.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            syncs: sync_buckets.iter().sum(),
            sync_seconds: Duration::from_nanos(self.sync_nanos.load(Relaxed)).as_secs_f64(),
            sync_buckets,
            queue_bytes: queue_bytes as u64,
            queue_full: self.queue_full.load(Relaxed),
            no_space: self.no_space.load(Relaxed),
            segments: self.segments.load(Relaxed),
            segments_created: self.segments_created.load(Relaxed),
            segments_recycled: self.segments_recycled.load(Relaxed),
            segments_removed: self.segments_removed.load(Relaxed),
            segment_failures: self.segment_failures.load(Relaxed),
            last_lsn: self.last_lsn.load(Relaxed),
        }
    }
}

/// Adds one; for counters that only people read.
pub(crate) fn increment(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
