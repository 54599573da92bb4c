//! Drops what has had its time: blocks, of some the floats, and series that their class keeps for a shorter time.
//!
//! Where tiers outlive samples, these do not go before the tiers hold everything that was acknowledged of their days. What came late
//! is in the head, or on its way there, before it is in a block. So the days are closed first: their floats are refused, as
//! they are of all days that have expired. When all that was taken before is in the head, and nothing of these days is there alone,
//! the samples go; else the days are opened again, and wait for the next flush. A day that has waited for long stays closed. When
//! the log has failed nobody can tell what was taken, and no samples go until the next start.

use super::Change;
use super::retention::Candidate;
use super::tiering_plan::{overdue, unfinished};
use super::window::{DAY_MS, day_of, day_range};
use super::worker::Lifecycle;
use crate::block::meta::BlockMeta;
use crate::block::read::Block;
use crate::manifest::{Manifest, Role};
use crate::select::TimeRange;
use crate::store::StoreError;
use crate::tiers::day_spans::DaySpans;
use crate::tombstone::Deletion;
use crate::wal::pool::now_ms;
use hashbrown::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// After the end of a day, retention by time waits so long until its samples are in tiers.
const TIERS_WAIT_MS: i64 = DAY_MS;

/// Days whose floats go.
#[derive(Debug, Clone)]
pub(crate) struct Expiring {
    days: DaySpans,
    /// The blocks that there were when that was decided.
    known: Arc<HashSet<String>>,
}

impl Expiring {
    /// What is lost with the floats of some blocks; `None` if they have none.
    pub(crate) fn of<'m>(blocks: impl Iterator<Item = &'m BlockMeta>, manifest: &Manifest) -> Option<Self> {
        let mut days = DaySpans::default();
        for block in blocks.filter(|block| block.has_floats()) {
            days.add(block.min_ms, block.max_ms);
        }
        let known = || Arc::new(manifest.blocks.iter().map(|block| block.ulid.clone()).collect());
        (days != DaySpans::default()).then(|| Self { days, known: known() })
    }

    /// Whether others published floats of these days meanwhile.
    pub(super) fn is_outdated(&self, manifest: &Manifest) -> bool {
        let new = manifest.blocks.iter().filter(|block| !self.known.contains(&block.ulid));
        new.filter(|block| block.has_floats()).any(|block| {
            let mut days = DaySpans::default();
            days.add(block.min_ms, block.max_ms);
            days.meet(&self.days)
        })
    }
}

impl Lifecycle {
    /// The days of which the head has floats that are in no block.
    pub(super) fn late_days(&self) -> DaySpans {
        let head = self.shared.engine.head();
        head.float_days(head.pin().visible())
    }

    /// Closes the days that have waited for long, and no others.
    pub(super) fn close_overdue(&self) {
        let (view, retention) = (self.shared.view(), self.shared.retention());
        let days = retention.tiers.as_ref().map(|policy| {
            let keep_ms = retention.keep_ms.and_then(|keep_ms| u64::try_from(keep_ms).ok());
            let keep = keep_ms.map_or(policy.raw_keep, |keep_ms| policy.raw_keep.min(Duration::from_millis(keep_ms)));
            overdue(view.manifest.blocks.iter(), policy, keep, now_ms())
        });
        let days = days.unwrap_or_default();
        if self.shared.closed_days() != days {
            self.shared.close_days(days);
        }
    }

    /// Takes no more floats of the days; `false` when some are in no block yet, and the days stay open.
    pub(super) fn close(&self, expiring: Option<&Expiring>) -> bool {
        let Some(Expiring { days, .. }) = expiring else { return true };
        let before = self.shared.closed_days();
        let mut closed = before.clone();
        closed.add_all(days);
        self.shared.close_days(closed);
        let can_go = self.shared.engine.settle() && !self.late_days().meet(days);
        if !can_go {
            self.shared.close_days(before);
        }
        can_go
    }

