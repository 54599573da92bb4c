//! The two threads between a writer's call and its acknowledgement.
//!
//! The log's thread makes work durable; the applier's appends it to the head in the order of the log and acknowledges. While
//! one batch is applied the next is synced. Never reordered: durable, then in the head, then acknowledged.

use super::Applied;
use crate::append::AppendOutcome;
use crate::error::Error;
use crate::wal::queue::{Content, LogQueue, Work};
use crate::wal::writer::{Durable, LogWriter};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// The running threads.
pub(super) struct Pipeline {
    queue: Arc<LogQueue>,
    threads: Vec<JoinHandle<()>>,
}

impl Pipeline {
    pub(super) fn start(queue: Arc<LogQueue>, writer: LogWriter, applied: Arc<Applied>) -> std::io::Result<Self> {
        // Bounded by the queue: bytes count there until they are applied.
        let (sender, receiver) = channel();
        let (log_queue, apply_queue) = (Arc::clone(&queue), Arc::clone(&queue));
        let mut pipeline = Self { queue, threads: Vec::new() };
        let log = std::thread::Builder::new().name("wal-writer".into());
        pipeline.threads.push(log.spawn(move || run_log(&log_queue, writer, &sender))?);
        let apply = std::thread::Builder::new().name("head-applier".into());
        pipeline.threads.push(apply.spawn(move || run_applier(&apply_queue, &receiver, &applied))?);
        Ok(pipeline)
    }

    /// Takes no more work, finishes what waits, and ends the threads.
    pub(super) fn stop(&mut self) {
        self.queue.close(Error::Closed);
        for thread in self.threads.drain(..) {
            // A panic of the thread was already reported by the panic hook, and closed the queue.
            let _ = thread.join();
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run_log(queue: &LogQueue, mut writer: LogWriter, applier: &Sender<Durable>) {
    let _guard = PanicGuard(queue);
    while let Some(work) = queue.take() {
        writer.write(work, &mut |durable| {
            if let Err(unsent) = applier.send(durable) {
                refuse(queue, unsent.0.work, &applier_gone());
            }
        });
        if let Some(failure) = writer.failure() {
            queue.close(failure.clone());
        }
    }
}

fn run_applier(queue: &LogQueue, batches: &Receiver<Durable>, applied: &Applied) {
    let _guard = PanicGuard(queue);
    while let Ok(batch) = batches.recv() {
        fail::fail_point!("apply-batch");
        let mut position = applied.position.lock();
        for work in batch.work {
            let bytes = work.bytes();
            apply(work, applied);
            queue.release(bytes);
        }
        *position = batch.last_lsn;
    }
}

fn apply(work: Work, applied: &Applied) {
    match work {
        Work::Append { content, done } => {
            let outcome = append(content, applied);
            fail::fail_point!("apply-before-ack");
            done(Ok(outcome));
        }
        Work::Metadata { entries, done } => {
            for (metric, metadata) in entries {
                applied.metadata.insert(&metric, metadata);
            }
            done(Ok(()));
        }
        // Series come to the head and leave it before that is logged.
        Work::Series(_) | Work::Gone(_) | Work::Checkpoint(_) => {}
    }
}

/// In the order of their records: which of a float and a histogram at one timestamp stays is decided the same at replay.
fn append(content: Content, applied: &Applied) -> AppendOutcome {
    // The pin lets go only once the rows are applied.
    let Content { rows, histograms, exemplars, pin: _pin } = content;
    let mut outcome = applied.head.append_batch(&rows, &histograms);
    if applied.exemplars.capacity() > 0 {
        outcome.exemplars_written = exemplars.len() as u64;
        exemplars.into_iter().for_each(|row| applied.exemplars.insert(row));
    }
    outcome
}

fn refuse(queue: &LogQueue, work: Vec<Work>, error: &Error) {
    for work in work {
        let bytes = work.bytes();
        work.refuse(error.clone());
        queue.release(bytes);
    }
}

fn applier_gone() -> Error {
    Error::LogFailed { reason: "the thread that fills the head is gone".into() }
}

/// A thread that panics must not leave writers waiting for an acknowledgement that never comes.
struct PanicGuard<'q>(&'q LogQueue);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = Error::LogFailed { reason: "a thread of the log panicked".into() };
            self.0.close(error.clone());
            refuse(self.0, self.0.take_now(), &error);
        }
    }
}
