//! Series of a block that were selected, and where their samples are.

use super::block::{Block, Inner, OpenFile, label_path};
use super::cache::CacheKind;
use super::columns::{Column, TextPage};
use super::error::ReadError;
use super::fetch::{self, Fetched, Object, Wanted};
use super::labels::BlockLabels;
use super::open_pages;
use super::rows::RowRanges;
use super::samples::{Times, for_each_page, plan};
use super::series_file::{Entry, NumberColumns, SeriesFile, Spot, fill};
use crate::account::{Account, Held};
use crate::append::LabelHash;
use crate::block::schema::column;
use crate::select::TimeRange;
use futures::future::try_join;
use model::labels::METRIC_NAME;
use model::metadata::MetricType;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Selected series, addressed by index; any thread may read any of them at any time, once their samples were fetched.
#[derive(Debug)]
pub struct BlockSeries {
    pub(super) block: Arc<Inner>,
    /// Who is charged for what is read.
    pub(super) account: Account,
    /// Rows of the series file, ascending.
    rows: Vec<u32>,
    ranges: RowRanges,
    _held: Held,
    series: SeriesFile,
    numbers: NumberColumns,
    /// Of all selected series, once somebody asked.
    spots: OnceLock<Box<[Spot]>>,
    pub(super) samples: Vec<OpenFile>,
    pub(super) timelines: Vec<OpenFile>,
}

/// What of the series is fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct What {
    /// Float samples.
    pub floats: bool,
    /// Native histograms.
    pub histograms: bool,
    /// Start timestamps of what else is fetched.
    pub starts: bool,
}

impl What {
    /// Float samples alone.
    pub const FLOATS: Self = Self { floats: true, histograms: false, starts: false };
    /// Everything.
    pub const ALL: Self = Self { floats: true, histograms: true, starts: true };
}

impl BlockSeries {
    pub(super) async fn new(
        block: &Block,
        series: SeriesFile,
        samples: Vec<OpenFile>,
        timelines: Vec<OpenFile>,
        ranges: RowRanges,
    ) -> Result<Self, ReadError> {
        let Block { inner, account } = block;
        // Row and spot, and hash and place in what it becomes part of.
        let held = account.hold(ranges.count() * (32 + size_of::<Spot>()))?;
        let (paths, others) = (NumberColumns::paths(), inner.series_columns());
        let series = inner.keep_columns(series, paths, others, &ranges, account).await?;
        let columns = inner.with_columns(&series, NumberColumns::paths(), &ranges, account).await?;
        Ok(Self {
            block: Arc::clone(inner),
            account: account.clone(),
            rows: ranges.iter().collect(),
            ranges,
            _held: held,
            numbers: NumberColumns::new(&columns)?,
            spots: OnceLock::new(),
            series,
            samples,
            timelines,
        })
    }

    /// How many series were selected.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The number of a series in its block: ascends with the index, in the block's order of series.
    #[must_use]
    pub fn row(&self, index: usize) -> u32 {
        self.rows.get(index).copied().unwrap_or(u32::MAX)
    }

    /// The identities of all selected series.
    ///
    /// # Errors
    /// The block cannot be read.
    pub async fn hashes(&self) -> Result<Vec<LabelHash>, ReadError> {
        let halves = [column::FINGERPRINT, column::FINGERPRINT_HIGH].map(str::to_owned);
        let columns = self.block.with_columns(&self.series, halves, &self.ranges, &self.account).await?;
        let low: Column<super::column::Numbers> = columns.column(column::FINGERPRINT)?;
        let high: Column<super::column::Numbers> = columns.column(column::FINGERPRINT_HIGH)?;
        let mut hashes = vec![0u128; self.rows.len()];
        fill(&high, &self.ranges, &mut hashes, |hash, high| *hash = u128::from(high.unwrap_or(0)) << 64)?;
        fill(&low, &self.ranges, &mut hashes, |hash, low| *hash |= u128::from(low.unwrap_or(0)))?;
        Ok(hashes.into_iter().map(LabelHash).collect())
    }

    /// The labels of the selected series: all of them, or only `names`.
    ///
    /// # Errors
    /// The block cannot be read.
    pub async fn labels(&self, names: Option<&[&str]>) -> Result<BlockLabels, ReadError> {
        let mut wanted: Vec<&str> = match names {
            Some(names) => names.iter().copied().filter(|name| self.block.has_column(name)).collect(),
            None => self.block.meta.label_columns.iter().map(String::as_str).chain([METRIC_NAME]).collect(),
        };
        wanted.sort_unstable();
        wanted.dedup();
        let paths = wanted.iter().map(|name| label_path(name));
        let resident = self.block.with_columns(&self.series, paths, &self.ranges, &self.account).await?;
        let column = |name: &&str| Ok(((*name).to_owned(), resident.column(&label_path(name))?));
        let columns = wanted.iter().map(column).collect::<Result<_, ReadError>>()?;
        let outside = names.is_none_or(|names| names.iter().any(|name| !self.block.has_column(name)));
        let overflow = if outside { self.block.overflow(&self.series, &self.account).await? } else { None };
        Ok(BlockLabels { rows: self.rows.clone(), columns, overflow })
    }

