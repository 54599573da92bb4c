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
            *value = match values.advance()? {
                Step::Value(value) => value,
                Step::Gap(_) => return Err(ChunkError::BadCode),
            };
        }
        self.len = count;
        Ok(())
    }

    fn decode_shared(&mut self, values: &mut ValueDecoder<'_>, count: usize, rows: &[i64]) -> Result<(), ChunkError> {
        let mut row = 0;
        let mut present = 0u128;
        let mut dense = true;
        for i in 0..count {
            let value = loop {
                match values.advance()? {
                    Step::Value(value) => break value,
                    Step::Gap(skipped) => {
                        row += skipped;
                        dense = false;
                    }
                }
                if row >= SAMPLES_MAX {
                    return Err(ChunkError::RowOutOfRange);
                }
            };
            let timestamp = *rows.get(row).ok_or(ChunkError::RowOutOfRange)?;
            if let (Some(at), Some(slot)) = (self.timestamps_ms.get_mut(i), self.values.get_mut(i)) {
                (*at, *slot) = (timestamp, value);
            }
            if !dense {
                present |= 1 << row;
            }
            row += 1;
            if dense {
                present = dense_rows(row);
            }
        }
        (self.len, self.rows) = (count, present);
        Ok(())
    }
}

/// The first `count` rows, at most 128.
#[inline]
fn dense_rows(count: usize) -> u128 {
    if count >= 128 { u128::MAX } else { (1 << count) - 1 }
}

enum Step {
    Value(f64),
    /// So many rows without a sample.
    Gap(usize),
}

struct ValueDecoder<'a> {
    reader: BitReader<'a>,
    last: f64,
    divisor: Divisor,
    /// The mantissa nearest to `last`, unless `last` was coded raw.
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

    #[inline]
    fn advance(&mut self) -> Result<Step, ChunkError> {
        let word = self.reader.peek();
        match word.trailing_ones() {
            0 => self.reader.skip(1),
            1 if self.width > 0 => {
                self.reader.skip(2);
                self.last = if self.width <= 54 {
                    self.reader.skip(self.width);
                    self.add((word >> 2) & mask(self.width))
                } else {
                    let delta = self.reader.read(self.width);
                    self.add(delta)
                };
            }
            1 => return Err(ChunkError::BadCode),
            2 => {
                self.width = ((word >> 3) & 63) as u32 + 1;
                self.reader.skip(9);
                let delta = self.reader.read(self.width);
                self.last = self.add(delta);
            }
            3 => return self.control(word >> 4),
            _ => self.last = self.xor(word >> 4)?,
        }
        Ok(Step::Value(self.last))
    }

    #[inline]
    fn add(&mut self, delta: u64) -> f64 {
        let reference = match self.mantissa {
            Some(mantissa) => mantissa,
            None => self.divisor.nearest(self.last),
        };
        let mantissa = reference.wrapping_add(unzigzag(delta));
        self.mantissa = Some(mantissa);
        self.divisor.value(mantissa)
    }

    #[cold]
    fn control(&mut self, word: u64) -> Result<Step, ChunkError> {
        self.reader.skip(4 + CONTROL_BITS);
        match word & mask(CONTROL_BITS) {
            CONTROL_DIVISOR => {
                let index = self.reader.read(6) as u8;
                self.divisor = Divisor::from_index(index).ok_or(ChunkError::BadCode)?;
                self.width = self.reader.read(6) as u32 + 1;
                self.mantissa = None;
                let delta = self.reader.read(self.width);
                self.last = self.add(delta);
            }
            CONTROL_STALE => {
                self.last = stale_marker();
                self.mantissa = None;
            }
            CONTROL_GAP => return Ok(Step::Gap(self.reader.read(7) as usize + 1)),
            _ => return Err(ChunkError::BadCode),
        }
        Ok(Step::Value(self.last))
    }

    fn xor(&mut self, word: u64) -> Result<f64, ChunkError> {
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
        Ok(f64::from_bits(self.last.to_bits() ^ bits))
    }
}

#[cfg(test)]
mod tests;
