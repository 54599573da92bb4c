//! A naive twin of the alerts of one rule, written from the description of Prometheus' evaluation: one flat record per
//! alert with a zero for "not yet", and every step spelled out.

use super::*;
use crate::testing::labels;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq)]
enum TwinState {
    Pending,
    Firing,
    Inactive,
}

#[derive(Clone)]
struct TwinAlert {
    state: TwinState,
    active_at: i64,
    fired_at: i64,
    resolved_at: i64,
    last_sent_at: i64,
    keep_firing_since: i64,
}

#[derive(Default)]
struct Twin {
    alerts: BTreeMap<usize, TwinAlert>,
}

impl Twin {
    fn evaluate(
        &mut self,
        ts: i64,
        returned: &BTreeSet<usize>,
        timing: Timing,
        limit: usize,
    ) -> Result<Vec<(usize, bool, i64)>, usize> {
        for id in returned {
            if !self.alerts.get(id).is_some_and(|alert| alert.state != TwinState::Inactive) {
                let state = TwinState::Pending;
                let alert = TwinAlert {
                    state,
                    active_at: ts,
                    fired_at: 0,
                    resolved_at: 0,
                    last_sent_at: 0,
                    keep_firing_since: 0,
                };
                self.alerts.insert(*id, alert);
            }
        }
        let mut samples = Vec::new();
        for id in self.alerts.keys().copied().collect::<Vec<_>>() {
            let alert = self.alerts.get_mut(&id).expect("just listed");
            if !returned.contains(&id) {
                let mut keep_firing = false;
                if alert.state == TwinState::Firing && timing.keep_firing_ms > 0 {
                    if alert.keep_firing_since == 0 {
                        alert.keep_firing_since = ts;
                    }
                    keep_firing = ts - alert.keep_firing_since < timing.keep_firing_ms;
                }
                let expired = alert.resolved_at != 0 && ts - alert.resolved_at > 15 * 60_000;
                if alert.state == TwinState::Pending || expired {
                    self.alerts.remove(&id);
                    continue;
                }
                if alert.state != TwinState::Inactive && !keep_firing {
                    alert.state = TwinState::Inactive;
                    alert.resolved_at = ts;
                }
                if !keep_firing {
                    continue;
                }
            } else {
                alert.keep_firing_since = 0;
            }
            if alert.state == TwinState::Pending && ts - alert.active_at >= timing.hold_ms {
                alert.state = TwinState::Firing;
                alert.fired_at = ts;
            }
            if alert.state == TwinState::Firing && ts - alert.active_at < timing.hold_ms {
                alert.state = TwinState::Pending;
                (alert.fired_at, alert.last_sent_at, alert.keep_firing_since) = (0, 0, 0);
            }
            samples.push((id, alert.state == TwinState::Firing, alert.active_at));
        }
        let active = samples.len();
        if limit > 0 && active > limit {
            self.alerts.clear();
            return Err(active);
        }
        Ok(samples)
    }

    fn send(&mut self, ts: i64, resend_delay_ms: i64, lasting_ms: i64) -> Vec<(usize, i64, i64)> {
        let mut sent = Vec::new();
        for (id, alert) in &mut self.alerts {
            let due = alert.state != TwinState::Pending
                && (alert.resolved_at > alert.last_sent_at || alert.last_sent_at + resend_delay_ms < ts);
            if due {
                alert.last_sent_at = ts;
                let ends_at = if alert.resolved_at != 0 { alert.resolved_at } else { ts + 4 * lasting_ms };
                sent.push((*id, alert.fired_at, ends_at));
            }
        }
        sent
    }
}

#[derive(Debug, Clone)]
struct Step {
    after_secs: i64,
    /// `None`: the query failed.
    returned: Option<BTreeSet<usize>>,
    /// A reload changes the durations.
    timing: Option<(i64, i64)>,
    limit: usize,
}

fn step() -> impl Strategy<Value = Step> {
    let returned = prop_oneof![
        1 => Just(None),
        12 => prop::collection::btree_set(0usize..4, 0..4).prop_map(Some),
    ];
    let timing = prop_oneof![8 => Just(None), 1 => (0i64..6, 0i64..6).prop_map(Some)];
    let limit = prop_oneof![9 => Just(0usize), 1 => 1usize..4];
    (1i64..400, returned, timing, limit).prop_map(|(after_secs, returned, timing, limit)| Step {
        after_secs,
        returned,
        timing,
        limit,
    })
}

fn alert_labels(id: usize) -> Labels {
    labels(&[("alertname", "A"), ("id", &id.to_string())])
}

fn timing_minutes((hold, keep): (i64, i64)) -> Timing {
    Timing { hold_ms: hold * 60_000, keep_firing_ms: keep * 60_000 }
}

fn sending(resend_delay_ms: i64) -> Sending {
    Sending { due: Due::All, resend_delay_ms, lasting_ms: resend_delay_ms.max(60_000) }
}

