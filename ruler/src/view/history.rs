//! The last evaluations of rules: the JSON of `/api/v1/rules/history`.

use super::{TextMap, seconds, sorted, time};
use crate::driver::{SharedGroup, lock};
use crate::filter::RulesFilter;
use crate::group::GroupSpec;
use crate::rule_state::RuleState;
use crate::state::RuleId;
use crate::transition::PastEvaluation;
use model::time::Timestamp;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// `data` of `/api/v1/rules/history`.
#[derive(Debug, Serialize)]
pub struct RuleHistoryView {
    /// In ascending order of file, group and place in the group.
    pub rules: Vec<PastRuleView>,
}

/// One rule.
#[derive(Debug, Serialize)]
pub struct PastRuleView {
    /// Which one.
    #[serde(skip)]
    pub id: Arc<RuleId>,
    /// Distance of the slots of its group.
    #[serde(skip)]
    pub interval_ms: i64,
    /// Path of its file.
    pub file: String,
    /// Name of its group.
    pub group: String,
    /// Its name.
    pub name: String,
    /// `alerting` or `recording`.
    pub r#type: &'static str,
    /// Labels as configured, the group's included.
    pub labels: TextMap,
    /// Newest first: at first those that the group remembers, at most [`crate::transition::EVALUATIONS_KEPT`].
    pub evaluations: Vec<EvaluationView>,
}

/// One evaluation.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EvaluationView {
    /// When it began.
    #[serde(serialize_with = "time")]
    pub time: Timestamp,
    /// How long it took.
    #[serde(serialize_with = "seconds")]
    pub duration: Duration,
    /// Samples that it returned.
    pub samples: u32,
    /// `ok` or `err`.
    pub health: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Arc<str>>,
}

impl RuleHistoryView {
    /// At most `rules_max` rules of `groups` that `filter` admits; its pages do not count. The flag says whether there are more.
    #[must_use]
    pub fn of(groups: &[SharedGroup], filter: &RulesFilter, rules_max: usize) -> (Self, bool) {
        let mut rules = Vec::new();
        for group in sorted(groups) {
            let group = lock(group);
            let spec = group.spec();
            if !filter.admits_group(&spec.file, &spec.name) {
                continue;
            }
            for state in group.rules().iter().filter(|state| filter.admits(state)) {
                if rules.len() == rules_max {
                    return (Self { rules }, true);
                }
                rules.push(PastRuleView::of(spec, state));
            }
        }
        (Self { rules }, false)
    }
}

impl PastRuleView {
    fn of(spec: &GroupSpec, state: &RuleState) -> Self {
        Self {
            id: state.id.clone(),
            interval_ms: spec.interval_ms,
            file: spec.file.clone(),
            group: spec.name.clone(),
            name: state.rule.name.clone(),
            r#type: if state.rule.alerting().is_some() { "alerting" } else { "recording" },
            labels: state.rule.labels.clone(),
            evaluations: state.recent.newest_first().map(EvaluationView::of).collect(),
        }
    }
}

impl EvaluationView {
    /// Of one that is remembered.
    #[must_use]
    pub fn of(past: PastEvaluation) -> Self {
        let PastEvaluation { at, took, samples, error } = past;
        let health = if error.is_some() { "err" } else { "ok" };
        Self { time: at, duration: took, samples, health, last_error: error }
    }
}
