//! Writes what happens to rules to the log.

use super::history::{AlertHistory, Happening, What};
use model::time::Timestamp;
use ruler::error::ErrorKind;
use ruler::group::{GroupEvent, GroupSpec};
use ruler::ports::EventPort;
use ruler::state::RuleId;
use std::sync::Arc;

/// The log of one group, and what of it goes to the history of alerts.
#[derive(Debug, Clone)]
pub struct EventLog {
    file: String,
    group: String,
    history: Option<AlertHistory>,
}

impl EventLog {
    /// The log of the group `spec`.
    #[must_use]
    pub fn new(spec: &GroupSpec, history: Option<AlertHistory>) -> Self {
        Self { file: spec.file.clone(), group: spec.name.clone(), history }
    }

    fn note(&self, rule: &Arc<RuleId>, slot: Timestamp, what: What) {
        if let Some(history) = &self.history {
            history.note(Happening { rule: rule.clone(), slot_ms: slot.0, what });
        }
    }
}

impl EventPort for EventLog {
    fn event(&self, event: &GroupEvent) {
        let Self { file, group, .. } = self;
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
            GroupEvent::AlertsChanged { rule, slot, transitions } => {
                self.note(rule, *slot, What::Alerts(transitions.clone()));
            }
            GroupEvent::HealthChanged { rule, slot, error: Some(error) } => {
                self.note(rule, *slot, What::Failed(error.as_str().into()));
            }
            GroupEvent::HealthChanged { rule, slot, error: None } => self.note(rule, *slot, What::Recovered),
        }
    }
}
