//! A block that can be read: which files it has, and what of them is in memory.

use super::cache::{BlockCaches, CacheKey, CacheKind};
use super::columns::ColumnBytes;
use super::error::{PageError, ReadError};
use super::fetch::{self, Fetched, Object};
use super::layout::{ColumnLayout, Layout};
use super::overflow::{KEYS, Overflow, VALUES};
use super::rows::RowRanges;
use super::series_file::{NumberColumns, SeriesColumns, SeriesFile};
use super::sums::Source;
use crate::account::Account;
use crate::block::meta::BlockMeta;
use crate::block::schema::{self, column};
use crate::bucket::Bucket;
use bytes::Bytes;
use futures::future::{try_join, try_join_all};
use hashbrown::HashSet;
use model::labels::METRIC_NAME;
use std::sync::{Arc, Weak};

/// A series file up to this size is read as a whole.
const WHOLE_MAX: u64 = 8 << 20;
/// Bytes of columns that are fetched before it is known which of their rows are needed, to save a round trip.
const ALONG_MAX: u64 = 4 << 20;

/// An immutable block. Cheap to clone; making one costs no request.
#[derive(Debug, Clone)]
pub struct Block {
    pub(super) inner: Arc<Inner>,
    /// Who is charged for what is read of it.
    pub(super) account: Account,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) meta: Arc<BlockMeta>,
    pub(super) source: Arc<Source>,
    /// A series file up to this size is read as a whole.
    whole_max: u64,
    /// Its bytes; held while they are fetched, so that readers at the same time fetch them once.
    whole: tokio::sync::Mutex<Weak<Bytes>>,
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
    /// The column of which readers want to know the bounds of each page.
    bounds_of: Option<&'static str>,
    /// Held while its pages are looked for, so that readers at the same time ask once.
    opened: tokio::sync::Mutex<Weak<Layout>>,
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
                let bounds_of = match name {
                    schema::TIMELINES_FILE => Some(column::TIMESTAMP),
                    schema::SERIES_FILE => Some(column::METRIC),
                    _ => None,
                };
                let (footer_bytes, opened) = (file.footer_bytes, tokio::sync::Mutex::default());
                File { object, footer_bytes, bounds_of, opened, first_row: first, rows: file.rows }
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
            source: Arc::new(Source::new(bucket, caches.of_tenant(&meta.tenant), sums)),
            whole: tokio::sync::Mutex::default(),
            whole_max,
            meta,
        };
        Ok(Self { inner: Arc::new(inner), account: Account::default() })
    }

    /// The same block; what is read of it is charged to `account`.
    #[must_use]
    pub fn charged_to(&self, account: &Account) -> Self {
        Self { inner: Arc::clone(&self.inner), account: account.clone() }
    }

    /// Tells it from other blocks.
    pub(crate) fn id(&self) -> u64 {
        self.inner.series.object.id
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
        let layout = match self.known_layout(file) {
            Some(layout) => layout,
            None => {
                let mut opened = file.opened.lock().await;
                match opened.upgrade() {
                    Some(layout) => layout,
                    None => {
                        let start = file.object.bytes.saturating_sub(file.footer_bytes);
                        let tail = fetch::get_checked(&self.source, &file.object, start..file.object.bytes).await?;
                        let layout = self.keep_layout(file, &tail)?;
                        *opened = Arc::downgrade(&layout);
                        layout
                    }
                }
            }
        };
        Ok(OpenFile { object: Arc::clone(&file.object), first_row: file.first_row, layout })
    }

    pub(super) async fn open_all(&self, files: &[File]) -> Result<Vec<OpenFile>, ReadError> {
        try_join_all(files.iter().map(|file| self.open(file))).await
    }

    fn keep_layout(&self, file: &File, tail: &Bytes) -> Result<Arc<Layout>, ReadError> {
        let layout = Arc::new(Layout::read(&file.object.key, file.object.bytes, tail, file.bounds_of)?);
        if layout.rows != file.rows {
            return Err(PageError("the file has more or fewer rows than its block says").at(&file.object.key, 0));
        }
        let key = CacheKey { object: file.object.id, kind: CacheKind::Layout, place: 0 };
        self.source.cache.insert(key, Arc::clone(&layout), layout.memory());
        Ok(layout)
    }

    /// The series file: all of it when it is small, its pages' places otherwise.
    pub(super) async fn open_series(&self, account: &Account) -> Result<SeriesFile, ReadError> {
        let object = &self.series.object;
        if object.bytes > self.whole_max {
            let file = self.open(&self.series).await?;
            return Ok(SeriesFile { file, whole: None, parts: Fetched::default(), _held: None });
        }
        let held = Some(Arc::new(account.hold(object.bytes as usize)?));
        let whole = self.whole_series().await?;
        let layout = match self.known_layout(&self.series) {
            Some(layout) => layout,
            None => self.keep_layout(&self.series, &whole)?,
        };
        let file = OpenFile { object: Arc::clone(object), first_row: 0, layout };
        Ok(SeriesFile { file, whole: Some(whole), parts: Fetched::default(), _held: held })
    }

    /// The pages of a file, if they are in memory.
    pub(super) fn known_layout(&self, file: &File) -> Option<Arc<Layout>> {
        self.source.cache.get(&CacheKey { object: file.object.id, kind: CacheKind::Layout, place: 0 })
    }

    /// Whether all bytes of the series file are in memory.
    pub(super) fn has_whole_series(&self) -> bool {
        self.series.object.bytes <= self.whole_max && self.source.cache.contains(&self.whole_key())
    }

    fn whole_key(&self) -> CacheKey {
        CacheKey { object: self.series.object.id, kind: CacheKind::Column, place: u64::MAX }
    }

    /// All bytes of the series file.
    async fn whole_series(&self) -> Result<Arc<Bytes>, ReadError> {
        let object = &self.series.object;
        let key = self.whole_key();
        if let Some(whole) = self.source.cache.get::<Bytes>(&key) {
            return Ok(whole);
        }
        let mut known = self.whole.lock().await;
        if let Some(whole) = known.upgrade() {
            return Ok(whole);
        }
        let whole = Arc::new(fetch::get_checked(&self.source, object, 0..object.bytes).await?);
        self.source.cache.insert(key, Arc::clone(&whole), whole.len());
        *known = Arc::downgrade(&whole);
        Ok(whole)
    }

    /// The series file with the bytes of some columns: of their pages that have some of the rows.
    pub(super) async fn with_columns(
        &self,
        series: &SeriesFile,
        paths: impl IntoIterator<Item = String>,
        rows: &RowRanges,
        account: &Account,
    ) -> Result<SeriesColumns, ReadError> {
        let mut parts = series.parts.clone();
        if series.whole.is_none() {
            let mut wanted = Vec::new();
            for path in paths {
                series.want(&path, rows, &mut wanted);
            }
            parts.extend(fetch::fetch(&self.source, CacheKind::Column, wanted, account).await?);
        }
        let bytes = ColumnBytes {
            object: Arc::clone(&series.file.object),
            cache: self.source.cache.clone(),
            whole: series.whole.clone(),
            parts,
        };
        Ok(SeriesColumns { file: series.file.clone(), bytes: Arc::new(bytes) })
    }

    /// The same series file; the bytes of some columns are kept with it, and those of others unless they are many.
    pub(super) async fn keep_columns(
        &self,
        mut series: SeriesFile,
        paths: impl IntoIterator<Item = String>,
        others: impl IntoIterator<Item = String>,
        rows: &RowRanges,
        account: &Account,
    ) -> Result<SeriesFile, ReadError> {
        if series.is_large() {
            let (mut wanted, mut along) = (Vec::new(), Vec::new());
            paths.into_iter().for_each(|path| series.want(&path, rows, &mut wanted));
            others.into_iter().for_each(|path| series.want(&path, rows, &mut along));
            if fetch::bytes(&along) <= ALONG_MAX {
                wanted.extend(along);
            }
            series.parts.extend(fetch::fetch(&self.source, CacheKind::Column, wanted, account).await?);
        }
        Ok(series)
    }

    /// The columns that reading series takes: where their samples are, who they are, and their labels.
    pub(super) fn series_columns(&self) -> impl Iterator<Item = String> {
        let labels = self.meta.label_columns.iter().map(String::as_str).chain([METRIC_NAME]).map(label_path);
        let hashes = [column::FINGERPRINT, column::FINGERPRINT_HIGH].map(str::to_owned);
        NumberColumns::paths().chain(hashes).chain(labels)
    }

    /// Whether a label has a column.
    pub(super) fn has_column(&self, label: &str) -> bool {
        label == METRIC_NAME || self.meta.label_columns.iter().any(|name| name == label)
    }

    /// The labels without a column, `None` if there are none.
    pub(super) async fn overflow(
        &self,
        series: &SeriesFile,
        account: &Account,
    ) -> Result<Option<Arc<Overflow>>, ReadError> {
        if !self.meta.labels_overflow {
            return Ok(None);
        }
        let place = series.file.column(KEYS)?.pages.first().map_or(0, |page| page.offset);
        let key = CacheKey { object: series.file.object.id, kind: CacheKind::Series, place };
        if let Some(found) = self.source.cache.get::<Overflow>(&key) {
            return Ok(Some(found));
        }
        let all = RowRanges::all(series.file.layout.rows as u32);
        let columns = self.with_columns(series, [KEYS.to_owned(), VALUES.to_owned()], &all, account).await?;
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

/// Opens what reading samples needs, all at once.
pub(super) async fn open_for_samples(block: &Block) -> Result<(SeriesFile, Vec<OpenFile>, Vec<OpenFile>), ReadError> {
    let inner = &block.inner;
    let files = try_join(inner.open_all(&inner.samples), inner.open_all(&inner.timelines));
    let (series, (samples, timelines)) = try_join(inner.open_series(&block.account), files).await?;
    Ok((series, samples, timelines))
}
