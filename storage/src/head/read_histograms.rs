//! Reads the native histograms of one series.
//!
//! As with floats, only bytes are copied under the shard's lock, except for chunks so new that they still wait to be written.

use super::Inner;
use super::below::{self, Generations};
use super::error::HeadError;
use super::histograms::read_rows;
use super::read::{Source, bad_chunk};
use super::views::Sight;
use crate::append::SeriesRef;
use crate::histogram::chunk::decode_run;
use crate::histogram::stored::Stored;
use crate::select::TimeRange;
use model::histogram::{CounterResetHint, Histogram, HistogramColumns};
use std::sync::Arc;

/// Replaces `into` by the histograms of a series in a range; see [`crate::select::Selection::read_histograms`].
pub(crate) fn read(
    head: &Inner,
    series: SeriesRef,
    range: TimeRange,
    sight: Sight,
    into: &mut HistogramColumns,
) -> Result<Option<Before>, HeadError> {
    let found = collect(head, series, range, sight, Which::All)?;
    Ok(found.put(into))
}

/// A histogram that comes before those that were asked for, with its time.
pub(crate) type Before = (i64, Arc<Histogram>);

/// Histograms of a range in order of time, and the one before them if it was seen on the way.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) before: Option<Stored>,
    pub(crate) samples: Vec<Stored>,
    /// How many were left out before each; empty when there are all.
    pub(crate) left_out: Vec<u32>,
}

impl Found {
    /// Replaces `into` by the samples with their hints; returns the one before.
    pub(crate) fn put(self, into: &mut HistogramColumns) -> Option<Before> {
        into.clear();
        let first = self.before.map(|sample| (sample.timestamp_ms, Arc::new(sample.to_histogram(None))));
        let mut before = first.as_ref().map(|(_, histogram)| Arc::clone(histogram));
        let left_out = self.left_out.into_iter().chain(std::iter::repeat(0));
        for (sample, left_out) in self.samples.into_iter().zip(left_out) {
            let mut histogram = sample.to_histogram(before.as_ref().map(|before| &before.custom_values));
            histogram.counter_reset_hint = hint(&histogram, before.as_deref());
            let histogram = Arc::new(histogram);
            into.push_after(sample.timestamp_ms, Arc::clone(&histogram), left_out);
            before = Some(histogram);
        }
        first
    }
}

/// The newest histogram of a series with `after_ms < t <= until_ms`.
pub(crate) fn latest(
    head: &Inner,
    series: SeriesRef,
    range: TimeRange,
    sight: Sight,
) -> Result<Option<(i64, Arc<Histogram>)>, HeadError> {
    let mut found = collect(head, series, range, sight, Which::Newest)?;
    let Some(newest) = found.samples.pop() else { return Ok(None) };
    // What is known of a reset before it takes the one before it, and of that nothing but its kind and its counts.
    let before = found.samples.pop().or(found.before).map(|before| before.to_histogram(None));
    let mut histogram = newest.to_histogram(before.as_ref().map(|before| &before.custom_values));
    histogram.counter_reset_hint = hint(&histogram, before.as_ref());
    Ok(Some((newest.timestamp_ms, Arc::new(histogram))))
}

/// Which histograms of a range are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    /// The newest and the one before it; older ones may be left out.
    Newest,
}

/// Timestamps and start timestamps of the histograms in a range.
pub(crate) fn starts(
    head: &Inner,
    series: SeriesRef,
    range: TimeRange,
    sight: Sight,
) -> Result<Vec<(i64, i64)>, HeadError> {
    Ok(collect(head, series, range, sight, Which::All)?
        .samples
        .iter()
        .map(|sample| (sample.timestamp_ms, sample.start_ms))
        .collect())
}

/// What is known about a reset before a histogram, given the one before it, if that was read.
pub(crate) fn hint(histogram: &Histogram, before: Option<&Histogram>) -> CounterResetHint {
    match (histogram.counter_reset_hint, before) {
        (CounterResetHint::Unknown, Some(before))
            if before.counter_reset_hint != CounterResetHint::Gauge
                && !before.is_stale()
                && !histogram.is_stale()
                && !histogram.is_reset_after(before) =>
        {
            CounterResetHint::NotReset
        }
        (known, _) => known,
    }
}

fn collect(head: &Inner, series: SeriesRef, range: TimeRange, sight: Sight, which: Which) -> Result<Found, HeadError> {
    let mut found = find_main(head, series, range.from(sight.visible.floor_ms), sight.appended, which)?;
    let below = below::read_histograms(head, series, range, Generations::of(sight.visible), sight.appended)?;
    if !below.is_empty() {
        found.before = None;
        found.samples.extend(below);
        sort(&mut found.samples);
    }
    Ok(found)
}

fn sort(samples: &mut Vec<Stored>) {
    samples.sort_by_key(|sample| sample.timestamp_ms);
    samples.dedup_by_key(|sample| sample.timestamp_ms);
}

/// The histograms that the main structures have, in order of time.
pub(super) fn collect_main(
    head: &Inner,
    series: SeriesRef,
    range: TimeRange,
    appended: Option<u64>,
) -> Result<Vec<Stored>, HeadError> {
    Ok(find_main(head, series, range, appended, Which::All)?.samples)
}

fn find_main(
    head: &Inner,
    series: SeriesRef,
    range: TimeRange,
    appended: Option<u64>,
    which: Which,
) -> Result<Found, HeadError> {
    let lock = head.shard_of(series).read();
    let hidden = lock.hidden(series, appended);
    let range = hidden.clip_histograms(range);
    let unseen = hidden.histograms_within(range);
    let found = lock.histograms.get(&lock.slot_number(series));
    let Some(found) = found.filter(|found| found.may_overlap(range.after_ms, range.until_ms)) else {
        return Ok(Found::default());
    };
    let open = found.run.as_bytes().to_vec();
    let wanted = |timestamp_ms: i64| {
        timestamp_ms > range.after_ms && timestamp_ms <= range.until_ms && unseen.binary_search(&timestamp_ms).is_err()
    };
    let chunks: Vec<_> = found.chunks_within(range.after_ms.saturating_add(1), range.until_ms).collect();
    let decode = |source: Source<'_>| -> Result<Vec<Stored>, HeadError> {
        // Rows are newer than chunks but for what came late: two of them usually are all that is wanted.
        let rows = read_rows(&open).expect("rows in memory are as they were encoded");
        let mut newest = rows.iter().rev().map(|row| row.timestamp_ms).filter(|timestamp_ms| wanted(*timestamp_ms));
        let second = newest.nth(1).filter(|_| which == Which::Newest);
        let mut samples = Vec::new();
        for chunk in chunks.iter().filter(|chunk| second.is_none_or(|second| chunk.last_ms > second)) {
            // A file that expired has no samples any more.
            let Some(frame) = source.frame(chunk.link)? else { continue };
            decode_run(frame.payload, usize::from(frame.count), &mut samples).map_err(|_| bad_chunk(chunk.link))?;
        }
        samples.extend(rows);
        Ok(samples)
    };
    let mut samples = if chunks.iter().any(|chunk| lock.files.waits(chunk.link)) {
        decode(Source::Shard(&lock.files))?
    } else {
        let files = lock.files.reader();
        drop(lock);
        decode(Source::Files(&files))?
    };
    let is_before = |sample: &&Stored| sample.timestamp_ms <= range.after_ms;
    let before = samples.iter().filter(is_before).max_by_key(|sample| sample.timestamp_ms).cloned();
    samples.retain(|sample| wanted(sample.timestamp_ms));
    sort(&mut samples);
    Ok(Found { before, samples, left_out: Vec::new() })
}
