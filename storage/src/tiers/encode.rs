//! Buckets on their way into a tier's samples file.

use super::schema::tier_samples;
use crate::block::columns::{Numbers, take_u32};
use crate::block::number::Scale;
use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use model::bucket::{Bucket, BucketColumns};
use model::sample::stale_marker;
use std::sync::Arc;

/// Rows of the file, gathered series by series.
#[derive(Debug)]
pub struct TierRows {
    resolution_ms: i64,
    series_ids: Vec<u32>,
    ts_rows: Vec<u32>,
    counts: Vec<u32>,
    first_offs_ms: Vec<u32>,
    last_offs_ms: Vec<u32>,
    resets: Vec<u32>,
    changes: Vec<u32>,
    stale_ends: Vec<bool>,
    /// In the order of the columns.
    numbers: [Numbers; 6],
}

impl TierRows {
    /// None yet, of buckets of this resolution.
    #[must_use]
    pub fn new(resolution_ms: i64) -> Self {
        Self {
            resolution_ms,
            series_ids: Vec::new(),
            ts_rows: Vec::new(),
            counts: Vec::new(),
            first_offs_ms: Vec::new(),
            last_offs_ms: Vec::new(),
            resets: Vec::new(),
            changes: Vec::new(),
            stale_ends: Vec::new(),
            numbers: std::array::from_fn(|_| Numbers::new(0)),
        }
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series_ids.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series_ids.is_empty()
    }

    /// Appends the buckets of one series, all columns of them; `ts_rows` are the rows of their ends in the timelines file.
    pub fn push(&mut self, series_id: u32, ts_rows: &[u32], buckets: &BucketColumns) {
        self.series_ids.resize(self.series_ids.len() + buckets.len(), series_id);
        self.ts_rows.extend_from_slice(ts_rows);
        self.counts.extend_from_slice(&buckets.counts);
        self.resets.extend_from_slice(&buckets.resets);
        self.changes.extend_from_slice(&buckets.changes);
        self.stale_ends.extend_from_slice(&buckets.stale_ends);
        let mut kept: [Vec<f64>; 6] = std::array::from_fn(|_| Vec::with_capacity(buckets.len()));
        for bucket in buckets.iter() {
            let offset = |time: i64| (time - (bucket.end_ms - self.resolution_ms)) as u32;
            let is_empty = bucket.count == 0;
            self.first_offs_ms.push(if is_empty { 0 } else { offset(bucket.first_ms) });
            self.last_offs_ms.push(if is_empty { 0 } else { offset(bucket.last_ms) });
            for (column, value) in kept.iter_mut().zip(kept_numbers(&bucket)) {
                // The marker makes both columns NULL.
                column.push(value.unwrap_or_else(stale_marker));
            }
        }
        for (column, values) in self.numbers.iter_mut().zip(&kept) {
            column.push_all(Scale::of(values), values);
        }
    }

    /// All rows; none are left.
    pub fn take(&mut self) -> RecordBatch {
        let stale_ends = std::mem::take(&mut self.stale_ends);
        let mut columns: Vec<ArrayRef> = [
            &mut self.series_ids,
            &mut self.ts_rows,
            &mut self.counts,
            &mut self.first_offs_ms,
            &mut self.last_offs_ms,
            &mut self.resets,
            &mut self.changes,
        ]
        .into_iter()
        .map(take_u32)
        .collect();
        columns.push(Arc::new(BooleanArray::from(stale_ends)));
        columns.extend(self.numbers.iter_mut().flat_map(Numbers::take));
        RecordBatch::try_new(tier_samples(), columns)
            .unwrap_or_else(|error| unreachable!("columns follow the schema: {error}"))
    }
}

/// The numbers of a bucket that do not follow from others, in the order of their columns.
fn kept_numbers(bucket: &Bucket) -> [Option<f64>; 6] {
    let Bucket { count, first, last, sum, min, max, resets, reset_sum, .. } = *bucket;
    let differs = |a: f64, b: f64| a.to_bits() != b.to_bits();
    let only_if = |is_kept: bool, value: f64| is_kept.then_some(value);
    [
        only_if(count > 0, first),
        only_if(count > 1, last),
        only_if(count > 1, sum),
        only_if(count > 0 && differs(min, first), min),
        only_if(count > 0 && differs(max, last), max),
        only_if(resets > 0, reset_sum),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::table::{Kind, Layout, properties};
    use model::bucket::aggregate;
    use model::sample::SampleColumns;
    use parquet::arrow::ArrowWriter;

    /// Bytes of a bucket of `resolution_ms` in a file of 20 series scraped every 15 s for a week.
    fn bytes_per_bucket(resolution_ms: i64, value: impl Fn(&mut f64, f64) -> f64) -> f64 {
        let mut rows = TierRows::new(resolution_ms);
        let mut state = 7u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / (1u64 << 24) as f64
        };
        for series in 0..20 {
            let (mut samples, mut level) = (SampleColumns::default(), 0.0);
            for scrape in 0..40_320 {
                samples.push(scrape * 15_000 + 3_777, value(&mut level, random()));
            }
            let mut buckets = BucketColumns::default();
            aggregate(&samples, resolution_ms, &mut buckets);
            let ts_rows: Vec<u32> = (0..).take(buckets.len()).collect();
            rows.push(series, &ts_rows, &buckets);
        }
        let (count, schema) = (rows.len(), tier_samples());
        let properties = properties(&schema, &Layout::of_level(1), Kind::Samples);
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).expect("a writer");
        writer.write(&rows.take()).expect("rows");
        writer.into_inner().expect("a file").len() as f64 / count as f64
    }

    /// Samples take about 0.9 bytes each, so 18 for a bucket of 5 m and 216 for one of 1 h.
    #[test]
    fn buckets_take_less_room_than_their_samples() {
        let counter = |level: &mut f64, random: f64| {
            *level += (random * 50.0).floor();
            *level
        };
        let gauge = |_: &mut f64, random: f64| (random * 1000.0).round() / 10.0;
        let sizes = [300_000, 3_600_000]
            .map(|resolution| (bytes_per_bucket(resolution, counter), bytes_per_bucket(resolution, gauge)));
        println!("bytes per bucket (counter, gauge), 5 m and 1 h: {sizes:.2?}");
        assert!(sizes[0].0 < 14.0 && sizes[0].1 < 20.0 && sizes[1].0 < 20.0 && sizes[1].1 < 25.0, "{sizes:?}");
    }
}
