//! Reads the float samples of one series from pages that were fetched. Does not wait.
//!
//! Each thread keeps the pages it read last, open at the place where it stopped: series that follow each other in a block are
//! read without decoding anything twice.

use super::block::OpenFile;
use super::error::{PageError, ReadError};
use super::fetch::Fetched;
use super::layout::{ColumnLayout, PagePlace};
use super::open_pages::{self, OpenDelta, OpenPages};
use super::selection::{BlockPages, BlockSeries};
use super::series_file::Entry;
use crate::block::schema::column;
use crate::select::TimeRange;
use model::sample::{Sample, SampleColumns, stale_marker};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// How the timestamps of a series are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    /// From the first one and the step.
    Steps,
    /// All rows of its timeline from the first to the last.
    AllRows,
    /// Some rows of its timeline.
    Gaps,
}

/// How the timestamps are found, and which samples rows may be in the range as far as that is known without reading any.
pub(super) fn plan(entry: &Entry, range: TimeRange) -> (Times, Range<u64>) {
    let count = entry.rows.end - entry.rows.start;
    // With histograms, the first sample need not be a float.
    if entry.step_ms > 0 && entry.histograms.is_empty() {
        let until = |ms: i64| match u64::try_from(ms.saturating_sub(entry.min_ms)) {
            Ok(since) if ms >= entry.min_ms => (since / entry.step_ms).saturating_add(1).min(count),
            _ => 0,
        };
        let from = until(range.after_ms);
        return (Times::Steps, entry.rows.start + from..entry.rows.start + until(range.until_ms).max(from));
    }
    let times = match entry.ts_rows {
        Some((first, last)) if last.checked_sub(first).and_then(|n| n.checked_add(1)) == Some(count) => Times::AllRows,
        _ => Times::Gaps,
    };
    (times, entry.rows.clone())
}

impl BlockSeries {
    /// Replaces the content of `into` by the samples with `after_ms < t <= until_ms`, in order of time, stale markers
    /// included. Equal tokens from blocks of one tenant and one range mean equal timestamps.
    ///
    /// # Errors
    /// A page is damaged, or was not fetched.
    pub fn read(
        &self,
        pages: &BlockPages,
        index: usize,
        range: TimeRange,
        into: &mut SampleColumns,
    ) -> Result<Option<u64>, ReadError> {
        into.clear();
        open_pages::with(&self.block.source.cache, |open| self.read_floats(pages, index, range, into, open))
    }

    /// The newest sample of one series with `after_ms < t <= until_ms`, stale marker included.
    ///
    /// # Errors
    /// A page is damaged, or was not fetched.
    pub fn latest(&self, pages: &BlockPages, index: usize, range: TimeRange) -> Result<Option<Sample>, ReadError> {
        let entry = self.entry(index)?;
        open_pages::with(&self.block.source.cache, |open| {
            let (mut times, mut newest) = (std::mem::take(&mut open.times), std::mem::take(&mut open.newest));
            times.clear();
            newest.clear();
            let found = self.float_times(pages, &entry, range, &mut times, open)?;
            if let Some((rows, _)) = &found {
                let last = rows.end.saturating_sub(1).max(rows.start)..rows.end;
                read_values(&self.samples, &pages.fetched, &entry, last, &mut newest, open)?;
            }
            let sample = times.last().zip(newest.last());
            let sample = sample.map(|(timestamp_ms, value)| Sample { timestamp_ms: *timestamp_ms, value: *value });
            if sample.is_none() && found.is_some() {
                return Err(self.too_few_samples());
            }
            (open.times, open.newest) = (times, newest);
            Ok(sample)
        })
    }

    fn too_few_samples(&self) -> ReadError {
        let key = self.samples.first().map_or("", |file| &file.object.key);
        PageError("a series has fewer samples than its row says").at(key, 0)
    }

    fn read_floats(
        &self,
        pages: &BlockPages,
        index: usize,
        range: TimeRange,
        into: &mut SampleColumns,
        open: &mut OpenPages,
    ) -> Result<Option<u64>, ReadError> {
        let entry = self.entry(index)?;
        let found = self.float_times(pages, &entry, range, &mut into.timestamps_ms, open)?;
        let Some((rows, token)) = found else { return Ok(None) };
        read_values(&self.samples, &pages.fetched, &entry, rows, &mut into.values, open)?;
        if into.values.len() != into.timestamps_ms.len() {
            return Err(self.too_few_samples());
        }
        Ok(Some(token))
    }

