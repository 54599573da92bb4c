//! Series of a block that were selected, and where their samples are.

use super::block::{Block, Entry, Inner, NumberColumns, OpenFile, SeriesFile, label_path};
use super::cache::CacheKind;
use super::column::ABSENT;
use super::columns::{Column, TextPage};
use super::error::ReadError;
use super::fetch::{self, Fetched, Object, Wanted};
use super::open_pages;
use super::overflow::Overflow;
use super::rows::RowRanges;
use super::samples::{Times, for_each_page, plan};
use crate::append::LabelHash;
use crate::block::schema::column;
use crate::select::TimeRange;
use model::labels::{Labels, METRIC_NAME};
use model::metadata::MetricType;
use std::ops::Range;
use std::sync::Arc;

/// Selected series, addressed by index; any thread may read any of them at any time, once their samples were fetched.
#[derive(Debug)]
pub struct BlockSeries {
    pub(super) block: Arc<Inner>,
    /// Rows of the series file, ascending.
    rows: Vec<u32>,
    series: SeriesFile,
    numbers: NumberColumns,
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
        series: &SeriesFile,
        samples: Vec<OpenFile>,
        timelines: Vec<OpenFile>,
        rows: &RowRanges,
    ) -> Result<Self, ReadError> {
        let columns = block.inner.with_columns(series, NumberColumns::paths()).await?;
        Ok(Self {
            block: Arc::clone(&block.inner),
            rows: rows.iter().collect(),
            series: series.clone(),
            numbers: NumberColumns::new(&columns)?,
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
        let columns = self.block.with_columns(&self.series, halves).await?;
        let low: Column<super::column::Numbers> = columns.column(column::FINGERPRINT)?;
        let high: Column<super::column::Numbers> = columns.column(column::FINGERPRINT_HIGH)?;
        let hash = |row: &u32| {
            let (low, high) = (low.number(*row)?.unwrap_or(0), high.number(*row)?.unwrap_or(0));
            Ok(LabelHash(u128::from(high) << 64 | u128::from(low)))
        };
        self.rows.iter().map(hash).collect()
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
        let resident = self.block.with_columns(&self.series, wanted.iter().map(|name| label_path(name))).await?;
        let column = |name: &&str| Ok(((*name).to_owned(), resident.column(&label_path(name))?));
        let columns = wanted.iter().map(column).collect::<Result<_, ReadError>>()?;
        let outside = names.is_none_or(|names| names.iter().any(|name| !self.block.has_column(name)));
        let overflow = if outside { self.block.overflow(&self.series).await? } else { None };
        Ok(BlockLabels { rows: self.rows.clone(), columns, overflow })
    }

    /// The types of the metrics of all selected series.
    ///
    /// # Errors
    /// The block cannot be read.
    pub async fn metric_types(&self) -> Result<Vec<MetricType>, ReadError> {
        let columns = self.block.with_columns(&self.series, [column::TYPE.to_owned()]).await?;
        let types: Column<TextPage> = columns.column(column::TYPE)?;
        self.rows.iter().map(|row| Ok(types.text(*row)?.parse().unwrap_or_default())).collect()
    }

    /// Whether any series of the block may have the label.
    #[must_use]
    pub fn may_have_label(&self, name: &str) -> bool {
        self.block.has_column(name) || self.block.meta.labels_overflow
    }

    /// Whether a series has native histograms.
    ///
    /// # Errors
    /// The block cannot be read.
    pub fn has_histograms(&self, index: usize) -> Result<bool, ReadError> {
        Ok(self.block.meta.histograms > 0 && !self.entry(index)?.histograms.is_empty())
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
        let entry = self.entry(index)?;
        Ok((entry.min_ms <= entry.max_ms).then_some((entry.min_ms, entry.max_ms)))
    }

    pub(super) fn entry(&self, index: usize) -> Result<Entry, ReadError> {
        self.numbers.entry(self.row(index))
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
        let fetched = self.fetch_floats(&floats, range, what).await?;
        let mut pages = BlockPages { fetched, histograms: Vec::new(), hist_buckets: Vec::new() };
        if !histograms.is_empty() {
            self.fetch_histograms(&histograms, &buckets, &mut pages).await?;
        }
        Ok(pages)
    }

    /// Fetches samples and their timelines: at once, or the timelines first where that saves pages of samples.
    async fn fetch_floats(&self, entries: &[Entry], range: TimeRange, what: What) -> Result<Fetched, ReadError> {
        let source = &self.block.source;
        let mut wanted = self.wanted_samples(entries, what, |entry| Ok(plan(entry, range).1))?;
        let timelines = self.wanted_timelines(entries, range)?;
        let is_cut = |entry: &Entry| entry.min_ms <= range.after_ms || entry.max_ms > range.until_ms;
        let about = |entry: &Entry| match plan(entry, range) {
            (Times::Steps, rows) => Ok(rows),
            _ => Ok(entry.samples_about(range)),
        };
        let mut saved = 0;
        if !timelines.is_empty() && entries.iter().any(is_cut) {
            saved = bytes(&wanted).saturating_sub(bytes(&self.wanted_samples(entries, what, about)?));
        }
        let worth_it = saved >= ROUND_TRIP_BYTES || saved > 0 && fetch::is_cached(source, CacheKind::Page, &timelines);
        if !worth_it {
            wanted.extend(timelines);
            return fetch::fetch(source, CacheKind::Page, wanted).await;
        }
        let mut fetched = fetch::fetch(source, CacheKind::Page, timelines).await?;
        let wanted = open_pages::with(&source.cache, |open| {
            self.wanted_samples(entries, what, |entry| match plan(entry, range) {
                (Times::Steps, rows) => Ok(rows),
                _ => entry.samples_in(self, &fetched, range, open),
            })
        })?;
        fetched.extend(fetch::fetch(source, CacheKind::Page, wanted).await?);
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
            if entry.raw_count > 0 {
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

fn bytes(wanted: &[Wanted]) -> u64 {
    wanted.iter().map(|wanted| wanted.range.end - wanted.range.start).sum()
}

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
#[derive(Debug, Clone)]
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

/// Labels of selected series.
#[derive(Debug)]
pub struct BlockLabels {
    rows: Vec<u32>,
    /// In ascending order of names.
    columns: Vec<(String, Column<TextPage>)>,
    overflow: Option<Arc<Overflow>>,
}

impl BlockLabels {
    /// All that were asked for of the labels of one series; without restriction, its labels.
    ///
    /// # Errors
    /// The block is damaged.
    pub fn of(&self, index: usize) -> Result<Labels, ReadError> {
        self.collect(index, |_| true)
    }

    /// Those of the labels that are among `names` (sorted).
    ///
    /// # Errors
    /// The block is damaged.
    pub fn among(&self, index: usize, names: &[&str]) -> Result<Labels, ReadError> {
        self.collect(index, |name| names.binary_search(&name).is_ok())
    }

    fn collect(&self, index: usize, keep: impl Fn(&str) -> bool) -> Result<Labels, ReadError> {
        let row = self.row(index);
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(self.columns.len());
        for (name, column) in self.columns.iter().filter(|(name, _)| keep(name)) {
            let value = column.text(row)?;
            if !value.is_empty() {
                pairs.push((name, value));
            }
        }
        if let Some(overflow) = &self.overflow {
            pairs.extend(overflow.labels(row).filter(|(name, _)| keep(name)));
            pairs.sort_unstable();
        }
        Ok(Labels::from_sorted(pairs))
    }

    fn row(&self, index: usize) -> u32 {
        self.rows.get(index).copied().unwrap_or(u32::MAX)
    }

    /// The value of one label, empty when it is absent.
    ///
    /// # Errors
    /// The block is damaged.
    pub fn value(&self, index: usize, name: &str) -> Result<&str, ReadError> {
        let row = self.row(index);
        if let Some((_, column)) = self.columns.iter().find(|(other, _)| other == name) {
            return column.text(row);
        }
        let mut labels = self.overflow.iter().flat_map(|overflow| overflow.labels(row));
        Ok(labels.find(|(other, _)| *other == name).map_or("", |(_, value)| value))
    }

    /// Appends two numbers for each of the `names` that stand for its value: within one block, equal numbers mean equal
    /// values. Only names that were asked for have numbers.
    ///
    /// # Errors
    /// The block is damaged.
    pub fn numbers(&self, index: usize, names: &[&str], into: &mut Vec<u32>) -> Result<(), ReadError> {
        const IN_MAP: u32 = u32::MAX - 1;
        let row = self.row(index);
        for name in names {
            let numbers = match self.columns.binary_search_by(|(other, _)| other.as_str().cmp(name)) {
                Ok(at) => match self.columns.get(at) {
                    Some((_, column)) => {
                        let (page, at) = column.page_of(row)?;
                        match page.ids.get(at) {
                            ABSENT => [ABSENT, ABSENT],
                            id => [page.dictionary_number, id],
                        }
                    }
                    None => [ABSENT, ABSENT],
                },
                Err(_) => match self.overflow.as_ref().and_then(|overflow| overflow.value_number(row, name)) {
                    Some(id) => [IN_MAP, id],
                    None => [ABSENT, ABSENT],
                },
            };
            into.extend(numbers);
        }
        Ok(())
    }
}
