//! A rule group: which rule is evaluated when, and what follows.
//!
//! A state machine without waiting. In each slot the rules run one after the other; each one's alerts and samples leave
//! before the next is asked, so that a rule reads what earlier ones wrote:
//!
//! ```text
//! begin ─▶ next_request ─▶ handle_evaluation ─▶ handle_append ─▶ next_request … ─▶ next_farewell ─▶ handle_farewell ─▶ finish
//! ```
//!
//! Invariants: an evaluation that failed changes neither alerts nor the set of series that may get stale markers. A series
//! gets a marker in the first successful evaluation that no longer returns it.
//!
//! State from before a reload comes by [`Group::copy_state`], state from before a restart by [`Group::restore`].

use crate::annotate::TemplateContext;
use crate::error::RuleError;
use crate::evaluation::{Evaluation, Request};
use crate::ports::{Discard, Moment, RuleSample};
use crate::rule::Rule;
use crate::rule_state::{Health, RuleState, markers};
use crate::schedule::{Schedule, Slot};
use crate::state::{Departure, GroupId, GroupMemory, RuleId};
use crate::stats::GroupStats;
use hashbrown::{HashMap, HashSet};
use model::labels::Labels;
use model::time::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

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
    /// In the order of evaluation.
    pub rules: Vec<Arc<Rule>>,
}

