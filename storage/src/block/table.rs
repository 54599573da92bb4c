//! One Parquet file being written: settings, checksums, metadata, durability.

use super::checksums::{FileSums, SummedFile};
use super::error::BlockError;
use super::meta::BlockFile;
use super::packed_column::PackedColumn;
use super::schema::{FORMAT_VERSION, column};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnDescPtr, ColumnPath};
use std::path::{Path, PathBuf};

/// Sizes of what a file consists of. The defaults are the format's recommendation; tests take smaller ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// A row group of samples ends before the series that would make it longer.
    pub row_group_rows: usize,
    /// A data page ends when its encoded values reach this, …
    pub page_bytes: usize,
    /// … or when it has so many rows.
    pub page_rows: usize,
    /// The same two for the series file, whose rows are wider.
    pub series_group_rows: usize,
    /// See `series_group_rows`.
    pub series_page_rows: usize,
    /// A further samples file begins after about so many bytes.
    pub file_bytes_max: u64,
    /// Level of compression.
    pub zstd_level: i32,
}

impl Layout {
    /// The layout of blocks of a compaction level: those that soon are inputs of a compaction cost less time.
    #[must_use]
    pub fn of_level(level: u8) -> Self {
        Self {
            row_group_rows: 4 << 20,
            page_bytes: 16 << 10,
            page_rows: 128 << 10,
            series_group_rows: 256 << 10,
            series_page_rows: 16 << 10,
            file_bytes_max: 1 << 30,
            zstd_level: if level == 0 { 1 } else { 3 },
        }
    }
}

/// How a column is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// Integers that resemble their neighbours.
    Delta,
    /// Bytes of equal significance side by side.
    Split,
    /// As it is.
    Plain,
    /// Few distinct values.
    Dictionary,
}

fn coding(name: &str, data_type: &DataType) -> Coding {
    let raw = name == column::RAW || name.ends_with("_raw") || name == column::VALUE;
    match data_type {
        DataType::Float64 if raw => Coding::Split,
        DataType::UInt64 if name == column::FINGERPRINT || name == column::FINGERPRINT_HIGH => Coding::Plain,
        DataType::Boolean => Coding::Plain,
        DataType::Timestamp(..) | DataType::UInt64 | DataType::Int64 => Coding::Delta,
        DataType::UInt32 if name == column::SERIES_ID || name.starts_with(column::TS_ROW) => Coding::Delta,
        DataType::UInt32 if name == column::TIMELINE_ID || name.ends_with("_off_ms") => Coding::Delta,
        _ => Coding::Dictionary,
    }
}

/// Which bounds are kept: those of pages for what rows are searched by, of none for what nobody searches.
fn statistics(name: &str) -> EnabledStatistics {
    match name {
        column::DIVISOR => EnabledStatistics::None,
        _ if name.ends_with("_divisor") => EnabledStatistics::None,
        column::MANTISSA | column::RAW | column::START_TS => EnabledStatistics::Chunk,
        _ if name.ends_with("_mantissa") || name.ends_with("_raw") => EnabledStatistics::Chunk,
        _ => EnabledStatistics::Page,
    }
}

/// The settings of a file with these columns, sorted by the first `sorted_by` ones.
pub(crate) fn properties(schema: &SchemaRef, layout: &Layout, kind: Kind) -> WriterProperties {
    let zstd = ZstdLevel::try_new(layout.zstd_level).unwrap_or_default();
    let sorting = kind.sorting(schema);
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by(format!("hearth version {FORMAT_VERSION}.0.0"))
        .set_compression(Compression::ZSTD(zstd))
        .set_max_row_group_row_count(None)
        .set_sorting_columns(Some(sorting))
        .set_statistics_truncate_length(Some(64));
    builder = match kind {
        Kind::Series => builder.set_data_page_row_count_limit(layout.series_page_rows),
        _ => builder.set_data_page_row_count_limit(layout.page_rows).set_data_page_size_limit(layout.page_bytes),
    };
    for leaf in ["key", "value"] {
        let path = [column::LABELS, "key_value", leaf].map(str::to_owned).to_vec();
        builder = builder.set_column_statistics_enabled(ColumnPath::new(path), EnabledStatistics::None);
    }
    for field in schema.fields() {
        let path = ColumnPath::new(vec![field.name().clone()]);
        builder = set_coding(builder, &path, coding(field.name(), field.data_type()), layout);
        builder = builder.set_column_statistics_enabled(path, statistics(field.name()));
    }
    builder.build()
}

fn set_coding(
    builder: WriterPropertiesBuilder,
    path: &ColumnPath,
    coding: Coding,
    layout: &Layout,
) -> WriterPropertiesBuilder {
    let plain = |encoding| {
        builder.clone().set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path.clone(), encoding)
    };
    match coding {
        Coding::Delta => plain(Encoding::DELTA_BINARY_PACKED),
        Coding::Split => plain(Encoding::BYTE_STREAM_SPLIT),
        Coding::Plain => plain(Encoding::PLAIN),
        // The estimate for keys knows nothing of runs; rows alone end these pages.
        Coding::Dictionary => builder.set_column_data_page_size_limit(path.clone(), layout.page_rows * 4),
    }
}

/// What the rows of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Series,
    Timelines,
    Samples,
    Histograms,
    Buckets,
    Exemplars,
}

