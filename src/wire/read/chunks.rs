//! The samples of one series as a sequence of encoded chunks, in order of time.
//!
//! A chunk has at most [`SAMPLES_MAX`] samples of one kind. Where floats and native histograms alternate, each run is a chunk
//! of its own, so that chunks never overlap.

use super::histogram_chunk::HistogramChunk;
use super::xor_chunk;
use model::histogram::HistogramColumns;
use model::sample::SampleColumns;

/// Samples of a chunk, as Prometheus cuts them.
pub const SAMPLES_MAX: usize = 120;

/// Numbers of the encodings, as in the message `Chunk`.
const XOR: u8 = 1;
const FLOAT_HISTOGRAM: u8 = 3;

/// An encoded chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Time of the first sample.
    pub min_ms: i64,
    /// Time of the last sample.
    pub max_ms: i64,
    /// Number of the encoding.
    pub encoding: u8,
    /// The encoded samples.
    pub data: Vec<u8>,
}

/// Cuts a series into chunks, one at a time.
#[derive(Debug)]
pub struct Chunks {
    floats: SampleColumns,
    histograms: HistogramColumns,
    /// Samples that are in chunks already.
    done: (usize, usize),
}

impl Chunks {
    /// The chunks of a series' floats and histograms, whose times have nothing in common.
    #[must_use]
    pub fn new(floats: SampleColumns, histograms: HistogramColumns) -> Self {
        Self { floats, histograms, done: (0, 0) }
    }

    fn float_run(&self) -> Option<Chunk> {
        let times = self.floats.timestamps_ms.get(self.done.0..)?;
        let next_histogram = self.histograms.timestamps_ms.get(self.done.1);
        let run = times.iter().take(SAMPLES_MAX).take_while(|at| next_histogram.is_none_or(|next| *at < next)).count();
        let times = times.get(..run)?;
        let values = self.floats.values.get(self.done.0..self.done.0 + run)?;
        let (min_ms, max_ms) = (*times.first()?, *times.last()?);
        Some(Chunk { min_ms, max_ms, encoding: XOR, data: xor_chunk::encode(times, values) })
    }

    fn histogram_run(&self) -> Option<(Chunk, usize)> {
        let next_float = self.floats.timestamps_ms.get(self.done.0);
        let HistogramColumns { timestamps_ms, histograms, .. } = &self.histograms;
        let mut samples = timestamps_ms.iter().copied().zip(histograms).skip(self.done.1);
        let (min_ms, first) = samples.next()?;
        let mut chunk = HistogramChunk::begin(min_ms, first);
        let (mut max_ms, mut taken) = (min_ms, 1);
        for (at_ms, histogram) in samples {
            if next_float.is_some_and(|next| *next < at_ms) || !chunk.takes(histogram, SAMPLES_MAX as u16) {
                break;
            }
            chunk.push(at_ms, histogram);
            (max_ms, taken) = (at_ms, taken + 1);
        }
        Some((Chunk { min_ms, max_ms, encoding: FLOAT_HISTOGRAM, data: chunk.into_bytes() }, taken))
    }
}

impl Iterator for Chunks {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        if let Some(chunk) = self.float_run() {
            self.done.0 += usize::from(u16::from_be_bytes(*chunk.data.first_chunk()?));
            return Some(chunk);
        }
        let (chunk, taken) = self.histogram_run()?;
        self.done.1 += taken;
        Some(chunk)
    }
}
