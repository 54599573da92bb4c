//! The evaluation of one slot, batch by batch and rule by rule.

use super::{Finished, Group, GroupEvent, GroupSpec, Outcome};
use crate::dependency::Missing;
use crate::error::{ErrorKind, QueryError, RuleError};
use crate::evaluation::{Evaluated, Evaluation, Request, TemplateReport};
use crate::ports::{Discard, Moment, RuleSample, Unstored};
use crate::repair::Attempt;
use crate::rule_state::{Health, RuleState, markers};
use hashbrown::HashSet;
use model::labels::Labels;
use model::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Samples of alerts that one group keeps until they can be stored.
const UNSENT_MAX: usize = 20_000;

/// The slot that is being evaluated.
#[derive(Debug)]
pub(super) struct Iteration {
    slot: Timestamp,
    /// Whether it was missed or failed before.
    is_repair: bool,
    started: Moment,
    batches: VecDeque<Vec<usize>>,
    /// Rules that are to be evaluated yet.
    left: BTreeSet<usize>,
    /// Rules that are being evaluated.
    open: BTreeMap<usize, Open>,
    missing: Missing,
    samples: u64,
}

/// A rule that is being evaluated.
#[derive(Debug)]
struct Open {
    started: Moment,
    /// Newer slots were evaluated already: nothing but samples follows.
    is_late: bool,
    /// Whether the evaluation failed.
    has_failed: bool,
    /// Whether it failed in a way that may pass.
    is_lacking: bool,
    /// Whether nothing is written until it is known since when alerts are active.
    is_silent: bool,
    /// What a successful append makes of the rule's set of series, in the order of the samples.
    writing: Vec<Labels>,
}

/// What to do for a rule.
#[derive(Debug)]
pub enum Work {
    /// Ask the query, then [`Group::handle_evaluation`].
    Evaluate(Request),
    /// Nothing to ask: [`Group::handle_evaluation`] takes this.
    Known(Evaluation),
    /// The rule was evaluated before: only its samples are to be stored, then [`Group::handle_append`].
    Store(Vec<RuleSample>),
    /// Nothing at all.
    Nothing,
}

/// Samples of alerting rules that could not be stored, by slot and rule, with how many of them are no markers. Their alerts have
/// gone on, so that they cannot be made again.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    samples: BTreeMap<(Timestamp, usize), (Vec<RuleSample>, usize)>,
    held: usize,
}

impl Unsent {
    fn keep(&mut self, slot: Timestamp, rule: usize, samples: Vec<RuleSample>, written: usize) -> bool {
        if self.held + samples.len() > UNSENT_MAX {
            return false;
        }
        self.held += samples.len();
        self.samples.insert((slot, rule), (samples, written));
        true
    }

    fn take(&mut self, slot: Timestamp, rule: usize) -> Option<(Vec<RuleSample>, usize)> {
        let taken = self.samples.remove(&(slot, rule))?;
        self.held -= taken.0.len();
        Some(taken)
    }

    /// Forgets what is older than `oldest`.
    fn expire(&mut self, oldest: Timestamp) {
        let kept = self.samples.split_off(&(oldest, 0));
        self.samples = kept;
        self.held = self.samples.values().map(|(samples, _)| samples.len()).sum();
    }
}

impl Group {
    pub(crate) fn begin_slot(&mut self, slot: Timestamp, repaired: Option<Vec<usize>>, now: Moment) {
        let is_repair = repaired.is_some();
        let (left, batches) = match repaired {
            None => ((0..self.rules.len()).collect(), self.dependencies.batches().iter().cloned().collect()),
            Some(rules) => {
                let left: BTreeSet<usize> = rules.into_iter().collect();
                let lacking =
                    |batch: &Vec<usize>| batch.iter().copied().filter(|rule| left.contains(rule)).collect::<Vec<_>>();
                let batches = self.dependencies.batches().iter().map(lacking).filter(|batch| !batch.is_empty());
                let batches = batches.collect();
                (left, batches)
            }
        };
        let (open, missing) = (BTreeMap::new(), Missing::default());
        let (started, samples) = (now, 0);
        let iteration = Iteration { slot, is_repair, started, batches, left, open, missing, samples };
        self.iteration = Some(iteration);
    }

