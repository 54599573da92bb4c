//! Reads native histograms and start timestamps of one series from pages that were fetched.

use super::block::OpenFile;
use super::cache::CacheKind;
use super::error::{PageError, ReadError};
use super::fetch;
use super::open_pages::{self, OpenPages};
use super::samples::for_each_part;
use super::selection::{BlockPages, BlockSeries, want_rows};
use crate::block::schema::column as c;
use crate::head::read_histograms::{Before, Found};
use crate::histogram::stored::{Bucket, Scale, Stored, TOTALS};
use crate::select::TimeRange;
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Histogram, HistogramColumns};
use model::sample::stale_marker;
use std::ops::Range;
use std::sync::Arc;

const CUSTOM_BOUNDS: &str = "custom_bounds.list.element";
const GAUGE: u64 = 3;
const AFTER_RESET: u64 = 1;

impl BlockSeries {
    /// Replaces the content of `into` by the native histograms with `after_ms < t <= until_ms`, in order of time, stale ones
    /// included; reset hints as `Selection::read_histograms` gives them.
    ///
    /// # Errors
    /// A page is damaged, or was not fetched.
    pub fn read_histograms(
        &self,
        pages: &BlockPages,
        index: usize,
        range: TimeRange,
        into: &mut HistogramColumns,
    ) -> Result<(), ReadError> {
        self.read_histograms_after(pages, index, range, into).map(|_| ())
    }

    /// As [`BlockSeries::read_histograms`]; returns the one before those, if the block has it.
    pub(crate) fn read_histograms_after(
        &self,
        pages: &BlockPages,
        index: usize,
        range: TimeRange,
        into: &mut HistogramColumns,
    ) -> Result<Option<Before>, ReadError> {
        Ok(self.find_histograms(pages, index, range)?.put(into))
    }

    /// The newest native histogram of one series with `after_ms < t <= until_ms`, a stale one included.
    ///
    /// # Errors
    /// A page is damaged, or was not fetched.
    pub fn latest_histogram(
        &self,
        pages: &BlockPages,
        index: usize,
        range: TimeRange,
    ) -> Result<Option<(i64, Arc<Histogram>)>, ReadError> {
        let mut columns = HistogramColumns::default();
        self.read_histograms(pages, index, range, &mut columns)?;
        Ok(columns.timestamps_ms.pop().zip(columns.histograms.pop()))
    }

    /// Replaces the content of `into` by the start timestamps of the samples with `after_ms < t <= until_ms`, floats and
    /// histograms merged in order of time: one per sample, 0 where none is known, or none at all when no sample has one.
    ///
    /// # Errors
    /// A page is damaged, or was not fetched.
    pub fn read_start_timestamps(
        &self,
        pages: &BlockPages,
        index: usize,
        range: TimeRange,
        into: &mut Vec<i64>,
    ) -> Result<(), ReadError> {
        into.clear();
        let entry = self.entry(index)?;
        let mut times = Vec::new();
        let mut starts = Vec::new();
        open_pages::with(&self.block.source.cache, |open| {
            let Some((rows, _)) = self.float_times(pages, &entry, range, &mut times, open)? else { return Ok(()) };
            if entry.has_starts {
                starts = numbers(open, pages, &self.samples, c::START_TS, rows)?;
            }
            Ok::<_, ReadError>(())
        })?;
        let mut histograms = self.stored_histograms(pages, index, range)?.into_iter().peekable();
        let mut starts = starts.into_iter();
        for timestamp_ms in times {
            while let Some(histogram) = histograms.next_if(|histogram| histogram.timestamp_ms < timestamp_ms) {
                into.push(histogram.start_ms);
            }
            into.push(starts.next().flatten().unwrap_or(0) as i64);
        }
        into.extend(histograms.map(|histogram| histogram.start_ms));
        if into.iter().all(|start_ms| *start_ms == 0) {
            into.clear();
        }
        Ok(())
    }

