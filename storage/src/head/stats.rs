//! Figures about the head for an operator.

use super::histograms::HistogramSeries;
use super::shard::Shard;
use super::starts::StartTimes;

/// Everything an operator needs to know about the head. Counters count since the process started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeadStats {
    /// Series held.
    pub series: u64,
    /// Series made since the process started; those restored are not counted.
    pub series_created: u64,
    /// Series that left since the process started.
    pub series_removed: u64,
    /// Samples stored in order.
    pub samples_in_order: u64,
    /// Samples stored out of order.
    pub samples_out_of_order: u64,
    /// Floats stored that were older than the append floor.
    pub samples_below_floor: u64,
    /// Samples that repeated a stored one bit for bit.
    pub samples_repeated: u64,
    /// Samples refused because another value was stored at their timestamp.
    pub samples_conflicting: u64,
    /// Native histograms stored in order.
    pub histograms_in_order: u64,
    /// Native histograms stored out of order.
    pub histograms_out_of_order: u64,
    /// Series with native histograms.
    pub histogram_series: u64,
    /// Chunks of native histograms moved to the chunk files.
    pub histogram_chunks_cut: u64,
    /// Chunks moved to the chunk files.
    pub chunks_cut: u64,
    /// Chunks of out-of-order samples moved to the chunk files.
    pub late_chunks_cut: u64,
    /// Timeline segments written to the chunk files.
    pub segments_written: u64,
    /// How often a series left the timeline of its group because it did not fit.
    pub timelines_left: u64,
    /// Timelines held.
    pub timelines: u64,
    /// Distinct label pairs, added up over shards.
    pub label_pairs: u64,
    /// Chunk files.
    pub chunk_files: u64,
    /// Bytes in chunk files.
    pub chunk_file_bytes: u64,
    /// Failed writes to chunk files.
    pub chunk_write_failures: u64,
    /// Why chunks cannot be written at the moment, if they cannot.
    pub chunk_write_problem: Option<String>,
    /// Out-of-order samples in memory.
    pub out_of_order_buffered: u64,
    /// Timestamps of the oldest and the newest sample that are not in blocks, below-floor ones left out, in milliseconds since
    /// the Unix epoch; `None` when there is no sample.
    pub time_range_ms: Option<(i64, i64)>,
    /// Memory by part.
    pub memory: HeadMemory,
}

/// Bytes of memory that the head has allocated, by part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadMemory {
    /// Series slots.
    pub slots: u64,
    /// Cells of open chunks, free ones included.
    pub cells: u64,
    /// Cells of open chunks in use.
    pub cells_used: u64,
    /// The table from hashes to series.
    pub hash_index: u64,
    /// Label sets.
    pub label_sets: u64,
    /// Label names, values and pairs.
    pub label_pairs: u64,
    /// Postings.
    pub postings: u64,
    /// Timelines and their open segments.
    pub timelines: u64,
    /// Out-of-order samples.
    pub out_of_order: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Start timestamps.
    pub starts: u64,
    /// What open views must not see.
    pub views: u64,
    /// Chunks that wait to be written.
    pub chunks_waiting: u64,
}

impl HeadMemory {
    /// The sum of all parts.
    #[must_use]
    pub fn total(&self) -> u64 {
        let index = self.hash_index + self.label_sets + self.label_pairs + self.postings;
        let aside = self.out_of_order + self.histograms + self.starts + self.views;
        self.slots + self.cells + index + self.timelines + aside + self.chunks_waiting
    }
}

impl HeadStats {
    /// Adds one shard.
    pub(super) fn add(&mut self, shard: &Shard) {
        let counters = &shard.counters;
        self.series += shard.hashes.len() as u64;
        self.series_created += counters.series_created;
        self.series_removed += counters.series_removed;
        self.samples_in_order += counters.in_order;
        self.samples_out_of_order += counters.out_of_order;
        self.samples_below_floor += counters.below_floor;
        self.samples_repeated += counters.repeated;
        self.samples_conflicting += counters.conflicting;
        self.histograms_in_order += counters.histograms_in_order;
        self.histograms_out_of_order += counters.histograms_out_of_order;
        self.histogram_series += shard.histograms.len() as u64;
        self.histogram_chunks_cut += counters.histogram_chunks_cut;
        self.chunks_cut += counters.chunks_cut;
        self.late_chunks_cut += counters.late_chunks_cut;
        self.segments_written += counters.segments_written;
        self.timelines_left += counters.detached;
        self.timelines += shard.timelines.count() as u64;
        self.label_pairs += shard.labels.pair_count() as u64;
        self.out_of_order_buffered += shard.late_buffered as u64;
        let (written, waiting) = shard.files.sizes();
        self.chunk_files += shard.files.summaries().len() as u64;
        self.chunk_file_bytes += written;
        let (failures, problem) = shard.files.failures();
        self.chunk_write_failures += failures;
        self.chunk_write_problem = self.chunk_write_problem.take().or_else(|| problem.map(str::to_owned));
        if let Some((first_ms, last_ms)) = shard.time_range_ms() {
            let (oldest_ms, newest_ms) = self.time_range_ms.unwrap_or((first_ms, last_ms));
            self.time_range_ms = Some((oldest_ms.min(first_ms), newest_ms.max(last_ms)));
        }
        self.memory.add(shard, waiting);
    }
}

impl HeadMemory {
    fn add(&mut self, shard: &Shard, waiting: usize) {
        const CELL_BYTES: usize = 32;
        let index = shard.labels.bytes();
        let late: usize = shard.late.values().map(super::late::LateSamples::bytes).sum();
        self.slots += (shard.slots.bytes()) as u64;
        self.cells += shard.cells.slab.bytes() as u64;
        self.cells_used += (shard.cells.used() * CELL_BYTES) as u64;
        self.hash_index += shard.hashes.bytes() as u64;
        self.label_sets += index.label_sets as u64;
        self.label_pairs += index.pairs as u64;
        self.postings += index.postings as u64;
        self.timelines += shard.timelines.bytes() as u64;
        self.out_of_order += (late + shard.late.capacity() * (size_of::<super::late::LateSamples>() + 5)) as u64;
        let histograms: usize = shard.histograms.values().map(HistogramSeries::bytes).sum();
        self.histograms += (histograms + shard.histograms.capacity() * (size_of::<HistogramSeries>() + 5)) as u64;
        let starts: usize = shard.starts.values().map(StartTimes::bytes).sum();
        self.starts += (starts + shard.starts.capacity() * (size_of::<StartTimes>() + 5)) as u64;
        self.views += shard.notes.bytes() as u64;
        self.chunks_waiting += waiting as u64;
        for generation in &shard.below {
            let (late, histograms, starts) = generation.bytes();
            self.out_of_order += late as u64;
            self.histograms += histograms as u64;
            self.starts += starts as u64;
        }
    }
}
