//! What a block of format version 1 consists of: file names, columns, metadata keys. The format for strangers:
//! `docs/formats/block.md`.
//!
//! A **number** is stored by three columns: `value = mantissa / divisor` where that is exact, else `raw`; both NULL is the
//! stale marker. In `histograms.parquet` the three exist once for each number of a histogram, with its name before them.
//!
//! Row numbers (`row_start`, `ts_row`, …) count from zero through all files of a kind: `samples-1.parquet` continues
//! `samples.parquet`.

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;

/// The version of the format that this code writes; every older one is read.
pub const FORMAT_VERSION: u32 = 1;

/// One row per series, in series order (see `order.rs`): `series_id` is the row number.
pub const SERIES_FILE: &str = "series.parquet";
/// One row per timestamp of a timeline: `ts_row` is the row number.
pub const TIMELINES_FILE: &str = "timelines.parquet";
/// Float samples by (`series_id`, `ts_row`).
pub const SAMPLES_FILE: &str = "samples.parquet";
/// Native histograms by (`series_id`, `ts_row`), without their buckets.
pub const HISTOGRAMS_FILE: &str = "histograms.parquet";
/// Populated buckets by (`series_id`, `negative`, `bucket`, `ts_row`).
pub const HIST_BUCKETS_FILE: &str = "hist_buckets.parquet";
/// Exemplars by (`series_id`, `timestamp`).
pub const EXEMPLARS_FILE: &str = "exemplars.parquet";
/// Checksums of every 16 KiB of the other files: see `checksums.rs`.
pub const CHECKSUMS_FILE: &str = "checksums.bin";
/// The block's [`BlockMeta`](super::meta::BlockMeta).
pub const META_FILE: &str = "meta.json";

/// The name of the `n`-th file of a kind: `samples.parquet`, `samples-1.parquet`, …
#[must_use]
pub fn nth_file(first: &str, n: usize) -> String {
    match (n, first.strip_suffix(".parquet")) {
        (0, _) | (_, None) => first.to_owned(),
        (n, Some(stem)) => format!("{stem}-{n}.parquet"),
    }
}

/// Columns of the files.
pub mod column {
    /// Dense number of the series in its block, in series order.
    pub const SERIES_ID: &str = "series_id";
    /// The low half of the [`LabelHash`](crate::append::LabelHash).
    pub const FINGERPRINT: &str = "fingerprint";
    /// Its high half.
    pub const FINGERPRINT_HIGH: &str = "fingerprint_high";
    /// The value of `__name__`, NULL if there is none.
    pub const METRIC: &str = "metric";
    /// All labels, `__name__` too.
    pub const LABELS: &str = "labels";
    /// What precedes a label's name in the name of its column.
    pub const LABEL_PREFIX: &str = "l_";
    /// As [`MetricType::name`](model::metadata::MetricType::name) prints it.
    pub const TYPE: &str = "type";
    /// First row in the samples files.
    pub const ROW_START: &str = "row_start";
    /// Float samples.
    pub const ROW_COUNT: &str = "row_count";
    /// Samples whose value is in `raw`.
    pub const RAW_COUNT: &str = "raw_count";
    /// Samples that are stale markers. Without these and those in `raw`, every sample has a mantissa.
    pub const STALE_COUNT: &str = "stale_count";
    /// Whether any sample has a start timestamp.
    pub const HAS_STARTS: &str = "has_starts";
    /// The timeline of the float samples, NULL if there are none.
    pub const TIMELINE_ID: &str = "timeline_id";
    /// Row of the first sample in the timelines file.
    pub const TS_ROW_FIRST: &str = "ts_row_first";
    /// Row of the last one; no row is left out between them if they span `row_count` rows.
    pub const TS_ROW_LAST: &str = "ts_row_last";
    /// The divisor of all samples; NULL if it changes or there is no sample.
    pub const DIVISOR: &str = "divisor";
    /// Milliseconds between neighbouring float samples, 0 if that varies.
    pub const STEP_MS: &str = "step_ms";
    /// The first sample, float or histogram.
    pub const MIN_TS: &str = "min_ts";
    /// The last one.
    pub const MAX_TS: &str = "max_ts";
    /// How often a float sample is less than the one before, stale markers left out.
    pub const COUNTER_RESETS: &str = "counter_resets";
    /// First row in the histograms file.
    pub const HISTOGRAM_START: &str = "histogram_start";
    /// Native histograms.
    pub const HISTOGRAM_COUNT: &str = "histogram_count";
    /// The timeline of the histograms, NULL if there are none.
    pub const HISTOGRAM_TIMELINE_ID: &str = "histogram_timeline_id";
    /// First row in the buckets file.
    pub const BUCKET_START: &str = "bucket_start";
    /// Rows of buckets.
    pub const BUCKET_COUNT: &str = "bucket_count";
    /// First row in the exemplars file.
    pub const EXEMPLAR_START: &str = "exemplar_start";
    /// Exemplars.
    pub const EXEMPLAR_COUNT: &str = "exemplar_count";

