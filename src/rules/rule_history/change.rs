//! What happened to a rule or a group, as it is stored and shown.

use super::cut_to;
use crate::rules::history::pen::Noted;
use crate::rules::history::rfc3339;
use ruler::filter::RulesFilter;
use ruler::state::shape::RuleChange;
use ruler::state::{GroupId, RuleId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use storage::record_log::Record;

/// Longest definition or error in bytes; longer ones are cut.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Something that happened to a rule or a group.
#[derive(Debug, Clone)]
pub struct RuleEvent {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Of which group.
    pub group: Arc<GroupId>,
    /// To which rule; `None`: to the group.
    pub rule: Option<Arc<RuleId>>,
    /// What.
    pub what: RuleEventKind,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum RuleEventKind {
    /// The rules were changed; what the rule is from now on, unless it is gone.
    Configured(RuleChange, Option<String>),
    /// It failed after it had been good, for this reason.
    Failed(String),
    /// It is good after it had failed.
    Recovered,
    /// Slots passed while the group was busy; they come later.
    SlotsMissed(u64),
    /// Slots that were missed or failed are too old to be evaluated afterwards.
    SlotsLost(u64),
}

/// One change. Stored as JSON with these names (`docs/formats/record-log.md`); the API adds when it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeEntry {
    /// In RFC 3339; not stored.
    #[serde(skip_deserializing, skip_serializing_if = "String::is_empty")]
    pub time: String,
    /// Path of the rule file, or namespace.
    pub file: String,
    /// The group.
    pub group: String,
    /// The rule; empty: the group itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// Labels of the rule.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `added`, `changed`, `removed`, `failed`, `recovered`, `slots_missed`, `slots_lost`.
    pub what: String,
    /// What the rule is from then on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub definition: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// How many slots.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub slots: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Noted for RuleEvent {
    fn len(&self) -> usize {
        1
    }

    /// Bytes in memory, about.
    fn weight(&self) -> usize {
        let text = match &self.what {
            RuleEventKind::Configured(_, definition) => definition.as_ref().map_or(0, String::len),
            RuleEventKind::Failed(error) => error.len(),
            RuleEventKind::Recovered | RuleEventKind::SlotsMissed(_) | RuleEventKind::SlotsLost(_) => 0,
        };
        size_of_val(self) + text
    }

    fn encode(&self, out: &mut Vec<(i64, Vec<u8>)>) {
        // Texts have a form in JSON.
        out.push((self.at_ms, serde_json::to_vec(&ChangeEntry::of(self)).unwrap_or_default()));
    }
}

impl ChangeEntry {
    fn of(event: &RuleEvent) -> Self {
        let RuleEvent { group, rule, what, .. } = event;
        let mut entry = Self {
            time: String::new(),
            file: group.file.clone(),
            group: group.name.clone(),
            rule: rule.as_ref().map_or_else(String::new, |rule| rule.name.clone()),
            labels: rule.as_ref().map_or_else(BTreeMap::new, |rule| rule.labels.clone()),
            what: String::new(),
            definition: String::new(),
            error: String::new(),
            slots: 0,
        };
        let name = match what {
            RuleEventKind::Configured(change, definition) => {
                entry.definition = definition.as_deref().map(cut).unwrap_or_default();
                change.name()
            }
            RuleEventKind::Failed(error) => {
                entry.error = cut(error);
                "failed"
            }
            RuleEventKind::Recovered => "recovered",
            RuleEventKind::SlotsMissed(slots) => {
                entry.slots = *slots;
                "slots_missed"
            }
            RuleEventKind::SlotsLost(slots) => {
                entry.slots = *slots;
                "slots_lost"
            }
        };
        name.clone_into(&mut entry.what);
        entry
    }

    /// What is none was not written by this program.
    pub(super) fn read(record: &Record) -> Option<Self> {
        let entry: Self = serde_json::from_slice(&record.payload).ok()?;
        Some(Self { time: rfc3339(record.time_ms), ..entry })
    }

    /// Whether `filter` names the rule; what happened to a group has no rule.
    pub(super) fn is_named_by(&self, filter: &RulesFilter) -> bool {
        filter.admits_group(&self.file, &self.group) && filter.admits_named(&self.rule, &self.labels)
    }
}

fn cut(text: &str) -> String {
    cut_to(text, TEXT_BYTES_MAX).to_owned()
}
