//! Payloads of histogram and exemplar records. Byte layout: `docs/formats/wal.md`.
//!
//! Each record can be read on its own: histograms are rare enough for that, and large enough for references not to matter.
#![warn(clippy::indexing_slicing)]

use super::cursor::{Cursor, push_text, push_varint, unzigzag, zigzag};
use crate::append::{ExemplarRow, SeriesRef};
use crate::histogram::row::{self, Against};
use crate::histogram::stored::Stored;
use model::exemplar::Exemplar;
use model::labels::Labels;

/// Labels that an exemplar may have in a record; each has a character at least.
const EXEMPLAR_LABELS_MAX: usize = 1 << 10;

/// A histogram of a series.
pub(crate) type SeriesHistogram = (SeriesRef, Stored);

/// Appends a histogram to the payload of a record, of which `before` is the one before.
pub(super) fn push_histogram(out: &mut Vec<u8>, before: Option<&Stored>, (series, histogram): &SeriesHistogram) {
    push_varint(out, u64::from(series.0));
    row::push(out, before, Against::Nothing, histogram);
}

/// Reads the payload of a histogram record; `None` where it is malformed.
pub(super) fn read_histograms(payload: &[u8]) -> Option<Vec<SeriesHistogram>> {
    let mut cursor = Cursor::new(payload);
    let mut rows: Vec<SeriesHistogram> = Vec::new();
    while !cursor.is_empty() {
        let series = SeriesRef(u32::try_from(cursor.varint()?).ok()?);
        let histogram = row::read(&mut cursor, rows.last().map(|(_, before)| before), Against::Nothing)?;
        rows.push((series, histogram));
    }
    Some(rows)
}

/// Appends an exemplar to a payload, whose exemplar before was from `before_ms`, 0 for the first.
pub(crate) fn push_exemplar(out: &mut Vec<u8>, before_ms: i64, row: &ExemplarRow) {
    let ExemplarRow { series, exemplar } = row;
    push_varint(out, u64::from(series.0));
    push_varint(out, zigzag(exemplar.timestamp_ms.wrapping_sub(before_ms)));
    out.extend_from_slice(&exemplar.value.to_le_bytes());
    push_varint(out, exemplar.labels.len() as u64);
    for (name, value) in &exemplar.labels {
        push_text(out, name);
        push_text(out, value);
    }
}

/// Calls `each` for every exemplar of a payload. Returns `None` where the bytes are malformed.
pub(crate) fn read_exemplars(payload: &[u8], mut each: impl FnMut(ExemplarRow)) -> Option<()> {
    let mut cursor = Cursor::new(payload);
    let mut timestamp_ms = 0i64;
    let mut pairs = Vec::new();
    while !cursor.is_empty() {
        let series = SeriesRef(u32::try_from(cursor.varint()?).ok()?);
        timestamp_ms = timestamp_ms.wrapping_add(unzigzag(cursor.varint()?));
        let value = f64::from_bits(cursor.u64()?);
        let count = cursor.varint_usize().filter(|count| *count <= EXEMPLAR_LABELS_MAX)?;
        pairs.clear();
        for _ in 0..count {
            pairs.push((cursor.text()?, cursor.text()?));
        }
        let labels = Labels::from_pairs(pairs.iter().copied()).ok()?;
        each(ExemplarRow { series, exemplar: Exemplar { labels, value, timestamp_ms } });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::stored::tests::any_stored;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn payloads_come_back(
            histograms in prop::collection::vec((any::<u32>(), any_stored()), 0..6),
            exemplars in prop::collection::vec((any::<u32>(), any::<i64>(), any::<u32>(), "[a-zé]{0,4}"), 0..6),
        ) {
            let histograms: Vec<SeriesHistogram> =
                histograms.into_iter().map(|(series, stored)| (SeriesRef(series), stored)).collect();
            let mut bytes = Vec::new();
            for (at, row) in histograms.iter().enumerate() {
                push_histogram(&mut bytes, at.checked_sub(1).map(|before| &histograms[before].1), row);
            }
            prop_assert_eq!(read_histograms(&bytes), Some(histograms));

            let exemplar = |(series, timestamp_ms, value, id): (u32, i64, u32, String)| ExemplarRow {
                series: SeriesRef(series),
                exemplar: Exemplar {
                    labels: Labels::from_pairs([("span_id", "1"), ("trace_id", id.as_str())]).expect("distinct names"),
                    value: f64::from(value),
                    timestamp_ms,
                },
            };
            let exemplars: Vec<ExemplarRow> = exemplars.into_iter().map(exemplar).collect();
            let (mut bytes, mut before_ms) = (Vec::new(), 0);
            for row in &exemplars {
                push_exemplar(&mut bytes, before_ms, row);
                before_ms = row.exemplar.timestamp_ms;
            }
            let mut found = Vec::new();
            read_exemplars(&bytes, |row| found.push(row)).expect("own bytes");
            prop_assert_eq!(found, exemplars);
        }

        #[test]
        fn any_bytes_are_read_without_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_histograms(&payload);
            let _ = read_exemplars(&payload, drop);
        }
    }
}
