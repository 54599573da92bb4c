//! What happened to alerts and evaluations, for those who ask later: each change of an alert with its cause, and the last
//! evaluations of a rule.

use crate::alert_instance::{AlertInstance, AlertState, Annotations};
use model::labels::Labels;
use model::time::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Evaluations of a rule that are remembered.
pub const EVALUATIONS_KEPT: usize = 20;

/// Evaluations of a rule after which they are handed to whoever keeps a history: half of those that are remembered, so that none is
/// forgotten before.
pub const EVALUATIONS_TOLD: usize = EVALUATIONS_KEPT / 2;

/// Where an alert stands, as people see it: a resolved one is inactive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The expression does not return it.
    Inactive,
    /// Returned, but not yet for the whole of `for`.
    Pending,
    /// It fires.
    Firing,
}

/// Why an alert changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The expression returned it.
    Matched,
    /// It was returned for the whole of `for`.
    Held,
    /// The expression no longer returns it.
    Gone,
    /// The expression no longer returned it, and now `keep_firing_for` is over.
    KeptLongEnough,
    /// The rule had more alerts than the group's `limit`, and all were forgotten.
    Limit,
    /// The rules were changed.
    Reload,
    /// Nobody evaluated the rule for so long that what was known of the alert says nothing any more.
    NotObserved,
}

/// One change of one alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// Which alert.
    pub labels: Labels,
    /// As it last stood.
    pub annotations: Annotations,
    /// As it last stood.
    pub value: f64,
    /// Since when the expression returned it.
    pub active_at: Timestamp,
    /// Where it stood.
    pub from: Phase,
    /// Where it stands.
    pub to: Phase,
    /// Why.
    pub cause: Cause,
}

impl Phase {
    /// Of an instance.
    #[must_use]
    pub fn of(state: AlertState) -> Self {
        match state {
            AlertState::Pending => Self::Pending,
            AlertState::Firing { .. } => Self::Firing,
            AlertState::Resolved { .. } => Self::Inactive,
        }
    }

    /// Its name: `inactive`, `pending` or `firing`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

impl Cause {
    /// Its name, in small letters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::Held => "held_for",
            Self::Gone => "gone",
            Self::KeptLongEnough => "keep_firing_for_over",
            Self::Limit => "limit",
            Self::Reload => "reload",
            Self::NotObserved => "not_observed",
        }
    }
}

impl Transition {
    /// What an evaluation made of an alert that stood at `before` (`None`: there was none), if that is a change.
    pub(crate) fn between(before: Option<AlertState>, labels: &Labels, now: &AlertInstance) -> Option<Self> {
        let (from, to) = (before.map_or(Phase::Inactive, Phase::of), Phase::of(now.state));
        let cause = match (from, to) {
            (Phase::Inactive, Phase::Pending | Phase::Firing) => Cause::Matched,
            (Phase::Pending, Phase::Firing) => Cause::Held,
            (Phase::Firing, Phase::Pending) => Cause::Reload,
            (Phase::Firing, Phase::Inactive) => match before {
                Some(AlertState::Firing { keep_firing_since: Some(_), .. }) => Cause::KeptLongEnough,
                _ => Cause::Gone,
            },
            (Phase::Pending, Phase::Inactive) => Cause::Gone,
            (Phase::Inactive, Phase::Inactive) | (Phase::Pending, Phase::Pending) | (Phase::Firing, Phase::Firing) => {
                return None;
            }
        };
        Some(Self::new(labels, now, from, to, cause))
    }

    /// The end of an alert that is forgotten, unless it had ended already.
    pub(crate) fn end(before: AlertState, labels: &Labels, last: &AlertInstance, cause: Cause) -> Option<Self> {
        let from = Phase::of(before);
        (from != Phase::Inactive).then(|| Self::new(labels, last, from, Phase::Inactive, cause))
    }

    fn new(labels: &Labels, instance: &AlertInstance, from: Phase, to: Phase, cause: Cause) -> Self {
        let AlertInstance { annotations, value, active_at, .. } = instance;
        let (labels, annotations) = (labels.clone(), annotations.clone());
        Self { labels, annotations, value: *value, active_at: *active_at, from, to, cause }
    }
}

