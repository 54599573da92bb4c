//! Where rows go: the store of the member that holds them.

use super::appender::{AppendError, Appender};
use crate::cluster::ring::{NodeId, Ring};
use std::fmt;
use std::sync::Arc;

/// The ring, and the store of the member that this process is.
pub(super) struct Route {
    ring: Arc<Ring>,
    local: NodeId,
    store: Arc<dyn Appender>,
}

impl Route {
    pub(super) fn new(ring: Arc<Ring>, local: NodeId, store: Arc<dyn Appender>) -> Self {
        Self { ring, local, store }
    }

    /// The store that takes all rows of a request: nothing needs to be asked per series while one member holds everything.
    ///
    /// # Errors
    /// The ring has other members. This process cannot reach them, and what they hold must not be acknowledged here.
    pub(super) fn store(&self) -> Result<&dyn Appender, AppendError> {
        match self.ring.sole_member() {
            Some(member) if member.id == self.local => Ok(self.store.as_ref()),
            _ => Err(AppendError::unavailable(format!(
                "{} is not the only one of {} members and has no way to the others",
                self.local,
                self.ring.members().len()
            ))),
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("ring", &self.ring).field("local", &self.local).finish_non_exhaustive()
    }
}
