//! The series file as far as it is here: the whole of a small one, of a large one the pages that were fetched.

use super::block::OpenFile;
use super::column::Numbers;
use super::columns::{Column, ColumnBytes, Decode};
use super::error::ReadError;
use super::fetch::{Fetched, Wanted};
use super::rows::RowRanges;
use crate::account::Held;
use crate::block::schema::column;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// The series file, as far as it was fetched.
#[derive(Debug, Clone)]
pub(super) struct SeriesFile {
    pub(super) file: OpenFile,
    /// All of it, when it is small.
    pub(super) whole: Option<Arc<Bytes>>,
    /// Pages that were fetched beforehand.
    pub(super) parts: Fetched,
    /// What `whole` is charged as.
    pub(super) _held: Option<Arc<Held>>,
}

impl SeriesFile {
    /// Whether columns have to be fetched.
    pub(super) fn is_large(&self) -> bool {
        self.whole.is_none()
    }

    /// Adds the pages of a column that have some of the rows, and their dictionaries, as far as they are not here.
    pub(super) fn want(&self, path: &str, rows: &RowRanges, wanted: &mut Vec<Wanted>) {
        let Some(column) = self.file.layout.column(path) else { return };
        let mut want = |range: Range<u64>| {
            let known = wanted.last().is_some_and(|last| last.range.start == range.start);
            if !range.is_empty() && !known && self.parts.get(&self.file.object, range.start).is_none() {
                wanted.push(Wanted { object: Arc::clone(&self.file.object), range });
            }
        };
        let mut group = None;
        for range in rows.ranges() {
            let pages = column.pages_of(&(u64::from(range.start)..u64::from(range.end)));
            for page in column.pages.get(pages).unwrap_or_default() {
                if group.replace(page.group) != Some(page.group)
                    && let Some(place) = column.groups.get(page.group as usize)
                {
                    want(place.dictionary.clone());
                }
                want(page.range());
            }
        }
    }
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
