//! Series selected from head and blocks, read as one.
//!
//! A series is known by the hash of its labels. What blocks hold of it comes before what the head holds, since the head gives
//! up what it has flushed; where parts overlap nevertheless (late samples, replicas, a flush that was being published), samples are
//! merged by time, and of two at one time that of the earlier block counts. What is deleted or expired leaves each part before that, since a
//! deletion does not concern parts that came after it. Samples of blocks are fetched together when the
//! first one of their time is read, unless that was foreseen (`session.rs`).

mod histograms;
mod merge;
mod samples;

pub(crate) use histograms::Part;
pub(crate) use merge::{Merge, Token, remove_hidden};

use super::block_part::{BlockPart, Wanted};
use super::io::Io;
use super::session::Session;
use super::tiered::Tiered;
use crate::append::LabelHash;
use crate::block::read::{Block, BlockLabels, BlockPages, BlockSeries, ReadError};
use crate::engine::Engine;
use crate::select::{SelectError, Selection as HeadSelection, TimeRange};
use crate::tombstone::{DeletedSpans, Since};
use futures::future::try_join_all;
use hashbrown::HashMap;
use model::labels::Labels;
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
    blocks: Arc<Vec<Arc<BlockPart>>>,
    series: Vec<Places>,
    /// The places of all series in blocks: number of the block and index in its selection.
    places: Vec<(u16, u32)>,
    /// What is deleted or expired, for series of which something is, by where its samples are.
    hidden: HashMap<u32, Vec<(Since, DeletedSpans)>>,
    /// Since when the blocks are there; empty while nothing is hidden.
    since: Vec<Since>,
    labels: OnceLock<Result<Vec<BlockLabels>, ReadError>>,
    tiers: Tiered,
}

/// Where a series is.
#[derive(Debug, Clone)]
struct Places {
    /// Index in the selection of the head, or [`NONE`].
    head: u32,
    /// Range of [`Merged::places`].
    blocks: Range<u32>,
}

/// What decides which samples of a series are hidden, where they are since then.
pub(crate) type Hide<'h> = &'h dyn Fn(&Labels, Since) -> DeletedSpans;

impl Merged {
    /// Merges what the head has with what `blocks`, by precedence, have. Behind those of samples may be blocks of tiers.
    pub(crate) fn new(
        (io, engine): (&Io, &Engine),
        head: HeadSelection,
        blocks: Vec<Block>,
        tiers: Tiered,
        wanted: &Wanted<'_>,
        session: &Session,
    ) -> Result<Self, SelectError> {
        let Wanted { range, series_max, first, .. } = *wanted;
        let mut parts: Vec<Option<Arc<BlockPart>>> = blocks.iter().map(|block| session.part(block, wanted)).collect();
        let missing = blocks.iter().zip(&mut parts).filter(|(_, part)| part.is_none());
        let missing: Vec<_> = missing.map(|(block, part)| (block.charged_to(&session.account), part)).collect();
        if !missing.is_empty() {
            let select = async |(block, part): (Block, &mut Option<Arc<BlockPart>>)| {
                *part = Some(Arc::new(BlockPart::select(&block, wanted).await?));
                Ok::<_, ReadError>(())
            };
            io.wait(try_join_all(missing.into_iter().map(select)))?;
        }
        let mut merged = Self {
            io: io.clone(),
            range,
            series: Vec::with_capacity(head.len()),
            head,
            blocks: Arc::default(),
            places: Vec::new(),
            hidden: HashMap::new(),
            since: Vec::new(),
            labels: OnceLock::new(),
            tiers,
        };
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        merged.join(engine, &parts);
        if !first && merged.series.len() > series_max {
            return Err(SelectError::TooManySeries { series_max });
        }
        merged.series.truncate(series_max);
        merged.blocks = Arc::new(parts);
        Ok(merged)
    }

