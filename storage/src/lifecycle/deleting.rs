//! Takes deletions down, and carries them out: blocks that hold something deleted are written anew without it, one at a time.
//!
//! A deletion is about blocks alone. What the head holds of it is published first, and what comes afterwards goes to other blocks,
//! whatever its time, so these do not concern it. Whoever writes blocks anew leaves out of each input what is deleted there, and the result
//! is younger than all deletions. A deletion of which the manifest does not say which blocks it is about (format 1) is about the head, too.
//!
//! A block that cannot be read does not keep others from it: it is named, and the deletion stays hidden but pending.

use super::publish::Change;
use super::worker::Lifecycle;
use crate::block::meta::created_ms;
use crate::block::read::Block;
use crate::manifest::Role;
use crate::select::TimeRange;
use crate::store::StoreError;
use crate::tombstone::{Deletion, Since, Tombstone};

/// What came of looking for one thing to do.
enum Step {
    /// A block was written anew; there may be more.
    Rewritten,
    /// Nothing of it is left.
    Clean,
}

impl Lifecycle {
    /// Takes deletions down in the manifest, when nothing of what they are about is in the head alone.
    pub(super) fn commit_deletions(&mut self, tombstones: Vec<Tombstone>) -> Result<(), StoreError> {
        if self.shared.view().away.is_some() {
            // How far the head is in blocks may not be known yet.
            self.refresh()?;
        }
        let mut until_ms = None;
        for tombstone in &tombstones {
            let Deletion { matchers, min_ms, max_ms, .. } = Deletion::of(tombstone)?;
            let range = TimeRange { after_ms: min_ms.saturating_sub(1), until_ms: max_ms };
            if until_ms < Some(max_ms) && self.shared.engine.head().may_hold(&matchers, range) {
                until_ms = Some(max_ms);
            }
        }
        if let Some(until_ms) = until_ms {
            self.flush_up_to(until_ms, i64::MIN)?;
        }
        if self.shared.engine.head().forget_flushed() {
            // What the log would bring back is passed, up to what comes from now on.
            self.flush_up_to(i64::MIN, i64::MIN)?;
            self.shared.engine.head().forget_flushed();
        }
        fail::fail_point!("deletion-flushed");
        self.publish(Role::Compactor, &[], &Change { tombstones, ..Change::default() })?;
        self.shared.follow()
    }

    /// Writes one block anew that holds something deleted; a deletion that no block holds anything of is done. Returns
    /// whether there may be more to do.
    ///
    /// # Errors
    /// When nothing else is left to do: why a deletion cannot be carried out everywhere.
    pub(super) fn carry_out_deletion(&mut self) -> Result<bool, StoreError> {
        let view = self.shared.view();
        let floor_ms = self.shared.engine.head().read_floor_ms();
        let (mut done, mut failure) = (Vec::new(), None);
        for (tombstone, deletion) in view.manifest.tombstones.iter().zip(&view.deletions) {
            // The head still holds what would be flushed later.
            if deletion.concerns(Since::NOW) && tombstone.max_ms >= floor_ms {
                continue;
            }
            let step = self.carry_out_one(tombstone, deletion);
            let failed = step.as_ref().err().map(StoreError::to_line);
            match step {
                Ok(Step::Rewritten) => return Ok(true),
                Ok(Step::Clean) => done.push(tombstone.id.clone()),
                Err(error) => failure = failure.or(Some(error)),
            }
            self.shared.deletions.note_failure(&tombstone.id, failed);
        }
        if !done.is_empty() {
            self.publish(Role::Compactor, &[], &Change { done_tombstones: done, ..Change::default() })?;
            self.shared.follow()?;
        }
        failure.map_or(Ok(false), Err)
    }

    /// Looks for one block that holds something of a deletion, past those that cannot be read.
    fn carry_out_one(&mut self, tombstone: &Tombstone, deletion: &Deletion) -> Result<Step, StoreError> {
        let view = self.shared.view();
        let range = TimeRange { after_ms: deletion.min_ms.saturating_sub(1), until_ms: deletion.max_ms };
        let mut failure = view.check(range).err().map(StoreError::from);
        // What samples had is made anew from them; buckets that outlived theirs are written without it.
        let raw = view.raw_within(range).map(|block| (block, false));
        let tiers = view.tiers_within(range, true).map(|block| (block, true));
        for (block, is_tier) in raw.chain(tiers) {
            let is_later = match tombstone.up_to_version {
                Some(_) => !deletion.concerns(view.since(block)),
                None => created_ms(&block.meta().ulid) > tombstone.created_ms,
            };
            if is_later {
                continue;
            }
            match self.without(block, is_tier, tombstone, deletion, range) {
                Ok(true) => return Ok(Step::Rewritten),
                Ok(false) => {}
                Err(error) if self.shared.damage.of(&block.meta().ulid).is_some() => failure = failure.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        failure.map_or(Ok(Step::Clean), Err)
    }

    /// Writes a block anew if it holds something of a deletion; returns whether it did.
    fn without(
        &mut self,
        block: &Block,
        is_tier: bool,
        tombstone: &Tombstone,
        deletion: &Deletion,
        range: TimeRange,
    ) -> Result<bool, StoreError> {
        let before = block.meta();
        if let Some(why) = self.shared.damage.of(&before.ulid) {
            return Err(StoreError::Damaged { ulid: before.ulid.clone(), why });
        }
        if !self.holds(block, deletion, range)? {
            return Ok(false);
        }
        let after = match is_tier {
            true => Some(self.rewrite_tier(block)?),
            false => self.rewrite(std::slice::from_ref(block), before.level, Vec::new())?,
        };
        let manifest = self.shared.chain.latest();
        let after = after.and_then(|ulid| manifest.block(&ulid));
        self.shared.deletions.rewrote(&tombstone.id, before, after);
        Ok(true)
    }

    /// Whether a block holds something of a deletion.
    pub(super) fn holds(&self, block: &Block, deletion: &Deletion, range: TimeRange) -> Result<bool, StoreError> {
        if block.meta().series == 0 {
            return Ok(false);
        }
        let (of, matchers) = (block.clone(), deletion.matchers.clone());
        let count = self.wait(async move { of.count(&matchers, range).await });
        if let Err(error) = &count {
            self.shared.damage.note([block], error);
        }
        Ok(count? > 0)
    }
}
