//! Decides what the next version of a manifest says. Pure: no clock, no store.

use super::{FORMAT_VERSION, Manifest, ManifestError, RemovedBlock};
use crate::block::meta::BlockMeta;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// How long a removed block is remembered: longer than it stays in the store.
const REMOVED_KEPT_MS: i64 = 25 * 3_600_000;

/// What a process does with the data of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Flushes the head: adds blocks and moves [`FlushedState`](crate::head::FlushedState).
    Writer,
    /// Replaces blocks by others, and drops them.
    Compactor,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Writer => "writer",
            Self::Compactor => "compactor",
        })
    }
}

/// The right to publish in a role, until somebody else claims it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    pub(super) role: Role,
    pub(super) number: u64,
}

impl Epoch {
    /// In which role.
    #[must_use]
    pub fn role(self) -> Role {
        self.role
    }

    /// Its number: of two epochs the larger one counts.
    #[must_use]
    pub fn number(self) -> u64 {
        self.number
    }
}

/// Why a change makes no sense on the newest manifest; the work behind it has to be done anew, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A block that should be replaced or dropped is not there.
    #[error("block {ulid} is no longer in the manifest")]
    BlockGone {
        /// Which one.
        ulid: String,
    },
    /// A block is there already.
    #[error("block {ulid} is already in the manifest, with other contents")]
    BlockExists {
        /// Which one.
        ulid: String,
    },
    /// The flush would move backwards, or the role may not move it.
    #[error("the flushed boundary cannot change like this: {why}")]
    Flushed {
        /// What is wrong.
        why: &'static str,
    },
    /// What was written does not leave out what a deletion names that came meanwhile.
    #[error("a deletion came while blocks were written anew")]
    Deleted,
    /// Tiers do not hold what came meanwhile of days whose samples were to go.
    #[error("samples came of days that expire")]
    Late,
    /// What was imported has floats of days of which only tiers are left.
    #[error("the samples of the days that are imported have expired")]
    Expired,
    /// Whatever else the author of the change found.
    #[error("{0}")]
    Other(String),
}

impl Conflict {
    /// Whether others changed meanwhile what the change was made for: made anew, it may be right.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        matches!(self, Self::BlockGone { .. } | Self::Deleted | Self::Late | Self::Expired)
    }
}

impl Manifest {
    /// This manifest with some blocks replaced by others: both lists may be empty.
    ///
    /// A change whose fate was not known can be repeated: a block that is there already, or was and has left since, is not added
    /// again, and when that is true for all of them, those to remove may be gone.
    ///
    /// # Errors
    /// A block to remove is not there, or a block to add is there with other contents.
    pub fn replace_blocks(&self, remove: &[String], add: Vec<BlockMeta>) -> Result<Self, Conflict> {
        let exists = |block: &BlockMeta| self.block(&block.ulid).is_some_and(|there| there != block);
        if let Some(block) = add.iter().find(|block| exists(block)) {
            return Err(Conflict::BlockExists { ulid: block.ulid.clone() });
        }
        let is_known = |block: &BlockMeta| self.block(&block.ulid).is_some() || self.has_removed(&block.ulid);
        let is_done = !add.is_empty() && add.iter().all(is_known);
        match remove.iter().find(|ulid| self.block(ulid).is_none()) {
            Some(_) if is_done => return Ok(self.clone()),
            Some(ulid) => return Err(Conflict::BlockGone { ulid: ulid.clone() }),
            None => {}
        }
        let mut next = self.clone();
        next.blocks.retain(|block| !remove.contains(&block.ulid));
        next.blocks.extend(add.into_iter().filter(|block| !is_known(block)));
        Ok(next)
    }

    /// Whether a block was there and left within the last day.
    #[must_use]
    pub fn has_removed(&self, ulid: &str) -> bool {
        self.removed.iter().any(|block| block.ulid == ulid)
    }

    fn epoch(&self, role: Role) -> u64 {
        match role {
            Role::Writer => self.writer_epoch,
            Role::Compactor => self.compactor_epoch,
        }
    }
}

/// What the caller knows about the version it wants to publish.
pub(super) struct Publication {
    pub(super) now_ms: i64,
    pub(super) commit_id: String,
}

/// The version in which `role` is claimed, and the epoch that this gives.
pub(super) fn claim(current: &Manifest, role: Role, publication: Publication) -> (Manifest, Epoch) {
    let number = current.epoch(role) + 1;
    let mut next = current.clone();
    match role {
        Role::Writer => next.writer_epoch = number,
        Role::Compactor => next.compactor_epoch = number,
    }
    (finish(current, next, publication), Epoch { role, number })
}

