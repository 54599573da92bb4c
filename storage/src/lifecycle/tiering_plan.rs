//! Chooses which tier of which day to make, and what has had its time.
//!
//! Pure. A day is looked at when it has been over for a while and its samples, and those of the next day, whose first moment
//! belongs to it, are merged: one block each. The finest tier is made of samples, others of the next finer one. Samples are
//! dropped only when every tier that should outlive them is there and holds what they say, and what came late of their day is in
//! no head. Native histograms are in no tier: they stay in blocks without floats as long as the coarsest tier, thinned for the
//! finest tier that is there.

use super::window::{DAY_MS, day_of};
use crate::block::meta::{BlockMeta, created_ms};
use crate::tiers::day_spans::DaySpans;
use crate::tiers::days::{Day, days};
use crate::tiers::policy::{TierOptions, TierPolicy};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// How long after its end a day is looked at, in milliseconds.
pub(crate) const TIER_DELAY_MS: i64 = 3 * 3_600_000;
/// When a day has been past the time of its samples for so long, it takes no more: each that came late would keep all of them
/// until the next flush and the next tier.
const CLOSE_AFTER_MS: i64 = DAY_MS / 2;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TierStep {
    /// These blocks have had their time; no tier outlives them.
    Drop(Vec<String>),
    /// Of these blocks tiers hold everything.
    Expire(Vec<String>),
    /// Of this block the floats have had their time, if there are any; its histograms are thinned for spans of this length, in
    /// milliseconds.
    Thin(String, i64),
    /// A block of a tier is missing or out of date.
    Build(TierBuild),
}

/// A block of a tier to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TierBuild {
    /// Counted from the epoch.
    pub(crate) day: i64,
    pub(crate) resolution_ms: i64,
    /// The block of a finer tier; `None` when it is made of samples.
    pub(crate) finer: Option<String>,
    /// The blocks that it takes the place of.
    pub(crate) replaces: Vec<String>,
    /// Its name is of this time or a later one.
    pub(crate) created_ms: i64,
    /// The flushed blocks that it is made from.
    pub(crate) sources: Vec<String>,
}

/// The next step, or `None` when nothing is due; what `can_do` refuses is left for later. The head holds nothing before `floor_ms`
/// but samples that came late, of the days `late`: their time waits for these.
pub(crate) fn plan<'m>(
    blocks: impl Iterator<Item = &'m BlockMeta> + Clone,
    policy: &TierPolicy,
    now_ms: i64,
    floor_ms: i64,
    late: &DaySpans,
    can_do: &dyn Fn(&TierStep) -> bool,
) -> Option<TierStep> {
    let days = days(blocks.clone());
    if let Some(step) = expired(blocks, &days, policy, now_ms, late).into_iter().find(can_do) {
        return Some(step);
    }
    days.iter().find_map(|(number, day)| {
        let end_ms = end_of(*number);
        let is_over = now_ms >= end_ms.saturating_add(TIER_DELAY_MS) && floor_ms > end_ms;
        let next = days.get(&(number + 1));
        let is_settled = is_merged(day, *number) && next.is_none_or(|next| is_merged(next, number + 1));
        let build = (is_over && is_settled).then(|| missing(*number, day, policy, now_ms)).flatten();
        build.map(TierStep::Build).filter(can_do)
    })
}

fn end_of(day: i64) -> i64 {
    day.saturating_add(1).saturating_mul(DAY_MS)
}

/// Whether the samples of a day are in one block that was merged.
fn is_merged(day: &Day<'_>, number: i64) -> bool {
    let mut own = day.raw.iter().filter(|block| day_of(block.min_ms) == number);
    own.next().is_none_or(|block| block.level > 0) && own.next().is_none()
}

fn is_kept(day: i64, keep: Duration, now_ms: i64) -> bool {
    end_of(day) >= now_ms.saturating_sub(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX))
}

/// Whether all tiers of a day that outlive its samples hold everything there is of it.
fn has_tiers(number: i64, days: &BTreeMap<i64, Day<'_>>, policy: &TierPolicy, now_ms: i64, late: &DaySpans) -> bool {
    let mut wanted = wanted(number, policy, now_ms).peekable();
    let all_came = wanted.peek().is_none() || !late.contains(end_of(number));
    let day = days.get(&number);
    all_came && wanted.all(|tier| day.is_some_and(|day| day.is_fresh(tier.resolution_ms())))
}

