//! Blocks that the lifecycle could not read: others go on without them, and they are named until they can be read or are gone.

use crate::block::read::Block;
use crate::error::ErrorKind;
use crate::manifest::Manifest;
use crate::store::StoreError;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A damaged block is tried again after this.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// The blocks that are known to be damaged.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    blocks: Mutex<BTreeMap<String, Found>>,
}

#[derive(Debug, Clone)]
struct Found {
    at: Instant,
    why: String,
}

/// A block that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedBlock {
    /// Its identity.
    pub ulid: String,
    /// What was found, with the name of the object.
    pub why: String,
}

impl Damage {
    /// Notes which of some blocks a failure is about, if it is about what is stored; returns whether it is.
    pub(crate) fn note<'b>(&self, inputs: impl IntoIterator<Item = &'b Block>, error: &StoreError) -> bool {
        if error.kind() != ErrorKind::Corrupt {
            return false;
        }
        let why = error.to_line();
        let Some(block) = inputs.into_iter().find(|block| why.contains(&block.meta().ulid)) else { return false };
        self.blocks.lock().insert(block.meta().ulid.clone(), Found { at: Instant::now(), why });
        true
    }

    /// Why a block was found damaged not long ago, if it was.
    pub(crate) fn of(&self, ulid: &str) -> Option<String> {
        let blocks = self.blocks.lock();
        blocks.get(ulid).filter(|found| found.at.elapsed() < TRIED_AGAIN_AFTER).map(|found| found.why.clone())
    }

    /// The blocks of samples among some that can be merged or written anew: those that were not found damaged lately.
    pub(crate) fn readable<'b>(&self, blocks: &'b [Block]) -> impl Iterator<Item = &'b Block> {
        blocks.iter().filter(|block| block.meta().resolution_ms == 0 && self.of(&block.meta().ulid).is_none())
    }

    /// These blocks could be read.
    pub(crate) fn clear<'b>(&self, blocks: impl IntoIterator<Item = &'b Block>) {
        let mut known = self.blocks.lock();
        for block in blocks {
            known.remove(&block.meta().ulid);
        }
    }

    /// All blocks are tried again.
    pub(crate) fn clear_all(&self) {
        self.blocks.lock().clear();
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.blocks.lock().len()
    }

    /// A block was found damaged so long ago.
    #[cfg(test)]
    pub(crate) fn found_before(&self, ulid: &str, ago: Duration) {
        let at = Instant::now().checked_sub(ago).expect("clocks of Linux go below zero");
        self.blocks.lock().insert(ulid.to_owned(), Found { at, why: "a test says so".into() });
    }

    /// The damaged blocks that a manifest names.
    pub(crate) fn list(&self, manifest: &Manifest) -> Vec<DamagedBlock> {
        let mut known = self.blocks.lock();
        known.retain(|ulid, _| manifest.block(ulid).is_some());
        known.iter().map(|(ulid, found)| DamagedBlock { ulid: ulid.clone(), why: found.why.clone() }).collect()
    }
}
