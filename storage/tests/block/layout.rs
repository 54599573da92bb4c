//! Row groups, pages, encodings, bounds and metadata are what the format says.

use crate::content::{self, Series};
use crate::round_trip::check;
use model::metadata::MetricType;
use parquet::basic::{Compression, Encoding, PageType};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::fs::File;
use std::path::Path;
use storage::block::checksums;
use storage::block::meta::BlockMeta;
use storage::block::schema::{self, column as c, key};
use storage::block::writer::Layout;

const START: i64 = 1_790_000_000_000;

/// Series of two targets: counters, gauges with decimals, ratios, memory, constants; one with stale markers.
fn fleet(series: usize, samples: i64) -> Vec<Series> {
    let mut content: Vec<Series> = (0..series)
        .map(|n| {
            let instance = format!("host-{}", n % 2);
            let metric = format!("metric_{:03}", n / 2);
            let mut series = Series::new(&[("__name__", &metric), ("instance", &instance), ("job", "node")]);
            series.metric_type = MetricType::Counter;
            for t in 0..samples {
                let noise = (t * 7919 + n as i64 * 104_729) % 1009;
                let value = match n / 2 % 5 {
                    0 => (t * 1000 + noise) as f64,
                    1 => noise as f64 / 1000.0,
                    2 => 1.0 / (noise as f64 + 3.0),
                    3 => (noise * 4096) as f64,
                    _ => n as f64,
                };
                series.floats.insert(START + t * 15_000 + (n % 2) as i64, (value.to_bits(), 0));
            }
            series
        })
        .collect();
    content::sort(&mut content);
    content
}

fn open(path: &Path) -> ParquetMetaData {
    let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    reader.try_parse(&File::open(path).unwrap()).unwrap();
    reader.finish().unwrap()
}

fn leaf(metadata: &ParquetMetaData, name: &str) -> usize {
    let columns = metadata.file_metadata().schema_descr().columns();
    columns.iter().position(|column| column.path().string() == name).unwrap()
}

fn written(content: &[Series], layout: Layout) -> (tempfile::TempDir, BlockMeta) {
    let dir = tempfile::tempdir().unwrap();
    let meta = check(dir.path(), content, layout, usize::MAX);
    (dir, meta)
}

/// Rows and bytes of values before compression of each data page of a column of the first row group.
fn pages(path: &Path, column: usize) -> Vec<(usize, usize)> {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let pages = reader.get_row_group(0).unwrap().get_column_page_reader(column).unwrap();
    let data = pages.map(Result::unwrap).filter(|page| page.page_type() != PageType::DICTIONARY_PAGE);
    data.map(|page| {
        assert_eq!(page.page_type(), PageType::DATA_PAGE_V2);
        (page.num_values() as usize, page.buffer().len())
    })
    .collect()
}

#[test]
fn pages_end_at_16_kib_of_values_or_131072_rows() {
    let (dir, meta) = written(&fleet(60, 4_000), Layout::of_level(1));
    let path = dir.path().join(schema::SAMPLES_FILE);
    let metadata = open(&path);
    assert_eq!((metadata.num_row_groups(), meta.samples), (1, 240_000));
    // One batch of values may come on top of the limit, levels are not counted, and mantissas are weighed before they are packed.
    for name in [c::MANTISSA, c::RAW] {
        let pages = pages(&path, leaf(&metadata, name));
        let largest = pages.iter().map(|(_, bytes)| *bytes).max().unwrap();
        assert!(pages.len() > 8 && largest < (16 + 10) << 10, "{name}: {} pages up to {largest} bytes", pages.len());
        let full = pages.iter().filter(|(rows, bytes)| *bytes >= 16_000 || *rows >= 128 << 10).count();
        assert!(full >= pages.len() - 1, "{name}: {full} full pages of {}", pages.len());
    }
    for name in [c::SERIES_ID, c::TS_ROW, c::DIVISOR, c::START_TS] {
        let rows: Vec<usize> = pages(&path, leaf(&metadata, name)).iter().map(|(rows, _)| *rows).collect();
        assert_eq!(rows, [128 << 10, 240_000 - (128 << 10)], "{name}");
    }
}

#[test]
fn row_groups_and_files_end_between_series() {
    let (dir, meta) = written(&fleet(40, 90), content::small());
    let files: Vec<_> = meta.files_of(schema::SAMPLES_FILE).collect();
    assert!(files.len() > 2, "{} files", files.len());
    for file in &files {
        let metadata = open(&dir.path().join(&file.name));
        assert_eq!(metadata.file_metadata().num_rows() as u64, file.rows);
        let rows: Vec<i64> = metadata.row_groups().iter().map(|group| group.num_rows()).collect();
        assert!(rows.iter().all(|rows| *rows <= 500 && rows % 90 == 0), "{rows:?}");
    }
    assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), meta.samples);
}