/// The tiers that outlive the samples of a day.
fn wanted(number: i64, policy: &TierPolicy, now_ms: i64) -> impl Iterator<Item = &TierOptions> {
    policy.tiers.iter().filter(move |tier| is_kept(number, tier.keep, now_ms))
}

/// The days that take no more floats, although their samples are there: these are past their time, `keep`, for long, and have been
/// known for so long.
pub(crate) fn overdue<'m>(
    blocks: impl Iterator<Item = &'m BlockMeta>,
    policy: &TierPolicy,
    keep: Duration,
    now_ms: i64,
) -> DaySpans {
    let mut overdue = DaySpans::default();
    let since_ms = now_ms.saturating_sub(CLOSE_AFTER_MS);
    for block in blocks.filter(|block| block.has_floats()) {
        let (first, last) = days_of(block);
        let is_past = |day: &i64| !is_kept(*day, keep, since_ms) && wanted(*day, policy, now_ms).next().is_some();
        let mut past = (first..=last).filter(is_past).peekable();
        let is_known = || block.origins().any(|origin| created_ms(origin) <= since_ms);
        if past.peek().is_some() && is_known() {
            past.for_each(|day| overdue.add(end_of(day), end_of(day)));
        }
    }
    overdue
}

/// The blocks of samples that are not all in the tiers which outlive them.
pub(crate) fn unfinished<'m>(
    blocks: impl Iterator<Item = &'m BlockMeta> + Clone,
    policy: &TierPolicy,
    now_ms: i64,
    late: &DaySpans,
) -> HashSet<String> {
    let days = days(blocks.clone());
    let is_unfinished = |block: &&BlockMeta| {
        let (first, last) = days_of(block);
        let has_samples = block.resolution_ms == 0 && !block.has_only_histograms();
        has_samples && !(first..=last).all(|number| has_tiers(number, &days, policy, now_ms, late))
    };
    blocks.filter(is_unfinished).map(|block| block.ulid.clone()).collect()
}

/// The first and the last day that a block has samples of.
fn days_of(block: &BlockMeta) -> (i64, i64) {
    (day_of(block.min_ms.saturating_sub(1)), day_of(block.max_ms.saturating_sub(1)))
}

fn missing(number: i64, day: &Day<'_>, policy: &TierPolicy, now_ms: i64) -> Option<TierBuild> {
    let mut wanted = wanted(number, policy, now_ms).map(TierOptions::resolution_ms);
    let resolution_ms = wanted.find(|resolution_ms| !day.is_fresh(*resolution_ms))?;
    let divides = |finer: &i64| day.is_fresh(*finer) && resolution_ms % finer == 0;
    let finer = day.tiers.range(..resolution_ms).map(|(finer, _)| *finer).rfind(divides);
    let finer = finer.and_then(|finer| day.tier(finer));
    if finer.is_none() && !day.has_samples_of_tiers() {
        return None;
    }
    let mut sources: Vec<String> = match finer {
        Some(finer) => finer.sources.clone(),
        None => day.raw.iter().flat_map(|block| block.origins()).map(str::to_owned).collect(),
    };
    sources.sort_unstable();
    sources.dedup();
    Some(TierBuild {
        day: number,
        resolution_ms,
        finer: finer.map(|finer| finer.ulid.clone()),
        replaces: day.tiers.get(&resolution_ms).into_iter().flatten().map(|block| block.ulid.clone()).collect(),
        created_ms: day.after_all_ms().max(now_ms),
        sources,
    })
}

