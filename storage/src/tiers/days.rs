//! What there is of each UTC day: samples, and tiers made from them. Pure.
//!
//! The buckets of a day hold the samples with `day start < t <= day end`: the first moment of the next day is among them, and
//! that of the day is not. So a block of samples may belong to two days. A tier's block names the flushed blocks that it was
//! made from, as every block; what came after the tier (late samples) is known by that, and what was written anew (deletions) by the
//! time in its name.
//! Blocks that have native histograms alone are none of this: they say nothing about floats, and are read whatever tiers there are.

use crate::block::meta::{BlockMeta, created_ms};
use crate::lifecycle::window::{DAY_MS, day_of};
use crate::tiers::day_spans::DaySpans;
use model::bucket::TierSpan;
use smallvec::SmallVec;
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

/// The tiers that would seem to have outlived samples of theirs when `removed` are gone and `added` are there, although nothing has
/// expired: nothing of a day's samples is left in what stands in for a block.
pub(crate) fn left_behind(blocks: &[BlockMeta], removed: &[String], added: &[&BlockMeta]) -> Vec<String> {
    let removed: HashSet<&str> = removed.iter().map(String::as_str).collect();
    let kept = blocks.iter().filter(|block| !removed.contains(block.ulid.as_str()));
    let after = days(kept.chain(added.iter().copied()));
    let days = days(blocks.iter());
    let complete = days.iter().filter(|(_, day)| day.has_samples_of_tiers());
    let left = complete.filter_map(|(number, _)| after.get(number)).filter(|day| !day.has_samples_of_tiers());
    left.flat_map(|day| day.tiers.values().flatten()).map(|tier| tier.ulid.clone()).collect()
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
        let raw = if self.has_samples_of_tiers() { self.raw.as_slice() } else { &[] };
        let finer = self.tiers.range(..resolution_ms).filter_map(|(finer_ms, _)| self.tier(*finer_ms));
        if !raw.iter().copied().chain(finer).all(|input| created_ms(&input.ulid) <= of_tier) {
            return false;
        }
        // A flush that waits to be published has an earlier name than a tier that is made meanwhile.
        let known: HashSet<&str> = tier.sources.iter().map(String::as_str).collect();
        raw.iter().flat_map(|block| block.origins()).all(|origin| known.contains(origin))
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
    /// Its days, and all others of which buckets outlived samples.
    pub(crate) expired: DaySpans,
    /// The blocks that may be read.
    pub(crate) ulids: HashSet<String>,
    /// The finest of each day whose samples have expired: they know its series.
    pub(crate) expired_ulids: HashSet<String>,
}

impl TierCoverage {
    /// The spans without some days whose tiers do not have everything, `None` if that is all of them. Where samples have expired
    /// tiers stay: there is nothing better.
    pub(crate) fn spans_without(&self, days: &DaySpans) -> Option<Vec<TierSpan>> {
        let days = days.without(&self.expired);
        let without: SmallVec<[(i64, i64); 4]> = days.iter().collect();
        let touched =
            |span: &TierSpan| without.iter().any(|(after, until)| *after < span.until_ms && *until > span.after_ms);
        if !self.spans.iter().any(touched) {
            return None;
        }
        let mut spans = Vec::new();
        for span in &self.spans {
            let mut rest = *span;
            for (after_ms, until_ms) in &without {
                if *after_ms > rest.after_ms {
                    spans.push(TierSpan { until_ms: rest.until_ms.min(*after_ms), ..rest });
                }
                rest.after_ms = rest.after_ms.max(*until_ms);
                if rest.after_ms >= rest.until_ms {
                    break;
                }
            }
            spans.push(rest);
        }
        spans.retain(|span| span.after_ms < span.until_ms);
        Some(spans)
    }

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
                coverage.expired.add(until_ms, until_ms);
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
        assert_eq!(of(8, &["a", "late"]), (vec![], None), "published after the tier, with an earlier name");
        // Of the day only late samples are left.
        assert_eq!(of(10, &["late"]), (vec![(3, 4)], Some(4)));
    }

    #[test]
    fn days_of_late_samples_are_left_out_where_there_are_samples() {
        let blocks = [block(FIVE, 3, 9, &["a"]), block(FIVE, 4, 9, &["b"]), block(FIVE, 5, 9, &["c"])];
        let raw = [block(0, 4, 8, &["b"]), block(0, 5, 8, &["c"])];
        let coverage = TierCoverage::of(blocks.iter().chain(&raw));
        let without = |days: &[i64]| {
            let mut late = DaySpans::default();
            days.iter().for_each(|day| late.add(day * DAY_MS + 1, day * DAY_MS + 1));
            let spans = coverage.spans_without(&late)?;
            Some(spans.iter().map(|span| (span.after_ms / DAY_MS, span.until_ms / DAY_MS)).collect::<Vec<_>>())
        };
        assert_eq!(coverage.expired_until_ms, Some(4 * DAY_MS));
        assert_eq!(without(&[]), None);
        assert_eq!(without(&[1, 3, 8]), None, "expired, or without a tier");
        assert_eq!(without(&[4]), Some(vec![(3, 4), (5, 6)]));
        assert_eq!(without(&[3, 4, 5, 6]), Some(vec![(3, 4)]));
        assert_eq!(without(&[1, 5]), Some(vec![(3, 5)]));
    }

    #[test]
    fn tiers_go_with_the_last_of_the_samples_of_a_block() {
        let (a, b) = (block(0, 3, 1, &["a"]), block(0, 3, 2, &["b"]));
        let (other, tier) = (block(0, 4, 3, &["c"]), block(FIVE, 3, 9, &["a", "b"]));
        let blocks = [a.clone(), b.clone(), other, tier.clone(), block(FIVE, 4, 10, &["c"])];
        let left =
            |blocks: &[BlockMeta], added: &[&BlockMeta]| left_behind(blocks, std::slice::from_ref(&a.ulid), added);
        assert_eq!(left(&blocks, &[]), [tier.ulid.as_str()]);
        let rest = block(0, 3, 11, &["a"]);
        assert_eq!(left(&blocks, &[&rest]), [""; 0]);
        let histograms = BlockMeta { samples: 0, histograms: 1, ..rest.clone() };
        assert_eq!(left(&blocks, &[&histograms]), [tier.ulid.as_str()]);
        let midnight = BlockMeta { min_ms: 3 * DAY_MS, max_ms: 3 * DAY_MS, ..rest };
        assert_eq!(left(&blocks, &[&midnight]), [tier.ulid.as_str()], "what is left is of another day");
        let without_b = [a.clone(), tier];
        assert_eq!(left(&without_b, &[]), [""; 0], "others have expired");
    }

    #[test]
    fn the_first_moment_of_a_day_belongs_to_the_day_before() {
        let mut raw = block(0, 3, 1, &["a"]);
        raw.min_ms -= 1;
        assert_eq!(days([&raw].into_iter()).into_keys().collect::<Vec<_>>(), [2, 3]);
    }
}
