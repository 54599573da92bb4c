//! Reads the start timestamps of one series: one per sample, floats and histograms merged.

use super::Inner;
use super::below::{self, Generations};
use super::error::HeadError;
use super::read::{self, Source, bad_chunk};
use super::read_histograms;
use super::slot::Slot;
use super::starts::StartSpans;
use super::views::Sight;
use crate::append::SeriesRef;
use crate::select::TimeRange;
use model::sample::SampleColumns;

/// Replaces `into` by the start timestamps; see [`crate::select::Selection::read_start_timestamps`].
pub(crate) fn read(
    head: &Inner,
    series: SeriesRef,
    range: TimeRange,
    sight: Sight,
    into: &mut Vec<i64>,
) -> Result<(), HeadError> {
    into.clear();
    if head.shard_of(series).read().live(series).is_none_or(|slot| !slot.has(Slot::HAS_STARTS)) {
        return Ok(());
    }
    let main = range.from(sight.visible.floor_ms);
    let spans = spans(head, series, main)?;
    let mut floats = SampleColumns::default();
    read::read_main(head, series, main, sight.appended, &mut floats)?;
    let mut starts: Vec<(i64, i64)> = floats.timestamps_ms.iter().map(|t| (*t, spans.start_of(*t))).collect();
    let mut late = Vec::new();
    below::read_floats(head, series, range, Generations::of(sight.visible), sight.appended, &mut late)?;
    if !late.is_empty() {
        let spans = below::read_starts(head, series, range, Generations::of(sight.visible))?;
        starts.extend(late.iter().map(|(t, _)| (*t, spans.start_of(*t))));
    }
    starts.extend(read_histograms::starts(head, series, range, sight)?);
    // What the main structures have counts more, as with the samples.
    starts.sort_by_key(|(timestamp_ms, _)| *timestamp_ms);
    starts.dedup_by_key(|(timestamp_ms, _)| *timestamp_ms);
    if starts.iter().any(|(_, start_ms)| *start_ms != 0) {
        into.extend(starts.iter().map(|(_, start_ms)| *start_ms));
    }
    Ok(())
}

/// The starts of the floats that the main structures have in a range.
pub(super) fn spans(head: &Inner, series: SeriesRef, range: TimeRange) -> Result<StartSpans, HeadError> {
    let lock = head.shard_of(series).read();
    let Some(starts) = lock.starts.get(&lock.slot_number(series)) else { return Ok(StartSpans::default()) };
    let mut spans = starts.recent.clone();
    for chunk in starts.chunks_within(range) {
        // Small and rare, so they are decoded under the lock.
        let Some(frame) = Source::Shard(&lock.files).frame(chunk.link)? else { continue };
        spans.append(StartSpans::from_bytes(frame.payload).ok_or_else(|| bad_chunk(chunk.link))?);
    }
    spans.sort();
    Ok(spans)
}
