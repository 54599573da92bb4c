//! Draft rules over stored history: what their alerts would have done.
//!
//! The groups are those of the server ([`crate::virtual_slot`]), in the slots in which a server would have evaluated them. What
//! they read comes from a [`History`] that answers queries, so that any server of Prometheus' API will do; what they record goes
//! over it: rules that read results of rules of the same files see what these would have recorded (`split.rs`).
//!
//! Pure but for the history. Of the files the chosen alerting rules run, and whatever these read; recording rules begin
//! earlier, so that the first alerts see all of their past. Annotations are left out: nothing depends on them.

mod choice; // which rules run
mod history; // what is asked, in which pieces
mod split; // what is asked, and what is evaluated here
mod timeline; // what came of it
mod world; // one slot

pub use history::{History, HistoryError, HistorySeries};
pub use timeline::{Episode, Timeline};

use crate::annotate::TemplateContext;
use crate::dependency::{Output, Outputs, output};
use crate::group::{Group, GroupEvent, GroupSettings, GroupSpec};
use crate::restore::ForRestore;
use crate::rule::{Rule, RuleKind};
use crate::rule_file::{GroupDefaults, RuleFile};
use crate::state::{Departure, RuleId};
use crate::unit_test::TestStore;
use crate::virtual_slot::evaluate_slot;
use choice::{Place, chosen, groups, places, warm_up_ms};
use hashbrown::{HashMap, HashSet};
use history::Feed;
use model::time::Timestamp;
use promql::engine::{Engine, EngineOptions};
use split::QueryPlan;
use std::collections::BTreeSet;
use std::sync::Arc;
use timeline::Writer;
use world::SlotWorld;

/// Evaluations of one test are not more than these.
const EVALUATIONS_MAX: i64 = 50_000_000;
/// Slots of one piece, and of the pieces of all expressions together.
const PIECE_SLOTS: (i64, i64) = (500, 20_000);
/// How long firing alerts are sent on while their rule cannot be evaluated, as a server does it by default.
const UNKNOWN_MAX_MS: i64 = 60 * 60 * 1000;

/// What to test and how.
#[derive(Debug, Clone)]
pub struct BacktestOptions {
    /// No slot is before it.
    pub start: Timestamp,
    /// No slot is after it.
    pub end: Timestamp,
    /// What a configuration says about groups that do not say it themselves.
    pub defaults: GroupDefaults,
    /// The alerting rules to test, as `GROUP/NAME` or `NAME`; none means all.
    pub only: Vec<String>,
    /// Other values of `for` to try, in milliseconds.
    pub holds_ms: Vec<i64>,
    /// How long to wait before an alert is sent again, in milliseconds.
    pub resend_delay_ms: i64,
    /// What templates of labels know besides the result.
    pub context: TemplateContext,
    /// How expressions are evaluated that read results of the rules.
    pub engine: EngineOptions,
}

/// A test that can run.
#[derive(Debug)]
pub struct Backtest {
    options: BacktestOptions,
    groups: Vec<GroupSpec>,
    /// By the text of the expression.
    plans: HashMap<Arc<str>, QueryPlan>,
    /// Names of series that rules read and that therefore are kept, and for how long; `None`: for ever.
    kept: HashSet<String>,
    kept_ms: Option<i64>,
    /// How much earlier than the alerts recording rules begin.
    warm_up_ms: i64,
    remarks: Vec<String>,
}

/// What came of the test for one value of `for`.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// `for` of all alerting rules in milliseconds; `None`: as in the files.
    pub hold_ms: Option<i64>,
    /// The tested alerting rules in the order of the files.
    pub rules: Vec<RuleOutcome>,
    /// How many evaluations of recording rules failed, and the first failure.
    pub recording_failures: (u64, Option<String>),
}

/// What came of one alerting rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleOutcome {
    /// Its file.
    pub file: String,
    /// Its group.
    pub group: String,
    /// The rule.
    pub rule: Arc<Rule>,
    /// Distance of its evaluations in milliseconds.
    pub interval_ms: i64,
    /// What its alerts did.
    pub timeline: Timeline,
}

