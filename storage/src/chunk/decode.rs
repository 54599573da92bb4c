//! Decodes chunks into flat columns.

use super::bits::{BitReader, mask, unzigzag};
use super::divisor::Divisor;
use super::timestamp::TimestampDecoder;
use super::value::{CONTROL_BITS, CONTROL_DIVISOR, CONTROL_GAP, CONTROL_STALE};
use super::{ChunkError, SAMPLES_MAX};
use model::sample::stale_marker;

/// Where the timestamps of a chunk come from.
#[derive(Debug, Clone, Copy)]
pub enum Times<'a> {
    /// The rows of a timeline segment, of which the chunk has a sample each, except for gaps.
    Shared(&'a [i64]),
    /// Codes in the stream itself.
    Own,
}

/// The samples of one chunk. Reused from chunk to chunk: it is too large to be made anew each time.
#[derive(Debug, Clone)]
pub struct Decoded {
    timestamps_ms: [i64; SAMPLES_MAX],
    values: [f64; SAMPLES_MAX],
    len: usize,
    rows: u128,
}

impl Default for Decoded {
    fn default() -> Self {
        Self { timestamps_ms: [0; SAMPLES_MAX], values: [0.0; SAMPLES_MAX], len: 0, rows: 0 }
    }
}

impl Decoded {
    /// Milliseconds since the Unix epoch, ascending.
    #[must_use]
    pub fn timestamps_ms(&self) -> &[i64] {
        self.timestamps_ms.get(..self.len).unwrap_or_default()
    }

    /// One value per timestamp.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        self.values.get(..self.len).unwrap_or_default()
    }

    /// The value at a timestamp.
    #[must_use]
    pub fn value_at(&self, timestamp_ms: i64) -> Option<u64> {
        let at = self.timestamps_ms().binary_search(&timestamp_ms).ok()?;
        self.values().get(at).map(|value| value.to_bits())
    }

    /// Which rows of the shared timeline have a sample, one bit each; 0 when the timestamps are the chunk's own.
    #[must_use]
    pub fn rows(&self) -> u128 {
        self.rows
    }

    /// Replaces the content by the `count` samples of a stream.
    ///
    /// # Errors
    /// The bytes are not what an encoder writes.
    pub fn decode(&mut self, stream: &[u8], count: usize, times: Times<'_>) -> Result<(), ChunkError> {
        (self.len, self.rows) = (0, 0);
        if count > SAMPLES_MAX {
            return Err(ChunkError::TooManySamples);
        }
        let mut values = ValueDecoder::new(stream);
        match times {
            Times::Shared(rows) => self.decode_shared(&mut values, count, rows)?,
            Times::Own => self.decode_own(&mut values, count)?,
        }
        if values.reader.overrun() {
            (self.len, self.rows) = (0, 0);
            return Err(ChunkError::Truncated);
        }
        Ok(())
    }

    fn decode_own(&mut self, values: &mut ValueDecoder<'_>, count: usize) -> Result<(), ChunkError> {
        if count == 0 {
            return Ok(());
        }
        let mut times = TimestampDecoder::start(&mut values.reader);
        let slots = self.timestamps_ms.iter_mut().zip(&mut self.values).take(count);
        for (i, (timestamp, value)) in slots.enumerate() {
            *timestamp = if i == 0 { times.last_ms() } else { times.advance(&mut values.reader) };
            if values.run(std::slice::from_mut(value))?.gap > 0 {
                return Err(ChunkError::BadCode);
            }
        }
        self.len = count;
        Ok(())
    }

    /// Decodes runs of values without a gap, and copies the timestamps of each run at once.
    fn decode_shared(&mut self, values: &mut ValueDecoder<'_>, count: usize, rows: &[i64]) -> Result<(), ChunkError> {
        let (mut done, mut row, mut present) = (0, 0, 0u128);
        while done < count {
            let run = values.run(self.values.get_mut(done..count).unwrap_or_default())?;
            let from = rows.get(row..row + run.values).ok_or(ChunkError::RowOutOfRange)?;
            if let Some(to) = self.timestamps_ms.get_mut(done..done + run.values) {
                to.copy_from_slice(from);
            }
            present |= low_rows(row + run.values) & !low_rows(row);
            done += run.values;
            row += run.values + run.gap;
            if row >= SAMPLES_MAX && done < count {
                return Err(ChunkError::RowOutOfRange);
            }
        }
        (self.len, self.rows) = (count, present);
        Ok(())
    }
}

/// The first `count` rows, one bit each.
fn low_rows(count: usize) -> u128 {
    if count >= 128 { u128::MAX } else { (1 << count) - 1 }
}

/// Consecutive values, and how many rows without a sample follow them.
struct Run {
    values: usize,
    gap: usize,
}

/// What a code that is not frequent comes to.
enum Rare {
    Value,
    Gap(usize),
}

