//! What readers of the HTTP API see of groups, rules and alerts: the JSON of `/api/v1/rules` and `/api/v1/alerts`.
//!
//! A view is a copy, taken under the group's lock and printed without it. Field names and their order are Prometheus'.
//! Durations are seconds, times are RFC 3339 in UTC.

mod history;

pub use history::{EvaluationView, PastRuleView, RuleHistoryView};

use crate::alert_instance::{AlertInstance, AlertState, Annotations};
use crate::driver::{SharedGroup, lock};
use crate::evaluation::Cost;
use crate::filter::{FilterError, Page, RulesFilter};
use crate::group::Group;
use crate::rule::{AlertingRule, Rule};
use crate::rule_state::{Health, RuleState};
use model::labels::Labels;
use model::time::Timestamp;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// `data` of `/api/v1/rules`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RulesView {
    /// In ascending order of file and name; groups without a rule that passed the filter are left out.
    pub groups: Vec<GroupView>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_next_token: Option<String>,
}

/// `data` of `/api/v1/alerts`.
#[derive(Debug, Serialize)]
pub struct AlertsView {
    /// Pending and firing alerts of all rules.
    pub alerts: Vec<AlertView>,
}

/// One group.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupView {
    /// Name of the group.
    pub name: String,
    /// Path of its file.
    pub file: String,
    /// In the order of evaluation.
    pub rules: Vec<RuleView>,
    /// Distance of evaluations.
    #[serde(serialize_with = "seconds")]
    pub interval: Duration,
    /// Most series or alerts of one rule; 0 means any number.
    pub limit: i64,
    /// How long the last evaluation took.
    #[serde(serialize_with = "seconds")]
    pub evaluation_time: Duration,
    /// When the last evaluation began.
    #[serde(serialize_with = "time_or_never")]
    pub last_evaluation: Option<Timestamp>,
}

/// One rule.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum RuleView {
    /// An alerting rule.
    Alerting(AlertingView),
    /// A recording rule.
    Recording(RecordingView),
}

/// An alerting rule.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertingView {
    /// The gravest state of its alerts: `unknown` before the first evaluation, then `inactive`, `pending` or `firing`.
    pub state: &'static str,
    /// Name of the alert.
    pub name: String,
    /// The expression as Prometheus prints it.
    pub query: Arc<str>,
    /// `for`.
    #[serde(serialize_with = "seconds")]
    pub duration: Duration,
    /// `keep_firing_for`.
    #[serde(serialize_with = "seconds")]
    pub keep_firing_for: Duration,
    /// Labels as configured, the group's included, templates unexpanded.
    pub labels: TextMap,
    /// Annotations as configured.
    pub annotations: TextMap,
    /// Pending and firing alerts; `null` when they were not asked for.
    pub alerts: Option<Vec<AlertView>>,
    /// How the last evaluation went.
    #[serde(flatten)]
    pub outcome: OutcomeView,
    /// Always `alerting`.
    pub r#type: &'static str,
}

/// A recording rule.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordingView {
    /// Name of the series.
    pub name: String,
    /// The expression as Prometheus prints it.
    pub query: Arc<str>,
    /// Labels as configured, the group's included.
    pub labels: TextMap,
    /// How the last evaluation went.
    #[serde(flatten)]
    pub outcome: OutcomeView,
    /// Always `recording`.
    pub r#type: &'static str,
}

/// How the last evaluation of a rule went.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutcomeView {
    /// `ok`, `err` or `unknown`.
    pub health: &'static str,
    /// Why it failed, if it did; or, of a good one, what an operator should know.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_error: String,
    /// How long it took.
    #[serde(serialize_with = "seconds")]
    pub evaluation_time: Duration,
    /// When it began.
    #[serde(serialize_with = "time_or_never")]
    pub last_evaluation: Option<Timestamp>,
    /// What it cost; absent before the first evaluation. Not in Prometheus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostView>,
}

/// What an evaluation cost.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CostView {
    /// Series that selectors matched.
    pub series: u64,
    /// Samples that were read.
    pub samples: u64,
    /// Time that it took to compute.
    #[serde(serialize_with = "seconds")]
    pub cpu_seconds: Duration,
    /// Whether no selector of the expression matched anything: probably a mistake.
    pub matched_nothing: bool,
}

