//! The rights to publish: claimed when they are needed, and again after another process took them over.
//!
//! Whoever claims last has the right: an import that adds blocks takes that of the compactor from a server, and so does a second
//! server on the same bucket. Nothing is lost by that, as every change is decided on the newest manifest. But a deletion is about blocks
//! and what the head of this process was emptied of: what another one holds in memory or in its log comes to blocks that it does not concern.

use super::flush::StagedBlock;
use super::publish::{Change, publish};
use super::worker::Lifecycle;
use crate::manifest::{Epoch, Role};
use crate::store::StoreError;
use std::sync::Arc;

/// What is asked for is begun so often when others take over meanwhile.
const TRIES_MAX: u32 = 4;

/// The rights that this process has, as far as it knows.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    writer: Option<Epoch>,
    compactor: Option<Epoch>,
}

impl Epochs {
    fn of(&mut self, role: Role) -> &mut Option<Epoch> {
        match role {
            Role::Writer => &mut self.writer,
            Role::Compactor => &mut self.compactor,
        }
    }
}

impl Lifecycle {
    /// Does what somebody waits for. When another process was faster, it is decided anew on what is there now.
    pub(super) fn despite_takeovers(
        &mut self,
        work: impl Fn(&mut Self) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for _ in 1..TRIES_MAX {
            match work(self) {
                Err(error) if error.is_outrun() => self.refresh()?,
                outcome => return outcome,
            }
        }
        work(self)
    }

    pub(super) fn publish(&mut self, role: Role, staged: &[StagedBlock], change: &Change) -> Result<(), StoreError> {
        let epoch = self.epoch(role)?;
        let (chain, staged, change) = (Arc::clone(&self.shared.chain), staged.to_vec(), change.clone());
        let published = self.wait(async move { publish(&chain, epoch, &staged, &change).await });
        if let Err(error) = &published
            && error.is_takeover()
        {
            *self.epochs.of(role) = None;
            self.shared.counters.taken_over(error.to_line());
        }
        published?;
        Ok(())
    }

    /// The right to publish, claimed when it is needed for the first time.
    fn epoch(&mut self, role: Role) -> Result<Epoch, StoreError> {
        if let Some(epoch) = *self.epochs.of(role) {
            return Ok(epoch);
        }
        let chain = Arc::clone(&self.shared.chain);
        let epoch = self.wait(async move { chain.claim(role).await })?;
        *self.epochs.of(role) = Some(epoch);
        Ok(epoch)
    }
}
