//! The files of native histograms and of their buckets.

use super::super::columns::{Numbers, Starts, extend_rows, take_u32};
use super::super::error::BlockError;
use super::super::number::Scale;
use super::super::schema::{self, HIST_BUCKETS_FILE, HISTOGRAMS_FILE, column};
use super::super::table::{Kind, Table};
use super::super::timeline::{Rows, TimelinePlan};
use super::series::SeriesRow;
use super::tables::Tables;
use super::{BATCH_ROWS, BlockSpec, Histograms};
use crate::histogram::stored::{Bucket, Stored, TOTALS};
use arrow::array::NullBufferBuilder;
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int8Array, Int32Array, ListArray, UInt8Array};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field};
use std::path::Path;
use std::sync::Arc;

/// What is stored of a reset hint; 2 is free for a known absence of a reset.
const UNKNOWN: u8 = 0;
const RESET: u8 = 1;
const GAUGE: u8 = 3;

pub(super) struct HistogramWriter {
    tables: Tables,
    rows: HistogramColumns,
    buckets: Tables,
    bucket_rows: BucketColumns,
}

struct HistogramColumns {
    series_ids: Vec<u32>,
    ts_rows: Vec<u32>,
    schemas: Vec<i8>,
    zero_thresholds: Vec<f64>,
    /// By the constants of `stored`: count, zero count, sum.
    totals: [Numbers; TOTALS],
    reset_hints: Vec<u8>,
    bound_ends: Vec<i32>,
    bounds: Vec<f64>,
    bounds_known: NullBufferBuilder,
    starts: Starts,
    /// Of a thinned block.
    left_out: Option<Vec<u32>>,
}

struct BucketColumns {
    series_ids: Vec<u32>,
    negative: Vec<bool>,
    buckets: Vec<i32>,
    ts_rows: Vec<u32>,
    numbers: Numbers,
}

impl HistogramWriter {
    pub(super) fn new(dir: &Path, spec: &BlockSpec) -> Self {
        let (layout, thinned) = (spec.layout, spec.thinned_ms > 0);
        Self {
            tables: Tables::new(dir, HISTOGRAMS_FILE, Kind::Histograms, schema::histograms(thinned), layout),
            rows: HistogramColumns::new(thinned),
            buckets: Tables::new(dir, HIST_BUCKETS_FILE, Kind::Buckets, schema::hist_buckets(), layout),
            bucket_rows: BucketColumns::new(),
        }
    }

    pub(super) fn rows(&self) -> u64 {
        self.tables.rows() + self.rows.series_ids.len() as u64
    }

    fn bucket_rows(&self) -> u64 {
        self.buckets.rows() + self.bucket_rows.series_ids.len() as u64
    }

    pub(super) fn push(
        &mut self,
        id: u32,
        input: &Histograms<'_>,
        plan: &TimelinePlan,
        row: &mut SeriesRow,
    ) -> Result<(), BlockError> {
        row.histogram_start = self.rows();
        row.bucket_start = self.bucket_rows();
        let (Some(&first), Some(&last)) = (input.timestamps_ms.first(), input.timestamps_ms.last()) else {
            return Ok(());
        };
        let count = input.histograms.len();
        assert_eq!(count, input.timestamps_ms.len(), "a histogram for each timestamp");
        assert!(input.left_out.is_empty() || input.left_out.len() == count, "how many are left out for each or none");
        assert!(input.left_out.is_empty() || self.rows.left_out.is_some(), "only a thinned block leaves any out");
        assert!(input.starts_ms.is_empty() || input.starts_ms.len() == count, "a start for each timestamp or none");
        let choice = input.timeline.expect("histograms that were planned");
        let mut scratch = Vec::new();
        let rows = plan.locate(choice, input.timestamps_ms, &mut scratch).expect("timestamps that were planned");
        let stored = stored(input);
        row.histogram_count =
            u32::try_from(count).map_err(|_| BlockError::TooMany { what: "histograms of one series" })?;
        row.histogram_timeline_id = Some(TimelinePlan::id(choice));
        row.times = Some(row.times.map_or((first, last), |(min, max)| (min.min(first), max.max(last))));
        self.push_histograms(id, &stored, input.left_out, rows)?;
        self.push_buckets(id, &stored, rows)?;
        row.bucket_count = self.bucket_rows() - row.bucket_start;
        Ok(())
    }