proptest! {
    #[test]
    fn alerts_do_what_the_naive_twin_does(
        timing in (0i64..6, 0i64..6),
        steps in prop::collection::vec(step(), 1..60),
        resend_delay_secs in 0i64..200,
    ) {
        let expr: Arc<str> = "up".into();
        let (mut twin, mut alerts) = (Twin::default(), RuleAlerts::default());
        let mut timing = timing_minutes(timing);
        let mut ts = 1_000_000_000_000;
        for step in steps {
            ts += step.after_secs * 1_000;
            timing = step.timing.map_or(timing, timing_minutes);
            let Some(returned) = step.returned else { continue };
            let expected = twin.evaluate(ts, &returned, timing, step.limit);
            let seen = returned.iter().map(|id| SeenAlert {
                labels: alert_labels(*id),
                value: 1.0,
                annotations: Arc::from([]),
            });
            let limit = Limit { max: step.limit as u64, mode: LimitMode::Error };
            let result = alerts.apply(Timestamp(ts), seen.collect(), timing, limit);
            match expected {
                Err(active) => {
                    let error = RuleError::TooManyAlerts { limit: step.limit as u64, alerts: active };
                    prop_assert_eq!(result, Err(error));
                }
                Ok(expected) => {
                    prop_assert_eq!(result, Ok(0));
                    let expected: Vec<RuleSample> = expected.iter().flat_map(|(id, firing, active_at)| {
                        let state = if *firing { "firing" } else { "pending" };
                        let named = alert_labels(*id).with("__name__", "ALERTS").with("alertstate", state);
                        let for_state = alert_labels(*id).with("__name__", "ALERTS_FOR_STATE");
                        let at = Timestamp(ts);
                        [
                            RuleSample { labels: named, at, value: SampleValue::Float(1.0) },
                            RuleSample { labels: for_state, at, value: SampleValue::Float((active_at / 1000) as f64) },
                        ]
                    }).collect();
                    prop_assert_eq!(alerts.samples(Timestamp(ts)), expected);
                    let delay = resend_delay_secs * 1_000;
                    let changes = alerts.depart(Timestamp(ts), sending(delay));
                    let sent = changes.iter().filter_map(|change| change.message(&expr));
                    let sent: Vec<_> = sent.map(|m| (m.labels, m.starts_at.0, m.ends_at.0)).collect();
                    let expected: Vec<_> = twin.send(ts, delay, delay.max(60_000)).into_iter()
                        .map(|(id, starts_at, ends_at)| (alert_labels(id), starts_at, ends_at)).collect();
                    prop_assert_eq!(sent, expected);
                }
            }
        }
    }
}

#[test]
fn labels_of_the_alert_cannot_forge_the_names_of_its_series() {
    let mut alerts = RuleAlerts::default();
    let forged = labels(&[("__name__", "x"), ("alertname", "A"), ("alertstate", "very_critical")]);
    let seen = SeenAlert { labels: forged, value: 1.0, annotations: Arc::from([]) };
    let timing = Timing { hold_ms: 0, keep_firing_ms: 0 };
    alerts.apply(Timestamp(5_999), vec![seen], timing, Limit::default()).expect("no limit");
    let at = Timestamp(6_000);
    let expected = [
        RuleSample {
            labels: labels(&[("__name__", "ALERTS"), ("alertname", "A"), ("alertstate", "firing")]),
            at,
            value: SampleValue::Float(1.0),
        },
        RuleSample {
            labels: labels(&[("__name__", "ALERTS_FOR_STATE"), ("alertname", "A"), ("alertstate", "very_critical")]),
            at,
            value: SampleValue::Float(5.0),
        },
    ];
    assert_eq!(alerts.samples(at), expected);
}

fn seen(ids: &[usize]) -> Vec<SeenAlert> {
    let alert = |id: &usize| SeenAlert { labels: alert_labels(*id), value: 1.0, annotations: Arc::from([]) };
    ids.iter().map(alert).collect()
}

/// The numbers of the active alerts after each step, and how many were left out.
fn truncated(keep_minutes: i64, max: u64, steps: &[&[usize]]) -> Vec<(Vec<usize>, usize)> {
    let mut alerts = RuleAlerts::default();
    let timing = timing_minutes((0, keep_minutes));
    let step = |(minute, ids): (i64, &&[usize])| {
        let limit = Limit { max, mode: LimitMode::Truncate };
        let left_out = alerts.apply(Timestamp(minute * 60_000), seen(ids), timing, limit).expect("never an error");
        let number = |labels: &Labels| labels.get("id").expect("all have one").parse().expect("a number");
        (alerts.active().map(|(labels, _)| number(labels)).collect(), left_out)
    };
    (1..).zip(steps).map(step).collect()
}

#[test]
fn a_limit_that_truncates_keeps_what_is_active_and_then_the_first() {
    let steps: [&[usize]; 4] = [&[5, 3, 4], &[5, 4, 3, 1], &[1, 2, 5, 6], &[6]];
    let expected = [(vec![3, 4], 1), (vec![3, 4], 2), (vec![1, 2], 2), (vec![6], 0)];
    assert_eq!(truncated(0, 2, &steps), expected);
}

#[test]
fn an_alert_that_only_fires_on_keeps_its_place() {
    let steps: [&[usize]; 3] = [&[7, 8], &[1, 8], &[1, 2]];
    assert_eq!(truncated(1, 2, &steps), [(vec![7, 8], 0), (vec![7, 8], 1), (vec![1, 8], 1)]);
}

#[test]
fn a_limit_that_was_lowered_drops_nothing_that_is_active() {
    let mut alerts = RuleAlerts::default();
    let timing = timing_minutes((0, 0));
    for (max, left_out) in [(0, 0), (2, 1)] {
        let limit = Limit { max, mode: LimitMode::Truncate };
        assert_eq!(alerts.apply(Timestamp(1), seen(&[1, 2, 3, 4][..3 + left_out]), timing, limit), Ok(left_out));
    }
    assert_eq!(alerts.active().count(), 3);
}
