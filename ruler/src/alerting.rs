//! The alerts of one rule.
//!
//! Invariant: a failed evaluation changes nothing; one that exceeds the limit forgets every alert, without sending anything.

use crate::alert_instance::{AlertInstance, AlertState, Fate, Timing};
use crate::error::RuleError;
use crate::evaluation::SeenAlert;
use crate::overlay::overlay;
use crate::ports::RuleSample;
use crate::state::Change;
use model::labels::{Labels, METRIC_NAME};
use model::time::Timestamp;
use promql::value::SampleValue;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The series that says which alerts are pending and which are firing.
pub const ALERTS: &str = "ALERTS";
/// The series that says since when an alert is active.
pub const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
/// The label of [`ALERTS`] that is `pending` or `firing`.
pub const ALERT_STATE: &str = "alertstate";

/// The alerts of one rule that are pending, firing or resolved a short while ago.
#[derive(Debug, Clone, Default)]
pub struct RuleAlerts {
    tracked: BTreeMap<Labels, Tracked>,
    /// Counts evaluations, to know which alerts the current one returned.
    generation: u64,
    /// Alerts that were forgotten and of which somebody else may still know.
    forgotten: Vec<Labels>,
}

/// Which alerts leave, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sending {
    /// Which of them may leave.
    pub due: Due,
    /// How long to wait before an alert is sent again, in milliseconds.
    pub resend_delay_ms: i64,
    /// A firing alert is to be believed for four times as long, so that it survives the loss of a few messages.
    pub lasting_ms: i64,
}

/// Which alerts may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// All that fire or resolved.
    All,
    /// None: nothing is known of them.
    Nothing,
}

impl Due {
    fn includes(self, state: AlertState) -> bool {
        match self {
            Self::All => state != AlertState::Pending,
            Self::Nothing => false,
        }
    }
}

#[derive(Debug, Clone)]
struct Tracked {
    instance: AlertInstance,
    /// The evaluation that last returned it.
    returned_in: u64,
    /// The names of its two series, as long as its state stays the same.
    series: Option<AlertSeries>,
    /// What was last told by [`RuleAlerts::depart`].
    told: Option<Told>,
}

/// Everything in an alert whose change has to be remembered. Value and annotations alone do not: the next evaluation
/// brings them anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    state: AlertState,
    active_at: Timestamp,
    last_sent_at: Option<Timestamp>,
    seq: u64,
}

#[derive(Debug, Clone)]
struct AlertSeries {
    firing: bool,
    alerts: Labels,
    for_state: Labels,
}

impl RuleAlerts {
    /// Pending, firing and resolved alerts in ascending order of their labels.
    pub fn iter(&self) -> impl Iterator<Item = (&Labels, &AlertInstance)> {
        self.tracked.iter().map(|(labels, tracked)| (labels, &tracked.instance))
    }

    /// The alerts that are pending or firing, in ascending order of their labels.
    pub fn active(&self) -> impl Iterator<Item = (&Labels, &AlertInstance)> {
        self.iter().filter(|(_, instance)| instance.is_active())
    }

