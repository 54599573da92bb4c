//! The history of alerts: every change with its cause, kept in a bounded log below the data directory.
//!
//! Groups tell what happened and never wait (`history/pen.rs`); the alerts themselves do not depend on it.

mod entry;
mod metrics;
pub(super) mod pen; // writes
mod search;

pub use entry::HistoryEntry;
pub use metrics::HistoryCollector;
pub use pen::HistoryStats;
pub use search::{HistoryPage, HistorySearch};

pub(super) use entry::rfc3339;

use alertmanager_compat::client::{LossReason, Lost, Parcel};
use model::time::Timestamp;
use pen::{Noted, Pen, PenOptions};
use ruler::evaluation::ALERT_NAME;
use ruler::state::{GroupId, RuleId};
use ruler::transition::Transition;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use storage::error::Error;
use storage::record_log::RecordLogOptions;

/// Changes that wait to be written.
const WAITING_MAX: usize = 500_000;

/// The history. Cheap to clone.
#[derive(Clone)]
pub struct AlertHistory {
    pen: Arc<Pen<Happening>>,
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

impl What {
    fn len(&self) -> usize {
        match self {
            Self::Alerts(transitions) => transitions.len(),
            Self::Undelivered { .. } | Self::Failed(_) | Self::Recovered => 1,
        }
    }
}

impl Noted for Happening {
    fn len(&self) -> usize {
        self.what.len()
    }

    fn encode(&self, out: &mut Vec<(i64, Vec<u8>)>) {
        entry::encode(self, out);
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
    pub fn open(directory: &Path, log: RecordLogOptions) -> Result<Self, Error> {
        let (thread, waiting_max, gathers_for) = ("alert-history", WAITING_MAX, Duration::ZERO);
        let pen = Pen::open(directory, PenOptions { thread, waiting_max, gathers_for, log })?;
        Ok(Self { pen: Arc::new(pen) })
    }

    /// Notes what happened.
    pub fn note(&self, happening: Happening) {
        self.pen.note(happening);
    }

    /// Writes what waits and stops writing.
    pub fn close(&self) {
        self.pen.close();
    }

    /// The newest changes that `search` wants.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn search(&self, search: &HistorySearch) -> Result<HistoryPage, Error> {
        search.run(self.pen.log())
    }

    /// Its figures.
    #[must_use]
    pub fn stats(&self) -> HistoryStats {
        self.pen.stats()
    }
}

impl std::fmt::Debug for AlertHistory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlertHistory").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
