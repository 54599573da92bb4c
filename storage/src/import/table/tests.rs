//! Files whose pages or footers are not what a reader may believe.

use super::*;
use crate::import::Source;
use arrow::array::{BinaryArray, Float64Array, Int32Array, Int32DictionaryArray, Int64Array};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{ColumnChunkMetaDataBuilder, ParquetMetaDataReader, ParquetMetaDataWriter};
use parquet::file::properties::WriterProperties;
use std::fs;
use std::sync::Arc;

/// A file of 2,000 samples of two series: one with a label of so many bytes, beside a column that is nobody's business.
fn file_with_a_long_label(path: &Path, bytes: usize, has_dictionary: bool) {
    let long = "x".repeat(bytes);
    let rows = 2_000;
    let keys = Int32Array::from_iter_values((0..rows as i32).map(|row| row % 2));
    let texts = StringArray::from_iter_values([long.as_str(), "short"]);
    let mut job: ArrayRef = Arc::new(Int32DictionaryArray::new(keys, Arc::new(texts)));
    if !has_dictionary {
        job = arrow::compute::cast(&job, &arrow::datatypes::DataType::Utf8).unwrap();
    }
    let blob = BinaryArray::from_iter_values((0..rows).map(|row| vec![1u8; if row == 7 { 32 << 20 } else { 1 }]));
    let columns: [(&str, ArrayRef); 5] = [
        ("timestamp", Arc::new(Int64Array::from_iter_values((0..rows).map(|row| 1_000_000 + row * 1_000)))),
        ("value", Arc::new(Float64Array::from_iter_values((0..rows).map(|row| row as f64)))),
        ("metric", Arc::new(StringArray::from_iter_values((0..rows).map(|_| "m")))),
        ("job", job),
        ("blob", Arc::new(blob)),
    ];
    let batch = arrow::array::RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(has_dictionary)
        .set_dictionary_page_size_limit(64 << 20)
        .set_compression(parquet::basic::Compression::ZSTD(parquet::basic::ZstdLevel::default()))
        .build();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn a_file_with_pages_that_do_not_fit_is_refused_by_the_name_of_the_column() {
    let data = tempfile::tempdir().unwrap();
    for (has_dictionary, bytes) in [(true, 4 << 20), (false, 60 << 10)] {
        let path = data.path().join(format!("{has_dictionary}.parquet"));
        file_with_a_long_label(&path, bytes, has_dictionary);
        let read = |room: u64| open(std::slice::from_ref(&path), data.path(), &Room::new(room), &());
        let Err(error) = read(16 << 20) else { panic!("16 MiB are not enough") };
        let text = error.to_string();
        assert!(matches!(error, ImportError::PageTooLarge { .. }), "{text}");
        assert!(text.contains("column `job`") && text.contains(path.to_str().unwrap()), "{text}");
        let source = read(1 << 30).unwrap();
        let (mut series, mut samples) = (0, 0);
        for day in source.days() {
            source
                .visit(day, &mut |found| {
                    series += 1;
                    samples += found.floats.len();
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!((series, samples), (2, 2_000));
    }
}

#[test]
fn a_damaged_header_of_a_page_is_found_before_anything_is_decoded() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("a.parquet");
    file_with_a_long_label(&path, 10, true);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4..40].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let Err(error) = open(std::slice::from_ref(&path), data.path(), &Room::new(1 << 30), &()) else {
        panic!("it is damaged")
    };
    assert!(matches!(error, ImportError::Damaged { offset: 4, .. }), "{error}");
}

/// Writes the footer of a file anew, with another first column chunk.
fn change_first_chunk(path: &Path, change: impl FnOnce(ColumnChunkMetaDataBuilder) -> ColumnChunkMetaDataBuilder) {
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&File::open(path).unwrap()).unwrap();
    let mut bytes = fs::read(path).unwrap();
    let tail = bytes.split_off(bytes.len() - 8);
    let footer = u32::from_le_bytes(*tail.first_chunk().unwrap());
    bytes.truncate(bytes.len() - footer as usize);
    let mut groups = metadata.row_groups().to_vec();
    let mut chunks = groups[0].columns().to_vec();
    chunks[0] = change(chunks[0].clone().into_builder()).build().unwrap();
    groups[0] = groups[0].clone().into_builder().set_column_metadata(chunks).build().unwrap();
    let metadata = metadata.into_builder().set_row_groups(groups).build();
    ParquetMetaDataWriter::new(&mut bytes, &metadata).finish().unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_column_that_lies_where_no_bytes_are_is_damage() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("a.parquet");
    let read = |change: &dyn Fn(ColumnChunkMetaDataBuilder) -> ColumnChunkMetaDataBuilder| {
        file_with_a_long_label(&path, 10, true);
        change_first_chunk(&path, change);
        open(std::slice::from_ref(&path), data.path(), &Room::new(1 << 30), &()).err()
    };
    assert!(read(&|chunk| chunk).is_none());
    let changes: [&dyn Fn(ColumnChunkMetaDataBuilder) -> ColumnChunkMetaDataBuilder; 5] = [
        &|chunk| chunk.set_total_compressed_size(-1),
        &|chunk| chunk.set_dictionary_page_offset(Some(-1)),
        &|chunk| chunk.set_dictionary_page_offset(None).set_data_page_offset(i64::MIN),
        &|chunk| chunk.set_total_compressed_size(1 << 40),
        &|chunk| chunk.set_dictionary_page_offset(Some(i64::MAX)).set_total_compressed_size(i64::MAX / 2),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let error = read(change).unwrap();
        assert!(matches!(error, ImportError::Damaged { .. }), "change {number}: {error:?}");
        assert!(error.to_string().contains("column `timestamp`"), "{error}");
    }
}
