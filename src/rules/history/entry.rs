//! One entry of the history, as it is stored and shown.

use super::{Happening, What};
use alertmanager_compat::client::Parcel;
use ruler::evaluation::ALERT_NAME;
use ruler::transition::{Phase, Transition};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One change. Stored as JSON with these names (`docs/formats/record-log.md`); the API adds when it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Place in the history; not stored.
    #[serde(skip_deserializing)]
    pub id: u64,
    /// The slot of the evaluation, in RFC 3339; not stored.
    #[serde(skip_deserializing)]
    pub time: String,
    /// Path of the rule file, or namespace.
    pub file: String,
    /// The rule's group.
    pub group: String,
    /// The rule.
    pub rule: String,
    /// Labels of the alert; those of the rule when the rule failed or recovered.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the alert.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Value of the alert, as in `/api/v1/alerts`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Since when the expression returned the alert, in RFC 3339.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub active_at: String,
    /// `inactive`, `pending`, `firing`; `ok`, `err` of a rule.
    pub from: String,
    /// As `from`.
    pub to: String,
    /// Why.
    pub reason: String,
    /// Why the rule failed, or the message was not delivered and to whom.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// Appends the records of what happened.
pub(super) fn encode(happening: &Happening, out: &mut Vec<(i64, Vec<u8>)>) {
    let mut push = |entry: &HistoryEntry| {
        // Texts have a form in JSON.
        let json = serde_json::to_vec(&Stored::of(entry)).unwrap_or_default();
        out.push((happening.slot_ms, json));
    };
    match &happening.what {
        What::Alerts(transitions) => transitions.iter().for_each(|transition| push(&of_alert(happening, transition))),
        What::Undelivered { message, error } => push(&of_message(happening, message, error)),
        What::Failed(error) => push(&of_rule(happening, ["ok", "err", "evaluation_failed"], error)),
        What::Recovered => push(&of_rule(happening, ["err", "ok", "evaluation_recovered"], "")),
    }
}

/// What is stored: all but what the log itself knows.
#[derive(Serialize)]
struct Stored<'a> {
    file: &'a str,
    group: &'a str,
    rule: &'a str,
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    value: &'a str,
    #[serde(rename = "activeAt", skip_serializing_if = "str::is_empty")]
    active_at: &'a str,
    from: &'a str,
    to: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

impl<'a> Stored<'a> {
    fn of(entry: &'a HistoryEntry) -> Self {
        let HistoryEntry { id: _, time: _, file, group, rule, labels, annotations, .. } = entry;
        let HistoryEntry { value, active_at, from, to, reason, error, .. } = entry;
        Self { file, group, rule, labels, annotations, value, active_at, from, to, reason, error }
    }
}

fn of_alert(happening: &Happening, transition: &Transition) -> HistoryEntry {
    let labels = transition.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let annotations = transition.annotations.iter().map(|(name, text)| (name.to_string(), text.to_string()));
    HistoryEntry {
        labels: labels.collect(),
        annotations: annotations.collect(),
        value: model::text::format_exponent(transition.value),
        active_at: rfc3339(transition.active_at.0),
        from: transition.from.name().to_owned(),
        to: transition.to.name().to_owned(),
        reason: transition.cause.name().to_owned(),
        ..of_rule(happening, [""; 3], "")
    }
}

fn of_message(happening: &Happening, message: &Parcel, error: &str) -> HistoryEntry {
    let phase = if message.resolved { Phase::Inactive } else { Phase::Firing }.name();
    let labels = message.alert.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    HistoryEntry {
        labels: labels.collect(),
        annotations: message.alert.annotations.iter().cloned().collect(),
        ..of_rule(happening, [phase, phase, "not_delivered"], error)
    }
}

fn of_rule(happening: &Happening, [from, to, reason]: [&str; 3], error: &str) -> HistoryEntry {
    let rule = &happening.rule;
    let mut labels = rule.labels.clone();
    labels.insert(ALERT_NAME.to_owned(), rule.name.clone());
    HistoryEntry {
        id: 0,
        time: String::new(),
        file: rule.group.file.clone(),
        group: rule.group.name.clone(),
        rule: rule.name.clone(),
        labels,
        annotations: BTreeMap::new(),
        value: String::new(),
        active_at: String::new(),
        from: from.to_owned(),
        to: to.to_owned(),
        reason: reason.to_owned(),
        error: error.to_owned(),
    }
}

/// A point in time in milliseconds as people read it.
pub(in crate::rules) fn rfc3339(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |at| at.to_string())
}
