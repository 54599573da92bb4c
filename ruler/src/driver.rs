//! The driver of a rule group: all of the waiting, none of the deciding.

use crate::group::{Finished, Group, GroupEvent, Outcome, Work};
use crate::ports::{AppendPort, Clock, Discard, EventPort, IngestWatch, NotifyPort, QueryPort, RuleSample, Timed};
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A group that its driver and its readers share. Nobody holds the lock while waiting.
pub type SharedGroup = Arc<Mutex<Group>>;

/// Samples that are stored together, about: waiting for storage costs more than most rules.
const STORED_TOGETHER: usize = 5_000;

/// Least time between two early evaluations of a group.
const EARLY_EVERY: Duration = Duration::from_millis(250);

/// Least time between two looks at what arrived for a slot that waits.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a group remembers of the time between slots.
#[derive(Default)]
struct Rested {
    /// When it was last evaluated early, on the monotonic clock.
    last_early: Option<Duration>,
}

/// What rules produced and nobody has stored yet.
#[derive(Default)]
struct Unstored {
    samples: Vec<RuleSample>,
    /// Which rule has how many of the samples, in their order.
    counts: Vec<(usize, usize)>,
}

impl Unstored {
    fn add(&mut self, rule: usize, mut samples: Vec<RuleSample>) {
        self.counts.push((rule, samples.len()));
        self.samples.append(&mut samples);
    }
}

/// Everything a group needs from the world.
#[derive(Debug, Clone)]
pub struct Ports<Q, A, N, E, C> {
    /// Evaluates rules.
    pub queries: Q,
    /// Stores samples.
    pub samples: A,
    /// Takes alerts away.
    pub alerts: N,
    /// Keeps logs.
    pub events: E,
    /// Tells the time and when to stop.
    pub clock: C,
}