impl GroupSpec {
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

/// Something that an operator may want to know.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupEvent {
    /// Slots passed while the group was busy.
    IterationsMissed {
        /// How many.
        missed: u64,
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
    /// Stale markers at the end of an iteration could not be stored; they will be tried again.
    FarewellFailed {
        /// Why.
        error: String,
    },
}

/// The group.
#[derive(Debug)]
pub struct Group {
    id: Arc<GroupId>,
    spec: GroupSpec,
    settings: GroupSettings,
    rules: Vec<RuleState>,
    /// Series of rules that a reload took away, and those whose next sample is none that can be stored; each gets a marker
    /// at the end of the iteration.
    orphans: Vec<Labels>,
    schedule: Schedule,
    iteration: Option<Iteration>,
    /// The last slot in which all rules were evaluated.
    last_slot: Option<Timestamp>,
    /// Wall clock time of the last evaluation.
    last_evaluation: Option<Timestamp>,
    last_duration: Duration,
    stats: GroupStats,
}

/// The slot that is being evaluated.
#[derive(Debug)]
struct Iteration {
    slot: Timestamp,
    started: Moment,
    rule_started: Moment,
    /// The rule that comes next.
    index: usize,
    /// What a successful append of the current rule makes of its set of series, in the order of the samples.
    writing: Vec<Labels>,
    samples: u64,
}

impl Group {
    /// A group without state.
    #[must_use]
    pub fn new(spec: GroupSpec, settings: GroupSettings) -> Self {
        let schedule = Schedule::new(&spec.file, &spec.name, spec.interval_ms);
        let ids = RuleId::all_of(&spec);
        let rules = spec.rules.iter().cloned().zip(ids).map(|(rule, id)| RuleState::new(rule, id)).collect();
        Self {
            id: Arc::new(GroupId::of(&spec)),
            spec,
            settings,
            rules,
            orphans: Vec::new(),
            schedule,
            iteration: None,
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

    /// The last slot in which all rules were evaluated, perhaps by an earlier process.
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

    /// How long to sleep before [`Group::begin`]; at most one interval.
    pub fn wait(&mut self, now: Timestamp) -> Duration {
        Duration::from_millis(self.schedule.wait_ms(now))
    }

    /// Begins the slot that is due, if one is.
    pub fn begin(&mut self, now: Moment) -> Option<Vec<GroupEvent>> {
        let Slot { at, missed } = self.schedule.wake(now.wall)?;
        self.stats.iterations += 1 + missed;
        self.stats.iterations_missed += missed;
        self.iteration =
            Some(Iteration { slot: at, started: now, rule_started: now, index: 0, writing: Vec::new(), samples: 0 });
        Some(if missed > 0 { vec![GroupEvent::IterationsMissed { missed }] } else { Vec::new() })
    }

    /// The next rule to evaluate in this slot.
    pub fn next_request(&mut self, now: Moment) -> Option<Request> {
        let iteration = self.iteration.as_mut()?;
        let rule = &self.rules.get(iteration.index)?.rule;
        iteration.rule_started = now;
        self.stats.evaluations += 1;
        Some(Request {
            rule: rule.clone(),
            slot: iteration.slot,
            query_at: query_at(iteration.slot, &self.spec),
            limit: self.spec.limit.max(0).unsigned_abs(),
            context: self.settings.context.clone(),
        })
    }

    /// Takes in what the evaluation of the last [`Group::next_request`] came to. [`Group::handle_append`] comes next.
    pub fn handle_evaluation(&mut self, evaluation: Evaluation) -> Outcome {
        let Evaluation { result, templates } = evaluation;
        let (iteration, state) = current(&mut self.iteration, &mut self.rules);
        let mut outcome = Outcome::default();
        self.stats.shared.template_expansions += templates.expansions;
        self.stats.shared.template_failures += templates.failures;
        if let Some(error) = templates.first_error {
            let (rule, count) = (state.rule.clone(), templates.failures);
            outcome.events.push(GroupEvent::TemplatesFailed { rule, count, error });
        }
        let at = query_at(iteration.slot, &self.spec);
        let samples = result.and_then(|evaluated| state.apply(iteration.slot, at, evaluated, self.spec.limit));
        match samples {
            Ok(samples) => {
                state.health = Health::Good;
                state.last_good = Some(iteration.slot);
                iteration.samples += samples.len() as u64;
                iteration.writing = samples.iter().map(|sample| sample.labels.clone()).collect();
                let markers = state.markers(&samples, at);
                outcome.samples = samples;
                outcome.samples.extend(markers);
            }
            Err(error) => {
                self.stats.evaluation_failures += 1;
                state.health = Health::Bad(error.clone());
                let (index, rule) = (iteration.index, state.rule.clone());
                outcome.events.push(GroupEvent::RuleFailed { index, rule, error });
            }
        }
        outcome.departure = state.depart(iteration.slot, &self.settings, self.spec.interval_ms);
        outcome
    }

    /// Takes in what became of the samples of the last [`Outcome`]: index and reason of each refused one, or why none could
    /// be stored. Ends the evaluation of the rule.
    pub fn handle_append(&mut self, now: Moment, result: Result<Vec<(usize, Discard)>, String>) -> Vec<GroupEvent> {
        let (iteration, state) = current(&mut self.iteration, &mut self.rules);
        let index = iteration.index;
        iteration.index += 1;
        let duration = now.monotonic.saturating_sub(iteration.rule_started.monotonic);
        self.stats.shared.rule_durations.observe(duration);
        state.last_duration = duration;
        state.last_evaluation = Some(iteration.rule_started.wall);
        if matches!(state.health, Health::Bad(_)) {
            return Vec::new();
        }
        let writing = std::mem::take(&mut iteration.writing);
        match result {
            Ok(discarded) => {
                self.orphans.extend(state.unstorable(&writing, &discarded));
                state.wrote(index, writing, &discarded).into_iter().collect()
            }
            Err(error) => {
                self.stats.evaluation_failures += 1;
                let error = RuleError::Append(error);
                state.health = Health::Bad(error.clone());
                vec![GroupEvent::RuleFailed { index, rule: state.rule.clone(), error }]
            }
        }
    }

    /// Markers for the series that no rule ends by not returning them, once every rule of the slot has run.
    #[must_use]
    pub fn next_farewell(&self) -> Vec<RuleSample> {
        match &self.iteration {
            Some(iteration) if iteration.index == self.rules.len() => {
                markers(self.orphans.iter(), query_at(iteration.slot, &self.spec))
            }
            _ => Vec::new(),
        }
    }

    /// Takes in what became of [`Group::next_farewell`]. Refused markers are not missed: another rule writes the series.
    pub fn handle_farewell(&mut self, result: Result<Vec<(usize, Discard)>, String>) -> Vec<GroupEvent> {
        match result {
            Ok(_) => {
                self.orphans = Vec::new();
                Vec::new()
            }
            Err(error) => vec![GroupEvent::FarewellFailed { error }],
        }
    }

    /// Ends the slot, also when the group is told to stop in the middle of it. Returns the slot if all rules were evaluated.
    pub fn finish(&mut self, now: Moment) -> Option<Timestamp> {
        let iteration = self.iteration.take()?;
        let complete = (iteration.index == self.rules.len()).then_some(iteration.slot);
        self.last_slot = complete.or(self.last_slot);
        self.last_duration = now.monotonic.saturating_sub(iteration.started.monotonic);
        self.last_evaluation = Some(iteration.started.wall);
        self.stats.shared.group_durations.observe(self.last_duration);
        self.stats.last_evaluation_secs = iteration.started.wall.0 as f64 / 1000.0;
        self.stats.last_duration_secs = self.last_duration.as_secs_f64();
        self.stats.last_rule_durations_secs = self.rules.iter().map(|state| state.last_duration.as_secs_f64()).sum();
        self.stats.last_samples = iteration.samples;
        complete
    }

    /// Continues where another process stopped.
    pub fn restore(&mut self, mut memory: GroupMemory) {
        self.last_slot = memory.last_slot;
        for state in &mut self.rules {
            if let Some(memory) = memory.rules.remove(&state.id) {
                state.restore(memory);
            }
        }
    }

    /// Under which its rules are remembered, in their order.
    #[must_use]
    pub fn rule_ids(&self) -> Vec<Arc<RuleId>> {
        self.rules.iter().map(|state| state.id.clone()).collect()
    }

    /// Continues where `old`, the same group before a reload, stopped. Rules are found again by name and labels, the first
    /// of several alike by the first. Series of rules that are gone get their markers in the next iteration.
    pub fn copy_state(&mut self, old: &Self) {
        self.last_slot = old.last_slot;
        self.last_evaluation = old.last_evaluation;
        self.last_duration = old.last_duration;
        self.stats = old.stats.clone();
        self.orphans = old.orphans.clone();
        let rules: Vec<Arc<Rule>> = self.rules.iter().map(|state| state.rule.clone()).collect();
        let mut unclaimed: HashMap<_, VecDeque<&RuleState>> = HashMap::new();
        for state in &old.rules {
            unclaimed.entry((&state.rule.name, &state.rule.labels)).or_default().push_back(state);
        }
        for (state, rule) in self.rules.iter_mut().zip(&rules) {
            if let Some(old) = unclaimed.get_mut(&(&rule.name, &rule.labels)).and_then(VecDeque::pop_front) {
                state.copy(old);
            }
        }
        self.orphans.extend(unclaimed.into_values().flatten().flat_map(|state| state.written.iter().cloned()));
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

/// When queries of `slot` look and samples are written.
fn query_at(slot: Timestamp, spec: &GroupSpec) -> Timestamp {
    Timestamp(slot.0.saturating_sub(spec.query_offset_ms))
}

/// The rule that is being evaluated.
fn current<'a>(
    iteration: &'a mut Option<Iteration>,
    rules: &'a mut [RuleState],
) -> (&'a mut Iteration, &'a mut RuleState) {
    let iteration = iteration.as_mut().expect("evaluations are handled between begin and finish");
    let state = rules.get_mut(iteration.index).expect("evaluations are handled after a request");
    (iteration, state)
}

#[cfg(test)]
mod tests;
