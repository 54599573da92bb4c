//! What a group has to remember when the process ends: who remembers it, what changed in an evaluation, and what comes back.
//!
//! A rule is found again by its file, its group, its name and labels, and its number among those alike, so that editing one
//! rule does not touch the memory of the others.

pub mod codec;
pub mod shape;

use crate::alert_instance::{AlertInstance, AlertState};
use crate::alerting::RuleAlerts;
use crate::group::GroupSpec;
use crate::ports::AlertMessage;
use hashbrown::HashMap;
use model::labels::Labels;
use model::time::Timestamp;
use shape::GroupShape;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which group, unique in a process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId {
    /// Path of the rule file.
    pub file: String,
    /// Unique in its file.
    pub name: String,
}

/// Which rule, unique in a process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId {
    /// Its group.
    pub group: Arc<GroupId>,
    /// Name of the alert or of the recorded series.
    pub name: String,
    /// As configured, those of the group included.
    pub labels: BTreeMap<String, String>,
    /// How many rules of the group before it have the same name and labels.
    pub nth: u32,
}

/// What one evaluation of an alerting rule changed and who has to hear of it: made durable as a whole, then sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Departure {
    /// Whose alerts they are.
    pub rule: Arc<RuleId>,
    /// The rule's expression, for a link to it.
    pub expr: Arc<str>,
    /// The slot of the evaluation.
    pub slot: Timestamp,
    /// The slot of the last evaluation that did not fail: `slot` itself, unless this one did.
    pub last_good: Option<Timestamp>,
    /// The alerts that changed, each at most once.
    pub changes: Vec<Change>,
}

/// How one alert stands after an evaluation that changed it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Which alert.
    pub labels: Labels,
    /// How it stands; `None`: it is forgotten.
    pub instance: Option<AlertInstance>,
    /// The alert leaves for the Alertmanagers, and this is until when to believe it, or when it resolved.
    pub leaves_until: Option<Timestamp>,
}

/// What is remembered of a group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupMemory {
    /// The last slot in which all rules were evaluated.
    pub last_slot: Option<Timestamp>,
    /// By rule. A rule that is not named is not remembered.
    pub rules: HashMap<Arc<RuleId>, RuleMemory>,
    /// How it was configured before; `None` if nobody remembers that.
    pub shape: Option<Arc<GroupShape>>,
    /// Alerting rules that it had and that it no longer has.
    pub gone: Vec<RuleMemory>,
    /// It was taken out of the configuration since, and that was told.
    pub was_ended: bool,
}

/// A group that an earlier process had and that is configured no more.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftGroup {
    /// How it was configured.
    pub shape: Arc<GroupShape>,
    /// Whether it ran to the end of that process.
    pub did_run: bool,
    /// What is remembered of it: its rules are all gone.
    pub memory: GroupMemory,
}

/// What is remembered of a rule.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleMemory {
    /// The slot of the last evaluation that did not fail and changed something.
    pub last_good: Option<Timestamp>,
    /// Pending, firing and resolved alerts; labels are distinct.
    pub alerts: Vec<(Labels, AlertInstance)>,
}

impl RuleMemory {
    /// The series that its alerts had when they were written last.
    #[must_use]
    pub fn written(self) -> Vec<Labels> {
        let mut alerts = RuleAlerts::default();
        alerts.restore(self.alerts);
        alerts.written_before(self.last_good)
    }
}

impl GroupId {
    /// Of a group as it is configured.
    #[must_use]
    pub fn of(spec: &GroupSpec) -> Self {
        Self { file: spec.file.clone(), name: spec.name.clone() }
    }
}

impl RuleId {
    /// Of all rules of a group, in their order.
    #[must_use]
    pub fn all_of(spec: &GroupSpec) -> Vec<Arc<Self>> {
        let group = Arc::new(GroupId::of(spec));
        let mut seen: HashMap<_, u32> = HashMap::new();
        let ids = spec.rules.iter().map(|rule| {
            let alike = seen.entry((&rule.name, &rule.labels)).or_default();
            let nth = *alike;
            *alike += 1;
            Arc::new(Self { group: group.clone(), name: rule.name.clone(), labels: rule.labels.clone(), nth })
        });
        ids.collect()
    }
}

impl Departure {
    /// The alerts that leave, in the order of the changes.
    pub fn messages(&self) -> impl Iterator<Item = AlertMessage> {
        self.changes.iter().filter_map(|change| change.message(&self.expr))
    }
}

impl Change {
    /// The alert as it leaves, if it does.
    #[must_use]
    pub fn message(&self, expr: &Arc<str>) -> Option<AlertMessage> {
        let (ends_at, instance) = (self.leaves_until?, self.instance.as_ref()?);
        let (starts_at, resolved) = match instance.state {
            AlertState::Pending => return None,
            AlertState::Firing { fired_at, .. } => (fired_at, false),
            AlertState::Resolved { fired_at, .. } => (fired_at, true),
        };
        Some(AlertMessage {
            labels: self.labels.clone(),
            annotations: instance.annotations.clone(),
            starts_at,
            ends_at,
            resolved,
            seq: instance.seq,
            expr: expr.clone(),
        })
    }
}
