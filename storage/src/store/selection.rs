//! Series selected from head and blocks, read as one.
//!
//! A series is known by the hash of its labels. What blocks hold of it comes before what the head holds, since the head gives
//! up what it has flushed; where parts overlap nevertheless (late samples, replicas, a flush that was being published), samples are
//! merged by time, and of two at one time that of the earlier block counts. Samples of blocks are fetched together when the
//! first one is read.

use super::io::Io;
use super::tiered::Tiered;
use crate::append::LabelHash;
use crate::block::read::{Block, BlockLabels, BlockPages, BlockSeries, ReadError, What, retain_buckets};
use crate::engine::Engine;
use crate::head::read_histograms::hint;
use crate::select::{SelectError, Selection as HeadSelection, TimeRange};
use crate::tombstone::DeletedSpans;
use futures::future::try_join_all;
use hashbrown::HashMap;
use model::bucket::{Bucket, BucketColumns, BucketFields, Coverage, Segment};
use model::histogram::{CounterResetHint, Histogram, HistogramColumns};
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::{Sample, SampleColumns};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// No series of the head.
const NONE: u32 = u32::MAX;

/// See the head of the file.
#[derive(Debug)]
pub struct Merged {
    io: Io,
    range: TimeRange,
    head: HeadSelection,
    blocks: Arc<Vec<BlockSeries>>,
    series: Vec<Places>,
    /// The places of all series in blocks: number of the block and index in its selection.
    places: Vec<(u16, u32)>,
    /// What is deleted or expired, for series of which something is.
    hidden: HashMap<u32, DeletedSpans>,
    labels: OnceLock<Result<Vec<BlockLabels>, ReadError>>,
    pages: OnceLock<Result<Vec<BlockPages>, ReadError>>,
    tiers: Tiered,
}

/// Which series are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'w> {
    /// All must hold.
    pub(crate) matchers: &'w [Matcher],
    pub(crate) range: TimeRange,
    pub(crate) series_max: usize,
    /// More than `series_max` are no error: any so many will do.
    pub(crate) first: bool,
}

/// Where a series is.
#[derive(Debug, Clone)]
struct Places {
    /// Index in the selection of the head, or [`NONE`].
    head: u32,
    /// Range of [`Merged::places`].
    blocks: Range<u32>,
}

/// What decides which samples of a series are hidden.
pub(crate) type Hide<'h> = &'h dyn Fn(&Labels) -> DeletedSpans;

impl Merged {
    /// Merges what the head has with what `blocks`, by precedence, have. Behind those of samples may be blocks of tiers.
    pub(crate) fn new(
        io: &Io,
        engine: &Engine,
        head: HeadSelection,
        blocks: Vec<Block>,
        tiers: Tiered,
        wanted: &Wanted<'_>,
    ) -> Result<Self, SelectError> {
        let Wanted { range, series_max, first, .. } = *wanted;
        let (matchers, selected) = (wanted.matchers.to_vec(), blocks);
        let found = io.wait(async move {
            let of_block = |block: &Block| {
                let (block, matchers) = (block.clone(), &matchers);
                async move {
                    let series = match first {
                        true => block.select_first(matchers, range, series_max).await?,
                        false => block.select(matchers, range, series_max).await?,
                    };
                    let hashes = series.hashes().await?;
                    Ok::<_, ReadError>((series, hashes))
                }
            };
            try_join_all(selected.iter().map(of_block)).await
        })?;
        let mut merged = Self {
            io: io.clone(),
            range,
            series: Vec::with_capacity(head.len()),
            head,
            blocks: Arc::default(),
            places: Vec::new(),
            hidden: HashMap::new(),
            labels: OnceLock::new(),
            pages: OnceLock::new(),
            tiers,
        };
        let (blocks, hashes): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        merged.join(engine, &hashes);
        if !first && merged.series.len() > series_max {
            return Err(SelectError::TooManySeries { series_max });
        }
        merged.series.truncate(series_max);
        merged.blocks = Arc::new(blocks);
        Ok(merged)
    }

