//! Encodes the timestamps of a series that follows no shared timeline: delta-of-delta codes in front of each value.
//!
//! | code | is |
//! |---|---|
//! | 64 bits | the first timestamp of the chunk |
//! | `0` | the same distance as before; the distance before the first is 0 |
//! | `10` + 5, `110` + 10, `1110` + 15, `1111` + 32 bits | zig-zag change of the distance |

use super::bits::{BitReader, Code, mask, unzigzag, zigzag};

/// Widths of the change of the distance, by the number of ones in front.
const WIDTHS: [u32; 4] = [5, 10, 15, 32];

/// Encodes the first timestamp of a chunk.
#[must_use]
pub fn encode_first(timestamp_ms: i64) -> Code {
    Code::new(timestamp_ms as u64, 64)
}

/// The first timestamp of a chunk that has its own; `None` when the stream is too short for one.
#[must_use]
pub fn first_ms(stream: &[u8]) -> Option<i64> {
    stream.first_chunk::<8>().map(|first| i64::from_le_bytes(*first))
}

/// Encodes a timestamp `delta` after the one before it, which came `last_delta` after its own predecessor. Both are below
/// [`super::WINDOW_MS`].
#[inline]
#[must_use]
pub fn encode(last_delta: u32, delta: u32) -> Code {
    let change = zigzag(i64::from(delta) - i64::from(last_delta));
    if change == 0 {
        return Code::new(0b0, 1);
    }
    if change < 1 << 5 {
        Code::new(0b01, 2).then(change, 5)
    } else if change < 1 << 10 {
        Code::new(0b011, 3).then(change, 10)
    } else if change < 1 << 15 {
        Code::new(0b0111, 4).then(change, 15)
    } else {
        Code::new(0b1111, 4).then(change, 32)
    }
}

/// Reads the timestamps of one chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimestampDecoder {
    last_ms: i64,
    last_delta: i64,
}

impl TimestampDecoder {
    /// Reads the first timestamp.
    pub(super) fn start(reader: &mut BitReader<'_>) -> Self {
        Self { last_ms: reader.read(64) as i64, last_delta: 0 }
    }

    pub(super) fn last_ms(&self) -> i64 {
        self.last_ms
    }

    /// Reads the next one.
    #[inline]
    pub(super) fn advance(&mut self, reader: &mut BitReader<'_>) -> i64 {
        let word = reader.peek();
        if word & 1 == 0 {
            reader.skip(1);
        } else {
            let ones = word.trailing_ones().min(4);
            let prefix = (ones + 1).min(4);
            let width = WIDTHS.get(ones as usize - 1).copied().unwrap_or(32);
            reader.skip(prefix + width);
            let change = (word >> prefix) & mask(width);
            self.last_delta = self.last_delta.wrapping_add(unzigzag(change));
        }
        self.last_ms = self.last_ms.wrapping_add(self.last_delta);
        self.last_ms
    }
}