struct ValueDecoder<'a> {
    reader: BitReader<'a>,
    last: f64,
    divisor: Divisor,
    /// The mantissa nearest to `last`, once it is known.
    mantissa: Option<i64>,
    width: u32,
    xor_lead: u32,
    xor_len: u32,
}

impl<'a> ValueDecoder<'a> {
    fn new(stream: &'a [u8]) -> Self {
        Self {
            reader: BitReader::new(stream),
            last: 0.0,
            divisor: Divisor::ONE,
            mantissa: Some(0),
            width: 0,
            xor_lead: 0,
            xor_len: 0,
        }
    }

    /// Decodes values until `out` is full or a gap comes. The two frequent codes are handled here, with all state in
    /// registers; the rest in [`ValueDecoder::rare`].
    fn run(&mut self, out: &mut [f64]) -> Result<Run, ChunkError> {
        let mut reader = self.reader.clone();
        let (mut last, mut divisor, mut width) = (self.last, self.divisor, self.width);
        let mut mantissa = self.mantissa;
        let mut at = 0;
        while at < out.len() {
            let word = reader.peek();
            if word & 1 == 0 {
                // Each zero repeats the value; 56 bits of a word are sure to be of the stream.
                let repeats = ((word | 1 << 56).trailing_zeros() as usize).min(out.len() - at);
                if let Some(same) = out.get_mut(at..at + repeats) {
                    same.fill(last);
                }
                reader.skip(repeats as u32);
                at += repeats;
                continue;
            }
            if word & 2 == 0 && (1..=54).contains(&width) {
                reader.skip(2 + width);
                let reference = mantissa.unwrap_or_else(|| divisor.nearest(last));
                let next = reference.wrapping_add(unzigzag((word >> 2) & mask(width)));
                last = divisor.value(next);
                mantissa = Some(next);
            } else {
                (self.reader, self.last, self.mantissa) = (reader, last, mantissa);
                let rare = self.rare(word)?;
                (reader, last, mantissa) = (self.reader.clone(), self.last, self.mantissa);
                (divisor, width) = (self.divisor, self.width);
                if let Rare::Gap(gap) = rare {
                    return Ok(Run { values: at, gap });
                }
            }
            if let Some(slot) = out.get_mut(at) {
                *slot = last;
            }
            at += 1;
        }
        (self.reader, self.last, self.mantissa) = (reader, last, mantissa);
        Ok(Run { values: at, gap: 0 })
    }

    #[inline(never)]
    fn rare(&mut self, word: u64) -> Result<Rare, ChunkError> {
        match word.trailing_ones() {
            1 if self.width > 0 => {
                self.reader.skip(2);
                let delta = self.reader.read(self.width);
                self.add(delta);
            }
            2 => {
                self.width = ((word >> 3) & 63) as u32 + 1;
                self.reader.skip(9);
                let delta = self.reader.read(self.width);
                self.add(delta);
            }
            3 => return self.control(word >> 4),
            0 | 1 => return Err(ChunkError::BadCode),
            _ => self.xor(word >> 4)?,
        }
        Ok(Rare::Value)
    }

    #[inline]
    fn add(&mut self, delta: u64) {
        let reference = self.mantissa.unwrap_or_else(|| self.divisor.nearest(self.last));
        let mantissa = reference.wrapping_add(unzigzag(delta));
        self.mantissa = Some(mantissa);
        self.last = self.divisor.value(mantissa);
    }

    fn control(&mut self, word: u64) -> Result<Rare, ChunkError> {
        self.reader.skip(4 + CONTROL_BITS);
        match word & mask(CONTROL_BITS) {
            CONTROL_DIVISOR => {
                let index = self.reader.read(6) as u8;
                self.divisor = Divisor::from_index(index).ok_or(ChunkError::BadCode)?;
                self.width = self.reader.read(6) as u32 + 1;
                self.mantissa = None;
                let delta = self.reader.read(self.width);
                self.add(delta);
            }
            CONTROL_STALE => {
                self.last = stale_marker();
                self.mantissa = None;
            }
            CONTROL_GAP => return Ok(Rare::Gap(self.reader.read(7) as usize + 1)),
            _ => return Err(ChunkError::BadCode),
        }
        Ok(Rare::Value)
    }

    fn xor(&mut self, word: u64) -> Result<(), ChunkError> {
        self.reader.skip(5);
        if word & 1 == 1 {
            self.reader.skip(11);
            self.xor_lead = ((word >> 1) & 31) as u32;
            self.xor_len = ((word >> 6) & 63) as u32 + 1;
        }
        if self.xor_len == 0 || self.xor_lead + self.xor_len > 64 {
            return Err(ChunkError::BadCode);
        }
        let bits = self.reader.read(self.xor_len) << (64 - self.xor_lead - self.xor_len);
        self.mantissa = None;
        self.last = f64::from_bits(self.last.to_bits() ^ bits);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