    /// Finds out which series of the blocks are one, and which of them the head has.
    fn join(&mut self, engine: &Engine, hashes: &[Vec<LabelHash>]) {
        let total: usize = hashes.iter().map(Vec::len).sum();
        let mut numbers: HashMap<LabelHash, u32> = HashMap::with_capacity(total);
        let mut found: Vec<(u32, u16, u32)> = Vec::with_capacity(total);
        let mut distinct: Vec<LabelHash> = Vec::new();
        for (block, hashes) in (0u16..).zip(hashes) {
            for (index, hash) in (0u32..).zip(hashes) {
                let number = *numbers.entry(*hash).or_insert_with(|| {
                    distinct.push(*hash);
                    distinct.len() as u32 - 1
                });
                found.push((number, block, index));
            }
        }
        let mut refs = vec![None; distinct.len()];
        // The selection of the head keeps what it has; whatever else a block has may leave the head while it is read.
        engine.head().peek(&distinct, &mut refs);
        let by_ref: HashMap<_, u32> = (0..self.head.len()).map(|at| (self.head.series(at), at as u32)).collect();
        let in_head =
            |number: usize| refs.get(number).copied().flatten().and_then(|series| by_ref.get(&series)).copied();

        found.sort_unstable();
        let mut only_head = vec![true; self.head.len()];
        for group in found.chunk_by(|a, b| a.0 == b.0) {
            let start = self.places.len() as u32;
            self.places.extend(group.iter().map(|(_, block, index)| (*block, *index)));
            let head = group.first().and_then(|(number, _, _)| in_head(*number as usize)).unwrap_or(NONE);
            if let Some(only) = only_head.get_mut(head as usize) {
                *only = false;
            }
            self.series.push(Places { head, blocks: start..self.places.len() as u32 });
        }
        let others = (0..self.head.len() as u32).filter(|at| only_head.get(*at as usize) == Some(&true));
        self.series.extend(others.map(|head| Places { head, blocks: 0..0 }));
    }

