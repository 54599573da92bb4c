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

const NUMBERS: [&str; 16] = [
    // Of float samples.
    column::ROW_START,
    column::ROW_COUNT,
    column::RAW_COUNT,
    column::HAS_STARTS,
    column::TS_ROW_FIRST,
    column::TS_ROW_LAST,
    column::DIVISOR,
    column::STEP_MS,
    column::MIN_TS,
    column::MAX_TS,
    // Of what few series have.
    column::HISTOGRAM_START,
    column::HISTOGRAM_COUNT,
    column::BUCKET_START,
    column::BUCKET_COUNT,
    column::EXEMPLAR_START,
    column::EXEMPLAR_COUNT,
];

/// Where the float samples of one series are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot {
    start: u64,
    count: u32,
    has_raw: bool,
    has_starts: bool,
    has_divisor: bool,
    has_times: bool,
    ts_rows: (u64, u64),
    divisor: f64,
    step_ms: u64,
    min_ms: i64,
    max_ms: i64,
}

impl Spot {
    const NONE: Self = Self {
        start: 0,
        count: 0,
        has_raw: false,
        has_starts: false,
        has_divisor: false,
        has_times: true,
        ts_rows: (0, 0),
        divisor: 0.0,
        step_ms: 0,
        min_ms: i64::MAX,
        max_ms: i64::MIN,
    };

    pub(super) fn entry(&self) -> Entry {
        Entry {
            rows: self.start..self.start.saturating_add(self.count.into()),
            has_raw: self.has_raw,
            has_starts: self.has_starts,
            ts_rows: self.has_times.then_some(self.ts_rows),
            divisor: self.has_divisor.then_some(self.divisor),
            step_ms: self.step_ms,
            min_ms: self.min_ms,
            max_ms: self.max_ms,
            histograms: 0..0,
            buckets: 0..0,
        }
    }

    pub(super) fn times_ms(&self) -> (i64, i64) {
        (self.min_ms, self.max_ms)
    }
}

/// Where the samples of one series are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) rows: Range<u64>,
    /// Whether some values have no mantissa.
    pub(super) has_raw: bool,
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

    /// Where the float samples of some series are, column by column.
    pub(super) fn spots(&self, rows: &RowRanges) -> Result<Box<[Spot]>, ReadError> {
        let mut spots = vec![Spot::NONE; rows.count()];
        let [start, count, raw, starts, ts_first, ts_last, divisor, step, min, max, ..] = &self.columns;
        fill(start, rows, &mut spots, |spot, start| spot.start = start.unwrap_or(0))?;
        let short = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        fill(count, rows, &mut spots, |spot, count| spot.count = short(count.unwrap_or(0)))?;
        fill(raw, rows, &mut spots, |spot, count| spot.has_raw = count.unwrap_or(0) > 0)?;
        fill(starts, rows, &mut spots, |spot, has| spot.has_starts = has == Some(1))?;
        fill(ts_first, rows, &mut spots, |spot, row| match row {
            Some(row) => spot.ts_rows.0 = row,
            None => spot.has_times = false,
        })?;
        fill(ts_last, rows, &mut spots, |spot, row| match row {
            Some(row) => spot.ts_rows.1 = row,
            None => spot.has_times = false,
        })?;
        fill(divisor, rows, &mut spots, |spot, divisor| {
            (spot.has_divisor, spot.divisor) = (divisor.is_some(), f64::from_bits(divisor.unwrap_or(0)));
        })?;
        fill(step, rows, &mut spots, |spot, ms| spot.step_ms = ms.unwrap_or(0))?;
        fill(min, rows, &mut spots, |spot, ms| spot.min_ms = ms.map_or(i64::MAX, |ms| ms as i64))?;
        fill(max, rows, &mut spots, |spot, ms| spot.max_ms = ms.map_or(i64::MIN, |ms| ms as i64))?;
        Ok(spots.into())
    }

    /// Rows of histograms and of buckets of one series.
    pub(super) fn histograms(&self, row: u32) -> Result<(Range<u64>, Range<u64>), ReadError> {
        let [.., histogram, histograms, bucket, buckets, _, _] = &self.columns;
        Ok((range(histogram, histograms, row)?, range(bucket, buckets, row)?))
    }

    /// Rows of exemplars of one series.
    pub(super) fn exemplars(&self, row: u32) -> Result<Range<u64>, ReadError> {
        let [.., exemplar, exemplars] = &self.columns;
        range(exemplar, exemplars, row)
    }
}

fn range(start: &Column<Numbers>, count: &Column<Numbers>, row: u32) -> Result<Range<u64>, ReadError> {
    let start = start.number(row)?.unwrap_or(0);
    Ok(start..start.saturating_add(count.number(row)?.unwrap_or(0)))
}

/// Hands what some rows of a column have to one of `into` each.
pub(super) fn fill<T>(
    column: &Column<Numbers>,
    rows: &RowRanges,
    into: &mut [T],
    mut take: impl FnMut(&mut T, Option<u64>),
) -> Result<(), ReadError> {
    let mut into = into.iter_mut();
    column.for_each_part(rows, |page, first, part| {
        let part = (part.start - first) as usize..(part.end - first) as usize;
        // Exactly so many, even if the page has fewer.
        let mut these = into.by_ref().take(part.len());
        page.for_each(part, |value| {
            if let Some(one) = these.next() {
                take(one, value);
            }
        });
        these.for_each(|one| take(one, None));
        Ok(())
    })
}