    fn push_histograms(
        &mut self,
        id: u32,
        samples: &[Stored],
        left_out: &[u32],
        rows: Rows<'_>,
    ) -> Result<(), BlockError> {
        if self.tables.is_full(self.rows.series_ids.len(), samples.len()) {
            self.write()?;
            self.tables.end_row_group()?;
        }
        let scales = scales(samples);
        for (at, part) in samples.chunks(BATCH_ROWS).enumerate() {
            if self.rows.series_ids.len() + part.len() > BATCH_ROWS {
                self.write()?;
            }
            extend_rows(&mut self.rows.ts_rows, rows.part(at * BATCH_ROWS, part.len()), part.len());
            self.rows.push(id, part, scales);
            let left_out = left_out.iter().skip(at * BATCH_ROWS).copied().chain(std::iter::repeat(0));
            self.rows.left_out.iter_mut().for_each(|column| column.extend(left_out.clone().take(part.len())));
        }
        Ok(())
    }

    /// Each bucket is a series: its populations in order of time.
    fn push_buckets(&mut self, id: u32, samples: &[Stored], rows: Rows<'_>) -> Result<(), BlockError> {
        let coming = samples.iter().map(|sample| sample.buckets.len()).sum();
        if self.buckets.is_full(self.bucket_rows.series_ids.len(), coming) {
            self.write_buckets()?;
            self.buckets.end_row_group()?;
        }
        let mut buckets: Vec<Bucket> =
            samples.iter().flat_map(|sample| &sample.buckets).map(|(bucket, _)| *bucket).collect();
        buckets.sort_unstable();
        buckets.dedup();
        // Of each sample, its buckets that are still to come.
        let mut rests: Vec<&[(Bucket, u64)]> = samples.iter().map(|sample| sample.buckets.as_slice()).collect();
        let (mut values, mut at) = (Vec::new(), Vec::new());
        for bucket in buckets {
            values.clear();
            at.clear();
            for (sample, rest) in rests.iter_mut().enumerate() {
                if let Some(((first, bits), behind)) = rest.split_first()
                    && *first == bucket
                {
                    values.push(f64::from_bits(*bits));
                    at.push(rows.row(sample));
                    *rest = behind;
                }
            }
            let scale = Scale::of(&values);
            for (values, at) in values.chunks(BATCH_ROWS).zip(at.chunks(BATCH_ROWS)) {
                if self.bucket_rows.series_ids.len() + values.len() > BATCH_ROWS {
                    self.write_buckets()?;
                }
                self.bucket_rows.push(id, bucket, scale, values, at);
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), BlockError> {
        if self.rows.series_ids.is_empty() {
            return Ok(());
        }
        let bounds = self.tables.schema().field_with_name(column::CUSTOM_BOUNDS).map(Field::data_type).cloned();
        let Ok(DataType::List(element)) = bounds else { unreachable!("bounds are a list") };
        let columns = self.rows.take(element);
        self.tables.write(columns)
    }

    fn write_buckets(&mut self) -> Result<(), BlockError> {
        if self.bucket_rows.series_ids.is_empty() {
            return Ok(());
        }
        let columns = self.bucket_rows.take();
        self.buckets.write(columns)
    }

    pub(super) fn finish(mut self) -> Result<Vec<Table>, BlockError> {
        self.write()?;
        self.write_buckets()?;
        let mut tables = self.tables.finish(false)?;
        tables.extend(self.buckets.finish(false)?);
        Ok(tables)
    }
}

fn stored(input: &Histograms<'_>) -> Vec<Stored> {
    let mut scale = None;
    let starts = input.starts_ms.iter().copied().chain(std::iter::repeat(0));
    let samples = input.timestamps_ms.iter().zip(input.histograms).zip(starts);
    let of = |((timestamp_ms, histogram), start_ms): ((&i64, &Arc<_>), i64)| {
        let sample = Stored::new(*timestamp_ms, start_ms, histogram, scale.as_ref());
        scale = Some(Arc::clone(&sample.scale));
        sample
    };
    samples.map(of).collect()
}

fn total(samples: &[Stored], number: usize) -> Vec<f64> {
    samples.iter().filter_map(|sample| sample.totals.get(number)).map(|bits| f64::from_bits(*bits)).collect()
}

fn scales(samples: &[Stored]) -> [Scale; TOTALS] {
    std::array::from_fn(|number| Scale::of(&total(samples, number)))
}

impl HistogramColumns {
    fn new(thinned: bool) -> Self {
        Self {
            series_ids: Vec::new(),
            ts_rows: Vec::new(),
            schemas: Vec::new(),
            zero_thresholds: Vec::new(),
            totals: std::array::from_fn(|_| Numbers::new(0)),
            reset_hints: Vec::new(),
            bound_ends: vec![0],
            bounds: Vec::new(),
            bounds_known: NullBufferBuilder::new(0),
            starts: Starts::default(),
            left_out: thinned.then(Vec::new),
        }
    }

    fn push(&mut self, id: u32, samples: &[Stored], scales: [Scale; TOTALS]) {
        self.series_ids.resize(self.series_ids.len() + samples.len(), id);
        for (number, (numbers, scale)) in self.totals.iter_mut().zip(scales).enumerate() {
            numbers.push_all(scale, &total(samples, number));
        }
        for sample in samples {
            let scale = &sample.scale;
            self.schemas.push(scale.schema);
            self.zero_thresholds.push(f64::from_bits(scale.zero_threshold));
            self.reset_hints.push(match (scale.gauge, sample.after_reset) {
                (true, _) => GAUGE,
                (false, true) => RESET,
                (false, false) => UNKNOWN,
            });
            self.bounds.extend(scale.custom_values.iter().map(|bits| f64::from_bits(*bits)));
            self.bound_ends.push(self.bounds.len() as i32);
            self.bounds_known.append(!scale.custom_values.is_empty());
        }
        let starts: Vec<i64> = samples.iter().map(|sample| sample.start_ms).collect();
        self.starts.push_all(&starts, samples.len());
    }

    fn take(&mut self, element: Arc<Field>) -> Vec<ArrayRef> {
        let mut all = std::mem::replace(self, Self::new(self.left_out.is_some()));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(all.bound_ends));
        let bounds = Arc::new(Float64Array::from(all.bounds));
        let mut columns: Vec<ArrayRef> = vec![
            take_u32(&mut all.series_ids),
            take_u32(&mut all.ts_rows),
            Arc::new(Int8Array::from(all.schemas)),
            Arc::new(Float64Array::from(all.zero_thresholds)),
        ];
        columns.extend(all.totals.iter_mut().flat_map(Numbers::take));
        columns.extend([
            Arc::new(UInt8Array::from(all.reset_hints)) as ArrayRef,
            Arc::new(ListArray::new(element, offsets, bounds, all.bounds_known.finish())),
            all.starts.take(),
        ]);
        columns.extend(all.left_out.as_mut().map(take_u32));
        columns
    }
}

impl BucketColumns {
    fn new() -> Self {
        Self {
            series_ids: Vec::new(),
            negative: Vec::new(),
            buckets: Vec::new(),
            ts_rows: Vec::new(),
            numbers: Numbers::new(0),
        }
    }

    fn push(&mut self, id: u32, bucket: Bucket, scale: Scale, values: &[f64], rows: &[u32]) {
        let rows_now = self.series_ids.len() + values.len();
        self.series_ids.resize(rows_now, id);
        self.negative.resize(rows_now, bucket.negative);
        self.buckets.resize(rows_now, bucket.index);
        self.ts_rows.extend_from_slice(rows);
        self.numbers.push_all(scale, values);
    }

    fn take(&mut self) -> Vec<ArrayRef> {
        let mut all = std::mem::replace(self, Self::new());
        let mut columns: Vec<ArrayRef> = vec![
            take_u32(&mut all.series_ids),
            Arc::new(BooleanArray::from(all.negative)),
            Arc::new(Int32Array::from(all.buckets)),
            take_u32(&mut all.ts_rows),
        ];
        columns.extend(all.numbers.take());
        columns
    }
}
