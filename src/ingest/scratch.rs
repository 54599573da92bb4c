//! The memory that a request is worked on in, used again by later ones.

use crate::wire::WriteTable;
use crate::wire::compression::Decompressor;
use std::sync::{Mutex, PoisonError};
use storage::append::SeriesRef;

/// Memory of one request.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) decompressor: Decompressor,
    pub(super) table: WriteTable,
    /// Per entry of the table: its series.
    pub(super) refs: Vec<Option<SeriesRef>>,
}

impl Scratch {
    fn capacity_bytes(&self) -> usize {
        self.decompressor.capacity_bytes()
            + self.table.capacity_bytes()
            + self.refs.capacity() * size_of::<Option<SeriesRef>>()
    }
}

/// How many are kept for later.
const KEPT_MAX: usize = 32;
/// What grew larger than this is not kept: 32 of them take at most 128 MiB.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Scratches that nobody uses now.
#[derive(Debug, Default)]
pub(super) struct Pool {
    free: Mutex<Vec<Scratch>>,
}

impl Pool {
    pub(super) fn take(&self) -> Scratch {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(super) fn give_back(&self, scratch: Scratch) {
        if scratch.capacity_bytes() <= KEPT_BYTES_MAX {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            if free.len() < KEPT_MAX {
                free.push(scratch);
            }
        }
    }
}
