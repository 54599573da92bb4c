//! What has to come of a case: a model of alerts, straight from the rules of the specification.

use super::Timing;
use super::cases::{Case, CaseRule};
use std::collections::BTreeMap;

/// Texts by name.
pub type Texts = BTreeMap<String, String>;

/// Where the results of a rule come from.
#[derive(Debug)]
pub(super) enum Source {
    /// Series of the case whose label `rule` has this value, above the limit.
    Above { rule: &'static str, limit: f64 },
    /// Alerts of an earlier rule that fire: both those with these values of a label, which the result does not have.
    BothFire { rule: usize, label: &'static str, values: [&'static str; 2] },
}

/// Everything that is expected of a case.
#[derive(Debug)]
pub struct Expected {
    /// After each evaluation, in their order.
    pub snapshots: Vec<Snapshot>,
    /// Every message that an Alertmanager gets, in the order of evaluations.
    pub messages: Vec<Message>,
}

/// What is the case after an evaluation.
#[derive(Debug)]
pub struct Snapshot {
    /// When, relative to zero.
    pub slot_ms: i64,
    /// The active alerts of each rule.
    pub rules: Vec<Vec<ActiveAlert>>,
}

/// A pending or firing alert.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveAlert {
    /// Its labels, `alertname` included.
    pub labels: Texts,
    /// Expanded.
    pub annotations: Texts,
    /// Whether it fires.
    pub firing: bool,
    /// The value of its expression.
    pub value: f64,
    /// Since when it is returned, relative to zero.
    pub active_at_ms: i64,
}

/// A message about an alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The evaluation that sends it, relative to zero.
    pub slot_ms: i64,
    /// Of the alert.
    pub labels: Texts,
    /// Of the alert, when it was last returned.
    pub annotations: Texts,
    /// When it began to fire, relative to zero.
    pub starts_at_ms: i64,
    /// When it resolved, or until when to believe that it fires, relative to zero.
    pub ends_at_ms: i64,
    /// Whether it says that the alert resolved.
    pub resolved: bool,
}

struct Instance {
    alert: ActiveAlert,
    fired_at_ms: Option<i64>,
    resolved_at_ms: Option<i64>,
    sent_at_ms: Option<i64>,
}

struct Returned {
    labels: Texts,
    value: f64,
}

/// What has to come of `case` when it is evaluated at `slots`, relative to zero and ascending.
#[must_use]
pub fn expected(case: &Case, timing: &Timing, slots: &[i64]) -> Expected {
    let mut rules: Vec<BTreeMap<Texts, Instance>> = case.rules.iter().map(|_| BTreeMap::new()).collect();
    let mut expected = Expected { snapshots: Vec::new(), messages: Vec::new() };
    for slot_ms in slots.iter().copied() {
        for (index, rule) in case.rules.iter().enumerate() {
            let returned = returned(case, timing, rule, slot_ms, &rules);
            let Some(instances) = rules.get_mut(index) else { continue };
            evaluate(instances, rule, timing, slot_ms, returned);
            expected.messages.extend(due(instances, timing, slot_ms));
        }
        let active = |instances: &BTreeMap<Texts, Instance>| {
            let active = instances.values().filter(|instance| instance.resolved_at_ms.is_none());
            active.map(|instance| instance.alert.clone()).collect()
        };
        expected.snapshots.push(Snapshot { slot_ms, rules: rules.iter().map(active).collect() });
    }
    expected
}

