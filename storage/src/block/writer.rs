//! Writes a block, series by series in series order.
//!
//! Memory is bounded by one compressed row group of each file and the samples of one series. Nothing is visible to anyone
//! until the caller names the block in a manifest; [`BlockWriter::finish`] leaves every file and its directory durable.

mod exemplars;
mod floats;
mod histograms;
mod series;
mod tables;
mod tier;

use super::checksums::{self, FileSums, SummedFile};
use super::error::BlockError;
use super::meta::{BlockFile, BlockMeta};
use super::schema::{self, CHECKSUMS_FILE, FORMAT_VERSION, META_FILE, key};
pub use super::table::Layout;
use super::table::{Kind, Table};
use super::timeline::{TimelineChoice, TimelinePlan};
use super::{columns, order};
use crate::append::LabelHash;
use arrow::array::NullBufferBuilder;
use arrow::array::{RecordBatch, UInt32Array};
use exemplars::ExemplarWriter;
use floats::FloatWriter;
use histograms::HistogramWriter;
use model::exemplar::Exemplar;
use model::histogram::Histogram;
use model::labels::Labels;
use model::metadata::MetricType;
use series::{SeriesRow, SeriesWriter};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
pub use tier::TierWriter;

/// What a block is, apart from its content.
#[derive(Debug, Clone)]
pub struct BlockSpec {
    /// Identity, 26 characters: see [`ulid`](super::meta::ulid).
    pub ulid: String,
    /// Whose block it is.
    pub tenant: String,
    /// 0 as flushed, one more with each compaction.
    pub level: u8,
    /// Width of a bucket of time; 0 for raw samples.
    pub resolution_ms: u64,
    /// The length of the spans for which its native histograms are thinned; 0 when they are not.
    pub thinned_ms: u64,
    /// ULIDs of the blocks it is made from.
    pub sources: Vec<String>,
    /// Label names, the most frequent first; so many of them as have a column.
    pub label_names: Vec<String>,
    /// Sizes; mostly [`Layout::of_level`].
    pub layout: Layout,
}

/// Float samples of one series as columns of equal length, strictly ascending in time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Floats<'a> {
    /// Milliseconds since the Unix epoch.
    pub timestamps_ms: &'a [i64],
    /// Any f64, bit for bit.
    pub values: &'a [f64],
    /// Since when each value is counted, 0 where that is not known; empty when it is known of none.
    pub starts_ms: &'a [i64],
    /// What the planner chose for these timestamps; none without samples.
    pub timeline: Option<TimelineChoice>,
    /// Equal tokens promise equal timestamps among series of one timeline, which then are not searched for again.
    pub token: Option<u64>,
}

/// Native histograms of one series, as [`Floats`].
///
/// What is stored of a reset hint is whether the sample is a gauge or the sender knew of a reset before it; whether there was
/// none is found out by comparing neighbours. Empty buckets are left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Histograms<'a> {
    /// Milliseconds since the Unix epoch.
    pub timestamps_ms: &'a [i64],
    /// One for each timestamp.
    pub histograms: &'a [Arc<Histogram>],
    /// As [`Floats::starts_ms`].
    pub starts_ms: &'a [i64],
    /// As [`model::histogram::HistogramColumns::left_out`]; empty unless the block says that it is thinned.
    pub left_out: &'a [u32],
    /// As [`Floats::timeline`].
    pub timeline: Option<TimelineChoice>,
}

/// One series with all that the block has of it.
#[derive(Debug, Clone, Copy)]
pub struct SeriesInput<'a> {
    /// In ascending order of names.
    pub labels: &'a [(&'a str, &'a str)],
    /// Of the labels.
    pub hash: LabelHash,
    /// As far as it is known.
    pub metric_type: MetricType,
    /// Float samples.
    pub floats: Floats<'a>,
    /// Native histograms, at other times than the floats.
    pub histograms: Histograms<'a>,
    /// In ascending order of time.
    pub exemplars: &'a [Exemplar],
}

