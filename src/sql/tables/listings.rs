//! Small tables that are listed whole: what senders told about metrics, and the blocks.

use super::{Scan, ScanRequest, Table};
use crate::query::error::QueryFailure;
use crate::query::executor::LocalQueries;
use crate::sql::batch::{label_type, schema, text_column, time_type, times};
use crate::sql::engine::BlockRow;
use crate::sql::pushdown::Role;
use crate::sql::scan::{Output, Whole};
use crate::sql::scope::Scope;
use datafusion::arrow::array::{ArrayRef, StringArray, UInt8Array, UInt64Array};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use model::metadata::Metadata;
use std::sync::Arc;

/// What senders told about metrics.
#[derive(Debug, Clone)]
pub(super) struct KnownMetadata;

impl Table for KnownMetadata {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("metric", DataType::Utf8, false),
            ("type", label_type(), false),
            ("help", DataType::Utf8, false),
            ("unit", DataType::Utf8, false),
        ])
    }

    fn role(&self, _column: &str) -> Role {
        Role::Other
    }

    fn selects(&self) -> bool {
        false
    }

    fn open(&self, request: ScanRequest, _local: &LocalQueries<'_>, scope: &Scope) -> Result<Scan, QueryFailure> {
        let (metadata, columns) = (Arc::clone(&scope.sources.metadata), request.columns);
        let read = move |_: &LocalQueries<'_>, out: &mut Output| {
            let all = metadata.metadata(None, usize::MAX, usize::MAX);
            let flat = |(name, entries): &'_ (String, Vec<Metadata>)| {
                entries.iter().map(|entry| (name.clone(), entry.clone())).collect::<Vec<_>>()
            };
            let rows: Vec<(String, Metadata)> = all.iter().flat_map(flat).collect();
            let text = |of: fn(&(String, Metadata)) -> &str| -> ArrayRef {
                Arc::new(rows.iter().map(|row| Some(of(row))).collect::<StringArray>())
            };
            let column = |column: &usize| match *column {
                0 => text(|(name, _)| name),
                1 => text_column(rows.iter().map(|(_, entry)| Some(entry.metric_type.name()))),
                2 => text(|(_, entry)| &entry.help),
                _ => text(|(_, entry)| &entry.unit),
            };
            out.push(columns.iter().map(column).collect(), rows.len())
        };
        Ok(Scan::new(Whole::new("metadata", read)))
    }
}

/// The blocks in which samples are stored.
#[derive(Debug, Clone)]
pub(super) struct Blocks;

impl Table for Blocks {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("ulid", DataType::Utf8, false),
            ("level", DataType::UInt8, false),
            ("resolution_ms", DataType::UInt64, false),
            ("min_time", time_type(), false),
            ("max_time", time_type(), false),
            ("series", DataType::UInt64, false),
            ("samples", DataType::UInt64, false),
            ("histograms", DataType::UInt64, false),
            ("bytes", DataType::UInt64, false),
        ])
    }

    fn role(&self, _column: &str) -> Role {
        Role::Other
    }

    fn selects(&self) -> bool {
        false
    }

    fn open(&self, request: ScanRequest, _local: &LocalQueries<'_>, scope: &Scope) -> Result<Scan, QueryFailure> {
        let (blocks, columns) = (Arc::clone(&scope.sources.blocks), request.columns);
        let read = move |_: &LocalQueries<'_>, out: &mut Output| {
            let rows = blocks.blocks()?;
            let number =
                |of: fn(&BlockRow) -> u64| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<UInt64Array>()) };
            let column = |column: &usize| -> ArrayRef {
                match *column {
                    0 => Arc::new(rows.iter().map(|row| Some(&row.ulid)).collect::<StringArray>()),
                    1 => Arc::new(rows.iter().map(|row| row.level).collect::<UInt8Array>()),
                    2 => number(|row| row.resolution_ms),
                    3 => times(rows.iter().map(|row| row.min_ms).collect()),
                    4 => times(rows.iter().map(|row| row.max_ms).collect()),
                    5 => number(|row| row.series),
                    6 => number(|row| row.samples),
                    7 => number(|row| row.histograms),
                    _ => number(|row| row.bytes),
                }
            };
            out.push(columns.iter().map(column).collect(), rows.len())
        };
        Ok(Scan::new(Whole::new("blocks", read)))
    }
}
