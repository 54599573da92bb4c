//! Native histograms: their totals, their buckets as a list of structures (`hist_buckets.rs` makes rows of them), and the whole
//! as text.

use super::histogram_scan::{self, FINGERPRINT, LABELS, METRIC, Rows, TIME};
use super::selected::fingerprint;
use super::{Scan, ScanRequest, Table};
use crate::query::error::QueryFailure;
use crate::query::executor::LocalQueries;
use crate::sql::batch::{BATCH_ROWS, label_maps, label_type, labels_type, schema, text_column, time_type, times};
use crate::sql::pushdown::Role;
use crate::sql::scope::Scope;
use datafusion::arrow::array::{ArrayRef, Float64Array, Int8Array, ListArray, StringArray, StructArray, UInt64Array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields, SchemaRef};
use model::histogram::Histogram;
use model::labels::{Labels, METRIC_NAME};
use std::sync::Arc;

/// Rows of a batch: a histogram may have hundreds of buckets.
const ROWS_MAX: usize = 1024;

/// All native histograms.
#[derive(Debug, Clone)]
pub(super) struct Histograms;

const COUNT: usize = 4;
const SUM: usize = 5;
const SCHEMA: usize = 6;
const ZERO_THRESHOLD: usize = 7;
const ZERO_COUNT: usize = 8;
const BUCKETS: usize = 9;

fn bucket_fields() -> Fields {
    ["lower", "upper", "count"].map(|name| Field::new(name, DataType::Float64, false)).into_iter().collect()
}

fn bucket_field() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Struct(bucket_fields()), false))
}

impl Table for Histograms {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("time", time_type(), false),
            ("metric", label_type(), true),
            ("labels", labels_type(), false),
            ("fingerprint", DataType::UInt64, false),
            ("count", DataType::Float64, false),
            ("sum", DataType::Float64, false),
            ("schema", DataType::Int8, false),
            ("zero_threshold", DataType::Float64, false),
            ("zero_count", DataType::Float64, false),
            ("buckets", DataType::List(bucket_field()), false),
            ("histogram", DataType::Utf8, false),
        ])
    }

    fn role(&self, column: &str) -> Role {
        match column {
            "time" => Role::Time,
            "metric" => Role::Label(METRIC_NAME.into()),
            "labels" => Role::Labels,
            _ => Role::Other,
        }
    }

    fn open(&self, request: ScanRequest, local: &LocalQueries<'_>, scope: &Scope) -> Result<Scan, QueryFailure> {
        let weight = |_: &Histogram| BATCH_ROWS / ROWS_MAX;
        histogram_scan::open(Rows { weight, show }, request, local, scope)
    }
}

fn show(columns: &[usize], labels: &Labels, rows: &[(i64, &Histogram)]) -> (Vec<ArrayRef>, usize) {
    let number = |of: fn(&Histogram) -> f64| -> ArrayRef {
        Arc::new(rows.iter().map(|(_, histogram)| of(histogram)).collect::<Float64Array>())
    };
    let column = |column: &usize| -> ArrayRef {
        match *column {
            TIME => times(rows.iter().map(|(at, _)| *at).collect()),
            METRIC => text_column(rows.iter().map(|_| labels.metric_name())),
            LABELS => label_maps([(labels, rows.len())]),
            FINGERPRINT => Arc::new(UInt64Array::from_value(fingerprint(labels), rows.len())),
            COUNT => number(|histogram| histogram.count),
            SUM => number(|histogram| histogram.sum),
            SCHEMA => Arc::new(rows.iter().map(|(_, histogram)| histogram.schema).collect::<Int8Array>()),
            ZERO_THRESHOLD => number(|histogram| histogram.zero_threshold),
            ZERO_COUNT => number(|histogram| histogram.zero_count),
            BUCKETS => buckets(rows),
            _ => Arc::new(rows.iter().map(|(_, histogram)| Some(histogram.to_string())).collect::<StringArray>()),
        }
    };
    (columns.iter().map(column).collect(), rows.len())
}

fn buckets(rows: &[(i64, &Histogram)]) -> ArrayRef {
    let (mut lower, mut upper, mut count, mut lengths) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (_, histogram) in rows {
        let before = lower.len();
        for bucket in histogram.buckets() {
            // Without the sign of a zero.
            lower.push(bucket.lower + 0.0);
            upper.push(bucket.upper);
            count.push(bucket.count);
        }
        lengths.push(lower.len() - before);
    }
    let columns = [lower, upper, count].map(|column| Arc::new(Float64Array::from(column)) as ArrayRef);
    let buckets = StructArray::new(bucket_fields(), columns.into(), None);
    Arc::new(ListArray::new(bucket_field(), OffsetBuffer::from_lengths(lengths), Arc::new(buckets), None))
}
