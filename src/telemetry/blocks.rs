//! Metrics of blocks, their lifecycle and the object store.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use storage::block::read::pages_not_fetched;
use storage::bucket::{BucketSnapshot, OperationSnapshot, SECONDS_BOUNDS};
use storage::store::{BlockGroup, Store, StoreStats};

/// Collects `hearth_blocks*`, `hearth_flush_*` and `hearth_compaction_*`, which each tenant has.
pub struct BlockCollector {
    store: Store,
}

impl BlockCollector {
    /// A collector that asks `store` at every scrape.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

impl fmt::Debug for BlockCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockCollector").finish_non_exhaustive()
    }
}

impl Collector for BlockCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = self.store.stats();
        blocks(&stats, &mut encoder)?;
        work(&stats, &mut encoder)?;
        let known = f64::from(u8::from(stats.away.is_none()));
        let gauges = [
            ("hearth_object_store_known", "1 once the object store has answered since the start.", known),
            ("hearth_manifest_version", "Number of the newest manifest.", stats.manifest_version as f64),
            (
                "hearth_blocks_damaged",
                "Blocks that cannot be read and are left as they are.",
                stats.damaged.len() as f64,
            ),
            ("hearth_compaction_backlog", "Days of which blocks wait to be merged.", stats.compaction_backlog as f64),
            ("hearth_tombstones", "Deletions that are not carried out yet.", stats.tombstones as f64),
        ];
        for (name, help, value) in gauges {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let counters = [
            ("hearth_garbage_collected_bytes", "Bytes of objects that were deleted.", stats.collected_bytes),
            (
                "hearth_blocks_expired",
                "Blocks that were dropped because of their age or for space.",
                stats.expired_blocks,
            ),
            (
                "hearth_manifest_takeovers",
                "Times that another process took over as writer or compactor of the same blocks: imports, or a second server.",
                stats.takeovers,
            ),
            ("hearth_head_series_left", "Idle series that left memory.", stats.series_left),
        ];
        for (name, help, value) in counters {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        Ok(())
    }
}

/// Collects `hearth_object_store_*` and `hearth_block_cache_*`, which all tenants have in common.
pub struct BucketCollector {
    store: Store,
}

impl BucketCollector {
    /// A collector that asks `store`, that of any tenant, at every scrape.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

impl fmt::Debug for BucketCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketCollector").finish_non_exhaustive()
    }
}

impl Collector for BucketCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let cached = ConstGauge::new(self.store.cached().bytes as f64);
        let (name, help) = ("hearth_block_cache_bytes", "Memory that parts of blocks take.");
        cached.encode(encoder.encode_descriptor(name, help, None, cached.metric_type())?)?;
        let mistakes = ConstCounter::new(pages_not_fetched());
        let help = "Pages that were read without having been fetched: each is a mistake in Hearth.";
        let name = "hearth_block_pages_not_fetched";
        mistakes.encode(encoder.encode_descriptor(name, help, None, mistakes.metric_type())?)?;
        requests(&self.store.requests(), &mut encoder)
    }
}

/// Name, help, and how to get it.
type Figure<S> = (&'static str, &'static str, fn(&S) -> u64);

fn blocks(stats: &StoreStats, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let figures: [Figure<BlockGroup>; 3] = [
        ("hearth_blocks", "Blocks that queries read.", |group| group.blocks),
        ("hearth_block_bytes", "Bytes of their files.", |group| group.bytes),
        ("hearth_block_samples", "Samples in them.", |group| group.samples),
    ];
    for (name, help, figure) in figures {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for group in &stats.blocks {
            let resolution = storage::block::meta::resolution_name(group.resolution_ms);
            let labels = [("resolution", resolution), ("level", group.level.to_string())];
            ConstGauge::new(figure(group) as f64).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn work(stats: &StoreStats, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let kinds = [("flush", &stats.flush), ("compaction", &stats.compaction), ("garbage_collection", &stats.collection)];
    for (kind, work) in kinds {
        let counters = [
            ("runs", "How often it was done.", work.done as f64),
            ("failures", "How often it failed, to be tried again.", work.failed as f64),
            ("seconds", "Time that it took.", work.seconds),
        ];
        for (what, help, value) in counters {
            let metric = ConstCounter::new(value);
            let name = format!("hearth_{kind}_{what}");
            metric.encode(encoder.encode_descriptor(&name, help, None, metric.metric_type())?)?;
        }
        let failing = ConstGauge::new(f64::from(u8::from(work.failure.is_some())));
        let (name, help) = (format!("hearth_{kind}_failing"), "1 while the last attempt failed.");
        failing.encode(encoder.encode_descriptor(&name, help, None, failing.metric_type())?)?;
    }
    for (kind, work) in [("flush", &stats.flush), ("compaction", &stats.compaction)] {
        let metric = ConstCounter::new(work.samples);
        let name = format!("hearth_{kind}_samples");
        metric.encode(encoder.encode_descriptor(&name, "Samples that it moved.", None, metric.metric_type())?)?;
    }
    Ok(())
}

fn requests(snapshot: &BucketSnapshot, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let figures: [Figure<OperationSnapshot>; 4] = [
        ("hearth_object_store_requests", "Requests to the object store, repetitions included.", |o| o.requests),
        ("hearth_object_store_request_failures", "Requests that failed.", |o| o.request_failures),
        ("hearth_object_store_failures", "Operations that failed in spite of repetitions.", |o| o.failures),
        ("hearth_object_store_bytes", "Bytes sent or received.", |o| o.bytes),
    ];
    for (name, help, figure) in figures {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for snapshot in &snapshot.operations {
            let labels = [("operation", snapshot.operation.name())];
            ConstCounter::new(figure(snapshot)).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Time that an operation takes, repetitions included.";
    let name = "hearth_object_store_duration_seconds";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for snapshot in &snapshot.operations {
        let bounds = SECONDS_BOUNDS.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(snapshot.seconds_buckets).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let labels = [("operation", snapshot.operation.name())];
        family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(snapshot.seconds_sum, count, &buckets, None)?;
    }
    Ok(())
}
