//! Pages written by the parquet crate, read by our kernels. What was written is what its own reader returns too.

use crate::block::read::column::{Ids, Numbers, dictionary_numbers, text_ids};
use crate::block::read::delta::{APART, DeltaCursor, Landmarks};
use crate::block::read::layout::{ColumnLayout, Layout};
use crate::block::read::levels::Presence;
use crate::block::read::page::{DataPage, read_data_page, read_dictionary_page};
use crate::block::read::text::Dictionary;
use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{Float64Type, Int64Type, UInt32Type, UInt64Type};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, Type, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use proptest::prelude::*;
use std::sync::Arc;

/// A table of all kinds of columns that blocks have.
#[derive(Debug, Clone)]
struct Table {
    packed: Vec<Option<i64>>,
    small: Vec<Option<u32>>,
    /// Long runs of equal numbers, and few different ones in turn.
    few: Vec<Option<u32>>,
    plain: Vec<u64>,
    raw: Vec<Option<f64>>,
    texts: Vec<Option<String>>,
    long_texts: Vec<Option<String>>,
    flags: Vec<bool>,
}

fn file(table: &Table, page_rows: usize, group_rows: usize) -> Bytes {
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("packed", Arc::new(Int64Array::from(table.packed.clone())), true),
        ("small", Arc::new(UInt32Array::from(table.small.clone())), true),
        ("few", Arc::new(UInt32Array::from(table.few.clone())), true),
        ("plain", Arc::new(UInt64Array::from(table.plain.clone())), false),
        ("raw", Arc::new(Float64Array::from(table.raw.clone())), true),
        ("texts", Arc::new(StringArray::from(table.texts.clone())), true),
        ("long_texts", Arc::new(StringArray::from(table.long_texts.clone())), true),
        ("flags", Arc::new(BooleanArray::from(table.flags.clone())), false),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let plain = |builder: parquet::file::properties::WriterPropertiesBuilder, name: &str, encoding| {
        builder.set_column_dictionary_enabled(name.into(), false).set_column_encoding(name.into(), encoding)
    };
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
        .set_data_page_row_count_limit(page_rows)
        .set_write_batch_size(page_rows.min(64))
        .set_max_row_group_row_count(Some(group_rows));
    properties = plain(properties, "packed", Encoding::DELTA_BINARY_PACKED);
    properties = plain(properties, "small", Encoding::DELTA_BINARY_PACKED);
    properties = plain(properties, "plain", Encoding::PLAIN);
    properties = plain(properties, "raw", Encoding::BYTE_STREAM_SPLIT);
    properties = plain(properties, "long_texts", Encoding::DELTA_BYTE_ARRAY);
    properties = plain(properties, "flags", Encoding::PLAIN);
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap().into()
}

fn layout(file: &Bytes) -> Layout {
    Layout::read(&"test".into(), file.len() as u64, file, None).unwrap()
}

fn pages<'a>(file: &'a Bytes, column: &'a ColumnLayout) -> impl Iterator<Item = (DataPage, usize)> + 'a {
    column.pages.iter().map(|place| {
        let bytes = &file[place.offset as usize..][..place.bytes as usize];
        (read_data_page(bytes, column.compression, Vec::new()).unwrap(), place.group as usize)
    })
}

fn dictionary(file: &Bytes, column: &ColumnLayout, group: usize) -> Option<Dictionary> {
    let range = column.groups[group].dictionary.clone();
    let page = (!range.is_empty())
        .then(|| read_dictionary_page(&file[range.start as usize..range.end as usize], column.compression).unwrap());
    page.map(|page| Dictionary::read(&page).unwrap())
}

