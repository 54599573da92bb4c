//! A rule group: which rule is evaluated when, and what follows.
//!
//! A state machine without waiting. The rules of a slot come in batches that have nothing to do with each other
//! (`dependency.rs`). Each rule's alerts leave at once; the samples of a batch are stored before the next batch begins, so that a
//! rule reads what earlier ones wrote:
//!
//! ```text
//! begin ─▶ next_batch ─▶ begin_rule ─▶ handle_evaluation ─▶ handle_append ─▶ next_batch … ─▶ next_farewell ─▶ handle_farewell ─▶ finish
//! ```
//!
//! Slots that were missed or failed are evaluated afterwards, before the newest one if that does not make it late
//! (`repair.rs`).
//!
//! Invariants: an evaluation that failed changes neither alerts nor the set of series that may get stale markers. A series
//! gets a marker in the first successful evaluation that no longer returns it. Alerts go through slots in ascending order.
//!
//! State from before a reload comes by [`Group::copy_state`], state from before a restart by [`Group::restore`].

mod early; // between slots
mod slot; // evaluates one

use crate::annotate::TemplateContext;
use crate::clock_watch::ClockWatch;
use crate::dependency::Dependencies;
use crate::ended::{EarlierSeries, EarlierSlots, Unclaimed};
use crate::error::RuleError;
use crate::ports::{Moment, RuleSample};
use crate::repair::{Backlog, RepairTally, comes_first, fits_before};
use crate::restore::ForRestore;
use crate::rule::Rule;
use crate::rule_state::{AlertPolicy, RuleState};
use crate::schedule::{Schedule, Slot};
use crate::state::shape::GroupShape;
use crate::state::{Departure, GroupId, GroupMemory, RuleId, RuleMemory};
use crate::stats::GroupStats;
use crate::transition::{PastEvaluation, Transition};
use hashbrown::{HashMap, HashSet};
use model::labels::Labels;
use model::time::Timestamp;
use slot::{Iteration, Unsent};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use slot::Work;

/// A clock that was set back by more was wrong before; by less, its slots come again and are left out.
const SET_BACK_MAX_MS: i64 = 60 * 60 * 1000;

/// A group as it was configured.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSpec {
    /// Path of the rule file.
    pub file: String,
    /// Unique in its file.
    pub name: String,
    /// Distance of the slots, at least 1.
    pub interval_ms: i64,
    /// How far before the slot queries look and samples are written.
    pub query_offset_ms: i64,
    /// Most alerts or series of one rule; 0 and negative numbers mean any number.
    pub limit: i64,
    /// What becomes of alerts that are too many or not known.
    pub policy: AlertPolicy,
    /// Slots are multiples of the interval.
    pub aligned: bool,
    /// How long a slot waits at most for samples as new as itself; 0: not at all.
    pub wait_for_ingest_ms: i64,
    /// In the order of evaluation.
    pub rules: Vec<Arc<Rule>>,
}

impl GroupSpec {
    /// Its slots.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        if self.aligned {
            Schedule::aligned(self.interval_ms)
        } else {
            Schedule::new(&self.file, &self.name, self.interval_ms)
        }
    }

    /// The name that is unique among all groups: `file;name`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{};{}", self.file, self.name)
    }
}

/// What is the same for all groups.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSettings {
    /// What templates know besides the result.
    pub context: Arc<TemplateContext>,
    /// How long to wait before an alert is sent again.
    pub resend_delay_ms: i64,
    /// How far back slots that were missed or failed are evaluated afterwards; 0 and less: not at all.
    pub repair_window_ms: i64,
    /// How long firing alerts are sent on while their rule cannot be evaluated.
    pub unknown_max_ms: i64,
    /// How holds are continued that nobody could look after.
    pub for_restore: ForRestore,
}