    /// The types of the metrics of all selected series.
    ///
    /// # Errors
    /// The block cannot be read.
    pub async fn metric_types(&self) -> Result<Vec<MetricType>, ReadError> {
        let paths = [column::TYPE.to_owned()];
        let columns = self.block.with_columns(&self.series, paths, &self.ranges, &self.account).await?;
        let types: Column<TextPage> = columns.column(column::TYPE)?;
        self.rows.iter().map(|row| Ok(types.text(*row)?.parse().unwrap_or_default())).collect()
    }

    /// Whether the block may have samples in a range.
    pub(crate) fn may_hold(&self, range: TimeRange) -> bool {
        self.block.meta.max_ms > range.after_ms && self.block.meta.min_ms <= range.until_ms
    }

    /// Whether any series of the block may have the label.
    #[must_use]
    pub fn may_have_label(&self, name: &str) -> bool {
        self.block.has_column(name) || self.block.meta.labels_overflow
    }

    /// Whether some of the native histograms were left out.
    pub(crate) fn is_thinned(&self) -> bool {
        self.block.meta.thinned_ms > 0
    }

    /// Whether a series has native histograms.
    ///
    /// # Errors
    /// The block cannot be read.
    pub fn has_histograms(&self, index: usize) -> Result<bool, ReadError> {
        Ok(self.block.meta.histograms > 0 && !self.numbers.histograms(self.row(index))?.0.is_empty())
    }

    /// Whether a series has start timestamps of float samples, or histograms, which may have some.
    ///
    /// # Errors
    /// The block cannot be read.
    pub fn has_start_timestamps(&self, index: usize) -> Result<bool, ReadError> {
        let entry = self.entry(index)?;
        Ok(entry.has_starts || !entry.histograms.is_empty())
    }

    /// First and last sample of a series, `None` if it has nothing but exemplars.
    ///
    /// # Errors
    /// The block cannot be read.
    pub fn time_range_ms(&self, index: usize) -> Result<Option<(i64, i64)>, ReadError> {
        let (min_ms, max_ms) = self.spot(index)?.times_ms();
        Ok((min_ms <= max_ms).then_some((min_ms, max_ms)))
    }

    pub(super) fn entry(&self, index: usize) -> Result<Entry, ReadError> {
        let mut entry = self.spot(index)?.entry();
        if self.block.meta.histograms > 0 {
            (entry.histograms, entry.buckets) = self.numbers.histograms(self.row(index))?;
        }
        Ok(entry)
    }

    /// Rows of exemplars of a series.
    pub(super) fn exemplar_rows(&self, index: usize) -> Result<Range<u64>, ReadError> {
        self.numbers.exemplars(self.row(index))
    }

    fn spot(&self, index: usize) -> Result<&Spot, ReadError> {
        let spots = match self.spots.get() {
            Some(spots) => spots,
            None => {
                let read = self.numbers.spots(&self.ranges)?;
                self.spots.get_or_init(|| read)
            }
        };
        let missing = || ReadError::unreadable(&self.block.series.object.key, "a series was not selected");
        spots.get(index).ok_or_else(missing)
    }

    /// Fetches what reading some series in a range takes: as much as is not cached, in one round trip for floats (two where
    /// that saves much) and two for histograms. What was fetched stays in memory, compressed, until it is dropped.
    ///
    /// # Errors
    /// The block cannot be read.
    pub async fn fetch(&self, indices: Range<usize>, range: TimeRange, what: What) -> Result<BlockPages, ReadError> {
        let mut floats = Vec::new();
        let (mut histograms, mut buckets) = (Vec::new(), Vec::new());
        for index in indices.start..indices.end.min(self.len()) {
            let entry = self.entry(index)?;
            if entry.max_ms <= range.after_ms || entry.min_ms > range.until_ms {
                continue;
            }
            if what.histograms && !entry.histograms.is_empty() {
                push_rows(&mut histograms, entry.histograms.clone());
                push_rows(&mut buckets, entry.buckets.clone());
            }
            if what.floats && !entry.rows.is_empty() {
                floats.push(entry);
            }
        }
        let floats = self.fetch_floats(&floats, range, what);
        let (floats, mut pages) = try_join(floats, self.fetch_histograms(&histograms, &buckets)).await?;
        pages.fetched.extend(floats);
        Ok(pages)
    }

