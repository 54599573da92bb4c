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

/// One instance for each width, so that every shift is a constant.
#[allow(clippy::indexing_slicing)] // constants within arrays of constant size
fn unpack<const WIDTH: usize>(packed: &[u8], base: u64, into: &mut [u64; GROUP]) {
    let mut words = [0u64; GROUP + 1];
    let full = packed.chunks_exact(8);
    let rest = full.remainder();
    let used = WIDTH.div_ceil(2);
    for (word, bytes) in words[..used].iter_mut().zip(full) {
        *word = bytes.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(into, byte)| *into = *byte);
        words[(packed.len() / 8).min(GROUP)] = u64::from_le_bytes(last);
    }
    let mask = if WIDTH == 64 { u64::MAX } else { (1 << WIDTH) - 1 };
    for (number, into) in into.iter_mut().enumerate() {
        let bit = number * WIDTH;
        let (word, shift) = (bit / 64, bit % 64);
        let mut value = words[word] >> shift;
        if shift + WIDTH > 64 {
            value |= words[word + 1] << (64 - shift);
        }
        *into = (value & mask).wrapping_add(base);
    }
}
