//! One `Exemplar` message of either version.
//!
//! The walk checks its shape and keeps its place; it is read once more when it is to be stored.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use super::fields::label;
use super::reader::{DELIMITED, FIXED64, Reader, WireError, key};
use super::v2;

/// A name and a value.
type RawLabel<'b> = (&'b [u8], &'b [u8]);

const LABEL: u32 = key(1, DELIMITED);
const VALUE: u32 = key(2, FIXED64);

/// Reads an exemplar of version 1.0: appends its labels to `out`, returns its value.
pub(super) fn exemplar_v1<'b>(mut reader: Reader<'b>, out: &mut Vec<RawLabel<'b>>) -> Result<f64, WireError> {
    let mut value = 0.0;
    while !reader.is_empty() {
        match reader.key()? {
            LABEL => out.push(label(reader.delimited()?)?),
            VALUE => value = f64::from_bits(reader.fixed64()?),
            other => reader.skip(other, |_| false)?,
        }
    }
    Ok(value)
}

/// Reads an exemplar of version 2.0: appends its references to `refs`, returns its value.
pub(super) fn exemplar_v2(reader: Reader<'_>, refs: &mut Vec<u32>) -> Result<f64, WireError> {
    v2::label_refs(reader, refs)?;
    let (mut rest, mut value) = (reader, 0.0);
    while !rest.is_empty() {
        match rest.key()? {
            VALUE => value = f64::from_bits(rest.fixed64()?),
            other => rest.skip(other, |_| false)?,
        }
    }
    Ok(value)
}
