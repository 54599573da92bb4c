//! Native histograms: their totals, their buckets as a list of structures (`hist_buckets.rs` makes rows of them), and the whole
//! as text.

use super::histogram_scan::{self, FINGERPRINT, LABELS, METRIC, Rows, TIME};
use super::selected::fingerprint;
use super::{Scan, ScanRequest, Table};
use crate::query::error::QueryFailure;
use crate::query::executor::LocalQueries;
use crate::sql::batch::{BATCH_ROWS, label_maps, label_type, labels_type, schema, text_column, time_type, times};
use crate::sql::scope::Scope;
use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int8Array, ListArray, NullBufferBuilder, StringArray, StructArray, UInt64Array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields, SchemaRef};
use model::histogram::Histogram;
use model::labels::Labels;
use std::sync::Arc;

/// Rows of a batch: a histogram may have hundreds of buckets.
const ROWS_MAX: usize = 1024;

/// All native histograms.
#[derive(Debug, Clone)]
pub(super) struct Histograms {
    pub(super) include_stale: bool,
}

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
        let may_end = self.include_stale;
        schema(&[
            ("time", time_type(), false),
            ("metric", label_type(), true),
            ("labels", labels_type(), false),
            ("fingerprint", DataType::UInt64, false),
            ("count", DataType::Float64, may_end),
            ("sum", DataType::Float64, may_end),
            ("schema", DataType::Int8, may_end),
            ("zero_threshold", DataType::Float64, may_end),
            ("zero_count", DataType::Float64, may_end),
            ("buckets", DataType::List(bucket_field()), may_end),
            ("histogram", DataType::Utf8, may_end),
        ])
    }

    fn open(&self, request: ScanRequest, local: &LocalQueries<'_>, scope: &Scope) -> Result<Scan, QueryFailure> {
        let weight = |_: &Histogram| BATCH_ROWS / ROWS_MAX;
        let include_stale = self.include_stale;
        histogram_scan::open(Rows { include_stale, weight, show }, request, local, scope)
    }
}

/// All that is told of a stale histogram is its time.
fn show(columns: &[usize], labels: &Labels, rows: &[(i64, &Histogram)]) -> (Vec<ArrayRef>, usize) {
    let told = || rows.iter().map(|(_, histogram)| Some(*histogram).filter(|histogram| !histogram.is_stale()));
    let number = |of: fn(&Histogram) -> f64| -> ArrayRef {
        Arc::new(told().map(|histogram| histogram.map(of)).collect::<Float64Array>())
    };
    let column = |column: &usize| -> ArrayRef {
        match *column {
            TIME => times(rows.iter().map(|(at, _)| *at).collect()),
            METRIC => text_column(rows.iter().map(|_| labels.metric_name())),
            LABELS => label_maps([(labels, rows.len())]),
            FINGERPRINT => Arc::new(UInt64Array::from_value(fingerprint(labels), rows.len())),
            COUNT => number(|histogram| histogram.count),
            SUM => number(|histogram| histogram.sum),
            SCHEMA => Arc::new(told().map(|histogram| Some(histogram?.schema)).collect::<Int8Array>()),
            ZERO_THRESHOLD => number(|histogram| histogram.zero_threshold),
            ZERO_COUNT => number(|histogram| histogram.zero_count),
            BUCKETS => buckets(told()),
            _ => Arc::new(told().map(|histogram| histogram.map(ToString::to_string)).collect::<StringArray>()),
        }
    };
    (columns.iter().map(column).collect(), rows.len())
}

fn buckets<'a>(histograms: impl Iterator<Item = Option<&'a Histogram>>) -> ArrayRef {
    let (mut lower, mut upper, mut count, mut lengths) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut told = NullBufferBuilder::new(0);
    for histogram in histograms {
        let before = lower.len();
        told.append(histogram.is_some());
        for bucket in histogram.into_iter().flat_map(Histogram::buckets) {
            // Without the sign of a zero.
            lower.push(bucket.lower + 0.0);
            upper.push(bucket.upper);
            count.push(bucket.count);
        }
        lengths.push(lower.len() - before);
    }
    let columns = [lower, upper, count].map(|column| Arc::new(Float64Array::from(column)) as ArrayRef);
    let buckets = StructArray::new(bucket_fields(), columns.into(), None);
    Arc::new(ListArray::new(bucket_field(), OffsetBuffer::from_lengths(lengths), Arc::new(buckets), told.finish()))
}
