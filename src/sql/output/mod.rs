//! Batches as bytes: JSON, CSV, Arrow.
mod cell;
mod csv;
mod json;

use super::request::SqlFormat;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::error::{DataFusionError, Result};

/// Writes one answer.
pub(super) enum Encoder {
    Json(json::JsonRows),
    Csv,
    Arrow(Option<Box<StreamWriter<Vec<u8>>>>),
}

impl Encoder {
    pub(super) fn new(format: SqlFormat) -> Self {
        match format {
            SqlFormat::Json => Self::Json(json::JsonRows::default()),
            SqlFormat::Csv => Self::Csv,
            SqlFormat::Arrow => Self::Arrow(None),
        }
    }

    pub(super) fn content_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Arrow(_) => "application/vnd.apache.arrow.stream",
        }
    }

    /// Writes what comes before the first row.
    pub(super) fn begin(&mut self, schema: &Schema, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Json(_) => json::begin(schema, out),
            Self::Csv => csv::header(schema, out),
            Self::Arrow(writer) => {
                let mut begun = StreamWriter::try_new(Vec::new(), schema)?;
                out.append(begun.get_mut());
                *writer = Some(Box::new(begun));
            }
        }
        Ok(())
    }

    /// Writes rows.
    pub(super) fn write(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Json(rows) => rows.write(batch, out),
            Self::Csv => csv::rows(batch, out),
            Self::Arrow(writer) => {
                let writer = writer.as_mut().ok_or_else(not_begun)?;
                writer.write(batch)?;
                out.append(writer.get_mut());
                Ok(())
            }
        }
    }

    /// Writes what comes behind the last row.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Json(_) => json::end(out),
            Self::Csv => {}
            Self::Arrow(writer) => {
                let writer = writer.as_mut().ok_or_else(not_begun)?;
                writer.finish()?;
                out.append(writer.get_mut());
            }
        }
        Ok(())
    }
}

fn not_begun() -> DataFusionError {
    DataFusionError::Internal("rows before the schema".into())
}

/// The name of a type in SQL.
fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Null => "NULL".into(),
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INTEGER".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::UInt8 => "TINYINT UNSIGNED".into(),
        DataType::UInt16 => "SMALLINT UNSIGNED".into(),
        DataType::UInt32 => "INTEGER UNSIGNED".into(),
        DataType::UInt64 => "BIGINT UNSIGNED".into(),
        DataType::Float16 | DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "VARBINARY".into(),
        DataType::Dictionary(_, values) => type_name(values),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".into(),
        DataType::Timestamp(_, None) => "TIMESTAMP".into(),
        DataType::Date32 | DataType::Date64 => "DATE".into(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".into(),
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".into(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("{}[]", type_name(item.data_type()))
        }
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| format!("{} {}", field.name(), type_name(field.data_type())));
            format!("STRUCT({})", fields.collect::<Vec<_>>().join(", "))
        }
        DataType::Map(entry, _) => match entry.data_type() {
            DataType::Struct(fields) => {
                let kinds = fields.iter().map(|field| type_name(field.data_type()));
                format!("MAP({})", kinds.collect::<Vec<_>>().join(", "))
            }
            _ => "MAP".into(),
        },
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
