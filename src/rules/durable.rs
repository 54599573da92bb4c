//! Alerts on their way out: remembered first, then queued for every Alertmanager.
//!
//! The one place where the journal and the notifier meet. A disk that fails, or takes too long, delays alerts by seconds and
//! stops none of them; this is logged when it begins and when it ends.

use super::clock::wall_clock;
use super::history::{AlertHistory, Happening};
use crate::notify::{Keeper, Notifier};
use alert_journal::journal::{Commit, Journal, JournalStats, Opened};
use alertmanager_compat::client::Lost;
use model::time::Timestamp;
use ruler::ports::{AlertMessage, NotifyPort};
use ruler::state::shape::GroupShape;
use ruler::state::{Departure, GroupId, GroupMemory, LeftGroup};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use storage::disk::RealDisk;

/// How long alerts wait for the disk.
const DISK_TIMEOUT: Duration = Duration::from_secs(5);

/// The journal of the process and the thread that writes it. Cheap to clone.
#[derive(Clone)]
pub struct AlertStore {
    journal: Journal,
    /// Told what will never be delivered.
    history: Option<AlertHistory>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl AlertStore {
    /// Opens the journal in `directory`; what is wrong with it is logged and prevents nothing. What could not be delivered
    /// is noted in `history`.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn open(directory: &Path, history: Option<AlertHistory>) -> std::io::Result<Self> {
        let (journal, writer, opened) = Journal::open(Arc::new(RealDisk), directory, wall_clock);
        let Opened { alerts, messages, troubles } = opened;
        for trouble in troubles {
            tracing::error!(%trouble, "the alert journal is not as it should be");
        }
        tracing::info!(alerts, undelivered = messages, "alerts are remembered");
        let thread = std::thread::Builder::new().name("alert-journal".into()).spawn(move || writer.run())?;
        Ok(Self { journal, history, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Figures for the operator.
    #[must_use]
    pub fn stats(&self) -> JournalStats {
        self.journal.stats()
    }

    /// Writes what waits and ends the thread.
    pub fn close(&self) {
        self.journal.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the alert journal panicked");
        }
    }
}

impl Keeper for AlertStore {
    fn set_targets(&self, urls: BTreeSet<String>) {
        self.journal.set_targets(&urls);
    }

    fn waiting(&self, url: &str) -> Vec<(u64, AlertMessage)> {
        self.journal.waiting(url)
    }

    fn settled(&self, url: &str, numbers: &[u64]) {
        self.journal.settled(url, numbers);
    }

    fn lost(&self, url: &str, lost: &[Lost]) {
        let Some(history) = &self.history else { return };
        let now = wall_clock();
        lost.iter().for_each(|lost| history.note(Happening::undelivered(url, lost, now)));
    }
}

/// What rule groups send through. Cheap to clone.
#[derive(Clone)]
pub struct AlertDesk {
    store: AlertStore,
    notifier: Notifier,
    /// Whether it was said that nothing can be made durable.
    complained: Arc<AtomicBool>,
}

impl AlertDesk {
    /// Remembers in `store` what `notifier` is to deliver.
    #[must_use]
    pub fn new(store: AlertStore, notifier: Notifier) -> Self {
        Self { store, notifier, complained: Arc::default() }
    }

    fn note(&self, problem: Option<&str>) {
        let before = self.complained.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(problem) if !before => {
                tracing::error!(problem, "alerts are not remembered beyond this process; they are sent all the same");
            }
            None if before => tracing::info!("alerts are remembered again"),
            Some(_) | None => {}
        }
    }
}

impl NotifyPort for AlertDesk {
    async fn send(&self, departure: Departure) {
        let Commit { messages, durable } = self.store.journal.commit(&departure);
        match tokio::time::timeout(DISK_TIMEOUT, durable).await {
            Ok(Ok(Ok(()))) => self.note(None),
            Ok(Ok(Err(problem))) => self.note(Some(&problem)),
            Ok(Err(_)) => self.note(Some("the journal is closed")),
            Err(_) => self.note(Some("the disk takes too long")),
        }
        self.notifier.queue(messages);
    }

    fn evaluated(&self, group: &Arc<GroupId>, slot: Timestamp) {
        self.store.journal.evaluated(group, slot);
    }

    fn begin(&self, shape: GroupShape) -> GroupMemory {
        self.store.journal.begin(shape)
    }

    fn left(&self) -> Vec<LeftGroup> {
        self.store.journal.left()
    }

    fn end(&self, group: &GroupId) {
        self.store.journal.end(group);
    }
}

#[cfg(test)]
mod tests;
