//! The native histograms of one series: rows that wait in memory, and the chunks they were cut into.
//!
//! Samples may come in any order. The rows that wait ascend in time; chunks may overlap each other and the rows, for a late
//! sample joins the rows of its time of arrival. Readers merge. A sample is checked against everything stored before it is
//! taken, so no timestamp is stored twice.

use super::chunk_files::ChunkFiles;
use super::chunk_link::ChunkLink;
use super::frame::{Frame, FrameKind};
use super::late::LateChunk;
use crate::append::Rejection;
use crate::chunk::SAMPLES_MAX;
use crate::histogram::chunk::{decode_run, encode_run, runs};
use crate::histogram::row::{self, Against};
use crate::histogram::stored::Stored;
use crate::wal::cursor::Cursor;

/// Rows are cut into chunks when they take so many bytes: half of what a frame can hold.
const RUN_BYTES_MAX: usize = 28 << 10;
/// Bytes of a chunk that fit a frame whatever its other fields are.
const PAYLOAD_BYTES_MAX: usize = 64_000;

/// What became of one histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    InOrder,
    OutOfOrder,
    Repeated,
    Refused(Rejection),
}

/// The native histograms of one series.
#[derive(Debug, Clone)]
pub(crate) struct HistogramSeries {
    pub(crate) run: Run,
    /// In the order in which they were cut.
    pub(crate) chunks: Vec<LateChunk>,
    /// Timestamps of the oldest and the newest sample ever stored.
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
}

impl Default for HistogramSeries {
    fn default() -> Self {
        Self { run: Run::default(), chunks: Vec::new(), first_ms: i64::MAX, last_ms: i64::MIN }
    }
}

impl HistogramSeries {
    /// Whether there may be samples with `after_ms < t <= until_ms`.
    pub(crate) fn may_overlap(&self, after_ms: i64, until_ms: i64) -> bool {
        self.last_ms > after_ms && self.first_ms <= until_ms
    }

    /// Takes a sample, unless one with its timestamp is there.
    pub(crate) fn append(&mut self, sample: Stored, files: &ChunkFiles) -> Verdict {
        let timestamp_ms = sample.timestamp_ms;
        let verdict = if timestamp_ms > self.last_ms {
            self.run.push(sample);
            Verdict::InOrder
        } else {
            match self.find(timestamp_ms, files) {
                Some(stored) if stored.repeats(&sample) => return Verdict::Repeated,
                Some(_) => return Verdict::Refused(Rejection::ConflictingValue),
                None => self.run.insert(sample),
            }
            Verdict::OutOfOrder
        };
        self.first_ms = self.first_ms.min(timestamp_ms);
        self.last_ms = self.last_ms.max(timestamp_ms);
        verdict
    }

    /// Whether there is a sample at a timestamp.
    pub(crate) fn has(&self, timestamp_ms: i64, files: &ChunkFiles) -> bool {
        self.at(timestamp_ms, files).is_some()
    }

    /// The sample at a timestamp.
    pub(crate) fn at(&self, timestamp_ms: i64, files: &ChunkFiles) -> Option<Stored> {
        let within = (self.first_ms..=self.last_ms).contains(&timestamp_ms);
        within.then(|| self.find(timestamp_ms, files)).flatten()
    }

    /// The sample at a timestamp. An unreadable chunk holds nothing: the sample is stored, and readers hear of the damage.
    fn find(&self, timestamp_ms: i64, files: &ChunkFiles) -> Option<Stored> {
        if let Some(found) = self.run.find(timestamp_ms) {
            return Some(found);
        }
        let mut samples = Vec::new();
        for chunk in self.chunks_within(timestamp_ms, timestamp_ms) {
            samples.clear();
            let Ok(frame) = files.frame(chunk.link) else { continue };
            if decode_run(frame.payload, usize::from(frame.count), &mut samples).is_ok()
                && let Ok(at) = samples.binary_search_by_key(&timestamp_ms, |sample| sample.timestamp_ms)
            {
                return Some(samples.swap_remove(at));
            }
        }
        None
    }

