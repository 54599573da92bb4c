//! Rows: what each file promises, and what the series file says of the others.

use super::super::error::BlockError;
use super::super::meta::{BlockFile, BlockMeta};
use super::super::schema::{self, FORMAT_VERSION, column as c, key};
use super::super::{order, schema::SERIES_FILE};
use super::{REQUIRED, damaged, files, histograms, samples};
use crate::append::LabelHash;
use arrow::array::{Array, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type, SchemaRef, TimestampMillisecondType, UInt32Type, UInt64Type};
use model::labels::Labels;
use model::metadata::MetricType;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use std::path::Path;

/// A block being checked.
pub(super) struct Block<'a> {
    dir: &'a Path,
    pub(super) meta: &'a BlockMeta,
    pub(super) series: Vec<Series>,
    /// Timeline and timestamp of each row of the timelines file.
    pub(super) timeline: Vec<(u32, i64)>,
    rows: u64,
}

/// What the series file says of a series.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Series {
    pub(super) rows: u32,
    pub(super) raw: u32,
    pub(super) stale: u32,
    pub(super) has_starts: bool,
    pub(super) timeline_id: Option<u32>,
    pub(super) ts_rows: Option<(u32, u32)>,
    pub(super) divisor: Option<u64>,
    pub(super) times: Option<(i64, i64)>,
    pub(super) histograms: u32,
    pub(super) histogram_timeline_id: Option<u32>,
    pub(super) buckets: u64,
    pub(super) exemplars: u32,
}

impl<'a> Block<'a> {
    pub(super) fn new(dir: &'a Path, meta: &'a BlockMeta) -> Self {
        Self { dir, meta, series: Vec::new(), timeline: Vec::new(), rows: 0 }
    }

    /// Rows that were decoded.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Checks everything.
    pub(super) fn check(&mut self) -> Result<(), BlockError> {
        for kind in REQUIRED {
            if self.meta.file(kind).is_none() {
                return Err(BlockError::Missing { file: kind.to_owned() });
            }
        }
        self.check_series()?;
        self.check_timelines()?;
        if self.meta.resolution_ms == 0 {
            samples::check(self)?;
            histograms::check(self)?;
        }
        self.check_exemplars()
    }

    /// Decodes all rows of a kind of files, after checking what the files say of themselves.
    pub(super) fn each_batch(
        &mut self,
        kind: &str,
        schema: &SchemaRef,
        mut check: impl FnMut(&mut Self, &BlockFile, &RecordBatch) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        let meta = self.meta;
        for file in meta.files_of(kind) {
            let damage = |error: &dyn std::fmt::Display| damaged(&file.name, 0, error.to_string());
            let mut rows = 0;
            for batch in self.open(file, schema)? {
                let batch = batch.map_err(|error| damage(&error))?;
                rows += batch.num_rows() as u64;
                check(self, file, &batch)?;
            }
            if rows != file.rows {
                return Err(damage(&format!("it has {rows} rows instead of {}", file.rows)));
            }
            self.rows += rows;
        }
        Ok(())
    }

