//! Native histograms and start timestamps of one series, from all of its parts. They are there where floats have expired, too, thinned:
//! no tier has them.

use super::Merged;
use crate::head::read_histograms::hint;
use crate::select::{SelectError, TimeRange};
use crate::tombstone::DeletedSpans;
use model::histogram::{CounterResetHint, Histogram, HistogramColumns};
use model::sample::SampleColumns;
use std::sync::Arc;

impl Merged {
    pub(crate) fn has_histograms(&self, index: usize) -> bool {
        let (head, blocks) = self.places(index);
        // A block that cannot be read says so when it is.
        let in_block = |(number, row): &(u16, u32)| self.block(*number).has_histograms(*row as usize).unwrap_or(true);
        head.is_some_and(|head| self.head.has_histograms(head)) || blocks.iter().any(in_block)
    }

    pub(crate) fn read_histograms(
        &self,
        index: usize,
        range: TimeRange,
        into: &mut HistogramColumns,
    ) -> Result<(), SelectError> {
        into.clear();
        let (head, blocks) = self.places(index);
        let mut found: Vec<(i64, Arc<Histogram>, u32)> = Vec::new();
        let mut part = HistogramColumns::default();
        let (mut parts, mut befores) = (0, Vec::new());
        let mut take = |part: &mut HistogramColumns, hidden: Option<&DeletedSpans>| {
            // What is left of a part may have other neighbours.
            parts += if hidden.is_some() { 2 } else { usize::from(!part.is_empty()) };
            found.extend(part.drain().filter(|(timestamp_ms, ..)| !is_hidden(hidden, *timestamp_ms)));
        };
        let is_refused = |number: u16| self.tiers.refuses() && self.block(number).is_thinned();
        let held = |(number, _): &&(u16, u32)| self.block(*number).may_hold(range) && !is_refused(*number);
        for (number, row) in blocks.iter().filter(held) {
            let pages = self.pages_of(*number, range)?;
            let before = self.block(*number).read_histograms_after(pages, *row as usize, range, &mut part)?;
            let hidden = self.hidden_in(index, Some(*number));
            befores.extend(before.filter(|(timestamp_ms, _)| !is_hidden(hidden, *timestamp_ms)));
            take(&mut part, hidden);
        }
        if let Some(head) = head {
            let before = self.head.read_histograms_after(head, range.after_ms, range.until_ms, &mut part)?;
            // What the head has seen before may be in blocks, and deleted there.
            let of_any = self.hidden.get(&(index as u32)).map(Vec::as_slice).unwrap_or_default();
            befores.extend(before.filter(|(at_ms, _)| !of_any.iter().any(|(_, hidden)| hidden.contains(*at_ms))));
            take(&mut part, self.hidden_in(index, None));
        }
        // Stable: of two at one time the first counts.
        found.sort_by_key(|(timestamp_ms, ..)| *timestamp_ms);
        found.dedup_by_key(|(timestamp_ms, ..)| *timestamp_ms);
        if parts < 2 && befores.len() < 2 {
            found.into_iter().for_each(|(at_ms, histogram, left_out)| into.push_after(at_ms, histogram, left_out));
            return Ok(());
        }
        // Each part compared neighbours of its own; those of the whole may be others.
        let newest = befores.into_iter().max_by_key(|(timestamp_ms, _)| *timestamp_ms);
        let mut before = newest.map(|(_, histogram)| histogram);
        for (timestamp_ms, mut histogram, left_out) in found {
            let mut whole = histogram.counter_reset_hint;
            if whole == CounterResetHint::NotReset {
                whole = CounterResetHint::Unknown;
            }
            let known = Histogram { counter_reset_hint: whole, ..Histogram::clone(&histogram) };
            let is = hint(&known, before.as_deref());
            if is != histogram.counter_reset_hint {
                histogram = Arc::new(Histogram { counter_reset_hint: is, ..known });
            }
            into.push_after(timestamp_ms, Arc::clone(&histogram), left_out);
            before = Some(histogram);
        }
        Ok(())
    }