    /// The chunks that may hold a timestamp of a range, inclusive on both ends.
    pub(crate) fn chunks_within(&self, first_ms: i64, last_ms: i64) -> impl Iterator<Item = LateChunk> {
        self.chunks.iter().copied().filter(move |chunk| chunk.first_ms <= last_ms && chunk.last_ms >= first_ms)
    }

    /// Whether the rows are worth a chunk.
    pub(crate) fn is_full(&self) -> bool {
        self.run.count >= SAMPLES_MAX || self.run.bytes.len() >= RUN_BYTES_MAX
    }

    /// Cuts the rows into chunks; returns how many.
    pub(crate) fn cut(&mut self, owner: u32, files: &mut ChunkFiles) -> usize {
        let before = self.chunks.len();
        let samples = std::mem::take(&mut self.run).rows();
        for run in runs(&samples) {
            self.cut_run(owner, run, files);
        }
        self.chunks.len() - before
    }

    /// Few samples of very many buckets may not fit one frame together; one alone does.
    fn cut_run(&mut self, owner: u32, run: &[Stored], files: &mut ChunkFiles) {
        let payload = encode_run(run);
        if payload.len() > PAYLOAD_BYTES_MAX && run.len() > 1 {
            let (early, late) = run.split_at(run.len() / 2);
            self.cut_run(owner, early, files);
            return self.cut_run(owner, late, files);
        }
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return };
        let (first_ms, last_ms) = (first.timestamp_ms, last.timestamp_ms);
        let link = files.append(&Frame {
            kind: FrameKind::Histograms,
            count: run.len() as u8,
            owner,
            first_ms,
            last_ms,
            previous: self.chunks.last().map_or(ChunkLink::NONE, |chunk| chunk.link),
            segment: ChunkLink::NONE,
            payload: &payload,
        });
        self.chunks.push(LateChunk { link, first_ms, last_ms });
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.run.heap_bytes() + self.chunks.capacity() * size_of::<LateChunk>()
    }
}

/// Samples of one series in ascending order of time, each as a difference from the one before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    bytes: Vec<u8>,
    count: usize,
    last: Option<Stored>,
}

impl Run {
    /// How many samples there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The samples as bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads samples that [`Run::as_bytes`] gave; `None` when they are none, or out of order.
    pub(crate) fn from_bytes(bytes: Vec<u8>, count: usize) -> Option<Self> {
        let rows = read_rows(&bytes)?;
        let ascending = rows.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms);
        (ascending && rows.len() == count).then(|| Self { bytes, count, last: rows.into_iter().next_back() })
    }

    /// All samples.
    pub(crate) fn rows(&self) -> Vec<Stored> {
        read_rows(&self.bytes).expect("rows in memory are as they were encoded")
    }

    fn push(&mut self, sample: Stored) {
        row::push(&mut self.bytes, self.last.as_ref(), Against::RowBefore, &sample);
        self.count += 1;
        self.last = Some(sample);
    }

    /// Adds a sample that is not the newest of its series; its timestamp is not among these.
    fn insert(&mut self, sample: Stored) {
        if self.last.as_ref().is_none_or(|last| last.timestamp_ms < sample.timestamp_ms) {
            return self.push(sample);
        }
        let mut rows = std::mem::take(self).rows();
        let at = rows.partition_point(|row| row.timestamp_ms < sample.timestamp_ms);
        rows.insert(at, sample);
        rows.into_iter().for_each(|row| self.push(row));
    }

    fn find(&self, timestamp_ms: i64) -> Option<Stored> {
        let last = self.last.as_ref().filter(|last| last.timestamp_ms >= timestamp_ms)?;
        if last.timestamp_ms == timestamp_ms {
            return Some(last.clone());
        }
        self.rows().into_iter().find(|row| row.timestamp_ms == timestamp_ms)
    }

    fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.last.as_ref().map_or(0, |last| last.size() * 16)
    }
}

/// The samples of a run as [`Run::as_bytes`] gave them.
pub(crate) fn read_rows(bytes: &[u8]) -> Option<Vec<Stored>> {
    let mut cursor = Cursor::new(bytes);
    let mut rows: Vec<Stored> = Vec::new();
    while !cursor.is_empty() {
        let row = row::read(&mut cursor, rows.last(), Against::RowBefore)?;
        rows.push(row);
    }
    Some(rows)
}
