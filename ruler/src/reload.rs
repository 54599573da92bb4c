//! What a new set of groups means for the running ones.
//!
//! Pure: the server stops, starts and swaps what the [`ReloadPlan`] says. A group that did not change is left alone with its
//! timer; one that changed is built anew and takes over the state; one that is gone leaves series behind, which get stale
//! markers after two of its intervals, unless a rule that was moved or renamed writes them by then. So do those of groups and
//! rules that were taken away while no process ran.

use crate::driver::{SharedGroup, lock};
use crate::ended::{EarlierSeries, Unclaimed};
use crate::evaluation::ALERT_NAME;
use crate::group::{Group, GroupSettings, GroupSpec};
use crate::ports::RuleSample;
use crate::rule_state::markers;
use crate::state::{LeftGroup, RuleMemory};
use hashbrown::HashSet;
use model::labels::Labels;
use model::time::Timestamp;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
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

/// What remains of groups and rules that are gone: taken away by a reload, or left behind by an earlier process.
#[derive(Debug, Clone, PartialEq)]
pub struct Farewell {
    series: HashSet<Labels>,
    /// Where the store knows what was written: it is asked at [`Farewell::at`], and [`Farewell::learn`] takes in what it answers.
    pub earlier: Vec<EarlierSeries>,
    /// The time of the markers: when the group was stopped, or this process began.
    pub at: Timestamp,
    /// How long to wait before [`Farewell::markers`]: time for a moved rule to write the series again.
    pub wait: Duration,
}

impl Farewell {
    /// Of a group that was stopped at `now`.
    #[must_use]
    pub fn of(group: &Group, now: Timestamp) -> Self {
        let GroupSpec { interval_ms, query_offset_ms, .. } = *group.spec();
        Self { series: group.written(), ..Self::new(interval_ms, query_offset_ms, now) }
    }

    /// Of what [`Group::restore`] returned, in a process that began at `now`.
    #[must_use]
    pub fn of_unclaimed(unclaimed: Unclaimed, spec: &GroupSpec, now: Timestamp) -> Self {
        let Unclaimed { series, earlier } = unclaimed;
        Self { series: series.into_iter().collect(), earlier, ..Self::new(spec.interval_ms, spec.query_offset_ms, now) }
    }

    /// Of a group that an earlier process had and that did not begin again in the one that began at `now`.
    #[must_use]
    pub fn of_left(left: LeftGroup, now: Timestamp) -> Self {
        let LeftGroup { shape, memory, .. } = left;
        let slots = memory.last_slot.map(|slot| shape.slots(slot));
        let recording = shape.rules.iter().filter(|rule| !rule.is_alerting);
        let earlier =
            slots.into_iter().flat_map(|slots| recording.clone().map(move |rule| EarlierSeries::of(&rule.id, slots)));
        let alerts = memory.gone.into_iter().flat_map(RuleMemory::written);
        Self {
            series: alerts.collect(),
            earlier: earlier.collect(),
            ..Self::new(shape.interval_ms, shape.query_offset_ms, now)
        }
    }

    fn new(interval_ms: i64, query_offset_ms: i64, now: Timestamp) -> Self {
        Self {
            series: HashSet::new(),
            earlier: Vec::new(),
            at: Timestamp(now.0.saturating_sub(query_offset_ms)),
            wait: two_intervals(interval_ms),
        }
    }

    /// Fewer of them: those that wait as long for the same time become one. What has nothing to end is left out.
    #[must_use]
    pub fn join(all: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut joined: BTreeMap<(Duration, Timestamp), Self> = BTreeMap::new();
        for farewell in all.into_iter().filter(|farewell| !farewell.series.is_empty() || !farewell.earlier.is_empty()) {
            match joined.entry((farewell.wait, farewell.at)) {
                Entry::Occupied(known) => {
                    let known = known.into_mut();
                    known.series.extend(farewell.series);
                    known.earlier.extend(farewell.earlier);
                }
                Entry::Vacant(vacant) => {
                    vacant.insert(farewell);
                }
            }
        }
        joined.into_values().collect()
    }

    /// Takes in what the store knows of one of [`Farewell::earlier`].
    pub fn learn(&mut self, found: Vec<Labels>) {
        self.series.extend(found);
    }

    /// How long to wait on for running rules that may write such series and were not evaluated yet, so that nobody knows what they
    /// write; `None` if there are none. An alerting rule that looks since when its alerts are active writes nothing before it has
    /// seen that, and a marker would hide it.
    #[must_use]
    pub fn waits_for<'a>(&self, running: impl IntoIterator<Item = &'a SharedGroup>) -> Option<Duration> {
        let mut names: HashSet<&str> = self.earlier.iter().map(|series| series.name.as_str()).collect();
        // A recorded series may have a label of that name, too.
        names.extend(self.series.iter().flat_map(|labels| [labels.get(ALERT_NAME), labels.metric_name()]).flatten());
        let waits = running.into_iter().filter_map(|group| {
            let group = lock(group);
            let mut rules = group.rules().iter().filter(|state| names.contains(state.rule.name.as_str()));
            rules.any(|state| !state.is_settled).then_some(two_intervals(group.spec().interval_ms))
        });
        waits.max()
    }

    /// Markers, at [`Farewell::at`], for the series that no running group writes.
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

fn two_intervals(interval_ms: i64) -> Duration {
    Duration::from_millis(interval_ms.unsigned_abs().saturating_mul(2))
}

#[cfg(test)]
mod tests;
