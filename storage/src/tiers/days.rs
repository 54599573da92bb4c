//! What there is of each UTC day: samples, and tiers made from them. Pure.
//!
//! The buckets of a day hold the samples with `day start < t <= day end`: the first moment of the next day is among them, and
//! that of the day is not. So a block of samples may belong to two days. A tier's block names the flushed blocks that it was
//! made from, as every block; what was written anew after the tier (late samples, deletions) is known by the time in its name.
//! Blocks that have native histograms alone are none of this: they say nothing about floats, and are read whatever tiers there are.

use crate::block::meta::{BlockMeta, created_ms};
use crate::lifecycle::window::{DAY_MS, day_of};
use model::bucket::TierSpan;
use std::collections::{BTreeMap, HashSet};

/// One day.
#[derive(Debug, Default)]
pub(crate) struct Day<'m> {
    /// Blocks with samples of it.
    pub(crate) raw: Vec<&'m BlockMeta>,
    /// Blocks of its tiers by resolution, in milliseconds.
    pub(crate) tiers: BTreeMap<i64, Vec<&'m BlockMeta>>,
}

/// All days of which there is something, counted from the epoch.
pub(crate) fn days<'m>(blocks: impl Iterator<Item = &'m BlockMeta>) -> BTreeMap<i64, Day<'m>> {
    let mut days: BTreeMap<i64, Day<'m>> = BTreeMap::new();
    for block in blocks.filter(|block| !block.has_only_histograms()) {
        let (first, last) = (day_of(block.min_ms.saturating_sub(1)), day_of(block.max_ms.saturating_sub(1)));
        if block.resolution_ms == 0 {
            for day in first..=last {
                days.entry(day).or_default().raw.push(block);
            }
        } else {
            let resolution_ms = i64::try_from(block.resolution_ms).unwrap_or(i64::MAX);
            days.entry(first).or_default().tiers.entry(resolution_ms).or_default().push(block);
        }
    }
    days
}

impl<'m> Day<'m> {
    /// The block of a tier: of two, the newer.
    pub(crate) fn tier(&self, resolution_ms: i64) -> Option<&'m BlockMeta> {
        self.tiers.get(&resolution_ms)?.iter().copied().max_by_key(|block| &block.ulid)
    }

    /// Whether all samples that any tier was made from are still there.
    pub(crate) fn has_samples_of_tiers(&self) -> bool {
        let there: HashSet<&str> = self.raw.iter().flat_map(|block| block.origins()).collect();
        let mut tiers = self.tiers.values().flatten();
        !self.raw.is_empty() && tiers.all(|tier| tier.sources.iter().all(|origin| there.contains(origin.as_str())))
    }

    /// Whether a tier holds what samples and finer tiers say now; where samples have expired there is nothing to compare.
    pub(crate) fn is_fresh(&self, resolution_ms: i64) -> bool {
        let Some(tier) = self.tier(resolution_ms) else { return false };
        let of_tier = created_ms(&tier.ulid);
        let raw = self.raw.iter().filter(|_| self.has_samples_of_tiers());
        let finer = self.tiers.range(..resolution_ms).filter_map(|(finer_ms, _)| self.tier(*finer_ms));
        raw.copied().chain(finer).all(|input| created_ms(&input.ulid) <= of_tier)
    }

    /// A time after that in the name of any block of the day.
    pub(crate) fn after_all_ms(&self) -> i64 {
        let all = self.raw.iter().chain(self.tiers.values().flatten());
        all.map(|block| created_ms(&block.ulid).saturating_add(1)).max().unwrap_or(0)
    }
}

/// Which buckets may be read, and until when samples have expired.
#[derive(Debug, Default)]
pub(crate) struct TierCoverage {
    /// Per resolution and run of days that follow each other.
    pub(crate) spans: Vec<TierSpan>,
    /// The end of the newest day of which buckets outlived samples.
    pub(crate) expired_until_ms: Option<i64>,
    /// The blocks that may be read.
    pub(crate) ulids: HashSet<String>,
    /// The finest of each day whose samples have expired: they know its series.
    pub(crate) expired_ulids: HashSet<String>,
}