    /// Finds out which series of the blocks are one, and which of them the head has.
    fn join(&mut self, engine: &Engine, parts: &[Arc<BlockPart>]) {
        if let ([part], true) = (parts, self.head.is_empty()) {
            // No two series of one block are one.
            let all = 0..part.hashes.len() as u32;
            self.places.extend(all.clone().map(|index| (0, index)));
            self.series.extend(all.map(|at| Places { head: NONE, blocks: at..at + 1 }));
            return;
        }
        let total: usize = parts.iter().map(|part| part.hashes.len()).sum();
        let mut numbers: HashMap<LabelHash, u32> = HashMap::with_capacity(total);
        let mut found: Vec<(u32, u16, u32)> = Vec::with_capacity(total);
        let mut distinct: Vec<LabelHash> = Vec::new();
        for (block, part) in (0u16..).zip(parts) {
            for (index, hash) in (0u32..).zip(&part.hashes) {
                let number = *numbers.entry(*hash).or_insert_with(|| {
                    distinct.push(*hash);
                    distinct.len() as u32 - 1
                });
                found.push((number, block, index));
            }
        }
        let mut refs = vec![None; distinct.len()];
        // The selection of the head keeps what it has; whatever else a block has may leave the head while it is read.
        if !self.head.is_empty() {
            engine.head().peek(&distinct, &mut refs);
        }
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

    /// Hides samples of series; `since` is of the blocks, in their order.
    pub(crate) fn hide(&mut self, since: Vec<Since>, hide: Hide<'_>) -> Result<(), SelectError> {
        let first_ms = self.range.after_ms.saturating_add(1);
        self.since = since;
        let mut places: Vec<Since> = Vec::new();
        for index in 0..self.series.len() {
            let (head, blocks) = self.all_places(index);
            places.clear();
            places.extend(blocks.iter().filter_map(|(number, _)| self.since.get(usize::from(*number))));
            places.extend(head.map(|_| Since::NOW));
            places.sort_unstable();
            places.dedup();
            let labels = self.labels(index)?;
            let spans = places.iter().map(|since| (*since, hide(&labels, *since)));
            let hidden: Vec<_> = spans.filter(|(_, spans)| spans.touch(first_ms, self.range.until_ms)).collect();
            if !hidden.is_empty() {
                self.hidden.insert(index as u32, hidden);
            }
        }
        Ok(())
    }

    /// Leaves out the series of which everything in the range is hidden, as the times of their first and last samples tell.
    pub(crate) fn leave_out_hidden(&mut self) -> Result<(), SelectError> {
        if self.hidden.is_empty() {
            return Ok(());
        }
        let gone = (0..self.series.len()).map(|index| self.is_hidden(index)).collect::<Result<Vec<bool>, _>>()?;
        let mut hidden = std::mem::take(&mut self.hidden);
        let all = std::mem::take(&mut self.series).into_iter().zip(gone).zip(0u32..);
        for ((places, _), index) in all.filter(|((_, gone), _)| !gone) {
            if let Some(spans) = hidden.remove(&index) {
                self.hidden.insert(self.series.len() as u32, spans);
            }
            self.series.push(places);
        }
        Ok(())
    }

    pub(crate) fn truncate(&mut self, series_max: usize) {
        self.series.truncate(series_max);
    }

    fn is_hidden(&self, index: usize) -> Result<bool, SelectError> {
        let (first_ms, last_ms) = (self.range.after_ms.saturating_add(1), self.range.until_ms);
        let hides =
            |block, first_ms, last_ms| self.hidden_in(index, block).is_some_and(|spans| spans.cover(first_ms, last_ms));
        let (head, blocks) = self.all_places(index);
        if head.is_some() && !hides(None, first_ms, last_ms) {
            return Ok(false);
        }
        for (number, row) in blocks {
            let times_ms = self.block(*number).time_range_ms(*row as usize)?;
            if let Some((min_ms, max_ms)) = times_ms
                && !hides(Some(*number), first_ms.max(min_ms), last_ms.min(max_ms))
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What is hidden of what a series has in a block, or in the head.
    fn hidden_in(&self, index: usize, block: Option<u16>) -> Option<&DeletedSpans> {
        let hidden = self.hidden.get(&(index as u32))?;
        let since = block.map_or(Some(Since::NOW), |number| self.since.get(usize::from(number)).copied())?;
        hidden.iter().find(|(of, _)| *of == since).map(|(_, spans)| spans)
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
        &self.blocks[usize::from(number)].series
    }

    /// The labels of all series that blocks have, read once.
    fn block_labels(&self) -> Result<&[BlockLabels], SelectError> {
        let read = || {
            let blocks = Arc::clone(&self.blocks);
            self.io.wait(async move { try_join_all(blocks.iter().map(|part| part.series.labels(None))).await })
        };
        self.labels.get_or_init(read).as_deref().map_err(|error| SelectError::Block(error.clone()))
    }

    /// See [`super::Selection::fetch_labels`].
    pub(crate) fn fetch_labels(&self, hold: &mut dyn FnMut(usize) -> bool) -> Result<bool, SelectError> {
        if self.series.iter().all(|places| places.head != NONE) {
            return Ok(true);
        }
        let labels = self.block_labels()?;
        let mut indices = vec![Vec::new(); labels.len()];
        for index in 0..self.series.len() {
            if let (None, [(block, row), ..]) = self.all_places(index)
                && let Some(of_block) = indices.get_mut(usize::from(*block))
            {
                of_block.push(*row as usize);
            }
        }
        for (labels, indices) in labels.iter().zip(indices) {
            if !labels.decode(indices.into_iter(), hold)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The samples of all series that a block has; when they are not here, those of all blocks with any in the range are
    /// fetched together.
    fn pages_of(&self, number: u16, range: TimeRange) -> Result<&BlockPages, SelectError> {
        let part = &self.blocks[usize::from(number)];
        if let Some(pages) = part.samples_here() {
            return Ok(pages);
        }
        let raw = self.blocks.iter().take(self.tiers.raw_blocks());
        let missing = raw.filter(|part| part.series.may_hold(range) && part.samples_here().is_none());
        self.io.wait(try_join_all(missing.map(|part| part.samples())))?;
        Ok(self.io.wait(part.samples())?)
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

    /// As [`HeadSelection::label_numbers`]; `false` when a block cannot tell, and then nothing is appended. Head and blocks number
    /// labels each for themselves, so the first number says whose the others are.
    pub(crate) fn label_numbers(&self, indices: Range<usize>, names: &[&str], into: &mut Vec<u32>) -> bool {
        const OF_BLOCK: u32 = 1 << 31;
        let start = into.len();
        for index in indices {
            let known = match self.all_places(index) {
                (Some(head), _) => {
                    self.head.label_numbers(head..head + 1, names, into);
                    true
                }
                (None, [(block, row), ..]) if *block < 1 << 15 => {
                    let labels = self.block_labels().ok().and_then(|labels| labels.get(usize::from(*block)));
                    let at = into.len();
                    // Whatever is wrong with labels is told when they are asked for.
                    let known = labels.is_some_and(|of| of.numbers(*row as usize, names, into).unwrap_or(false));
                    if let (true, Some(first)) = (known, into.get_mut(at)) {
                        *first |= OF_BLOCK | u32::from(*block) << 16;
                    }
                    known
                }
                (None, _) => false,
            };
            if !known {
                into.truncate(start);
                return false;
            }
        }
        true
    }

    pub(crate) fn may_have_label(&self, name: &str) -> bool {
        self.head.may_have_label(name) || self.blocks.iter().any(|part| part.series.may_have_label(name))
    }

    pub(crate) fn prefetch(&self, indices: &[usize]) {
        let in_head: smallvec::SmallVec<[usize; 8]> =
            indices.iter().filter_map(|index| self.places(*index).0).take(8).collect();
        self.head.prefetch(&in_head);
    }
}