    /// The next rules to evaluate in this slot, in any order or at once; each goes to [`Group::begin_rule`].
    pub fn next_batch(&mut self) -> Option<Vec<usize>> {
        self.iteration.as_mut()?.batches.pop_front()
    }

    /// What to do for a rule of the last batch.
    pub fn begin_rule(&mut self, index: usize, now: Moment) -> Work {
        let Some(iteration) = &mut self.iteration else { return Work::Nothing };
        let Some(state) = self.rules.get_mut(index) else { return Work::Nothing };
        let slot = iteration.slot;
        let mut open = Open {
            started: now,
            is_late: false,
            has_failed: false,
            is_lacking: false,
            is_silent: state.looks_up_in > 0,
            writing: Vec::new(),
        };
        if iteration.is_repair {
            if self.stuck.contains(&index) {
                self.dependencies.note_missing(index, &mut iteration.missing);
                return Work::Nothing;
            }
            open.is_late = state.last_good.is_some_and(|last| last > slot);
            let unsent = self.unsent.take(slot, index);
            if let Some((samples, written)) = unsent {
                open.writing = samples.iter().take(written).map(|sample| sample.labels.clone()).collect();
                iteration.open.insert(index, open);
                return Work::Store(samples);
            }
            if state.rule.alerting().is_some() && state.last_good.is_some_and(|last| last >= slot) {
                // What alerts were in a slot cannot be found out when they have gone on.
                let evaluated_before = slot < self.first_own_slot;
                let attempt = if evaluated_before { Attempt::Done } else { Attempt::Lost };
                self.backlog.settle(slot, index, attempt);
                iteration.left.remove(&index);
                return Work::Nothing;
            }
        }
        iteration.open.insert(index, open);
        if self.dependencies.lacks(index, &iteration.missing) {
            let error = RuleError::Query(QueryError::Unavailable(
                "a rule of this group that is read from was not evaluated in this slot".into(),
            ));
            return Work::Known(Evaluation::failed(error));
        }
        if !iteration.is_repair {
            self.stats.evaluations += 1;
        }
        Work::Evaluate(Request {
            rule: state.rule.clone(),
            slot,
            query_at: query_at(slot, &self.spec),
            limit: self.spec.limit.max(0).unsigned_abs(),
            context: self.settings.context.clone(),
            look_back_ms: state.look_back_ms(self.settings.for_restore),
            earlier: state.earlier.clone(),
        })
    }

