//! One rule of a group with everything it remembers from one evaluation to the next.

use crate::alerting::{Due, Limit, LimitMode, RuleAlerts, Sending};
use crate::ended::EarlierSeries;
use crate::error::{ErrorKind, RuleError};
use crate::evaluation::{Cost, Evaluated};
use crate::group::{GroupEvent, GroupSettings};
use crate::ports::{Discard, RuleSample};
use crate::restore::{ForRestore, ForState};
use crate::rule::Rule;
use crate::state::{Departure, RuleId, RuleMemory};
use crate::transition::Recent;
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
    /// What its group says about errors and limits.
    pub policy: AlertPolicy,
    /// Its alerts; none for a recording rule.
    pub alerts: RuleAlerts,
    /// How the last evaluation went.
    pub health: Health,
    /// The slot of the last evaluation that did not fail.
    pub last_good: Option<Timestamp>,
    /// The slot of the first evaluation that failed since then: what is known of the alerts is as old.
    pub unknown_since: Option<Timestamp>,
    /// Alerts that the last good evaluation left out because of the group's limit.
    pub left_out: usize,
    /// Queries may not see what is there: alerts that they do not return go on.
    pub(crate) is_doubtful: bool,
    /// Evaluations until series are asked since when alerts are active; 0: not at all.
    pub(crate) looks_up_in: u8,
    /// When the last evaluation began.
    pub last_evaluation: Option<Timestamp>,
    /// How long it took.
    pub last_duration: Duration,
    /// What the last one cost that was not prevented.
    pub cost: Cost,
    /// The last evaluations.
    pub recent: Recent,
    /// The series that the last successful evaluation wrote, distinct and in its order.
    pub(crate) written: Vec<Labels>,
    /// The series that an earlier process wrote last, as far as the journal or the store knows; the next evaluation that is
    /// good hands them to the group, which ends those that are not written any more.
    pub(crate) written_before: Vec<Labels>,
    /// Where the store is to be asked for them.
    pub(crate) earlier: Option<EarlierSeries>,
    /// Whether an evaluation of this process told what it writes.
    pub(crate) is_settled: bool,
    /// Whether it was last told to have failed.
    told_failed: bool,
}

/// What a group says about alerts that are too many or not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AlertPolicy {
    /// `on_error`.
    pub on_error: OnError,
    /// `limit_mode`.
    pub limit_mode: LimitMode,
}

