//! Samples as rows of bytes, one behind the other. Byte layout: `docs/formats/histogram.md`.
//!
//! A row leaves out what it shares with the row before. In the log that row may be of another series, so numbers stand for
//! themselves; in memory it is of the same series, and numbers are differences from it.
#![warn(clippy::indexing_slicing)]

use super::BUCKETS_MAX;
use super::stored::{Bucket, Scale, Stored, TOTALS};
use crate::wal::cursor::{Cursor, push_varint, unzigzag, zigzag};
use crate::wal::samples::{decode_value, encode_value};
use std::sync::Arc;

/// What numbers are differences from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    /// Zero.
    Nothing,
    /// The same number in the row before.
    RowBefore,
}

const SCALE: u8 = 1;
const BUCKETS: u8 = 2;
const START: u8 = 4;
const AFTER_RESET: u8 = 8;
const KNOWN_FLAGS: u8 = SCALE | BUCKETS | START | AFTER_RESET;
const GAUGE: u8 = 1;

/// The most bytes that a row of a histogram of this size can take: see [`Stored::size`].
pub(crate) const fn bytes_max(size: usize) -> usize {
    // Flags, times, scale and counts; per bucket an index of 5, a population of 8 and half a code; per bound 8.
    96 + size * 14
}

/// Appends a row.
pub(crate) fn push(out: &mut Vec<u8>, before: Option<&Stored>, against: Against, row: &Stored) {
    let same_scale = before.is_some_and(|before| before.scale == row.scale);
    let same_buckets =
        before.is_some_and(|before| before.buckets.iter().map(|b| b.0).eq(row.buckets.iter().map(|b| b.0)));
    let flags =
        [(!same_scale, SCALE), (!same_buckets, BUCKETS), (row.start_ms != 0, START), (row.after_reset, AFTER_RESET)];
    out.push(flags.iter().filter(|(set, _)| *set).fold(0, |flags, (_, flag)| flags | flag));
    let before_ms = before.map_or(0, |before| before.timestamp_ms);
    push_varint(out, zigzag(row.timestamp_ms.wrapping_sub(before_ms)));
    if row.start_ms != 0 {
        push_varint(out, zigzag(row.timestamp_ms.wrapping_sub(row.start_ms)));
    }
    if !same_scale {
        push_scale(out, &row.scale);
    }
    if !same_buckets {
        push_buckets(out, row.buckets.iter().map(|(bucket, _)| *bucket));
    }
    push_numbers(out, before.filter(|_| against == Against::RowBefore), row);
}

/// Appends what the buckets mean.
pub(super) fn push_scale(out: &mut Vec<u8>, scale: &Scale) {
    out.extend_from_slice(&[scale.schema as u8, if scale.gauge { GAUGE } else { 0 }]);
    out.extend_from_slice(&scale.zero_threshold.to_le_bytes());
    push_varint(out, scale.custom_values.len() as u64);
    scale.custom_values.iter().for_each(|bits| out.extend_from_slice(&bits.to_le_bytes()));
}

/// Reads what [`push_scale`] wrote.
pub(super) fn read_scale(cursor: &mut Cursor<'_>) -> Option<Scale> {
    let (schema, kind) = (cursor.u8()? as i8, cursor.u8()?);
    let zero_threshold = cursor.u64()?;
    let bounds = cursor.varint_usize().filter(|bounds| *bounds <= BUCKETS_MAX)?;
    let custom_values = (0..bounds).map(|_| cursor.u64()).collect::<Option<_>>()?;
    (kind <= GAUGE).then_some(Scale { schema, zero_threshold, custom_values, gauge: kind == GAUGE })
}

/// Appends which buckets there are.
pub(super) fn push_buckets(out: &mut Vec<u8>, buckets: impl Iterator<Item = Bucket> + Clone) {
    for negative in [false, true] {
        let side = buckets.clone().filter(|bucket| bucket.negative == negative);
        push_varint(out, side.clone().count() as u64);
        let mut before = 0i64;
        for bucket in side {
            push_varint(out, zigzag(i64::from(bucket.index) - before));
            before = i64::from(bucket.index);
        }
    }
}

/// Reads what [`push_buckets`] wrote: ascending, no more than a histogram may have.
pub(super) fn read_buckets(cursor: &mut Cursor<'_>) -> Option<Vec<Bucket>> {
    let mut buckets: Vec<Bucket> = Vec::new();
    for negative in [false, true] {
        let count = cursor.varint_usize().filter(|count| buckets.len() + count <= BUCKETS_MAX)?;
        let mut before = 0i64;
        for _ in 0..count {
            before = before.checked_add(unzigzag(cursor.varint()?))?;
            let bucket = Bucket { negative, index: i32::try_from(before).ok()? };
            if buckets.last().is_some_and(|last| *last >= bucket) {
                return None;
            }
            buckets.push(bucket);
        }
    }
    Some(buckets)
}

