//! The alerts of one rule.
//!
//! Invariant: a failed evaluation changes nothing; one that exceeds the limit forgets every alert, without sending anything.

mod early;

use crate::alert_instance::{AlertInstance, AlertState, Fate, Timing};
use crate::error::RuleError;
use crate::evaluation::SeenAlert;
use crate::overlay::overlay;
use crate::ports::RuleSample;
use crate::restore::{ForRestore, ForState};
use crate::state::Change;
use crate::transition::{Cause, Transition};
use hashbrown::HashSet;
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
    /// What happened since it was last asked for.
    transitions: Vec<Transition>,
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

/// How many alerts of a rule may be pending or firing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit {
    /// 0 means any number.
    pub max: u64,
    /// What becomes of the others.
    pub mode: LimitMode,
}

/// What happens when there are more alerts than the limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LimitMode {
    /// The evaluation fails and every alert is forgotten, as in Prometheus.
    #[default]
    Error,
    /// Those that are active stay, others take the places that are left, in ascending order of labels.
    Truncate,
}

/// Which alerts may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// All that fire or resolved.
    All,
    /// Those that fire, to be believed for longer: whether they still do is not known.
    Firing,
    /// None: nothing is known of them.
    Nothing,
}

impl Due {
    fn includes(self, state: AlertState) -> bool {
        match self {
            Self::All => state != AlertState::Pending,
            Self::Firing => matches!(state, AlertState::Firing { .. }),
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

    /// How many alerts fire.
    #[must_use]
    pub fn firing(&self) -> usize {
        self.iter().filter(|(_, instance)| matches!(instance.state, AlertState::Firing { .. })).count()
    }

    /// `seen`, and every other active alert as it was last: whether those are gone is not believed.
    #[must_use]
    pub fn with_believed(&self, mut seen: Vec<SeenAlert>) -> Vec<SeenAlert> {
        let returned: HashSet<Labels> = seen.iter().map(|alert| alert.labels.clone()).collect();
        let others = self.active().filter(|(labels, _)| !returned.contains(*labels));
        seen.extend(others.map(|(labels, AlertInstance { value, annotations, .. })| SeenAlert {
            labels: labels.clone(),
            value: *value,
            annotations: annotations.clone(),
        }));
        seen
    }

    /// Since when alerts are active that another server saw before this one: the active ones of these labels.
    pub fn continue_since(&mut self, since: impl IntoIterator<Item = (Labels, Timestamp)>) {
        for (labels, active_at) in since {
            if let Some(tracked) = self.tracked.get_mut(&labels).filter(|tracked| tracked.instance.is_active()) {
                tracked.instance.active_at = active_at;
            }
        }
    }

    /// Continues pending alerts over a time in which nobody looked, from `last` to `next`: shifts their beginning, or forgets
    /// them if that time was long or their hold is short.
    pub fn bridge(&mut self, last: Timestamp, next: Timestamp, hold_ms: i64, restore: ForRestore) {
        let gap_ms = next.0.saturating_sub(last.0);
        let is_kept = gap_ms <= restore.outage_tolerance_ms && hold_ms >= restore.grace_period_ms;
        let (forgotten, transitions) = (&mut self.forgotten, &mut self.transitions);
        self.tracked.retain(|labels, Tracked { instance, told, .. }| {
            if instance.state != AlertState::Pending {
                return true;
            }
            let state = ForState { labels: labels.clone(), active_at: instance.active_at, last_at: last };
            instance.active_at = state.continued(next, hold_ms, restore.grace_period_ms);
            if let Some(told) = told.filter(|_| !is_kept) {
                transitions.extend(Transition::end(told.state, labels, instance, Cause::NotObserved));
                forgotten.push(labels.clone());
            }
            is_kept
        });
    }

    /// Moves all alerts to `now`; `seen` is what the expression returned, with distinct labels. Returns how many of these were
    /// left out because of the limit.
    ///
    /// # Errors
    /// More than the limit are pending or firing, and that is an error. All are forgotten.
    pub fn apply(
        &mut self,
        now: Timestamp,
        seen: Vec<SeenAlert>,
        timing: Timing,
        limit: Limit,
    ) -> Result<usize, RuleError> {
        let (seen, left_out) = match limit.mode {
            LimitMode::Truncate if limit.max > 0 => self.first(now, seen, timing, limit.max),
            LimitMode::Truncate | LimitMode::Error => (seen, 0),
        };
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
        let (forgotten, transitions) = (&mut self.forgotten, &mut self.transitions);
        self.tracked.retain(|labels, tracked| {
            match tracked.instance.advance(now, tracked.returned_in == generation, timing) {
                Fate::Active => active += 1,
                Fate::Resolved => tracked.series = None,
                Fate::Forgotten => {
                    if let Some(told) = tracked.told {
                        forgotten.push(labels.clone());
                        transitions.extend(Transition::end(told.state, labels, &tracked.instance, Cause::Gone));
                    }
                    return false;
                }
            }
            true
        });
        let is_over = limit.max > 0 && u64::try_from(active).is_ok_and(|active| active > limit.max);
        if is_over && limit.mode == LimitMode::Error {
            for (labels, Tracked { instance, told, .. }) in std::mem::take(&mut self.tracked) {
                if let Some(told) = told {
                    self.transitions.extend(Transition::end(told.state, &labels, &instance, Cause::Limit));
                    self.forgotten.push(labels);
                }
            }
            return Err(RuleError::TooManyAlerts { limit: limit.max, alerts: active });
        }
        Ok(left_out)
    }

    /// Of `seen`, the active alerts, and others as long as there is room. Returns how many are left out.
    fn first(&self, now: Timestamp, seen: Vec<SeenAlert>, timing: Timing, max: u64) -> (Vec<SeenAlert>, usize) {
        let active = |labels: &Labels| self.tracked.get(labels).filter(|tracked| tracked.instance.is_active());
        let (mut first, mut others): (Vec<_>, Vec<_>) =
            seen.into_iter().partition(|alert| active(&alert.labels).is_some());
        let returned: HashSet<Labels> = first.iter().map(|alert| alert.labels.clone()).collect();
        let fires_on = |(labels, tracked): &(&Labels, &Tracked)| {
            tracked.instance.is_active()
                && !returned.contains(*labels)
                && tracked.instance.clone().advance(now, false, timing) == Fate::Active
        };
        let places_taken = first.len() + self.tracked.iter().filter(fires_on).count();
        let room = usize::try_from(max).unwrap_or(usize::MAX).saturating_sub(places_taken);
        let left_out = others.len().saturating_sub(room);
        if left_out > 0 {
            others.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
            others.truncate(room);
        }
        first.append(&mut others);
        (first, left_out)
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

    /// The series that an earlier process wrote, after [`RuleAlerts::restore`]. Where an alert changed in `last_good`, the last
    /// slot that is known, those from before it, too: perhaps the process ended before it stored the new ones.
    pub fn written_before(&mut self, last_good: Option<Timestamp>) -> Vec<Labels> {
        let mut written = Vec::with_capacity(2 * self.tracked.len());
        for (labels, Tracked { instance, series, .. }) in &mut self.tracked {
            let was_pending = instance.active_at < last_good.unwrap_or(instance.active_at);
            let (firing, pending) = match instance.state {
                AlertState::Pending => (false, true),
                AlertState::Firing { fired_at, .. } => (true, was_pending && Some(fired_at) == last_good),
                AlertState::Resolved { resolved_at, .. } if Some(resolved_at) == last_good => (true, false),
                AlertState::Resolved { .. } => continue,
            };
            if pending {
                written.push(AlertSeries::new(labels, false).alerts);
            }
            let known = series.insert(AlertSeries::new(labels, firing));
            if firing {
                written.push(known.alerts.clone());
            }
            written.push(known.for_state.clone());
            if !instance.is_active() {
                *series = None;
            }
        }
        written
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
                let before = told.map(|told| told.state);
                self.transitions.extend(Transition::between(before, labels, instance));
                *told = Some(current);
                changes.push(Change { labels: labels.clone(), instance: Some(instance.clone()), leaves_until });
            }
        }
        changes
    }

    /// The changes that [`RuleAlerts::depart`] and [`RuleAlerts::apply`] made since the last call.
    pub fn take_transitions(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.transitions)
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
