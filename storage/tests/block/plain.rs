//! Reads a block by what `docs/formats/block.md` says, with the plain readers of Parquet and Arrow.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    Float64Type, Int8Type, Int32Type, Int64Type, TimestampMillisecondType, UInt8Type, UInt32Type, UInt64Type,
};
use model::sample::STALE_MARKER_BITS;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use storage::block::meta::BlockMeta;
use storage::block::schema;

/// Labels as text, and what belongs to them.
pub(crate) type Rows<T> = BTreeMap<Vec<(String, String)>, T>;
/// Time, bits, start.
pub(crate) type Sample = (i64, u64, i64);

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlainHistogram {
    pub(crate) at: i64,
    pub(crate) start: i64,
    pub(crate) schema: i8,
    /// Bits of zero threshold, count, zero count, sum.
    pub(crate) totals: [u64; 4],
    pub(crate) hint: u8,
    pub(crate) bounds: Vec<u64>,
    /// Bits of the populations by side and index.
    pub(crate) buckets: BTreeMap<(bool, i32), u64>,
}

/// All rows of a kind of file.
pub(crate) fn read(dir: &Path, meta: &BlockMeta, kind: &str) -> Vec<RecordBatch> {
    let open = |name: &str| {
        let file = File::open(dir.join(name)).unwrap();
        ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_batch_size(777).build().unwrap()
    };
    meta.files_of(kind).flat_map(|file| open(&file.name)).map(Result::unwrap).collect()
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    batch.column_by_name(name).unwrap_or_else(|| panic!("column {name}"))
}

pub(crate) fn u32s<'a>(batch: &'a RecordBatch, name: &str) -> &'a [u32] {
    column(batch, name).as_primitive::<UInt32Type>().values()
}

fn times(batch: &RecordBatch, name: &str) -> Vec<i64> {
    let array = column(batch, name).as_primitive::<TimestampMillisecondType>();
    array.iter().map(Option::unwrap_or_default).collect()
}

/// `coalesce(mantissa / divisor, raw)`, NULL being the stale marker; as bits.
fn numbers(batch: &RecordBatch, prefix: &str) -> Vec<u64> {
    let name = |column: &str| format!("{prefix}{column}");
    let mantissa = column(batch, &name(schema::column::MANTISSA)).as_primitive::<Int64Type>();
    let divisor = column(batch, &name(schema::column::DIVISOR)).as_primitive::<Float64Type>();
    let raw = column(batch, &name(schema::column::RAW)).as_primitive::<Float64Type>();
    let value = |at: usize| match (mantissa.is_valid(at), raw.is_valid(at)) {
        (true, false) => (mantissa.value(at) as f64 / divisor.value(at)).to_bits(),
        (false, true) => raw.value(at).to_bits(),
        (false, false) => STALE_MARKER_BITS,
        (true, true) => panic!("row {at} has a mantissa and a raw value"),
    };
    (0..batch.num_rows()).map(value).collect()
}

pub(crate) fn label_sets(batch: &RecordBatch) -> Vec<Vec<(String, String)>> {
    let maps = column(batch, schema::column::LABELS).as_map();
    (0..batch.num_rows())
        .map(|at| {
            let entries = maps.value(at);
            let text = |column: usize, row: usize| entries.column(column).as_string::<i32>().value(row).to_owned();
            (0..entries.len()).map(|row| (text(0, row), text(1, row))).collect()
        })
        .collect()
}

/// Labels of each series by number, with its row of the series file as single values.
pub(crate) fn series(dir: &Path, meta: &BlockMeta) -> Vec<(Vec<(String, String)>, RecordBatch)> {
    let batches = read(dir, meta, schema::SERIES_FILE);
    let rows = |batch: &RecordBatch| {
        let sets = label_sets(batch).into_iter().enumerate();
        sets.map(|(at, set)| (set, batch.slice(at, 1))).collect::<Vec<_>>()
    };
    let all: Vec<_> = batches.iter().flat_map(rows).collect();
    let ids: Vec<u32> = batches.iter().flat_map(|batch| u32s(batch, schema::column::SERIES_ID).to_vec()).collect();
    assert_eq!(ids, (0..all.len() as u32).collect::<Vec<_>>());
    all
}

fn timeline_rows(dir: &Path, meta: &BlockMeta) -> Vec<i64> {
    let batches = read(dir, meta, schema::TIMELINES_FILE);
    let rows: Vec<u32> = batches.iter().flat_map(|batch| u32s(batch, schema::column::TS_ROW).to_vec()).collect();
    assert_eq!(rows, (0..rows.len() as u32).collect::<Vec<_>>());
    batches.iter().flat_map(|batch| times(batch, schema::column::TIMESTAMP)).collect()
}

pub(crate) fn floats(dir: &Path, meta: &BlockMeta) -> Rows<Vec<Sample>> {
    let (series, timeline) = (series(dir, meta), timeline_rows(dir, meta));
    let mut found: Rows<Vec<Sample>> = BTreeMap::new();
    let mut before = None;
    for batch in read(dir, meta, schema::SAMPLES_FILE) {
        let ids = u32s(&batch, schema::column::SERIES_ID);
        let rows = u32s(&batch, schema::column::TS_ROW);
        let values = numbers(&batch, "");
        let starts = times(&batch, schema::column::START_TS);
        for (at, (id, row)) in ids.iter().zip(rows).enumerate() {
            assert!(before < Some((*id, *row)), "rows ascend");
            before = Some((*id, *row));
            let sample = (timeline[*row as usize], values[at], starts[at]);
            found.entry(series[*id as usize].0.clone()).or_default().push(sample);
        }
    }
    found
}