    /// Fetches samples and their timelines: at once, or the timelines first where that saves pages of samples.
    async fn fetch_floats(&self, entries: &[Entry], range: TimeRange, what: What) -> Result<Fetched, ReadError> {
        let source = &self.block.source;
        let timelines = self.wanted_timelines(entries, range)?;
        let is_cut = |entry: &Entry| entry.min_ms <= range.after_ms || entry.max_ms > range.until_ms;
        let cut = !timelines.is_empty() && entries.iter().any(is_cut);
        // Timelines that are here tell exactly which pages of samples are needed.
        if !cut || !fetch::is_cached(source, CacheKind::Page, &timelines) {
            let mut wanted = self.wanted_samples(entries, what, |entry| Ok(plan(entry, range).1))?;
            let about = |entry: &Entry| match plan(entry, range) {
                (Times::Steps, rows) => Ok(rows),
                _ => Ok(entry.samples_about(range)),
            };
            let mut saved = 0;
            if cut {
                saved = fetch::bytes(&wanted).saturating_sub(fetch::bytes(&self.wanted_samples(entries, what, about)?));
            }
            if saved < ROUND_TRIP_BYTES {
                wanted.extend(timelines);
                return fetch::fetch(source, CacheKind::Page, wanted, &self.account).await;
            }
        }
        let mut fetched = fetch::fetch(source, CacheKind::Page, timelines, &self.account).await?;
        let wanted = open_pages::with(&source.cache, |open| {
            self.wanted_samples(entries, what, |entry| match plan(entry, range) {
                (Times::Steps, rows) => Ok(rows),
                _ => entry.samples_in(self, &fetched, range, open),
            })
        })?;
        fetched.extend(fetch::fetch(source, CacheKind::Page, wanted, &self.account).await?);
        Ok(fetched)
    }

    /// The pages of timelines that may have timestamps in the range.
    fn wanted_timelines(&self, entries: &[Entry], range: TimeRange) -> Result<Vec<Wanted>, ReadError> {
        let mut wanted: Vec<Wanted> = Vec::new();
        for entry in entries.iter().filter(|entry| plan(entry, range).0 != Times::Steps) {
            let Some((first, last)) = entry.ts_rows else { continue };
            for_each_page(&self.timelines, column::TIMESTAMP, first..last + 1, |file, column, number, place, _| {
                if column.may_hold(number, range.after_ms, range.until_ms) {
                    push_new(&mut wanted, &file.object, place.range());
                }
                Ok(())
            })?;
        }
        fetch::sort(&mut wanted);
        Ok(wanted)
    }

    /// The pages of samples with the rows that `rows` names.
    fn wanted_samples(
        &self,
        entries: &[Entry],
        what: What,
        mut rows: impl FnMut(&Entry) -> Result<Range<u64>, ReadError>,
    ) -> Result<Vec<Wanted>, ReadError> {
        let mut wanted = Vec::new();
        for entry in entries {
            let rows = rows(entry)?;
            let mut want = |path| want_rows(&self.samples, path, &rows, &mut wanted);
            if plan(entry, TimeRange::ALL).0 == Times::Gaps {
                want(column::TS_ROW)?;
            }
            want(column::MANTISSA)?;
            if entry.has_raw {
                want(column::RAW)?;
            }
            if entry.divisor.is_none() {
                want(column::DIVISOR)?;
            }
            if what.starts && entry.has_starts {
                want(column::START_TS)?;
            }
        }
        fetch::sort(&mut wanted);
        Ok(wanted)
    }
}

/// What a store sends in the time of another round trip, about.
const ROUND_TRIP_BYTES: u64 = 1 << 20;

/// Adds rows behind those that are there.
fn push_rows(ranges: &mut Vec<Range<u64>>, rows: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == rows.start => last.end = rows.end,
        _ => ranges.push(rows),
    }
}

/// Adds the pages of a column that have some rows, and their dictionaries.
pub(super) fn want_rows(
    files: &[OpenFile],
    path: &str,
    rows: &Range<u64>,
    wanted: &mut Vec<Wanted>,
) -> Result<(), ReadError> {
    for file in files {
        let end = file.first_row + file.layout.rows;
        let within = rows.start.max(file.first_row)..rows.end.min(end);
        if within.is_empty() {
            continue;
        }
        let column = file.column(path)?;
        let numbers = column.pages_of(&(within.start - file.first_row..within.end - file.first_row));
        for page in column.pages.get(numbers).unwrap_or_default() {
            if let Some(group) = column.groups.get(page.group as usize).filter(|group| !group.dictionary.is_empty()) {
                push_new(wanted, &file.object, group.dictionary.clone());
            }
            push_new(wanted, &file.object, page.range());
        }
    }
    Ok(())
}

/// Adds a range that is not among the last ones: neighbouring series share pages.
fn push_new(wanted: &mut Vec<Wanted>, object: &Arc<Object>, range: Range<u64>) {
    let known = |last: &Wanted| last.object.id == object.id && last.range.start == range.start;
    if !wanted.iter().rev().take(8).any(known) {
        wanted.push(Wanted { object: Arc::clone(object), range });
    }
}

/// Pages of samples that were fetched.
#[derive(Debug, Clone, Default)]
pub struct BlockPages {
    pub(super) fetched: Fetched,
    pub(super) histograms: Vec<OpenFile>,
    pub(super) hist_buckets: Vec<OpenFile>,
}

impl BlockPages {
    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.fetched.bytes()
    }
}
