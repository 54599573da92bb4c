//! The lock around a shard.
//!
//! Readers lock a stripe of their own, so that threads that read many series of one shard do not pass a cache line back and
//! forth for each of them; writers lock all stripes, which append thousands of samples at a time and notice it less.
//! A thread that panics while it writes leaves the lock usable, as the rest of the crate expects.

use crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};
use std::sync::PoisonError;

/// Many readers or one writer.
#[derive(Debug)]
pub(crate) struct RwLock<T>(ShardedLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(ShardedLock::new(value))
    }

    /// Waits for the writer; not to be called by a thread that reads already.
    #[inline]
    pub(crate) fn read(&self) -> ShardedLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for everybody.
    pub(crate) fn write(&self) -> ShardedLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