/// One pending or firing alert.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertView {
    /// Its labels, `alertname` included.
    #[serde(serialize_with = "label_map")]
    pub labels: Labels,
    /// Its annotations, expanded.
    #[serde(serialize_with = "annotation_map")]
    pub annotations: Annotations,
    /// `pending` or `firing`.
    pub state: &'static str,
    /// Since when the expression returns it.
    #[serde(serialize_with = "time")]
    pub active_at: Timestamp,
    /// Since when it fires only by `keep_firing_for`.
    #[serde(serialize_with = "time_or_never", skip_serializing_if = "Option::is_none")]
    pub keep_firing_since: Option<Timestamp>,
    /// Since when its rule cannot be evaluated, so that its state is only believed; left out when that is not so.
    #[serde(serialize_with = "time_or_never", skip_serializing_if = "Option::is_none")]
    pub unknown_since: Option<Timestamp>,
    /// The value when it was last returned; 0 for a native histogram, as in Prometheus.
    #[serde(serialize_with = "exponent_value")]
    pub value: f64,
}

/// Texts by name, in ascending order of names.
pub type TextMap = std::collections::BTreeMap<String, String>;

impl RulesView {
    /// What `filter` admits of `groups`, in any order.
    ///
    /// # Errors
    /// The page was to begin at a group that is gone.
    pub fn of(groups: &[SharedGroup], filter: &RulesFilter) -> Result<Self, FilterError> {
        let mut view = Self { groups: Vec::new(), group_next_token: None };
        let (groups_max, mut awaited) = match &filter.page {
            Some(Page { groups_max, token }) => (*groups_max, token.as_deref()),
            None => (usize::MAX, None),
        };
        for group in sorted(groups) {
            let group = lock(group);
            let spec = group.spec();
            if let Some(token) = awaited {
                if token != page_token(&spec.file, &spec.name) {
                    continue;
                }
                awaited = None;
            }
            if !filter.admits_group(&spec.file, &spec.name) {
                continue;
            }
            let group_view = GroupView::of(&group, filter);
            if group_view.rules.is_empty() {
                continue;
            }
            if view.groups.len() == groups_max {
                view.group_next_token = Some(page_token(&spec.file, &spec.name));
                break;
            }
            view.groups.push(group_view);
        }
        match awaited {
            Some(token) => {
                let problem = format!("invalid group_next_token '{token}'. were rule groups changed?");
                Err(FilterError::Parameter { name: "group_next_token", problem })
            }
            None => Ok(view),
        }
    }
}

impl AlertsView {
    /// The pending and firing alerts of `groups`, in ascending order of file, group name, rule and labels.
    #[must_use]
    pub fn of(groups: &[SharedGroup]) -> Self {
        let mut alerts = Vec::new();
        for group in sorted(groups) {
            for state in lock(group).rules() {
                alerts.extend(AlertView::all(state));
            }
        }
        Self { alerts }
    }
}

fn sorted(groups: &[SharedGroup]) -> Vec<&SharedGroup> {
    let mut sorted: Vec<&SharedGroup> = groups.iter().collect();
    sorted.sort_by_cached_key(|group| {
        let group = lock(group);
        (group.spec().file.clone(), group.spec().name.clone())
    });
    sorted
}

/// The SHA-256 of `file;name` in hexadecimal digits.
fn page_token(file: &str, name: &str) -> String {
    let digest = Sha256::new().chain_update(file).chain_update(";").chain_update(name).finalize();
    digest.iter().fold(String::new(), |mut token, byte| {
        let _ = write!(token, "{byte:02x}");
        token
    })
}

impl RulesFilter {
    /// Whether a rule is to be shown as it stands.
    fn admits(&self, rule: &RuleState) -> bool {
        let state = rule.rule.alerting().map(|_| gravest_state(rule));
        self.admits_rule(&rule.rule) && self.admits_outcome(state, health_name(&rule.health))
    }
}

impl GroupView {
    fn of(group: &Group, filter: &RulesFilter) -> Self {
        let spec = group.spec();
        let admitted = group.rules().iter().filter(|state| filter.admits(state));
        Self {
            name: spec.name.clone(),
            file: spec.file.clone(),
            rules: admitted.map(|state| RuleView::of(state, filter.exclude_alerts)).collect(),
            interval: millis(spec.interval_ms),
            limit: spec.limit,
            evaluation_time: group.last_duration(),
            last_evaluation: group.last_evaluation(),
        }
    }
}