impl Backtest {
    /// Looks which rules of `files` (name and contents) have to run.
    ///
    /// # Errors
    /// Every problem, with its place where it has one.
    pub fn new(files: &[(String, RuleFile)], options: BacktestOptions) -> Result<Self, Vec<String>> {
        if options.start > options.end {
            return Err(vec!["the start is after the end".to_owned()]);
        }
        let all: Vec<Place<'_>> = places(files).collect();
        let mut outputs = Outputs::default();
        let mut writers: HashMap<usize, Vec<usize>> = HashMap::new();
        for (index, place) in all.iter().enumerate() {
            writers.entry(outputs.number(output(place.rule()))).or_default().push(index);
        }
        let mut needed: BTreeSet<usize> = chosen(&all, &options.only).map_err(|problem| vec![problem])?;
        let mut waiting: Vec<usize> = needed.iter().copied().collect();
        let (mut plans, mut problems, mut remarks) = (HashMap::new(), Vec::new(), Vec::new());
        let mut kept = HashSet::new();
        while let Some(index) = waiting.pop() {
            let Some(place) = all.get(index) else { continue };
            let query = &place.rule().query;
            let plan = match QueryPlan::new(query.expr(), &outputs, options.engine.lookback_ms) {
                Ok(plan) => plan,
                Err(problem) => {
                    problems.push((index, place.problem(problem)));
                    continue;
                }
            };
            remarks.extend(plan.remarks.iter().map(|remark| place.problem(remark.clone()).to_string()));
            for number in &plan.reads {
                match outputs.get(*number) {
                    Some(Output::Series(name)) => drop(kept.insert(name.to_owned())),
                    Some(Output::Alert(_)) => {
                        kept.extend([crate::alerting::ALERTS.to_owned(), crate::alerting::ALERTS_FOR_STATE.to_owned()]);
                    }
                    None => {}
                }
                let new = writers.get(number).into_iter().flatten().filter(|writer| needed.insert(**writer));
                waiting.extend(new);
            }
            plans.insert(query.text().clone(), plan);
        }
        problems.sort_by_key(|(index, _)| *index);
        if !problems.is_empty() {
            return Err(problems.into_iter().map(|(_, problem)| problem.to_string()).collect());
        }
        let kept_ms = plans.values().try_fold(0, |most, plan: &QueryPlan| Some(plan.reach_ms?.max(most)));
        let warm_up_ms = warm_up_ms(&all, &needed, &plans, &writers);
        remarks.sort_unstable();
        remarks.dedup();
        let groups = groups(files, &all, &needed, options.defaults);
        let test = Self { options, groups, plans, kept, kept_ms, warm_up_ms, remarks };
        match test.evaluations() {
            evaluations if evaluations > EVALUATIONS_MAX => {
                Err(vec![format!("{evaluations} evaluations are more than {EVALUATIONS_MAX}")])
            }
            _ => Ok(test),
        }
    }

    /// What a reader of the outcome should know, with places in the files.
    #[must_use]
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The rules that run besides the chosen ones, because these read what they write.
    pub fn helpers(&self) -> impl Iterator<Item = &Rule> {
        self.groups.iter().flat_map(|group| &group.rules).map(|rule| &**rule).filter(|rule| rule.alerting().is_none())
    }

    fn begin_ms(&self) -> i64 {
        self.options.start.0.saturating_sub(self.warm_up_ms)
    }

    fn evaluations(&self) -> i64 {
        let length_ms = self.options.end.0.saturating_sub(self.begin_ms());
        let variants = i64::try_from(self.options.holds_ms.len()).unwrap_or(i64::MAX).saturating_add(1);
        let of_group = |group: &GroupSpec| {
            let rules = i64::try_from(group.rules.len()).unwrap_or(i64::MAX);
            (length_ms / group.interval_ms).saturating_add(1).saturating_mul(rules)
        };
        self.groups.iter().map(of_group).fold(0, i64::saturating_add).saturating_mul(variants)
    }

