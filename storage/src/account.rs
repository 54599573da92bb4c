//! Whom the memory is charged to that a reader of blocks holds.
//!
//! Whoever embeds the store bounds memory; the store says how much it is about to hold, and gives it back when that is
//! dropped. What caches hold is bounded elsewhere.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Who is charged.
pub trait MemoryAccount: fmt::Debug + Send + Sync {
    /// Charges bytes until they are released. What was refused is not charged.
    ///
    /// # Errors
    /// It is more than may be held.
    fn hold(&self, bytes: usize) -> Result<(), Refused>;

    /// Gives back what was charged.
    fn release(&self, bytes: usize);
}

/// Memory was refused; why is what the account says.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub Arc<dyn Error + Send + Sync>);

/// Somebody's account, or nobody's. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Account(Option<Arc<dyn MemoryAccount>>);

impl Account {
    /// Of somebody.
    #[must_use]
    pub fn of(account: Arc<dyn MemoryAccount>) -> Self {
        Self(Some(account))
    }

    /// Charges bytes until what is returned is dropped.
    ///
    /// # Errors
    /// It is more than may be held.
    pub(crate) fn hold(&self, bytes: usize) -> Result<Held, Refused> {
        if let Some(account) = &self.0 {
            account.hold(bytes)?;
        }
        Ok(Held { account: self.clone(), bytes })
    }
}

/// Bytes that are charged.
#[derive(Debug)]
pub(crate) struct Held {
    account: Account,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(account) = &self.account.0 {
            account.release(self.bytes);
        }
    }
}
