//! Reads the start timestamps of one series: one per sample, floats and histograms merged.

use super::Inner;
use super::error::HeadError;
use super::read::{self, Source, bad_chunk};
use super::read_histograms;
use super::slot::Slot;
use super::starts::StartSpans;
use crate::append::SeriesRef;
use crate::select::TimeRange;
use model::sample::SampleColumns;

/// Replaces `into` by the start timestamps; see [`crate::select::Selection::read_start_timestamps`].
pub(crate) fn read(
    head: &Inner,
    series: SeriesRef,
    range: TimeRange,
    view: Option<u64>,
    into: &mut Vec<i64>,
) -> Result<(), HeadError> {
    into.clear();
    let spans = {
        let lock = head.shard_of(series).read();
        if lock.live(series).is_none_or(|slot| !slot.has(Slot::HAS_STARTS)) {
            return Ok(());
        }
        match lock.starts.get(&lock.slot_number(series)) {
            None => StartSpans::default(),
            Some(starts) => {
                let overlaps = |first_ms: i64, last_ms: i64| first_ms <= range.until_ms && last_ms > range.after_ms;
                let mut spans = starts.recent.clone();
                for chunk in starts.chunks.iter().filter(|chunk| overlaps(chunk.first_ms, chunk.last_ms)) {
                    // Small and rare, so they are decoded under the lock.
                    let Some(frame) = Source::Shard(&lock.files).frame(chunk.link)? else { continue };
                    spans.append(StartSpans::from_bytes(frame.payload).ok_or_else(|| bad_chunk(chunk.link))?);
                }
                spans.sort();
                spans
            }
        }
    };
    let mut floats = SampleColumns::default();
    read::read(head, series, range, view, &mut floats)?;
    let mut histograms = read_histograms::starts(head, series, range, view)?.into_iter().peekable();
    for timestamp_ms in floats.timestamps_ms {
        while let Some((_, start_ms)) = histograms.next_if(|histogram| histogram.0 < timestamp_ms) {
            into.push(start_ms);
        }
        into.push(spans.start_of(timestamp_ms));
    }
    into.extend(histograms.map(|(_, start_ms)| start_ms));
    if into.iter().all(|start_ms| *start_ms == 0) {
        into.clear();
    }
    Ok(())
}