    /// Appends the timestamps in the range and returns the rows that have them, with a token. `None` if there are none.
    pub(super) fn float_times(
        &self,
        pages: &BlockPages,
        entry: &Entry,
        range: TimeRange,
        into: &mut Vec<i64>,
        open: &mut OpenPages,
    ) -> Result<Option<(Range<u64>, u64)>, ReadError> {
        let total = self.samples.last().map_or(0, |file| file.first_row + file.layout.rows);
        if entry.rows.end > total {
            let key = &self.block.series.object.key;
            return Err(ReadError::unreadable(key, "a series has rows beyond the samples file"));
        }
        if entry.rows.is_empty() || entry.max_ms <= range.after_ms || entry.min_ms > range.until_ms {
            return Ok(None);
        }
        let (times, rows) = plan(entry, range);
        match times {
            Times::Steps => {
                let first =
                    entry.min_ms.wrapping_add((rows.start - entry.rows.start).wrapping_mul(entry.step_ms) as i64);
                let step = entry.step_ms as i64;
                let count = rows.end - rows.start;
                into.extend((0..count as i64).map(|n| first.wrapping_add(n.wrapping_mul(step))));
                Ok((count > 0).then(|| (rows, token_of([0, first as u64, entry.step_ms, count]))))
            }
            Times::AllRows => {
                let Some(found) = self.timeline_rows(&pages.fetched, entry, range, Some(into), open)? else {
                    return Ok(None);
                };
                let timelines = self.timelines.first().map_or(0, |file| file.object.id);
                let token = token_of([1, timelines, found.start, found.end - found.start]);
                Ok(Some((entry.samples_of(&found), token)))
            }
            Times::Gaps => self.times_with_gaps(pages, entry, range, into, open),
        }
    }

    fn times_with_gaps(
        &self,
        pages: &BlockPages,
        entry: &Entry,
        range: TimeRange,
        into: &mut Vec<i64>,
        open: &mut OpenPages,
    ) -> Result<Option<(Range<u64>, u64)>, ReadError> {
        let Some(within) = self.timeline_rows(&pages.fetched, entry, range, None, open)? else { return Ok(None) };
        let samples = entry.samples_of(&within);
        let mut ts_rows = std::mem::take(&mut open.ts_rows);
        ts_rows.clear();
        for_each_part(&self.samples, column::TS_ROW, samples.clone(), |file, column, place, part| {
            let mut page = open.ts_row_page(&pages.fetched, file, column, place)?;
            page.read(part, &mut ts_rows, |row| row as u32).map_err(|error| error.at(&file.object.key, place.offset))
        })?;
        let before = |end: u64| ts_rows.partition_point(|row| u64::from(*row) < end);
        let (from, to) = (before(within.start), before(within.end));
        let inner = ts_rows.get(from..to).unwrap_or_default();
        let found = self.times_of_rows(pages, inner, range, into, open)?;
        let timelines = self.timelines.first().map_or(0, |file| file.object.id);
        let found = found.map(|found| {
            let rows = inner.get(found.clone()).unwrap_or_default().iter().map(|row| u64::from(*row));
            let parts: Vec<u8> = [2, timelines].into_iter().chain(rows).flat_map(u64::to_le_bytes).collect();
            let start = samples.start + from as u64;
            (start + found.start as u64..start + found.end as u64, xxh3_64(&parts))
        });
        open.ts_rows = ts_rows;
        Ok(found)
    }

