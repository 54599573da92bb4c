//! Out-of-order samples: what arrives behind the newest sample of its series.
//!
//! They are kept in a sorted buffer per series, made only for series that need it, and cut into chunks that may overlap
//! others when the buffer is full or all buffers of the shard together are. Readers merge. A sample is checked against
//! everything stored before it is taken, so no timestamp is ever stored twice.

use super::chunk_files::ChunkFiles;
use super::chunk_link::ChunkLink;
use super::frame::{Frame, FrameKind};
use crate::chunk::bits::BitBuffer;
use crate::chunk::timestamp;
use crate::chunk::value::{ValueState, encode, encode_first};

/// A buffer is cut into a chunk at this size.
pub(crate) const BUFFER_MAX: usize = 64;
/// The largest distance of neighbours that a chunk can express.
const DELTA_MAX: i64 = i32::MAX as i64;

/// A chunk of out-of-order samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LateChunk {
    pub(crate) link: ChunkLink,
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
}

/// The out-of-order samples of one series.
#[derive(Debug, Clone, Default)]
pub(crate) struct LateSamples {
    /// Timestamp and value bits in ascending order of timestamps.
    pub(crate) buffer: Vec<(i64, u64)>,
    /// In the order in which they were cut.
    pub(crate) chunks: Vec<LateChunk>,
    /// The oldest sample that came in order, once somebody has looked.
    pub(crate) in_order_first_ms: Option<i64>,
}

impl LateSamples {
    /// The buffered value at a timestamp, or where it belongs.
    pub(crate) fn find(&self, timestamp_ms: i64) -> Result<u64, usize> {
        self.buffer.binary_search_by_key(&timestamp_ms, |sample| sample.0).map(|at| self.buffer[at].1)
    }

    /// Whether there may be samples with `after_ms < t <= until_ms`.
    pub(crate) fn may_overlap(&self, after_ms: i64, until_ms: i64) -> bool {
        let at = self.buffer.partition_point(|sample| sample.0 <= after_ms);
        self.buffer.get(at).is_some_and(|sample| sample.0 <= until_ms)
            || self.chunks.iter().any(|chunk| chunk.first_ms <= until_ms && chunk.last_ms > after_ms)
    }

    /// The chunks that may hold a timestamp of a range, inclusive on both ends.
    pub(crate) fn chunks_within(&self, first_ms: i64, last_ms: i64) -> impl Iterator<Item = LateChunk> {
        self.chunks.iter().copied().filter(move |chunk| chunk.first_ms <= last_ms && chunk.last_ms >= first_ms)
    }

    /// Cuts the buffer into chunks; returns how many.
    pub(crate) fn cut(&mut self, owner: u32, files: &mut ChunkFiles) -> usize {
        let before = self.chunks.len();
        let samples = std::mem::take(&mut self.buffer);
        for run in samples.chunk_by(|a, b| b.0.checked_sub(a.0).is_some_and(|delta| delta <= DELTA_MAX)) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let payload = encode_run(run);
            let previous = self.chunks.last().map_or(ChunkLink::NONE, |chunk| chunk.link);
            let link = files.append(&Frame {
                kind: FrameKind::OutOfOrder,
                count: run.len() as u8,
                owner,
                first_ms: first.0,
                last_ms: last.0,
                previous,
                segment: ChunkLink::NONE,
                payload: &payload,
            });
            self.chunks.push(LateChunk { link, first_ms: first.0, last_ms: last.0 });
        }
        self.chunks.len() - before
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.buffer.capacity() * size_of::<(i64, u64)>() + self.chunks.capacity() * size_of::<LateChunk>()
    }
}

fn encode_run(run: &[(i64, u64)]) -> Vec<u8> {
    let mut buffer = BitBuffer::default();
    let mut state = ValueState::default();
    let mut before: Option<(i64, u64)> = None;
    let mut last_delta = 0;
    for &(timestamp_ms, bits) in run {
        match before {
            None => {
                buffer.push(timestamp::encode_first(timestamp_ms));
                buffer.push(encode_first(&mut state, None, bits));
            }
            Some((before_ms, before_bits)) => {
                let delta = u32::try_from(timestamp_ms - before_ms).expect("runs are split at longer distances");
                buffer.push(timestamp::encode(last_delta, delta));
                buffer.push(encode(&mut state, before_bits, bits));
                last_delta = delta;
            }
        }
        before = Some((timestamp_ms, bits));
    }
    buffer.finish()
}
