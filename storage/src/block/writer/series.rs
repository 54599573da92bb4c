//! The series file.

use super::super::columns::{LabelMaps, Texts, take_u32, timestamps};
use super::super::error::BlockError;
use super::super::schema::{self, LABEL_COLUMNS_MAX, SERIES_FILE};
use super::super::table::{Kind, Table};
use super::{BlockSpec, SeriesInput, batch};
use arrow::array::NullBufferBuilder;
use arrow::array::{ArrayRef, BooleanArray, Float64Array, UInt32Array, UInt64Array};
use arrow::datatypes::SchemaRef;
use hashbrown::HashMap;
use model::labels::METRIC_NAME;
use model::metadata::MetricType;
use std::path::Path;
use std::sync::Arc;

/// Series that are encoded together, if their labels are not long.
const SERIES_MAX: usize = 8 << 10;
/// Bytes of labels that are encoded together.
const LABEL_BYTES_MAX: usize = 8 << 20;
/// Names of labels without a column that the metadata lists.
const OVERFLOW_LISTED_MAX: usize = 16;

/// What the files of samples tell of a series.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SeriesRow {
    pub(super) row_start: u64,
    pub(super) row_count: u32,
    pub(super) raw_count: u32,
    pub(super) stale_count: u32,
    pub(super) has_starts: bool,
    pub(super) timeline_id: Option<u32>,
    pub(super) ts_rows: Option<(u32, u32)>,
    pub(super) divisor: Option<f64>,
    pub(super) step_ms: u32,
    /// The first and last sample.
    pub(super) times: Option<(i64, i64)>,
    pub(super) counter_resets: u32,
    pub(super) histogram_start: u64,
    pub(super) histogram_count: u32,
    pub(super) histogram_timeline_id: Option<u32>,
    pub(super) bucket_start: u64,
    pub(super) bucket_count: u64,
    pub(super) exemplar_start: u64,
    pub(super) exemplar_count: u32,
}

pub(super) struct SeriesWriter {
    table: Table,
    schema: SchemaRef,
    group_rows: usize,
    label_columns: Vec<String>,
    columns_by_name: HashMap<String, usize>,
    overflow: Vec<String>,
    has_overflow: bool,
    count: u32,
    fingerprints: Vec<u64>,
    fingerprints_high: Vec<u64>,
    metrics: Texts,
    labels: LabelMaps,
    by_label: Vec<Texts>,
    types: Vec<MetricType>,
    rows: Vec<SeriesRow>,
}

impl SeriesWriter {
    pub(super) fn create(dir: &Path, spec: &BlockSpec) -> Result<Self, BlockError> {
        let names = spec.label_names.iter().filter(|name| *name != METRIC_NAME).take(LABEL_COLUMNS_MAX);
        let mut label_columns: Vec<String> = names.cloned().collect();
        label_columns.sort_unstable();
        label_columns.dedup();
        let schema = schema::series(&label_columns);
        let table = Table::create(dir, SERIES_FILE.to_owned(), &schema, &spec.layout, Kind::Series)?;
        let by_label = label_columns.iter().map(|_| Texts::default()).collect();
        let columns_by_name = label_columns.iter().cloned().zip(0..).collect();
        Ok(Self {
            table,
            schema,
            group_rows: spec.layout.series_group_rows,
            label_columns,
            columns_by_name,
            overflow: Vec::new(),
            has_overflow: false,
            count: 0,
            fingerprints: Vec::new(),
            fingerprints_high: Vec::new(),
            metrics: Texts::default(),
            labels: LabelMaps::default(),
            by_label,
            types: Vec::new(),
            rows: Vec::new(),
        })
    }

    /// Series so far, which is the number of the next.
    pub(super) fn len(&self) -> u32 {
        self.count
    }

    pub(super) fn label_columns(&self) -> &[String] {
        &self.label_columns
    }

    pub(super) fn has_overflow(&self) -> bool {
        self.has_overflow
    }

    /// Names of labels without a column, the first few that were seen.
    pub(super) fn overflow(&self) -> &[String] {
        &self.overflow
    }

