//! One `Sample` message: a value and a timestamp.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use super::reader::{FIXED64, Reader, VARINT, WireError, key};

const VALUE: u32 = key(1, FIXED64);
const TIMESTAMP: u32 = key(2, VARINT);
const START_TIMESTAMP: u32 = key(3, VARINT);

/// Reads the timestamp in milliseconds and the value; what is absent is zero.
///
/// Version 2.0 knows a third field, the start timestamp; it is read over.
#[inline(always)]
pub(super) fn sample(mut reader: Reader<'_>, known_fields: u32) -> Result<(i64, f64), WireError> {
    // As every known sender writes it: key 0x09, eight bytes, key 0x10, a varint until the end.
    if let Some([0x09, v0, v1, v2, v3, v4, v5, v6, v7, 0x10, ..]) = reader.rest().first_chunk::<11>() {
        let value = f64::from_le_bytes([*v0, *v1, *v2, *v3, *v4, *v5, *v6, *v7]);
        let mut tail = reader.after(10);
        let timestamp = tail.varint()? as i64;
        if tail.is_empty() {
            return Ok((timestamp, value));
        }
    }
    any_sample(&mut reader, known_fields)
}

#[cold]
fn any_sample(reader: &mut Reader<'_>, known_fields: u32) -> Result<(i64, f64), WireError> {
    let (mut timestamp, mut value) = (0, 0.0);
    while !reader.is_empty() {
        match reader.key()? {
            VALUE => value = f64::from_bits(reader.fixed64()?),
            TIMESTAMP => timestamp = reader.varint()? as i64,
            START_TIMESTAMP if known_fields >= 3 => drop(reader.varint()?),
            other => reader.skip(other, |field| (1..=known_fields).contains(&field))?,
        }
    }
    Ok((timestamp, value))
}
