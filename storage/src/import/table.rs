//! Parquet files with one sample per row.
//!
//! Columns: `timestamp` or `time` (a timestamp, or milliseconds as an integer), `value` (a number), and the labels: either one
//! map `labels`, or one text column per label, of which `metric` means `__name__`. A row without a time or a value is left out.

mod pages;

use super::room::Room;
use super::spool::{Spool, Spooled};
use super::{ImportError, Watch};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef, TimeUnit};
use model::labels::{Labels, METRIC_NAME};
use model::metadata::MetricType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// Reads files; `directory` is for what does not fit into `room`.
///
/// # Errors
/// A file cannot be read or lacks a column.
pub fn open(paths: &[PathBuf], directory: &Path, room: &Room, watch: &dyn Watch) -> Result<Spooled, ImportError> {
    let mut spool = Spool::new(directory, room);
    let mut digest = Xxh3::new();
    for path in paths {
        hash_file(path, &mut digest, watch)?;
        read(path, &mut spool, room, watch)?;
    }
    spool.finish(digest.digest128())
}

fn hash_file(path: &Path, digest: &mut Xxh3, watch: &dyn Watch) -> Result<(), ImportError> {
    let mut file = File::open(path).map_err(ImportError::io("open", path))?;
    watch.begin("checksum", file.metadata().map_or(0, |metadata| metadata.len()));
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).map_err(ImportError::io("read", path))?;
        if count == 0 {
            return Ok(());
        }
        digest.update(buffer.get(..count).unwrap_or_default());
        watch.advance(count as u64);
    }
}

fn read(path: &Path, spool: &mut Spool, room: &Room, watch: &dyn Watch) -> Result<(), ImportError> {
    let unsupported = |error: &dyn std::fmt::Display| ImportError::unsupported(path, error.to_string());
    let file = File::open(path).map_err(ImportError::io("open", path))?;
    pages::check_footer(path, &file, room)?;
    let headers = file.try_clone().map_err(ImportError::io("open", path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| unsupported(&error))?;
    let columns = Columns::find(builder.schema()).map_err(|why| ImportError::unsupported(path, why))?;
    let roots = columns.all();
    let batch_rows = pages::batch_rows(path, &headers, builder.metadata(), &roots, room)?;
    let columns = columns.among(&roots);
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let rows = builder.metadata().file_metadata().num_rows();
    watch.begin("read", rows.max(0).unsigned_abs());
    let builder = builder.with_projection(mask).with_batch_size(batch_rows);
    for batch in builder.build().map_err(|error| unsupported(&error))? {
        let batch = batch.map_err(|error| unsupported(&error))?;
        let rows = Rows::of(&batch, &columns).map_err(|error| unsupported(&error))?;
        for row in 0..batch.num_rows() {
            rows.push(row, spool).map_err(|problem| match problem {
                Problem::Labels(why) => unsupported(&why),
                Problem::Spool(error) => error,
            })?;
        }
        watch.advance(batch.num_rows() as u64);
    }
    Ok(())
}

/// Which column is what, by number.
struct Columns {
    time: usize,
    value: usize,
    map: Option<usize>,
    /// Names of labels with their columns.
    labels: Vec<(String, usize)>,
}

impl Columns {
    fn find(schema: &SchemaRef) -> Result<Self, String> {
        let number = |name: &str| schema.index_of(name).ok();
        let time = number("timestamp").or_else(|| number("time"));
        let time = time.ok_or("there is neither a column `timestamp` nor a column `time`")?;
        let value = number("value").ok_or("there is no column `value`")?;
        let map = number("labels").filter(|at| matches!(schema.field(*at).data_type(), DataType::Map(..)));
        let mut labels = Vec::new();
        for (at, field) in schema.fields().iter().enumerate() {
            let is_label = map.is_none() && at != time && at != value;
            if is_label && is_text(field.data_type()) {
                let name = if field.name() == "metric" { METRIC_NAME } else { field.name() };
                labels.push((name.to_owned(), at));
            }
        }
        if map.is_none() && labels.is_empty() {
            return Err("there is neither a map `labels` nor a column of text".to_owned());
        }
        Ok(Self { time, value, map, labels })
    }

    /// The numbers of all columns that are read, ascending.
    fn all(&self) -> Vec<usize> {
        let labels = self.labels.iter().map(|(_, at)| *at);
        let mut all: Vec<usize> = [self.time, self.value].into_iter().chain(self.map).chain(labels).collect();
        all.sort_unstable();
        all
    }

    /// The same columns where there are no others.
    fn among(self, all: &[usize]) -> Self {
        let place = |at: usize| all.partition_point(|other| *other < at);
        Self {
            time: place(self.time),
            value: place(self.value),
            map: self.map.map(place),
            labels: self.labels.into_iter().map(|(name, at)| (name, place(at))).collect(),
        }
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

/// The columns of a batch in the types that are needed.
struct Rows {
    times: ArrayRef,
    values: ArrayRef,
    map: Option<ArrayRef>,
    labels: Vec<(String, ArrayRef)>,
}

enum Problem {
    Labels(String),
    Spool(ImportError),
}

impl Rows {
    fn of(batch: &RecordBatch, columns: &Columns) -> Result<Self, arrow::error::ArrowError> {
        let times = batch.column(columns.time);
        let times = match times.data_type() {
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
                cast(times, &DataType::Timestamp(TimeUnit::Millisecond, None))?
            }
            _ => times.clone(),
        };
        let texts = |(name, at): &(String, usize)| Ok((name.clone(), cast(batch.column(*at), &DataType::Utf8)?));
        Ok(Self {
            times: cast(&times, &DataType::Int64)?,
            values: cast(batch.column(columns.value), &DataType::Float64)?,
            map: columns.map.map(|at| batch.column(at).clone()),
            labels: columns.labels.iter().map(texts).collect::<Result<_, arrow::error::ArrowError>>()?,
        })
    }

    fn push(&self, row: usize, spool: &mut Spool) -> Result<(), Problem> {
        let (times, values) = (self.times.as_primitive::<Int64Type>(), self.values.as_primitive::<Float64Type>());
        if times.is_null(row) || values.is_null(row) {
            return Ok(());
        }
        let labels = self.labels_of(row).map_err(Problem::Labels)?;
        let series = spool.series(&labels, MetricType::Unknown).map_err(Problem::Spool)?;
        spool.push(series, times.value(row), values.value(row)).map_err(Problem::Spool)
    }

    fn labels_of(&self, row: usize) -> Result<Labels, String> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        if let Some(map) = &self.map {
            let entries = map.as_map().value(row);
            let text = |at: usize| cast(entries.column(at), &DataType::Utf8).map_err(|error| error.to_string());
            let (names, values) = (text(0)?, text(1)?);
            let texts = |array: &ArrayRef| -> Vec<String> {
                let array: &StringArray = array.as_string();
                array.iter().map(|text| text.unwrap_or_default().to_owned()).collect()
            };
            pairs.extend(texts(&names).into_iter().zip(texts(&values)));
        }
        for (name, column) in &self.labels {
            let column: &StringArray = column.as_string();
            if column.is_valid(row) {
                pairs.push((name.clone(), column.value(row).to_owned()));
            }
        }
        Labels::from_pairs(pairs).map_err(|error| format!("row {row} of a batch: {error}"))
    }
}

#[cfg(test)]
mod tests;