    /// Fetches the pages of histograms and buckets, then those of their timelines, which only the former name.
    pub(super) async fn fetch_histograms(
        &self,
        histograms: &[Range<u64>],
        buckets: &[Range<u64>],
    ) -> Result<BlockPages, ReadError> {
        let (mut pages, block) = (BlockPages::default(), &self.block);
        if histograms.is_empty() {
            return Ok(pages);
        }
        let files = futures::future::try_join(block.open_all(&block.histograms), block.open_all(&block.hist_buckets));
        (pages.histograms, pages.hist_buckets) = files.await?;
        let mut wanted = Vec::new();
        let numbers_of = |name| [c::MANTISSA, c::DIVISOR, c::RAW].map(|column| c::of_number(name, column));
        let mut paths = [c::TS_ROW, c::SCHEMA, c::ZERO_THRESHOLD, c::RESET_HINT, c::START_TS, CUSTOM_BOUNDS]
            .map(str::to_owned)
            .to_vec();
        paths.extend([c::COUNT, c::ZERO_COUNT, c::SUM].into_iter().flat_map(numbers_of));
        paths.extend((block.meta.thinned_ms > 0).then(|| c::LEFT_OUT.to_owned()));
        for rows in histograms {
            for path in &paths {
                want_rows(&pages.histograms, path, rows, &mut wanted)?;
            }
        }
        for rows in buckets {
            for path in [c::NEGATIVE, c::BUCKET, c::TS_ROW, c::MANTISSA, c::DIVISOR, c::RAW] {
                want_rows(&pages.hist_buckets, path, rows, &mut wanted)?;
            }
        }
        pages.fetched.extend(fetch::fetch(&block.source, CacheKind::Page, wanted, &self.account).await?);
        let mut wanted = Vec::new();
        open_pages::with(&block.source.cache, |open| {
            for rows in histograms {
                let mut ts_rows: Vec<u64> =
                    numbers(open, &pages, &pages.histograms, c::TS_ROW, rows.clone())?.into_iter().flatten().collect();
                ts_rows.sort_unstable();
                for run in ts_rows.chunk_by(|a, b| b - a <= 1) {
                    let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
                    want_rows(&self.timelines, c::TIMESTAMP, &(*first..*last + 1), &mut wanted)?;
                }
            }
            Ok::<_, ReadError>(())
        })?;
        pages.fetched.extend(fetch::fetch(&block.source, CacheKind::Page, wanted, &self.account).await?);
        Ok(pages)
    }

    fn stored_histograms(&self, pages: &BlockPages, index: usize, range: TimeRange) -> Result<Vec<Stored>, ReadError> {
        Ok(self.find_histograms(pages, index, range)?.samples)
    }

    fn find_histograms(&self, pages: &BlockPages, index: usize, range: TimeRange) -> Result<Found, ReadError> {
        let entry = self.entry(index)?;
        let outside = entry.max_ms <= range.after_ms || entry.min_ms > range.until_ms;
        if entry.histograms.is_empty() || outside {
            return Ok(Found::default());
        }
        open_pages::with(&self.block.source.cache, |open| {
            let ts_rows = numbers(open, pages, &pages.histograms, c::TS_ROW, entry.histograms.clone())?;
            let ts_rows: Vec<u32> = ts_rows.into_iter().map(|row| row.unwrap_or(0) as u32).collect();
            let mut times = Vec::new();
            let from_first = TimeRange { after_ms: i64::MIN, ..range };
            self.times_of_rows(pages, &ts_rows, from_first, &mut times, open)?;
            let within = times.partition_point(|timestamp_ms| *timestamp_ms <= range.after_ms);
            if within == times.len() {
                return Ok(Found::default());
            }
            // One more, to tell whether there was a reset after it.
            let found = within.saturating_sub(1)..times.len();
            let rows = entry.histograms.start + found.start as u64..entry.histograms.start + found.end as u64;
            let mut samples = read_rows(open, pages, rows.clone(), times.get(found.clone()).unwrap_or_default())?;
            let ts_rows = ts_rows.get(found).unwrap_or_default();
            read_buckets(open, pages, entry.buckets, ts_rows, &mut samples)?;
            let before = (within > 0 && !samples.is_empty()).then(|| samples.remove(0));
            let mut left_out = Vec::new();
            if self.block.meta.thinned_ms > 0 {
                let found =
                    numbers(open, pages, &pages.histograms, c::LEFT_OUT, rows.end - samples.len() as u64..rows.end)?;
                left_out.extend(found.into_iter().map(|count| count.unwrap_or(0) as u32));
            }
            Ok(Found { before, samples, left_out })
        })
    }
}

/// The histograms of some rows without their buckets.
fn read_rows(
    open: &mut OpenPages,
    pages: &BlockPages,
    rows: Range<u64>,
    times: &[i64],
) -> Result<Vec<Stored>, ReadError> {
    let files = &pages.histograms;
    let mut of = |path: &str| numbers(open, pages, files, path, rows.clone());
    let (schemas, thresholds) = (of(c::SCHEMA)?, of(c::ZERO_THRESHOLD)?);
    let (hints, starts) = (of(c::RESET_HINT)?, of(c::START_TS)?);
    let totals = [c::COUNT, c::ZERO_COUNT, c::SUM]
        .map(|name| values(open, pages, files, |column| c::of_number(name, column), rows.clone()));
    let [count, zero_count, sum] = totals;
    let totals: [Vec<u64>; TOTALS] = [count?, zero_count?, sum?];
    let is_custom = |schema: &Option<u64>| schema.unwrap_or(0) as u8 as i8 == CUSTOM_BUCKETS_SCHEMA;
    let bounds = if schemas.iter().any(is_custom) {
        custom_bounds(open, pages, files, rows)?
    } else {
        vec![Vec::new(); times.len()]
    };
    let mut samples: Vec<Stored> = Vec::with_capacity(times.len());
    let at = |column: &[Option<u64>], at: usize| column.get(at).copied().flatten().unwrap_or(0);
    for (row, (timestamp_ms, bounds)) in times.iter().zip(bounds).enumerate() {
        let scale = Scale {
            schema: at(&schemas, row) as u8 as i8,
            zero_threshold: at(&thresholds, row),
            custom_values: bounds,
            gauge: at(&hints, row) == GAUGE,
        };
        let shared = samples.last().filter(|before| *before.scale == scale).map(|before| Arc::clone(&before.scale));
        samples.push(Stored {
            timestamp_ms: *timestamp_ms,
            start_ms: at(&starts, row) as i64,
            scale: shared.unwrap_or_else(|| Arc::new(scale)),
            after_reset: at(&hints, row) == AFTER_RESET,
            totals: std::array::from_fn(|total| {
                totals.get(total).and_then(|column| column.get(row)).copied().unwrap_or(0)
            }),
            buckets: Vec::new(),
        });
    }
    Ok(samples)
}