    /// Takes in what the evaluation of a rule came to. [`Group::handle_append`] comes next.
    ///
    /// # Panics
    /// If [`Group::begin_rule`] did not say that the rule is to be evaluated.
    pub fn handle_evaluation(&mut self, index: usize, evaluation: Evaluation) -> Outcome {
        let Evaluation { result, templates, cost, for_states, look_up_took, written_before } = evaluation;
        let (iteration, state) = current(&mut self.iteration, &mut self.rules, index);
        let open = iteration.open.get_mut(&index).expect("evaluations are handled after a request");
        let mut outcome = Outcome::default();
        outcome.events.extend(count_templates(&mut self.stats.shared, state, templates));
        state.cost = cost.unwrap_or(state.cost);
        state.learn_written(written_before);
        self.stats.last_restore_secs += look_up_took.as_secs_f64();
        let at = query_at(iteration.slot, &self.spec);
        match result {
            Ok(Evaluated::Recorded(samples)) if open.is_late => {
                outcome.samples = samples;
                return outcome;
            }
            _ => {}
        }
        let left_out = state.left_out;
        match result.and_then(|evaluated| state.apply(iteration.slot, at, evaluated, self.spec.limit)) {
            Ok(samples) => {
                state.look_further(iteration.slot, for_states, self.settings.for_restore);
                if left_out == 0 && state.left_out > 0 {
                    let (rule, count) = (state.rule.clone(), state.left_out);
                    outcome.events.push(GroupEvent::AlertsLeftOut { rule, count });
                }
                state.health = Health::Good;
                // What is recorded counts when it is stored.
                if state.rule.alerting().is_some() {
                    state.last_good = Some(iteration.slot);
                }
                iteration.samples += samples.len() as u64;
                open.writing = samples.iter().map(|sample| sample.labels.clone()).collect();
                let markers = state.markers(&samples, at);
                outcome.samples = samples;
                outcome.samples.extend(markers);
            }
            Err(error) => {
                open.has_failed = true;
                open.is_lacking = may_pass(&error);
                if open.is_lacking {
                    self.dependencies.note_missing(index, &mut iteration.missing);
                }
                state.health = Health::Bad(error.clone());
                // A failure is counted and told once for each slot.
                if !iteration.is_repair {
                    self.stats.evaluation_failures += 1;
                    outcome.events.push(GroupEvent::RuleFailed { index, rule: state.rule.clone(), error });
                }
            }
        }
        let is_newest = !iteration.is_repair;
        outcome.departure = state.depart(iteration.slot, &self.settings, self.spec.interval_ms, is_newest);
        outcome.events.extend(state.news(iteration.slot));
        outcome
    }

    /// Takes in what became of the samples of a rule: index and reason of each refused one, or why none could be stored, and
    /// then the samples. Ends the evaluation of the rule.
    ///
    /// # Panics
    /// If the rule is not being evaluated.
    pub fn handle_append(
        &mut self,
        index: usize,
        now: Moment,
        result: Result<Vec<(usize, Discard)>, Unstored>,
    ) -> Vec<GroupEvent> {
        let (iteration, state) = current(&mut self.iteration, &mut self.rules, index);
        let open = iteration.open.remove(&index).expect("samples are handled after an evaluation");
        iteration.left.remove(&index);
        let duration = now.monotonic.saturating_sub(open.started.monotonic);
        self.stats.shared.rule_durations.observe(duration);
        state.last_duration = duration;
        state.last_evaluation = Some(open.started.wall);
        let written = open.writing.len();
        let mut attempt = if open.is_lacking { Attempt::Again } else { Attempt::Done };
        let events = match result {
            Ok(_) if open.has_failed || open.is_late => Vec::new(),
            Ok(discarded) => {
                if state.rule.alerting().is_none() {
                    state.last_good = Some(iteration.slot);
                }
                self.orphans.extend(state.unstorable(&open.writing, &discarded));
                self.orphans.append(&mut state.written_before);
                state.is_settled |= !open.is_silent;
                state.wrote(index, open.writing, &discarded).into_iter().collect()
            }
            Err((error, samples)) => {
                self.dependencies.note_missing(index, &mut iteration.missing);
                attempt = if state.rule.alerting().is_none() {
                    self.stuck.insert(index);
                    Attempt::Again
                } else if self.unsent.keep(iteration.slot, index, samples, open.writing.len()) {
                    // Only the samples wait: alerts go on.
                    Attempt::Again
                } else {
                    Attempt::Lost
                };
                let error = RuleError::Append(error);
                state.health = Health::Bad(error.clone());
                if iteration.is_repair {
                    Vec::new()
                } else {
                    self.stats.evaluation_failures += 1;
                    vec![GroupEvent::RuleFailed { index, rule: state.rule.clone(), error }]
                }
            }
        };
        self.has_news |= state.remember(open.started.wall, duration, written);
        let slot = iteration.slot;
        if open.is_lacking {
            self.stuck.insert(index);
        }
        if iteration.is_repair {
            self.backlog.settle(slot, index, attempt);
        } else if attempt != Attempt::Done && self.settings.repair_window_ms > 0 {
            self.backlog.fail(slot, index);
            self.backlog.settle(slot, index, attempt);
        }
        events
    }

