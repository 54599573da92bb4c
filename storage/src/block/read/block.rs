//! A block that can be read: which files it has, and what of them is in memory.

use super::cache::{BlockCaches, CacheKey, CacheKind};
use super::column::Numbers;
use super::columns::{Column, ColumnBytes, Decode};
use super::error::{PageError, ReadError};
use super::fetch::{self, Fetched, Object, Wanted};
use super::layout::{ColumnLayout, Layout};
use super::overflow::{KEYS, Overflow, VALUES};
use super::sums::Source;
use crate::block::meta::BlockMeta;
use crate::block::schema::{self, column};
use crate::bucket::Bucket;
use bytes::Bytes;
use futures::future::{try_join, try_join_all};
use hashbrown::HashSet;
use model::labels::METRIC_NAME;
use std::ops::Range;
use std::sync::Arc;

/// A series file up to this size is read as a whole.
const WHOLE_MAX: u64 = 8 << 20;

/// An immutable block. Cheap to clone; making one costs no request.
#[derive(Debug, Clone)]
pub struct Block {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) meta: Arc<BlockMeta>,
    pub(super) source: Source,
    /// A series file up to this size is read as a whole.
    whole_max: u64,
    pub(super) series: File,
    pub(super) timelines: Vec<File>,
    pub(super) samples: Vec<File>,
    pub(super) histograms: Vec<File>,
    pub(super) hist_buckets: Vec<File>,
    pub(super) exemplars: Vec<File>,
}

/// One Parquet file of a block.
#[derive(Debug)]
pub(super) struct File {
    pub(super) object: Arc<Object>,
    footer_bytes: u64,
    /// Whether readers want to know the bounds of timestamps of each page.
    has_bounds: bool,
    /// Its first row, counted through all files of its kind.
    pub(super) first_row: u64,
    pub(super) rows: u64,
}

/// A file whose pages are known.
#[derive(Debug, Clone)]
pub(super) struct OpenFile {
    pub(super) object: Arc<Object>,
    pub(super) first_row: u64,
    pub(super) layout: Arc<Layout>,
}

impl OpenFile {
    pub(super) fn column(&self, path: &str) -> Result<&Arc<ColumnLayout>, ReadError> {
        let missing = || ReadError::unreadable(&self.object.key, format!("it has no column {path}"));
        self.layout.column(path).ok_or_else(missing)
    }
}

impl Block {
    /// A block as the manifest describes it.
    ///
    /// # Errors
    /// The description is of a format that this version does not know, or lacks a file that every block has.
    pub fn new(bucket: &Bucket, meta: Arc<BlockMeta>, caches: &BlockCaches) -> Result<Self, ReadError> {
        Self::with_whole_max(bucket, meta, caches, WHOLE_MAX)
    }