/// Writes one block.
pub struct BlockWriter {
    dir: PathBuf,
    spec: BlockSpec,
    plan: TimelinePlan,
    series: SeriesWriter,
    floats: FloatWriter,
    histograms: HistogramWriter,
    exemplars: ExemplarWriter,
    last: Option<Labels>,
    times: Option<(i64, i64)>,
}

impl BlockWriter {
    /// Begins a block in a directory, which is made if need be; files in it are replaced.
    ///
    /// # Errors
    /// The files cannot be made.
    pub fn create(dir: &Path, spec: BlockSpec, plan: TimelinePlan) -> Result<Self, BlockError> {
        std::fs::create_dir_all(dir).map_err(BlockError::io("create", dir))?;
        Ok(Self {
            series: SeriesWriter::create(dir, &spec)?,
            floats: FloatWriter::new(dir, spec.layout, &plan),
            histograms: HistogramWriter::new(dir, &spec),
            exemplars: ExemplarWriter::new(dir, spec.layout),
            dir: dir.to_owned(),
            spec,
            plan,
            last: None,
            times: None,
        })
    }

    /// Appends a series.
    ///
    /// # Errors
    /// A file cannot be written.
    ///
    /// # Panics
    /// If the series does not come behind the one before it (see [`order::compare`]), or its samples were not planned.
    pub fn push(&mut self, input: &SeriesInput<'_>) -> Result<(), BlockError> {
        self.check_order(input);
        let id = self.series.len();
        let mut row = SeriesRow::default();
        self.floats.push(id, &input.floats, &self.plan, &mut row)?;
        self.histograms.push(id, &input.histograms, &self.plan, &mut row)?;
        self.exemplars.push(id, input.exemplars, &mut row)?;
        if let Some((first, last)) = row.times {
            self.times = Some(self.times.map_or((first, last), |(min, max)| (min.min(first), max.max(last))));
        }
        self.series.push(input, &row)
    }

    fn check_order(&mut self, input: &SeriesInput<'_>) {
        let labels = Labels::from_sorted(input.labels.iter().copied());
        if let Some(last) = &self.last {
            assert!(order::compare(last.iter(), labels.iter()).is_lt(), "{labels} must not come behind {last}");
        }
        self.last = Some(labels);
    }

    /// Completes the block. Its files, `meta.json` among them, and their directory are durable.
    ///
    /// # Errors
    /// A file cannot be written or synced.
    pub fn finish(self) -> Result<BlockMeta, BlockError> {
        let exemplar_times = self.exemplars.times();
        let (min_ms, max_ms) = self.times.or(exemplar_times).unwrap_or_default();
        let meta = BlockMeta {
            format_version: FORMAT_VERSION,
            ulid: self.spec.ulid.clone(),
            tenant: self.spec.tenant.clone(),
            level: self.spec.level,
            resolution_ms: self.spec.resolution_ms,
            min_ms,
            max_ms,
            series: u64::from(self.series.len()),
            samples: self.floats.rows(),
            histograms: self.histograms.rows(),
            exemplars: self.exemplars.rows(),
            files: Vec::new(),
            sources: self.spec.sources.clone(),
            label_columns: self.series.label_columns().to_vec(),
            labels_overflow: self.series.has_overflow(),
            thinned_ms: self.spec.thinned_ms,
        };
        let metadata = metadata(&meta, self.series.overflow());
        let timelines = write_timelines(&self.dir, &self.spec.layout, &self.plan)?;
        let mut tables = vec![self.series.finish()?, timelines];
        tables.extend(self.floats.finish()?);
        tables.extend(self.histograms.finish()?);
        tables.extend(self.exemplars.finish()?);
        seal(&self.dir, meta, tables, &metadata)
    }
}

