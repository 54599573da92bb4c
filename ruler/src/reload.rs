//! What a new set of groups means for the running ones.
//!
//! Pure: the server stops, starts and swaps what the [`ReloadPlan`] says. A group that did not change is left alone with its
//! timer; one that changed is built anew and takes over the state; one that is gone leaves series behind, which get stale
//! markers after two of its intervals, unless a rule that was moved or renamed writes them by then.

use crate::driver::{SharedGroup, lock};
use crate::group::{Group, GroupSettings, GroupSpec};
use crate::ports::RuleSample;
use crate::rule_state::markers;
use hashbrown::HashSet;
use model::labels::Labels;
use model::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// What to do with each group. Groups are the same when file and name are.
#[derive(Debug, Default, PartialEq)]
pub struct ReloadPlan {
    /// Running and wanted as they are.
    pub keep: Vec<GroupSpec>,
    /// To be started. One that is running already is replaced, and its state taken over.
    pub start: Vec<GroupSpec>,
    /// Running and wanted no more, in ascending order of file and name.
    pub stop: Vec<GroupSpec>,
}

/// Compares the running groups with the wanted ones. No two of either have one file and name; the order of the wanted ones
/// is kept.
#[must_use]
pub fn plan(running: Vec<(GroupSpec, GroupSettings)>, wanted: Vec<GroupSpec>, settings: &GroupSettings) -> ReloadPlan {
    let identity = |spec: &GroupSpec| (spec.file.clone(), spec.name.clone());
    let mut running: BTreeMap<_, _> = running.into_iter().map(|group| (identity(&group.0), group)).collect();
    let mut plan = ReloadPlan::default();
    for spec in wanted {
        match running.remove(&identity(&spec)) {
            Some((same, under)) if same == spec && under == *settings => plan.keep.push(spec),
            Some(_) | None => plan.start.push(spec),
        }
    }
    plan.stop = running.into_values().map(|(spec, _)| spec).collect();
    plan
}

/// What remains of a group that a reload took away.
#[derive(Debug, Clone, PartialEq)]
pub struct Farewell {
    series: HashSet<Labels>,
    at: Timestamp,
    /// How long to wait before [`Farewell::markers`]: time for a moved rule to write the series again.
    pub wait: Duration,
}

impl Farewell {
    /// Of a group that was stopped at `now`.
    #[must_use]
    pub fn of(group: &Group, now: Timestamp) -> Self {
        let spec = group.spec();
        Self {
            series: group.written(),
            at: Timestamp(now.0.saturating_sub(spec.query_offset_ms)),
            wait: Duration::from_millis(spec.interval_ms.unsigned_abs().saturating_mul(2)),
        }
    }

    /// Markers, at the time when the group was stopped, for the series that no running group writes.
    #[must_use]
    pub fn markers<'a>(mut self, running: impl IntoIterator<Item = &'a SharedGroup>) -> Vec<RuleSample> {
        for group in running {
            lock(group).strike_written(&mut self.series);
        }
        let mut series: Vec<Labels> = self.series.into_iter().collect();
        series.sort_unstable();
        markers(series.iter(), self.at)
    }
}

#[cfg(test)]
mod tests;
