//! The history of alerts: every change with its cause, kept in a bounded log below the data directory.
//!
//! Groups tell what happened and never wait: a thread writes it down, all that waits at once, and syncs it. When that falls far behind, changes are left out of the
//! history and counted; the alerts themselves do not depend on it.

mod entry;
mod metrics;
mod search;

pub use entry::HistoryEntry;
pub use metrics::HistoryCollector;
pub use search::{HistoryPage, HistorySearch};

use alertmanager_compat::client::{LossReason, Lost, Parcel};
use model::time::Timestamp;
use ruler::evaluation::ALERT_NAME;
use ruler::state::{GroupId, RuleId};
use ruler::transition::Transition;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use storage::disk::RealDisk;
use storage::error::Error;
use storage::record_log::{RecordLog, RecordLogOptions};

/// Changes that wait to be written.
const WAITING_MAX: usize = 500_000;
/// Changes that are written at once, about.
const BATCH: usize = 10_000;

/// The history. Cheap to clone.
#[derive(Clone)]
pub struct AlertHistory {
    shared: Arc<Shared>,
}

struct Shared {
    log: Arc<RecordLog>,
    waiting: Arc<AtomicUsize>,
    written: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    /// `None` once it was closed.
    writer: Mutex<Option<(Sender<Happening>, JoinHandle<()>)>>,
}

/// Something that happened to a rule in one evaluation.
#[derive(Debug, Clone)]
pub struct Happening {
    /// Which rule.
    pub rule: Arc<RuleId>,
    /// The slot of the evaluation, or when a message was lost, in milliseconds since the Unix epoch.
    pub slot_ms: i64,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum What {
    /// Alerts changed.
    Alerts(Arc<[Transition]>),
    /// A message about an alert will never be delivered.
    Undelivered {
        /// What it said, as the Alertmanager would have read it.
        message: Box<Parcel>,
        /// Who does not hear it, and why.
        error: String,
    },
    /// The rule failed after it had been good, for this reason.
    Failed(Arc<str>),
    /// The rule is good after it had failed.
    Recovered,
}

/// Figures of the history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistoryStats {
    /// Changes written since the start.
    pub written: u64,
    /// Changes left out since the start.
    pub lost: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

impl What {
    fn len(&self) -> usize {
        match self {
            Self::Alerts(transitions) => transitions.len(),
            Self::Undelivered { .. } | Self::Failed(_) | Self::Recovered => 1,
        }
    }
}

impl Happening {
    /// That the Alertmanager at `url` will not hear a message. Which group it came from is not known any more.
    #[must_use]
    pub fn undelivered(url: &str, lost: &Lost, now: Timestamp) -> Self {
        let Lost { parcel, reason } = lost;
        let why = match reason {
            LossReason::TooManyAlerts => "too many alerts wait for it",
            LossReason::TooManyBytes => "too many bytes wait for it",
            LossReason::Refused => "it does not accept the alert",
        };
        let group = Arc::new(GroupId { file: String::new(), name: String::new() });
        let name = parcel.alert.labels.get(ALERT_NAME).unwrap_or_default().to_owned();
        let rule = Arc::new(RuleId { group, name, labels: BTreeMap::new(), nth: 0 });
        let what = What::Undelivered { message: Box::new(parcel.clone()), error: format!("{url}: {why}") };
        Self { rule, slot_ms: now.0, what }
    }
}

impl AlertHistory {
    /// Opens the history in `directory` and starts to write.
    ///
    /// # Errors
    /// The directory cannot be used, or no thread can be started.
    pub fn open(directory: &Path, options: RecordLogOptions) -> Result<Self, Error> {
        let log = Arc::new(RecordLog::open(Arc::new(RealDisk), directory, options)?);
        let (sender, receiver) = channel();
        let (waiting, written, lost) = (Arc::default(), Arc::default(), Arc::default());
        let pen = Pen {
            log: Arc::clone(&log),
            waiting: Arc::clone(&waiting),
            written: Arc::clone(&written),
            lost: Arc::clone(&lost),
        };
        let thread = std::thread::Builder::new().name("alert-history".into()).spawn(move || pen.write_all(&receiver));
        let thread = thread.map_err(|source| Error::Io {
            step: "start a thread for",
            path: directory.to_owned(),
            source: Arc::new(source),
        })?;
        let writer = Mutex::new(Some((sender, thread)));
        Ok(Self { shared: Arc::new(Shared { log, waiting, written, lost, writer }) })
    }

    /// Notes what happened.
    pub fn note(&self, happening: Happening) {
        let Shared { waiting, lost, writer, .. } = &*self.shared;
        let count = happening.what.len();
        let writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((sender, _)) = writer.as_ref() else { return };
        if waiting.load(Ordering::Relaxed) + count > WAITING_MAX {
            lost.fetch_add(count as u64, Ordering::Relaxed);
            return;
        }
        waiting.fetch_add(count, Ordering::Relaxed);
        // The thread ends only after the sender.
        let _ = sender.send(happening);
    }

    /// Writes what waits and stops writing.
    pub fn close(&self) {
        let writer = self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((sender, thread)) = writer {
            drop(sender);
            let _ = thread.join();
        }
    }

    /// The newest changes that `search` wants.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn search(&self, search: &HistorySearch) -> Result<HistoryPage, Error> {
        search.run(&self.shared.log)
    }

    /// Its figures.
    #[must_use]
    pub fn stats(&self) -> HistoryStats {
        HistoryStats {
            written: self.shared.written.load(Ordering::Relaxed),
            lost: self.shared.lost.load(Ordering::Relaxed),
            bytes: self.shared.log.bytes(),
        }
    }
}

/// Who writes.
struct Pen {
    log: Arc<RecordLog>,
    waiting: Arc<AtomicUsize>,
    written: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
}

impl Pen {
    fn write_all(&self, happenings: &Receiver<Happening>) {
        let mut failing = false;
        while let Ok(first) = happenings.recv() {
            let mut records = Vec::new();
            entry::encode(&first, &mut records);
            while records.len() < BATCH
                && let Ok(next) = happenings.try_recv()
            {
                entry::encode(&next, &mut records);
            }
            let count = records.len();
            match self.log.append(&records) {
                Ok(()) => {
                    self.written.fetch_add(count as u64, Ordering::Relaxed);
                    failing = false;
                }
                Err(error) => {
                    self.lost.fetch_add(count as u64, Ordering::Relaxed);
                    if !failing {
                        tracing::warn!(error = error.to_line(), "the history of alerts cannot be written");
                    }
                    failing = true;
                }
            }
            self.waiting.fetch_sub(count, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for AlertHistory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlertHistory").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
