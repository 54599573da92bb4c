//! A Parquet file with one sample per row: `timestamp`, `value`, `labels`. Stale markers are there, as the NaN that they are.

use super::{ExportError, Sink};
use crate::lifecycle::Visited;
use arrow::array::{
    ArrayRef, Float64Array, MapBuilder, MapFieldNames, RecordBatch, StringBuilder, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::io::Write;
use std::sync::Arc;

/// Rows that are encoded together.
const BATCH_ROWS: usize = 8 << 10;
/// Rows of a row group, which is in memory as a whole.
const GROUP_ROWS: usize = 1 << 20;

pub(super) struct ParquetSink<W: Write + Send> {
    writer: ArrowWriter<W>,
    schema: SchemaRef,
}

impl<W: Write + Send> ParquetSink<W> {
    pub(super) fn new(output: W) -> Result<Self, ExportError> {
        let entries = Field::new(
            "key_value",
            DataType::Struct(
                vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)].into(),
            ),
            false,
        );
        let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let schema = Arc::new(Schema::new(vec![
            Field::new("timestamp", time, false),
            Field::new("value", DataType::Float64, false),
            Field::new("labels", DataType::Map(Arc::new(entries), false), false),
        ]));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .build();
        Ok(Self { writer: ArrowWriter::try_new(output, Arc::clone(&schema), Some(properties))?, schema })
    }
}

impl<W: Write + Send> Sink for ParquetSink<W> {
    fn series(&mut self, series: &Visited) -> Result<u64, ExportError> {
        let floats = &series.floats;
        for (times, values) in floats.timestamps_ms.chunks(BATCH_ROWS).zip(floats.values.chunks(BATCH_ROWS)) {
            let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
            let mut labels = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
            for _ in times {
                for (name, value) in series.labels.iter() {
                    labels.keys().append_value(name);
                    labels.values().append_value(value);
                }
                labels.append(true).map_err(::parquet::errors::ParquetError::from)?;
            }
            let columns: Vec<ArrayRef> = vec![
                Arc::new(TimestampMillisecondArray::from(times.to_vec()).with_timezone("UTC")),
                Arc::new(Float64Array::from(values.to_vec())),
                Arc::new(labels.finish()),
            ];
            let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns);
            self.writer.write(&batch.map_err(::parquet::errors::ParquetError::from)?)?;
        }
        Ok(floats.len() as u64)
    }

    fn finish(&mut self) -> Result<(), ExportError> {
        self.writer.finish()?;
        Ok(())
    }
}
