//! One `Sample` message: a value and a timestamp.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use super::reader::{FIXED64, Reader, VARINT, WireError, key};

const VALUE: u32 = key(1, FIXED64);
const TIMESTAMP: u32 = key(2, VARINT);
const START_TIMESTAMP: u32 = key(3, VARINT);

/// When, how much, and since when it is counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct WireSample {
    /// Milliseconds since the Unix epoch.
    pub(super) timestamp_ms: i64,
    pub(super) value: f64,
    /// Milliseconds since the Unix epoch; 0 when not told, as in version 1.0, which does not know it.
    pub(super) start_ms: i64,
}

/// Reads a sample; what is absent is zero. `known_fields` is 2 in version 1.0 and 3 in 2.0.
#[inline(always)]
pub(super) fn sample(mut reader: Reader<'_>, known_fields: u32) -> Result<WireSample, WireError> {
    // As every known sender writes it: key 0x09, eight bytes, key 0x10, a varint until the end or key 0x18 and one more.
    if let Some([0x09, v0, v1, v2, v3, v4, v5, v6, v7, 0x10, ..]) = reader.rest().first_chunk::<11>() {
        let value = f64::from_le_bytes([*v0, *v1, *v2, *v3, *v4, *v5, *v6, *v7]);
        let mut tail = reader.after(10);
        let timestamp_ms = tail.varint()? as i64;
        if tail.is_empty() {
            return Ok(WireSample { timestamp_ms, value, start_ms: 0 });
        }
        if known_fields >= 3 && tail.rest().first() == Some(&(START_TIMESTAMP as u8)) {
            tail = tail.after(1);
            let start_ms = tail.varint()? as i64;
            if tail.is_empty() {
                return Ok(WireSample { timestamp_ms, value, start_ms });
            }
        }
    }
    any_sample(&mut reader, known_fields)
}

#[cold]
fn any_sample(reader: &mut Reader<'_>, known_fields: u32) -> Result<WireSample, WireError> {
    let mut sample = WireSample { timestamp_ms: 0, value: 0.0, start_ms: 0 };
    while !reader.is_empty() {
        match reader.key()? {
            VALUE => sample.value = f64::from_bits(reader.fixed64()?),
            TIMESTAMP => sample.timestamp_ms = reader.varint()? as i64,
            START_TIMESTAMP if known_fields >= 3 => sample.start_ms = reader.varint()? as i64,
            other => reader.skip(other, |field| (1..=known_fields).contains(&field))?,
        }
    }
    Ok(sample)
}