impl Kind {
    fn sorting(self, schema: &SchemaRef) -> Vec<SortingColumn> {
        let names: &[&str] = match self {
            Self::Series => &[column::SERIES_ID],
            Self::Timelines => &[column::TS_ROW],
            Self::Samples | Self::Histograms => &[column::SERIES_ID, column::TS_ROW],
            Self::Buckets => &[column::SERIES_ID, column::NEGATIVE, column::BUCKET, column::TS_ROW],
            Self::Exemplars => &[column::SERIES_ID, column::TIMESTAMP],
        };
        // Columns before the first nested one: the number of the leaf is that of the field.
        let index = |name: &&str| schema.index_of(name).ok().and_then(|index| i32::try_from(index).ok());
        let ascending = |column_idx| SortingColumn { column_idx, descending: false, nulls_first: false };
        names.iter().filter_map(index).map(ascending).collect()
    }
}

/// A Parquet file being written below a directory.
pub(crate) struct Table {
    name: String,
    path: PathBuf,
    schema: SchemaRef,
    layout: Layout,
    file: SerializedFileWriter<SummedFile>,
    factory: ArrowRowGroupWriterFactory,
    /// The leaves of the row group in progress; empty before its first row.
    columns: Vec<ColumnWriter>,
    rows: u64,
    group_rows: usize,
}

/// A column of the row group in progress.
enum ColumnWriter {
    Arrow(Box<ArrowColumnWriter>),
    Packed(Box<PackedColumn>),
}

impl Table {
    pub(crate) fn create(
        dir: &Path,
        name: String,
        schema: &SchemaRef,
        layout: &Layout,
        kind: Kind,
    ) -> Result<Self, BlockError> {
        let path = dir.join(&name);
        let options = ArrowWriterOptions::new()
            .with_properties(properties(schema, layout, kind))
            .with_skip_arrow_metadata(true)
            .with_schema_root("schema".to_owned());
        let (file, factory) =
            ArrowWriter::try_new_with_options(SummedFile::create(path.clone())?, schema.clone(), options)
                .and_then(ArrowWriter::into_serialized_writer)
                .map_err(BlockError::encode(&path))?;
        let (schema, layout) = (SchemaRef::clone(schema), *layout);
        Ok(Self { name, path, schema, layout, file, factory, columns: Vec::new(), rows: 0, group_rows: 0 })
    }

    /// Rows of the row group in progress.
    pub(crate) fn group_rows(&self) -> usize {
        self.group_rows
    }

    /// Bytes that are in the file already, the row group in progress left out.
    pub(crate) fn bytes(&self) -> u64 {
        self.file.bytes_written() as u64
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), BlockError> {
        self.write_columns(batch).map_err(BlockError::encode(&self.path))?;
        self.rows += batch.num_rows() as u64;
        self.group_rows += batch.num_rows();
        Ok(())
    }

    fn write_columns(&mut self, batch: &RecordBatch) -> parquet::errors::Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if self.columns.is_empty() {
            self.columns = self.begin_row_group()?;
        }
        let mut columns = self.columns.iter_mut();
        for (field, array) in self.schema.fields().iter().zip(batch.columns()) {
            if let (true, Some(integers)) = (is_packed(field), array.as_primitive_opt::<Int64Type>()) {
                if let Some(ColumnWriter::Packed(column)) = columns.next() {
                    column.write(integers)?;
                }
                continue;
            }
            for leaf in compute_leaves(field, array)? {
                if let Some(ColumnWriter::Arrow(column)) = columns.next() {
                    column.write(&leaf)?;
                }
            }
        }
        Ok(())
    }

    /// A writer for each leaf.
    fn begin_row_group(&self) -> parquet::errors::Result<Vec<ColumnWriter>> {
        let writers = self.factory.create_column_writers(self.file.flushed_row_groups().len())?;
        let columns = self.file.schema_descr().columns();
        let of = |(writer, column): (ArrowColumnWriter, &ColumnDescPtr)| {
            let path = column.path().parts();
            match path.first().and_then(|name| self.schema.field_with_name(name).ok()) {
                Some(field) if path.len() == 1 && is_packed(field) => {
                    let packed = PackedColumn::new(ColumnDescPtr::clone(column), self.layout)?;
                    Ok(ColumnWriter::Packed(Box::new(packed)))
                }
                _ => Ok(ColumnWriter::Arrow(Box::new(writer))),
            }
        };
        writers.into_iter().zip(columns).map(of).collect()
    }

    pub(crate) fn end_row_group(&mut self) -> Result<(), BlockError> {
        self.group_rows = 0;
        self.close_columns().map_err(BlockError::encode(&self.path))
    }

    fn close_columns(&mut self) -> parquet::errors::Result<()> {
        if self.columns.is_empty() {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        for column in std::mem::take(&mut self.columns) {
            match column {
                ColumnWriter::Arrow(column) => column.close()?.append_to_row_group(&mut group)?,
                ColumnWriter::Packed(column) => {
                    let (bytes, closed) = column.close()?;
                    group.append_column(&bytes, closed)?;
                }
            }
        }
        group.close()?;
        Ok(())
    }

    /// Completes the file and makes its content durable.
    pub(crate) fn finish(mut self, metadata: &[(&str, String)]) -> Result<(BlockFile, FileSums), BlockError> {
        for (key, value) in metadata {
            self.file.append_key_value_metadata(KeyValue::new((*key).to_owned(), value.clone()));
        }
        self.end_row_group()?;
        let data_bytes = self.bytes();
        let file = self.file.into_inner().map_err(BlockError::encode(&self.path))?;
        let (sums, crc32) = file.finish(&self.name)?;
        let footer_bytes = sums.bytes - data_bytes;
        Ok((BlockFile { name: self.name, bytes: sums.bytes, footer_bytes, rows: self.rows, crc32 }, sums))
    }
}

/// Whether a column is of integers that [`PackedColumn`] writes: values, most of the bytes of a block.
fn is_packed(field: &Field) -> bool {
    *field.data_type() == DataType::Int64 && coding(field.name(), field.data_type()) == Coding::Delta
}