/// What follows from the evaluation of a rule. The alerts go out first: a stuck store must not silence them.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// To be remembered, and to the Alertmanagers.
    pub departure: Option<Departure>,
    /// To storage, stale markers included. [`Group::handle_append`] is told what became of them, even if there are none.
    pub samples: Vec<RuleSample>,
    /// To whoever keeps logs.
    pub events: Vec<GroupEvent>,
}

/// What came of a slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Finished {
    /// The slot up to which all rules were evaluated, if that is a new one.
    pub complete: Option<Timestamp>,
    /// How long the evaluation of the group took, unless it only made up for a slot that was missed or failed.
    pub took: Option<Duration>,
}

/// Something that an operator may want to know.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupEvent {
    /// Slots passed while the group was busy.
    IterationsMissed {
        /// How many.
        missed: u64,
    },
    /// The wall clock was set.
    ClockSet {
        /// By how many milliseconds, negative if it was set back.
        by_ms: i64,
    },
    /// Slots that were missed or failed are too old to be evaluated afterwards.
    SlotsLost {
        /// How many.
        lost: u64,
    },
    /// A rule could not be evaluated, or nothing it returned could be stored.
    RuleFailed {
        /// Position of the rule in the group, from 0.
        index: usize,
        /// Which rule.
        rule: Arc<Rule>,
        /// Why.
        error: RuleError,
    },
    /// Storage refused some of the samples of a rule.
    SamplesDiscarded {
        /// Position of the rule in the group, from 0.
        index: usize,
        /// Which rule.
        rule: Arc<Rule>,
        /// How many.
        count: usize,
        /// Why the last of them was refused.
        reason: String,
    },
    /// Templates of a rule could not be expanded; the alerts went out with the error in their place.
    TemplatesFailed {
        /// Which rule.
        rule: Arc<Rule>,
        /// How many.
        count: u64,
        /// Why the first of them failed.
        error: String,
    },
    /// A rule returns more alerts than the limit of its group, and some are left out from now on.
    AlertsLeftOut {
        /// Which rule.
        rule: Arc<Rule>,
        /// How many.
        count: usize,
    },
    /// Stale markers at the end of an iteration could not be stored; they will be tried again.
    FarewellFailed {
        /// Why.
        error: String,
    },
    /// Alerts of a rule changed.
    AlertsChanged {
        /// Which rule.
        rule: Arc<RuleId>,
        /// In which slot.
        slot: Timestamp,
        /// Every change.
        transitions: Arc<[Transition]>,
    },
    /// A rule failed that was good before, or is good again.
    HealthChanged {
        /// Which rule.
        rule: Arc<RuleId>,
        /// Whether it is an alerting rule.
        is_alerting: bool,
        /// In which slot.
        slot: Timestamp,
        /// Why it failed; `None`: it is good again.
        error: Option<String>,
    },
    /// How evaluations went, each told once: some time later, or soon after a rule failed or is good again.
    Evaluated {
        /// By rule, oldest first.
        evaluations: Arc<[(Arc<RuleId>, Vec<PastEvaluation>)]>,
    },
}

/// The group.
#[derive(Debug)]
pub struct Group {
    id: Arc<GroupId>,
    spec: GroupSpec,
    settings: GroupSettings,
    rules: Vec<RuleState>,
    /// Series of rules that a reload took away, those whose next sample is none that can be stored, and those that an earlier
    /// process wrote for rules that are still there; each that no rule writes gets a marker at the end of the iteration.
    orphans: Vec<Labels>,
    schedule: Schedule,
    dependencies: Dependencies,
    iteration: Option<Iteration>,
    /// The slot that is to be evaluated when what comes before it is.
    due: Option<Due>,
    backlog: Backlog,
    /// How many lost slots were told of.
    told_lost: u64,
    /// Rules that failed in an older slot of this round: newer slots wait for it.
    stuck: BTreeSet<usize>,
    /// Samples of alerts that could not be stored.
    unsent: Unsent,
    /// Whether it is time to tell how evaluations went.
    has_news: bool,
    /// Whether a slot was looked for yet.
    has_begun: bool,
    /// Slots before this one may have been evaluated by an earlier process.
    first_own_slot: Timestamp,
    clock: ClockWatch,
    /// How often the clock was set, and by how much the last time, until that is told.
    clock_steps: u64,
    untold_step_ms: Option<i64>,
    /// A slot that came again because the clock was set back.
    held: Option<Timestamp>,
    /// The newest slot that was evaluated.
    newest: Option<Timestamp>,
    /// The time of the last early evaluation.
    last_early: Option<Timestamp>,
    /// The last slot up to which all rules were evaluated.
    last_slot: Option<Timestamp>,
    /// Wall clock time of the last evaluation.
    last_evaluation: Option<Timestamp>,
    last_duration: Duration,
    stats: GroupStats,
}

