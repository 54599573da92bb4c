//! How a group was configured, as far as the next process has to know: which rules there were and in which slots they wrote, so
//! that what is gone can be ended, and what changed can be told.

use super::{GroupId, RuleId};
use crate::ended::EarlierSlots;
use crate::group::GroupSpec;
use crate::rule::{AlertingRule, Rule};
use hashbrown::HashMap;
use model::time::Timestamp;
use std::fmt::Write;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// A group as it was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupShape {
    /// Which group.
    pub id: Arc<GroupId>,
    /// Distance of its slots, at least 1.
    pub interval_ms: i64,
    /// How far before the slot samples are written.
    pub query_offset_ms: i64,
    /// Its rules in their order.
    pub rules: Vec<RuleShape>,
}

/// One rule of a [`GroupShape`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleShape {
    /// Which rule.
    pub id: Arc<RuleId>,
    /// Whether it is an alerting rule.
    pub is_alerting: bool,
    /// Hash of everything that [`Rule::definition`] says.
    pub digest: u64,
}

/// What a new configuration did to one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleChange {
    /// There was none of its name and labels.
    Added,
    /// Expression, durations or annotations are others.
    Changed,
    /// It is gone.
    Removed,
}

impl RuleChange {
    /// Its name, in small letters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

impl GroupShape {
    /// Of a group that is remembered as `id`, and its rules as `ids`, in their order.
    #[must_use]
    pub fn of(spec: &GroupSpec, id: Arc<GroupId>, ids: &[Arc<RuleId>]) -> Self {
        let rule = |(rule, id): (&Arc<Rule>, &Arc<RuleId>)| RuleShape {
            id: id.clone(),
            is_alerting: rule.alerting().is_some(),
            digest: xxh3_64(rule.definition().as_bytes()),
        };
        let GroupSpec { interval_ms, query_offset_ms, .. } = *spec;
        Self { id, interval_ms, query_offset_ms, rules: spec.rules.iter().zip(ids).map(rule).collect() }
    }

    /// Where its samples are, if `last_slot` is the last that was evaluated.
    #[must_use]
    pub fn slots(&self, last_slot: Timestamp) -> EarlierSlots {
        let last = Timestamp(last_slot.0.saturating_sub(self.query_offset_ms));
        EarlierSlots { last, interval_ms: self.interval_ms }
    }

    /// What happened to the rules since the group was configured as `earlier`, if it was: those of now in their order, then those
    /// that are gone.
    #[must_use]
    pub fn changes_since(&self, earlier: Option<&Self>) -> Vec<(Arc<RuleId>, RuleChange)> {
        let before = earlier.map_or(&[][..], |earlier| earlier.rules.as_slice());
        let mut known: HashMap<&Arc<RuleId>, &RuleShape> = before.iter().map(|rule| (&rule.id, rule)).collect();
        let mut changes = Vec::new();
        for rule in &self.rules {
            match known.remove(&rule.id) {
                None => changes.push((rule.id.clone(), RuleChange::Added)),
                Some(RuleShape { is_alerting, digest, .. })
                    if *is_alerting != rule.is_alerting || *digest != rule.digest =>
                {
                    changes.push((rule.id.clone(), RuleChange::Changed));
                }
                Some(_) => {}
            }
        }
        let gone = before.iter().filter(|rule| known.contains_key(&rule.id));
        changes.extend(gone.map(|rule| (rule.id.clone(), RuleChange::Removed)));
        changes
    }
}

impl Rule {
    /// Everything about the rule but its name and labels, as lines of a rule file. It stays the same from one version of this
    /// program to the next.
    #[must_use]
    pub fn definition(&self) -> String {
        let mut text = format!("expr: {}\n", self.query.text());
        let Some(AlertingRule { hold_ms, keep_firing_ms, on_ingest, annotations, .. }) = self.alerting() else {
            return text;
        };
        for (name, millis) in [("for", *hold_ms), ("keep_firing_for", *keep_firing_ms)] {
            if millis != 0 {
                let _ = writeln!(text, "{name}: {}", promql::duration::format_ms(millis));
            }
        }
        if *on_ingest {
            text.push_str("evaluate: on_ingest\n");
        }
        for (name, annotation) in annotations {
            let _ = writeln!(text, "annotations.{name}: {}", annotation.source());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::spec;

    fn shape(rules: &str) -> GroupShape {
        let spec = spec(&format!("groups:\n- name: g\n  rules: [{rules}]\n"));
        GroupShape::of(&spec, Arc::new(GroupId::of(&spec)), &RuleId::all_of(&spec))
    }

    fn told(now: &str, before: &str) -> Vec<String> {
        let changes = shape(now).changes_since(Some(&shape(before)));
        changes.iter().map(|(id, change)| format!("{} {}", id.name, change.name())).collect()
    }

    #[test]
    fn changes_of_a_group_are_told_by_rule() {
        let one = "{record: a, expr: up}";
        assert_eq!(told(one, one), [""; 0]);
        assert_eq!(told("{record: a, expr: up  }, {record: b, expr: up}", one), ["b added"]);
        assert_eq!(told("{record: b, expr: up}", one), ["b added", "a removed"]);
        assert_eq!(told("{record: a, expr: down}", one), ["a changed"]);
        assert_eq!(told("{alert: a, expr: up}", one), ["a changed"], "what it wrote before is no alert");
        assert_eq!(told("{record: a, expr: up, labels: {x: y}}", one), ["a added", "a removed"]);
        let alert = "{alert: A, expr: up, for: 1m, annotations: {t: x}}";
        assert_eq!(told("{alert: A, expr: up, for: 2m, annotations: {t: x}}", alert), ["A changed"]);
        assert_eq!(told("{alert: A, expr: up, for: 60s, annotations: {t: y}}", alert), ["A changed"]);
        assert_eq!(told("{alert: A, expr: up, for: 60s, annotations: {t: x}}", alert), [""; 0]);
        assert_eq!(shape(one).changes_since(None).len(), 1);
    }
}
