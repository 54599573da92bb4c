//! Bit-packed integers, least significant bit first.

use super::error::PageError;

/// Integers unpacked at once: a run always has a multiple of it.
pub(crate) const GROUP: usize = 32;

/// Bytes of the widest group, and room to load eight bytes at any place of it.
const WINDOW: usize = GROUP * 8 + 8;

/// Unpacks the group of integers of `width` bits that `bytes` begins with. Missing bytes at the end read as zero.
#[inline]
pub(crate) fn unpack_group(bytes: &[u8], width: u8, into: &mut [u64; GROUP]) -> Result<(), PageError> {
    // Anywhere but at the end of a page, there is more than the group: no copy is needed.
    if let Some(window) = bytes.first_chunk::<WINDOW>() {
        return unpack_window(window, width, into);
    }
    let mut window = [0u8; WINDOW];
    let length = bytes.len().min(GROUP * usize::from(width) / 8);
    if let (Some(to), Some(from)) = (window.get_mut(..length), bytes.get(..length)) {
        to.copy_from_slice(from);
    }
    unpack_window(&window, width, into)
}

#[inline]
fn unpack_window(window: &[u8; WINDOW], width: u8, into: &mut [u64; GROUP]) -> Result<(), PageError> {
    macro_rules! by_width {
        ($($width:literal)*) => {
            match width {
                0 => *into = [0; GROUP],
                $($width => unpack::<$width>(window, into),)*
                _ => return Err(PageError("packed integers have more than 64 bits")),
            }
        };
    }
    by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32
        33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64);
    Ok(())
}

/// One instance for each width, without a loop, so that every place and shift is a constant.
#[allow(clippy::indexing_slicing)] // constants within arrays of constant size
fn unpack<const WIDTH: usize>(window: &[u8; WINDOW], into: &mut [u64; GROUP]) {
    let mask = if WIDTH == 64 { u64::MAX } else { (1 << WIDTH) - 1 };
    macro_rules! each {
        ($($number:literal)*) => {
            $({
                let (byte, shift) = ($number * WIDTH / 8, $number * WIDTH % 8);
                let word = window[byte..].first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                let mut value = word >> shift;
                if WIDTH > 57 && shift + WIDTH > 64 {
                    value |= u64::from(window[byte + 8]) << (64 - shift);
                }
                into[$number] = value & mask;
            })*
        };
    }
    each!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
}