fn returned(
    case: &Case,
    timing: &Timing,
    rule: &CaseRule,
    slot_ms: i64,
    rules: &[BTreeMap<Texts, Instance>],
) -> Vec<Returned> {
    match &rule.source {
        Source::Above { rule, limit } => {
            let series = case.series.iter().filter(|series| series.label("rule") == *rule);
            let above = series.filter_map(|series| {
                let last = usize::try_from(slot_ms.div_euclid(timing.step_ms)).ok()?.min(series.steps() - 1);
                let age_ms = slot_ms - timing.step_ms * i64::try_from(last).ok()?;
                let value = series.at(last).filter(|value| value > limit && age_ms < timing.lookback_ms)?;
                let labels = series.labels.iter().filter(|(name, _)| *name != "__name__");
                Some(Returned {
                    labels: labels.map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
                    value,
                })
            });
            above.collect()
        }
        Source::BothFire { rule, label, values } => {
            let instances = rules.get(*rule).into_iter().flat_map(BTreeMap::values);
            let firing = instances.filter(|instance| instance.alert.firing && instance.resolved_at_ms.is_none());
            let mut both = firing.filter(|instance| {
                instance.alert.labels.get(*label).is_some_and(|value| values.contains(&value.as_str()))
            });
            let (Some(one), Some(_)) = (both.next(), both.next()) else { return Vec::new() };
            let mut labels = one.alert.labels.clone();
            labels.remove(*label);
            labels.insert("alertstate".into(), "firing".into());
            vec![Returned { labels, value: 2.0 }]
        }
    }
}

fn evaluate(
    instances: &mut BTreeMap<Texts, Instance>,
    rule: &CaseRule,
    timing: &Timing,
    slot_ms: i64,
    returned: Vec<Returned>,
) {
    let step = usize::try_from(slot_ms.div_euclid(timing.step_ms)).unwrap_or_default();
    let mut seen = Vec::new();
    for Returned { mut labels, value } in returned {
        labels.extend(rule.labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        labels.insert("alertname".into(), rule.alert.into());
        seen.push(labels.clone());
        let annotations = Case::raw_texts(&(rule.expanded)(&value.to_string(), step));
        let fresh = Instance {
            alert: ActiveAlert { labels: labels.clone(), annotations, firing: false, value, active_at_ms: slot_ms },
            fired_at_ms: None,
            resolved_at_ms: None,
            sent_at_ms: None,
        };
        match instances.get_mut(&labels) {
            Some(known) if known.resolved_at_ms.is_none() => {
                known.alert.annotations = fresh.alert.annotations;
                known.alert.value = value;
            }
            _ => {
                instances.insert(labels, fresh);
            }
        }
    }
    instances.retain(|labels, instance| {
        if !seen.contains(labels) {
            match (instance.resolved_at_ms, instance.alert.firing) {
                (Some(resolved_at_ms), _) => return slot_ms - resolved_at_ms <= timing.retention_ms,
                (None, false) => return false,
                (None, true) => instance.resolved_at_ms = Some(slot_ms),
            }
        } else if !instance.alert.firing && slot_ms - instance.alert.active_at_ms >= rule.hold_steps * timing.step_ms {
            instance.alert.firing = true;
            instance.fired_at_ms = Some(slot_ms);
        }
        true
    });
}

fn due(instances: &mut BTreeMap<Texts, Instance>, timing: &Timing, slot_ms: i64) -> Vec<Message> {
    let mut messages = Vec::new();
    for instance in instances.values_mut() {
        let Some(starts_at_ms) = instance.fired_at_ms else { continue };
        let news = match (instance.sent_at_ms, instance.resolved_at_ms) {
            (None, _) => true,
            (Some(sent_at_ms), Some(resolved_at_ms)) if resolved_at_ms > sent_at_ms => true,
            (Some(sent_at_ms), _) => slot_ms - sent_at_ms > timing.resend_ms,
        };
        if !news {
            continue;
        }
        instance.sent_at_ms = Some(slot_ms);
        messages.push(Message {
            slot_ms,
            labels: instance.alert.labels.clone(),
            annotations: instance.alert.annotations.clone(),
            starts_at_ms,
            ends_at_ms: instance.resolved_at_ms.unwrap_or(slot_ms + timing.believed_ms()),
            resolved: instance.resolved_at_ms.is_some(),
        });
    }
    messages
}