    /// Moves all alerts to `now`; `seen` is what the expression returned, with distinct labels.
    ///
    /// # Errors
    /// More than `limit` are pending or firing (0 means any number). All are forgotten.
    pub fn apply(&mut self, now: Timestamp, seen: Vec<SeenAlert>, timing: Timing, limit: u64) -> Result<(), RuleError> {
        self.generation += 1;
        let generation = self.generation;
        for SeenAlert { labels, value, annotations } in seen {
            match self.tracked.entry(labels) {
                Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    known.returned_in = generation;
                    known.instance.observe(now, value, annotations);
                }
                Entry::Vacant(vacant) => {
                    let instance = AlertInstance::new(now, value, annotations);
                    vacant.insert(Tracked { instance, returned_in: generation, series: None, told: None });
                }
            }
        }
        let mut active = 0usize;
        let forgotten = &mut self.forgotten;
        self.tracked.retain(|labels, tracked| {
            match tracked.instance.advance(now, tracked.returned_in == generation, timing) {
                Fate::Active => active += 1,
                Fate::Resolved => tracked.series = None,
                Fate::Forgotten => {
                    if tracked.told.is_some() {
                        forgotten.push(labels.clone());
                    }
                    return false;
                }
            }
            true
        });
        if limit > 0 && u64::try_from(active).is_ok_and(|active| active > limit) {
            let told = std::mem::take(&mut self.tracked).into_iter().filter(|(_, tracked)| tracked.told.is_some());
            self.forgotten.extend(told.map(|(labels, _)| labels));
            return Err(RuleError::TooManyAlerts { limit, alerts: active });
        }
        Ok(())
    }

    /// The samples of [`ALERTS`] and [`ALERTS_FOR_STATE`] at `at`, of pending and firing alerts.
    pub fn samples(&mut self, at: Timestamp) -> Vec<RuleSample> {
        let mut samples = Vec::with_capacity(2 * self.tracked.len());
        for (labels, Tracked { instance, series, .. }) in &mut self.tracked {
            let firing = match instance.state {
                AlertState::Pending => false,
                AlertState::Firing { .. } => true,
                AlertState::Resolved { .. } => continue,
            };
            let series = match series {
                Some(series) if series.firing == firing => series,
                _ => series.insert(AlertSeries::new(labels, firing)),
            };
            let active_at_secs = SampleValue::Float(instance.active_at.0.div_euclid(1000) as f64);
            samples.push(RuleSample { labels: series.alerts.clone(), at, value: SampleValue::Float(1.0) });
            samples.push(RuleSample { labels: series.for_state.clone(), at, value: active_at_secs });
        }
        samples
    }

    /// What changed since the last call, and the alerts to send at `now`; they count as sent.
    pub fn depart(&mut self, now: Timestamp, sending: Sending) -> Vec<Change> {
        let Sending { due, resend_delay_ms, lasting_ms } = sending;
        let gone = self.forgotten.drain(..).map(|labels| Change { labels, instance: None, leaves_until: None });
        let mut changes: Vec<Change> = gone.collect();
        for (labels, Tracked { instance, told, .. }) in &mut self.tracked {
            let leaves_until =
                (due.includes(instance.state) && instance.needs_sending(now, resend_delay_ms)).then(|| match instance
                    .state
                {
                    AlertState::Resolved { resolved_at, .. } => resolved_at,
                    AlertState::Pending | AlertState::Firing { .. } => {
                        Timestamp(now.0.saturating_add(lasting_ms.saturating_mul(4)))
                    }
                });
            if leaves_until.is_some() {
                instance.last_sent_at = Some(now);
            }
            let current = Told::of(instance);
            if *told != Some(current) {
                *told = Some(current);
                changes.push(Change { labels: labels.clone(), instance: Some(instance.clone()), leaves_until });
            }
        }
        changes
    }

    /// Continues with alerts that [`RuleAlerts::depart`] told of before, in another process; labels are distinct.
    pub fn restore(&mut self, alerts: impl IntoIterator<Item = (Labels, AlertInstance)>) {
        for (labels, instance) in alerts {
            let told = Some(Told::of(&instance));
            // No evaluation has the number 0: it was not returned yet.
            self.tracked.insert(labels, Tracked { instance, returned_in: 0, series: None, told });
        }
    }
}

impl Told {
    fn of(instance: &AlertInstance) -> Self {
        let AlertInstance { state, active_at, last_sent_at, seq, .. } = *instance;
        Self { state, active_at, last_sent_at, seq }
    }
}

impl AlertSeries {
    fn new(labels: &Labels, firing: bool) -> Self {
        let state = if firing { "firing" } else { "pending" };
        Self {
            firing,
            alerts: overlay(labels, &BTreeMap::from([(METRIC_NAME, ALERTS), (ALERT_STATE, state)])),
            for_state: overlay(labels, &BTreeMap::from([(METRIC_NAME, ALERTS_FOR_STATE)])),
        }
    }
}

#[cfg(test)]
mod tests;