    /// Evaluates all slots. `heard` is told what leaves for the Alertmanagers, by the number of the variant and in order of
    /// time; `progress` how far it is, from 0 to 1.
    ///
    /// # Errors
    /// The history cannot be asked.
    pub fn run(
        &self,
        history: &mut dyn History,
        heard: &mut dyn FnMut(usize, &Departure),
        progress: &mut dyn FnMut(f64),
    ) -> Result<Vec<Variant>, HistoryError> {
        let holds = std::iter::once(None).chain(self.options.holds_ms.iter().copied().map(Some));
        let mut runs: Vec<Run> = holds.map(|hold_ms| self.begin(hold_ms)).collect();
        let engine = Engine::new(self.options.engine.clone());
        let asked = self.plans.values().flat_map(|plan| &plan.asked).count();
        let slots_max = (PIECE_SLOTS.1 / i64::try_from(asked.max(1)).unwrap_or(i64::MAX)).clamp(20, PIECE_SLOTS.0);
        let mut feeds: Vec<HashMap<Arc<str>, Feed>> = self.groups.iter().map(|_| HashMap::new()).collect();
        let begin_ms = self.begin_ms();
        let mut due: BTreeSet<(i64, usize)> = BTreeSet::new();
        for (number, spec) in self.groups.iter().enumerate() {
            let has_recording = spec.rules.iter().any(|rule| rule.alerting().is_none());
            let first = if has_recording { begin_ms } else { self.options.start.0 };
            due.insert((spec.schedule().slot_after(Timestamp(first.saturating_sub(1))).0, number));
        }
        let mut forgotten_ms = begin_ms;
        while let Some((slot_ms, number)) = due.pop_first().filter(|(slot_ms, _)| *slot_ms <= self.options.end.0) {
            let (Some(spec), Some(feeds)) = (self.groups.get(number), feeds.get_mut(number)) else { continue };
            due.insert((slot_ms.saturating_add(spec.interval_ms), number));
            let is_warm_up = slot_ms < self.options.start.0;
            let answers = self.answers(spec, slot_ms, is_warm_up, feeds, slots_max, history)?;
            for (variant, run) in runs.iter_mut().enumerate() {
                let Some(group) = run.groups.get_mut(number) else { continue };
                let mut world = SlotWorld::new(self, &engine, &answers, is_warm_up, &mut run.store, history);
                let events = evaluate_slot(group, Timestamp(slot_ms), &mut world);
                let departures = world.finish()?;
                if !is_warm_up {
                    run.note(number, Timestamp(slot_ms), &events, &departures);
                }
                departures.iter().for_each(|departure| heard(variant, departure));
            }
            if let Some(kept_ms) = self.kept_ms.filter(|_| !self.kept.is_empty())
                && slot_ms - forgotten_ms > kept_ms.max(spec.interval_ms) * 2
            {
                forgotten_ms = slot_ms - kept_ms - spec.query_offset_ms.max(0);
                let longest = self.groups.iter().map(|group| group.interval_ms + group.query_offset_ms.max(0)).max();
                let before = forgotten_ms.saturating_sub(longest.unwrap_or(0));
                runs.iter_mut().for_each(|run| run.store.forget(before));
            }
            progress((slot_ms - begin_ms) as f64 / (self.options.end.0 - begin_ms).max(1) as f64);
        }
        Ok(runs.into_iter().map(|run| run.finish(&self.groups, self.options.end)).collect())
    }

    fn begin(&self, hold_ms: Option<i64>) -> Run {
        let settings = GroupSettings {
            context: Arc::new(self.options.context.clone()),
            resend_delay_ms: self.options.resend_delay_ms,
            repair_window_ms: 0,
            unknown_max_ms: UNKNOWN_MAX_MS,
            for_restore: ForRestore::default(),
        };
        let specs = self.groups.iter().cloned().map(|spec| {
            let rules = spec.rules.iter().map(|rule| with_hold(rule, hold_ms)).collect();
            GroupSpec { rules, ..spec }
        });
        let groups: Vec<Group> = specs.map(|spec| Group::new(spec, settings.clone())).collect();
        let ids = groups.iter().flat_map(|group| group.rules().iter());
        let alerting = ids.filter(|state| state.rule.alerting().is_some());
        let writers = alerting.map(|state| (state.id.clone(), Writer::default())).collect();
        Run { hold_ms, groups, store: TestStore::default(), writers, recording_failures: (0, None) }
    }

