//! What an undisturbed process would tell: a flat record per alert, every step spelled out.

use crate::world::{RULES, Scenario, Transition};
use std::collections::BTreeSet;

pub(crate) struct Twin;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Inactive,
    Pending,
    Firing,
}

impl Twin {
    /// All that fires and resolves, by rule and alert.
    pub(crate) fn transitions(scenario: &Scenario) -> BTreeSet<Transition> {
        let mut transitions = BTreeSet::new();
        for rule in 0..RULES {
            for alert in 0..scenario.alerts {
                Self::alert(scenario, rule, alert, &mut transitions);
            }
        }
        transitions
    }

    fn alert(scenario: &Scenario, rule: usize, alert: usize, transitions: &mut BTreeSet<Transition>) {
        let (hold_ms, keep_ms) = scenario.timing(rule);
        let (mut state, mut active_at, mut fired_at, mut keep_since) = (State::Inactive, 0, 0, 0);
        for slot in scenario.slots() {
            let present = scenario.is_present(rule, alert, slot);
            if present {
                keep_since = 0;
                if state == State::Inactive {
                    (state, active_at) = (State::Pending, slot);
                }
                if state == State::Pending && slot - active_at >= hold_ms {
                    (state, fired_at) = (State::Firing, slot);
                    transitions.insert(Transition { rule, alert, fired_at, resolved_at: None });
                }
            } else if state == State::Pending {
                state = State::Inactive;
            } else if state == State::Firing {
                if keep_since == 0 {
                    keep_since = slot;
                }
                if slot - keep_since >= keep_ms {
                    state = State::Inactive;
                    transitions.insert(Transition { rule, alert, fired_at, resolved_at: Some(slot) });
                }
            }
        }
    }
}
