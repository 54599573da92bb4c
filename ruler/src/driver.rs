//! The driver of a rule group: all of the waiting, none of the deciding.

use crate::group::{Group, GroupEvent, Outcome};
use crate::ports::{AppendPort, Clock, Discard, EventPort, NotifyPort, QueryPort, RuleSample};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A group that its driver and its readers share. Nobody holds the lock while waiting.
pub type SharedGroup = Arc<Mutex<Group>>;

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
        while !self.clock.is_stopped() {
            let now = self.clock.now();
            let begun = lock(group).begin(now);
            match begun {
                Some(events) => {
                    self.report(events);
                    self.iterate(group).await;
                }
                None => {
                    let wait = lock(group).wait(now.wall);
                    self.clock.sleep(wait.max(Duration::from_millis(1))).await;
                }
            }
        }
    }

    /// Evaluates the rules of the slot that [`Group::begin`] began.
    async fn iterate(&self, group: &SharedGroup) {
        while !self.clock.is_stopped() {
            let request = lock(group).next_request(self.clock.now());
            let Some(request) = request else { break };
            let evaluation = self.queries.evaluate(request).await;
            let Outcome { departure, samples, events } = lock(group).handle_evaluation(evaluation);
            self.report(events);
            if let Some(departure) = departure {
                self.alerts.send(departure).await;
            }
            let appended = self.append(samples).await;
            let events = lock(group).handle_append(self.clock.now(), appended);
            self.report(events);
        }
        let farewell = lock(group).next_farewell();
        if !farewell.is_empty() {
            let appended = self.append(farewell).await;
            let events = lock(group).handle_farewell(appended);
            self.report(events);
        }
        let (complete, id) = {
            let mut group = lock(group);
            (group.finish(self.clock.now()), group.id().clone())
        };
        if let Some(slot) = complete {
            self.alerts.evaluated(&id, slot);
        }
    }

    async fn append(&self, samples: Vec<RuleSample>) -> Result<Vec<(usize, Discard)>, String> {
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
