//! Writes what happens to rules to the log.

use ruler::error::ErrorKind;
use ruler::group::{GroupEvent, GroupSpec};
use ruler::ports::EventPort;

/// The log of one group.
#[derive(Debug, Clone)]
pub struct EventLog {
    file: String,
    group: String,
}

impl EventLog {
    /// The log of the group `spec`.
    #[must_use]
    pub fn new(spec: &GroupSpec) -> Self {
        Self { file: spec.file.clone(), group: spec.name.clone() }
    }
}

impl EventPort for EventLog {
    fn event(&self, event: &GroupEvent) {
        let Self { file, group } = self;
        match event {
            GroupEvent::IterationsMissed { missed } => {
                tracing::warn!(
                    file,
                    group,
                    missed,
                    "a rule group is slower than its interval: evaluations were skipped and come later"
                );
            }
            GroupEvent::SlotsLost { lost } => {
                tracing::warn!(
                    file,
                    group,
                    lost,
                    "evaluations that were missed or failed are too old to be made up for"
                );
            }
            // Happens when the process stops.
            GroupEvent::RuleFailed { error, .. } if error.kind() == ErrorKind::Canceled => {}
            GroupEvent::RuleFailed { index, rule, error } => {
                let (name, kind) = (&rule.name, error.kind());
                tracing::warn!(file, group, name, index, ?kind, %error, "a rule failed");
            }
            GroupEvent::SamplesDiscarded { index, rule, count, reason } => {
                let name = &rule.name;
                tracing::warn!(file, group, name, index, count, reason, "samples of a rule were not stored");
            }
            GroupEvent::TemplatesFailed { rule, count, error } => {
                let name = &rule.name;
                tracing::warn!(file, group, name, count, error, "templates of an alert could not be expanded");
            }
            GroupEvent::ClockSet { by_ms } => {
                tracing::warn!(
                    file,
                    group,
                    by_ms,
                    "the wall clock was set: for a while alerts go on that queries do not return"
                );
            }
            GroupEvent::AlertsLeftOut { rule, count } => {
                let name = &rule.name;
                tracing::warn!(file, group, name, count, "a rule has more alerts than its group's limit");
            }
            GroupEvent::FarewellFailed { error } => {
                tracing::warn!(file, group, error, "stale markers of series that ended were not stored");
            }
        }
    }
}
