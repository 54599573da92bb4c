//! Old samples as buckets: which part of a selection is served from them, and how windows are cut from samples and buckets.
//!
//! A window whose bounds are multiples of the resolution consists of whole buckets, and its value is that of the samples.
//! Any other window that reaches into buckets is moved back until it ends at a bound, and begins at the bound nearest to its
//! start, one bucket before its end at least: the answer is exact for that window, and approximate for the one that was asked
//! for. Whether that is wanted
//! has been settled before (`wanted.rs`), by asking the source for the right buckets.

mod fold;
mod instant;
mod pieces;
mod wanted;

pub(crate) use wanted::{INSTANT_FIELDS, Wanted, fields};

use super::exec::{Samples, Worker};
use super::profile::Reading;
use super::range::WindowInput;
use super::range_call::{RangeCall, without_stale_markers};
use super::row::Row;
use super::select::Selection;
use super::windows::Windows;
use crate::query_error::QueryError;
use crate::source::{SeriesSet, TimelineToken};
use model::bucket::{BucketColumns, BucketFields, Coverage, Segment, bucket_floor};
use model::sample::{SampleColumns, stale_marker};
use pieces::{Pieces, Run};
use smallvec::SmallVec;

/// For how many samples a bucket counts in the budget: about the memory that it takes.
const SAMPLES_PER_BUCKET: usize = 5;

/// The parts of a selection that are served from buckets.
#[derive(Debug)]
pub(crate) struct Tiers {
    coverage: Coverage,
    /// The segments where samples have expired: native histograms are thinned there.
    thinned: SmallVec<[Segment; 4]>,
}

/// Exclusive start and inclusive end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) after_ms: i64,
    pub(crate) until_ms: i64,
}

/// A stretch of time and what serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Span {
    Samples(Window),
    /// With the number of the segment.
    Buckets(usize, Window),
}

impl Tiers {
    /// `None` when all of the selection is served from samples.
    pub(crate) fn of(coverage: &Coverage) -> Option<Box<Self>> {
        (!coverage.segments.is_empty()).then(|| Box::new(Self::new(coverage.clone())))
    }

    fn new(coverage: Coverage) -> Self {
        let expired_ms = coverage.expired_until_ms.unwrap_or(i64::MIN);
        let cut = |segment: &Segment| Segment { until_ms: segment.until_ms.min(expired_ms), ..*segment };
        let thinned = coverage.segments.iter().map(cut).filter(|segment| segment.after_ms < segment.until_ms);
        Self { thinned: thinned.collect(), coverage }
    }

    /// The window that is looked at instead of the one of `range_ms` that ends at `end_ms`.
    fn window(&self, end_ms: i64, range_ms: i64) -> Window {
        whole(&self.coverage.segments, end_ms, range_ms)
    }

    /// The same of native histograms.
    pub(crate) fn histogram_window(&self, end_ms: i64, range_ms: i64) -> Window {
        whole(&self.thinned, end_ms, range_ms)
    }

    /// From when native histograms are read for windows of which the first ends at `first_ms`.
    pub(crate) fn histograms_after(&self, first_ms: i64, range_ms: i64) -> i64 {
        widened(&self.thinned, first_ms, range_ms).0.after_ms.min(first_ms.saturating_sub(range_ms))
    }

    /// When native histograms are looked at instead of at a time.
    pub(crate) fn histogram_look(&self, at_ms: i64) -> i64 {
        widened(&self.thinned, at_ms, 0).0.until_ms
    }

    /// The same, with all of the bucket that it begins in, and that bucket's length; 0 when it begins in none.
    fn widened(&self, end_ms: i64, range_ms: i64) -> (Window, i64) {
        widened(&self.coverage.segments, end_ms, range_ms)
    }

    /// What has to be read for all windows of a grid.
    fn span_read(&self, (first_ms, last_ms): (i64, i64), range_ms: i64) -> Window {
        let after_ms = self.widened(first_ms, range_ms).0.after_ms.min(first_ms.saturating_sub(range_ms));
        Window { after_ms, until_ms: last_ms }
    }

    /// Reads the samples of one series outside of all buckets, stale markers included.
    fn read_samples(
        &self,
        set: &dyn SeriesSet,
        index: usize,
        window: Window,
        into: &mut SampleColumns,
    ) -> Result<Option<TimelineToken>, QueryError> {
        into.clear();
        let samples = spans(&self.coverage.segments, window).into_iter().filter_map(|span| match span {
            Span::Samples(window) => Some(window),
            Span::Buckets(..) => None,
        });
        let samples: SmallVec<[Window; 4]> = samples.collect();
        if let [only] = samples.as_slice() {
            return Ok(set.read(index, only.after_ms, only.until_ms, into)?);
        }
        for window in samples {
            append(set, index, window, into)?;
        }
        Ok(None)
    }

