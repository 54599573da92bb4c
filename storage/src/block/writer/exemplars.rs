//! The exemplars file.

use super::super::columns::{LabelMaps, Texts, take_u32, timestamps};
use super::super::error::BlockError;
use super::super::schema::{self, EXEMPLARS_FILE};
use super::super::table::{Kind, Layout, Table};
use super::BATCH_ROWS;
use super::series::SeriesRow;
use super::tables::Tables;
use arrow::array::NullBufferBuilder;
use arrow::array::{ArrayRef, Float64Array};
use model::exemplar::Exemplar;
use std::path::Path;
use std::sync::Arc;

/// The label that has a column of its own.
const TRACE_ID: &str = "trace_id";

pub(super) struct ExemplarWriter {
    tables: Tables,
    row_group_rows: usize,
    series_ids: Vec<u32>,
    times: Vec<i64>,
    values: Vec<f64>,
    trace_ids: Texts,
    labels: LabelMaps,
    range: Option<(i64, i64)>,
}

impl ExemplarWriter {
    pub(super) fn new(dir: &Path, layout: Layout) -> Self {
        Self {
            tables: Tables::new(dir, EXEMPLARS_FILE, Kind::Exemplars, schema::exemplars(), layout),
            row_group_rows: layout.series_group_rows,
            series_ids: Vec::new(),
            times: Vec::new(),
            values: Vec::new(),
            trace_ids: Texts::default(),
            labels: LabelMaps::default(),
            range: None,
        }
    }

    pub(super) fn rows(&self) -> u64 {
        self.tables.rows() + self.series_ids.len() as u64
    }

    /// The first and the last one.
    pub(super) fn times(&self) -> Option<(i64, i64)> {
        self.range
    }

    pub(super) fn push(&mut self, id: u32, exemplars: &[Exemplar], row: &mut SeriesRow) -> Result<(), BlockError> {
        row.exemplar_start = self.rows();
        row.exemplar_count = exemplars.len() as u32;
        for exemplar in exemplars {
            if self.series_ids.len() == BATCH_ROWS {
                self.write()?;
            }
            let at = exemplar.timestamp_ms;
            self.range = Some(self.range.map_or((at, at), |(min, max)| (min.min(at), max.max(at))));
            self.series_ids.push(id);
            self.times.push(at);
            self.values.push(exemplar.value);
            if let Some(trace_id) = exemplar.labels.get(TRACE_ID) {
                self.trace_ids.push(trace_id);
            }
            self.trace_ids.pad(self.series_ids.len());
            self.labels.push(exemplar.labels.iter());
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), BlockError> {
        if self.series_ids.is_empty() {
            return Ok(());
        }
        let labels = self.labels.take(&schema::label_map());
        let columns: Vec<ArrayRef> = vec![
            take_u32(&mut self.series_ids),
            Arc::new(timestamps(std::mem::take(&mut self.times), NullBufferBuilder::new(0))),
            Arc::new(Float64Array::from(std::mem::take(&mut self.values))),
            self.trace_ids.take(),
            labels,
        ];
        self.tables.write(columns)?;
        if self.tables.rows().is_multiple_of(self.row_group_rows as u64) {
            self.tables.end_row_group()?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<Table>, BlockError> {
        self.write()?;
        self.tables.finish(false)
    }
}