/// Completes the files of a block and makes them and their directory durable.
fn seal(
    dir: &Path,
    mut meta: BlockMeta,
    tables: Vec<Table>,
    metadata: &[(&str, String)],
) -> Result<BlockMeta, BlockError> {
    let mut sums = Vec::with_capacity(tables.len());
    for table in tables {
        let (file, checksums) = table.finish(metadata)?;
        meta.files.push(file);
        sums.push(checksums);
    }
    meta.files.push(write_file(dir, CHECKSUMS_FILE, &checksums::encode(&sums))?.0);
    write_file(dir, META_FILE, &meta.to_json())?;
    for dir in [Some(dir), dir.parent()].into_iter().flatten() {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir).and_then(|file| file.sync_all()).map_err(BlockError::io("sync", dir))?;
    }
    Ok(meta)
}

/// What every file says of its block.
fn metadata(meta: &BlockMeta, overflow: &[String]) -> Vec<(&'static str, String)> {
    let list = |items: &[String]| serde_json::Value::from(items).to_string();
    vec![
        (key::FORMAT_VERSION, meta.format_version.to_string()),
        (key::BLOCK_ULID, meta.ulid.clone()),
        (key::TENANT, meta.tenant.clone()),
        (key::MIN_TS, meta.min_ms.to_string()),
        (key::MAX_TS, meta.max_ms.to_string()),
        (key::RESOLUTION_MS, meta.resolution_ms.to_string()),
        (key::NUM_SERIES, meta.series.to_string()),
        (key::NUM_SAMPLES, meta.samples.to_string()),
        (key::LEVEL, meta.level.to_string()),
        (key::SOURCES, list(&meta.sources)),
        (key::WRITER, concat!("hearth ", env!("CARGO_PKG_VERSION")).to_owned()),
        (key::VALUE_EXPR, schema::VALUE_EXPR.to_owned()),
        (key::GROUP_KEY, schema::GROUP_KEY.to_owned()),
        (key::LABELS_OVERFLOW, list(overflow)),
    ]
}

/// Rows that are encoded together.
const BATCH_ROWS: usize = 8 << 10;

fn write_timelines(dir: &Path, layout: &Layout, plan: &TimelinePlan) -> Result<Table, BlockError> {
    let schema = schema::timelines();
    let mut table = Table::create(dir, schema::TIMELINES_FILE.to_owned(), &schema, layout, Kind::Timelines)?;
    let (mut ids, mut times, mut first) = (Vec::new(), Vec::new(), 0u32);
    let mut write = |ids: &mut Vec<u32>, times: &mut Vec<i64>, first: &mut u32| {
        let end = *first + ids.len() as u32;
        let known = NullBufferBuilder::new(0);
        let rows = UInt32Array::from_iter_values(*first..end);
        *first = end;
        let times = columns::timestamps(std::mem::take(times), known);
        let columns: Vec<_> = vec![Arc::new(rows) as _, columns::take_u32(ids), Arc::new(times) as _];
        if table.group_rows() >= layout.row_group_rows {
            table.end_row_group()?;
        }
        table.write(&batch(&schema, columns))
    };
    for (id, _, timeline) in plan.iter() {
        for time in timeline.iter() {
            ids.push(id);
            times.push(time);
            if ids.len() == BATCH_ROWS {
                write(&mut ids, &mut times, &mut first)?;
            }
        }
    }
    if !ids.is_empty() {
        write(&mut ids, &mut times, &mut first)?;
    }
    Ok(table)
}

/// Columns that were made for this schema.
fn batch(schema: &arrow::datatypes::SchemaRef, columns: Vec<arrow::array::ArrayRef>) -> RecordBatch {
    match RecordBatch::try_new(Arc::clone(schema), columns) {
        Ok(batch) => batch,
        Err(error) => panic!("columns do not match their schema: {error}"),
    }
}

/// Writes a file that is no table.
fn write_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<(BlockFile, FileSums), BlockError> {
    let path = dir.join(name);
    let mut file = SummedFile::create(path.clone())?;
    file.write_all(bytes).map_err(BlockError::io("write", &path))?;
    let (sums, crc32) = file.finish(name)?;
    Ok((BlockFile { name: name.to_owned(), bytes: sums.bytes, footer_bytes: 0, rows: 0, crc32 }, sums))
}
