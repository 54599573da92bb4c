//! Writes what happens to rules to the log and to the histories.

use super::clock::wall_clock;
use super::history::{AlertHistory, Happening, What};
use super::rule_history::{RuleEvent, RuleEventKind, RuleHistory};
use crate::telemetry::recent::Recent;
use model::time::Timestamp;
use ruler::error::ErrorKind;
use ruler::group::GroupEvent;
use ruler::ports::{EventPort, Timed};
use ruler::state::{GroupId, RuleId};
use std::sync::Arc;
use std::time::Duration;

/// Where it is kept what happened; none where nobody wants that.
#[derive(Debug, Clone, Default)]
pub struct Histories {
    /// Of alerts.
    pub alerts: Option<AlertHistory>,
    /// Of rules.
    pub rules: Option<RuleHistory>,
}

impl Histories {
    /// Writes what waits and stops writing.
    pub fn close(&self) {
        self.alerts.iter().for_each(AlertHistory::close);
        self.rules.iter().for_each(RuleHistory::close);
    }
}

/// How long evaluations took of late, over all groups.
#[derive(Debug, Clone, Default)]
pub struct RecentEvaluations {
    /// Of single rules, storing the samples included.
    pub rules: Recent,
    /// Of whole groups.
    pub groups: Recent,
}

/// The log of one group, and what of it goes to the histories.
#[derive(Debug, Clone)]
pub struct EventLog {
    id: Arc<GroupId>,
    histories: Histories,
    recent: RecentEvaluations,
}

impl EventLog {
    /// The log of the group `id`.
    #[must_use]
    pub fn new(id: Arc<GroupId>, histories: Histories, recent: RecentEvaluations) -> Self {
        Self { id, histories, recent }
    }

    fn note(&self, rule: &Arc<RuleId>, slot: Timestamp, what: What) {
        if let Some(history) = &self.histories.alerts {
            history.note(Happening { rule: rule.clone(), slot_ms: slot.0, what });
        }
    }

    fn note_rule(&self, rule: Option<&Arc<RuleId>>, at: Timestamp, what: RuleEventKind) {
        if let Some(history) = &self.histories.rules {
            history.note(RuleEvent { at_ms: at.0, group: self.id.clone(), rule: rule.cloned(), what });
        }
    }

    fn note_health(&self, rule: &Arc<RuleId>, is_alerting: bool, slot: Timestamp, error: Option<&str>) {
        let (what, rule_what) = match error {
            Some(error) => (What::Failed(error.into()), RuleEventKind::Failed(error.to_owned())),
            None => (What::Recovered, RuleEventKind::Recovered),
        };
        if is_alerting {
            self.note(rule, slot, what);
        }
        self.note_rule(Some(rule), slot, rule_what);
    }
}

impl EventPort for EventLog {
    fn took(&self, what: Timed, duration: Duration) {
        match what {
            Timed::Rule => self.recent.rules.observe(duration),
            Timed::Group => self.recent.groups.observe(duration),
        }
    }

    fn event(&self, event: &GroupEvent) {
        let GroupId { file, name: group } = &*self.id;
        match event {
            GroupEvent::IterationsMissed { missed } => {
                tracing::warn!(
                    file,
                    group,
                    missed,
                    "a rule group is slower than its interval: evaluations were skipped and come later"
                );
                self.note_rule(None, wall_clock(), RuleEventKind::SlotsMissed(*missed));
            }
            GroupEvent::SlotsLost { lost } => {
                tracing::warn!(
                    file,
                    group,
                    lost,
                    "evaluations that were missed or failed are too old to be made up for"
                );
                self.note_rule(None, wall_clock(), RuleEventKind::SlotsLost(*lost));
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
            GroupEvent::HealthChanged { rule, is_alerting, slot, error } => {
                self.note_health(rule, *is_alerting, *slot, error.as_deref());
            }
            GroupEvent::Evaluated { evaluations } => {
                if let Some(history) = &self.histories.rules {
                    history.evaluated(evaluations.clone());
                }
            }
        }
    }
}
