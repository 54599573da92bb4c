//! What expires: by time, by size, and sooner for the series that a retention class names.
//!
//! Pure: from a list of blocks and the time of now to a list of blocks to drop or to write anew. A class hides samples from
//! readers as soon as they are too old; its blocks are written anew once, when all of a block is past the time that the
//! class keeps.

use super::window::{DAY_MS, day_of};
use crate::tiers::policy::TierPolicy;
use crate::tombstone::{DeletedSpans, Deletion, Since};
use model::labels::Labels;
use model::matcher::Matcher;

/// How long the samples of some series are kept.
#[derive(Debug, Clone)]
pub struct RetentionClass {
    /// The selector as its author wrote it: names the class in blocks.
    pub name: String,
    /// All must hold.
    pub matchers: Vec<Matcher>,
    /// How long samples are kept, in milliseconds.
    pub keep_ms: i64,
}

/// How long samples are kept.
#[derive(Debug, Clone, Default)]
pub struct Retention {
    /// How long raw samples are kept, in milliseconds; `None` for ever.
    pub keep_ms: Option<i64>,
    /// Bytes that all blocks may take; the oldest go first. `None`: no bound.
    pub bytes_max: Option<u64>,
    /// The first class that names a series decides, when it keeps shorter than the rest.
    pub classes: Vec<RetentionClass>,
    /// How old samples become coarser; `None`: they do not.
    pub tiers: Option<TierPolicy>,
}

/// What of a block matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Names the block.
    pub ulid: String,
    /// Time of the oldest sample.
    pub min_ms: i64,
    /// Time of the newest sample.
    pub max_ms: i64,
    /// Of all its files.
    pub bytes: u64,
    /// Distance of buckets; 0 for raw samples.
    pub resolution_ms: i64,
    /// Whether time alone does not end it yet.
    pub waits: bool,
    /// Classes that were carried out when it was written.
    pub classes: Vec<String>,
}

impl Retention {
    /// No sample of this time or an older one is kept in any form, of whatever series; `i64::MIN` if all are.
    #[must_use]
    pub fn gone_until_ms(&self, now_ms: i64) -> i64 {
        let samples = self.keep_ms.map(|keep_ms| now_ms.saturating_sub(keep_ms).saturating_sub(1));
        // Tiers, and what becomes them, go by days.
        let days = self.tiers.as_ref().map(|policy| {
            let longest = policy.tiers.last().map_or(policy.raw_keep, |tier| tier.keep);
            let kept_ms = now_ms.saturating_sub(i64::try_from(longest.as_millis()).unwrap_or(i64::MAX));
            day_of(kept_ms.saturating_sub(1)).saturating_mul(DAY_MS)
        });
        samples.max(days).unwrap_or(i64::MIN)
    }

    /// Blocks that are past their time or do not fit.
    #[must_use]
    pub fn expired(&self, blocks: &[Candidate], now_ms: i64) -> Vec<String> {
        let mut kept: Vec<&Candidate> = Vec::new();
        let mut expired = Vec::new();
        for block in blocks {
            let too_old = block.resolution_ms == 0
                && !block.waits
                && self.keep_ms.is_some_and(|keep_ms| block.max_ms < now_ms.saturating_sub(keep_ms));
            if too_old { expired.push(block.ulid.clone()) } else { kept.push(block) }
        }
        let Some(bytes_max) = self.bytes_max else { return expired };
        kept.sort_by_key(|block| std::cmp::Reverse(block.max_ms));
        let mut total = 0_u64;
        for block in kept {
            total = total.saturating_add(block.bytes);
            if total > bytes_max {
                expired.push(block.ulid.clone());
            }
        }
        expired
    }