    /// Row in the timelines file.
    pub const TS_ROW: &str = "ts_row";
    /// When a sample was taken.
    pub const TIMESTAMP: &str = "timestamp";
    /// `value * divisor`, an integer below 2^53 in magnitude.
    pub const MANTISSA: &str = "mantissa";
    /// A value that has no exact mantissa.
    pub const RAW: &str = "raw";
    /// Since when the value is counted, NULL if that is not known.
    pub const START_TS: &str = "start_ts";

    /// Resolution of the histogram.
    pub const SCHEMA: &str = "schema";
    /// Width of the zero bucket.
    pub const ZERO_THRESHOLD: &str = "zero_threshold";
    /// Prefix of the three columns of the number of observations.
    pub const COUNT: &str = "count";
    /// Prefix of the three columns of the population of the zero bucket.
    pub const ZERO_COUNT: &str = "zero_count";
    /// Prefix of the three columns of the sum of observations.
    pub const SUM: &str = "sum";
    /// 0 unknown, 1 reset before this sample, 2 no reset, 3 gauge.
    pub const RESET_HINT: &str = "reset_hint";
    /// Listed bounds, NULL if there are none.
    pub const CUSTOM_BOUNDS: &str = "custom_bounds";
    /// How many samples were left out between the one before and this; not there where none were.
    pub const LEFT_OUT: &str = "left_out";
    /// Whether the bucket is of negative observations.
    pub const NEGATIVE: &str = "negative";
    /// Index of the bucket on its side.
    pub const BUCKET: &str = "bucket";

    /// What was observed.
    pub const VALUE: &str = "value";
    /// The exemplar's label `trace_id`, NULL if there is none.
    pub const TRACE_ID: &str = "trace_id";

    /// The column of a label.
    #[must_use]
    pub fn label(name: &str) -> String {
        format!("{LABEL_PREFIX}{name}")
    }

    /// One of the three columns of a number with a name, such as `sum_mantissa`.
    #[must_use]
    pub fn of_number(number: &str, column: &str) -> String {
        format!("{number}_{column}")
    }
}

/// Keys of the key-value metadata of every file. Values are text.
pub mod key {
    /// See [`FORMAT_VERSION`](super::FORMAT_VERSION).
    pub const FORMAT_VERSION: &str = "format_version";
    /// The block's ULID.
    pub const BLOCK_ULID: &str = "block_ulid";
    /// Whose block it is.
    pub const TENANT: &str = "tenant";
    /// First sample of the block, milliseconds since the Unix epoch.
    pub const MIN_TS: &str = "min_ts";
    /// Last one.
    pub const MAX_TS: &str = "max_ts";
    /// Width of a bucket of time, 0 for raw samples.
    pub const RESOLUTION_MS: &str = "resolution_ms";
    /// Series of the block.
    pub const NUM_SERIES: &str = "num_series";
    /// Float samples of the block.
    pub const NUM_SAMPLES: &str = "num_samples";
    /// Compaction level.
    pub const LEVEL: &str = "level";
    /// ULIDs of the blocks it was made from, a JSON array.
    pub const SOURCES: &str = "sources";
    /// Which program wrote it.
    pub const WRITER: &str = "writer";
    /// How a value is computed from its columns, in SQL.
    pub const VALUE_EXPR: &str = "value_expr";
    /// Labels whose series share a timeline.
    pub const GROUP_KEY: &str = "group_key";
    /// Label names without a column, a JSON array of at most 16 of them.
    pub const LABELS_OVERFLOW: &str = "labels_overflow";
}

/// What [`key::VALUE_EXPR`] says.
pub const VALUE_EXPR: &str = "coalesce(mantissa / divisor, raw)";
/// What [`key::GROUP_KEY`] says.
pub const GROUP_KEY: &str = "job,instance";
/// Labels that have a column of their own at most; the others are in the map alone.
pub const LABEL_COLUMNS_MAX: usize = 256;

/// The type of timestamps.
#[must_use]
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("UTC")))
}

/// The type of label sets.
#[must_use]
pub fn label_map() -> DataType {
    let entries = Fields::from(vec![required("key", DataType::Utf8), required("value", DataType::Utf8)]);
    DataType::Map(Arc::new(required("key_value", DataType::Struct(entries))), false)
}

