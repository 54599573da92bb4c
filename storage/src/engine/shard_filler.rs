//! Threads that append what a replay reads, one for each shard, so that the others and the decoder go on meanwhile.
//!
//! Invariant: a shard gets its samples in the order of the log, floats and histograms alike, since verdicts follow from it.

use crate::append::{Rows, SeriesRef};
use crate::head::{Grouping, Head};
use crate::wal::histograms::SeriesHistogram;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Rows that are handed to the other thread at once: waking it costs as much as appending hundreds.
const BATCH_ROWS: usize = 1 << 15;
/// Batches that may wait for the head: enough to bridge a slow one, a few megabytes at most.
const WAITING_MAX: usize = 4;

enum Work {
    Rows(Rows),
    Histograms(Vec<SeriesHistogram>),
    /// Everything before this is done.
    Tell(SyncSender<()>),
}

/// A thread that appends to one shard.
pub(super) struct ShardFiller {
    batch: Rows,
    /// Nothing was pushed since it was waited for.
    idle: bool,
    work: SyncSender<Work>,
    emptied: Receiver<Rows>,
    thread: JoinHandle<u64>,
}

impl ShardFiller {
    pub(super) fn start(head: Head) -> std::io::Result<Self> {
        let (work, received) = sync_channel(WAITING_MAX);
        let (give_back, emptied) = sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new().name("replay-append".into()).spawn(move || {
            let (mut rejected, mut grouping) = (0, Grouping::default());
            while let Ok(work) = received.recv() {
                rejected += match work {
                    Work::Rows(rows) => {
                        let outcome = head.append_grouped(&rows, &mut grouping);
                        // Kept for reuse when there is room.
                        let _ = give_back.try_send(rows);
                        outcome.rejected.len() as u64
                    }
                    Work::Tell(done) => {
                        // Whoever asked waits.
                        let _ = done.send(());
                        0
                    }
                    Work::Histograms(rows) => head.append_histograms_grouped(&rows, &mut grouping).1.len() as u64,
                };
            }
            rejected
        })?;
        Ok(Self { batch: Rows::default(), idle: true, work, emptied, thread })
    }

    pub(super) fn push(&mut self, series: SeriesRef, timestamp_ms: i64, value: f64, start_ms: i64) {
        self.idle = false;
        self.batch.push_started(series, timestamp_ms, value, start_ms);
        if self.batch.len() >= BATCH_ROWS {
            self.flush();
        }
    }

    pub(super) fn push_histograms(&mut self, rows: Vec<SeriesHistogram>) {
        self.idle = false;
        self.flush();
        self.send(Work::Histograms(rows));
    }

    /// Waits until everything that was pushed is in the head.
    pub(super) fn wait(&mut self) {
        if !self.idle {
            self.flush();
            let (done, wait) = sync_channel(0);
            self.send(Work::Tell(done));
            // The thread answers unless it has panicked, which `finish` reports.
            let _ = wait.recv();
            self.idle = true;
        }
    }

    fn flush(&mut self) {
        if !self.batch.is_empty() {
            let mut next = self.emptied.try_recv().unwrap_or_default();
            next.clear();
            let filled = std::mem::replace(&mut self.batch, next);
            self.send(Work::Rows(filled));
        }
    }

    fn send(&self, work: Work) {
        assert!(self.work.send(work).is_ok(), "the thread that fills the head is gone");
    }

    /// Waits until everything is in the head; how many rows it refused.
    pub(super) fn finish(mut self) -> u64 {
        self.flush();
        drop(self.work);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