/// What to do with blocks that have had their time, and with those that keep their native histograms alone, with the finest tier
/// beside them: no window is moved to bounds of a finer one.
fn expired<'m>(
    blocks: impl Iterator<Item = &'m BlockMeta>,
    days: &BTreeMap<i64, Day<'_>>,
    policy: &TierPolicy,
    now_ms: i64,
    late: &DaySpans,
) -> Vec<TierStep> {
    let has_tiers = |number: i64| has_tiers(number, days, policy, now_ms, late);
    let coarsest_keep = policy.tiers.last().map_or(policy.raw_keep, |tier| tier.keep);
    let finest = |first: i64, last: i64| {
        let of_day = |day: &Day<'_>| day.tiers.keys().copied().find(|resolution_ms| day.is_fresh(*resolution_ms));
        days.range(first..=last).filter_map(|(_, day)| of_day(day)).min()
    };
    let have_floats = |first: i64, last: i64| days.range(first..=last).any(|(_, day)| day.has_samples_of_tiers());
    let is_outlived = |number: i64| wanted(number, policy, now_ms).next().is_some();
    let (mut over, mut in_tiers, mut thinned) = (Vec::new(), Vec::new(), Vec::new());
    for block in blocks {
        let (first, last) = days_of(block);
        let is_over = if block.has_only_histograms() {
            !is_kept(last, coarsest_keep, now_ms)
        } else if block.resolution_ms == 0 {
            !is_kept(last, policy.raw_keep, now_ms) && (first..=last).all(has_tiers)
        } else {
            let configured = |tier: &&TierOptions| tier.resolution_ms() == block.resolution_ms as i64;
            // What is no longer configured goes with the coarsest.
            let tier = policy.tiers.iter().find(configured).or(policy.tiers.last());
            tier.is_some_and(|tier| !is_kept(first, tier.keep, now_ms))
        };
        let outlived = block.histograms > 0 && block.samples > 0 && is_kept(last, coarsest_keep, now_ms);
        match is_over {
            true if outlived => thinned.push(TierStep::Thin(block.ulid.clone(), finest(first, last).unwrap_or(1))),
            true if block.has_floats() && (first..=last).any(is_outlived) => in_tiers.push(block.ulid.clone()),
            true => over.push(block.ulid.clone()),
            false if block.has_only_histograms() && !is_kept(last, policy.raw_keep, now_ms) => {
                let is_coarser = |resolution_ms: &i64| resolution_ms.unsigned_abs() > block.thinned_ms;
                let coarser = finest(first, last).filter(is_coarser).filter(|_| !have_floats(first, last));
                thinned.extend(coarser.map(|resolution_ms| TierStep::Thin(block.ulid.clone(), resolution_ms)));
            }
            false => {}
        }
    }
    let dropped = [TierStep::Drop(over), TierStep::Expire(in_tiers)];
    let some =
        |step: &TierStep| matches!(step, TierStep::Drop(blocks) | TierStep::Expire(blocks) if !blocks.is_empty());
    dropped.into_iter().filter(some).chain(thinned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::meta::ulid;

    const NOW: i64 = 100 * DAY_MS;

    fn block(resolution_ms: u64, day: i64, level: u8, created_ms: u64) -> BlockMeta {
        BlockMeta {
            format_version: 1,
            ulid: ulid(created_ms, u128::from(resolution_ms) + day as u128),
            tenant: "t".into(),
            level,
            resolution_ms,
            min_ms: day * DAY_MS + 1,
            max_ms: (day + 1) * DAY_MS - i64::from(resolution_ms == 0),
            series: 1,
            samples: 1,
            histograms: 0,
            exemplars: 0,
            files: Vec::new(),
            sources: vec![format!("of {day}")],
            label_columns: Vec::new(),
            labels_overflow: false,
            thinned_ms: 0,
        }
    }

    /// What is made next, as day, resolution in minutes, and whether from a tier; or how many blocks are dropped.
    fn next(blocks: &[BlockMeta]) -> Result<(i64, i64, bool), usize> {
        match plan(blocks.iter(), &TierPolicy::default(), NOW, NOW, &DaySpans::default(), &|_| true) {
            Some(TierStep::Thin(..)) => Err(usize::MAX),
            Some(TierStep::Build(build)) => Ok((build.day, build.resolution_ms / 60_000, build.finer.is_some())),
            Some(TierStep::Drop(blocks) | TierStep::Expire(blocks)) => Err(blocks.len()),
            None => Err(0),
        }
    }

    #[test]
    fn the_finest_tier_comes_first_and_the_next_is_made_of_it() {
        let raw = block(0, 96, 1, 1);
        let (five, hour) = (block(300_000, 96, 1, 2), block(3_600_000, 96, 1, 3));
        assert_eq!(next(std::slice::from_ref(&raw)), Ok((96, 5, false)));
        assert_eq!(next(&[raw.clone(), five.clone()]), Ok((96, 60, true)));
        assert_eq!(next(&[raw, five.clone(), hour.clone()]), Err(0));
        let later = block(0, 96, 1, 9);
        assert_eq!(next(&[later.clone(), five, hour.clone()]), Ok((96, 5, false)));
        assert_eq!(next(&[later, block(300_000, 96, 1, 10), hour]), Ok((96, 60, true)));
    }

    #[test]
    fn a_day_waits_until_it_and_the_next_are_merged() {
        assert_eq!(next(&[block(0, 96, 0, 1)]), Err(0));
        assert_eq!(next(&[block(0, 96, 1, 1), block(0, 97, 0, 1)]), Err(0));
        assert_eq!(next(&[block(0, 99, 1, 1)]), Err(0));
    }

    #[test]
    fn samples_go_when_all_tiers_are_there() {
        let raw = block(0, 90, 1, 1);
        let (five, hour) = (block(300_000, 90, 1, 2), block(3_600_000, 90, 1, 3));
        assert_eq!(next(&[raw.clone(), five.clone()]), Ok((90, 60, true)));
        assert_eq!(next(&[raw.clone(), five.clone(), hour.clone()]), Err(1));
        assert_eq!(next(&[five.clone(), hour.clone()]), Err(0));
        let all = [raw.clone(), five, hour];
        let with_late = |at_ms: i64| {
            let mut late = DaySpans::default();
            late.add(at_ms, at_ms);
            let held = unfinished(all.iter(), &TierPolicy::default(), NOW, &late);
            let step = plan(all.iter(), &TierPolicy::default(), NOW, NOW, &late, &|_| true);
            assert_eq!(step.is_none(), held.contains(&raw.ulid));
            step
        };
        assert_eq!(with_late(90 * DAY_MS + 1), None, "what came late is in no tier yet");
        assert_eq!(with_late(91 * DAY_MS + 1), Some(TierStep::Expire(vec![raw.ulid.clone()])), "it is of another day");
    }

    #[test]
    fn tiers_go_in_their_turn_and_those_too_old_are_not_made() {
        let old = |resolution_ms| block(resolution_ms, 50, 1, 1);
        assert_eq!(next(&[old(300_000), old(3_600_000)]), Err(1));
        assert_eq!(next(&[old(0)]), Ok((50, 60, false)));
    }

    #[test]
    fn native_histograms_stay_as_long_as_the_coarsest_tier() {
        let mixed = BlockMeta { histograms: 1, ..block(0, 90, 1, 1) };
        let (five, hour) = (block(300_000, 90, 1, 2), block(3_600_000, 90, 1, 3));
        assert_eq!(next(std::slice::from_ref(&mixed)), Ok((90, 5, false)), "not before the tiers are there");
        assert_eq!(next(&[mixed.clone(), five.clone(), hour.clone()]), Err(usize::MAX), "floats go");
        let histograms = |day| BlockMeta { histograms: 1, samples: 0, sources: Vec::new(), ..block(0, day, 1, 1) };
        let thinned = |thinned_ms| BlockMeta { thinned_ms, ..histograms(90) };
        let thin = |blocks: &[BlockMeta]| match plan(
            blocks.iter(),
            &TierPolicy::default(),
            NOW,
            NOW,
            &DaySpans::default(),
            &|_| true,
        ) {
            Some(TierStep::Thin(_, resolution_ms)) => Some(resolution_ms),
            other => other.map(|other| unreachable!("{other:?}")),
        };
        assert_eq!(thin(&[histograms(90), five.clone(), hour.clone()]), Some(300_000), "written by an earlier version");
        assert_eq!(thin(&[thinned(300_000), five, hour.clone()]), None);
        assert_eq!(thin(&[thinned(300_000), hour.clone()]), Some(3_600_000), "the finer tier has gone");
        assert_eq!(thin(&[thinned(3_600_000), hour]), None);
        // While floats or their time are there, so are all histograms.
        let recent = BlockMeta { ulid: ulid(7, 7), ..histograms(96) };
        assert_eq!(thin(&[recent, block(300_000, 96, 1, 2), block(3_600_000, 96, 1, 3)]), None);
        // Another year, and nothing outlives the coarsest tier.
        let now_ms = NOW + 366 * DAY_MS;
        let late = plan(
            [&mixed, &histograms(91)].into_iter(),
            &TierPolicy::default(),
            now_ms,
            now_ms,
            &DaySpans::default(),
            &|_| true,
        );
        assert!(matches!(late, Some(TierStep::Drop(blocks)) if blocks.len() == 2));
        let none = TierPolicy { tiers: Vec::new(), ..TierPolicy::default() };
        let dropped = plan([&mixed].into_iter(), &none, NOW, NOW, &DaySpans::default(), &|_| true);
        assert!(matches!(dropped, Some(TierStep::Drop(_))), "without tiers nothing outlives samples");
    }

    #[test]
    fn a_damaged_block_keeps_its_floats_and_other_days_from_nothing() {
        let mixed = |day| BlockMeta { histograms: 1, ..block(0, day, 1, 1) };
        let tiers = |day| [block(300_000, day, 1, 2), block(3_600_000, day, 1, 3)];
        let damaged = mixed(90).ulid;
        let blocks = [vec![mixed(90), mixed(91)], tiers(90).to_vec(), tiers(91).to_vec()].concat();
        let can_do = |step: &TierStep| !matches!(step, TierStep::Thin(ulid, _) if *ulid == damaged);
        let step = plan(blocks.iter(), &TierPolicy::default(), NOW, NOW, &DaySpans::default(), &can_do);
        assert_eq!(step, Some(TierStep::Thin(mixed(91).ulid, 300_000)));
    }

    /// What waits for late samples does not keep other steps waiting.
    #[test]
    fn steps_go_on_past_those_that_cannot_be_done() {
        let tiers = |day| [block(300_000, day, 1, 2), block(3_600_000, day, 1, 3)];
        let old = block(300_000, 50, 1, 5);
        let blocks = [vec![block(0, 90, 1, 1), block(0, 95, 1, 1), old.clone()], tiers(90).to_vec()].concat();
        let mut left = blocks.clone();
        let mut done = Vec::new();
        loop {
            let can_do = |step: &TierStep| !matches!(step, TierStep::Expire(_));
            match plan(left.iter(), &TierPolicy::default(), NOW, NOW, &DaySpans::default(), &can_do) {
                Some(TierStep::Drop(ulids)) => left.retain(|block| !ulids.contains(&block.ulid)),
                Some(TierStep::Build(build)) => {
                    let name = build.created_ms.unsigned_abs();
                    left.push(BlockMeta {
                        sources: build.sources,
                        ..block(build.resolution_ms as u64, build.day, 1, name)
                    });
                    done.push((build.day, build.resolution_ms / 60_000));
                }
                None => break,
                other => unreachable!("{other:?}"),
            }
        }
        assert_eq!(done, [(95, 5), (95, 60)]);
        assert!(!left.contains(&old));
        assert_eq!(left.iter().filter(|block| block.resolution_ms == 0).count(), 2);
    }

    #[test]
    fn a_day_that_has_waited_for_long_takes_no_more() {
        let keep = Duration::from_secs(7 * 24 * 3600);
        let closed = |day: i64, created_ms: i64, now_ms: i64| {
            let block = |created_ms: i64| BlockMeta { sources: Vec::new(), ..block(0, day, 1, created_ms as u64) };
            let blocks = [block(created_ms), block(now_ms)];
            overdue(blocks.iter(), &TierPolicy::default(), keep, now_ms) != DaySpans::default()
        };
        let past_ms = 101 * DAY_MS;
        assert!(!closed(93, 94 * DAY_MS, past_ms + CLOSE_AFTER_MS));
        assert!(closed(93, 94 * DAY_MS, past_ms + CLOSE_AFTER_MS + 1));
        // Its first samples came late.
        assert!(!closed(80, past_ms, past_ms + CLOSE_AFTER_MS - 1));
        assert!(closed(80, past_ms, past_ms + CLOSE_AFTER_MS));
        // Nothing outlives its samples.
        assert!(!closed(80, past_ms, past_ms + 400 * DAY_MS));
        let days = |blocks: &[BlockMeta]| overdue(blocks.iter(), &TierPolicy::default(), keep, 200 * DAY_MS);
        let of = |days: &DaySpans| days.iter().map(|(after_ms, _)| after_ms / DAY_MS).collect::<Vec<_>>();
        assert_eq!(of(&days(&[block(0, 93, 1, 1), block(0, 96, 1, 1), block(0, 199, 1, 1)])), [93, 96]);
        let none = [block(300_000, 93, 1, 1), BlockMeta { samples: 0, histograms: 1, ..block(0, 93, 1, 1) }];
        assert_eq!(of(&days(&none)), [0i64; 0]);
    }
}