fn required(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

fn nullable(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

/// Columns of the series file; `labels` are the names of those with a column, in its order.
#[must_use]
pub fn series<S: AsRef<str>>(labels: &[S]) -> SchemaRef {
    use column as c;
    let mut fields = vec![
        required(c::SERIES_ID, DataType::UInt32),
        required(c::FINGERPRINT, DataType::UInt64),
        required(c::FINGERPRINT_HIGH, DataType::UInt64),
        nullable(c::METRIC, DataType::Utf8),
        required(c::LABELS, label_map()),
    ];
    fields.extend(labels.iter().map(|name| nullable(&c::label(name.as_ref()), DataType::Utf8)));
    fields.extend([
        required(c::TYPE, DataType::Utf8),
        required(c::ROW_START, DataType::UInt64),
        required(c::ROW_COUNT, DataType::UInt32),
        required(c::RAW_COUNT, DataType::UInt32),
        required(c::STALE_COUNT, DataType::UInt32),
        required(c::HAS_STARTS, DataType::Boolean),
        nullable(c::TIMELINE_ID, DataType::UInt32),
        nullable(c::TS_ROW_FIRST, DataType::UInt32),
        nullable(c::TS_ROW_LAST, DataType::UInt32),
        nullable(c::DIVISOR, DataType::Float64),
        required(c::STEP_MS, DataType::UInt32),
        nullable(c::MIN_TS, timestamp()),
        nullable(c::MAX_TS, timestamp()),
        required(c::COUNTER_RESETS, DataType::UInt32),
        required(c::HISTOGRAM_START, DataType::UInt64),
        required(c::HISTOGRAM_COUNT, DataType::UInt32),
        nullable(c::HISTOGRAM_TIMELINE_ID, DataType::UInt32),
        required(c::BUCKET_START, DataType::UInt64),
        required(c::BUCKET_COUNT, DataType::UInt64),
        required(c::EXEMPLAR_START, DataType::UInt64),
        required(c::EXEMPLAR_COUNT, DataType::UInt32),
    ]);
    Arc::new(Schema::new(fields))
}

/// Columns of the timelines file.
#[must_use]
pub fn timelines() -> SchemaRef {
    Arc::new(Schema::new(vec![
        required(column::TS_ROW, DataType::UInt32),
        required(column::TIMELINE_ID, DataType::UInt32),
        required(column::TIMESTAMP, timestamp()),
    ]))
}

/// Columns of the samples files.
#[must_use]
pub fn samples() -> SchemaRef {
    Arc::new(Schema::new(vec![
        required(column::SERIES_ID, DataType::UInt32),
        required(column::TS_ROW, DataType::UInt32),
        nullable(column::MANTISSA, DataType::Int64),
        required(column::DIVISOR, DataType::Float64),
        nullable(column::RAW, DataType::Float64),
        nullable(column::START_TS, timestamp()),
    ]))
}

/// The three columns of a number with a name.
fn number(name: &str) -> [Field; 3] {
    [
        nullable(&column::of_number(name, column::MANTISSA), DataType::Int64),
        required(&column::of_number(name, column::DIVISOR), DataType::Float64),
        nullable(&column::of_number(name, column::RAW), DataType::Float64),
    ]
}

/// Columns of the histograms file; of one that was thinned, how many were left out is one more.
#[must_use]
pub fn histograms(thinned: bool) -> SchemaRef {
    use column as c;
    let bounds = DataType::List(Arc::new(required("element", DataType::Float64)));
    let mut fields = vec![
        required(c::SERIES_ID, DataType::UInt32),
        required(c::TS_ROW, DataType::UInt32),
        required(c::SCHEMA, DataType::Int8),
        required(c::ZERO_THRESHOLD, DataType::Float64),
    ];
    fields.extend([c::COUNT, c::ZERO_COUNT, c::SUM].into_iter().flat_map(number));
    fields.extend([
        required(c::RESET_HINT, DataType::UInt8),
        nullable(c::CUSTOM_BOUNDS, bounds),
        nullable(c::START_TS, timestamp()),
    ]);
    fields.extend(thinned.then(|| required(c::LEFT_OUT, DataType::UInt32)));
    Arc::new(Schema::new(fields))
}

/// Columns of the buckets file.
#[must_use]
pub fn hist_buckets() -> SchemaRef {
    Arc::new(Schema::new(vec![
        required(column::SERIES_ID, DataType::UInt32),
        required(column::NEGATIVE, DataType::Boolean),
        required(column::BUCKET, DataType::Int32),
        required(column::TS_ROW, DataType::UInt32),
        nullable(column::MANTISSA, DataType::Int64),
        required(column::DIVISOR, DataType::Float64),
        nullable(column::RAW, DataType::Float64),
    ]))
}

/// Columns of the exemplars file.
#[must_use]
pub fn exemplars() -> SchemaRef {
    Arc::new(Schema::new(vec![
        required(column::SERIES_ID, DataType::UInt32),
        required(column::TIMESTAMP, timestamp()),
        required(column::VALUE, DataType::Float64),
        nullable(column::TRACE_ID, DataType::Utf8),
        required(column::LABELS, label_map()),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_files_are_numbered() {
        let names = [0, 1, 12].map(|n| nth_file(SAMPLES_FILE, n));
        assert_eq!(names, ["samples.parquet", "samples-1.parquet", "samples-12.parquet"]);
    }
}