/// A slot that has to wait for older ones.
#[derive(Debug, Clone, Copy)]
struct Due {
    slot: Timestamp,
    since: Moment,
}

impl Group {
    /// A group without state.
    #[must_use]
    pub fn new(spec: GroupSpec, settings: GroupSettings) -> Self {
        let schedule = spec.schedule();
        let dependencies = Dependencies::of(&spec.rules);
        let ids = RuleId::all_of(&spec);
        let rules =
            spec.rules.iter().cloned().zip(ids).map(|(rule, id)| RuleState::new(rule, id, spec.policy)).collect();
        Self {
            id: Arc::new(GroupId::of(&spec)),
            spec,
            settings,
            rules,
            orphans: Vec::new(),
            dependencies,
            schedule,
            iteration: None,
            due: None,
            backlog: Backlog::default(),
            told_lost: 0,
            stuck: BTreeSet::new(),
            unsent: Unsent::default(),
            has_news: false,
            has_begun: false,
            first_own_slot: Timestamp(i64::MIN),
            clock: ClockWatch::default(),
            clock_steps: 0,
            untold_step_ms: None,
            held: None,
            newest: None,
            last_early: None,
            last_slot: None,
            last_evaluation: None,
            last_duration: Duration::ZERO,
            stats: GroupStats::default(),
        }
    }

    /// Which group it is.
    #[must_use]
    pub fn id(&self) -> &Arc<GroupId> {
        &self.id
    }

    /// How it was configured.
    #[must_use]
    pub fn spec(&self) -> &GroupSpec {
        &self.spec
    }

    /// What it shares with all groups.
    #[must_use]
    pub fn settings(&self) -> &GroupSettings {
        &self.settings
    }

    /// Its rules in the order of evaluation.
    #[must_use]
    pub fn rules(&self) -> &[RuleState] {
        &self.rules
    }

    /// The last slot up to which all rules were evaluated, perhaps by an earlier process.
    #[must_use]
    pub fn last_slot(&self) -> Option<Timestamp> {
        self.last_slot
    }

    /// When the last evaluation began.
    #[must_use]
    pub fn last_evaluation(&self) -> Option<Timestamp> {
        self.last_evaluation
    }

    /// How long the last evaluation took.
    #[must_use]
    pub fn last_duration(&self) -> Duration {
        self.last_duration
    }

    /// What was counted.
    #[must_use]
    pub fn stats(&self) -> &GroupStats {
        &self.stats
    }

    /// What became of the slots that were missed or failed.
    #[must_use]
    pub fn repairs(&self) -> RepairTally {
        self.backlog.tally()
    }

    /// How many slots were missed or failed and are to be evaluated yet.
    #[must_use]
    pub fn backlog_len(&self) -> usize {
        self.backlog.len()
    }

    /// How long to sleep before [`Group::begin`]; at most one interval.
    pub fn wait(&mut self, now: Timestamp) -> Duration {
        let next = Duration::from_millis(self.schedule.wait_ms(now));
        let has_work = self.due.is_some() || self.backlog.has_untried() && fits_before(self.last_duration, next);
        if has_work { Duration::ZERO } else { next }
    }