    pub(crate) fn latest_histogram(
        &self,
        index: usize,
        range: TimeRange,
    ) -> Result<Option<(i64, Arc<Histogram>)>, SelectError> {
        let in_blocks = || self.places(index).1.iter().any(|(number, _)| self.block(*number).may_hold(range));
        if let (Some(head), _) = self.places(index)
            && !self.hidden.contains_key(&(index as u32))
            && !in_blocks()
        {
            let TimeRange { after_ms, until_ms } = range;
            return self.head.latest_histogram(head, after_ms, until_ms);
        }
        let mut columns = HistogramColumns::default();
        self.read_histograms(index, range, &mut columns)?;
        Ok(columns.timestamps_ms.pop().zip(columns.histograms.pop()))
    }

    pub(crate) fn has_start_timestamps(&self, index: usize) -> bool {
        let (head, blocks) = self.places(index);
        let in_block =
            |(number, row): &(u16, u32)| self.block(*number).has_start_timestamps(*row as usize).unwrap_or(true);
        head.is_some_and(|head| self.head.has_start_timestamps(head)) || blocks.iter().any(in_block)
    }

    /// As [`HeadSelection::read_start_timestamps`]: one per sample of either kind, in order of time.
    pub(crate) fn read_start_timestamps(
        &self,
        index: usize,
        range: TimeRange,
        into: &mut Vec<i64>,
    ) -> Result<(), SelectError> {
        into.clear();
        let (head, blocks) = self.places(index);
        let mut found: Vec<(i64, i64)> = Vec::new();
        let mut part = Part::default();
        for (number, row) in blocks.iter().filter(|(number, _)| self.block(*number).may_hold(range)) {
            let (series, row, pages) = (self.block(*number), *row as usize, self.pages_of(*number, range)?);
            series.read(pages, row, range, &mut part.floats)?;
            series.read_histograms(pages, row, range, &mut part.histograms)?;
            series.read_start_timestamps(pages, row, range, &mut part.starts_ms)?;
            part.take(self.hidden_in(index, Some(*number)), &mut found);
        }
        if let Some(head) = head {
            let TimeRange { after_ms, until_ms } = range;
            self.head.read(head, after_ms, until_ms, &mut part.floats)?;
            self.head.read_histograms(head, after_ms, until_ms, &mut part.histograms)?;
            self.head.read_start_timestamps(head, after_ms, until_ms, &mut part.starts_ms)?;
            part.take(self.hidden_in(index, None), &mut found);
        }
        found.sort_by_key(|(timestamp_ms, _)| *timestamp_ms);
        found.dedup_by_key(|(timestamp_ms, _)| *timestamp_ms);
        if found.iter().any(|(_, start_ms)| *start_ms != 0) {
            into.extend(found.into_iter().map(|(_, start_ms)| start_ms));
        }
        Ok(())
    }
}

fn is_hidden(hidden: Option<&DeletedSpans>, timestamp_ms: i64) -> bool {
    hidden.is_some_and(|hidden| hidden.contains(timestamp_ms))
}

/// What one source has of a series in a range.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) floats: SampleColumns,
    pub(crate) histograms: HistogramColumns,
    pub(crate) starts_ms: Vec<i64>,
}

impl Part {
    /// Gives out the timestamps, but for those that are hidden, with their start timestamps, 0 where none is known.
    pub(crate) fn take(&mut self, hidden: Option<&DeletedSpans>, found: &mut Vec<(i64, i64)>) {
        let mut times: Vec<i64> =
            self.floats.timestamps_ms.drain(..).chain(self.histograms.timestamps_ms.drain(..)).collect();
        times.sort_unstable();
        let starts = self.starts_ms.drain(..).chain(std::iter::repeat(0));
        found.extend(times.into_iter().zip(starts).filter(|(timestamp_ms, _)| !is_hidden(hidden, *timestamp_ms)));
        self.floats.clear();
        self.histograms.clear();
    }
}