/// What becomes of firing alerts while their rule cannot be evaluated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnError {
    /// They are sent again, for [`GroupSettings::unknown_max_ms`] at most, so that they do not end by themselves.
    #[default]
    Keep,
    /// Nothing is sent, as in Prometheus: the Alertmanagers resolve them after a while.
    Resolve,
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
    pub(crate) fn new(rule: Arc<Rule>, id: Arc<RuleId>, policy: AlertPolicy) -> Self {
        Self {
            rule,
            id,
            policy,
            alerts: RuleAlerts::default(),
            health: Health::Unknown,
            last_good: None,
            unknown_since: None,
            left_out: 0,
            is_doubtful: false,
            looks_up_in: 0,
            last_evaluation: None,
            last_duration: Duration::ZERO,
            cost: Cost::default(),
            recent: Recent::default(),
            written: Vec::new(),
            written_before: Vec::new(),
            earlier: None,
            is_settled: false,
            told_failed: false,
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
                let limit = Limit { max: limit.max(0).unsigned_abs(), mode: self.policy.limit_mode };
                let seen = if self.is_doubtful { self.alerts.with_believed(seen) } else { seen };
                self.left_out = self.alerts.apply(slot, seen, timing, limit)?;
                Ok(if self.looks_up_in == 0 { self.alerts.samples(at) } else { Vec::new() })
            }
        }
    }

    /// What the evaluation in `slot` changed and which alerts leave, if anything did.
    /// Alerts are sent again in the newest slot only.
    pub(crate) fn depart(
        &mut self,
        slot: Timestamp,
        settings: &GroupSettings,
        interval_ms: i64,
        is_newest: bool,
    ) -> Option<Departure> {
        let resend_delay_ms = settings.resend_delay_ms;
        let lasting_ms = interval_ms.max(resend_delay_ms);
        let (due, resend_delay_ms) = match (is_newest, self.last_good == Some(slot)) {
            (true, _) => (self.due(slot, settings), resend_delay_ms),
            // What happened in a slot that was missed has to be told; what goes on is told with the newest.
            (false, true) => (Due::All, i64::MAX),
            (false, false) => (Due::Nothing, resend_delay_ms),
        };
        let sending = Sending { due, resend_delay_ms, lasting_ms };
        let changes = self.alerts.depart(slot, sending);
        let (rule, expr) = (self.id.clone(), self.rule.query.text().clone());
        (!changes.is_empty()).then_some(Departure { rule, expr, slot, last_good: self.last_good, changes })
    }

    /// Which alerts may leave after the evaluation in `slot`.
    fn due(&mut self, slot: Timestamp, settings: &GroupSettings) -> Due {
        if self.last_good == Some(slot) {
            self.unknown_since = None;
            return Due::All;
        }
        // Of an evaluation that was cut short nothing follows.
        if matches!(&self.health, Health::Bad(error) if error.kind() == ErrorKind::Canceled) {
            return Due::Nothing;
        }
        self.unknown_since.get_or_insert(slot);
        let unknown_ms = self.last_good.map_or(i64::MAX, |good| slot.0.saturating_sub(good.0));
        match self.policy.on_error {
            OnError::Keep if unknown_ms <= settings.unknown_max_ms => Due::Firing,
            OnError::Keep | OnError::Resolve => Due::Nothing,
        }
    }

    /// No journal knows the rule in its group: as Prometheus does after a restart, the second evaluation asks the series that
    /// another group or server may have left, and until then nothing is written that would hide them.
    pub(crate) fn continue_from_series(&mut self, restore: ForRestore) {
        if self.hold_ms().is_some_and(|hold_ms| hold_ms >= restore.grace_period_ms && hold_ms > 0) {
            self.looks_up_in = 2;
        }
    }

    /// How far back the next evaluation looks for series, if it does.
    pub(crate) fn look_back_ms(&self, restore: ForRestore) -> Option<i64> {
        (self.looks_up_in == 1).then_some(restore.outage_tolerance_ms)
    }

    /// Takes in what was looked up, after the evaluation in `slot`.
    pub(crate) fn look_further(&mut self, slot: Timestamp, found: Option<Vec<ForState>>, restore: ForRestore) {
        match (self.looks_up_in, found, self.hold_ms()) {
            (2, _, _) => self.looks_up_in = 1,
            (1, Some(found), Some(hold_ms)) => {
                self.looks_up_in = 0;
                let since = |state: ForState| {
                    let since = state.continued(slot, hold_ms, restore.grace_period_ms);
                    (state.labels, since)
                };
                self.alerts.continue_since(found.into_iter().map(since));
            }
            _ => {}
        }
    }

    /// Nobody looked between `last` and `next`, and nobody will: what was pending is continued as Prometheus would.
    pub(crate) fn bridge(&mut self, last: Timestamp, next: Timestamp, restore: ForRestore) {
        if let Some(hold_ms) = self.hold_ms() {
            self.alerts.bridge(last, next, hold_ms, restore);
        }
    }

    fn hold_ms(&self) -> Option<i64> {
        self.rule.alerting().map(|alerting| alerting.hold_ms)
    }

    /// What is to be said of an evaluation that did not fail.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        (self.left_out > 0).then(|| format!("{} alerts are left out because of the limit of the group", self.left_out))
    }

    /// What the evaluation in `slot` changed, for those who keep a history.
    pub(crate) fn news(&mut self, slot: Timestamp) -> Vec<GroupEvent> {
        let mut news = Vec::new();
        let transitions = self.alerts.take_transitions();
        if !transitions.is_empty() {
            news.push(GroupEvent::AlertsChanged { rule: self.id.clone(), slot, transitions: transitions.into() });
        }
        let error = match &self.health {
            Health::Bad(error) if error.kind() != ErrorKind::Canceled => Some(error),
            Health::Bad(_) | Health::Good | Health::Unknown => None,
        };
        if self.told_failed != error.is_some() {
            self.told_failed = error.is_some();
            let (error, is_alerting) = (error.map(ToString::to_string), self.rule.alerting().is_some());
            news.push(GroupEvent::HealthChanged { rule: self.id.clone(), is_alerting, slot, error });
        }
        news
    }

    /// Notes an evaluation that began at `started` and returned `samples` samples. Whether it is time to tell of it.
    pub(crate) fn remember(&mut self, started: Timestamp, took: Duration, samples: usize) -> bool {
        let error = match &self.health {
            Health::Bad(error) => Some(error.to_string()),
            Health::Good | Health::Unknown => None,
        };
        self.recent.add(started, took, samples as u64, error)
    }

    /// Continues where another process stopped.
    pub(crate) fn restore(&mut self, memory: RuleMemory) {
        if self.rule.alerting().is_some() {
            self.last_good = memory.last_good;
            self.alerts.restore(memory.alerts);
            self.written_before = self.alerts.written_before(memory.last_good);
        }
    }

    /// A recording rule that an earlier process evaluated asks the store what that wrote last.
    pub(crate) fn continue_writing(&mut self, series: EarlierSeries) {
        self.earlier = Some(series);
    }

    /// Takes in what the store knows; if it could not be asked, the next evaluation asks again.
    pub(crate) fn learn_written(&mut self, found: Option<Vec<Labels>>) {
        if let Some(found) = found {
            self.written_before = found;
            self.earlier = None;
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
        self.written_before = old.written_before.clone();
        self.earlier.clone_from(&old.earlier);
        self.is_settled = old.is_settled;
        self.health = old.health.clone();
        self.last_good = old.last_good;
        self.unknown_since = old.unknown_since;
        self.left_out = old.left_out;
        self.looks_up_in = old.looks_up_in;
        self.last_evaluation = old.last_evaluation;
        self.last_duration = old.last_duration;
        self.cost = old.cost;
        self.recent = old.recent.clone();
        self.told_failed = old.told_failed;
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
