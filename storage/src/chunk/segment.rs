//! Timeline segments: the timestamps that several series share, packed.
//!
//! The changes of the distance between neighbours are stored in one fixed width, the widest that occurs: aligned scrapes
//! need none, ±3 ms of jitter five bits.

use super::bits::{BitBuffer, BitReader, Code, unzigzag, zigzag};
use super::{ChunkError, SAMPLES_MAX};

/// Up to [`SAMPLES_MAX`] timestamps in ascending order, within one window.
#[derive(Debug, Clone)]
pub struct SegmentTimes {
    timestamps_ms: [i64; SAMPLES_MAX],
    len: usize,
}

impl Default for SegmentTimes {
    fn default() -> Self {
        Self { timestamps_ms: [0; SAMPLES_MAX], len: 0 }
    }
}

impl SegmentTimes {
    /// The timestamps.
    #[must_use]
    pub fn as_slice(&self) -> &[i64] {
        self.timestamps_ms.get(..self.len).unwrap_or_default()
    }

    /// Replaces the content by the timestamps `offsets` after `base_ms`.
    pub fn set(&mut self, base_ms: i64, offsets: &[u32]) {
        self.len = offsets.len().min(SAMPLES_MAX);
        for (timestamp, offset) in self.timestamps_ms.iter_mut().zip(offsets) {
            *timestamp = base_ms.wrapping_add(i64::from(*offset));
        }
    }

    /// Replaces the content by a packed segment.
    ///
    /// # Errors
    /// The bytes are not what [`pack`] writes.
    pub fn unpack(&mut self, base_ms: i64, bytes: &[u8]) -> Result<(), ChunkError> {
        self.len = 0;
        let mut reader = BitReader::new(bytes);
        let count = reader.read(8) as usize;
        let width = reader.read(6) as u32;
        if count > SAMPLES_MAX || width > 32 {
            return Err(ChunkError::TooManySamples);
        }
        let mut timestamp = base_ms;
        let mut delta = if count > 1 { reader.read(32) as i64 } else { 0 };
        for (i, out) in self.timestamps_ms.iter_mut().take(count).enumerate() {
            if i > 0 {
                if i > 1 {
                    delta = delta.wrapping_add(unzigzag(reader.read(width)));
                }
                timestamp = timestamp.wrapping_add(delta);
            }
            *out = timestamp;
        }
        if reader.overrun() {
            return Err(ChunkError::Truncated);
        }
        self.len = count;
        Ok(())
    }
}

/// Packs ascending offsets from a segment's first timestamp, the first of them 0: 8 bits count, 6 bits width, then
/// with two rows or more 32 bits first distance, then the zig-zag changes of the distance.
#[must_use]
pub fn pack(offsets: &[u32]) -> Vec<u8> {
    let changes = |window: &[u32]| match *window {
        [a, b, c] => zigzag((i64::from(c) - i64::from(b)) - (i64::from(b) - i64::from(a))),
        _ => 0,
    };
    let widest = offsets.windows(3).map(changes).fold(0, |all, change| all | change);
    let width = 64 - widest.leading_zeros();
    let mut buffer = BitBuffer::default();
    buffer.push(Code::new(offsets.len() as u64, 8).then(u64::from(width), 6));
    if let [first, second, ..] = offsets {
        buffer.push(Code::new(u64::from(second - first), 32));
    }
    for window in offsets.windows(3) {
        buffer.push(Code::new(changes(window), width));
    }
    buffer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packed_timestamps_come_back(base in -(1i64 << 50)..1 << 50, mut offsets in proptest::collection::btree_set(1u32..1_800_000, 0..SAMPLES_MAX)) {
            offsets.insert(0);
            let offsets: Vec<u32> = offsets.into_iter().collect();
            let mut times = SegmentTimes::default();
            times.unpack(base, &pack(&offsets)).expect("packed by us");
            let expected: Vec<i64> = offsets.iter().map(|o| base + i64::from(*o)).collect();
            prop_assert_eq!(times.as_slice(), expected);
        }

        #[test]
        fn any_bytes_are_unpacked_or_refused(bytes: Vec<u8>) {
            let _ = SegmentTimes::default().unpack(0, &bytes);
        }
    }

    #[test]
    fn aligned_scrapes_need_no_bits_per_row() {
        let aligned: Vec<u32> = (0..120).map(|i| i * 15_000).collect();
        assert_eq!(pack(&aligned).len(), 6);
    }
}
