//! What the lifecycle does while the process is short of memory: the head is emptied into blocks before writes have to be refused,
//! series that went silent leave sooner, and merges wait.

use super::worker::{Lifecycle, Request};
use crate::store::{Store, StoreError};
use crate::wal::pool::now_ms;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// While memory is short, the head is emptied this often.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// The first time, so much stays in the head: what senders are about to bring would be late otherwise.
const RECENT_MS: i64 = 120_000;
/// Series that are silent for so long leave while memory is short.
const IDLE_MS: i64 = 300_000;

/// Whether memory is short, as whoever measures it says.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    is_short: AtomicBool,
}

impl Shortage {
    pub(crate) fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed)
    }
}

/// What was done about a shortage.
#[derive(Debug, Default)]
pub(super) struct Relief {
    last: Option<Instant>,
    /// Times since memory was not short.
    times: u32,
    /// Late samples that had come by then, since the process started.
    late: u64,
}

impl Store {
    /// Tells whether the process is short of memory, or of local space. As long as it is, parts of blocks are not kept, the head
    /// is flushed up to its newest samples every half minute, and merges wait. Returns at once.
    pub fn set_short_of_memory(&self, is_short: bool) {
        let shortage = &self.inner.shared.shortage;
        if shortage.is_short.swap(is_short, Ordering::Relaxed) == is_short || !is_short {
            return;
        }
        self.inner.shared.caches.clear();
        // What comes of it is in the counters of flushes.
        drop(self.request(Request::Relieve));
    }
}

impl Lifecycle {
    /// Gives memory back if it is short and that was not just done.
    pub(super) fn relieve_if_due(&mut self) {
        if !self.shared.shortage.is_short() {
            self.relief = Relief { late: self.relief.late, ..Relief::default() };
        } else if self.relief.last.is_none_or(|at| at.elapsed() >= AGAIN_AFTER) {
            // What came of it is in the counters.
            let _ = self.relieve();
        }
    }

    fn relieve(&mut self) -> Result<(), StoreError> {
        let head = self.shared.engine.head().clone();
        let Relief { times, late: known, .. } = self.relief;
        let late = head.stats().samples_below_floor;
        self.relief = Relief { last: Some(Instant::now()), times: times.saturating_add(1), late };
        self.shared.caches.clear();
        let newest_ms = head.extent().time_range_ms.map_or(i64::MIN, |(_, newest_ms)| newest_ms);
        let boundary_ms = newest_ms.saturating_add(1).saturating_sub(if times == 0 { RECENT_MS } else { 0 });
        if self.pending_flush() || boundary_ms > head.read_floor_ms() || late > known {
            self.flush(boundary_ms)?;
        }
        head.release();
        let before_ms = now_ms().saturating_sub(IDLE_MS);
        // Those that may go are marked first, and go when nobody has asked for them since.
        for _ in 0..2 {
            let left = self.shared.engine.collect_idle(before_ms);
            self.shared.counters.series_left.fetch_add(left.freed, Ordering::Relaxed);
        }
        Ok(())
    }
}