    /// Reads the buckets of one series.
    fn read_buckets(
        &self,
        set: &dyn SeriesSet,
        index: usize,
        window: Window,
        fields: BucketFields,
    ) -> Result<Vec<Run>, QueryError> {
        let mut runs = Vec::new();
        for span in spans(&self.coverage.segments, window) {
            if let Span::Buckets(number, Window { after_ms, until_ms }) = span {
                let segment = self.coverage.segments[number];
                let mut columns = BucketColumns::default();
                set.read_buckets(index, &segment, (after_ms, until_ms), fields, &mut columns)?;
                runs.push(Run { segment, columns });
            }
        }
        Ok(runs)
    }

    /// Reads one series as samples: those there are, and where they have expired the last one of each bucket.
    pub(crate) fn read_thinned(
        &self,
        set: &dyn SeriesSet,
        index: usize,
        window: Window,
        into: &mut SampleColumns,
    ) -> Result<Option<TimelineToken>, QueryError> {
        let segments = &self.thinned;
        let spans = spans(segments, window);
        if let [Span::Samples(_)] = spans.as_slice() {
            return Ok(set.read(index, window.after_ms, window.until_ms, into)?);
        }
        into.clear();
        let fields = INSTANT_FIELDS;
        let mut columns = BucketColumns::default();
        for span in spans {
            match span {
                Span::Samples(window) => append(set, index, window, into)?,
                Span::Buckets(number, Window { after_ms, until_ms }) => {
                    // Cut by a bound, a bucket may still have its last sample inside.
                    let segment = self.coverage.segments[self.number_of(&segments[number])];
                    let ends = (after_ms, until_ms.saturating_add(segment.resolution_ms));
                    set.read_buckets(index, &segment, ends, fields, &mut columns)?;
                    let inside = |time: i64| time > after_ms && time <= until_ms;
                    for bucket in columns.iter() {
                        if bucket.count > 0 && inside(bucket.last_ms) {
                            into.push(bucket.last_ms, bucket.last);
                        }
                        if bucket.stale_end && inside(bucket.end_ms) {
                            into.push(bucket.end_ms, stale_marker());
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    /// Until when samples have expired, if that is after a time.
    pub(crate) fn expired_after(&self, after_ms: i64) -> Option<i64> {
        self.coverage.expired_until_ms.filter(|expired_ms| after_ms < *expired_ms)
    }

    /// The number of the segment that begins where `cut` does.
    fn number_of(&self, cut: &Segment) -> usize {
        self.coverage.segments.partition_point(|segment| segment.after_ms < cut.after_ms)
    }

    /// Folds all windows of one series for a function that buckets can answer; `wanted` says what it needs of them.
    pub(crate) fn fold(
        &self,
        call: &RangeCall<'_>,
        (selection, index): (&Selection, usize),
        wanted: BucketFields,
        worker: &mut Worker<'_, '_>,
        columns: &mut SampleColumns,
        out: &mut Row,
    ) -> Result<(), QueryError> {
        let reading = Reading::begin(worker.exec, call.range_ordinal);
        let set = selection.set.as_ref();
        let read = self.span_read((call.look.first(), call.look.last()), call.range_ms);
        let token = self.read_samples(set, index, read, columns)?;
        let token = if without_stale_markers(columns) { token } else { None };
        let mut runs = self.read_buckets(set, index, read, wanted)?;
        runs.iter_mut().for_each(Run::drop_empty);
        let buckets: usize = runs.iter().map(|run| run.columns.len()).sum();
        worker.hold_samples(columns.len() + buckets * SAMPLES_PER_BUCKET)?;
        reading.end(columns.len() + buckets, columns.len() + buckets * SAMPLES_PER_BUCKET);
        if columns.is_empty() && buckets == 0 {
            out.reset(call.steps.count);
            return Ok(());
        }
        // First as if there were nothing but samples; then each step that sees buckets again.
        let times = &columns.timestamps_ms;
        let windows = worker.windows(call.ordinal, token, || Windows::find(times, &call.look, call.range_ms))?;
        let input = WindowInput {
            starts: &[],
            timestamps_ms: times,
            values: &columns.values,
            windows: &windows,
            look: &call.look,
            steps: &call.steps,
            range_ms: call.range_ms,
            budget: worker.exec.budget,
        };
        call.function.fold(&input, &call.parameters, out)?;
        let pieces = Pieces { samples: columns, runs: &runs, segments: &self.coverage.segments };
        let mut seen: Vec<Samples> = (0..call.steps.count).map(|step| windows.samples(step)).collect();
        let mut seen_until_ms = i64::MIN;
        for (step, seen) in seen.iter_mut().enumerate() {
            let end_ms = call.look.time(step);
            if !self.coverage.serves_any(end_ms.saturating_sub(call.range_ms), end_ms) {
                seen_until_ms = end_ms;
                continue;
            }
            if step % STEPS_BETWEEN_CHECKS == 0 {
                worker.exec.budget.check()?;
            }
            let window = self.window(end_ms, call.range_ms);
            let parts = pieces.parts(window);
            let fresh = Window { after_ms: window.after_ms.max(seen_until_ms), ..window };
            *seen = Samples { used: parts.rows(), fresh: pieces.parts(fresh).rows() };
            seen_until_ms = window.until_ms;
            match fold::window(call.function, &parts, window, call.range_ms) {
                Some(value) => out.set(step, value),
                None => out.clear_step(step),
            }
        }
        worker.exec.budget.check()?;
        worker.count(call.counting, seen.iter().copied().sum(), call.steps.count, |step| seen[step]);
        Ok(())
    }
}

/// The window of whole buckets that stands for the one of `range_ms` that ends at `end_ms`.
fn whole(segments: &[Segment], end_ms: i64, range_ms: i64) -> Window {
    let (Window { after_ms, until_ms }, resolution_ms) = widened(segments, end_ms, range_ms);
    let past_ms = until_ms.saturating_sub(range_ms).saturating_sub(after_ms);
    let nearest_ms = if past_ms > resolution_ms / 2 { after_ms.saturating_add(resolution_ms) } else { after_ms };
    Window { after_ms: if nearest_ms < until_ms { nearest_ms } else { after_ms }, until_ms }
}

/// The same, with all of the bucket that it begins in, and that bucket's length; 0 when it begins in none.
fn widened(segments: &[Segment], end_ms: i64, range_ms: i64) -> (Window, i64) {
    let ends_in = |segment: &&Segment| segment.after_ms < end_ms && end_ms <= segment.until_ms;
    let last = segments.iter().find(ends_in);
    let until_ms = last.map_or(end_ms, |segment| bucket_floor(end_ms, segment.resolution_ms));
    let start_ms = until_ms.saturating_sub(range_ms);
    let begins_in = |segment: &&Segment| segment.after_ms <= start_ms && start_ms < segment.until_ms;
    let resolution_ms = segments.iter().find(begins_in).map_or(0, |segment| segment.resolution_ms);
    let after_ms = if resolution_ms == 0 { start_ms } else { bucket_floor(start_ms, resolution_ms) };
    (Window { after_ms, until_ms }, resolution_ms)
}

/// How many windows may pass between two looks at whether the query is to stop.
const STEPS_BETWEEN_CHECKS: usize = 64;

/// Appends the samples of one series.
fn append(set: &dyn SeriesSet, index: usize, window: Window, into: &mut SampleColumns) -> Result<(), QueryError> {
    let mut read = SampleColumns::default();
    set.read(index, window.after_ms, window.until_ms, &mut read)?;
    into.timestamps_ms.append(&mut read.timestamps_ms);
    into.values.append(&mut read.values);
    Ok(())
}

/// Divides a window among `segments` and the samples between them.
fn spans(segments: &[Segment], window: Window) -> SmallVec<[Span; 4]> {
    let mut spans = SmallVec::new();
    let mut at = window.after_ms;
    for (number, segment) in segments.iter().enumerate() {
        if segment.until_ms <= at {
            continue;
        }
        if segment.after_ms >= window.until_ms {
            break;
        }
        if at < segment.after_ms {
            spans.push(Span::Samples(Window { after_ms: at, until_ms: segment.after_ms }));
            at = segment.after_ms;
        }
        let until_ms = segment.until_ms.min(window.until_ms);
        spans.push(Span::Buckets(number, Window { after_ms: at, until_ms }));
        at = until_ms;
    }
    if at < window.until_ms {
        spans.push(Span::Samples(Window { after_ms: at, until_ms: window.until_ms }));
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiers() -> Tiers {
        let segment = |resolution_ms, after_ms, until_ms| Segment { resolution_ms, after_ms, until_ms };
        let segments = vec![segment(60, 0, 240), segment(20, 240, 300)];
        Tiers::new(Coverage { segments, ..Coverage::default() })
    }

    #[test]
    fn windows_of_whole_buckets_stay_where_they_are() {
        let window = |after_ms, until_ms| Window { after_ms, until_ms };
        for (end, range, expected) in [
            (120, 60, window(60, 120)),
            (260, 140, window(120, 260)),
            (305, 65, window(240, 305)),
            (500, 100, window(400, 500)),
            (0, 60, window(-60, 0)),
        ] {
            assert_eq!(tiers().window(end, range), expected, "{end} {range}");
        }
    }

    #[test]
    fn others_are_moved_back_to_a_bound_and_begin_at_the_nearest() {
        let window = |after_ms, until_ms| Window { after_ms, until_ms };
        for (end, range, expected) in [
            (130, 60, window(60, 120)),
            (130, 70, window(60, 120)),
            (130, 100, window(0, 120)),
            (130, 5, window(60, 120)),
            (255, 10, window(180, 240)),
            (310, 60, window(240, 310)),
            (310, 75, window(240, 310)),
            (310, 110, window(180, 310)),
        ] {
            assert_eq!(tiers().window(end, range), expected, "{end} {range}");
        }
    }

    #[test]
    fn samples_fill_the_gaps_between_buckets() {
        let found = spans(&tiers().coverage.segments, Window { after_ms: -50, until_ms: 310 });
        let window = |after_ms, until_ms| Window { after_ms, until_ms };
        let expected = [
            Span::Samples(window(-50, 0)),
            Span::Buckets(0, window(0, 240)),
            Span::Buckets(1, window(240, 300)),
            Span::Samples(window(300, 310)),
        ];
        assert_eq!(found.as_slice(), expected);
    }
}
