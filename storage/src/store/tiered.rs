//! What of a selection comes from tiers: which time, which blocks, and their pages.

use super::block_part::{BlockPart, Wanted};
use super::io::Io;
use super::view::BlockView;
use super::{Selection, Store, StoreView};
use crate::block::meta::BlockMeta;
use crate::block::read::{Block, BlockPages, ReadError};
use crate::select::{SelectError, TimeRange};
use crate::tiers::day_spans::DaySpans;
use futures::future::try_join_all;
use hashbrown::HashMap;
use model::bucket::{BucketFields, BucketUse, Coverage, TierSpan};
use model::matcher::Matcher;
use parking_lot::Mutex;
use std::sync::Arc;

/// Pages of blocks, by the number of the block.
pub(crate) type TierPages = Arc<HashMap<u16, Arc<BlockPages>>>;

/// The part that tiers have in a selection.
#[derive(Debug, Default)]
pub(crate) struct Tiered {
    /// Blocks of samples, which come before those of tiers.
    raw_blocks: usize,
    coverage: Option<Coverage>,
    /// Days whose samples have expired.
    expired: DaySpans,
    /// What was fetched, by resolution and columns: few, as one selection is read for one function.
    pages: Mutex<Vec<(i64, BucketFields, TierPages)>>,
}

impl Tiered {
    /// Samples alone.
    pub(crate) fn none(view: &BlockView, range: TimeRange) -> (Vec<Block>, Self) {
        let blocks: Vec<Block> = view.raw_within(range).cloned().collect();
        let raw_blocks = blocks.len();
        (blocks, Self { raw_blocks, ..Self::default() })
    }

    /// Samples, and where they have expired the names of series.
    pub(crate) fn known(view: &BlockView, range: TimeRange) -> (Vec<Block>, Self) {
        let raw_blocks = view.raw_within(range).count();
        (view.known_within(range).cloned().collect(), Self { raw_blocks, ..Self::default() })
    }

    /// Samples and, where `coverage` says so, buckets.
    pub(crate) fn covering(view: &BlockView, range: TimeRange, coverage: Coverage) -> (Vec<Block>, Self) {
        let mut blocks: Vec<Block> = view.raw_within(range).cloned().collect();
        let raw_blocks = blocks.len();
        let is_read = |block: &&Block| {
            let meta = block.meta();
            coverage.segments.iter().any(|segment| {
                segment.resolution_ms.unsigned_abs() == meta.resolution_ms
                    && segment.after_ms < meta.max_ms
                    && segment.until_ms >= meta.min_ms
                    && meta.series > 0
            })
        };
        let mut tiers: Vec<Block> = view.tiers_within(range, false).filter(is_read).cloned().collect();
        tiers.sort_by_key(|block| (block.meta().resolution_ms, block.meta().min_ms));
        blocks.extend(tiers);
        let expired = view.tiers.expired.clone();
        (blocks, Self { raw_blocks, coverage: Some(coverage), expired, pages: Mutex::default() })
    }

    /// How many of the blocks are of samples.
    pub(crate) fn raw_blocks(&self) -> usize {
        self.raw_blocks
    }

    /// Whether samples of a block are read in a range although there are buckets.
    pub(crate) fn leaves_samples(&self, range: TimeRange, meta: &BlockMeta) -> bool {
        if meta.has_only_histograms() {
            return true;
        }
        let mut next_ms = range.after_ms.max(meta.min_ms.saturating_sub(1));
        let until_ms = range.until_ms.min(meta.max_ms);
        for segment in self.coverage.iter().flat_map(|coverage| &coverage.segments) {
            if segment.after_ms <= next_ms {
                next_ms = next_ms.max(segment.until_ms);
            }
        }
        next_ms < until_ms
    }

    pub(crate) fn coverage(&self) -> Option<&Coverage> {
        self.coverage.as_ref()
    }

    /// Whether what is not exact is to be left out.
    pub(crate) fn refuses(&self) -> bool {
        self.coverage.as_ref().is_some_and(|coverage| coverage.refused)
    }

