//! One `Histogram` message, the same in both versions but for the start timestamp of 2.0.
//!
//! The walk checks its shape and keeps its place; it is read once more, into numbers, when it is to be stored.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use super::reader::{DELIMITED, FIXED64, Reader, VARINT, WireError, key};
use model::histogram::validate::{Candidate, Populations};
use model::histogram::{CounterResetHint, Span as BucketSpan};

/// What the message says; nothing of it is checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RawHistogram {
    /// The histogram.
    pub candidate: Candidate,
    /// Milliseconds since the Unix epoch; 0 when not told.
    pub start_timestamp_ms: i64,
}

/// Field numbers: count and zero count as integer or float, buckets as differences or floats.
const COUNT_INT: u32 = key(1, VARINT);
const COUNT_FLOAT: u32 = key(2, FIXED64);
const SUM: u32 = key(3, FIXED64);
const SCHEMA: u32 = key(4, VARINT);
const ZERO_THRESHOLD: u32 = key(5, FIXED64);
const ZERO_COUNT_INT: u32 = key(6, VARINT);
const ZERO_COUNT_FLOAT: u32 = key(7, FIXED64);
const NEGATIVE_SPANS: u32 = key(8, DELIMITED);
const NEGATIVE_DELTAS: u32 = 9;
const NEGATIVE_COUNTS: u32 = 10;
const POSITIVE_SPANS: u32 = key(11, DELIMITED);
const POSITIVE_DELTAS: u32 = 12;
const POSITIVE_COUNTS: u32 = 13;
const RESET_HINT: u32 = key(14, VARINT);
const CUSTOM_VALUES: u32 = 16;
const START_TIMESTAMP: u32 = key(17, VARINT);

/// A number of which the last one that comes decides the form, as of any `oneof`.
#[derive(Clone, Copy)]
enum Number {
    Integer(u64),
    Float(f64),
}

/// Reads a message; `known_fields` is 16 in version 1.0 and 17 in 2.0.
pub(super) fn histogram(mut reader: Reader<'_>, known_fields: u32) -> Result<RawHistogram, WireError> {
    let mut raw = RawHistogram::default();
    let (mut count, mut zero_count) = (Number::Integer(0), Number::Integer(0));
    let (mut positive_deltas, mut negative_deltas) = (Vec::new(), Vec::new());
    let (mut positive, mut negative) = (Vec::new(), Vec::new());
    let candidate = &mut raw.candidate;
    while !reader.is_empty() {
        let field = reader.key()?;
        match field {
            COUNT_INT => count = Number::Integer(reader.varint()?),
            COUNT_FLOAT => count = Number::Float(f64::from_bits(reader.fixed64()?)),
            SUM => candidate.sum = f64::from_bits(reader.fixed64()?),
            SCHEMA => candidate.schema = zigzag32(reader.varint()?),
            ZERO_THRESHOLD => candidate.zero_threshold = f64::from_bits(reader.fixed64()?),
            ZERO_COUNT_INT => zero_count = Number::Integer(reader.varint()?),
            ZERO_COUNT_FLOAT => zero_count = Number::Float(f64::from_bits(reader.fixed64()?)),
            NEGATIVE_SPANS => candidate.negative_spans.push(bucket_span(reader.delimited()?)?),
            POSITIVE_SPANS => candidate.positive_spans.push(bucket_span(reader.delimited()?)?),
            RESET_HINT => candidate.counter_reset_hint = reset_hint(reader.varint()? as i32),
            START_TIMESTAMP if known_fields >= 17 => raw.start_timestamp_ms = reader.varint()? as i64,
            _ => match field >> 3 {
                NEGATIVE_DELTAS => deltas(&mut reader, field, &mut negative_deltas)?,
                POSITIVE_DELTAS => deltas(&mut reader, field, &mut positive_deltas)?,
                NEGATIVE_COUNTS => doubles(&mut reader, field, &mut negative)?,
                POSITIVE_COUNTS => doubles(&mut reader, field, &mut positive)?,
                CUSTOM_VALUES => doubles(&mut reader, field, &mut candidate.custom_values)?,
                15 if field & 7 == VARINT => drop(reader.varint()?),
                _ => reader.skip(field, |number| (1..=known_fields).contains(&number))?,
            },
        }
    }
    // The form of the count decides that of all, as in Prometheus.
    raw.candidate.populations = match count {
        Number::Integer(count) => Populations::Integers {
            count,
            zero_count: if let Number::Integer(zero_count) = zero_count { zero_count } else { 0 },
            positive_deltas,
            negative_deltas,
        },
        Number::Float(count) => Populations::Floats {
            count,
            zero_count: if let Number::Float(zero_count) = zero_count { zero_count } else { 0.0 },
            positive,
            negative,
        },
    };
    Ok(raw)
}

fn zigzag32(number: u64) -> i32 {
    let number = number as u32;
    (number >> 1) as i32 ^ -((number & 1) as i32)
}

fn zigzag64(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

fn reset_hint(number: i32) -> CounterResetHint {
    match number {
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        3 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    }
}

fn bucket_span(mut reader: Reader<'_>) -> Result<BucketSpan, WireError> {
    const OFFSET: u32 = key(1, VARINT);
    const LENGTH: u32 = key(2, VARINT);
    let mut span = BucketSpan::default();
    while !reader.is_empty() {
        match reader.key()? {
            OFFSET => span.offset = zigzag32(reader.varint()?),
            LENGTH => span.length = reader.varint()? as u32,
            other => reader.skip(other, |field| field == 1 || field == 2)?,
        }
    }
    Ok(span)
}

/// Repeated signed varints, one by one or packed.
fn deltas(reader: &mut Reader<'_>, field: u32, out: &mut Vec<i64>) -> Result<(), WireError> {
    match field & 7 {
        VARINT => out.push(zigzag64(reader.varint()?)),
        DELIMITED => {
            let mut packed = reader.delimited()?;
            while !packed.is_empty() {
                out.push(zigzag64(packed.varint()?));
            }
        }
        _ => reader.skip(field, |_| true)?,
    }
    Ok(())
}

/// Repeated 64-bit floats, one by one or packed.
fn doubles(reader: &mut Reader<'_>, field: u32, out: &mut Vec<f64>) -> Result<(), WireError> {
    match field & 7 {
        FIXED64 => out.push(f64::from_bits(reader.fixed64()?)),
        DELIMITED => {
            let mut packed = reader.delimited()?;
            while !packed.is_empty() {
                out.push(f64::from_bits(packed.fixed64()?));
            }
        }
        _ => reader.skip(field, |_| true)?,
    }
    Ok(())
}