    fn open(&self, file: &BlockFile, schema: &SchemaRef) -> Result<ParquetRecordBatchReader, BlockError> {
        let damage = |error: &dyn std::fmt::Display| damaged(&file.name, 0, error.to_string());
        let input = files::open(self.dir, &file.name)?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(input).map_err(|error| damage(&error))?;
        let metadata = reader.metadata().file_metadata();
        let pairs = metadata.key_value_metadata().map(Vec::as_slice).unwrap_or_default();
        let says = |key: &str| pairs.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_deref());
        let version = says(key::FORMAT_VERSION).and_then(|text| text.parse::<u32>().ok());
        match version {
            Some(found) if found > FORMAT_VERSION => {
                return Err(BlockError::NewerFormat { file: file.name.clone(), found, known: FORMAT_VERSION });
            }
            Some(_) => {}
            None => return Err(damage(&"it is no file of a block")),
        }
        for (key, expected) in [(key::BLOCK_ULID, &self.meta.ulid), (key::TENANT, &self.meta.tenant)] {
            if says(key) != Some(expected) {
                return Err(damage(&format!("its {key} is {:?} instead of {expected:?}", says(key))));
            }
        }
        let of_columns = |schema: &SchemaRef| -> Vec<(String, DataType, bool)> {
            let fields = schema.fields().iter();
            fields.map(|f| (f.name().clone(), f.data_type().clone(), f.is_nullable())).collect()
        };
        if !same_columns(reader.schema(), schema) {
            return Err(damage(&format!("it has the columns {:?}", of_columns(reader.schema()))));
        }
        reader.with_batch_size(8 << 10).build().map_err(|error| damage(&error))
    }

    fn check_series(&mut self) -> Result<(), BlockError> {
        let meta = self.meta;
        let mut last: Option<Labels> = None;
        let mut starts = [0u64; 4];
        self.each_batch(SERIES_FILE, &schema::series(&meta.label_columns), |block, file, batch| {
            let columns = SeriesColumns(batch);
            for at in 0..batch.num_rows() {
                let id = block.series.len();
                let wrong = |what: &str| damaged(&file.name, 0, format!("series {id}: {what}"));
                let labels = columns.labels(at, &meta.label_columns).map_err(|what| wrong(&what))?;
                if last.as_ref().is_some_and(|last| order::compare(last.iter(), labels.iter()).is_ge()) {
                    return Err(wrong("it is out of order"));
                }
                let series = columns.series(at, id as u32, &labels, &mut starts).map_err(|what| wrong(&what))?;
                block.series.push(series);
                last = Some(labels);
            }
            Ok(())
        })?;
        let totals = [meta.samples, meta.histograms, meta.exemplars];
        let [samples, histograms, _, exemplars] = starts;
        let found = [if meta.resolution_ms == 0 { samples } else { meta.samples }, histograms, exemplars];
        if self.series.len() as u64 != meta.series || found != totals {
            let what = format!("{} series with {starts:?} rows contradict `meta.json`", self.series.len());
            return Err(damaged(SERIES_FILE, 0, what));
        }
        Ok(())
    }

    fn check_timelines(&mut self) -> Result<(), BlockError> {
        self.each_batch(schema::TIMELINES_FILE, &schema::timelines(), |block, file, batch| {
            let (rows, ids) = (u32s(batch, c::TS_ROW), u32s(batch, c::TIMELINE_ID));
            for ((row, id), time) in rows.iter().zip(ids).zip(times(batch, c::TIMESTAMP).values()) {
                let follows = block.timeline.last().is_none_or(|last| *last < (*id, *time));
                if *row as usize != block.timeline.len() || !follows {
                    return Err(damaged(&file.name, 0, format!("row {row} is out of order")));
                }
                block.timeline.push((*id, *time));
            }
            Ok(())
        })
    }

    fn check_exemplars(&mut self) -> Result<(), BlockError> {
        let mut counts = vec![0u32; self.series.len()];
        let mut last = 0;
        self.each_batch(schema::EXEMPLARS_FILE, &schema::exemplars(), |_, file, batch| {
            for id in u32s(batch, c::SERIES_ID) {
                let count = counts.get_mut(*id as usize).filter(|_| *id >= last);
                let wrong = || damaged(&file.name, 0, format!("an exemplar of series {id} is out of order"));
                *count.ok_or_else(wrong)? += 1;
                last = *id;
            }
            Ok(())
        })?;
        self.compare_counts(schema::EXEMPLARS_FILE, counts.iter().map(|count| u64::from(*count)), |s| {
            s.exemplars.into()
        })
    }

    /// Compares the rows of each series with what the series file says.
    pub(super) fn compare_counts(
        &self,
        file: &str,
        found: impl Iterator<Item = u64>,
        expected: impl Fn(&Series) -> u64,
    ) -> Result<(), BlockError> {
        for (id, (found, series)) in found.zip(&self.series).enumerate() {
            if found != expected(series) {
                let what = format!("series {id} has {found} rows instead of {}", expected(series));
                return Err(damaged(file, 0, what));
            }
        }
        Ok(())
    }
}

/// Names, types and nullability; what a reader calls the parts of a list or map does not count.
fn same_columns(found: &SchemaRef, expected: &SchemaRef) -> bool {
    let same = |a: &DataType, b: &DataType| match (a, b) {
        (DataType::List(a), DataType::List(b)) => a.data_type() == b.data_type(),
        (DataType::Map(..), DataType::Map(..)) => true,
        (a, b) => a == b,
    };
    let pairs = found.fields().iter().zip(expected.fields());
    found.fields().len() == expected.fields().len()
        && pairs.into_iter().all(|(a, b)| {
            a.name() == b.name() && a.is_nullable() == b.is_nullable() && same(a.data_type(), b.data_type())
        })
}

/// A column whose type was checked.
pub(super) fn primitive<'a, T: ArrowPrimitiveType>(batch: &'a RecordBatch, name: &str) -> &'a PrimitiveArray<T> {
    batch.column_by_name(name).map(|column| column.as_primitive::<T>()).expect("a column of the schema")
}