impl TierCoverage {
    pub(crate) fn of<'m>(blocks: impl Iterator<Item = &'m BlockMeta>) -> Self {
        let mut coverage = Self::default();
        let mut open: BTreeMap<i64, TierSpan> = BTreeMap::new();
        for (number, day) in &days(blocks) {
            let (after_ms, until_ms) = (number.saturating_mul(DAY_MS), number.saturating_add(1).saturating_mul(DAY_MS));
            for resolution_ms in day.tiers.keys().copied().filter(|resolution_ms| day.is_fresh(*resolution_ms)) {
                coverage.ulids.extend(day.tier(resolution_ms).map(|block| block.ulid.clone()));
                let span = TierSpan { resolution_ms, after_ms, until_ms };
                match open.get_mut(&resolution_ms) {
                    Some(open) if open.until_ms == after_ms => open.until_ms = until_ms,
                    _ => coverage.spans.extend(open.insert(resolution_ms, span)),
                }
            }
            if !day.tiers.is_empty() && !day.has_samples_of_tiers() {
                coverage.expired_until_ms = Some(until_ms);
                let finest = day.tiers.keys().next().and_then(|resolution_ms| day.tier(*resolution_ms));
                coverage.expired_ulids.extend(finest.map(|block| block.ulid.clone()));
            }
        }
        coverage.spans.extend(open.into_values());
        coverage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::meta::ulid;

    const FIVE: u64 = 300_000;

    fn block(resolution_ms: u64, day: i64, created_ms: u64, sources: &[&str]) -> BlockMeta {
        let (min_ms, max_ms) = (day * DAY_MS + 1, (day + 1) * DAY_MS - i64::from(resolution_ms == 0));
        let sources = sources.iter().map(|source| (*source).to_owned()).collect();
        BlockMeta {
            format_version: 1,
            ulid: ulid(created_ms, 7),
            tenant: "t".into(),
            level: 1,
            resolution_ms,
            min_ms,
            max_ms,
            series: 1,
            samples: 1,
            histograms: 0,
            exemplars: 0,
            files: Vec::new(),
            sources,
            label_columns: Vec::new(),
            labels_overflow: false,
            thinned_ms: 0,
        }
    }

    fn spans(blocks: &[BlockMeta]) -> (Vec<(i64, i64)>, Option<i64>) {
        let coverage = TierCoverage::of(blocks.iter());
        let days = |span: &TierSpan| (span.after_ms / DAY_MS, span.until_ms / DAY_MS);
        (coverage.spans.iter().map(days).collect(), coverage.expired_until_ms.map(|until_ms| until_ms / DAY_MS))
    }

    #[test]
    fn days_that_follow_each_other_are_one_span() {
        let blocks = [block(FIVE, 3, 9, &["a"]), block(FIVE, 4, 9, &["b"]), block(FIVE, 7, 9, &["c"])];
        assert_eq!(spans(&blocks), (vec![(3, 5), (7, 8)], Some(8)));
    }

    #[test]
    fn a_tier_is_not_read_while_samples_are_newer() {
        let of = |raw_created, raw: &[&str]| spans(&[block(0, 3, raw_created, raw), block(FIVE, 3, 9, &["a"])]);
        assert_eq!(of(8, &["a"]), (vec![(3, 4)], None));
        assert_eq!(of(10, &["a", "late"]), (vec![], None));
        // Of the day only late samples are left.
        assert_eq!(of(10, &["late"]), (vec![(3, 4)], Some(4)));
    }

    #[test]
    fn the_first_moment_of_a_day_belongs_to_the_day_before() {
        let mut raw = block(0, 3, 1, &["a"]);
        raw.min_ms -= 1;
        assert_eq!(days([&raw].into_iter()).into_keys().collect::<Vec<_>>(), [2, 3]);
    }
}
