//! Reads the native histograms of one series.
//!
//! As with floats, only bytes are copied under the shard's lock, except for chunks so new that they still wait to be written.

use super::Inner;
use super::below::{self, Generations};
use super::error::HeadError;
use super::histograms::read_rows;
use super::read::{Source, bad_chunk};
use super::slot::Slot;
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
) -> Result<(), HeadError> {
    into.clear();
    let mut before: Option<Arc<Histogram>> = None;
    for sample in collect(head, series, range, sight)? {
        let mut histogram = sample.to_histogram(before.as_ref().map(|before| &before.custom_values));
        histogram.counter_reset_hint = hint(&histogram, before.as_deref());
        let histogram = Arc::new(histogram);
        into.push(sample.timestamp_ms, Arc::clone(&histogram));
        before = Some(histogram);
    }
    Ok(())
}

/// The newest histogram of a series with `after_ms < t <= until_ms`.
pub(crate) fn latest(
    head: &Inner,
    series: SeriesRef,
    range: TimeRange,
    sight: Sight,
) -> Result<Option<(i64, Arc<Histogram>)>, HeadError> {
    let newest = {
        let lock = head.shard_of(series).read();
        let below = lock.live(series).is_some_and(|slot| slot.has(Slot::HAS_BELOW));
        let main = lock.hidden(series, sight.appended).clip_histograms(range.from(sight.visible.floor_ms));
        match lock.histograms.get(&lock.slot_number(series)) {
            _ if below => None,
            Some(found) if found.may_overlap(main.after_ms, main.until_ms) => {
                let is_newest = |last: &&Stored| last.timestamp_ms == found.last_ms && found.last_ms <= main.until_ms;
                found.run.last().filter(is_newest).cloned()
            }
            Some(_) | None => return Ok(None),
        }
    };
    let newest = match newest {
        Some(newest) => Some(newest),
        None => collect(head, series, range, sight)?.pop(),
    };
    Ok(newest.map(|sample| (sample.timestamp_ms, Arc::new(sample.to_histogram(None)))))
}

/// Timestamps and start timestamps of the histograms in a range.
pub(crate) fn starts(
    head: &Inner,
    series: SeriesRef,
    range: TimeRange,
    sight: Sight,
) -> Result<Vec<(i64, i64)>, HeadError> {
    Ok(collect(head, series, range, sight)?.iter().map(|sample| (sample.timestamp_ms, sample.start_ms)).collect())
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

fn collect(head: &Inner, series: SeriesRef, range: TimeRange, sight: Sight) -> Result<Vec<Stored>, HeadError> {
    let mut samples = collect_main(head, series, range.from(sight.visible.floor_ms), sight.appended)?;
    let below = below::read_histograms(head, series, range, Generations::of(sight.visible), sight.appended)?;
    if !below.is_empty() {
        samples.extend(below);
        sort(&mut samples);
    }
    Ok(samples)
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
    let lock = head.shard_of(series).read();
    let hidden = lock.hidden(series, appended);
    let range = hidden.clip_histograms(range);
    let unseen = hidden.histograms_within(range);
    let found = lock.histograms.get(&lock.slot_number(series));
    let Some(found) = found.filter(|found| found.may_overlap(range.after_ms, range.until_ms)) else {
        return Ok(Vec::new());
    };
    let open = found.run.as_bytes().to_vec();
    let chunks = found.chunks_within(range.after_ms.saturating_add(1), range.until_ms);
    let links: Vec<_> = chunks.map(|chunk| chunk.link).collect();
    let mut samples = Vec::new();
    let decode = |source: Source<'_>, samples: &mut Vec<Stored>| -> Result<(), HeadError> {
        for link in &links {
            // A file that expired has no samples any more.
            let Some(frame) = source.frame(*link)? else { continue };
            decode_run(frame.payload, usize::from(frame.count), samples).map_err(|_| bad_chunk(*link))?;
        }
        Ok(())
    };
    if links.iter().any(|link| lock.files.waits(*link)) {
        decode(Source::Shard(&lock.files), &mut samples)?;
        drop(lock);
    } else {
        let files = lock.files.reader();
        drop(lock);
        decode(Source::Files(&files), &mut samples)?;
    }
    samples.extend(read_rows(&open).expect("rows in memory are as they were encoded"));
    samples.retain(|sample| sample.timestamp_ms > range.after_ms && sample.timestamp_ms <= range.until_ms);
    samples.retain(|sample| unseen.binary_search(&sample.timestamp_ms).is_err());
    sort(&mut samples);
    Ok(samples)
}
