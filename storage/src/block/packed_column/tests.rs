use super::*;
use crate::block::read::levels::Presence;
use crate::block::schema::{self, column};
use crate::block::table::{Kind, Table};
use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, TimestampMillisecondArray, UInt32Array};
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::PageIndexPolicy;
use proptest::prelude::*;
use std::fs::File;
use std::sync::Arc;

/// Writes mantissas to a samples file in batches and row groups, and reads them with the crate's reader.
fn through_a_file(values: &[Option<i64>], page_bytes: usize, page_rows: usize) -> (Vec<Option<i64>>, usize) {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout { page_bytes, page_rows, ..Layout::of_level(1) };
    let schema = schema::samples();
    let mut table = Table::create(dir.path(), "samples.parquet".into(), &schema, &layout, Kind::Samples).expect("room");
    for group in values.chunks(5_000) {
        for part in group.chunks(700) {
            let count = part.len();
            let columns: Vec<ArrayRef> = vec![
                Arc::new(UInt32Array::from(vec![0; count])),
                Arc::new(UInt32Array::from(vec![0; count])),
                Arc::new(Int64Array::from(part.to_vec())),
                Arc::new(Float64Array::from(vec![1.0; count])),
                Arc::new(Float64Array::from(vec![None; count])),
                Arc::new(TimestampMillisecondArray::from(vec![None; count]).with_timezone("UTC")),
            ];
            table.write(&RecordBatch::try_new(Arc::clone(&schema), columns).expect("columns")).expect("room");
        }
        table.end_row_group().expect("room");
    }
    table.finish(&[]).expect("room");
    let file = File::open(dir.path().join("samples.parquet")).expect("the file");
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).expect("Parquet");
    let at = schema.index_of(column::MANTISSA).expect("the column");
    let offsets = builder.metadata().offset_index().expect("a page index");
    let pages = offsets.iter().filter_map(|group| group.get(at)).map(|index| index.page_locations().len()).sum();
    let mut read = Vec::new();
    for batch in builder.build().expect("a reader") {
        read.extend(batch.expect("rows").column(at).as_primitive::<Int64Type>().iter());
    }
    (read, pages)
}

#[test]
fn a_page_ends_at_its_bytes_or_its_rows() {
    let counter: Vec<Option<i64>> = (0..5_000i64).map(|n| Some(n * 20 + n * 31 % 17)).collect();
    let (read, pages) = through_a_file(&counter, 1_000, 100_000);
    assert!(read == counter && (4..8).contains(&pages), "{pages} pages");
    let constant = vec![Some(3); 5_000];
    assert_eq!(through_a_file(&constant, 1_000, 1_000), (constant, 5));
    let absent = vec![None; 2_500];
    assert_eq!(through_a_file(&absent, 1_000, 1_000), (absent, 3));
}

fn rows() -> impl Strategy<Value = Vec<Option<i64>>> {
    let run = (any::<bool>(), 1usize..40, -9i64..300);
    prop::collection::vec(run, 1..400).prop_map(|runs| {
        let each =
            |(present, count, value): (bool, usize, i64)| (0..count).map(move |n| present.then_some(value * n as i64));
        runs.into_iter().flat_map(each).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_crate_reads_what_is_written(values in rows(), page_bytes in 1usize..2_000, page_rows in 1usize..3_000) {
        prop_assert_eq!(&through_a_file(&values, page_bytes, page_rows).0, &values);
    }

    #[test]
    fn presence_comes_back(runs in prop::collection::vec((any::<bool>(), 1usize..60), 1..60)) {
        let present: Vec<bool> = runs.iter().flat_map(|(present, count)| vec![*present; *count]).collect();
        let mut levels = Vec::new();
        encode_presence(&runs, &mut levels);
        let absent = present.iter().filter(|present| !**present).count();
        let read = Presence::read(&levels, present.len(), absent).expect("levels");
        prop_assert_eq!((0..present.len()).map(|row| read.has(row)).collect::<Vec<_>>(), present);
    }
}