fn read_numbers(file: &Bytes, layout: &Layout, name: &str) -> Vec<Option<u64>> {
    let column = layout.column(name).unwrap();
    let mut found = Vec::new();
    for (page, group) in pages(file, column) {
        let range = column.groups[group].dictionary.clone();
        let dictionary = (!range.is_empty()).then(|| {
            let stored = &file[range.start as usize..range.end as usize];
            let page = read_dictionary_page(stored, column.compression).unwrap();
            Arc::new(dictionary_numbers(&page, column.kind).unwrap())
        });
        let numbers = Numbers::read(&page, dictionary.as_ref(), column.kind).unwrap();
        let first = found.len();
        found.extend((0..numbers.rows()).map(|row| numbers.get(row)));
        for rows in [0..page.rows, page.rows / 3..page.rows / 2, page.rows / 2..page.rows] {
            let mut part = Vec::new();
            numbers.for_each(rows.clone(), |number| part.push(number));
            assert_eq!(part, found[first + rows.start..first + rows.end]);
        }
    }
    found
}

fn read_texts(file: &Bytes, layout: &Layout, name: &str) -> Vec<Option<String>> {
    let column = layout.column(name).unwrap();
    let mut found = Vec::new();
    for (page, group) in pages(file, column) {
        let shared = dictionary(file, column, group);
        let (ids, own) = text_ids(&page, shared.as_ref()).unwrap();
        let known = own.as_ref().or(shared.as_ref());
        let text = |row| match ids.get(row) {
            u32::MAX => None,
            id => Some(known.unwrap().get(id).to_owned()),
        };
        found.extend((0..page.rows).map(text));
    }
    found
}