/// The last evaluations of one rule, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    evaluations: VecDeque<Past>,
    /// By the time of the evaluation; most evaluations have none.
    errors: VecDeque<(Timestamp, Arc<str>)>,
    /// How many of the newest were not told yet.
    untold: usize,
}

/// Small: there are twenty for each rule.
#[derive(Debug, Clone, Copy)]
struct Past {
    at: Timestamp,
    micros: u32,
    samples: u32,
}

/// One evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct PastEvaluation {
    /// When it began, by the wall clock.
    pub at: Timestamp,
    /// How long it took, storing the samples included; at most 71 minutes.
    pub took: Duration,
    /// Samples that it returned.
    pub samples: u32,
    /// Why it failed, if it did.
    pub error: Option<Arc<str>>,
}

impl Recent {
    /// Adds one; the oldest goes when there are [`EVALUATIONS_KEPT`]. Whether it is time to tell: there are many, or this one failed
    /// and the one before did not, or the other way round.
    pub(crate) fn add(&mut self, at: Timestamp, took: Duration, samples: u64, error: Option<String>) -> bool {
        let did_fail = self.newest_first().next().map(|last| last.error.is_some());
        let is_news = did_fail.is_some_and(|did_fail| did_fail != error.is_some());
        if self.evaluations.len() >= EVALUATIONS_KEPT {
            self.evaluations.pop_front();
        }
        let (micros, samples) = (u32::try_from(took.as_micros()), u32::try_from(samples));
        let past = Past { at, micros: micros.unwrap_or(u32::MAX), samples: samples.unwrap_or(u32::MAX) };
        self.evaluations.push_back(past);
        self.errors.extend(error.map(|error| (at, Arc::from(error))));
        let oldest = self.evaluations.front().map_or(at, |oldest| oldest.at);
        while self.errors.len() > EVALUATIONS_KEPT || self.errors.front().is_some_and(|(at, _)| *at < oldest) {
            self.errors.pop_front();
        }
        self.untold = (self.untold + 1).min(EVALUATIONS_KEPT);
        is_news || self.untold >= EVALUATIONS_TOLD
    }

    /// The evaluations since the last call, oldest first.
    pub(crate) fn take_untold(&mut self) -> Vec<PastEvaluation> {
        let mut untold: Vec<PastEvaluation> = self.newest_first().take(self.untold).collect();
        untold.reverse();
        self.untold = 0;
        untold
    }

    /// The evaluations, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = PastEvaluation> {
        self.evaluations.iter().rev().map(|past| {
            let error = self.errors.iter().rev().find(|(at, _)| *at == past.at).map(|(_, error)| error.clone());
            let took = Duration::from_micros(past.micros.into());
            PastEvaluation { at: past.at, took, samples: past.samples, error }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_evaluations_are_remembered_with_their_errors() {
        let mut recent = Recent::default();
        for at in 0..50 {
            let error = (at % 10 == 0).then(|| format!("error {at}"));
            recent.add(Timestamp(at), Duration::from_millis(2), 3, error);
        }
        let past: Vec<_> = recent.newest_first().collect();
        assert_eq!(past.len(), EVALUATIONS_KEPT);
        assert_eq!((past[0].at, past[19].at), (Timestamp(49), Timestamp(30)));
        assert_eq!((past[0].took, past[0].samples, past[0].error.clone()), (Duration::from_millis(2), 3, None));
        assert_eq!((past[9].error.as_deref(), past[19].error.as_deref()), (Some("error 40"), Some("error 30")));
        assert_eq!(recent.errors.len(), 2);
    }

    #[test]
    fn evaluations_are_told_by_tens_and_when_a_rule_fails_or_is_good_again() {
        let mut recent = Recent::default();
        let mut told = Vec::new();
        for at in 0..40 {
            let error = (15..17).contains(&at).then(|| "no".to_owned());
            if recent.add(Timestamp(at), Duration::ZERO, 0, error) {
                told.push(recent.take_untold().iter().map(|past| past.at.0).collect::<Vec<_>>());
            }
        }
        assert_eq!(told.iter().map(|told| *told.last().unwrap()).collect::<Vec<_>>(), [9, 15, 17, 27, 37]);
        assert_eq!(told.concat(), (0..38).collect::<Vec<_>>(), "each once");
    }
}
