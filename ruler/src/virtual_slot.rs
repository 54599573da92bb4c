//! Evaluates a slot of a group at once, in time that only passes on paper: unit tests and backtests.

use crate::evaluation::{Evaluation, Request};
use crate::group::{Group, GroupEvent, Outcome, Work};
use crate::ports::{Discard, Moment, RuleSample};
use crate::state::Departure;
use model::time::Timestamp;
use std::time::Duration;

/// What a group finds around it.
pub trait VirtualWorld {
    /// Evaluates a rule on what was appended before.
    fn evaluate(&mut self, request: &Request) -> Evaluation;

    /// Stores samples; the index of each refused one and why.
    fn append(&mut self, samples: Vec<RuleSample>) -> Vec<(usize, Discard)>;

    /// Takes the alerts that changed or are to be sent.
    fn send(&mut self, departure: &Departure);
}

/// Evaluates all rules of `group` in the slot `at`; returns what happened.
pub fn evaluate_slot(group: &mut Group, at: Timestamp, world: &mut dyn VirtualWorld) -> Vec<GroupEvent> {
    let moment = Moment { wall: at, monotonic: Duration::from_millis(at.0.max(0).unsigned_abs()) };
    let mut events = Vec::new();
    group.begin_slot(at, None, moment);
    // Nothing is gained by evaluating rules at once: the order of the file is the plainest.
    let mut rules: Vec<usize> = std::iter::from_fn(|| group.next_batch()).flatten().collect();
    rules.sort_unstable();
    for rule in rules {
        let evaluation = match group.begin_rule(rule, moment) {
            Work::Evaluate(request) => world.evaluate(&request),
            Work::Known(evaluation) => evaluation,
            Work::Store(_) | Work::Nothing => continue, // only where slots are repaired
        };
        let Outcome { departure, samples, events: happened } = group.handle_evaluation(rule, evaluation);
        events.extend(happened);
        if let Some(departure) = departure {
            world.send(&departure);
        }
        let refused = world.append(samples);
        events.extend(group.handle_append(rule, moment, Ok(refused)));
    }
    let farewell = group.next_farewell();
    if !farewell.is_empty() {
        let refused = world.append(farewell);
        events.extend(group.handle_farewell(Ok(refused)));
    }
    group.finish(moment);
    events
}