    /// The answers of the history that the rules of a group need in one slot.
    fn answers(
        &self,
        spec: &GroupSpec,
        slot_ms: i64,
        is_warm_up: bool,
        feeds: &mut HashMap<Arc<str>, Feed>,
        slots_max: i64,
        history: &mut dyn History,
    ) -> Result<HashMap<Arc<str>, history::Answer>, HistoryError> {
        let at = |slot_ms: i64| slot_ms.saturating_sub(spec.query_offset_ms);
        let mut answers = HashMap::new();
        let rules = spec.rules.iter().filter(|rule| !is_warm_up || rule.alerting().is_none());
        for asked in rules.filter_map(|rule| self.plans.get(rule.query.text())).flat_map(|plan| &plan.asked) {
            if answers.contains_key(&asked.text) {
                continue;
            }
            let new = || Feed::new(asked.text.clone(), asked.slot_by_slot, slots_max);
            let feed = feeds.entry(asked.text.clone()).or_insert_with(new);
            let answer = feed.at(history, at(slot_ms), at(self.options.end.0), spec.interval_ms)?;
            answers.insert(asked.text.clone(), answer);
        }
        Ok(answers)
    }
}

/// The test of one variant, as far as it has come.
struct Run {
    hold_ms: Option<i64>,
    groups: Vec<Group>,
    store: TestStore,
    writers: HashMap<Arc<RuleId>, Writer>,
    recording_failures: (u64, Option<String>),
}

impl Run {
    /// Writes down what happened when the group of that number was evaluated.
    fn note(&mut self, group: usize, slot: Timestamp, events: &[GroupEvent], departures: &[Departure]) {
        let rules = self.groups.get(group).map(Group::rules).unwrap_or_default();
        for state in rules {
            if let Some(writer) = self.writers.get_mut(&state.id) {
                writer.evaluated();
            }
        }
        for event in events {
            let (index, error): (usize, &dyn std::fmt::Display) = match event {
                GroupEvent::AlertsChanged { rule, transitions, .. } => {
                    if let Some(writer) = self.writers.get_mut(rule) {
                        transitions.iter().for_each(|transition| writer.changed(slot, transition));
                    }
                    continue;
                }
                GroupEvent::RuleFailed { index, error, .. } => (*index, error),
                GroupEvent::SamplesDiscarded { index, reason, .. } => (*index, reason),
                _ => continue,
            };
            match rules.get(index).and_then(|state| self.writers.get_mut(&state.id)) {
                Some(writer) => writer.failed(error),
                None => {
                    self.recording_failures.0 += 1;
                    self.recording_failures.1.get_or_insert_with(|| error.to_string());
                }
            }
        }
        for departure in departures {
            if let Some(writer) = self.writers.get_mut(&departure.rule) {
                writer.departed(departure);
            }
        }
    }

    fn finish(mut self, specs: &[GroupSpec], end: Timestamp) -> Variant {
        let mut rules = Vec::new();
        for (group, spec) in self.groups.iter().zip(specs) {
            for state in group.rules() {
                let Some(writer) = self.writers.remove(&state.id) else { continue };
                rules.push(RuleOutcome {
                    file: spec.file.clone(),
                    group: spec.name.clone(),
                    rule: state.rule.clone(),
                    interval_ms: spec.interval_ms,
                    timeline: writer.finish(end),
                });
            }
        }
        Variant { hold_ms: self.hold_ms, rules, recording_failures: self.recording_failures }
    }
}

fn with_hold(rule: &Arc<Rule>, hold_ms: Option<i64>) -> Arc<Rule> {
    let (Some(hold_ms), RuleKind::Alerting(alerting)) = (hold_ms, &rule.kind) else { return rule.clone() };
    let kind = RuleKind::Alerting(crate::rule::AlertingRule { hold_ms, ..alerting.clone() });
    Arc::new(Rule { kind, ..Rule::clone(rule) })
}

#[cfg(test)]
mod tests;