    /// Markers for the series that no rule ends by not returning them, once every rule of the newest slot has run.
    #[must_use]
    pub fn next_farewell(&self) -> Vec<RuleSample> {
        match &self.iteration {
            Some(Iteration { slot, is_repair: false, left, .. }) if left.is_empty() => {
                markers(self.ended().into_iter(), query_at(*slot, &self.spec))
            }
            _ => Vec::new(),
        }
    }

    /// The orphans that no rule writes, each once.
    fn ended(&self) -> Vec<&Labels> {
        if self.orphans.is_empty() {
            return Vec::new();
        }
        let mut ended: HashSet<&Labels> = self.orphans.iter().collect();
        self.rules.iter().flat_map(|state| &state.written).for_each(|labels| {
            ended.remove(labels);
        });
        ended.into_iter().collect()
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

    /// Ends the slot, also when the group is told to stop in the middle of it.
    pub fn finish(&mut self, now: Moment) -> Finished {
        let Some(iteration) = self.iteration.take() else { return Finished::default() };
        let took = (!iteration.is_repair).then(|| now.monotonic.saturating_sub(iteration.started.monotonic));
        let oldest = self.oldest_repaired(now.wall);
        self.unsent.expire(oldest);
        if iteration.is_repair {
            self.backlog.close(iteration.slot);
        } else {
            if !iteration.left.is_empty() {
                self.backlog.interrupt(iteration.slot, iteration.left);
            }
            self.backlog.close(iteration.slot);
            self.newest = Some(iteration.slot);
            self.count(iteration.started, iteration.samples, now);
        }
        let complete = match self.backlog.oldest() {
            Some(gap) => Some(Timestamp(gap.0.saturating_sub(self.spec.interval_ms))),
            None => self.newest,
        };
        let is_new = complete.is_some_and(|slot| self.last_slot.is_none_or(|last| slot > last));
        if is_new {
            self.last_slot = complete;
        }
        Finished { complete: complete.filter(|_| is_new), took }
    }

    fn count(&mut self, started: Moment, samples: u64, now: Moment) {
        self.last_duration = now.monotonic.saturating_sub(started.monotonic);
        self.last_evaluation = Some(started.wall);
        self.stats.shared.group_durations.observe(self.last_duration);
        self.stats.last_evaluation_secs = started.wall.0 as f64 / 1000.0;
        self.stats.last_duration_secs = self.last_duration.as_secs_f64();
        self.stats.last_rule_durations_secs = self.rules.iter().map(|state| state.last_duration.as_secs_f64()).sum();
        self.stats.last_samples = samples;
    }
}

/// Whether the same evaluation may succeed later.
fn may_pass(error: &RuleError) -> bool {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Canceled => true,
        ErrorKind::Invalid | ErrorKind::Limited => false,
    }
}

fn count_templates(
    stats: &mut crate::stats::SharedStats,
    state: &RuleState,
    templates: TemplateReport,
) -> Option<GroupEvent> {
    stats.template_expansions += templates.expansions;
    stats.template_failures += templates.failures;
    let (rule, count) = (state.rule.clone(), templates.failures);
    templates.first_error.map(|error| GroupEvent::TemplatesFailed { rule, count, error })
}

/// When queries of `slot` look and samples are written.
fn query_at(slot: Timestamp, spec: &GroupSpec) -> Timestamp {
    Timestamp(slot.0.saturating_sub(spec.query_offset_ms))
}

/// The rule that is being evaluated.
fn current<'a>(
    iteration: &'a mut Option<Iteration>,
    rules: &'a mut [RuleState],
    index: usize,
) -> (&'a mut Iteration, &'a mut RuleState) {
    let iteration = iteration.as_mut().expect("evaluations are handled between begin and finish");
    let state = rules.get_mut(index).expect("rules are those of a batch");
    (iteration, state)
}
