//! Buckets on their way into a tier's samples file.

use super::schema::tier_samples;
use crate::block::columns::{Numbers, extend_rows, take_u32};
use crate::block::number::Scale;
use crate::block::timeline::Rows;
use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use model::bucket::{Bucket, BucketColumns};
use model::sample::stale_marker;
use std::sync::Arc;

/// Rows of the file, gathered series by series.
#[derive(Debug)]
pub(crate) struct TierRows {
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
    pub(crate) fn new(resolution_ms: i64) -> Self {
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
    pub(crate) fn len(&self) -> usize {
        self.series_ids.len()
    }

    /// Appends the buckets of one series; `rows` are those of their ends in the timelines file.
    pub(crate) fn push(&mut self, series_id: u32, rows: Rows<'_>, buckets: &BucketColumns) {
        self.series_ids.resize(self.series_ids.len() + buckets.len(), series_id);
        extend_rows(&mut self.ts_rows, rows, buckets.len());
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
    pub(crate) fn take(&mut self) -> RecordBatch {
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