/// Half a byte of code per number, then their bytes, as sample records have them.
fn push_numbers(out: &mut Vec<u8>, before: Option<&Stored>, row: &Stored) {
    let count = TOTALS + row.buckets.len();
    let codes_at = out.len();
    out.resize(codes_at + count.div_ceil(2), 0);
    let mut earlier = before.map(|before| before.buckets.as_slice()).unwrap_or_default();
    let totals = row.totals.iter().enumerate().map(|(at, bits)| (earlier_total(before, at), *bits));
    let buckets = row.buckets.iter().map(|(bucket, bits)| (earlier_population(&mut earlier, *bucket), *bits));
    for (number, (earlier, bits)) in totals.chain(buckets).enumerate() {
        if earlier == bits {
            continue;
        }
        let (code, bytes, length) = encode_value(f64::from_bits(earlier), f64::from_bits(bits));
        if let Some(codes) = out.get_mut(codes_at + number / 2) {
            *codes |= code << (number % 2 * 4);
        }
        out.extend(bytes.to_le_bytes().iter().take(length));
    }
}

fn earlier_total(before: Option<&Stored>, at: usize) -> u64 {
    before.and_then(|before| before.totals.get(at).copied()).unwrap_or(0)
}

/// The population of a bucket in the row before, 0 if it had none; `rest` is what of that row is not passed yet.
fn earlier_population(rest: &mut &[(Bucket, u64)], bucket: Bucket) -> u64 {
    while let Some(((first, bits), behind)) = rest.split_first() {
        if *first > bucket {
            break;
        }
        *rest = behind;
        if *first == bucket {
            return *bits;
        }
    }
    0
}

/// Reads one row; `before` is the one before it. `None` where no writer writes such bytes.
pub(crate) fn read(cursor: &mut Cursor<'_>, before: Option<&Stored>, against: Against) -> Option<Stored> {
    let flags = cursor.u8().filter(|flags| flags & !KNOWN_FLAGS == 0)?;
    let before_ms = before.map_or(0, |before| before.timestamp_ms);
    let timestamp_ms = before_ms.wrapping_add(unzigzag(cursor.varint()?));
    let start_ms = if flags & START == 0 { 0 } else { timestamp_ms.wrapping_sub(unzigzag(cursor.varint()?)) };
    let scale = if flags & SCALE == 0 { Arc::clone(&before?.scale) } else { Arc::new(read_scale(cursor)?) };
    let buckets = if flags & BUCKETS == 0 {
        before?.buckets.iter().map(|(bucket, _)| *bucket).collect()
    } else {
        read_buckets(cursor)?
    };
    let before = before.filter(|_| against == Against::RowBefore);
    let codes = cursor.take((TOTALS + buckets.len()).div_ceil(2))?;
    let mut numbers = codes.iter().flat_map(|pair| [pair & 0x0f, pair >> 4]);
    let mut number = |earlier: u64| match numbers.next()? {
        0 => Some(earlier),
        code => Some(decode_value(f64::from_bits(earlier), code, cursor)?.to_bits()),
    };
    let mut totals = [0; TOTALS];
    for (at, total) in totals.iter_mut().enumerate() {
        *total = number(earlier_total(before, at))?;
    }
    let mut earlier = before.map(|before| before.buckets.as_slice()).unwrap_or_default();
    let populated = |bucket: Bucket| Some((bucket, number(earlier_population(&mut earlier, bucket))?));
    let buckets = buckets.into_iter().map(populated).collect::<Option<Vec<_>>>()?;
    Some(Stored { timestamp_ms, start_ms, scale, after_reset: flags & AFTER_RESET != 0, totals, buckets })
}

#[cfg(test)]
mod tests {
    use super::super::stored::tests::any_stored;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_come_back(rows in prop::collection::vec(any_stored(), 1..8), in_memory: bool, repeated: bool) {
            let rows: Vec<Stored> = if repeated { rows.iter().flat_map(|row| [row.clone(), row.clone()]).collect() } else { rows };
            let against = if in_memory { Against::RowBefore } else { Against::Nothing };
            let mut bytes = Vec::new();
            let mut before = None;
            for row in &rows {
                let start = bytes.len();
                push(&mut bytes, before, against, row);
                prop_assert!(bytes.len() - start <= bytes_max(row.size()));
                before = Some(row);
            }
            let mut cursor = Cursor::new(&bytes);
            let mut found: Vec<Stored> = Vec::new();
            while !cursor.is_empty() {
                let row = read(&mut cursor, found.last(), against).expect("own bytes");
                found.push(row);
            }
            prop_assert_eq!(found, rows);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut cursor = Cursor::new(&bytes);
            let mut before = None;
            while let Some(row) = read(&mut cursor, before.as_ref(), Against::RowBefore) {
                before = Some(row);
            }
        }
    }
}