    pub(super) fn push(&mut self, input: &SeriesInput<'_>, row: &SeriesRow) -> Result<(), BlockError> {
        self.fingerprints.push(input.hash.0 as u64);
        self.fingerprints_high.push((input.hash.0 >> 64) as u64);
        for (name, value) in input.labels {
            if *name == METRIC_NAME {
                self.metrics.push(value);
            } else if let Some(texts) = self.columns_by_name.get(*name).and_then(|at| self.by_label.get_mut(*at)) {
                texts.pad(self.rows.len());
                texts.push(value);
            } else {
                self.has_overflow = true;
                if self.overflow.len() < OVERFLOW_LISTED_MAX && !self.overflow.iter().any(|known| known == name) {
                    self.overflow.push((*name).to_owned());
                }
            }
        }
        self.metrics.pad(self.rows.len() + 1);
        self.labels.push(input.labels.iter().copied());
        self.types.push(input.metric_type);
        self.rows.push(*row);
        self.count = self.count.checked_add(1).ok_or(BlockError::TooMany { what: "series" })?;
        if self.rows.len() >= SERIES_MAX || self.labels.bytes() >= LABEL_BYTES_MAX {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), BlockError> {
        let rows = std::mem::take(&mut self.rows);
        let first = self.count - rows.len() as u32;
        let mut ids: Vec<u32> = (first..self.count).collect();
        let mut columns: Vec<ArrayRef> = vec![
            take_u32(&mut ids),
            Arc::new(UInt64Array::from(std::mem::take(&mut self.fingerprints))),
            Arc::new(UInt64Array::from(std::mem::take(&mut self.fingerprints_high))),
            self.metrics.take(),
            self.labels.take(&schema::label_map()),
        ];
        for texts in &mut self.by_label {
            texts.pad(rows.len());
            columns.push(texts.take());
        }
        let mut types = Texts::default();
        self.types.drain(..).for_each(|metric_type| types.push(metric_type.name()));
        columns.push(types.take());
        columns.extend(summary_columns(&rows));
        self.table.write(&batch(&self.schema, columns))?;
        if self.table.group_rows() >= self.group_rows {
            self.table.end_row_group()?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Table, BlockError> {
        if !self.rows.is_empty() {
            self.write()?;
        }
        Ok(self.table)
    }
}

/// The columns behind `type`.
fn summary_columns(rows: &[SeriesRow]) -> Vec<ArrayRef> {
    let narrow = |of: fn(&SeriesRow) -> u32| Arc::new(UInt32Array::from_iter_values(rows.iter().map(of))) as ArrayRef;
    let wide = |of: fn(&SeriesRow) -> u64| Arc::new(UInt64Array::from_iter_values(rows.iter().map(of))) as ArrayRef;
    let some = |of: fn(&SeriesRow) -> Option<u32>| Arc::new(rows.iter().map(of).collect::<UInt32Array>()) as ArrayRef;
    let time = |of: fn((i64, i64)) -> i64| {
        let mut known = NullBufferBuilder::new(rows.len());
        rows.iter().for_each(|row| known.append(row.times.is_some()));
        let values = rows.iter().map(|row| row.times.map_or(0, of)).collect();
        Arc::new(timestamps(values, known)) as ArrayRef
    };
    vec![
        wide(|row| row.row_start),
        narrow(|row| row.row_count),
        narrow(|row| row.raw_count),
        narrow(|row| row.stale_count),
        Arc::new(rows.iter().map(|row| Some(row.has_starts)).collect::<BooleanArray>()),
        some(|row| row.timeline_id),
        some(|row| row.ts_rows.map(|(first, _)| first)),
        some(|row| row.ts_rows.map(|(_, last)| last)),
        Arc::new(rows.iter().map(|row| row.divisor).collect::<Float64Array>()),
        narrow(|row| row.step_ms),
        time(|(first, _)| first),
        time(|(_, last)| last),
        narrow(|row| row.counter_resets),
        wide(|row| row.histogram_start),
        narrow(|row| row.histogram_count),
        some(|row| row.histogram_timeline_id),
        wide(|row| row.bucket_start),
        wide(|row| row.bucket_count),
        wide(|row| row.exemplar_start),
        narrow(|row| row.exemplar_count),
    ]
}