    /// The same; a series file up to `whole_max` bytes is read as a whole.
    pub(crate) fn with_whole_max(
        bucket: &Bucket,
        meta: Arc<BlockMeta>,
        caches: &BlockCaches,
        whole_max: u64,
    ) -> Result<Self, ReadError> {
        let prefix = meta.prefix();
        if meta.format_version > schema::FORMAT_VERSION {
            let found = format!(
                "it has format version {}; this version reads up to {}",
                meta.format_version,
                schema::FORMAT_VERSION
            );
            return Err(ReadError::unreadable(&prefix.as_str().into(), found));
        }
        let files = |name: &str| {
            let mut first_row = 0;
            let file = |file: &crate::block::meta::BlockFile| {
                let object = Arc::new(Object::new(format!("{prefix}{}", file.name), file.bytes, file.crc32));
                let first = first_row;
                first_row += file.rows;
                let has_bounds = name == schema::TIMELINES_FILE;
                File { object, footer_bytes: file.footer_bytes, has_bounds, first_row: first, rows: file.rows }
            };
            // A file without rows has no pages either: where all series have histograms only, that of the floats is one.
            let counts = |file: &File| file.rows > 0 || name == schema::SERIES_FILE;
            meta.files_of(name).map(file).filter(counts).collect::<Vec<_>>()
        };
        let missing = || ReadError::unreadable(&prefix.as_str().into(), "the block has no series file");
        let sums = meta.file(schema::CHECKSUMS_FILE);
        let sums = sums.map(|file| Object::new(format!("{prefix}{}", file.name), file.bytes, file.crc32));
        let inner = Inner {
            series: files(schema::SERIES_FILE).pop().ok_or_else(missing)?,
            timelines: files(schema::TIMELINES_FILE),
            samples: files(schema::SAMPLES_FILE),
            histograms: files(schema::HISTOGRAMS_FILE),
            hist_buckets: files(schema::HIST_BUCKETS_FILE),
            exemplars: files(schema::EXEMPLARS_FILE),
            source: Source::new(bucket, caches.of_tenant(&meta.tenant), sums),
            whole_max,
            meta,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What is known about it.
    #[must_use]
    pub fn meta(&self) -> &Arc<BlockMeta> {
        &self.inner.meta
    }
}

impl Inner {
    /// The pages of a file: one request, if they are not known yet.
    pub(super) async fn open(&self, file: &File) -> Result<OpenFile, ReadError> {
        let key = CacheKey { object: file.object.id, kind: CacheKind::Layout, place: 0 };
        let layout = match self.source.cache.get::<Layout>(&key) {
            Some(layout) => layout,
            None => {
                let start = file.object.bytes.saturating_sub(file.footer_bytes);
                let tail = fetch::get_checked(&self.source, &file.object, start..file.object.bytes).await?;
                self.keep_layout(file, &tail)?
            }
        };
        Ok(OpenFile { object: Arc::clone(&file.object), first_row: file.first_row, layout })
    }

    pub(super) async fn open_all(&self, files: &[File]) -> Result<Vec<OpenFile>, ReadError> {
        try_join_all(files.iter().map(|file| self.open(file))).await
    }

    fn keep_layout(&self, file: &File, tail: &Bytes) -> Result<Arc<Layout>, ReadError> {
        let bounds_of = file.has_bounds.then_some(column::TIMESTAMP);
        let layout = Arc::new(Layout::read(&file.object.key, file.object.bytes, tail, bounds_of)?);
        if layout.rows != file.rows {
            return Err(PageError("the file has more or fewer rows than its block says").at(&file.object.key, 0));
        }
        let key = CacheKey { object: file.object.id, kind: CacheKind::Layout, place: 0 };
        self.source.cache.insert(key, Arc::clone(&layout), layout.memory());
        Ok(layout)
    }

    /// The series file: all of it when it is small, its pages' places otherwise.
    pub(super) async fn open_series(&self) -> Result<SeriesFile, ReadError> {
        let object = &self.series.object;
        if object.bytes > self.whole_max {
            let file = self.open(&self.series).await?;
            return Ok(SeriesFile { file, whole: None });
        }
        let key = CacheKey { object: object.id, kind: CacheKind::Column, place: u64::MAX };
        let whole = match self.source.cache.get::<Bytes>(&key) {
            Some(whole) => Bytes::clone(&whole),
            None => {
                let whole = fetch::get_checked(&self.source, object, 0..object.bytes).await?;
                self.source.cache.insert(key, Arc::new(whole.clone()), whole.len());
                whole
            }
        };
        let key = CacheKey { kind: CacheKind::Layout, place: 0, ..key };
        let layout = match self.source.cache.get::<Layout>(&key) {
            Some(layout) => layout,
            None => self.keep_layout(&self.series, &whole)?,
        };
        let file = OpenFile { object: Arc::clone(object), first_row: 0, layout };
        Ok(SeriesFile { file, whole: Some(whole) })
    }

    /// The series file with the bytes of some columns.
    pub(super) async fn with_columns(
        self: &Arc<Self>,
        series: &SeriesFile,
        paths: impl IntoIterator<Item = String>,
    ) -> Result<SeriesColumns, ReadError> {
        let mut parts = Fetched::default();
        if series.whole.is_none() {
            let mut wanted = Vec::new();
            for path in paths {
                let Some(column) = series.file.layout.column(&path) else { continue };
                let groups = column.groups.iter().filter(|group| !group.bytes.is_empty());
                wanted.extend(groups.map(|group| self.wanted(&series.file.object, group.bytes.clone())));
            }
            parts = fetch::fetch(&self.source, CacheKind::Column, wanted).await?;
        }
        let bytes = ColumnBytes {
            object: Arc::clone(&series.file.object),
            cache: self.source.cache.clone(),
            whole: series.whole.clone(),
            parts,
        };
        Ok(SeriesColumns { file: series.file.clone(), bytes: Arc::new(bytes) })
    }

    pub(super) fn wanted(&self, object: &Arc<Object>, range: Range<u64>) -> Wanted {
        Wanted { object: Arc::clone(object), range }
    }

    /// Whether a label has a column.
    pub(super) fn has_column(&self, label: &str) -> bool {
        label == METRIC_NAME || self.meta.label_columns.iter().any(|name| name == label)
    }

    /// The labels without a column, `None` if there are none.
    pub(super) async fn overflow(self: &Arc<Self>, series: &SeriesFile) -> Result<Option<Arc<Overflow>>, ReadError> {
        if !self.meta.labels_overflow {
            return Ok(None);
        }
        let place = series.file.column(KEYS)?.pages.first().map_or(0, |page| page.offset);
        let key = CacheKey { object: series.file.object.id, kind: CacheKind::Series, place };
        if let Some(found) = self.source.cache.get::<Overflow>(&key) {
            return Ok(Some(found));
        }
        let columns = self.with_columns(series, [KEYS.to_owned(), VALUES.to_owned()]).await?;
        let mut known: HashSet<&str> = self.meta.label_columns.iter().map(String::as_str).collect();
        known.insert(METRIC_NAME);
        let (keys, values) = (series.file.column(KEYS)?, series.file.column(VALUES)?);
        let overflow = Arc::new(Overflow::read(&columns.bytes, keys, values, &known)?);
        self.source.cache.insert(key, Arc::clone(&overflow), overflow.memory());
        Ok(Some(overflow))
    }
}

/// Path of the column of a label.
pub(super) fn label_path(label: &str) -> String {
    if label == METRIC_NAME { column::METRIC.to_owned() } else { column::label(label) }
}

/// The series file, as far as it was fetched.
#[derive(Debug, Clone)]
pub(super) struct SeriesFile {
    pub(super) file: OpenFile,
    whole: Option<Bytes>,
}

/// Columns of the series file that can be read.
#[derive(Debug, Clone)]
pub(super) struct SeriesColumns {
    pub(super) file: OpenFile,
    pub(super) bytes: Arc<ColumnBytes>,
}

impl SeriesColumns {
    pub(super) fn column<P: Decode>(&self, path: &str) -> Result<Column<P>, ReadError> {
        Ok(Column::new(&self.bytes, self.file.column(path)?))
    }
}

/// The numbers that say where the samples of a series are.
#[derive(Debug)]
pub(super) struct NumberColumns {
    columns: [Column<Numbers>; NUMBERS.len()],
}

const NUMBERS: [&str; 17] = [
    column::ROW_START,
    column::ROW_COUNT,
    column::RAW_COUNT,
    column::STALE_COUNT,
    column::HAS_STARTS,
    column::TS_ROW_FIRST,
    column::TS_ROW_LAST,
    column::DIVISOR,
    column::STEP_MS,
    column::MIN_TS,
    column::MAX_TS,
    column::HISTOGRAM_START,
    column::HISTOGRAM_COUNT,
    column::BUCKET_START,
    column::BUCKET_COUNT,
    column::EXEMPLAR_START,
    column::EXEMPLAR_COUNT,
];

/// Where the samples of one series are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) rows: Range<u64>,
    pub(super) raw_count: u64,
    pub(super) stale_count: u64,
    pub(super) has_starts: bool,
    /// Rows of the first and the last float sample in the timelines file.
    pub(super) ts_rows: Option<(u64, u64)>,
    /// `None` when it changes.
    pub(super) divisor: Option<f64>,
    /// 0 when it varies.
    pub(super) step_ms: u64,
    pub(super) min_ms: i64,
    pub(super) max_ms: i64,
    pub(super) histograms: Range<u64>,
    pub(super) buckets: Range<u64>,
    pub(super) exemplars: Range<u64>,
}

impl NumberColumns {
    pub(super) fn paths() -> impl Iterator<Item = String> {
        NUMBERS.into_iter().map(str::to_owned)
    }