    /// Drops blocks that are past their time.
    pub(super) fn drop_expired(&mut self) -> Result<(), StoreError> {
        let (view, retention, now_ms) = (self.shared.view(), self.shared.retention(), now_ms());
        let metas = view.blocks.iter().map(|block| block.meta().as_ref());
        let tiers = retention.tiers.as_ref().filter(|_| retention.keep_ms.is_some());
        let unfinished = tiers.map(|policy| unfinished(metas.clone(), policy, now_ms, &self.late_days()));
        let unfinished = unfinished.unwrap_or_default();
        let waited_for = |block: &BlockMeta| {
            let end_ms = *day_range(day_of(block.max_ms.saturating_sub(1))).end();
            let gone_ms = retention.keep_ms.map(|keep_ms| end_ms.saturating_add(keep_ms));
            tiers.is_some() && gone_ms.is_some_and(|gone_ms| now_ms < gone_ms.saturating_add(TIERS_WAIT_MS))
        };
        let candidate = |block: &BlockMeta| Candidate {
            waits: unfinished.contains(&block.ulid) && waited_for(block),
            ..candidate(block)
        };
        let blocks: Vec<_> = metas.clone().map(candidate).collect();
        let remove = retention.expired(&blocks, now_ms);
        if remove.is_empty() {
            return Ok(());
        }
        let gone: HashSet<String> = remove.iter().cloned().collect();
        // What goes for its bytes waits for nothing.
        let is_past = |block: &BlockMeta| {
            let before_ms = retention.keep_ms.map(|keep_ms| now_ms.saturating_sub(keep_ms));
            before_ms.is_some_and(|before_ms| block.max_ms < before_ms)
        };
        let held = metas.filter(|block| gone.contains(&block.ulid) && is_past(block) && waited_for(block));
        let held: Vec<&BlockMeta> = held.collect();
        let expiring = Expiring::of(held.iter().copied(), &view.manifest);
        if self.close(expiring.as_ref()) {
            return self.drop_blocks(remove, expiring);
        }
        let held: HashSet<&String> = held.into_iter().map(|block| &block.ulid).collect();
        let rest: Vec<String> = remove.iter().filter(|ulid| !held.contains(ulid)).cloned().collect();
        if rest.is_empty() { Ok(()) } else { self.drop_blocks(rest, None) }
    }

    /// Drops blocks, the floats of whose days, if any go with them, are closed.
    pub(super) fn drop_blocks(&mut self, remove: Vec<String>, expiring: Option<Expiring>) -> Result<(), StoreError> {
        let count = remove.len() as u64;
        self.publish(Role::Compactor, &[], &Change { remove, expiring, ..Change::default() })?;
        self.expired(count)
    }

    /// What has gone is known.
    pub(super) fn expired(&self, blocks: u64) -> Result<(), StoreError> {
        self.shared.counters.expired_blocks.fetch_add(blocks, Ordering::Relaxed);
        self.shared.follow()?;
        self.close_overdue();
        Ok(())
    }

    /// Writes a block anew that holds series whose class keeps them for a shorter time.
    pub(super) fn carry_out_class(&mut self) -> Result<bool, StoreError> {
        let (view, retention, now_ms) = (self.shared.view(), self.shared.retention(), now_ms());
        self.clean.retain(|ulid, _| view.manifest.block(ulid).is_some());
        let with_classes = |block: &Block| {
            let classes = self.clean.get(&block.meta().ulid).cloned().unwrap_or_default();
            Candidate { classes, ..candidate(block.meta()) }
        };
        let blocks: Vec<_> = self.shared.damage.readable(&view.blocks).map(with_classes).collect();
        let Some(found) = retention.to_rewrite(&blocks, now_ms) else { return Ok(false) };
        let Some(block) = view.blocks.iter().find(|block| block.meta().ulid == found.ulid).cloned() else {
            return Ok(false);
        };
        let due = retention.carried_out(found.max_ms, now_ms);
        let mut holds = false;
        for class in retention.classes.iter().filter(|class| due.contains(&class.name)) {
            let (matchers, min_ms, max_ms) = (class.matchers.clone(), i64::MIN, i64::MAX);
            let deletion = Deletion { matchers, min_ms, max_ms, up_to_version: None };
            holds = holds || self.holds(&block, &deletion, TimeRange::ALL)?;
        }
        let mut clean = Some(found.ulid.clone());
        if holds {
            // Series that an earlier class keeps for longer stay in it.
            clean = self.rewrite(std::slice::from_ref(&block), block.meta().level, Vec::new())?;
        }
        self.clean.extend(clean.map(|ulid| (ulid, due)));
        Ok(holds)
    }
}

fn candidate(meta: &BlockMeta) -> Candidate {
    Candidate {
        ulid: meta.ulid.clone(),
        min_ms: meta.min_ms,
        max_ms: meta.max_ms,
        bytes: meta.bytes(),
        resolution_ms: i64::try_from(meta.resolution_ms).unwrap_or(i64::MAX),
        waits: false,
        classes: Vec::new(),
    }
}
