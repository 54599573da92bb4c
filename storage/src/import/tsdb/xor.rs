//! Chunks of floats in Prometheus' `XOR` encoding.
//!
//! The first time as a varint and the first value whole; the second time as the varint of its distance; each further time as the
//! change of that distance, in 1, 16, 20, 24 or 68 bits; values as [`XorColumn`] reads them.

use super::bits::{BitReader, XorColumn};
use model::sample::SampleColumns;

/// Adds the samples of a chunk behind its count.
pub(super) fn decode(bits: &mut BitReader<'_>, count: u16, into: &mut SampleColumns) -> Option<()> {
    if count == 0 {
        return Some(());
    }
    let mut at_ms = bits.varint()?;
    let first = bits.float()?;
    let mut values = XorColumn::after(first);
    into.push(at_ms, first);
    let mut distance = 0i64;
    for number in 1..count {
        distance = match number {
            1 => bits.uvarint()?.cast_signed(),
            _ => distance.wrapping_add(read_change(bits)?),
        };
        at_ms = at_ms.wrapping_add(distance);
        into.push(at_ms, values.read(bits)?);
    }
    Some(())
}

fn read_change(bits: &mut BitReader<'_>) -> Option<i64> {
    const SIZES: [u32; 4] = [14, 17, 20, 64];
    if !bits.bit()? {
        return Some(0);
    }
    let mut larger = 0;
    while larger < SIZES.len() - 1 && bits.bit()? {
        larger += 1;
    }
    bits.signed(*SIZES.get(larger)?)
}