pub(super) fn u32s<'a>(batch: &'a RecordBatch, name: &str) -> &'a [u32] {
    primitive::<UInt32Type>(batch, name).values()
}

pub(super) fn times<'a>(batch: &'a RecordBatch, name: &str) -> &'a PrimitiveArray<TimestampMillisecondType> {
    primitive(batch, name)
}

fn texts<'a>(batch: &'a RecordBatch, name: &str) -> &'a StringArray {
    batch.column_by_name(name).map(|column| column.as_string::<i32>()).expect("a column of the schema")
}

struct SeriesColumns<'a>(&'a RecordBatch);

impl SeriesColumns<'_> {
    fn narrow(&self, name: &str, at: usize) -> u32 {
        primitive::<UInt32Type>(self.0, name).value(at)
    }

    fn wide(&self, name: &str, at: usize) -> u64 {
        primitive::<UInt64Type>(self.0, name).value(at)
    }

    fn optional(&self, name: &str, at: usize) -> Option<u32> {
        let column = primitive::<UInt32Type>(self.0, name);
        column.is_valid(at).then(|| column.value(at))
    }

    fn time(&self, name: &str, at: usize) -> Option<i64> {
        let column = times(self.0, name);
        column.is_valid(at).then(|| column.value(at))
    }

    /// The labels, checked against their columns.
    fn labels(&self, at: usize, label_columns: &[String]) -> Result<Labels, String> {
        let entries = self.0.column_by_name(c::LABELS).map(|column| column.as_map().value(at));
        let entries = entries.ok_or("it has no labels")?;
        let (names, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_string::<i32>());
        let pairs = || names.iter().flatten().zip(values.iter().flatten());
        if !pairs().zip(pairs().skip(1)).all(|((a, _), (b, _))| a < b) {
            return Err("its labels are out of order".to_owned());
        }
        let labels = Labels::from_pairs(pairs()).map_err(|error| error.to_string())?;
        let column = |name: &str, column: &str| {
            let texts = texts(self.0, column);
            texts.is_valid(at).then(|| texts.value(at)) == labels.get(name)
        };
        let same = column("__name__", c::METRIC) && label_columns.iter().all(|name| column(name, &c::label(name)));
        if same { Ok(labels) } else { Err("its labels contradict their columns".to_owned()) }
    }

    fn series(&self, at: usize, id: u32, labels: &Labels, starts: &mut [u64; 4]) -> Result<Series, String> {
        let hash = LabelHash::of_pairs(labels.iter(), &mut Vec::new()).0;
        let fingerprint = [c::FINGERPRINT_HIGH, c::FINGERPRINT].map(|name| u128::from(self.wide(name, at)));
        let [high, low] = fingerprint;
        if self.narrow(c::SERIES_ID, at) != id || high << 64 | low != hash {
            return Err("its number or fingerprint is wrong".to_owned());
        }
        texts(self.0, c::TYPE).value(at).parse::<MetricType>().map_err(|()| "its type is unknown")?;
        let found =
            [c::ROW_START, c::HISTOGRAM_START, c::BUCKET_START, c::EXEMPLAR_START].map(|name| self.wide(name, at));
        if found != *starts {
            return Err(format!("its rows begin at {found:?} instead of {starts:?}"));
        }
        let divisors = primitive::<Float64Type>(self.0, c::DIVISOR);
        let flags = self.0.column_by_name(c::HAS_STARTS).map(|column| column.as_boolean().value(at));
        let series = Series {
            rows: self.narrow(c::ROW_COUNT, at),
            raw: self.narrow(c::RAW_COUNT, at),
            stale: self.narrow(c::STALE_COUNT, at),
            has_starts: flags.unwrap_or_default(),
            timeline_id: self.optional(c::TIMELINE_ID, at),
            ts_rows: self.optional(c::TS_ROW_FIRST, at).zip(self.optional(c::TS_ROW_LAST, at)),
            divisor: divisors.is_valid(at).then(|| divisors.value(at).to_bits()),
            times: self.time(c::MIN_TS, at).zip(self.time(c::MAX_TS, at)),
            histograms: self.narrow(c::HISTOGRAM_COUNT, at),
            histogram_timeline_id: self.optional(c::HISTOGRAM_TIMELINE_ID, at),
            buckets: self.wide(c::BUCKET_COUNT, at),
            exemplars: self.narrow(c::EXEMPLAR_COUNT, at),
        };
        let counts = [series.rows.into(), series.histograms.into(), series.buckets, series.exemplars.into()];
        starts.iter_mut().zip(counts).for_each(|(start, count)| *start += count);
        Ok(series)
    }
}