    /// The block that a class should be carried out on next: the oldest one all of which is past what the class keeps.
    #[must_use]
    pub fn to_rewrite<'b>(&self, blocks: &'b [Candidate], now_ms: i64) -> Option<&'b Candidate> {
        let due = |block: &&Candidate| {
            self.classes.iter().any(|class| {
                block.max_ms < now_ms.saturating_sub(class.keep_ms) && !block.classes.contains(&class.name)
            })
        };
        blocks.iter().filter(due).min_by_key(|block| block.max_ms)
    }

    /// The classes that are carried out when a block that ends at `max_ms` is written.
    #[must_use]
    pub fn carried_out(&self, max_ms: i64, now_ms: i64) -> Vec<String> {
        let past = self.classes.iter().filter(|class| max_ms < now_ms.saturating_sub(class.keep_ms));
        past.map(|class| class.name.clone()).collect()
    }

    /// Whether any class may hide samples that are as old as `first_ms`.
    #[must_use]
    pub fn hides_by_class(&self, first_ms: i64, now_ms: i64) -> bool {
        first_ms < self.hidden_before_ms(now_ms)
    }

    /// No class hides samples of this time or a newer one.
    pub(crate) fn hidden_before_ms(&self, now_ms: i64) -> i64 {
        let keep_ms = self.classes.iter().map(|class| class.keep_ms).min();
        keep_ms.map_or(i64::MIN, |keep_ms| now_ms.saturating_sub(keep_ms))
    }

    /// The class of a series hides its samples that are older than this; `None` when it has none.
    pub(crate) fn class_before_ms(&self, labels: &Labels, now_ms: i64) -> Option<i64> {
        let named = |class: &&RetentionClass| {
            class.matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
        };
        self.classes.iter().find(named).map(|class| now_ms.saturating_sub(class.keep_ms))
    }

    /// What of a series is deleted where its samples are `since` then, or past the time of its class.
    #[must_use]
    pub(crate) fn hidden_by_class(
        &self,
        labels: &Labels,
        deletions: &[Deletion],
        since: Since,
        now_ms: i64,
    ) -> DeletedSpans {
        let mut spans = DeletedSpans::of(labels, deletions, since);
        if let Some(before_ms) = self.class_before_ms(labels, now_ms) {
            spans.expire(before_ms);
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn block(ulid: &str, day: i64, bytes: u64) -> Candidate {
        let (min_ms, max_ms) = (day * DAY, (day + 1) * DAY - 1);
        Candidate { ulid: ulid.into(), min_ms, max_ms, bytes, resolution_ms: 0, waits: false, classes: Vec::new() }
    }

    fn class(name: &str, job: &str, days: i64) -> RetentionClass {
        RetentionClass { name: name.into(), matchers: vec![Matcher::equal("job", job)], keep_ms: days * DAY }
    }

    #[test]
    fn blocks_expire_when_their_newest_sample_is_too_old() {
        let retention = Retention { keep_ms: Some(2 * DAY), ..Retention::default() };
        let blocks = [block("a", 7, 1), block("b", 8, 1), block("c", 9, 1)];
        assert_eq!(retention.expired(&blocks, 10 * DAY), ["a"]);
        assert_eq!(retention.expired(&blocks, 10 * DAY - 1), Vec::<String>::new());
        let waits = [Candidate { waits: true, ..block("a", 7, 1) }];
        assert_eq!(retention.expired(&waits, 10 * DAY), Vec::<String>::new());
        assert_eq!(Retention { bytes_max: Some(0), ..retention }.expired(&waits, 10 * DAY), ["a"]);
    }

    #[test]
    fn what_is_too_old_for_everything_is_known() {
        let keep = |keep_ms, tiers| Retention { keep_ms, tiers, ..Retention::default() };
        assert_eq!(keep(None, None).gone_until_ms(1000 * DAY), i64::MIN);
        assert_eq!(keep(Some(2 * DAY), None).gone_until_ms(10 * DAY), 8 * DAY - 1);
        // The coarsest tier of a day is kept until a year after its end.
        let tiers = Some(TierPolicy::default());
        assert_eq!(keep(None, tiers.clone()).gone_until_ms(1000 * DAY), 634 * DAY);
        assert_eq!(keep(None, tiers.clone()).gone_until_ms(1000 * DAY + 1), 635 * DAY);
        assert_eq!(keep(Some(2 * DAY), tiers).gone_until_ms(1000 * DAY), 998 * DAY - 1);
    }

    #[test]
    fn tiers_are_not_raw_samples() {
        let retention = Retention { keep_ms: Some(DAY), ..Retention::default() };
        let tier = Candidate { resolution_ms: 300_000, ..block("a", 0, 1) };
        assert!(retention.expired(&[tier], 100 * DAY).is_empty());
    }

    #[test]
    fn the_oldest_blocks_go_when_all_do_not_fit() {
        let retention = Retention { bytes_max: Some(25), ..Retention::default() };
        let blocks = [block("a", 1, 10), block("b", 2, 10), block("c", 3, 10)];
        assert_eq!(retention.expired(&blocks, 0), ["a"]);
    }

    #[test]
    fn the_first_class_that_names_a_series_decides() {
        let classes = vec![class("debug", "debug", 3), class("all", "", 5)];
        let retention = Retention { classes, ..Retention::default() };
        let hidden_until = |labels: &Labels| {
            let hidden = retention.hidden_by_class(labels, &[], Since::NOW, 10 * DAY);
            (0..=10).find(|day| !hidden.contains(day * DAY))
        };
        let labels = |job| Labels::from_pairs([("job", job)]).unwrap();
        assert_eq!(hidden_until(&labels("debug")), Some(7));
        assert_eq!(hidden_until(&Labels::empty()), Some(5));
        assert_eq!(hidden_until(&labels("other")), Some(0));
        assert!(retention.hides_by_class(7 * DAY - 1, 10 * DAY) && !retention.hides_by_class(7 * DAY, 10 * DAY));
    }

    #[test]
    fn a_class_is_carried_out_once_per_block() {
        let retention = Retention { classes: vec![class("debug", "debug", 3)], ..Retention::default() };
        let mut blocks = [block("a", 1, 1), block("b", 2, 1), block("c", 8, 1)];
        assert_eq!(retention.to_rewrite(&blocks, 10 * DAY).map(|block| block.ulid.as_str()), Some("a"));
        blocks[0].classes = retention.carried_out(blocks[0].max_ms, 10 * DAY);
        assert_eq!(retention.to_rewrite(&blocks, 10 * DAY).map(|block| block.ulid.as_str()), Some("b"));
        assert!(retention.carried_out(blocks[2].max_ms, 10 * DAY).is_empty());
    }
}