/// Locks a group. A panic of another holder does not spread: a group is consistent between any two of its methods.
pub fn lock(group: &Mutex<Group>) -> MutexGuard<'_, Group> {
    group.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<Q: QueryPort, A: AppendPort, N: NotifyPort, E: EventPort, C: Clock> Ports<Q, A, N, E, C> {
    /// Evaluates `group` in each of its slots until the clock says stop. The rule that is being evaluated then is finished.
    pub async fn run(&self, group: &SharedGroup) {
        let (eager, awaited) = {
            let group = lock(group);
            (group.eager_selectors(), group.awaited_selectors())
        };
        let eager = if eager.is_empty() { None } else { self.queries.watch(eager) };
        let awaited = if awaited.is_empty() { None } else { self.queries.watch_targets(awaited) };
        let mut rested = Rested::default();
        while !self.clock.is_stopped() {
            let now = self.clock.now();
            if let Some(watch) = &awaited {
                let waits = {
                    let mut group = lock(group);
                    let interval_ms = group.spec().interval_ms;
                    group.waits_for_ingest(now, |at| watch.lacks(at, now.wall, interval_ms))
                };
                if let Some(most) = waits {
                    if self.sleep_unless(most, watch.as_ref()).await {
                        // Thousands of targets are not looked at for each of thousands of appends.
                        self.clock.sleep(most.min(LOOK_EVERY)).await;
                    }
                    continue;
                }
            }
            let begun = lock(group).begin(now);
            match begun {
                Some(events) => {
                    self.report(events);
                    self.iterate(group).await;
                }
                None => {
                    let (held, wait) = {
                        let mut group = lock(group);
                        (group.take_held(), group.wait(now.wall).max(Duration::from_millis(1)))
                    };
                    for departure in held {
                        self.alerts.send(departure).await;
                    }
                    match &eager {
                        Some(watch) => self.rest(group, watch.as_ref(), wait, &mut rested).await,
                        None => self.clock.sleep(wait).await,
                    }
                }
            }
        }
        let told = lock(group).take_evaluations(true);
        self.report(told.into_iter().collect());
    }

    /// Sleeps until the next slot, or evaluates early what asks for it when something arrives.
    async fn rest(&self, group: &SharedGroup, watch: &dyn IngestWatch, wait: Duration, rested: &mut Rested) {
        // What arrived during a pause is evaluated at its end.
        let since = rested.last_early.map(|last| self.clock.now().monotonic.saturating_sub(last));
        let pause = since.and_then(|since| EARLY_EVERY.checked_sub(since)).unwrap_or_default();
        if !pause.is_zero() {
            return self.clock.sleep(pause.min(wait)).await;
        }
        if !self.sleep_unless(wait, watch).await || self.clock.is_stopped() {
            return;
        }
        let now = self.clock.now();
        rested.last_early = Some(now.monotonic);
        let Some(newest) = watch.newest() else { return };
        let requests = lock(group).begin_early(newest, now);
        for (rule, request) in requests {
            let at = request.slot;
            let evaluation = self.queries.evaluate(request).await;
            let Outcome { departure, events, .. } = lock(group).handle_early(rule, at, evaluation);
            self.report(events);
            if let Some(departure) = departure {
                self.alerts.send(departure).await;
            }
        }
    }

    /// Sleeps for `wait`, less if something arrives; returns whether it did.
    async fn sleep_unless(&self, wait: Duration, watch: &dyn IngestWatch) -> bool {
        let sleep = std::pin::pin!(self.clock.sleep(wait));
        matches!(select(watch.changed(), sleep).await, Either::Left(_))
    }

    /// Evaluates the rules of the slot that [`Group::begin`] began.
    async fn iterate(&self, group: &SharedGroup) {
        while !self.clock.is_stopped() {
            let batch = lock(group).next_batch();
            let Some(batch) = batch else { break };
            self.evaluate_batch(group, batch).await;
        }
        let farewell = lock(group).next_farewell();
        if !farewell.is_empty() {
            let appended = self.append(&farewell).await;
            let events = lock(group).handle_farewell(appended);
            self.report(events);
        }
        let (Finished { complete, took }, id, told) = {
            let mut group = lock(group);
            (group.finish(self.clock.now()), group.id().clone(), group.take_evaluations(false))
        };
        self.report(told.into_iter().collect());
        if let Some(took) = took {
            self.events.took(Timed::Group, took);
        }
        if let Some(slot) = complete {
            self.alerts.evaluated(&id, slot);
        }
    }

    /// Evaluates rules that have nothing to do with each other: as many at once as there are places, and stores what they
    /// produce together.
    async fn evaluate_batch(&self, group: &SharedGroup, batch: Vec<usize>) {
        let mut waiting = batch.into_iter();
        let mut running = FuturesUnordered::new();
        let mut unstored = Unstored::default();
        loop {
            while !self.clock.is_stopped() {
                let place = if running.is_empty() { None } else { self.queries.another_place() };
                if place.is_none() && !running.is_empty() {
                    break;
                }
                let Some(rule) = waiting.next() else { break };
                running.push(self.evaluate_rule(group, rule, place));
            }
            let Some(evaluated) = running.next().await else { break };
            if let Some((rule, samples)) = evaluated {
                unstored.add(rule, samples);
            }
            if unstored.samples.len() >= STORED_TOGETHER {
                self.store(group, std::mem::take(&mut unstored)).await;
            }
        }
        self.store(group, unstored).await;
    }

    /// The samples of a rule, unless there is nothing to do for it; its alerts have left.
    async fn evaluate_rule(
        &self,
        group: &SharedGroup,
        rule: usize,
        _place: Option<Q::Place>,
    ) -> Option<(usize, Vec<RuleSample>)> {
        let work = lock(group).begin_rule(rule, self.clock.now());
        let evaluation = match work {
            Work::Evaluate(request) => self.queries.evaluate(request).await,
            Work::Known(evaluation) => evaluation,
            Work::Store(samples) => return Some((rule, samples)),
            Work::Nothing => return None,
        };
        let Outcome { departure, samples, events } = lock(group).handle_evaluation(rule, evaluation);
        self.report(events);
        if let Some(departure) = departure {
            self.alerts.send(departure).await;
        }
        Some((rule, samples))
    }

    async fn store(&self, group: &SharedGroup, unstored: Unstored) {
        let Unstored { mut samples, counts } = unstored;
        let mut appended = self.append(&samples).await;
        if let Ok(discarded) = &mut appended {
            discarded.sort_unstable_by_key(|(row, _)| std::cmp::Reverse(*row));
        }
        let mut first = 0;
        for (rule, count) in counts {
            let of_rule = match &mut appended {
                Ok(discarded) => {
                    let own = discarded.split_off(discarded.partition_point(|(row, _)| *row >= first + count));
                    Ok(own.into_iter().rev().map(|(row, why)| (row - first, why)).collect())
                }
                Err(_) if count == 0 => Ok(Vec::new()),
                Err(error) => Err((error.clone(), samples.drain(..count).collect())),
            };
            first += count;
            let (events, took) = {
                let mut group = lock(group);
                let events = group.handle_append(rule, self.clock.now(), of_rule);
                (events, group.rules()[rule].last_duration)
            };
            self.events.took(Timed::Rule, took);
            self.report(events);
        }
    }

    async fn append(&self, samples: &[RuleSample]) -> Result<Vec<(usize, Discard)>, String> {
        if samples.is_empty() { Ok(Vec::new()) } else { self.samples.append(samples).await }
    }

    fn report(&self, events: Vec<GroupEvent>) {
        for event in &events {
            self.events.event(event);
        }
    }
}

#[cfg(test)]
mod tests;