    /// The rows of the timelines whose timestamps are in the range, among those from the first to the last of a series; the
    /// timestamps are appended to `times`. `None` if there are none.
    pub(super) fn timeline_rows(
        &self,
        fetched: &Fetched,
        entry: &Entry,
        range: TimeRange,
        mut times: Option<&mut Vec<i64>>,
        open: &mut OpenPages,
    ) -> Result<Option<Range<u64>>, ReadError> {
        let Some((first, last)) = entry.ts_rows else { return Ok(None) };
        let mut found: Option<Range<u64>> = None;
        for_each_page(&self.timelines, column::TIMESTAMP, first..last + 1, |file, column, number, place, part| {
            if !column.may_hold(number, range.after_ms, range.until_ms) {
                return Ok(());
            }
            let of_page = open.timeline(fetched, file, column, place)?;
            let too_few = || PageError("the page has too few rows").at(&file.object.key, place.offset);
            let of_page = of_page.get(part.clone()).ok_or_else(too_few)?;
            let from = of_page.partition_point(|ms| *ms <= range.after_ms);
            let to = of_page.partition_point(|ms| *ms <= range.until_ms);
            if from >= to {
                return Ok(());
            }
            let start = file.first_row + place.row + part.start as u64;
            let rows = start + from as u64..start + to as u64;
            if found.as_ref().is_some_and(|found| found.end != rows.start) {
                return Err(PageError("timestamps of a timeline do not ascend").at(&file.object.key, place.offset));
            }
            found = Some(found.as_ref().map_or(rows.start, |found| found.start)..rows.end);
            if let Some(times) = &mut times {
                times.extend_from_slice(of_page.get(from..to).unwrap_or_default());
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Appends the timestamps in the range of some rows of the timelines, ascending, and returns which of the rows have them.
    pub(super) fn times_of_rows(
        &self,
        pages: &BlockPages,
        ts_rows: &[u32],
        range: TimeRange,
        into: &mut Vec<i64>,
        open: &mut OpenPages,
    ) -> Result<Option<Range<usize>>, ReadError> {
        let (Some(first), Some(last)) = (ts_rows.first(), ts_rows.last()) else { return Ok(None) };
        let mut found: Option<Range<usize>> = None;
        let rows = u64::from(*first)..u64::from(*last) + 1;
        let mut next = 0;
        for_each_part(&self.timelines, column::TIMESTAMP, rows, |file, column, place, part| {
            let times = open.timeline(&pages.fetched, file, column, place)?;
            let first_row = file.first_row + place.row;
            let end_row = first_row + part.end as u64;
            while let Some(row) = ts_rows.get(next).filter(|row| u64::from(**row) < end_row) {
                let at = u64::from(*row).checked_sub(first_row).and_then(|at| times.get(at as usize));
                let ms = *at.ok_or(PageError("rows of a timeline do not ascend").at(&file.object.key, place.offset))?;
                if ms > range.after_ms && ms <= range.until_ms {
                    into.push(ms);
                    found = Some(found.as_ref().map_or(next, |found| found.start)..next + 1);
                }
                next += 1;
            }
            Ok(())
        })?;
        if found.as_ref().is_some_and(|found| found.len() != into.len()) {
            let key = self.timelines.first().map_or("", |file| &file.object.key);
            return Err(PageError("timestamps of a timeline do not ascend").at(key, 0));
        }
        Ok(found)
    }
}

impl Entry {
    /// The samples rows that may have their timestamps in some rows of the timeline: exactly those if none is left out.
    fn samples_of(&self, timeline_rows: &Range<u64>) -> Range<u64> {
        let Some((first, last)) = self.ts_rows else { return self.rows.clone() };
        let count = self.rows.end - self.rows.start;
        // So many timestamps are not the series', and nobody knows where.
        let left_out = (last.saturating_sub(first) + 1).saturating_sub(count);
        let from = timeline_rows.start.saturating_sub(first).saturating_sub(left_out).min(count);
        let to = timeline_rows.end.saturating_sub(first).min(count).max(from);
        self.rows.start + from..self.rows.start + to
    }

    /// The same from the timeline's pages that are here.
    pub(super) fn samples_in(
        &self,
        series: &BlockSeries,
        fetched: &Fetched,
        range: TimeRange,
        open: &mut OpenPages,
    ) -> Result<Range<u64>, ReadError> {
        let found = series.timeline_rows(fetched, self, range, None, open)?;
        Ok(found.map_or(self.rows.start..self.rows.start, |found| self.samples_of(&found)))
    }

    /// About which samples rows are in the range, if its samples are spread evenly.
    pub(super) fn samples_about(&self, range: TimeRange) -> Range<u64> {
        let count = self.rows.end - self.rows.start;
        let duration = self.max_ms.saturating_sub(self.min_ms).max(1) as f64;
        let row = |ms: i64| (ms.saturating_sub(self.min_ms).max(0) as f64 / duration * count as f64) as u64;
        let (from, to) = (row(range.after_ms).min(count), row(range.until_ms).saturating_add(1).min(count));
        self.rows.start + from..self.rows.start + to.max(from)
    }
}

fn token_of(parts: [u64; 4]) -> u64 {
    let mut bytes = [0; 32];
    for (into, part) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(parts) {
        *into = part.to_le_bytes();
    }
    xxh3_64(&bytes)
}

/// Calls `visit` with each page of a column that has some of the rows, and which of the page's rows these are.
pub(super) fn for_each_part(
    files: &[OpenFile],
    path: &str,
    rows: Range<u64>,
    mut visit: impl FnMut(&OpenFile, &ColumnLayout, &PagePlace, Range<usize>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    for_each_page(files, path, rows, |file, column, _, place, part| visit(file, column, place, part))
}

/// The same with the number of each page.
pub(super) fn for_each_page(
    files: &[OpenFile],
    path: &str,
    rows: Range<u64>,
    mut visit: impl FnMut(&OpenFile, &ColumnLayout, usize, &PagePlace, Range<usize>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    for file in files {
        let within = rows.start.max(file.first_row)..rows.end.min(file.first_row + file.layout.rows);
        if within.is_empty() {
            continue;
        }
        let column = file.column(path)?;
        let within = within.start - file.first_row..within.end - file.first_row;
        let numbers = column.pages_of(&within);
        for number in numbers {
            let Some(place) = column.pages.get(number) else { continue };
            let end = column.pages.get(number + 1).map_or(file.layout.rows, |next| next.row).min(within.end);
            let part = (within.start.max(place.row) - place.row) as usize..(end - place.row) as usize;
            visit(file, column, number, place, part)?;
        }
    }
    Ok(())
}

/// How a mantissa becomes a value.
#[derive(Debug, Clone, Copy)]
enum Divide {
    NotAtAll,
    /// By a power of two: its reciprocal is exact.
    Times(f64),
    By(f64),
}

impl Divide {
    fn new(divisor: f64) -> Self {
        const FRACTION: u64 = (1 << 52) - 1;
        let reciprocal = 1.0 / divisor;
        if divisor == 1.0 {
            Self::NotAtAll
        } else if divisor.to_bits() & FRACTION == 0 && divisor.is_normal() && reciprocal.is_normal() {
            Self::Times(reciprocal)
        } else {
            Self::By(divisor)
        }
    }

    /// Appends the values of some rows of a page, those without a mantissa left out.
    fn read(self, page: &mut OpenDelta<'_>, rows: Range<usize>, into: &mut Vec<f64>) -> Result<(), PageError> {
        match self {
            Self::NotAtAll => page.read(rows, into, |mantissa| mantissa as f64),
            Self::Times(reciprocal) => page.read(rows, into, |mantissa| mantissa as f64 * reciprocal),
            Self::By(divisor) => page.read(rows, into, |mantissa| mantissa as f64 / divisor),
        }
    }
}

/// Appends the values of some rows.
fn read_values(
    files: &[OpenFile],
    fetched: &Fetched,
    entry: &Entry,
    rows: Range<u64>,
    into: &mut Vec<f64>,
    open: &mut OpenPages,
) -> Result<(), ReadError> {
    let divide = entry.divisor.map_or(Divide::NotAtAll, Divide::new);
    let start = into.len();
    let mut absent = std::mem::take(&mut open.absent);
    absent.clear();
    into.reserve((rows.end - rows.start) as usize);
    let (mut present, mut dense) = (std::mem::take(&mut open.values), true);
    for_each_part(files, column::MANTISSA, rows.clone(), |file, column, place, part| {
        let mut page = open.mantissa_page(fetched, file, column, place)?;
        let at = |error: PageError| error.at(&file.object.key, place.offset);
        if page.is_dense() {
            return divide.read(&mut page, part, into).map_err(at);
        }
        present.clear();
        dense = false;
        divide.read(&mut page, part.clone(), &mut present).map_err(at)?;
        let mut present = present.iter();
        for row in part {
            match page.has(row).then(|| present.next()).flatten() {
                Some(value) => into.push(*value),
                None => {
                    absent.push((into.len(), file.first_row + place.row + row as u64));
                    into.push(stale_marker());
                }
            }
        }
        Ok(())
    })?;
    open.values = present;
    if entry.divisor.is_none() {
        let mut absent = absent.iter().map(|(at, _)| *at).peekable();
        let mut at = start;
        for_each_part(files, column::DIVISOR, rows, |file, column, place, part| {
            let divisors = open.numbers(fetched, file, column, place)?;
            divisors.for_each(part, |divisor| {
                if let (None, Some(divisor), Some(value)) = (absent.next_if_eq(&at), divisor, into.get_mut(at)) {
                    *value /= f64::from_bits(divisor);
                }
                at += 1;
            });
            Ok(())
        })?;
    }
    if entry.has_raw && !dense {
        fill_raw(files, fetched, &absent, into, open)?;
    }
    open.absent = absent;
    Ok(())
}

/// Puts values that have no mantissa in their places; `absent` has place and row of each, ascending.
fn fill_raw(
    files: &[OpenFile],
    fetched: &Fetched,
    absent: &[(usize, u64)],
    into: &mut [f64],
    open: &mut OpenPages,
) -> Result<(), ReadError> {
    let (Some((_, first)), Some((_, last))) = (absent.first(), absent.last()) else { return Ok(()) };
    let mut absent = absent.iter().peekable();
    for_each_part(files, column::RAW, *first..*last + 1, |file, column, place, part| {
        let start = file.first_row + place.row;
        let end = start + part.end as u64;
        if absent.peek().is_none_or(|(_, row)| *row >= end) {
            return Ok(());
        }
        let page = open.raw_page(fetched, file, column, place)?;
        while let Some((at, row)) = absent.next_if(|(_, row)| *row < end) {
            if let (Some(raw), Some(value)) = (page.get((*row - start) as usize), into.get_mut(*at)) {
                *value = raw;
            }
        }
        Ok(())
    })
}
