use super::*;
use crate::testing::{MINUTE, group, labels};
use promql::ast::Expr;
use std::collections::BTreeMap;

const NOW: Timestamp = Timestamp(10_000 * MINUTE);

fn state(active_minutes_ago: i64, last_minutes_ago: i64) -> ForState {
    ForState {
        labels: labels(&[("alertname", "A")]),
        active_at: Timestamp(NOW.0 - active_minutes_ago * MINUTE),
        last_at: Timestamp(NOW.0 - last_minutes_ago * MINUTE),
    }
}

/// Minutes ago since when it counts as active, with a `for` of half an hour and ten minutes of grace.
fn continued(active_minutes_ago: i64, last_minutes_ago: i64) -> i64 {
    let since = state(active_minutes_ago, last_minutes_ago).continued(NOW, 30 * MINUTE, 10 * MINUTE);
    (NOW.0 - since.0) / MINUTE
}

#[test]
fn an_alert_that_fired_fires_at_once() {
    assert_eq!(continued(50, 20), 50);
}

#[test]
fn one_that_was_about_to_fire_waits_for_the_grace_period() {
    assert_eq!(continued(45, 20), 20, "it had five minutes to go; now it has ten");
}

#[test]
fn one_that_had_long_to_go_does_not_count_the_time_in_which_nobody_looked() {
    assert_eq!(continued(25, 20), 5);
}

/// Answers by the text of the query.
struct Answers(BTreeMap<&'static str, Vec<(&'static str, f64)>>);

impl Queries for Answers {
    fn instant(&self, expr: &Expr, at: Timestamp) -> Result<QueryValue, QueryError> {
        let text = expr.to_string();
        let found = self.0.iter().find(|(start, _)| text.starts_with(**start)).map(|(_, answer)| answer.clone());
        let elements = found.unwrap_or_default().into_iter().filter(|(id, _)| *id != "ended" || at < NOW);
        let element = |(id, value)| Element {
            labels: labels(&[("__name__", ALERTS_FOR_STATE), ("alertname", "A"), ("id", id)]),
            value: SampleValue::Float(value),
        };
        Ok(QueryValue::Vector(elements.map(element).collect()))
    }
}

#[test]
fn series_are_found_by_labels_and_those_that_ended_are_left_out() {
    let text =
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    labels: {sev: page, who: '{{ $labels.x }}'}\n";
    let group = group(text);
    let rule = crate::driver::lock(&group).rules()[0].rule.clone();
    assert_eq!(selector(&rule), r#"ALERTS_FOR_STATE{alertname="A","sev"="page"}"#);
    let last = (NOW.0 - MINUTE) as f64 / 1000.0;
    let answers = Answers(BTreeMap::from([
        ("last_over_time", vec![("one", 60.0), ("ended", 60.0)]),
        ("ts_of_last_over_time", vec![("one", last), ("ended", last)]),
        ("ALERTS_FOR_STATE", vec![("one", 60.0)]),
    ]));
    let found = look_up(&rule, &answers, NOW, 60 * MINUTE).expect("queries are answered");
    let expected = ForState {
        labels: labels(&[("alertname", "A"), ("id", "one")]),
        active_at: Timestamp(MINUTE),
        last_at: Timestamp(NOW.0 - MINUTE),
    };
    assert_eq!(found, [expected]);
}

/// Nothing was ever written about alerts.
struct Nothing;

impl Queries for Nothing {
    fn instant(&self, expr: &Expr, _: Timestamp) -> Result<QueryValue, QueryError> {
        panic!("{expr} was asked")
    }

    fn may_select(&self, matchers: &[Matcher], after: Timestamp) -> bool {
        assert_eq!(after, Timestamp(NOW.0 - 60 * MINUTE));
        let asked = matchers.iter().map(|matcher| (matcher.name(), matcher.value()));
        assert!(asked.eq([("__name__", ALERTS_FOR_STATE), ("alertname", "A"), ("sev", "page")]), "{matchers:?}");
        false
    }
}

#[test]
fn nothing_is_asked_where_no_series_can_be() {
    let text = "groups:\n- name: g\n  rules:\n  - {alert: A, expr: up, labels: {sev: page, who: '{{ $value }}'}}\n";
    let group = group(text);
    let rule = crate::driver::lock(&group).rules()[0].rule.clone();
    assert_eq!(look_up(&rule, &Nothing, NOW, 60 * MINUTE), Ok(Vec::new()));
}