    /// Begins the slot that is due, or one that was missed or failed, if there is one.
    pub fn begin(&mut self, now: Moment) -> Option<Vec<GroupEvent>> {
        self.resume(now.wall);
        self.watch_clock(now);
        let missed = self.look_for_slot(now);
        let (slot, rules) = self.next_slot(now)?;
        self.begin_slot(slot, rules, now);
        let missed = (missed > 0).then_some(GroupEvent::IterationsMissed { missed });
        let lost = self.backlog.tally().lost;
        let told = std::mem::replace(&mut self.told_lost, lost);
        let lost = (lost > told).then(|| GroupEvent::SlotsLost { lost: lost - told });
        let step = self.untold_step_ms.take().map(|by_ms| GroupEvent::ClockSet { by_ms });
        Some(step.into_iter().chain(missed).chain(lost).collect())
    }

    fn watch_clock(&mut self, now: Moment) {
        if let Some(by_ms) = self.clock.look(now) {
            self.clock_steps += 1;
            self.untold_step_ms = Some(by_ms);
        }
        let is_doubtful = self.clock.is_doubtful(now);
        self.rules.iter_mut().for_each(|state| state.is_doubtful = is_doubtful);
    }

    /// How often the clock was set.
    #[must_use]
    pub fn clock_steps(&self) -> u64 {
        self.clock_steps
    }

    /// What follows from a slot that came again because the clock was set back: what fires is sent on, nothing else is known.
    pub fn take_held(&mut self) -> Vec<Departure> {
        let Some(slot) = self.held.take() else { return Vec::new() };
        let (settings, interval_ms) = (&self.settings, self.spec.interval_ms);
        self.rules.iter_mut().filter_map(|state| state.depart(slot, settings, interval_ms, true)).collect()
    }

    /// Slots that passed since an earlier process evaluated the last one are missed, too.
    fn resume(&mut self, now: Timestamp) {
        if self.has_begun {
            return;
        }
        self.has_begun = true;
        let next = self.schedule.next_slot(now);
        self.first_own_slot = next;
        if let Some(last) = self.last_slot {
            if self.schedule.slot_after(last) < self.oldest_repaired(now) {
                let restore = self.settings.for_restore;
                self.rules.iter_mut().for_each(|state| state.bridge(last, next, restore));
            }
            self.miss(self.schedule.slot_after(last), next, now);
        }
    }

    /// Wakes the schedule; returns how many slots passed while the group was busy.
    fn look_for_slot(&mut self, now: Moment) -> u64 {
        let Some(Slot { at, missed }) = self.schedule.wake(now.wall) else { return 0 };
        match self.newest {
            Some(newest) if at <= newest && newest.0.saturating_sub(at.0) <= SET_BACK_MAX_MS => {
                self.held = Some(at);
                return 0;
            }
            // The clock was wrong for long: what it said is no longer believed.
            Some(newest) if at <= newest => self.newest = None,
            Some(_) | None => {}
        }
        self.stats.iterations += 1 + missed;
        self.stuck.clear();
        let oldest = self.oldest_repaired(at);
        self.backlog.begin_round(oldest);
        // What came before the older slots took so long that their turn never came.
        let waiting = self.due.replace(Due { slot: at, since: now });
        let skipped = missed + u64::from(waiting.is_some());
        self.stats.iterations_missed += skipped;
        let interval_ms = self.spec.interval_ms;
        let first = match waiting {
            Some(Due { slot, .. }) => slot.0,
            None => at.0.saturating_sub(i64::try_from(missed).unwrap_or(i64::MAX).saturating_mul(interval_ms)),
        };
        self.miss(Timestamp(first), at, at);
        skipped
    }

    fn miss(&mut self, first: Timestamp, end: Timestamp, now: Timestamp) {
        let oldest = self.oldest_repaired(now);
        self.backlog.miss(first, end, self.spec.interval_ms, oldest);
    }