    /// The part of a range of which samples can be complete: what is left of expired days at its ends is not read.
    pub(crate) fn unexpired(&self, range: TimeRange) -> TimeRange {
        let TimeRange { mut after_ms, mut until_ms } = range;
        for (expired_after_ms, expired_until_ms) in self.expired.iter() {
            if expired_after_ms <= after_ms {
                after_ms = after_ms.max(expired_until_ms);
            }
            if expired_after_ms < until_ms && until_ms <= expired_until_ms {
                until_ms = expired_after_ms;
            }
        }
        TimeRange { after_ms, until_ms }
    }

    /// The pages of all selected series of one tier.
    pub(crate) fn pages(
        &self,
        io: &Io,
        blocks: &Arc<Vec<Arc<BlockPart>>>,
        resolution_ms: i64,
        fields: BucketFields,
    ) -> Result<TierPages, SelectError> {
        // Whoever comes meanwhile waits for the same pages.
        let mut known = self.pages.lock();
        if let Some((.., pages)) = known.iter().find(|(ms, of, _)| (*ms, *of) == (resolution_ms, fields)) {
            return Ok(Arc::clone(pages));
        }
        let (blocks, raw_blocks) = (Arc::clone(blocks), self.raw_blocks);
        let fetched = io.wait(async move {
            let tiers = (0u16..).zip(blocks.iter()).skip(raw_blocks);
            let wanted = tiers.filter(|(_, part)| part.series.resolution_ms() == resolution_ms);
            let fetch = async |(number, part): (u16, &Arc<BlockPart>)| {
                Ok::<_, ReadError>((number, part.buckets(fields).await?))
            };
            try_join_all(wanted.map(fetch)).await
        })?;
        let pages: TierPages = Arc::new(fetched.into_iter().collect());
        known.push((resolution_ms, fields, Arc::clone(&pages)));
        Ok(pages)
    }
}

/// How a range is divided, and the range of which parts may be read: windows over buckets begin and end at bounds of these.
/// Days of which `late` says that there are samples in no block are read from samples, as long as they have some.
pub(crate) fn divide(
    view: &BlockView,
    late: impl FnOnce() -> DaySpans,
    buckets: &BucketUse,
    range: TimeRange,
) -> Option<(Coverage, TimeRange)> {
    let tiers = &view.tiers;
    let choose =
        |spans: &[TierSpan]| Coverage::choose(spans, tiers.expired_until_ms, buckets, (range.after_ms, range.until_ms));
    let mut coverage = choose(&tiers.spans);
    if !coverage.segments.is_empty()
        && let Some(spans) = tiers.spans_without(&late())
    {
        coverage = choose(&spans);
    }
    let expired = tiers.expired_until_ms.is_some_and(|expired_ms| expired_ms > range.after_ms);
    if !expired && !coverage.refused && coverage.segments.is_empty() {
        return None;
    }
    let coarsest_ms = coverage.segments.iter().map(|segment| segment.resolution_ms).max().unwrap_or(0);
    let after_ms = range.after_ms.saturating_sub(coarsest_ms.saturating_mul(2));
    Some((coverage, TimeRange { after_ms, ..range }))
}

impl Store {
    /// As [`Store::select`], for a reader that understands [`Selection::coverage`]: where `buckets` allows it, buckets stand for
    /// samples.
    ///
    /// # Errors
    /// As [`Store::select`].
    pub fn select_with_buckets(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        series_max: usize,
        buckets: &BucketUse,
    ) -> Result<Selection, SelectError> {
        self.view().select_with_buckets(matchers, range, series_max, buckets)
    }
}

impl StoreView {
    /// As [`Store::select_with_buckets`].
    ///
    /// # Errors
    /// As [`Store::select`].
    pub fn select_with_buckets(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        series_max: usize,
        buckets: &BucketUse,
    ) -> Result<Selection, SelectError> {
        let late = || self.head.head().float_days(self.head.pin().visible());
        let Some((coverage, range)) = divide(&self.blocks, late, buckets, range) else {
            return self.select(matchers, range.after_ms, range.until_ms, series_max);
        };
        let head = self.head.select(matchers, range.after_ms, range.until_ms, series_max)?;
        let tiers = Tiered::covering(&self.blocks, range, coverage);
        let wanted = Wanted { matchers, range, series_max, first: false };
        self.shared.merge(&self.blocks, head, tiers, &wanted, &self.session)
    }
}