#[test]
fn a_series_longer_than_a_row_group_has_one_of_its_own() {
    let (dir, _) = written(&fleet(3, 1_100), content::small());
    let metadata = open(&dir.path().join(schema::SAMPLES_FILE));
    assert!(metadata.row_groups().iter().all(|group| group.num_rows() == 1_100));
}

#[test]
fn encodings_are_those_that_every_reader_has() {
    let (dir, _) = written(&fleet(20, 2_000), Layout::of_level(1));
    let metadata = open(&dir.path().join(schema::SAMPLES_FILE));
    let expected = [
        (c::SERIES_ID, Encoding::DELTA_BINARY_PACKED),
        (c::TS_ROW, Encoding::DELTA_BINARY_PACKED),
        (c::MANTISSA, Encoding::DELTA_BINARY_PACKED),
        (c::DIVISOR, Encoding::RLE_DICTIONARY),
        (c::RAW, Encoding::BYTE_STREAM_SPLIT),
        (c::START_TS, Encoding::DELTA_BINARY_PACKED),
    ];
    for (name, encoding) in expected {
        let column = metadata.row_group(0).column(leaf(&metadata, name));
        let encodings: Vec<_> = column.encodings().filter(|e| !matches!(e, Encoding::RLE | Encoding::PLAIN)).collect();
        assert_eq!(encodings, [encoding], "{name}");
        assert!(matches!(column.compression(), Compression::ZSTD(level) if level.compression_level() >= 1), "{name}");
    }
    let sorted: Vec<_> = metadata.row_group(0).sorting_columns().unwrap().iter().map(|by| by.column_idx).collect();
    assert_eq!(sorted, [0, 1]);
}

#[test]
fn bounds_are_kept_where_rows_are_searched() {
    let (dir, _) = written(&fleet(20, 2_000), Layout::of_level(1));
    let metadata = open(&dir.path().join(schema::SAMPLES_FILE));
    let group = metadata.row_group(0);
    let bounds = |name: &str| group.column(leaf(&metadata, name)).statistics().is_some();
    let index = metadata.column_index().unwrap();
    let of_pages = |name: &str| {
        !matches!(index[0][leaf(&metadata, name)], parquet::file::page_index::column_index::ColumnIndexMetaData::NONE)
    };
    for name in [c::SERIES_ID, c::TS_ROW] {
        assert!(bounds(name) && of_pages(name), "{name}");
    }
    for name in [c::MANTISSA, c::RAW] {
        assert!(bounds(name) && !of_pages(name), "{name}");
    }
    assert!(!bounds(c::DIVISOR) && !of_pages(c::DIVISOR));
    let raw = group.column(leaf(&metadata, c::RAW)).statistics().unwrap();
    assert_eq!(raw.null_count_opt(), Some(32_000));
}

#[test]
fn every_file_names_its_block_and_the_sizes_are_exact() {
    let (dir, meta) = written(&fleet(20, 90), content::small());
    let sums = checksums::parse(&std::fs::read(dir.path().join(schema::CHECKSUMS_FILE)).unwrap()).unwrap();
    let tables: Vec<_> = meta.files.iter().filter(|file| file.name.ends_with(".parquet")).collect();
    assert_eq!(sums.len(), tables.len());
    for (file, sums) in tables.iter().zip(sums) {
        let bytes = std::fs::read(dir.path().join(&file.name)).unwrap();
        assert_eq!((file.bytes, file.crc32), (bytes.len() as u64, crc32fast::hash(&bytes)));
        assert_eq!(file.name, sums.name);
        sums.check(0, &bytes).unwrap();
        // The footer begins exactly behind the last page.
        let metadata = open(&dir.path().join(&file.name));
        let end = |column: &parquet::file::metadata::ColumnChunkMetaData| column.byte_range().0 + column.byte_range().1;
        let data = metadata.row_groups().iter().flat_map(|group| group.columns()).map(end).max();
        assert_eq!(file.bytes - file.footer_bytes, data.unwrap(), "{}", file.name);
        let pairs = metadata.file_metadata().key_value_metadata().unwrap();
        let get = |key: &str| pairs.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone());
        let expected = [
            (key::FORMAT_VERSION, "1"),
            (key::BLOCK_ULID, &meta.ulid),
            (key::TENANT, "anonymous"),
            (key::MIN_TS, &meta.min_ms.to_string()),
            (key::MAX_TS, &meta.max_ms.to_string()),
            (key::RESOLUTION_MS, "0"),
            (key::NUM_SERIES, "20"),
            (key::NUM_SAMPLES, "1800"),
            (key::LEVEL, "0"),
            (key::VALUE_EXPR, "coalesce(mantissa / divisor, raw)"),
            (key::GROUP_KEY, "job,instance"),
            (key::LABELS_OVERFLOW, "[]"),
        ];
        for (name, value) in expected {
            assert_eq!(get(name).as_deref(), Some(value), "{name} of {}", file.name);
        }
        assert!(get(key::SOURCES).unwrap().starts_with("[\"0000000001"));
    }
}
