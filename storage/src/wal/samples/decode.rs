//! Bytes to samples.
#![warn(clippy::indexing_slicing)]

use super::{Base, INTEGER, SAME, State, THOUSANDTHS, XOR_6, XOR_7, XOR_8, XOR_HIGH, from_thousandths, to_thousandths};
use crate::append::{Rows, SeriesRef};
use crate::wal::cursor::{Cursor, unzigzag};

/// Rows that one record may have; the encoder is given fewer.
const ROWS_MAX: usize = 1 << 20;

/// Why a record could not be decoded. Its rows, and those up to the next new start, are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A record before it is missing, and this one builds on it.
    #[error("builds on a record that is missing")]
    BaseMissing,
    /// The bytes are not what an encoder makes.
    #[error("malformed sample record")]
    Malformed,
}

/// Decodes the samples of one log, record after record in the order of the log.
#[derive(Debug)]
pub struct SampleDecoder {
    state: State,
    /// Whether every record since the last new start was decoded.
    in_step: bool,
}

impl Default for SampleDecoder {
    fn default() -> Self {
        Self { state: State::new(), in_step: false }
    }
}

/// How many rows the record claims to have.
#[must_use]
pub fn row_count(payload: &[u8]) -> usize {
    Cursor::new(payload).varint_usize().filter(|rows| *rows <= ROWS_MAX).unwrap_or(0)
}

impl SampleDecoder {
    /// Tells that records are missing or a new segment begins: nothing can be decoded until the next new start.
    pub fn lose_step(&mut self) {
        self.in_step = false;
    }

    /// Replaces `rows` by the rows of one record. `restart` and `starts` are the record's flags; references at or above
    /// `series_bound` are malformed, which bounds the memory of the state.
    ///
    /// # Errors
    /// The record builds on a missing one, or is malformed; then `rows` is empty.
    pub fn decode(
        &mut self,
        payload: &[u8],
        restart: bool,
        starts: bool,
        series_bound: u32,
        rows: &mut Rows,
    ) -> Result<(), DecodeError> {
        rows.clear();
        if restart {
            self.state.restart();
            self.in_step = true;
        }
        if !self.in_step {
            return Err(DecodeError::BaseMissing);
        }
        let decoded = self.decode_columns(payload, starts, series_bound, rows);
        if decoded.is_none() {
            self.in_step = false;
            *rows = Rows::default();
        }
        decoded.ok_or(DecodeError::Malformed)
    }

    fn decode_columns(&mut self, payload: &[u8], starts: bool, series_bound: u32, rows: &mut Rows) -> Option<()> {
        let mut cursor = Cursor::new(payload);
        let count = cursor.varint_usize().filter(|rows| *rows <= ROWS_MAX)?;
        let lengths = [cursor.varint_usize()?, cursor.varint_usize()?, cursor.varint_usize()?];
        let [series, timestamps, values] = lengths;
        let series = cursor.take(series)?;
        let timestamps = cursor.take(timestamps)?;
        let codes = cursor.take(count.div_ceil(2))?;
        let values = cursor.take(values)?;
        self.decode_series(series, count, series_bound, &mut rows.series)?;
        decode_times(&mut Cursor::new(timestamps), count, &mut self.state.last_timestamp, &mut rows.timestamps_ms)?;
        if starts {
            decode_times(&mut cursor, count, &mut 0, &mut rows.starts_ms)?;
        } else if !cursor.is_empty() {
            return None;
        }
        self.decode_values(codes, values, &rows.series, &mut rows.values)
    }

    fn decode_series(&mut self, bytes: &[u8], count: usize, bound: u32, out: &mut Vec<SeriesRef>) -> Option<()> {
        out.reserve(count);
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_empty() {
            let token = cursor.varint_usize()?;
            let run = Some(token >> 1).filter(|run| *run <= count - out.len())?;
            for _ in 0..run {
                let previous = self.state.last_series;
                let series = if token & 1 == 0 {
                    let known = *self.state.bases.get(previous as usize)?;
                    Some(known.next).filter(|_| known.generation == self.state.generation)?
                } else {
                    let step = unzigzag(cursor.varint()?);
                    let series = u32::try_from(i64::from(previous).checked_add(step)?).ok()?;
                    self.state.base(previous).next = series;
                    series
                };
                if series >= bound {
                    return None;
                }
                self.state.last_series = series;
                out.push(SeriesRef(series));
            }
        }
        (out.len() == count).then_some(())
    }

    fn decode_values(&mut self, codes: &[u8], bytes: &[u8], series: &[SeriesRef], out: &mut Vec<f64>) -> Option<()> {
        out.reserve(series.len());
        let mut cursor = Cursor::new(bytes);
        for (pair, codes) in series.chunks(2).zip(codes) {
            for (series, shift) in pair.iter().zip([0, 4]) {
                let base: &mut Base = self.state.base(series.0);
                let code = codes >> shift & 0x0f;
                if code != SAME {
                    base.bits = decode_value(f64::from_bits(base.bits), code, &mut cursor)?.to_bits();
                }
                out.push(f64::from_bits(base.bits));
            }
        }
        cursor.is_empty().then_some(())
    }
}

/// Reads a column of times to the end of its bytes; `last` is the one before the first.
fn decode_times(cursor: &mut Cursor<'_>, count: usize, last: &mut i64, out: &mut Vec<i64>) -> Option<()> {
    out.reserve(count);
    while !cursor.is_empty() {
        let token = cursor.varint_usize()?;
        let run = Some(token >> 1).filter(|run| *run <= count - out.len())?;
        if token & 1 == 1 {
            for _ in 0..run {
                *last = last.wrapping_add(unzigzag(cursor.varint()?));
                out.push(*last);
            }
        } else {
            out.resize(out.len() + run, *last);
        }
    }
    (out.len() == count).then_some(())
}

/// The value that a code other than 0 and its bytes make of the one before.
#[inline]
pub(crate) fn decode_value(before: f64, code: u8, cursor: &mut Cursor<'_>) -> Option<f64> {
    let xor = |bits: u64| f64::from_bits(before.to_bits() ^ bits);
    Some(match code {
        1..=4 => {
            let step = unzigzag(cursor.little_endian((code - INTEGER).into())?);
            (before as i64).wrapping_add(step) as f64
        }
        5..=8 => {
            let step = unzigzag(cursor.little_endian((code - THOUSANDTHS).into())?);
            from_thousandths(to_thousandths(before).wrapping_add(step))
        }
        XOR_8 => xor(cursor.little_endian(8)?),
        XOR_7 => xor(cursor.little_endian(7)?),
        XOR_6 => xor(cursor.little_endian(6)?),
        _ => {
            let length = usize::from(code - XOR_HIGH);
            xor(cursor.little_endian(length)? << ((7 - length) * 8))
        }
    })
}