fn any_table() -> impl Strategy<Value = Table> {
    // Runs of one kind of number, so that packed blocks of all widths come up.
    let run = (any::<i64>(), 0u32..64, prop::bool::weighted(0.2), 1usize..120, any::<u64>());
    prop::collection::vec(run, 1..8).prop_map(|runs| {
        let mut table = Table {
            packed: Vec::new(),
            small: Vec::new(),
            few: Vec::new(),
            plain: Vec::new(),
            raw: Vec::new(),
            texts: Vec::new(),
            long_texts: Vec::new(),
            flags: Vec::new(),
        };
        for (base, bits, gaps, count, seed) in runs {
            let mut state = seed;
            for _ in 0..count {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let noise = (state >> 8) & ((1u64 << bits) - 1);
                let here = !gaps || state >> 62 > 1;
                table.packed.push(here.then_some(base.wrapping_add(noise as i64)));
                table.small.push(here.then_some(noise as u32));
                let few = if bits % 2 == 0 { base.unsigned_abs() % 7 } else { noise % 5 };
                table.few.push(here.then_some(few as u32));
                table.plain.push(state);
                table.raw.push((!here).then_some(f64::from_bits(state)));
                table.texts.push(here.then(|| format!("text-{}", noise % 300)));
                table.long_texts.push(here.then(|| format!("common prefix {noise}")));
                table.flags.push(state >> 63 == 1);
            }
        }
        table
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn columns_are_read_as_written(table in any_table(), page_rows in 1usize..200, group_rows in 50usize..400) {
        let file = file(&table, page_rows, group_rows);
        let layout = layout(&file);
        let wide = |column: &[Option<u32>]| column.iter().map(|n| n.map(u64::from)).collect::<Vec<_>>();
        let bits = |n: &Option<i64>| n.map(|n| n as u64);
        prop_assert_eq!(read_numbers(&file, &layout, "packed"), table.packed.iter().map(bits).collect::<Vec<_>>());
        prop_assert_eq!(read_numbers(&file, &layout, "small"), wide(&table.small));
        prop_assert_eq!(read_numbers(&file, &layout, "few"), wide(&table.few));
        prop_assert_eq!(read_numbers(&file, &layout, "plain"), table.plain.iter().map(|n| Some(*n)).collect::<Vec<_>>());
        let raw: Vec<_> = table.raw.iter().map(|n| n.map(f64::to_bits)).collect();
        prop_assert_eq!(read_numbers(&file, &layout, "raw"), raw);
        prop_assert_eq!(read_texts(&file, &layout, "texts"), table.texts.clone());
        prop_assert_eq!(read_texts(&file, &layout, "long_texts"), table.long_texts.clone());
        let flags: Vec<_> = table.flags.iter().map(|flag| Some(u64::from(*flag))).collect();
        prop_assert_eq!(read_numbers(&file, &layout, "flags"), flags);
    }

    /// The twin: the parquet crate's own reader.
    #[test]
    fn the_crate_reads_the_same(table in any_table(), page_rows in 1usize..200) {
        let file = file(&table, page_rows, 10_000);
        let layout = layout(&file);
        let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap().with_batch_size(1 << 20).build();
        let batch = reader.unwrap().next().unwrap().unwrap();
        let packed = batch.column(0).as_primitive::<Int64Type>();
        let theirs: Vec<_> = packed.iter().map(|n| n.map(|n| n as u64)).collect();
        prop_assert_eq!(read_numbers(&file, &layout, "packed"), theirs);
        let theirs: Vec<_> = batch.column(1).as_primitive::<UInt32Type>().iter().map(|n| n.map(u64::from)).collect();
        prop_assert_eq!(read_numbers(&file, &layout, "small"), theirs);
        let theirs: Vec<_> = batch.column(2).as_primitive::<UInt32Type>().iter().map(|n| n.map(u64::from)).collect();
        prop_assert_eq!(read_numbers(&file, &layout, "few"), theirs);
        let theirs: Vec<_> = batch.column(3).as_primitive::<UInt64Type>().iter().collect();
        prop_assert_eq!(read_numbers(&file, &layout, "plain"), theirs);
        let theirs: Vec<_> = batch.column(4).as_primitive::<Float64Type>().iter().map(|n| n.map(f64::to_bits)).collect();
        prop_assert_eq!(read_numbers(&file, &layout, "raw"), theirs);
        let theirs: Vec<_> = batch.column(5).as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect();
        prop_assert_eq!(read_texts(&file, &layout, "texts"), theirs);
    }

    /// Forward in steps of any size, the integers are those of one step.
    #[test]
    fn integers_are_read_in_steps(table in any_table(), steps in prop::collection::vec((0usize..90, 0usize..90), 1..40)) {
        let file = file(&table, 10_000, 10_000);
        let layout = layout(&file);
        let column = layout.column("packed").unwrap();
        let (page, _) = pages(&file, column).next().unwrap();
        let expected: Vec<i64> = table.packed.iter().flatten().copied().collect();
        if expected.is_empty() {
            return Ok(());
        }
        let mut cursor = DeltaCursor::new(&page.values).unwrap();
        prop_assert_eq!(cursor.count(), expected.len());
        for (skipped, taken) in steps {
            let left = expected.len() - cursor.position();
            cursor.skip(&page.values, skipped.min(left)).unwrap();
            let from = cursor.position();
            let taken = taken.min(expected.len() - from);
            let mut found = vec![0; taken];
            cursor.fill(&page.values, &mut found, |number| number).unwrap();
            prop_assert_eq!(&found[..], &expected[from..from + taken]);
        }
        let too_many = expected.len() - cursor.position() + 1;
        prop_assert!(cursor.skip(&page.values, too_many).is_err());
    }

    /// From landmarks, forward and back, the integers are those of one step.
    #[test]
    fn integers_are_read_from_landmarks(numbers in prop::collection::vec(any::<i64>(), 1..3_000), reads in prop::collection::vec((any::<usize>(), 0usize..700), 1..20)) {
        let rows = numbers.len();
        let table = Table {
            packed: numbers.iter().copied().map(Some).collect(),
            small: vec![None; rows],
            few: vec![None; rows],
            plain: vec![0; rows],
            raw: vec![None; rows],
            texts: vec![None; rows],
            long_texts: vec![None; rows],
            flags: vec![false; rows],
        };
        let file = file(&table, 10_000, 10_000);
        let layout = layout(&file);
        let (page, _) = pages(&file, layout.column("packed").unwrap()).next().unwrap();
        let landmarks = Landmarks::of(&page.values).unwrap();
        prop_assert_eq!(landmarks.bytes() == 0, numbers.len() <= APART + 1);
        let mut cursor = DeltaCursor::new(&page.values).unwrap();
        for (from, count) in reads {
            let from = from % numbers.len();
            cursor.approach(&page.values, &landmarks, from).unwrap();
            if cursor.position() > from {
                prop_assert!(from <= APART, "no landmark before {}", from);
                cursor = DeltaCursor::new(&page.values).unwrap();
            }
            prop_assert!(from - cursor.position() <= APART.max(count), "{} is far from {}", cursor.position(), from);
            cursor.skip(&page.values, from - cursor.position()).unwrap();
            let mut found = vec![0; count.min(numbers.len() - from)];
            cursor.fill(&page.values, &mut found, |number| number).unwrap();
            prop_assert_eq!(&found[..], &numbers[from..from + found.len()]);
        }
    }

    /// Whatever the bytes are: an answer or an error.
    #[test]
    fn damaged_pages_are_refused(table in any_table(), flips in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6)) {
        let file = file(&table, 64, 200);
        let layout = layout(&file);
        for name in ["packed", "small", "plain", "raw", "texts", "long_texts", "flags"] {
            let column = layout.column(name).unwrap();
            for place in &column.pages {
                let mut bytes = file[place.offset as usize..][..place.bytes as usize].to_vec();
                for (at, byte) in &flips {
                    let at = at % bytes.len();
                    bytes[at] = *byte;
                }
                let Ok(page) = read_data_page(&bytes, column.compression, Vec::new()) else { continue };
                check_any(page, &dictionary(&file, column, place.group as usize));
            }
        }
    }

    #[test]
    fn any_values_are_read_or_refused(values in prop::collection::vec(any::<u8>(), 0..300), levels in prop::collection::vec(any::<u8>(), 0..20), encoding in 0usize..6, rows in 0usize..500, nulls in 0usize..500) {
        use crate::block::read::page::Encoding as E;
        let encoding = [E::Plain, E::DeltaBinaryPacked, E::DeltaByteArray, E::Dictionary, E::ByteStreamSplit, E::Rle][encoding];
        let nulls = nulls.min(rows);
        let page = DataPage { encoding, rows, count: rows, nulls, repetition: Box::default(), levels: levels.into(), values };
        check_any(page, &None);
    }
}

fn check_any(page: DataPage, dictionary: &Option<Dictionary>) {
    for kind in [Type::INT32, Type::INT64, Type::DOUBLE, Type::BOOLEAN] {
        if let Ok(numbers) = Numbers::read(&page, Some(&Arc::new(vec![1, 2, 3])), kind) {
            let (mut one_by_one, mut all) = (Vec::new(), Vec::new());
            one_by_one.extend((0..page.rows).map(|row| numbers.get(row)));
            numbers.for_each(0..page.rows, |number| all.push(number));
            assert_eq!(one_by_one, all);
            assert_eq!(all.iter().flatten().count(), page.rows - page.nulls);
        }
    }
    let _ = text_ids(&page, dictionary.as_ref());
    let _ = crate::block::read::lists::row_starts(&page, 2);
    if let Ok(presence) = Presence::read(&page.levels, page.rows, page.nulls) {
        assert_eq!(presence.rank(page.rows), page.rows - page.nulls);
    }
}

#[test]
fn sorted_texts_are_kept_as_runs() {
    let count = 1000;
    let texts: Vec<_> = (0..count).map(|row| Some(format!("{}", row / 400))).collect();
    let numbers = vec![0; count];
    let table = Table {
        packed: vec![None; count],
        small: vec![None; count],
        few: vec![None; count],
        plain: numbers,
        raw: vec![None; count],
        long_texts: texts.clone(),
        texts,
        flags: vec![true; count],
    };
    let file = file(&table, 10_000, 10_000);
    let layout = layout(&file);
    let column = layout.column("texts").unwrap();
    let (page, _) = pages(&file, column).next().unwrap();
    let (ids, _) = text_ids(&page, dictionary(&file, column, 0).as_ref()).unwrap();
    assert!(matches!(ids, Ids::Runs(ref runs) if runs.len() == 3), "{ids:?}");
}
