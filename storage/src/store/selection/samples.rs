//! Float samples and buckets of one series, from all of its parts.

use super::Merged;
use super::merge::{Merge, Token, remove_hidden};
use crate::block::read::retain_buckets;
use crate::select::{SelectError, TimeRange};
use crate::tombstone::DeletedSpans;
use model::bucket::{Bucket, BucketColumns, BucketFields, Coverage, Segment};
use model::sample::{Sample, SampleColumns};

impl Merged {
    pub(crate) fn read(
        &self,
        index: usize,
        range: TimeRange,
        into: &mut SampleColumns,
    ) -> Result<Option<u64>, SelectError> {
        into.clear();
        let range = self.tiers.unexpired(range);
        let (head, blocks) = self.places(index);
        let mut token = Token::default();
        if let (None, [(number, row)]) = (head, blocks) {
            if !self.block(*number).may_hold(range) {
                return Ok(None);
            }
            let pages = self.pages_of(*number, range)?;
            let part = self.block(*number).read(pages, *row as usize, range, into)?;
            token.add(1 + u64::from(*number), part, into.is_empty());
            let whole = self.hidden_in(index, Some(*number)).is_none_or(|hidden| remove_hidden(hidden, into));
            return Ok(token.finish().filter(|_| whole));
        }
        let mut merge = Merge::default();
        let (mut scratch, mut whole) = (SampleColumns::default(), true);
        for (number, row) in blocks.iter().filter(|(number, _)| self.block(*number).may_hold(range)) {
            let pages = self.pages_of(*number, range)?;
            let part = self.block(*number).read(pages, *row as usize, range, &mut scratch)?;
            token.add(1 + u64::from(*number), part, scratch.is_empty());
            whole &= self.hidden_in(index, Some(*number)).is_none_or(|hidden| remove_hidden(hidden, &mut scratch));
            merge.add(&mut scratch, into);
        }
        if let Some(head) = head {
            let part = self.head.read(head, range.after_ms, range.until_ms, &mut scratch)?;
            token.add(0, part, scratch.is_empty());
            whole &= self.hidden_in(index, None).is_none_or(|hidden| remove_hidden(hidden, &mut scratch));
            merge.add(&mut scratch, into);
        }
        let exact = merge.finish(into) && whole;
        Ok(token.finish().filter(|_| exact))
    }

    pub(crate) fn latest(&self, index: usize, range: TimeRange) -> Result<Option<Sample>, SelectError> {
        let range = self.tiers.unexpired(range);
        if self.hidden.contains_key(&(index as u32)) {
            let mut columns = SampleColumns::default();
            self.read(index, range, &mut columns)?;
            let newest = columns.timestamps_ms.last().zip(columns.values.last());
            return Ok(newest.map(|(&timestamp_ms, &value)| Sample { timestamp_ms, value }));
        }
        let (head, blocks) = self.places(index);
        let mut newest: Option<Sample> = None;
        // By precedence: a later part counts only when it is newer.
        for (number, row) in blocks.iter().filter(|(number, _)| self.block(*number).may_hold(range)) {
            let series = self.block(*number);
            let after_ms = newest.map_or(range.after_ms, |sample| sample.timestamp_ms.max(range.after_ms));
            let reaches = series.time_range_ms(*row as usize)?.is_some_and(|(_, last_ms)| last_ms > after_ms);
            if !reaches {
                continue;
            }
            let pages = self.pages_of(*number, range)?;
            if let Some(found) = series.latest(pages, *row as usize, TimeRange { after_ms, ..range })? {
                newest = Some(found);
            }
        }
        if let Some(head) = head
            && let Some(found) = self.head.latest(head, range.after_ms, range.until_ms)?
            && newest.is_none_or(|newest| newest.timestamp_ms < found.timestamp_ms)
        {
            newest = Some(found);
        }
        Ok(newest)
    }

    /// Which time is served from buckets.
    pub(crate) fn coverage(&self) -> Option<&Coverage> {
        self.tiers.coverage()
    }

    /// As [`Selection::read_buckets`](super::Selection::read_buckets).
    pub(crate) fn read_buckets(
        &self,
        index: usize,
        segment: &Segment,
        range: (i64, i64),
        fields: BucketFields,
        into: &mut BucketColumns,
    ) -> Result<(), SelectError> {
        into.clear();
        let resolution_ms = segment.resolution_ms;
        let (_, all) = self.all_places(index);
        let is_read = |(number, _): &&(u16, u32)| {
            usize::from(*number) >= self.tiers.raw_blocks() && self.block(*number).resolution_ms() == resolution_ms
        };
        let mut pages = None;
        for (number, row) in all.iter().filter(is_read) {
            let pages = match &pages {
                Some(pages) => pages,
                None => pages.insert(self.tiers.pages(&self.io, &self.blocks, resolution_ms, fields)?),
            };
            if let Some(pages) = pages.get(number) {
                self.block(*number).read_buckets(pages, *row as usize, range, fields, into)?;
            }
        }
        if let Some(hidden) = self.hidden.get(&(index as u32)) {
            let spans = |(number, _): &(u16, u32)| Some((*number, self.hidden_in(index, Some(*number))?));
            let from: Vec<_> = all.iter().filter(is_read).filter_map(spans).collect();
            let is_hidden = |bucket: &Bucket| {
                let end_ms = bucket.end_ms;
                let touch = |spans: &DeletedSpans| spans.touch(end_ms - resolution_ms + 1, end_ms);
                // Most buckets are touched by nothing, and then it does not matter whose they are.
                if !hidden.iter().any(|(_, spans)| touch(spans)) {
                    return false;
                }
                // No two blocks have buckets of one time.
                let of_bucket = TimeRange { after_ms: end_ms.saturating_sub(1), until_ms: end_ms };
                from.iter().any(|(number, spans)| self.block(*number).may_hold(of_bucket) && touch(spans))
            };
            retain_buckets(into, fields, |bucket| !is_hidden(bucket));
        }
        Ok(())
    }
}
