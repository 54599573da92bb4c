//! Metrics of the storage engine. The engine counts and knows no metrics library; this turns its figures into series.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use storage::engine::EngineStats;
use storage::wal::stats::SYNC_BUCKETS;

/// Collects `hearth_wal_*`, `hearth_head_*` and `hearth_snapshot_*`.
pub struct StorageCollector {
    read: Box<dyn Fn() -> EngineStats + Send + Sync>,
}

impl StorageCollector {
    /// A collector that asks `read` at every scrape.
    pub fn new(read: impl Fn() -> EngineStats + Send + Sync + 'static) -> Self {
        Self { read: Box::new(read) }
    }
}

impl fmt::Debug for StorageCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageCollector").finish_non_exhaustive()
    }
}

impl Collector for StorageCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = (self.read)();
        for (name, help, value) in counters(&stats) {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        for (name, help, value) in gauges(&stats) {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let help = "Bytes of memory that the head takes, by part.";
        let mut family = encoder.encode_descriptor("hearth_head_memory_bytes", help, None, MetricType::Gauge)?;
        for (part, bytes) in memory(&stats) {
            ConstGauge::new(bytes).encode(family.encode_family(&[("part", part)])?)?;
        }
        sync_histogram(&stats, &mut encoder)
    }
}

type Figure = (&'static str, &'static str, f64);

fn counters(stats: &EngineStats) -> Vec<Figure> {
    let (wal, head) = (&stats.wal, &stats.head);
    let figure = |name, help, value: u64| (name, help, value as f64);
    vec![
        figure("hearth_wal_records", "Records written to the write-ahead log.", wal.records),
        figure("hearth_wal_samples", "Samples written to the write-ahead log.", wal.samples),
        figure("hearth_wal_written_bytes", "Bytes written to the write-ahead log.", wal.bytes),
        figure("hearth_wal_queue_full", "Appends refused because too much waited for the disk.", wal.queue_full),
        figure("hearth_wal_no_space", "Appends refused because no log segment could be prepared.", wal.no_space),
        figure("hearth_wal_segments_created", "Log segments made from new space.", wal.segments_created),
        figure("hearth_wal_segments_recycled", "Log segments used again.", wal.segments_recycled),
        figure("hearth_wal_segment_failures", "Failed attempts to prepare a log segment.", wal.segment_failures),
        figure("hearth_head_series_created", "Series made.", head.series_created),
        figure("hearth_head_samples_in_order", "Samples stored in order.", head.samples_in_order),
        figure("hearth_head_samples_out_of_order", "Samples stored out of order.", head.samples_out_of_order),
        figure("hearth_head_histograms_in_order", "Native histograms stored in order.", head.histograms_in_order),
        figure("hearth_head_histograms_out_of_order", "Late native histograms stored.", head.histograms_out_of_order),
        figure("hearth_head_samples_repeated", "Samples that repeated a stored one.", head.samples_repeated),
        figure("hearth_head_samples_conflicting", "Samples refused for another value.", head.samples_conflicting),
        figure(
            "hearth_head_chunks_cut",
            "Chunks moved to the chunk files.",
            head.chunks_cut + head.late_chunks_cut + head.histogram_chunks_cut,
        ),
        figure("hearth_head_chunk_write_failures", "Failed writes to chunk files.", head.chunk_write_failures),
    ]
}

fn gauges(stats: &EngineStats) -> Vec<Figure> {
    let (wal, head) = (&stats.wal, &stats.head);
    let (oldest, newest) = head.time_range_ms.unwrap_or((0, 0));
    let failing = f64::from(u8::from(head.chunk_write_problem.is_some()));
    vec![
        ("hearth_wal_queue_bytes", "Bytes that wait for the disk or to be applied.", wal.queue_bytes as f64),
        ("hearth_wal_segments", "Log segments that no snapshot covers.", wal.segments as f64),
        ("hearth_head_series", "Series in the head.", head.series as f64),
        ("hearth_head_series_with_histograms", "Series with native histograms.", head.histogram_series as f64),
        ("hearth_head_exemplars", "Exemplars in memory.", stats.exemplars as f64),
        (
            "hearth_head_label_pairs",
            "Pairs of label name and value, counted in each shard that has them.",
            head.label_pairs as f64,
        ),
        ("hearth_head_chunk_files", "Chunk files.", head.chunk_files as f64),
        ("hearth_head_chunk_file_bytes", "Bytes in chunk files.", head.chunk_file_bytes as f64),
        ("hearth_head_chunk_writes_failing", "1 while chunks cannot be written.", failing),
        ("hearth_head_out_of_order_buffered", "Out-of-order samples in memory.", head.out_of_order_buffered as f64),
        ("hearth_head_min_time_seconds", "Time of the oldest sample.", oldest as f64 / 1000.0),
        ("hearth_head_max_time_seconds", "Time of the newest sample.", newest as f64 / 1000.0),
    ]
}

fn memory(stats: &EngineStats) -> [(&'static str, u64); 12] {
    let memory = &stats.head.memory;
    [
        ("slots", memory.slots),
        ("cells", memory.cells),
        ("hash_index", memory.hash_index),
        ("label_sets", memory.label_sets),
        ("label_pairs", memory.label_pairs),
        ("postings", memory.postings),
        ("timelines", memory.timelines),
        ("out_of_order", memory.out_of_order),
        ("histograms", memory.histograms),
        ("starts", memory.starts),
        ("views", memory.views),
        ("chunks_waiting", memory.chunks_waiting),
    ]
}

fn sync_histogram(stats: &EngineStats, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let bounds = SYNC_BUCKETS.iter().copied().chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(stats.wal.sync_buckets).collect();
    let help = "Time that one sync of the write-ahead log takes.";
    encoder
        .encode_descriptor("hearth_wal_sync_duration_seconds", help, None, MetricType::Histogram)?
        .encode_histogram::<NoLabelSet>(stats.wal.sync_seconds, stats.wal.syncs, &buckets, None)
}