pub(crate) fn histograms(dir: &Path, meta: &BlockMeta) -> Rows<Vec<PlainHistogram>> {
    let (series, timeline) = (series(dir, meta), timeline_rows(dir, meta));
    let mut found: BTreeMap<(u32, u32), PlainHistogram> = BTreeMap::new();
    for batch in read(dir, meta, schema::HISTOGRAMS_FILE) {
        let ids = u32s(&batch, schema::column::SERIES_ID);
        let rows = u32s(&batch, schema::column::TS_ROW);
        let [count, zero_count, sum] = ["count_", "zero_count_", "sum_"].map(|prefix| numbers(&batch, prefix));
        let zero_threshold = column(&batch, schema::column::ZERO_THRESHOLD).as_primitive::<Float64Type>();
        let schemas = column(&batch, schema::column::SCHEMA).as_primitive::<Int8Type>();
        let hints = column(&batch, schema::column::RESET_HINT).as_primitive::<UInt8Type>();
        let bounds = column(&batch, schema::column::CUSTOM_BOUNDS).as_list::<i32>();
        let starts = times(&batch, schema::column::START_TS);
        for at in 0..batch.num_rows() {
            let bounds = bounds.is_valid(at).then(|| bounds.value(at));
            let bits =
                |array: ArrayRef| array.as_primitive::<Float64Type>().values().iter().map(|b| b.to_bits()).collect();
            let histogram = PlainHistogram {
                at: timeline[rows[at] as usize],
                start: starts[at],
                schema: schemas.value(at),
                totals: [zero_threshold.value(at).to_bits(), count[at], zero_count[at], sum[at]],
                hint: hints.value(at),
                bounds: bounds.map(bits).unwrap_or_default(),
                buckets: BTreeMap::new(),
            };
            assert!(found.insert((ids[at], rows[at]), histogram).is_none());
        }
    }
    for batch in read(dir, meta, schema::HIST_BUCKETS_FILE) {
        let ids = u32s(&batch, schema::column::SERIES_ID);
        let rows = u32s(&batch, schema::column::TS_ROW);
        let negative = column(&batch, schema::column::NEGATIVE).as_boolean();
        let buckets = column(&batch, schema::column::BUCKET).as_primitive::<Int32Type>();
        for (at, bits) in numbers(&batch, "").into_iter().enumerate() {
            let histogram = found.get_mut(&(ids[at], rows[at])).expect("a histogram for each bucket");
            histogram.buckets.insert((negative.value(at), buckets.value(at)), bits);
        }
    }
    let mut by_labels: Rows<Vec<PlainHistogram>> = BTreeMap::new();
    for ((id, _), histogram) in found {
        by_labels.entry(series[id as usize].0.clone()).or_default().push(histogram);
    }
    by_labels
}

/// Time, bits, `trace_id`, labels.
pub(crate) type PlainExemplar = (i64, u64, Option<String>, Vec<(String, String)>);

pub(crate) fn exemplars(dir: &Path, meta: &BlockMeta) -> Rows<Vec<PlainExemplar>> {
    let series = series(dir, meta);
    let mut found: Rows<Vec<_>> = BTreeMap::new();
    for batch in read(dir, meta, schema::EXEMPLARS_FILE) {
        let values = column(&batch, schema::column::VALUE).as_primitive::<Float64Type>();
        let traces = column(&batch, schema::column::TRACE_ID).as_string::<i32>();
        let (at_ms, labels) = (times(&batch, schema::column::TIMESTAMP), label_sets(&batch));
        for (at, id) in u32s(&batch, schema::column::SERIES_ID).iter().enumerate() {
            let trace = traces.is_valid(at).then(|| traces.value(at).to_owned());
            let exemplar = (at_ms[at], values.value(at).to_bits(), trace, labels[at].clone());
            found.entry(series[*id as usize].0.clone()).or_default().push(exemplar);
        }
    }
    found
}

/// A number of the series file.
pub(crate) fn number(row: &RecordBatch, name: &str) -> Option<u64> {
    let array = column(row, name);
    if array.is_null(0) {
        return None;
    }
    Some(match array.data_type() {
        arrow::datatypes::DataType::UInt32 => array.as_primitive::<UInt32Type>().value(0).into(),
        arrow::datatypes::DataType::Float64 => array.as_primitive::<Float64Type>().value(0).to_bits(),
        arrow::datatypes::DataType::Boolean => array.as_boolean().value(0).into(),
        arrow::datatypes::DataType::Timestamp(..) => array.as_primitive::<TimestampMillisecondType>().value(0) as u64,
        _ => array.as_primitive::<UInt64Type>().value(0),
    })
}

/// A text of the series file.
pub(crate) fn text(row: &RecordBatch, name: &str) -> Option<String> {
    let array = column(row, name).as_string::<i32>();
    array.is_valid(0).then(|| array.value(0).to_owned())
}
