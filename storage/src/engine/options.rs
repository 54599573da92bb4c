//! How an engine is opened.

use crate::error::Error;
use std::path::PathBuf;
use std::time::Duration;

/// How an engine is opened. None of it can be changed while it is open.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory of all data; made when missing. One process at a time may have it open.
    pub path: PathBuf,

    /// Size of a segment of the write-ahead log.
    ///
    /// Each segment is written once with zeros and then used again and again. Smaller segments are prepared faster and
    /// release their space earlier; each one starts the compression of samples afresh, which costs some bytes per series. From
    /// 64 KiB to 1 GiB. Since 0.1.
    pub segment_bytes: u64,

    /// Bytes of samples that may wait for the disk.
    ///
    /// When they do, further appends are refused as unavailable, so that senders wait instead of this process growing. Raise
    /// it for disks that stall. Since 0.1.
    pub queue_bytes_max: usize,

    /// Time between snapshots.
    ///
    /// A restart replays what was written since the last one. Shorter intervals make restarts faster and write more: a
    /// snapshot takes about 300 bytes per series. Since 0.1.
    pub snapshot_interval: Duration,

    /// Bytes of log after which a snapshot is taken before its time.
    ///
    /// The log keeps up to twice as many bytes on disk, because it reaches back to the snapshot before the last. Since 0.1.
    pub snapshot_wal_bytes: u64,

    /// Bytes of memory that types, helps and units of metrics may take; more are refused. Since 0.1.
    pub metadata_bytes_max: usize,

    /// Number of shards of the head, a power of two; directories keep the number they were made with. `None`: one per
    /// core. Since 0.1.
    pub shards: Option<usize>,

    /// Bytes that buffered out-of-order samples may take before they are cut into chunks. Since 0.1.
    pub out_of_order_bytes_max: usize,

    /// Bytes that native histograms may take in memory before they are cut into chunks. Since 0.1.
    pub histogram_bytes_max: usize,

    /// Exemplars that are kept, in memory; the first that came goes first. 0 takes none. Since 0.1.
    pub exemplars_max: usize,
}

const MIB: u64 = 1 << 20;

impl Options {
    /// The defaults for data below `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            segment_bytes: 64 * MIB,
            queue_bytes_max: 64 << 20,
            snapshot_interval: Duration::from_secs(600),
            snapshot_wal_bytes: 1024 * MIB,
            metadata_bytes_max: 64 << 20,
            shards: None,
            out_of_order_bytes_max: 64 << 20,
            histogram_bytes_max: 128 << 20,
            exemplars_max: 100_000,
        }
    }

    /// Refuses values that cannot work.
    pub(super) fn check(&self) -> Result<(), Error> {
        let refuse = |option, why: &str| Err(Error::Option { option, why: why.to_owned() });
        if !(64 << 10..=1024 * MIB).contains(&self.segment_bytes) || !self.segment_bytes.is_multiple_of(4096) {
            return refuse("segment_bytes", "must be a multiple of 4 KiB from 64 KiB to 1 GiB");
        }
        if self.queue_bytes_max < 64 << 10 {
            return refuse("queue_bytes_max", "must be 64 KiB or more");
        }
        if self.snapshot_interval < Duration::from_secs(1) {
            return refuse("snapshot_interval", "must be a second or more");
        }
        if self.snapshot_wal_bytes < self.segment_bytes {
            return refuse("snapshot_wal_bytes", "must be a segment or more");
        }
        Ok(())
    }

    /// Segments that wait for a new life: as many as one snapshot releases.
    pub(super) fn spares_max(&self) -> usize {
        (self.snapshot_wal_bytes / self.segment_bytes) as usize + 2
    }
}
