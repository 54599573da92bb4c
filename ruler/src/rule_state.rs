//! One rule of a group with everything it remembers from one evaluation to the next.

use crate::alerting::{Due, RuleAlerts, Sending};
use crate::error::RuleError;
use crate::evaluation::{Cost, Evaluated};
use crate::group::{GroupEvent, GroupSettings};
use crate::ports::{Discard, RuleSample};
use crate::rule::Rule;
use crate::state::{Departure, RuleId, RuleMemory};
use hashbrown::HashSet;
use model::labels::Labels;
use model::sample::stale_marker;
use model::time::Timestamp;
use promql::value::SampleValue;
use std::sync::Arc;
use std::time::Duration;

/// One rule of a group with its state.
#[derive(Debug, Clone)]
pub struct RuleState {
    /// What is evaluated.
    pub rule: Arc<Rule>,
    /// Under which it is remembered.
    pub id: Arc<RuleId>,
    /// Its alerts; none for a recording rule.
    pub alerts: RuleAlerts,
    /// How the last evaluation went.
    pub health: Health,
    /// The slot of the last evaluation that did not fail.
    pub last_good: Option<Timestamp>,
    /// When the last evaluation began.
    pub last_evaluation: Option<Timestamp>,
    /// How long it took.
    pub last_duration: Duration,
    /// What the last one cost that was not prevented.
    pub cost: Cost,
    /// The series that the last successful evaluation wrote, distinct and in its order.
    pub(crate) written: Vec<Labels>,
}

/// How the last evaluation of a rule went.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Health {
    /// Not yet evaluated.
    #[default]
    Unknown,
    /// Without an error.
    Good,
    /// With one.
    Bad(RuleError),
}

impl RuleState {
    pub(crate) fn new(rule: Arc<Rule>, id: Arc<RuleId>) -> Self {
        Self {
            rule,
            id,
            alerts: RuleAlerts::default(),
            health: Health::Unknown,
            last_good: None,
            last_evaluation: None,
            last_duration: Duration::ZERO,
            cost: Cost::default(),
            written: Vec::new(),
        }
    }

    /// The samples that follow from what the rule returned, without markers.
    pub(crate) fn apply(
        &mut self,
        slot: Timestamp,
        at: Timestamp,
        evaluated: Evaluated,
        limit: i64,
    ) -> Result<Vec<RuleSample>, RuleError> {
        match (evaluated, self.rule.alerting()) {
            (Evaluated::Recorded(samples), _) => Ok(samples),
            (Evaluated::Seen(seen), alerting) => {
                let timing = alerting.expect("only alerting rules see alerts").timing();
                self.alerts.apply(slot, seen, timing, limit.max(0).unsigned_abs())?;
                Ok(self.alerts.samples(at))
            }
        }
    }

    /// What the evaluation in `slot` changed and which alerts leave, if anything did.
    /// No alert leaves unless it `may_send`.
    pub(crate) fn depart(
        &mut self,
        slot: Timestamp,
        settings: &GroupSettings,
        interval_ms: i64,
        may_send: bool,
    ) -> Option<Departure> {
        let resend_delay_ms = settings.resend_delay_ms;
        let due = if may_send && self.last_good == Some(slot) { Due::All } else { Due::Nothing };
        let sending = Sending { due, resend_delay_ms, lasting_ms: interval_ms.max(resend_delay_ms) };
        let changes = self.alerts.depart(slot, sending);
        let (rule, expr) = (self.id.clone(), self.rule.query.text().clone());
        (!changes.is_empty()).then_some(Departure { rule, expr, slot, last_good: self.last_good, changes })
    }

    /// Continues where another process stopped.
    pub(crate) fn restore(&mut self, memory: RuleMemory) {
        if self.rule.alerting().is_some() {
            self.last_good = memory.last_good;
            self.alerts.restore(memory.alerts);
        }
    }

    /// Markers for the series that were written before and are not among `samples`.
    pub(crate) fn markers(&self, samples: &[RuleSample], at: Timestamp) -> Vec<RuleSample> {
        // Most evaluations return the series of the one before in the same order; then nothing needs to be hashed.
        if self.written.is_empty() || self.written.iter().eq(samples.iter().map(|sample| &sample.labels)) {
            return Vec::new();
        }
        let returned: HashSet<&Labels> = samples.iter().map(|sample| &sample.labels).collect();
        markers(self.written.iter().filter(|labels| !returned.contains(labels)), at)
    }

    /// The series written before whose sample can never be stored. They end like those that are no longer returned.
    pub(crate) fn unstorable(&self, writing: &[Labels], discarded: &[(usize, Discard)]) -> Vec<Labels> {
        let refused: HashSet<&Labels> = discarded
            .iter()
            .filter(|(_, reason)| matches!(reason, Discard::Other(_)))
            .filter_map(|(row, _)| writing.get(*row))
            .collect();
        if refused.is_empty() {
            return Vec::new();
        }
        self.written.iter().filter(|labels| refused.contains(labels)).cloned().collect()
    }

    /// Notes which series are written now; those whose sample was refused are not.
    pub(crate) fn wrote(
        &mut self,
        index: usize,
        writing: Vec<Labels>,
        discarded: &[(usize, Discard)],
    ) -> Option<GroupEvent> {
        let refused = discarded.iter().filter(|(row, _)| *row < writing.len());
        let Some(reason) = refused.clone().next_back().map(|(_, reason)| reason.to_string()) else {
            self.written = writing;
            return None;
        };
        let rows: HashSet<usize> = refused.map(|(row, _)| *row).collect();
        let kept = writing.into_iter().enumerate().filter(|(row, _)| !rows.contains(row));
        self.written = kept.map(|(_, labels)| labels).collect();
        self.health = Health::Bad(RuleError::SamplesDiscarded { reason: reason.clone() });
        Some(GroupEvent::SamplesDiscarded { index, rule: self.rule.clone(), count: rows.len(), reason })
    }

    pub(crate) fn copy(&mut self, old: &Self) {
        self.written = old.written.clone();
        self.health = old.health.clone();
        self.last_good = old.last_good;
        self.last_evaluation = old.last_evaluation;
        self.last_duration = old.last_duration;
        self.cost = old.cost;
        if self.rule.alerting().is_some() {
            self.alerts = old.alerts.clone();
        }
    }
}

/// Stale markers for `series` at `at`. They end series of native histograms, too.
pub fn markers<'a>(series: impl Iterator<Item = &'a Labels>, at: Timestamp) -> Vec<RuleSample> {
    let marker = || SampleValue::Float(stale_marker());
    series.map(|labels| RuleSample { labels: labels.clone(), at, value: marker() }).collect()
}
