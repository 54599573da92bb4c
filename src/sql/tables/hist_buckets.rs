//! Buckets of native histograms, a row for each that is populated.
//!
//! `negative` and `bucket` are those of the file `hist_buckets.parquet`. The zero bucket, which is none there, has no index. The
//! counts of a sample add up to that of its histogram, but for observations that are no number: these are in no bucket.

use super::histogram_scan::{self, FINGERPRINT, LABELS, METRIC, Rows, TIME};
use super::selected::fingerprint;
use super::{Scan, ScanRequest, Table};
use crate::query::error::QueryFailure;
use crate::query::executor::LocalQueries;
use crate::sql::batch::{label_maps, label_type, labels_type, schema, text_column, time_type, times};
use crate::sql::scope::Scope;
use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, Int8Array, Int32Array, UInt64Array};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use model::histogram::{Bucket, BucketKey, Histogram};
use model::labels::Labels;
use std::sync::Arc;

/// The buckets of all native histograms.
#[derive(Debug, Clone)]
pub(super) struct HistogramBuckets;

const SCHEMA: usize = 4;
const NEGATIVE: usize = 5;
const BUCKET: usize = 6;
const LOWER: usize = 7;
const UPPER: usize = 8;

impl Table for HistogramBuckets {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("time", time_type(), false),
            ("metric", label_type(), true),
            ("labels", labels_type(), false),
            ("fingerprint", DataType::UInt64, false),
            ("schema", DataType::Int8, false),
            ("negative", DataType::Boolean, false),
            ("bucket", DataType::Int32, true),
            ("lower", DataType::Float64, false),
            ("upper", DataType::Float64, false),
            ("count", DataType::Float64, false),
        ])
    }

    fn open(&self, request: ScanRequest, local: &LocalQueries<'_>, scope: &Scope) -> Result<Scan, QueryFailure> {
        histogram_scan::open(Rows { include_stale: false, weight: buckets_max, show }, request, local, scope)
    }
}

/// How many buckets may be populated.
fn buckets_max(histogram: &Histogram) -> usize {
    1 + histogram.positive_buckets.len() + histogram.negative_buckets.len()
}

/// One row.
struct Row {
    at_ms: i64,
    schema: i8,
    key: BucketKey,
    bucket: Bucket,
}

fn show(columns: &[usize], labels: &Labels, histograms: &[(i64, &Histogram)]) -> (Vec<ArrayRef>, usize) {
    let rows_of = |(at_ms, histogram): &(i64, &Histogram)| {
        let (at_ms, schema) = (*at_ms, histogram.schema);
        let populated = histogram.keyed_buckets().filter(|(_, bucket)| bucket.count != 0.0);
        populated.map(|(key, bucket)| Row { at_ms, schema, key, bucket }).collect::<Vec<_>>()
    };
    let rows: Vec<Row> = histograms.iter().flat_map(rows_of).collect();
    let number = |of: fn(&Bucket) -> f64| -> ArrayRef {
        Arc::new(rows.iter().map(|row| of(&row.bucket)).collect::<Float64Array>())
    };
    let column = |column: &usize| -> ArrayRef {
        match *column {
            TIME => times(rows.iter().map(|row| row.at_ms).collect()),
            METRIC => text_column(rows.iter().map(|_| labels.metric_name())),
            LABELS => label_maps([(labels, rows.len())]),
            FINGERPRINT => Arc::new(UInt64Array::from_value(fingerprint(labels), rows.len())),
            SCHEMA => Arc::new(rows.iter().map(|row| row.schema).collect::<Int8Array>()),
            NEGATIVE => {
                let negative = rows.iter().map(|row| Some(matches!(row.key, BucketKey::Negative(_))));
                Arc::new(negative.collect::<BooleanArray>())
            }
            BUCKET => Arc::new(rows.iter().map(|row| row.key.index()).collect::<Int32Array>()),
            // Without the sign of a zero.
            LOWER => number(|bucket| bucket.lower + 0.0),
            UPPER => number(|bucket| bucket.upper),
            _ => number(|bucket| bucket.count),
        }
    };
    (columns.iter().map(column).collect(), rows.len())
}