    /// Hides samples of series.
    pub(crate) fn hide(&mut self, hide: Hide<'_>) -> Result<(), SelectError> {
        for index in 0..self.series.len() {
            let spans = hide(&self.labels(index)?);
            if spans.touch(self.range.after_ms.saturating_add(1), self.range.until_ms) {
                self.hidden.insert(index as u32, spans);
            }
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    /// Where its samples are.
    fn places(&self, index: usize) -> (Option<usize>, &[(u16, u32)]) {
        let (head, all) = self.all_places(index);
        let raw = all.partition_point(|(number, _)| usize::from(*number) < self.tiers.raw_blocks());
        (head, all.get(..raw).unwrap_or_default())
    }

    fn all_places(&self, index: usize) -> (Option<usize>, &[(u16, u32)]) {
        let Some(Places { head, blocks }) = self.series.get(index).cloned() else { return (None, &[]) };
        let blocks = self.places.get(blocks.start as usize..blocks.end as usize).unwrap_or_default();
        ((head != NONE).then_some(head as usize), blocks)
    }

    fn block(&self, number: u16) -> &BlockSeries {
        &self.blocks[usize::from(number)]
    }

    /// The labels of all series that blocks have, read once.
    fn block_labels(&self) -> Result<&[BlockLabels], SelectError> {
        let read = || {
            let blocks = Arc::clone(&self.blocks);
            self.io.wait(async move { try_join_all(blocks.iter().map(|series| series.labels(None))).await })
        };
        self.labels.get_or_init(read).as_deref().map_err(|error| SelectError::Block(error.clone()))
    }

    /// The samples of all series that blocks have, fetched once.
    fn pages(&self) -> Result<&[BlockPages], SelectError> {
        let fetch = || {
            let (blocks, range, raw) = (Arc::clone(&self.blocks), self.range, self.tiers.raw_blocks());
            let fetch = async move {
                let raw = blocks.iter().take(raw);
                try_join_all(raw.map(|series| series.fetch(0..series.len(), range, What::ALL))).await
            };
            self.io.wait(fetch)
        };
        self.pages.get_or_init(fetch).as_deref().map_err(|error| SelectError::Block(error.clone()))
    }

    fn pages_of(&self, number: u16) -> Result<&BlockPages, SelectError> {
        Ok(&self.pages()?[usize::from(number)])
    }

    pub(crate) fn labels(&self, index: usize) -> Result<Labels, SelectError> {
        match self.all_places(index) {
            (Some(head), _) => Ok(self.head.labels(head)),
            (None, [(block, row), ..]) => Ok(self.block_labels()?[usize::from(*block)].of(*row as usize)?),
            (None, []) => Ok(Labels::empty()),
        }
    }

    pub(crate) fn labels_among(&self, index: usize, names: &[&str]) -> Result<Labels, SelectError> {
        match self.all_places(index) {
            (Some(head), _) => Ok(self.head.labels_among(head, names)),
            (None, [(block, row), ..]) => Ok(self.block_labels()?[usize::from(*block)].among(*row as usize, names)?),
            (None, []) => Ok(Labels::empty()),
        }
    }

    /// As [`HeadSelection::label_numbers`], as long as the head has all of them: the dictionaries of blocks know nothing of
    /// each other.
    pub(crate) fn label_numbers(&self, indices: Range<usize>, names: &[&str], into: &mut Vec<u32>) -> bool {
        let of = self.series.get(indices).unwrap_or_default();
        if of.iter().any(|places| places.head == NONE) {
            return false;
        }
        for places in of {
            let head = places.head as usize;
            self.head.label_numbers(head..head + 1, names, into);
        }
        true
    }

    pub(crate) fn may_have_label(&self, name: &str) -> bool {
        self.head.may_have_label(name) || self.blocks.iter().any(|series| series.may_have_label(name))
    }

    pub(crate) fn prefetch(&self, indices: &[usize]) {
        let in_head: smallvec::SmallVec<[usize; 8]> =
            indices.iter().filter_map(|index| self.places(*index).0).take(8).collect();
        self.head.prefetch(&in_head);
    }

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
        let mut merge = Merge::default();
        let mut scratch = SampleColumns::default();
        for (number, row) in blocks {
            let series = self.block(*number);
            let part = series.read(self.pages_of(*number)?, *row as usize, range, &mut scratch)?;
            token.add(1 + u64::from(*number), part, scratch.is_empty());
            merge.add(&mut scratch, into);
        }
        if let Some(head) = head {
            let part = self.head.read(head, range.after_ms, range.until_ms, &mut scratch)?;
            token.add(0, part, scratch.is_empty());
            merge.add(&mut scratch, into);
        }
        let mut exact = merge.finish(into);
        if let Some(hidden) = self.hidden.get(&(index as u32)) {
            exact &= remove_hidden(hidden, into);
        }
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
        for (number, row) in blocks {
            let series = self.block(*number);
            let after_ms = newest.map_or(range.after_ms, |sample| sample.timestamp_ms.max(range.after_ms));
            let range = TimeRange { after_ms, ..range };
            let reaches = series.time_range_ms(*row as usize)?.is_some_and(|(_, last_ms)| last_ms > after_ms);
            if reaches && let Some(found) = series.latest(self.pages_of(*number)?, *row as usize, range)? {
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
        let range = self.tiers.unexpired(range);
        let (head, blocks) = self.places(index);
        let mut found: Vec<(i64, Arc<Histogram>)> = Vec::new();
        let mut part = HistogramColumns::default();
        let (mut parts, mut befores) = (0, Vec::new());
        let mut take = |part: &mut HistogramColumns| {
            parts += usize::from(!part.is_empty());
            found.extend(part.timestamps_ms.drain(..).zip(part.histograms.drain(..)));
        };
        for (number, row) in blocks {
            let pages = self.pages_of(*number)?;
            befores.extend(self.block(*number).read_histograms_after(pages, *row as usize, range, &mut part)?);
            take(&mut part);
        }
        if let Some(head) = head {
            befores.extend(self.head.read_histograms_after(head, range.after_ms, range.until_ms, &mut part)?);
            take(&mut part);
        }
        // Stable: of two at one time the first counts.
        found.sort_by_key(|(timestamp_ms, _)| *timestamp_ms);
        found.dedup_by_key(|(timestamp_ms, _)| *timestamp_ms);
        if let Some(hidden) = self.hidden.get(&(index as u32)) {
            found.retain(|(timestamp_ms, _)| !hidden.contains(*timestamp_ms));
            befores.retain(|(timestamp_ms, _)| !hidden.contains(*timestamp_ms));
            parts += 1;
        }
        if parts < 2 && befores.len() < 2 {
            found.into_iter().for_each(|(timestamp_ms, histogram)| into.push(timestamp_ms, histogram));
            return Ok(());
        }
        // Each part compared neighbours of its own; those of the whole may be others.
        let newest = befores.into_iter().max_by_key(|(timestamp_ms, _)| *timestamp_ms);
        let mut before = newest.map(|(_, histogram)| histogram);
        for (timestamp_ms, mut histogram) in found {
            let mut whole = histogram.counter_reset_hint;
            if whole == CounterResetHint::NotReset {
                whole = CounterResetHint::Unknown;
            }
            let known = Histogram { counter_reset_hint: whole, ..Histogram::clone(&histogram) };
            let is = hint(&known, before.as_deref());
            if is != histogram.counter_reset_hint {
                histogram = Arc::new(Histogram { counter_reset_hint: is, ..known });
            }
            into.push(timestamp_ms, Arc::clone(&histogram));
            before = Some(histogram);
        }
        Ok(())
    }

    pub(crate) fn latest_histogram(
        &self,
        index: usize,
        range: TimeRange,
    ) -> Result<Option<(i64, Arc<Histogram>)>, SelectError> {
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
        let range = self.tiers.unexpired(range);
        let (head, blocks) = self.places(index);
        let mut found: Vec<(i64, i64)> = Vec::new();
        let mut part = Part::default();
        for (number, row) in blocks {
            let (series, row, pages) = (self.block(*number), *row as usize, self.pages_of(*number)?);
            series.read(pages, row, range, &mut part.floats)?;
            series.read_histograms(pages, row, range, &mut part.histograms)?;
            series.read_start_timestamps(pages, row, range, &mut part.starts_ms)?;
            part.take(&mut found);
        }
        if let Some(head) = head {
            let TimeRange { after_ms, until_ms } = range;
            self.head.read(head, after_ms, until_ms, &mut part.floats)?;
            self.head.read_histograms(head, after_ms, until_ms, &mut part.histograms)?;
            self.head.read_start_timestamps(head, after_ms, until_ms, &mut part.starts_ms)?;
            part.take(&mut found);
        }
        found.sort_by_key(|(timestamp_ms, _)| *timestamp_ms);
        found.dedup_by_key(|(timestamp_ms, _)| *timestamp_ms);
        if let Some(hidden) = self.hidden.get(&(index as u32)) {
            found.retain(|(timestamp_ms, _)| !hidden.contains(*timestamp_ms));
        }
        if found.iter().any(|(_, start_ms)| *start_ms != 0) {
            into.extend(found.into_iter().map(|(_, start_ms)| start_ms));
        }
        Ok(())
    }
}

impl Merged {
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
        let in_tiers = all.iter().filter(|(number, _)| usize::from(*number) >= self.tiers.raw_blocks());
        let mut pages = None;
        for (number, row) in in_tiers.filter(|(number, _)| self.block(*number).resolution_ms() == resolution_ms) {
            let pages = match &pages {
                Some(pages) => pages,
                None => pages.insert(self.tiers.pages(&self.io, &self.blocks, resolution_ms, fields)?),
            };
            if let Some(pages) = pages.get(number) {
                self.block(*number).read_buckets(pages, *row as usize, range, fields, into)?;
            }
        }
        if let Some(hidden) = self.hidden.get(&(index as u32)) {
            let keep = |bucket: &Bucket| !hidden.touch(bucket.end_ms - resolution_ms + 1, bucket.end_ms);
            retain_buckets(into, fields, keep);
        }
        Ok(())
    }
}

/// What one source has of a series in a range.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) floats: SampleColumns,
    pub(crate) histograms: HistogramColumns,
    pub(crate) starts_ms: Vec<i64>,
}

impl Part {
    /// Gives out the timestamps with their start timestamps, 0 where none is known.
    pub(crate) fn take(&mut self, found: &mut Vec<(i64, i64)>) {
        let mut times: Vec<i64> =
            self.floats.timestamps_ms.drain(..).chain(self.histograms.timestamps_ms.drain(..)).collect();
        times.sort_unstable();
        let starts = self.starts_ms.drain(..).chain(std::iter::repeat(0));
        found.extend(times.into_iter().zip(starts));
        self.floats.clear();
        self.histograms.clear();
    }
}

/// Puts parts of a series together: one behind the other as long as they are in order.
#[derive(Debug)]
pub(crate) struct Merge {
    ordered: bool,
    parts: usize,
    /// All samples so far, once two parts overlap: time, number of the part, value.
    overlapping: Vec<(i64, usize, f64)>,
}

impl Default for Merge {
    fn default() -> Self {
        Self { ordered: true, parts: 0, overlapping: Vec::new() }
    }
}

impl Merge {
    /// Takes what `part` has.
    pub(crate) fn add(&mut self, part: &mut SampleColumns, into: &mut SampleColumns) {
        let number = self.parts;
        self.parts += 1;
        let (Some(first), Some(_)) = (part.timestamps_ms.first(), part.values.first()) else { return };
        if self.ordered && into.timestamps_ms.last().is_none_or(|last| last < first) {
            if into.is_empty() {
                std::mem::swap(part, into);
            } else {
                into.timestamps_ms.extend_from_slice(&part.timestamps_ms);
                into.values.extend_from_slice(&part.values);
            }
            part.clear();
            return;
        }
        if self.ordered {
            self.ordered = false;
            let so_far = into.timestamps_ms.drain(..).zip(into.values.drain(..));
            self.overlapping.extend(so_far.map(|(timestamp_ms, value)| (timestamp_ms, 0, value)));
        }
        let more = part.timestamps_ms.drain(..).zip(part.values.drain(..));
        self.overlapping.extend(more.map(|(timestamp_ms, value)| (timestamp_ms, number, value)));
    }