    /// The oldest slot that is evaluated afterwards at `now`.
    fn oldest_repaired(&self, now: Timestamp) -> Timestamp {
        match self.settings.repair_window_ms {
            ..=0 => Timestamp(i64::MAX),
            window_ms => Timestamp(now.0.saturating_sub(window_ms)),
        }
    }

    /// The slot to evaluate now, and its rules if it is one that was missed or failed.
    fn next_slot(&mut self, now: Moment) -> Option<(Timestamp, Option<Vec<usize>>)> {
        let has_time = match self.due {
            Some(Due { since, .. }) => {
                let waited = now.monotonic.saturating_sub(since.monotonic);
                let interval = Duration::from_millis(self.spec.interval_ms.unsigned_abs());
                comes_first(self.backlog.untried(), self.last_duration, waited, interval)
            }
            None => fits_before(self.last_duration, Duration::from_millis(self.schedule.wait_ms(now.wall))),
        };
        if has_time && let Some((slot, rules)) = self.backlog.next(self.rules.len()) {
            return Some((slot, Some(rules)));
        }
        self.due.take().map(|due| (due.slot, None))
    }

    /// Continues where another process stopped. Returns what that wrote for rules that are gone, or under names that other groups
    /// record in the same slots, `shared` ones: which rule of which group writes it now cannot be told yet.
    pub fn restore(&mut self, mut memory: GroupMemory, shared: &BTreeSet<String>) -> Unclaimed {
        self.last_slot = memory.last_slot;
        self.newest = memory.last_slot;
        let earlier = memory.last_slot.map(|slot| self.earlier_series(slot, memory.shape.as_deref()));
        let (mut unclaimed, mut earlier): (Vec<_>, HashMap<_, _>) = {
            let (shared, own): (Vec<_>, Vec<_>) =
                earlier.into_iter().flatten().partition(|(id, _)| shared.contains(&id.name));
            (shared.into_iter().map(|(_, series)| series).collect(), own.into_iter().collect())
        };
        // Nothing is remembered of a rule that was there and had no alerts; one that was not may come from another group.
        let had: Option<HashSet<&Arc<RuleId>>> =
            memory.shape.as_ref().map(|shape| shape.rules.iter().map(|rule| &rule.id).collect());
        let was_there =
            |id: &Arc<RuleId>| memory.last_slot.is_some() && had.as_ref().is_none_or(|had| had.contains(id));
        for state in &mut self.rules {
            earlier.remove(&state.id).into_iter().for_each(|series| state.continue_writing(series));
            match memory.rules.remove(&state.id) {
                Some(memory) => state.restore(memory),
                None if !was_there(&state.id) => state.continue_from_series(self.settings.for_restore),
                None => {}
            }
        }
        unclaimed.extend(earlier.into_values());
        Unclaimed { series: memory.gone.into_iter().flat_map(RuleMemory::written).collect(), earlier: unclaimed }
    }

    /// What recording rules wrote up to `last_slot`, when the group was configured as `shape`. A process that did not remember
    /// that had the rules of now, as far as anybody knows.
    fn earlier_series(&self, last_slot: Timestamp, shape: Option<&GroupShape>) -> Vec<(Arc<RuleId>, EarlierSeries)> {
        let GroupSpec { query_offset_ms, interval_ms, aligned, .. } = self.spec;
        let (ids, slots): (Vec<&Arc<RuleId>>, EarlierSlots) = match shape {
            Some(shape) => {
                let recording = shape.rules.iter().filter(|rule| !rule.is_alerting);
                (recording.map(|rule| &rule.id).collect(), shape.slots(last_slot))
            }
            // Other groups with the same slots may be gone meanwhile: nobody knows.
            None if aligned => return Vec::new(),
            None => {
                let recording = self.rules.iter().filter(|state| state.rule.alerting().is_none());
                let last = Timestamp(last_slot.0.saturating_sub(query_offset_ms));
                (recording.map(|state| &state.id).collect(), EarlierSlots { last, interval_ms })
            }
        };
        ids.into_iter().map(|id| (id.clone(), EarlierSeries::of(id, slots))).collect()
    }

