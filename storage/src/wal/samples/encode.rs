//! Samples to bytes.

use super::{INTEGER, State, THOUSANDTHS, XOR_6, XOR_7, XOR_8, XOR_HIGH, integer, thousandths};
use crate::append::SeriesRef;
use crate::wal::cursor::{push_varint, zigzag};

/// A new start costs one whole value per series, so it must be rare: after this many rows per series …
const ROWS_PER_SERIES_MIN: usize = 64;
/// … and this many bytes.
const RESTART_BYTES_MIN: usize = 4 << 20;

/// Encodes the samples of one log, record after record.
#[derive(Debug)]
pub struct SampleEncoder {
    state: State,
    fresh: bool,
    rows_since_restart: usize,
    bytes_since_restart: usize,
    series: RunColumn,
    timestamps: RunColumn,
    codes: Vec<u8>,
    values: Vec<u8>,
}

impl Default for SampleEncoder {
    fn default() -> Self {
        Self {
            state: State::new(),
            fresh: true,
            rows_since_restart: 0,
            bytes_since_restart: 0,
            series: RunColumn::default(),
            timestamps: RunColumn::default(),
            codes: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl SampleEncoder {
    /// The most bytes that `rows` rows can take, start timestamps included.
    #[must_use]
    pub fn bytes_max(rows: usize) -> usize {
        // Header 30; per row a reference of 6 + 1, a timestamp of 10 + 1, half a code, a value of 8, a start of 10 + 1.
        30 + rows * 38
    }

    /// Forgets all state: what follows can be decoded without what came before.
    pub fn restart(&mut self) {
        self.state.restart();
        self.fresh = true;
        self.rows_since_restart = 0;
        self.bytes_since_restart = 0;
    }

    /// Replaces `out` by the payload of one record. Returns whether the decoder has to start afresh with it.
    pub fn encode(&mut self, series: &[SeriesRef], timestamps_ms: &[i64], values: &[f64], out: &mut Vec<u8>) -> bool {
        let rows = series.len();
        assert!(timestamps_ms.len() == rows && values.len() == rows, "columns of unequal length");
        if self.rows_since_restart >= ROWS_PER_SERIES_MIN * self.state.series_count
            && self.bytes_since_restart >= RESTART_BYTES_MIN
        {
            self.restart();
        }
        self.encode_series(series);
        self.encode_timestamps(timestamps_ms);
        self.encode_values(series, values);
        out.clear();
        let [series, timestamps] = [&self.series.bytes, &self.timestamps.bytes];
        for length in [rows, series.len(), timestamps.len(), self.values.len()] {
            push_varint(out, length as u64);
        }
        for column in [series, timestamps, &self.codes, &self.values] {
            out.extend_from_slice(column);
        }
        self.rows_since_restart += rows;
        self.bytes_since_restart += out.len();
        std::mem::take(&mut self.fresh)
    }

    fn encode_series(&mut self, series: &[SeriesRef]) {
        self.series.clear();
        for SeriesRef(series) in series.iter().copied() {
            let previous = self.state.last_series;
            let known = self.state.bases.get(previous as usize).copied().unwrap_or_default();
            if known.generation == self.state.generation && known.next == series {
                self.series.push_predicted();
            } else {
                self.series.push_listed(zigzag(i64::from(series) - i64::from(previous)));
                self.state.base(previous).next = series;
            }
            self.state.last_series = series;
        }
        self.series.finish();
    }

    fn encode_timestamps(&mut self, timestamps_ms: &[i64]) {
        self.timestamps.clear();
        for timestamp in timestamps_ms.iter().copied() {
            if timestamp == self.state.last_timestamp {
                self.timestamps.push_predicted();
            } else {
                self.timestamps.push_listed(zigzag(timestamp.wrapping_sub(self.state.last_timestamp)));
                self.state.last_timestamp = timestamp;
            }
        }
        self.timestamps.finish();
    }

    fn encode_values(&mut self, series: &[SeriesRef], values: &[f64]) {
        let rows = values.len();
        self.codes.clear();
        self.codes.resize(rows.div_ceil(2), 0);
        // Every row writes eight bytes and keeps as many as it needs, which saves a copy of varying length.
        self.values.resize(rows * 8 + 8, 0);
        let mut end = 0;
        for (row, (series, value)) in series.iter().zip(values).enumerate() {
            let base = self.state.base(series.0);
            let before = std::mem::replace(&mut base.bits, value.to_bits());
            if before == value.to_bits() {
                continue;
            }
            let (code, bytes, length) = encode_value(f64::from_bits(before), *value);
            self.codes[row / 2] |= code << (row % 2 * 4);
            self.values[end..end + 8].copy_from_slice(&bytes.to_le_bytes());
            end += length;
        }
        self.values.truncate(end);
    }
}

/// Appends the start timestamps of a record's rows, one each: runs as in the column of timestamps.
pub(crate) fn push_starts(starts_ms: &[i64], out: &mut Vec<u8>) {
    let mut column = RunColumn::default();
    let mut before = 0i64;
    for start in starts_ms.iter().copied() {
        if start == before {
            column.push_predicted();
        } else {
            column.push_listed(zigzag(start.wrapping_sub(before)));
            before = start;
        }
    }
    column.finish();
    out.append(&mut column.bytes);
}

/// A column in which most entries are as predicted: runs of such entries, and runs of listed numbers.
#[derive(Debug, Default)]
struct RunColumn {
    bytes: Vec<u8>,
    predicted: u64,
    listed: u64,
    listed_bytes: Vec<u8>,
}

impl RunColumn {
    fn clear(&mut self) {
        self.bytes.clear();
    }

    #[inline]
    fn push_predicted(&mut self) {
        if self.listed > 0 {
            self.finish();
        }
        self.predicted += 1;
    }

    fn push_listed(&mut self, number: u64) {
        if self.predicted > 0 {
            self.finish();
        }
        self.listed += 1;
        push_varint(&mut self.listed_bytes, number);
    }

    /// Ends the run that is open.
    fn finish(&mut self) {
        if self.predicted > 0 {
            push_varint(&mut self.bytes, self.predicted << 1);
        }
        if self.listed > 0 {
            push_varint(&mut self.bytes, self.listed << 1 | 1);
            self.bytes.append(&mut self.listed_bytes);
        }
        self.predicted = 0;
        self.listed = 0;
    }
}

/// The code of a value that differs from the one before, the bytes that say how, and how many of them count.
#[inline]
pub(crate) fn encode_value(before: f64, value: f64) -> (u8, u64, usize) {
    let decimal = match (integer(value), integer(before)) {
        (Some(value), Some(before)) => Some((INTEGER, zigzag(value - before))),
        _ => thousandths(value)
            .and_then(|value| thousandths(before).map(|before| (THOUSANDTHS, zigzag(value.wrapping_sub(before))))),
    };
    if let Some((code, difference)) = decimal
        && difference <= u64::from(u32::MAX)
    {
        let length = (71 - (difference | 1).leading_zeros() as usize) / 8;
        return (code + length as u8, difference, length);
    }
    encode_xor(before.to_bits() ^ value.to_bits())
}

fn encode_xor(xor: u64) -> (u8, u64, usize) {
    let leading = xor.leading_zeros() / 8;
    let trailing = xor.trailing_zeros() / 8;
    match (leading, trailing) {
        (0, _) => (XOR_8, xor, 8),
        (_, 3..) => {
            let length = 7 - trailing;
            (XOR_HIGH + length as u8, xor >> (trailing * 8), length as usize)
        }
        (1, _) => (XOR_7, xor, 7),
        _ => (XOR_6, xor, 6),
    }
}
