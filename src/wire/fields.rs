//! The messages that both versions share or that are rare: labels, metadata, and the shape of histograms and exemplars.
//!
//! What is rare is checked by a table of its fields; samples, which are frequent, have a reader of their own.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use super::reader::{DELIMITED, FIXED64, Reader, VARINT, WireError, key};

/// What a field of a message holds.
pub(super) enum Kind {
    Varint,
    Fixed64,
    Bytes,
    /// Repeated varints, one by one or packed.
    Varints,
    /// Repeated 64-bit numbers, one by one or packed.
    Fixed64s,
    Message(&'static [Field]),
}

/// A field number and what it holds.
pub(super) struct Field(pub(super) u32, pub(super) Kind);

const LABEL: &[Field] = &[Field(1, Kind::Bytes), Field(2, Kind::Bytes)];

/// `Exemplar` of version 1.0; its timestamp is [`EXEMPLAR_TIMESTAMP`].
pub(super) const EXEMPLAR_V1: &[Field] =
    &[Field(1, Kind::Message(LABEL)), Field(2, Kind::Fixed64), Field(EXEMPLAR_TIMESTAMP, Kind::Varint)];

/// `Exemplar` of version 2.0.
pub(super) const EXEMPLAR_V2: &[Field] =
    &[Field(1, Kind::Varints), Field(2, Kind::Fixed64), Field(EXEMPLAR_TIMESTAMP, Kind::Varint)];

pub(super) const EXEMPLAR_TIMESTAMP: u32 = 3;

const BUCKET_SPAN: &[Field] = &[Field(1, Kind::Varint), Field(2, Kind::Varint)];

/// `Histogram`: count and zero count as integer or float, sum, schema, zero threshold, negative and positive buckets as
/// spans with deltas or counts, reset hint, timestamp, custom bounds.
pub(super) const HISTOGRAM_V1: &[Field] = &[
    Field(1, Kind::Varint),
    Field(2, Kind::Fixed64),
    Field(3, Kind::Fixed64),
    Field(4, Kind::Varint),
    Field(5, Kind::Fixed64),
    Field(6, Kind::Varint),
    Field(7, Kind::Fixed64),
    Field(8, Kind::Message(BUCKET_SPAN)),
    Field(9, Kind::Varints),
    Field(10, Kind::Fixed64s),
    Field(11, Kind::Message(BUCKET_SPAN)),
    Field(12, Kind::Varints),
    Field(13, Kind::Fixed64s),
    Field(14, Kind::Varint),
    Field(HISTOGRAM_TIMESTAMP, Kind::Varint),
    Field(16, Kind::Fixed64s),
];

/// The field that version 2.0 adds to `Histogram`: its start timestamp.
pub(super) const HISTOGRAM_V2_START: &[Field] = &[Field(17, Kind::Varint)];

pub(super) const HISTOGRAM_TIMESTAMP: u32 = 15;

/// Checks that what is left of `reader` is a message of these fields (`more` are further ones), and returns the last value
/// of the varint `wanted`, or 0 when it is absent.
pub(super) fn check(mut reader: Reader<'_>, fields: &[Field], more: &[Field], wanted: u32) -> Result<i64, WireError> {
    let mut found = 0;
    while !reader.is_empty() {
        let raw = reader.key()?;
        let Some(Field(number, kind)) = fields.iter().chain(more).find(|field| field.0 == raw >> 3) else {
            reader.skip(raw, |_| false)?;
            continue;
        };
        match (kind, raw & 7) {
            (Kind::Varint, VARINT) => {
                let value = reader.varint()?;
                if *number == wanted {
                    found = value as i64;
                }
            }
            (Kind::Varints, VARINT) => drop(reader.varint()?),
            (Kind::Fixed64 | Kind::Fixed64s, FIXED64) => drop(reader.fixed64()?),
            (Kind::Bytes, DELIMITED) => drop(reader.delimited()?),
            (Kind::Message(inner), DELIMITED) => drop(check(reader.delimited()?, inner, &[], 0)?),
            (Kind::Varints, DELIMITED) => {
                let mut packed = reader.delimited()?;
                while !packed.is_empty() {
                    packed.varint()?;
                }
            }
            (Kind::Fixed64s, DELIMITED) => {
                let mut packed = reader.delimited()?;
                while !packed.is_empty() {
                    packed.fixed64()?;
                }
            }
            _ => reader.skip(raw, |_| true)?,
        }
    }
    Ok(found)
}

/// Reads a `Label`: name and value, as bytes; what is absent is empty.
pub(super) fn label(mut reader: Reader<'_>) -> Result<(&[u8], &[u8]), WireError> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    while !reader.is_empty() {
        const NAME: u32 = key(1, DELIMITED);
        const VALUE: u32 = key(2, DELIMITED);
        match reader.key()? {
            NAME => name = reader.delimited()?.rest(),
            VALUE => value = reader.delimited()?.rest(),
            other => reader.skip(other, |field| field == 1 || field == 2)?,
        }
    }
    Ok((name, value))
}
