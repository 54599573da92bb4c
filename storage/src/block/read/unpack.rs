//! Bit-packed integers, least significant bit first.

use super::error::PageError;

/// Integers unpacked at once: a run always has a multiple of it.
pub(crate) const GROUP: usize = 32;

/// Unpacks a group of integers of `width` bits and adds `base` to each. Missing bytes at the end read as zero.
pub(crate) fn unpack_group(packed: &[u8], width: u8, base: u64, into: &mut [u64; GROUP]) -> Result<(), PageError> {
    macro_rules! by_width {
        ($($width:literal)*) => {
            match width {
                0 => *into = [base; GROUP],
                $($width => unpack::<$width>(packed, base, into),)*
                _ => return Err(PageError("packed integers have more than 64 bits")),
            }
        };
    }
    by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32
        33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64);
    Ok(())
}

/// Bytes of the widest group, and room to load eight bytes at any place of it.
const BUFFER: usize = GROUP * 8 + 8;

/// One instance for each width, so that every place and shift is a constant.
#[allow(clippy::indexing_slicing)] // constants within arrays of constant size
fn unpack<const WIDTH: usize>(packed: &[u8], base: u64, into: &mut [u64; GROUP]) {
    let mut buffer = [0u8; BUFFER];
    let length = packed.len().min(GROUP * WIDTH / 8);
    buffer[..length].copy_from_slice(&packed[..length]);
    let mask = if WIDTH == 64 { u64::MAX } else { (1 << WIDTH) - 1 };
    for (number, into) in into.iter_mut().enumerate() {
        let bit = number * WIDTH;
        let (byte, shift) = (bit / 8, bit % 8);
        let word = buffer[byte..].first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let mut value = word >> shift;
        if WIDTH > 57 && shift + WIDTH > 64 {
            value |= u64::from(buffer[byte + 8]) << (64 - shift);
        }
        *into = (value & mask).wrapping_add(base);
    }
}