    /// How evaluations went since the last call, if it is time to tell or `at_once`.
    pub fn take_evaluations(&mut self, at_once: bool) -> Option<GroupEvent> {
        if !std::mem::take(&mut self.has_news) && !at_once {
            return None;
        }
        let told = self.rules.iter_mut().map(|state| (state.id.clone(), state.recent.take_untold()));
        let evaluations: Arc<[_]> = told.filter(|(_, evaluations)| !evaluations.is_empty()).collect();
        (!evaluations.is_empty()).then_some(GroupEvent::Evaluated { evaluations })
    }

    /// How long it took to find out what [`Group::restore`] was given, and to take it in.
    pub fn restored_in(&mut self, took: Duration) {
        self.stats.last_restore_secs = took.as_secs_f64();
    }

    /// How it is configured, as the next process has to know it.
    #[must_use]
    pub fn shape(&self) -> GroupShape {
        let ids: Vec<Arc<RuleId>> = self.rules.iter().map(|state| state.id.clone()).collect();
        GroupShape::of(&self.spec, self.id.clone(), &ids)
    }

    /// Continues where `old`, the same group before a reload, stopped. Rules are found again by name and labels, the first
    /// of several alike by the first. Series of rules that are gone get their markers in the next iteration.
    pub fn copy_state(&mut self, old: &Self) {
        self.copy_slots(old);
        self.last_evaluation = old.last_evaluation;
        self.last_duration = old.last_duration;
        self.stats = old.stats.clone();
        self.orphans = old.orphans.clone();
        let rules: Vec<Arc<Rule>> = self.rules.iter().map(|state| state.rule.clone()).collect();
        let mut unclaimed: HashMap<_, VecDeque<(usize, &RuleState)>> = HashMap::new();
        for (number, state) in old.rules.iter().enumerate() {
            unclaimed.entry((&state.rule.name, &state.rule.labels)).or_default().push_back((number, state));
        }
        let mut numbers = HashMap::new();
        for (new_number, (state, rule)) in self.rules.iter_mut().zip(&rules).enumerate() {
            let claimed = unclaimed.get_mut(&(&rule.name, &rule.labels)).and_then(VecDeque::pop_front);
            if let Some((number, old)) = claimed {
                state.copy(old);
                numbers.insert(number, new_number);
            }
        }
        self.backlog.renumber(|old| numbers.get(&old).copied(), old.rules.len());
        self.orphans.extend(unclaimed.into_values().flatten().flat_map(|(_, state)| state.written.iter().cloned()));
    }

    /// Goes on with the slots of `old`. Where the distance changed, what `old` missed is left alone.
    fn copy_slots(&mut self, old: &Self) {
        self.last_slot = old.last_slot;
        self.newest = old.newest;
        (self.clock, self.clock_steps) = (old.clock, old.clock_steps);
        self.has_begun = old.has_begun;
        self.first_own_slot = old.first_own_slot;
        self.told_lost = old.told_lost;
        if self.spec.interval_ms == old.spec.interval_ms {
            (self.schedule, self.backlog, self.due) = (old.schedule.clone(), old.backlog.clone(), old.due);
        } else {
            self.backlog = old.backlog.counted_only();
        }
    }

    /// The series that the group wrote, for markers when it is gone.
    #[must_use]
    pub fn written(&self) -> HashSet<Labels> {
        let written = self.rules.iter().flat_map(|state| &state.written);
        written.chain(&self.orphans).cloned().collect()
    }

    /// Removes from `series` those that this group writes.
    pub fn strike_written(&self, series: &mut HashSet<Labels>) {
        for labels in self.rules.iter().flat_map(|state| &state.written) {
            series.remove(labels);
        }
    }
}

#[cfg(test)]
mod tests;
