//! Chunks of floats in Prometheus' `XOR` encoding.
//!
//! Two bytes of how many samples, then: the first time as a zigzag varint and the first value whole; the second time as the
//! varint of its distance; each further time as the change of that distance, in 1, 16, 20, 24 or 68 bits; values as
//! [`XorColumn`] writes them.

use super::bits::{BitWriter, XorColumn, fits};

/// Encodes samples of equal count, 1 to 65,535, in ascending order of time.
pub(super) fn encode(timestamps_ms: &[i64], values: &[f64]) -> Vec<u8> {
    let mut samples = timestamps_ms.iter().copied().zip(values.iter().copied());
    let mut out = BitWriter::with_header(&(timestamps_ms.len() as u16).to_be_bytes());
    let Some((first_ms, first)) = samples.next() else { return out.into_bytes() };
    out.varint(first_ms);
    out.float(first);
    let mut column = XorColumn::after(first);
    let (mut last_ms, mut last_delta) = (first_ms, 0i64);
    for (index, (at_ms, value)) in samples.enumerate() {
        let delta = at_ms.wrapping_sub(last_ms);
        if index == 0 {
            out.uvarint(delta.cast_unsigned());
        } else {
            change_of_distance(delta.wrapping_sub(last_delta), &mut out);
        }
        column.write(value, &mut out);
        (last_ms, last_delta) = (at_ms, delta);
    }
    out.into_bytes()
}

fn change_of_distance(change: i64, out: &mut BitWriter) {
    let bits = change.cast_unsigned();
    match change {
        0 => out.bit(false),
        change if fits(change, 14) => {
            out.bits(0b10, 2);
            out.bits(bits, 14);
        }
        change if fits(change, 17) => {
            out.bits(0b110, 3);
            out.bits(bits, 17);
        }
        change if fits(change, 20) => {
            out.bits(0b1110, 4);
            out.bits(bits, 20);
        }
        _ => {
            out.bits(0b1111, 4);
            out.bits(bits, 64);
        }
    }
}
