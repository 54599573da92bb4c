//! Payloads of the record types that are not columnar: new series, metadata, checkpoints.
//! Byte layout: `docs/formats/wal.md`.
#![warn(clippy::indexing_slicing)]

use super::cursor::{Cursor, push_text, push_varint};
use crate::append::{LabelHash, SeriesRef};
use model::metadata::{Metadata, MetricType};

/// Labels of one series are refused above this many bytes of names and values.
pub const LABEL_BYTES_MAX: usize = 1 << 20;
/// Labels that one series may have in a record.
const LABEL_COUNT_MAX: usize = 1 << 16;

/// Appends one series to the payload of a series record.
pub fn push_series<'a>(
    out: &mut Vec<u8>,
    series: SeriesRef,
    count: usize,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) {
    push_varint(out, u64::from(series.0));
    push_varint(out, count as u64);
    for (name, value) in pairs {
        push_text(out, name);
        push_text(out, value);
    }
}

/// Calls `each` for every series of a record; `pairs` is scratch. Returns `None` where the bytes are malformed.
pub fn read_series<'a>(
    payload: &'a [u8],
    pairs: &mut Vec<(&'a str, &'a str)>,
    mut each: impl FnMut(SeriesRef, &[(&str, &str)]),
) -> Option<()> {
    let mut cursor = Cursor::new(payload);
    while !cursor.is_empty() {
        let series = SeriesRef(u32::try_from(cursor.varint()?).ok()?);
        let count = cursor.varint_usize().filter(|count| *count <= LABEL_COUNT_MAX)?;
        pairs.clear();
        for _ in 0..count {
            pairs.push((cursor.text()?, cursor.text()?));
        }
        each(series, pairs);
    }
    Some(())
}

/// Appends series that left the head to the payload of their record.
pub fn push_gone(out: &mut Vec<u8>, gone: &[(SeriesRef, LabelHash)]) {
    for (series, hash) in gone {
        push_varint(out, u64::from(series.0));
        out.extend_from_slice(&hash.0.to_le_bytes());
    }
}

/// The series of such a record; `None` where the bytes are malformed.
#[must_use]
pub fn read_gone(payload: &[u8]) -> Option<Vec<(SeriesRef, LabelHash)>> {
    let mut cursor = Cursor::new(payload);
    let mut gone = Vec::new();
    while !cursor.is_empty() {
        let series = SeriesRef(u32::try_from(cursor.varint()?).ok()?);
        let (low, high) = (cursor.u64()?, cursor.u64()?);
        gone.push((series, LabelHash(u128::from(high) << 64 | u128::from(low))));
    }
    Some(gone)
}

/// Types of metrics by their number in records and snapshots.
const TYPES: [MetricType; 8] = [
    MetricType::Unknown,
    MetricType::Counter,
    MetricType::Gauge,
    MetricType::Histogram,
    MetricType::GaugeHistogram,
    MetricType::Summary,
    MetricType::Info,
    MetricType::StateSet,
];

/// Appends one metric to the payload of a metadata record.
pub fn push_metadata(out: &mut Vec<u8>, metric: &str, metadata: &Metadata) {
    let number = TYPES.iter().position(|kind| *kind == metadata.metric_type).unwrap_or_default();
    out.push(number as u8);
    push_text(out, metric);
    push_text(out, &metadata.help);
    push_text(out, &metadata.unit);
}

/// Calls `each` for every metric of a record. Returns `None` where the bytes are malformed.
pub fn read_metadata(payload: &[u8], mut each: impl FnMut(&str, Metadata)) -> Option<()> {
    let mut cursor = Cursor::new(payload);
    while !cursor.is_empty() {
        let metric_type = TYPES.get(usize::from(cursor.u8()?)).copied()?;
        let metric = cursor.text()?;
        let (help, unit) = (cursor.text()?.to_owned(), cursor.text()?.to_owned());
        each(metric, Metadata { metric_type, help, unit });
    }
    Some(())
}

/// A published snapshot, as the log tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Number of the snapshot.
    pub snapshot: u64,
    /// Every record up to this one is contained in it.
    pub lsn: u64,
}

impl Checkpoint {
    /// The payload of a checkpoint record.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        [self.snapshot.to_le_bytes(), self.lsn.to_le_bytes()].concat()
    }

    /// Reads the payload of a checkpoint record.
    #[must_use]
    pub fn from_bytes(payload: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(payload);
        let checkpoint = Self { snapshot: cursor.u64()?, lsn: cursor.u64()? };
        cursor.is_empty().then_some(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn series_that_are_gone_come_back(list in prop::collection::vec((any::<u32>(), any::<u128>()), 0..5), cut in 1usize..16) {
            let list: Vec<_> = list.into_iter().map(|(series, hash)| (SeriesRef(series), LabelHash(hash))).collect();
            let mut payload = Vec::new();
            push_gone(&mut payload, &list);
            prop_assert_eq!(read_gone(&payload), Some(list));
            if let Some(shorter) = payload.len().checked_sub(cut) {
                prop_assert_eq!(read_gone(&payload[..shorter]), None);
            }
        }

        #[test]
        fn series_come_back(list in prop::collection::vec((any::<u32>(), prop::collection::vec((".{0,8}", ".{0,200}"), 0..6)), 0..5)) {
            let mut payload = Vec::new();
            for (series, pairs) in &list {
                push_series(&mut payload, SeriesRef(*series), pairs.len(), pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            }
            let mut back = Vec::new();
            let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect::<Vec<_>>();
            read_series(&payload, &mut Vec::new(), |series, pairs| back.push((series.0, owned(pairs)))).expect("own bytes");
            prop_assert_eq!(back, list);
        }

        #[test]
        fn metadata_comes_back(list in prop::collection::vec((".{1,8}", 0usize..8, ".{0,200}", ".{0,8}"), 0..5)) {
            let list: Vec<_> = list.into_iter().map(|(metric, kind, help, unit)| (metric, Metadata { metric_type: TYPES[kind], help, unit })).collect();
            let mut payload = Vec::new();
            list.iter().for_each(|(metric, metadata)| push_metadata(&mut payload, metric, metadata));
            let mut back = Vec::new();
            read_metadata(&payload, |metric, metadata| back.push((metric.to_owned(), metadata))).expect("own bytes");
            prop_assert_eq!(back, list);
        }

        #[test]
        fn any_bytes_are_read_without_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_series(&payload, &mut Vec::new(), |_, _| {});
            let _ = read_metadata(&payload, |_, _| {});
            let _ = Checkpoint::from_bytes(&payload);
        }
    }

    #[test]
    fn checkpoints_come_back() {
        let checkpoint = Checkpoint { snapshot: 3, lsn: u64::MAX };
        assert_eq!(Checkpoint::from_bytes(&checkpoint.to_bytes()), Some(checkpoint));
        assert_eq!(Checkpoint::from_bytes(&[0; 17]), None);
    }
}
