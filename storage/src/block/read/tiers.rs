//! Reads the buckets of one series of a tier's block from pages that were fetched. Does not wait.

use super::cache::CacheKind;
use super::error::ReadError;
use super::fetch;
use super::histograms::numbers;
use super::open_pages;
use super::selection::{BlockPages, BlockSeries, want_rows};
use crate::block::schema::column as c;
use crate::lifecycle::window::{DAY_MS, day_of};
use crate::tiers::decode::decode;
use crate::tiers::schema::{columns_of, tier_samples};
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Schema};
use model::bucket::{Bucket, BucketColumns, BucketFields};
use std::ops::Range;
use std::sync::Arc;

impl BlockSeries {
    /// The length of its buckets in milliseconds, 0 of samples.
    pub(crate) fn resolution_ms(&self) -> i64 {
        i64::try_from(self.block.meta.resolution_ms).unwrap_or(i64::MAX)
    }

    /// Fetches what reading the buckets of some series takes, all of their rows: one round trip, if it is not cached.
    ///
    /// # Errors
    /// The block cannot be read.
    pub async fn fetch_buckets(&self, indices: Range<usize>, fields: BucketFields) -> Result<BlockPages, ReadError> {
        let (columns, mut wanted) = (columns_of(fields), Vec::new());
        for index in indices.start..indices.end.min(self.len()) {
            let rows = self.entry(index)?.rows;
            for path in columns.iter().map(String::as_str).chain([c::TS_ROW]) {
                want_rows(&self.samples, path, &rows, &mut wanted)?;
            }
        }
        let fetched = fetch::fetch(&self.block.source, CacheKind::Page, wanted, &self.account).await?;
        Ok(BlockPages { fetched, histograms: Vec::new(), hist_buckets: Vec::new() })
    }

    /// Appends the buckets of one series that end in `after_ms < end <= until_ms`, the columns of `fields`, which were fetched.
    ///
    /// # Errors
    /// The block is damaged.
    pub fn read_buckets(
        &self,
        pages: &BlockPages,
        index: usize,
        (after_ms, until_ms): (i64, i64),
        fields: BucketFields,
        into: &mut BucketColumns,
    ) -> Result<(), ReadError> {
        let rows = self.entry(index)?.rows;
        if rows.is_empty() {
            return Ok(());
        }
        let resolution_ms = self.resolution_ms();
        let (batch, ts_rows) = self.bucket_rows(pages, rows, fields)?;
        let start_ms = day_of(self.block.meta.min_ms.saturating_sub(1)).saturating_mul(DAY_MS);
        let end_of =
            |ts_row: &u64| start_ms.saturating_add((*ts_row as i64).saturating_add(1).saturating_mul(resolution_ms));
        let ends: Vec<i64> = ts_rows.iter().map(end_of).collect();
        let from = ends.partition_point(|end_ms| *end_ms <= after_ms);
        let to = ends.partition_point(|end_ms| *end_ms <= until_ms).max(from);
        let (batch, ends) = (batch.slice(from, to - from), ends.get(from..to).unwrap_or_default());
        decode(&batch, ends, resolution_ms, fields, into).map_err(|error| self.unreadable(error))
    }

    fn unreadable(&self, error: impl ToString) -> ReadError {
        let key = self.samples.first().map_or(&self.block.series.object.key, |file| &file.object.key);
        ReadError::unreadable(key, error)
    }

    /// The columns of `fields` in some rows, and their rows in the timeline.
    fn bucket_rows(
        &self,
        pages: &BlockPages,
        rows: Range<u64>,
        fields: BucketFields,
    ) -> Result<(RecordBatch, Vec<u64>), ReadError> {
        let schema = tier_samples();
        let names = columns_of(fields);
        let kept = schema.fields().iter().filter(|field| names.contains(field.name())).cloned().collect::<Vec<_>>();
        open_pages::with(&self.block.source.cache, |open| {
            let mut read = |path: &str| numbers(open, pages, &self.samples, path, rows.clone());
            let mut columns: Vec<ArrayRef> = Vec::with_capacity(kept.len());
            for field in &kept {
                let values = read(field.name())?.into_iter();
                columns.push(match field.data_type() {
                    DataType::UInt32 => {
                        Arc::new(values.map(|bits| bits.map(|bits| bits as u32)).collect::<UInt32Array>())
                    }
                    DataType::Boolean => {
                        Arc::new(values.map(|bits| bits.map(|bits| bits != 0)).collect::<BooleanArray>())
                    }
                    DataType::Int64 => {
                        Arc::new(values.map(|bits| bits.map(|bits| bits as i64)).collect::<Int64Array>())
                    }
                    _ => Arc::new(values.map(|bits| bits.map(f64::from_bits)).collect::<Float64Array>()),
                });
            }
            let ts_rows: Vec<u64> = read(c::TS_ROW)?.into_iter().map(Option::unwrap_or_default).collect();
            let batch = RecordBatch::try_new(Arc::new(Schema::new(kept)), columns);
            Ok((batch.map_err(|error| self.unreadable(error))?, ts_rows))
        })
    }
}

/// The buckets among `columns` that `keep` approves of, in the columns of `fields`.
pub(crate) fn retain_buckets(columns: &mut BucketColumns, fields: BucketFields, keep: impl Fn(&Bucket) -> bool) {
    if columns.iter().all(|bucket| keep(&bucket)) {
        return;
    }
    let mut kept = BucketColumns::default();
    columns.iter().filter(keep).for_each(|bucket| kept.push_fields(&bucket, fields));
    *columns = kept;
}
