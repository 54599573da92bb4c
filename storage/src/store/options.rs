//! How a store is opened.

use crate::bucket::BucketOptions;
use crate::engine;
use crate::lifecycle::compaction_plan::CompactionOptions;
use crate::lifecycle::retention::Retention;
use crate::manifest::GarbageOptions;
use std::time::Duration;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Log, head and directory.
    pub engine: engine::Options,
    /// Where blocks are kept.
    pub bucket: BucketOptions,
    /// Whose data.
    pub tenant: String,
    /// Bytes of memory that parts of blocks may take when they are kept for the next query.
    pub cache_bytes_max: u64,
    /// The part of that (0 to 1) which one tenant may have, of those whose stores are opened beside each other.
    pub cache_tenant_share: f64,
    /// Bytes of memory that the inputs of one merge may take, about: what does not fit is merged in several steps.
    pub merge_bytes_max: u64,
    /// How long after its end a window of two hours is flushed: samples that come later end in blocks of their own.
    pub flush_lag: Duration,
    /// A series that has been silent for so long leaves memory once its samples are in blocks.
    pub idle_after: Duration,
    /// How long a start waits for the object store before it goes on with what was known.
    pub open_timeout: Duration,
    /// How often the lifecycle looks whether something is due.
    pub check_interval: Duration,
    /// When blocks are merged.
    pub compaction: CompactionOptions,
    /// What expires.
    pub retention: Retention,
    /// How long objects outlive their use.
    pub garbage: GarbageOptions,
}

impl StoreOptions {
    /// The defaults for data below `path`, blocks included.
    #[must_use]
    pub fn new(path: impl Into<std::path::PathBuf>) -> Self {
        Self {
            engine: engine::Options::new(path),
            bucket: BucketOptions::default(),
            tenant: "anonymous".into(),
            cache_bytes_max: 256 << 20,
            cache_tenant_share: 1.0,
            merge_bytes_max: u64::MAX,
            flush_lag: Duration::from_secs(900),
            idle_after: Duration::from_secs(3600),
            open_timeout: Duration::from_secs(10),
            check_interval: Duration::from_secs(10),
            compaction: CompactionOptions::default(),
            retention: Retention::default(),
            garbage: GarbageOptions::default(),
        }
    }
}
