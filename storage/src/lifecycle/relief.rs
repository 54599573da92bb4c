//! What the lifecycle does while memory or local space is short: the head is emptied into blocks before writes have to be refused.
//! While it is memory, series that went silent leave sooner, parts of blocks are not kept, and merges wait.

use super::worker::{Lifecycle, Request};
use crate::store::{Store, StoreError};
use crate::wal::pool::now_ms;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// While something is short, the head is emptied this often.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// The first time, so much stays in the head: what senders are about to bring would be late otherwise.
const RECENT_MS: i64 = 120_000;
/// Series that are silent for so long leave while memory is short.
const IDLE_MS: i64 = 300_000;

/// What is short, as whoever measures it says.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    of_memory: AtomicBool,
    of_space: AtomicBool,
}

impl Shortage {
    pub(crate) fn of_memory(&self) -> bool {
        self.of_memory.load(Ordering::Relaxed)
    }

    fn of_space(&self) -> bool {
        self.of_space.load(Ordering::Relaxed)
    }
}

/// What was done about a shortage.
#[derive(Debug, Default)]
pub(super) struct Relief {
    last: Option<Instant>,
    /// Times since nothing was short.
    times: u32,
    /// Late samples that had come by then, since the process started.
    late: u64,
}

impl Store {
    /// Tells whether the process is short of memory. As long as it is, parts of blocks are not kept, the head is flushed up to its
    /// newest samples every half minute, and merges wait. Returns at once.
    pub fn set_short_of_memory(&self, is_short: bool) {
        if is_news(&self.inner.shared.shortage.of_memory, is_short) {
            self.inner.shared.caches.clear();
            self.have_relieved();
        }
    }

    /// Tells whether the local disk is short of space. As long as it is, the head is flushed as while memory is short. Returns at
    /// once.
    pub fn set_short_of_space(&self, is_short: bool) {
        if is_news(&self.inner.shared.shortage.of_space, is_short) {
            self.have_relieved();
        }
    }

    fn have_relieved(&self) {
        // What comes of it is in the counters of flushes.
        drop(self.request(Request::Relieve));
    }
}

/// Notes whether there is a shortage; whether one begins.
fn is_news(noted: &AtomicBool, is_short: bool) -> bool {
    !noted.swap(is_short, Ordering::Relaxed) && is_short
}

impl Lifecycle {
    /// Gives back what is short if that was not just done.
    pub(super) fn relieve_if_due(&mut self) {
        if !self.shared.shortage.of_memory() && !self.shared.shortage.of_space() {
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
        let is_memory = self.shared.shortage.of_memory();
        if is_memory {
            self.shared.caches.clear();
        }
        let newest_ms = head.extent().time_range_ms.map_or(i64::MIN, |(_, newest_ms)| newest_ms);
        let boundary_ms = newest_ms.saturating_add(1).saturating_sub(if times == 0 { RECENT_MS } else { 0 });
        if self.pending_flush() || boundary_ms > head.read_floor_ms() || late > known {
            self.flush(boundary_ms)?;
            if self.shared.shortage.of_space() {
                // The log is given back when the two newest snapshots cover it.
                self.shared.engine.snapshot_now()?;
            }
        }
        head.release();
        if !is_memory {
            return Ok(());
        }
        let before_ms = now_ms().saturating_sub(IDLE_MS);
        // Those that may go are marked first, and go when nobody has asked for them since.
        for _ in 0..2 {
            let left = self.shared.engine.collect_idle(before_ms);
            self.shared.counters.series_left.fetch_add(left.freed, Ordering::Relaxed);
        }
        Ok(())
    }
}