/// The version that follows when the holder of `epoch` wants `wanted` to be true, or `None` when it is already.
///
/// Only blocks, flushed and tombstones are taken from `wanted`.
pub(super) fn next(
    current: &Manifest,
    epoch: Epoch,
    wanted: Manifest,
    publication: Publication,
) -> Result<Option<Manifest>, ManifestError> {
    check_epoch(current, epoch)?;
    check_flushed(current, epoch, &wanted)?;
    check_blocks(&wanted)?;
    let mut next = current.clone();
    next.blocks = wanted.blocks;
    next.blocks.sort_by(|a, b| (a.resolution_ms, a.min_ms, &a.ulid).cmp(&(b.resolution_ms, b.min_ms, &b.ulid)));
    next.flushed = wanted.flushed;
    next.tombstones = wanted.tombstones;
    next.added = added(current, &next);
    if next == *current {
        return Ok(None);
    }
    Ok(Some(finish(current, next, publication)))
}

/// Refuses the holder of an epoch that was followed by another.
pub(super) fn check_epoch(current: &Manifest, epoch: Epoch) -> Result<(), ManifestError> {
    let number = current.epoch(epoch.role);
    if number == epoch.number {
        return Ok(());
    }
    let tenant = current.tenant.clone();
    Err(ManifestError::Fenced { tenant, role: epoch.role, held: epoch.number, current: number })
}

/// The versions with which blocks came that some pending deletion does not concern.
fn added(current: &Manifest, next: &Manifest) -> BTreeMap<String, u64> {
    let oldest = next.tombstones.iter().filter_map(|tombstone| tombstone.up_to_version).min();
    let Some(oldest) = oldest else { return BTreeMap::new() };
    let known: HashSet<&str> = current.blocks.iter().map(|block| block.ulid.as_str()).collect();
    let version = |ulid: &str| match known.contains(ulid) {
        true => current.added.get(ulid).copied(),
        false => Some(current.version + 1),
    };
    let later = next.blocks.iter().filter_map(|block| Some((block.ulid.clone(), version(&block.ulid)?)));
    later.filter(|(_, version)| *version > oldest).collect()
}

fn check_flushed(current: &Manifest, epoch: Epoch, wanted: &Manifest) -> Result<(), Conflict> {
    if wanted.flushed == current.flushed {
        return Ok(());
    }
    if epoch.role != Role::Writer {
        return Err(Conflict::Flushed { why: "only the writer moves it" });
    }
    match (current.flushed, wanted.flushed) {
        (Some(_), None) => Err(Conflict::Flushed { why: "it cannot be taken back" }),
        // Writers of different directories need not be equally far.
        (Some(now), Some(then)) if then.directory == now.directory && then.boundary_ms < now.boundary_ms => {
            Err(Conflict::Flushed { why: "its time went backwards" })
        }
        (Some(now), Some(then))
            if then.directory == now.directory && (then.lsn < now.lsn || then.generation < now.generation) =>
        {
            Err(Conflict::Flushed { why: "its position in the log or its generation went backwards" })
        }
        _ => Ok(()),
    }
}

fn check_blocks(wanted: &Manifest) -> Result<(), Conflict> {
    let mut seen = HashSet::with_capacity(wanted.blocks.len());
    for block in &wanted.blocks {
        if !seen.insert(block.ulid.as_str()) {
            return Err(Conflict::BlockExists { ulid: block.ulid.clone() });
        }
        if block.tenant != wanted.tenant {
            return Err(Conflict::Other(format!("block {} belongs to tenant {}", block.ulid, block.tenant)));
        }
    }
    Ok(())
}

fn finish(current: &Manifest, mut next: Manifest, publication: Publication) -> Manifest {
    let Publication { now_ms, commit_id } = publication;
    let kept: HashSet<&str> = next.blocks.iter().map(|block| block.ulid.as_str()).collect();
    let mut removed: Vec<RemovedBlock> = current
        .removed
        .iter()
        .filter(|block| now_ms - block.removed_ms < REMOVED_KEPT_MS && !kept.contains(block.ulid.as_str()))
        .cloned()
        .collect();
    let left = current.blocks.iter().filter(|block| !kept.contains(block.ulid.as_str()));
    removed.extend(left.map(|block| RemovedBlock { ulid: block.ulid.clone(), removed_ms: now_ms }));
    drop(kept);
    next.removed = removed;
    next.format_version = FORMAT_VERSION;
    next.version = current.version + 1;
    next.created_ms = now_ms;
    next.parent_id = current.commit_id.clone();
    next.commit_id = commit_id;
    next
}