    pub(super) fn new(series: &SeriesColumns) -> Result<Self, ReadError> {
        let columns = NUMBERS.iter().map(|path| series.column(path)).collect::<Result<Vec<_>, _>>()?;
        let missing = |_| ReadError::unreadable(&series.file.object.key, "it lacks columns");
        Ok(Self { columns: columns.try_into().map_err(missing)? })
    }

    pub(super) fn entry(&self, row: u32) -> Result<Entry, ReadError> {
        let mut numbers = [None; NUMBERS.len()];
        for (number, column) in numbers.iter_mut().zip(&self.columns) {
            *number = column.number(row)?;
        }
        let [start, count, raw, stale, starts, ts_first, ts_last, divisor, step, min, max, rest @ ..] = numbers;
        let range = |start: Option<u64>, count: Option<u64>| {
            let start = start.unwrap_or(0);
            start..start.saturating_add(count.unwrap_or(0))
        };
        let [histogram, histograms, bucket, buckets, exemplar, exemplars] = rest;
        Ok(Entry {
            rows: range(start, count),
            raw_count: raw.unwrap_or(0),
            stale_count: stale.unwrap_or(0),
            has_starts: starts == Some(1),
            ts_rows: ts_first.zip(ts_last),
            divisor: divisor.map(f64::from_bits),
            step_ms: step.unwrap_or(0),
            min_ms: min.map_or(i64::MAX, |ms| ms as i64),
            max_ms: max.map_or(i64::MIN, |ms| ms as i64),
            histograms: range(histogram, histograms),
            buckets: range(bucket, buckets),
            exemplars: range(exemplar, exemplars),
        })
    }
}

/// Opens what reading samples needs, all at once.
pub(super) async fn open_for_samples(block: &Inner) -> Result<(SeriesFile, Vec<OpenFile>, Vec<OpenFile>), ReadError> {
    let files = try_join(block.open_all(&block.samples), block.open_all(&block.timelines));
    let (series, (samples, timelines)) = try_join(block.open_series(), files).await?;
    Ok((series, samples, timelines))
}
