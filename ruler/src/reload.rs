//! What a new set of groups means for the running ones.
//!
//! Pure: the server stops, starts and swaps what the [`ReloadPlan`] says. A group that did not change is left alone with its
//! timer; one that changed is built anew and takes over the state; one that is gone leaves series behind, which get stale
//! markers after two of its intervals, unless a rule that was moved or renamed writes them by then.

use crate::driver::{SharedGroup, lock};
use crate::group::{Group, GroupSettings, GroupSpec};
use crate::ports::RuleSample;
use crate::rule_state::markers;
use hashbrown::{HashMap, HashSet};
use model::labels::Labels;
use model::time::Timestamp;
use std::time::Duration;

/// What to do with each group, by its key (see [`GroupSpec::key`]).
#[derive(Debug, Default, PartialEq)]
pub struct ReloadPlan {
    /// Running and wanted as they are.
    pub keep: Vec<String>,
    /// To be started. One whose key is running replaces it and takes over its state.
    pub start: Vec<GroupSpec>,
    /// Running and wanted no more.
    pub stop: Vec<String>,
}

/// Compares the running groups with the wanted ones. Keys of `wanted` are unique; the order is kept.
#[must_use]
pub fn plan<'a>(
    running: impl IntoIterator<Item = (&'a GroupSpec, &'a GroupSettings)>,
    wanted: Vec<GroupSpec>,
    settings: &GroupSettings,
) -> ReloadPlan {
    let mut running: HashMap<String, (&GroupSpec, &GroupSettings)> =
        running.into_iter().map(|group| (group.0.key(), group)).collect();
    let mut plan = ReloadPlan::default();
    for spec in wanted {
        let key = spec.key();
        match running.remove(&key) {
            Some((same, under)) if *same == spec && under == settings => plan.keep.push(key),
            _ => plan.start.push(spec),
        }
    }
    plan.stop = running.into_keys().collect();
    plan.stop.sort_unstable();
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
