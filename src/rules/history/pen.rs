//! Writes down what others note, without letting them wait: a thread takes all that waits at once, and syncs it. When it falls far
//! behind, or the disk refuses, what is noted is left out and counted.

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use storage::disk::RealDisk;
use storage::error::Error;
use storage::record_log::{RECORD_BYTES_MAX, RecordLog, RecordLogOptions};

/// Records that are written at once, about.
const BATCH: usize = 10_000;

/// Something that becomes records.
pub(in crate::rules) trait Noted: Send + 'static {
    /// How many records it becomes.
    fn len(&self) -> usize;

    /// How much it counts towards [`PenOptions::waiting_max`].
    fn weight(&self) -> usize {
        self.len()
    }

    /// Appends them, each with its time in milliseconds since the Unix epoch.
    fn encode(&self, out: &mut Vec<(i64, Vec<u8>)>);

    /// The oldest time that a record is about whose own is `time_ms`.
    fn oldest(time_ms: i64, _payload: &[u8]) -> i64 {
        time_ms
    }
}

/// How a history is written.
#[derive(Debug, Clone, Copy)]
pub(in crate::rules) struct PenOptions {
    /// Name of the thread.
    pub(in crate::rules) thread: &'static str,
    /// How much may wait to be written, by [`Noted::weight`].
    pub(in crate::rules) waiting_max: usize,
    /// How long to gather before writing; what is gathered is lost with the process.
    pub(in crate::rules) gathers_for: Duration,
    /// How much is kept.
    pub(in crate::rules) log: RecordLogOptions,
}

/// Figures of a history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistoryStats {
    /// Records written since the start.
    pub written: u64,
    /// Records left out since the start.
    pub lost: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// The one who writes.
pub(in crate::rules) struct Pen<T> {
    log: Arc<RecordLog>,
    counts: Arc<Counts>,
    waiting_max: usize,
    /// `None` once it was closed.
    writer: Mutex<Option<(Sender<T>, JoinHandle<()>)>>,
}

#[derive(Default)]
struct Counts {
    waiting: AtomicUsize,
    written: AtomicU64,
    lost: AtomicU64,
}

impl<T: Noted> Pen<T> {
    /// Opens the log in `directory` and starts to write.
    ///
    /// # Errors
    /// The directory cannot be used, or no thread can be started.
    pub(in crate::rules) fn open(directory: &Path, options: PenOptions) -> Result<Self, Error> {
        let PenOptions { thread, waiting_max, gathers_for, log } = options;
        let log = Arc::new(RecordLog::open_spanning(Arc::new(RealDisk), directory, log, T::oldest)?);
        let (sender, receiver) = channel();
        let counts = Arc::<Counts>::default();
        let (to, counted) = (Arc::clone(&log), Arc::clone(&counts));
        let write = move || write_all(&receiver, &to, &counted, gathers_for);
        let spawned = std::thread::Builder::new().name(thread.into()).spawn(write).map_err(|source| Error::Io {
            step: "start a thread for",
            path: directory.to_owned(),
            source: Arc::new(source),
        })?;
        Ok(Self { log, counts, waiting_max, writer: Mutex::new(Some((sender, spawned))) })
    }

    /// Notes something; never waits.
    pub(in crate::rules) fn note(&self, noted: T) {
        let (count, weight) = (noted.len(), noted.weight());
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((sender, _)) = writer.as_ref() else { return };
        if self.counts.waiting.load(Ordering::Relaxed).saturating_add(weight) > self.waiting_max {
            self.counts.lost.fetch_add(count as u64, Ordering::Relaxed);
            return;
        }
        self.counts.waiting.fetch_add(weight, Ordering::Relaxed);
        // The thread ends only after the sender.
        let _ = sender.send(noted);
    }

    /// Writes what waits and stops writing.
    pub(in crate::rules) fn close(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((sender, thread)) = writer {
            drop(sender);
            let _ = thread.join();
        }
    }

    /// What was written.
    pub(in crate::rules) fn log(&self) -> &RecordLog {
        &self.log
    }

    /// Its figures.
    pub(in crate::rules) fn stats(&self) -> HistoryStats {
        HistoryStats {
            written: self.counts.written.load(Ordering::Relaxed),
            lost: self.counts.lost.load(Ordering::Relaxed),
            bytes: self.log.bytes(),
        }
    }
}

fn write_all<T: Noted>(noted: &Receiver<T>, log: &RecordLog, counts: &Counts, gathers_for: Duration) {
    let mut failing = false;
    while let Ok(first) = noted.recv() {
        let mut records = Vec::new();
        let mut weight = first.weight();
        first.encode(&mut records);
        let until = Instant::now() + gathers_for;
        while records.len() < BATCH {
            match noted.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(next) => {
                    weight += next.weight();
                    next.encode(&mut records);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        let too_long = records.iter().filter(|(_, payload)| payload.len() > RECORD_BYTES_MAX).count();
        let count = (records.len() - too_long) as u64;
        counts.lost.fetch_add(too_long as u64, Ordering::Relaxed);
        match log.append(&records) {
            Ok(()) => {
                counts.written.fetch_add(count, Ordering::Relaxed);
                failing = false;
            }
            Err(error) => {
                counts.lost.fetch_add(count, Ordering::Relaxed);
                if !failing {
                    tracing::warn!(error = error.to_line(), "a history of alerts or rules cannot be written");
                }
                failing = true;
            }
        }
        counts.waiting.fetch_sub(weight, Ordering::Relaxed);
    }
}