/// Adds the buckets to histograms whose rows of the timelines are `ts_rows`.
fn read_buckets(
    open: &mut OpenPages,
    pages: &BlockPages,
    rows: Range<u64>,
    ts_rows: &[u32],
    samples: &mut [Stored],
) -> Result<(), ReadError> {
    if rows.is_empty() {
        return Ok(());
    }
    let files = &pages.hist_buckets;
    let mut of = |path: &str| numbers(open, pages, files, path, rows.clone());
    let (negative, index, ts_row) = (of(c::NEGATIVE)?, of(c::BUCKET)?, of(c::TS_ROW)?);
    let populations = values(open, pages, files, str::to_owned, rows)?;
    for (((negative, index), ts_row), population) in negative.iter().zip(&index).zip(&ts_row).zip(populations) {
        let row = ts_row.unwrap_or(0) as u32;
        if let Some(sample) = ts_rows.binary_search(&row).ok().and_then(|at| samples.get_mut(at)) {
            let bucket = Bucket { negative: *negative == Some(1), index: index.unwrap_or(0) as i32 };
            sample.buckets.push((bucket, population));
        }
    }
    let ascend = |sample: &Stored| sample.buckets.is_sorted_by(|a, b| a.0 < b.0);
    if !samples.iter().all(ascend) {
        let key = files.first().map_or("", |file| &file.object.key);
        return Err(PageError("the buckets of a histogram do not ascend").at(key, 0));
    }
    Ok(())
}

/// The numbers of a column in some rows.
pub(super) fn numbers(
    open: &mut OpenPages,
    pages: &BlockPages,
    files: &[OpenFile],
    path: &str,
    rows: Range<u64>,
) -> Result<Vec<Option<u64>>, ReadError> {
    let mut found = Vec::new();
    let expected = rows.end - rows.start;
    for_each_part(files, path, rows, |file, column, place, part| {
        let page = open.numbers(&pages.fetched, file, column, place)?;
        page.for_each(part, |number| found.push(number));
        Ok(())
    })?;
    if found.len() as u64 != expected {
        let key = files.first().map_or("", |file| &file.object.key);
        return Err(PageError("a series has rows beyond the file").at(key, 0));
    }
    Ok(found)
}

/// The bits of numbers that three columns make.
fn values(
    open: &mut OpenPages,
    pages: &BlockPages,
    files: &[OpenFile],
    path: impl Fn(&str) -> String,
    rows: Range<u64>,
) -> Result<Vec<u64>, ReadError> {
    let mut of = |name: &str| numbers(open, pages, files, &path(name), rows.clone());
    let (mantissas, divisors, raws) = (of(c::MANTISSA)?, of(c::DIVISOR)?, of(c::RAW)?);
    let value =
        |((mantissa, divisor), raw): ((&Option<u64>, &Option<u64>), &Option<u64>)| match (mantissa, divisor, raw) {
            (Some(mantissa), Some(divisor), _) => (*mantissa as i64 as f64 / f64::from_bits(*divisor)).to_bits(),
            (_, _, Some(raw)) => *raw,
            _ => stale_marker().to_bits(),
        };
    Ok(mantissas.iter().zip(&divisors).zip(&raws).map(value).collect())
}

/// The listed bounds of some rows, by their bits.
fn custom_bounds(
    open: &mut OpenPages,
    pages: &BlockPages,
    files: &[OpenFile],
    rows: Range<u64>,
) -> Result<Vec<Vec<u64>>, ReadError> {
    let mut found = Vec::new();
    for_each_part(files, CUSTOM_BOUNDS, rows, |file, column, place, part| {
        let lists = open.lists(&pages.fetched, file, column, place)?;
        found.extend(part.map(|row| lists.get(row).to_vec()));
        Ok(())
    })?;
    Ok(found)
}