    /// Leaves everything in `into`; returns whether the parts were in order.
    pub(crate) fn finish(mut self, into: &mut SampleColumns) -> bool {
        if !self.ordered {
            self.overlapping.sort_by_key(|(timestamp_ms, part, _)| (*timestamp_ms, *part));
            self.overlapping.dedup_by_key(|(timestamp_ms, _, _)| *timestamp_ms);
            self.overlapping.iter().for_each(|(timestamp_ms, _, value)| into.push(*timestamp_ms, *value));
        }
        self.ordered
    }
}

/// Names a list of timestamps by those of its parts.
#[derive(Debug, Default)]
pub(crate) struct Token {
    /// `None` in the end when a part has no name.
    parts: u64,
    hash: u64,
    nameless: bool,
}

impl Token {
    pub(crate) fn add(&mut self, source: u64, part: Option<u64>, empty: bool) {
        if empty {
            return;
        }
        // Tokens of blocks are equal across blocks; those of the head are another kind.
        let kind = u64::from(source == 0);
        match part {
            Some(token) => self.hash = xxhash_rust::xxh3::xxh3_64_with_seed(&token.to_le_bytes(), self.hash ^ kind),
            None => self.nameless = true,
        }
        self.parts += 1;
    }

    pub(crate) fn finish(&self) -> Option<u64> {
        (!self.nameless && self.parts > 0).then_some(self.hash)
    }
}

/// Leaves hidden samples out; returns whether there were none.
pub(crate) fn remove_hidden(hidden: &DeletedSpans, columns: &mut SampleColumns) -> bool {
    let keep: Vec<bool> = columns.timestamps_ms.iter().map(|timestamp_ms| !hidden.contains(*timestamp_ms)).collect();
    if keep.iter().all(|keep| *keep) {
        return true;
    }
    let mut kept = keep.iter();
    columns.timestamps_ms.retain(|_| kept.next() == Some(&true));
    let mut kept = keep.iter();
    columns.values.retain(|_| kept.next() == Some(&true));
    false
}
