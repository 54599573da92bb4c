//! Evaluations that follow from what arrives: early ones of rules that ask for it, and slots that wait for late data.
//!
//! An early evaluation looks at the time of the newest sample that arrived; where one comes late or out of order, again at the newest
//! time that was looked at, the last slot included. It may only advance alerts, from inactive to pending to firing: slots remain the
//! truth, and all samples have the times of slots.

use super::{Group, Outcome};
use crate::alerting::{ALERTS, ALERTS_FOR_STATE};
use crate::evaluation::{Evaluated, Evaluation, Request};
use crate::ports::Moment;
use crate::rule::AlertingRule;
use crate::state::Departure;
use model::labels::METRIC_NAME;
use model::matcher::{MatchOp, Matcher};
use model::time::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

impl Group {
    /// The selectors of rules that are evaluated as soon as something arrives for them.
    #[must_use]
    pub fn eager_selectors(&self) -> Vec<Vec<Matcher>> {
        let eager = self.rules.iter().filter(|state| state.rule.alerting().is_some_and(|alerting| alerting.on_ingest));
        eager.flat_map(|state| state.rule.query.expr().selectors().map(|selector| selector.matchers.clone())).collect()
    }

    /// The selectors of all rules, if slots wait for what they select. What rules of the group write is not awaited: it follows.
    #[must_use]
    pub fn awaited_selectors(&self) -> Vec<Vec<Matcher>> {
        if self.spec.wait_for_ingest_ms <= 0 {
            return Vec::new();
        }
        let recorded = self.rules.iter().filter(|state| state.rule.alerting().is_none());
        let own: BTreeSet<&str> =
            recorded.map(|state| state.rule.name.as_str()).chain([ALERTS, ALERTS_FOR_STATE]).collect();
        let selectors = self.rules.iter().flat_map(|state| state.rule.query.expr().selectors());
        let others = selectors.filter_map(|selector| {
            let mut matchers = selector.matchers.clone();
            let name = matchers.iter().find(|matcher| matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal);
            match name.map(|name| own.contains(name.value())) {
                Some(true) => return None,
                Some(false) => {}
                None => matchers
                    .extend(own.iter().filter_map(|name| Matcher::new(METRIC_NAME, MatchOp::NotEqual, *name).ok())),
            }
            Some(matchers)
        });
        others.collect()
    }

    /// How long the slot that is due still waits for samples; `lacks` says whether some up to a time are on their way.
    pub fn waits_for_ingest(&mut self, now: Moment, lacks: impl FnOnce(Timestamp) -> bool) -> Option<Duration> {
        let most_ms = self.spec.wait_for_ingest_ms.min(self.spec.interval_ms / 2);
        if most_ms <= 0 || self.due.is_some() {
            return None;
        }
        let slot = self.schedule.next_slot(now.wall);
        let late_ms = now.wall.0.saturating_sub(slot.0);
        if late_ms < 0 || late_ms >= most_ms || !lacks(Timestamp(slot.0.saturating_sub(self.spec.query_offset_ms))) {
            return None;
        }
        Some(Duration::from_millis((most_ms - late_ms).unsigned_abs()))
    }

    /// The rules to evaluate early, now that something arrived and `newest` is the newest time of all that did: none while older
    /// slots are lacking.
    pub fn begin_early(&mut self, newest: Timestamp, now: Moment) -> Vec<(usize, Request)> {
        // A sample that is late may still change what is seen at the newest time that was looked at; alerts never go back.
        let at = Some(newest.min(now.wall)).max(self.newest).max(self.last_early).unwrap_or(newest);
        let is_future = at > now.wall;
        if is_future || self.due.is_some() || self.iteration.is_some() || !self.backlog.is_empty() {
            return Vec::new();
        }
        self.last_early = Some(at);
        let eager = self.rules.iter().enumerate();
        let eager = eager.filter(|(_, state)| state.rule.alerting().is_some_and(|alerting| alerting.on_ingest));
        let requests = eager.map(|(index, state)| {
            let request = Request {
                rule: state.rule.clone(),
                slot: at,
                query_at: at,
                look_back_ms: None,
                earlier: None,
                limit: self.spec.limit.max(0).unsigned_abs(),
                context: self.settings.context.clone(),
            };
            (index, request)
        });
        let requests: Vec<_> = requests.collect();
        self.stats.early_evaluations += requests.len() as u64;
        requests
    }

    /// Takes in what an early evaluation at `at` came to: the alerts that it advanced. One that failed says nothing.
    pub fn handle_early(&mut self, index: usize, at: Timestamp, evaluation: Evaluation) -> Outcome {
        let Some(state) = self.rules.get_mut(index) else { return Outcome::default() };
        let timing = state.rule.alerting().map(AlertingRule::timing);
        let (Some(timing), Ok(Evaluated::Seen(seen))) = (timing, evaluation.result) else { return Outcome::default() };
        let lasting_ms = self.spec.interval_ms.max(self.settings.resend_delay_ms).saturating_mul(4);
        let limit = self.spec.limit.max(0).unsigned_abs();
        let changes = state.alerts.advance_early(at, seen, timing, lasting_ms, limit);
        let (rule, expr, last_good) = (state.id.clone(), state.rule.query.text().clone(), state.last_good);
        let departure = (!changes.is_empty()).then_some(Departure { rule, expr, slot: at, last_good, changes });
        Outcome { departure, samples: Vec::new(), events: state.news(at) }
    }
}