impl RuleView {
    fn of(state: &RuleState, exclude_alerts: bool) -> Self {
        let Rule { name, query, labels, .. } = &*state.rule;
        let (name, query, labels) = (name.clone(), query.text().clone(), labels.clone());
        let outcome = OutcomeView::of(state);
        let Some(AlertingRule { hold_ms, keep_firing_ms, annotations, .. }) = state.rule.alerting() else {
            return Self::Recording(RecordingView { name, query, labels, outcome, r#type: "recording" });
        };
        Self::Alerting(AlertingView {
            state: gravest_state(state),
            name,
            query,
            duration: millis(*hold_ms),
            keep_firing_for: millis(*keep_firing_ms),
            labels,
            annotations: annotations.iter().map(|(name, text)| (name.to_string(), text.source().to_owned())).collect(),
            alerts: (!exclude_alerts).then(|| AlertView::all(state).collect()),
            outcome,
            r#type: "alerting",
        })
    }
}

impl OutcomeView {
    fn of(state: &RuleState) -> Self {
        let last_error = match &state.health {
            Health::Unknown | Health::Good => state.warning().unwrap_or_default(),
            Health::Bad(error) => error.to_string(),
        };
        let (evaluation_time, last_evaluation) = (state.last_duration, state.last_evaluation);
        let Cost { series, samples, cpu, matched_nothing } = state.cost;
        let cost = last_evaluation.map(|_| CostView { series, samples, cpu_seconds: cpu, matched_nothing });
        Self { health: health_name(&state.health), last_error, evaluation_time, last_evaluation, cost }
    }
}

impl AlertView {
    fn all(state: &RuleState) -> impl Iterator<Item = Self> {
        state.alerts.active().map(|(labels, instance)| Self::of(labels, instance, state.unknown_since))
    }

    fn of(labels: &Labels, instance: &AlertInstance, unknown_since: Option<Timestamp>) -> Self {
        let keep_firing_since = match instance.state {
            AlertState::Firing { keep_firing_since, .. } => keep_firing_since,
            AlertState::Pending | AlertState::Resolved { .. } => None,
        };
        Self {
            labels: labels.clone(),
            annotations: instance.annotations.clone(),
            state: state_name(instance.state),
            active_at: instance.active_at,
            keep_firing_since,
            unknown_since,
            value: instance.value,
        }
    }
}

fn gravest_state(state: &RuleState) -> &'static str {
    if state.last_evaluation.is_none() {
        return "unknown";
    }
    let mut names = state.alerts.active().map(|(_, instance)| state_name(instance.state));
    match names.next() {
        None => "inactive",
        Some("firing") => "firing",
        Some(_) if names.any(|name| name == "firing") => "firing",
        Some(_) => "pending",
    }
}

fn health_name(health: &Health) -> &'static str {
    match health {
        Health::Unknown => "unknown",
        Health::Good => "ok",
        Health::Bad(_) => "err",
    }
}

fn state_name(state: AlertState) -> &'static str {
    match state {
        AlertState::Pending => "pending",
        AlertState::Firing { .. } => "firing",
        AlertState::Resolved { .. } => "inactive",
    }
}

fn millis(millis: i64) -> Duration {
    Duration::from_millis(millis.max(0).unsigned_abs())
}

/// Whole seconds without a decimal point, as Go prints them.
fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    if duration.subsec_nanos() == 0 {
        serializer.serialize_u64(duration.as_secs())
    } else {
        serializer.serialize_f64(duration.as_secs_f64())
    }
}

/// Never is the year 1, the zero time of Go.
fn time_or_never<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => time(at, serializer),
        None => serializer.serialize_str("0001-01-01T00:00:00Z"),
    }
}

fn time<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(at) => serializer.collect_str(&at),
        Err(_) => serializer.serialize_str("0001-01-01T00:00:00Z"),
    }
}

fn exponent_value<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&model::text::format_exponent(*value))
}

fn label_map<S: Serializer>(labels: &Labels, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(labels)
}

fn annotation_map<S: Serializer>(annotations: &Annotations, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(annotations.len()))?;
    for (name, text) in annotations.iter() {
        map.serialize_entry(&**name, &**text)?;
    }
    map.end()
}

#[cfg(test)]
mod tests;
