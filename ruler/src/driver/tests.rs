//! The behaviour of groups in virtual time: what the alert generator compliance suite checks of one process, and more.

mod early;
mod histograms;
mod news;
mod repair;

use super::*;
use crate::alerting::{ALERT_STATE, ALERTS, ALERTS_FOR_STATE};
use crate::error::QueryError;
use crate::ports::QueryValue;
use crate::repair::RepairTally;
use crate::rule_state::Health;
use crate::testing::{MINUTE, SECOND, World, alerts_in, group, vector};
use crate::view::AlertsView;
use model::time::Timestamp;

/// A file with one alert on `up == 0`, evaluated every 30 seconds.
fn alert(fields: &str) -> SharedGroup {
    group(&format!(
        "groups:\n- name: g\n  interval: 30s\n  rules:\n  - alert: Down\n    expr: up == 0\n    labels: {{foo: bar}}\n    {fields}\n"
    ))
}

/// Slots of the group `g` at 30 seconds begin so many milliseconds after each half minute.
fn first_slot(group: &SharedGroup, start_ms: i64) -> i64 {
    let wait = lock(group).wait(Timestamp(start_ms));
    start_ms + i64::try_from(wait.as_millis()).expect("short")
}

/// (slot number, "firing" or "resolved") of everything that was sent; slots are counted from 0.
fn sent(world: &World, first: i64, interval: i64) -> Vec<(i64, &'static str)> {
    let sent = world.take_sent();
    let state = |alert: &crate::ports::AlertMessage, at| if alert.ends_at.0 > at { "firing" } else { "resolved" };
    sent.iter().map(|(at, alert)| ((at - first) / interval, state(alert, *at))).collect()
}

const START: i64 = 1_000_000_000;

#[test]
fn pending_firing_and_resolved_alerts_are_sent_as_the_compliance_suite_expects() {
    let world = World::at(START);
    let group = alert("for: 6m");
    let first = first_slot(&group, START);
    // Active for 8 minutes, gone for 10, active again.
    world.answer("up == 0", move |at, _| {
        let minute = (at.0 - first) / MINUTE;
        Ok(if !(8..18).contains(&minute) { vector(&[(&[("job", "a")], 1.0)]) } else { vector(&[]) })
    });
    world.run(&group, 31 * MINUTE);
    let messages = world.take_sent();
    let slots: Vec<i64> = messages.iter().map(|(at, _)| (at - first) / (30 * SECOND)).collect();
    // Fires in slot 12, resolves in slot 16, pending again from slot 36, fires in slot 48: every third slot lies more than
    // a minute after the one before.
    assert_eq!(slots, [12, 15, 16, 19, 22, 25, 28, 31, 34, 48, 51, 54, 57, 60]);
    for (at, message) in &messages {
        let slot = (at - first) / (30 * SECOND);
        let fired = if slot < 40 { 12 } else { 48 };
        assert_eq!(message.starts_at.0, first + fired * 30 * SECOND, "slot {slot}");
        let ends_at = if (16..40).contains(&slot) { first + 16 * 30 * SECOND } else { at + 4 * MINUTE };
        assert_eq!(message.ends_at.0, ends_at, "slot {slot}");
        assert_eq!(message.labels, crate::testing::labels(&[("alertname", "Down"), ("foo", "bar"), ("job", "a")]));
        assert_eq!(&*message.expr, "up == 0");
    }
}

#[test]
fn an_alert_that_never_reaches_its_for_is_never_sent() {
    let world = World::at(START);
    let group = alert("for: 3m");
    world.script("up == 0", "xxxxx.xxxxxx.");
    world.run(&group, 20 * MINUTE);
    assert!(world.take_sent().is_empty());
}

#[test]
fn without_for_an_alert_fires_in_the_first_evaluation_and_with_a_small_for_in_the_second() {
    for (fields, slot) in [("for: 0s", 0), ("for: 15s", 1)] {
        let world = World::at(START);
        let group = alert(fields);
        let first = first_slot(&group, START);
        world.script("up == 0", "x");
        world.run(&group, 2 * MINUTE);
        assert_eq!(sent(&world, first, 30 * SECOND).first(), Some(&(slot, "firing")), "{fields}");
    }
}

#[test]
fn resolved_alerts_are_sent_again_for_fifteen_minutes_and_then_never() {
    let world = World::at(START);
    let group = alert("for: 0s");
    let first = first_slot(&group, START);
    world.script("up == 0", "x.");
    world.run(&group, 30 * MINUTE);
    let expected: Vec<_> =
        std::iter::once((0, "firing")).chain((0..).map(|i| (1 + 3 * i, "resolved")).take(11)).collect();
    assert_eq!(sent(&world, first, 30 * SECOND), expected);
    assert_eq!(lock(&group).rules()[0].alerts.iter().count(), 0);
}

#[test]
fn keep_firing_for_delays_the_resolution() {
    let world = World::at(START);
    let group = alert("keep_firing_for: 1m");
    let first = first_slot(&group, START);
    world.script("up == 0", "xx.");
    world.run(&group, 3 * MINUTE);
    assert_eq!(sent(&world, first, 30 * SECOND), [(0, "firing"), (3, "firing"), (4, "resolved")]);
}

#[test]
fn the_series_of_an_alert_say_its_state_at_every_slot_and_end_with_stale_markers() {
    let world = World::at(START);
    let group = alert("for: 1m");
    let first = first_slot(&group, START);
    world.script("up == 0", "xxxx.");
    world.run(&group, 4 * MINUTE);
    let slot = |i: i64| first + i * 30 * SECOND;
    let series = |name, state: &[(&'static str, &'static str)]| {
        let mut pairs = vec![("__name__", name), ("alertname", "Down"), ("foo", "bar")];
        pairs.extend(state);
        world.samples(&pairs)
    };
    assert_eq!(
        series(ALERTS, &[(ALERT_STATE, "pending")]),
        [(slot(0), Some(1.0)), (slot(1), Some(1.0)), (slot(2), None)]
    );
    assert_eq!(
        series(ALERTS, &[(ALERT_STATE, "firing")]),
        [(slot(2), Some(1.0)), (slot(3), Some(1.0)), (slot(4), None)]
    );
    let since = Some((slot(0) / 1000) as f64);
    assert_eq!(
        series(ALERTS_FOR_STATE, &[]),
        [(slot(0), since), (slot(1), since), (slot(2), since), (slot(3), since), (slot(4), None)]
    );
    assert_eq!(world.series().len(), 3);
}

#[test]
fn a_rule_reads_what_an_earlier_one_wrote_in_the_same_slot() {
    let world = World::at(START);
    let group = group(
        "groups:\n- name: g\n  rules:\n  - alert: One\n    expr: up == 0\n    labels: {foo: bar}\n  - alert: Two\n    \
         expr: ALERTS{alertstate=\"firing\"}\n    labels: {foo: baz}\n    annotations:\n      description: Old alertname \
         was {{$labels.alertname}}. foo was {{.Labels.foo}}.\n  - record: count:alerts\n    expr: count(ALERTS)\n",
    );
    world.script("up == 0", "x");
    world.answer("ALERTS{alertstate=\"firing\"}", |at, store| {
        let firing = alerts_in(store, at, "firing").into_iter();
        Ok(QueryValue::Vector(firing.filter(|alert| alert.labels.get("alertname") == Some("One")).collect()))
    });
    world.answer("count(ALERTS)", |at, store| Ok(QueryValue::Scalar(alerts_in(store, at, "firing").len() as f64)));
    world.run(&group, MINUTE + 1);
    let sent = world.take_sent();
    assert_eq!(sent.len(), 2);
    let description = sent[1].1.annotations.first().map(|(_, text)| text.to_string());
    assert_eq!(description.as_deref(), Some("Old alertname was One. foo was bar."));
    assert_eq!(
        sent[1].1.labels,
        crate::testing::labels(&[("alertname", "Two"), ("alertstate", "firing"), ("foo", "baz")])
    );
    assert_eq!(world.samples(&[("__name__", "count:alerts")])[0].1, Some(2.0));
}

#[test]
fn alerts_leave_before_samples_are_stored() {
    let world = World::at(START);
    let group = alert("for: 0s");
    world.script("up == 0", "x");
    world.fail_appends(Some("disk full"));
    world.run(&group, MINUTE);
    assert_eq!(world.take_log()[..3], ["query up == 0", "send", "append"]);
    assert_eq!(lock(&group).rules()[0].health, Health::Bad(crate::error::RuleError::Append("disk full".into())));
}

#[test]
fn a_failed_query_ends_no_series_and_firing_alerts_are_sent_on() {
    let world = World::at(START);
    let group = alert("for: 0s");
    let first = first_slot(&group, START);
    world.script("up == 0", "x!!!!x.");
    world.run(&group, 4 * MINUTE);
    assert_eq!(sent(&world, first, 30 * SECOND), [(0, "firing"), (3, "firing"), (6, "resolved")]);
    let firing = [("__name__", ALERTS), ("alertname", "Down"), ("alertstate", "firing"), ("foo", "bar")];
    let slots: Vec<_> = world.samples(&firing).iter().map(|(at, v)| ((at - first) / (30 * SECOND), *v)).collect();
    assert_eq!(slots, [(0, Some(1.0)), (5, Some(1.0)), (6, None)]);
    assert_eq!(lock(&group).stats().evaluation_failures, 4);
}

/// Firing alerts are believed for four minutes; a store that is away for twenty would end them all.
#[test]
fn while_queries_fail_firing_alerts_are_kept_for_an_hour_and_it_is_seen() {
    let world = World::at(START);
    let group = alert("for: 0s");
    let first = first_slot(&group, START);
    world.script("up == 0", "x!");
    world.run(&group, 30 * MINUTE);
    let view = AlertsView::of(std::slice::from_ref(&group));
    assert_eq!(view.alerts[0].unknown_since, Some(Timestamp(first + 30 * SECOND)));
    world.run(&group, 120 * MINUTE);
    let sent = world.take_sent();
    let last = sent.last().expect("sent").1.clone();
    assert!(sent.iter().all(|(_, alert)| !alert.resolved && alert.starts_at == Timestamp(first) && alert.seq == 2));
    assert!(sent.windows(2).all(|pair| pair[1].0 < pair[0].1.ends_at.0), "no gap in which it ends by itself");
    assert_eq!(last.ends_at, Timestamp(first + 60 * MINUTE + 4 * MINUTE), "the last time after an hour");
}

#[test]
fn a_group_may_let_its_alerts_end_while_queries_fail() {
    let world = World::at(START);
    let text = "groups:\n- name: g\n  interval: 30s\n  on_error: resolve\n  rules:\n  - alert: A\n    expr: up\n";
    let group = group(text);
    world.script("up", "x!");
    world.run(&group, 30 * MINUTE);
    assert_eq!(world.take_sent().len(), 1);
}

#[test]
fn a_limit_that_truncates_says_so_and_forgets_nobody() {
    let world = World::at(START);
    let group = group("groups:\n- name: g\n  limit: 1\n  limit_mode: truncate\n  rules:\n  - alert: A\n    expr: up\n");
    world.answer("up", |_, _| Ok(vector(&[(&[("job", "b")], 1.0), (&[("job", "a")], 1.0)])));
    world.run(&group, 2 * MINUTE + 1);
    let sent: Vec<_> =
        world.take_sent().into_iter().map(|(_, alert)| alert.labels.get("job").map(str::to_owned)).collect();
    assert_eq!(sent, [Some("a".to_owned())]);
    assert!(matches!(world.take_events()[..], [GroupEvent::AlertsLeftOut { count: 1, .. }]), "once");
    let warning = lock(&group).rules()[0].warning();
    assert_eq!(warning.as_deref(), Some("1 alerts are left out because of the limit of the group"));
    assert_eq!(lock(&group).rules()[0].health, Health::Good);
}

#[test]
fn a_failed_rule_does_not_stop_the_rules_behind_it() {
    let world = World::at(START);
    let group = group("groups:\n- name: g\n  rules:\n  - record: a\n    expr: bad\n  - record: b\n    expr: good\n");
    world.answer("bad", |_, _| Err(QueryError::Invalid("no".into())));
    world.answer("good", |_, _| Ok(QueryValue::Scalar(7.0)));
    world.run(&group, MINUTE + 1);
    assert_eq!(world.samples(&[("__name__", "b")])[0].1, Some(7.0));
    let group = lock(&group);
    let health: Vec<_> = group.rules().iter().map(|rule| &rule.health).collect();
    assert_eq!(health, [&Health::Bad(QueryError::Invalid("no".into()).into()), &Health::Good]);
}

#[test]
fn samples_are_written_and_queries_run_at_the_slot_minus_the_offset_and_states_at_the_slot() {
    let world = World::at(START);
    let group = group(
        "groups:\n- name: g\n  query_offset: 90s\n  rules:\n  - record: t\n    expr: time()\n  - alert: A\n    expr: up\n",
    );
    let first = first_slot(&group, START);
    world.answer("time()", |at, _| Ok(QueryValue::Scalar(at.0 as f64)));
    world.script("up", "x");
    world.run(&group, MINUTE + 1);
    let at = first - 90 * SECOND;
    assert_eq!(world.samples(&[("__name__", "t")])[0], (at, Some(at as f64)));
    let firing = [("__name__", ALERTS), ("alertname", "A"), ("alertstate", "firing")];
    assert_eq!(world.samples(&firing)[0], (at, Some(1.0)));
    assert_eq!(world.take_sent()[0].1.starts_at, Timestamp(first));
}

#[test]
fn exceeding_the_limit_of_alerts_forgets_them_without_a_word() {
    let world = World::at(START);
    let group = group("groups:\n- name: g\n  limit: 1\n  rules:\n  - alert: A\n    expr: up\n");
    let mut evaluation = 0;
    world.answer("up", move |_, _| {
        evaluation += 1;
        let all: [(&[(&str, &str)], f64); 2] = [(&[("job", "a")], 1.0), (&[("job", "b")], 1.0)];
        Ok(vector(if evaluation == 2 { &all } else { &all[..1] }))
    });
    world.run(&group, 2 * MINUTE + 1);
    assert_eq!(world.take_sent().len(), 1);
    let error = "exceeded limit of 1 with 2 alerts";
    assert!(matches!(&lock(&group).rules()[0].health, Health::Bad(found) if found.to_string() == error));
    assert!(AlertsView::of(std::slice::from_ref(&group)).alerts.is_empty());
    let firing = [("__name__", ALERTS), ("alertname", "A"), ("alertstate", "firing"), ("job", "a")];
    assert_eq!(world.samples(&firing).len(), 1, "no marker: the evaluation failed");
    world.run(&group, MINUTE);
    assert_eq!(world.take_sent().len(), 1, "fires anew");
}

#[test]
fn results_with_equal_labels_are_an_error() {
    let world = World::at(START);
    let group = group(
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    labels: {job: same}\n  - record: r\n    expr: up\n    \
         labels: {job: ''}\n",
    );
    world.answer("up", |_, _| Ok(vector(&[(&[("job", "a")], 1.0), (&[("job", "b")], 1.0)])));
    world.run(&group, MINUTE + 1);
    assert!(world.series().is_empty() && world.take_sent().is_empty());
    let errors: Vec<_> = lock(&group).rules().iter().map(|rule| format!("{:?}", rule.health)).collect();
    assert_eq!(errors, ["Bad(SameAlertLabels)", "Bad(SameSeriesLabels)"]);
}

#[test]
fn a_recorded_series_that_is_not_returned_gets_one_stale_marker() {
    let world = World::at(START);
    let group = group("groups:\n- name: g\n  rules:\n  - record: r\n    expr: up\n    labels: {a: b}\n");
    let first = first_slot(&group, START);
    world.script("up", "xx.!.x");
    world.run(&group, 6 * MINUTE);
    let samples = world.samples(&[("__name__", "r"), ("a", "b")]);
    let slots: Vec<_> = samples.iter().map(|(at, value)| ((at - first) / MINUTE, *value)).collect();
    assert_eq!(slots, [(0, Some(1.0)), (1, Some(1.0)), (2, None), (5, Some(1.0))]);
}

#[test]
fn refused_samples_make_the_rule_unhealthy_and_are_no_series_of_it() {
    let world = World::at(START);
    let group = group("groups:\n- name: g\n  rules:\n  - record: r\n    expr: one\n  - record: r\n    expr: two\n");
    world.answer("one", |_, _| Ok(QueryValue::Scalar(1.0)));
    world.answer("two", |_, _| Ok(QueryValue::Scalar(2.0)));
    world.run(&group, MINUTE + 1);
    let group = lock(&group);
    assert_eq!(group.rules()[0].health, Health::Good);
    let reason = "duplicate sample for timestamp".to_owned();
    assert_eq!(group.rules()[1].health, Health::Bad(crate::error::RuleError::SamplesDiscarded { reason }));
    assert!(matches!(world.take_events()[..], [GroupEvent::SamplesDiscarded { index: 1, count: 1, .. }]));
    assert_eq!(group.stats().evaluation_failures, 0);
    assert_eq!((group.rules()[0].written.len(), group.rules()[1].written.len()), (1, 0));
}

#[test]
fn slots_that_pass_while_a_query_runs_are_counted_and_not_made_up_for() {
    let world = World::at(START);
    let group = group("groups:\n- name: g\n  rules:\n  - record: t\n    expr: time()\n");
    let first = first_slot(&group, START);
    world.answer("time()", |at, _| Ok(QueryValue::Scalar(at.0 as f64)));
    world.slow_queries(150 * SECOND);
    world.run(&group, 6 * MINUTE);
    let slots: Vec<_> = world.samples(&[("__name__", "t")]).iter().map(|(at, _)| (at - first) / MINUTE).collect();
    assert_eq!(slots, [0, 2, 5]);
    let stats = lock(&group).stats().clone();
    assert_eq!((stats.iterations, stats.iterations_missed, stats.evaluations), (6, 3, 3));
    assert_eq!(stats.last_duration_secs, 150.0);
}

#[test]
fn a_group_that_is_told_to_stop_finishes_its_rule_and_starts_no_other() {
    let world = World::at(START);
    let group = group("groups:\n- name: g\n  rules:\n  - record: a\n    expr: one\n  - record: b\n    expr: two\n");
    world.answer("one", |_, _| Ok(QueryValue::Scalar(1.0)));
    world.slow_queries(10 * MINUTE);
    world.run(&group, 2 * MINUTE);
    assert_eq!(world.take_log(), ["query one", "append"]);
    assert!(lock(&group).last_evaluation().is_some());
}

/// A clock that is set back by a day must not silence a group for a day.
#[test]
fn evaluation_goes_on_after_the_clock_was_set_back() {
    let world = World::at(START);
    let group = group("groups:\n- name: g\n  rules:\n  - record: t\n    expr: up\n");
    world.script("up", "x");
    world.run(&group, 2 * MINUTE);
    let before = START - 86_400 * SECOND;
    world.set_clock(before);
    world.run(&group, 2 * MINUTE);
    let after = world.samples(&[("__name__", "t")]).iter().filter(|(at, _)| *at < START).count();
    assert_eq!(after, 2);
}

#[test]
fn templates_may_ask_queries_and_failures_stand_in_the_text() {
    let world = World::at(START);
    let group = group(
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    annotations:\n      all: '{{ range query \"mem\" }}{{ \
         .Labels.host }}={{ .Value }};{{ end }}'\n      none: '{{ query \"gone\" | first | value }}'\n      value: '{{ $value \
         }} {{ .ExternalLabels.cluster }} {{ $externalURL }}'\n",
    );
    world.script("up", "x");
    world.answer("mem", |_, _| Ok(vector(&[(&[("host", "a")], 1.0), (&[("host", "b")], 2.5)])));
    world.answer("gone", |_, _| Ok(vector(&[])));
    world.run(&group, MINUTE + 1);
    let sent = world.take_sent();
    let annotations: Vec<(&str, &str)> = sent[0].1.annotations.iter().map(|(name, text)| (&**name, &**text)).collect();
    assert_eq!(annotations[0], ("all", "a=1;b=2.5;"));
    let (name, text) = annotations[1];
    assert!(name == "none" && text.starts_with("<error expanding template: "), "{text}");
    assert_eq!(annotations[2], ("value", "1 lab http://hearth.example/base"));
    assert_eq!(lock(&group).stats().shared.template_failures, 1);
    assert!(matches!(&world.take_events()[..], [GroupEvent::TemplatesFailed { count: 1, .. }]));
}

#[test]
fn labels_are_expanded_before_annotations_are_and_empty_ones_vanish() {
    let world = World::at(START);
    let group = group(
        "groups:\n- name: g\n  labels: {team: '{{ $labels.job }}-team', gone: ''}\n  rules:\n  - alert: A\n    expr: up\n    \
         labels: {job: '', sev: '{{ if gt $value 1.0 }}high{{ end }}'}\n",
    );
    world.answer("up", |_, _| {
        Ok(vector(&[(&[("__name__", "up"), ("gone", "x"), ("job", "a")], 1.0), (&[("gone", "y"), ("job", "b")], 2.0)]))
    });
    world.run(&group, MINUTE + 1);
    let sent: Vec<_> = world.take_sent().into_iter().map(|(_, alert)| alert.labels).collect();
    assert_eq!(
        sent,
        [
            crate::testing::labels(&[("alertname", "A"), ("sev", "high"), ("team", "b-team")]),
            crate::testing::labels(&[("alertname", "A"), ("team", "a-team")]),
        ]
    );
}

#[test]
fn a_group_without_rules_only_counts_its_slots() {
    let world = World::at(START);
    let group = group("groups:\n- name: g\n  rules: []\n");
    world.run(&group, 10 * MINUTE);
    assert_eq!(lock(&group).stats().iterations, 10);
    assert!(world.take_log().is_empty());
}

/// The annotations with which the compliance suite tests the template language of alert generators.
#[test]
fn the_templates_of_the_compliance_suite_expand() {
    let world = World::at(START);
    let group = group(
        r#"
groups:
- name: g
  rules:
  - alert: ZeroFor
    expr: up
    annotations:
      query: '{{ define "testtemplate" }}Args are: {{.arg0}} {{.arg1}} {{.arg2}}. {{ with query "suite{for=''template''}" }}first_id:{{ . | sortByLabel "id" | first | label "id"}},{{ range $v := sortByLabel "id" .}}{{ . | label "id" }}:{{ . | value }},{{end}}{{end}}{{ end }}{{ template "testtemplate" (args "foo" "bar" 99) }}'
      numbers: '{{humanize 1048576}} {{humanize1024 1048576}} {{humanizeDuration 135.3563}} {{humanizePercentage 0.959}} {{humanizeTimestamp 1643114203}}'
      texts: '{{title "this part"}} {{toUpper "is testing"}} {{toLower "THE STRINGS"}}. {{ stripPort "[::1]:6006"}} {{ stripPort "127.0.0.1:4004"}}. {{parseDuration "2h10m15s"}}. {{if match "[0-9]+" "1234"}}{{reReplaceAll "r.*d" "replaced" "rpld text"}}{{end}}. {{if match "[0-9]+$" "1234a"}}WRONG{{end}}.'
"#,
    );
    world.script("up", "x");
    world.answer("suite{for='template'}", |_, _| Ok(vector(&[(&[("id", "2")], 0.5), (&[("id", "1")], 7.0)])));
    world.run(&group, MINUTE);
    let annotations = world.take_sent()[0].1.annotations.clone();
    let texts: Vec<&str> = annotations.iter().map(|(_, text)| &**text).collect();
    assert_eq!(
        texts,
        [
            "1.049M 1Mi 2m 15s 95.9% 2022-01-25 12:36:43 +0000 UTC",
            "Args are: foo bar 99. first_id:1,1:7,2:0.5,",
            "This Part IS TESTING the strings. ::1 127.0.0.1. 7815. replaced text. .",
        ]
    );
}

/// Slots of the alert's evaluations that a test can tell from the samples of its series.
fn evaluated_slots(world: &World) -> Vec<i64> {
    let series = [("__name__", ALERTS_FOR_STATE), ("alertname", "Down"), ("foo", "bar")];
    world.samples(&series).iter().map(|(at, _)| *at).collect()
}

#[test]
fn a_clock_that_is_set_back_evaluates_no_slot_twice_and_resolves_nothing() {
    let world = World::at(START);
    let group = alert("for: 1m");
    world.script("up == 0", "x");
    world.run(&group, 10 * MINUTE);
    let before = evaluated_slots(&world);
    let fired = world.take_sent();
    world.step_clock(-5 * MINUTE);
    world.run(&group, 4 * MINUTE);
    assert_eq!(evaluated_slots(&world), before, "these slots were evaluated");
    let sent = world.take_sent();
    assert!(
        sent.len() >= 3 && sent.iter().all(|(_, alert)| !alert.resolved && alert.starts_at == fired[0].1.starts_at)
    );
    world.run(&group, 5 * MINUTE);
    let slots = evaluated_slots(&world);
    assert_eq!(slots.len(), before.len() + 8, "it goes on where it stopped");
    assert!(slots.windows(2).all(|pair| pair[1] - pair[0] == 30 * SECOND));
    assert!(world.take_sent().iter().all(|(_, alert)| !alert.resolved));
}

/// The data are five minutes older than the clock says, which is just what a query does not see.
#[test]
fn a_clock_that_is_set_forward_resolves_nothing_for_as_long_as_data_may_be_missing() {
    let world = World::at(START);
    let group = alert("for: 1m");
    world.script("up == 0", "xxxxxxxxxx.");
    world.run(&group, 5 * MINUTE);
    assert!(!world.take_sent().is_empty());
    world.step_clock(5 * MINUTE);
    world.run(&group, 4 * MINUTE);
    let sent = world.take_sent();
    assert!(!sent.is_empty() && sent.iter().all(|(_, alert)| !alert.resolved), "{sent:?}");
    assert!(world.take_events().iter().any(|event| *event == GroupEvent::ClockSet { by_ms: 5 * MINUTE }));
    world.run(&group, 2 * MINUTE);
    assert!(world.take_sent().iter().any(|(_, alert)| alert.resolved), "in the end it is believed");
}

/// A database that a Prometheus filled by remote write until it was replaced.
#[test]
fn holds_that_another_server_began_are_continued() {
    let world = World::at(START);
    let group = group("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    for: 30m\n");
    lock(&group).restore(crate::state::GroupMemory::default(), &std::collections::BTreeSet::new());
    let first = first_slot(&group, START);
    world.script("up", "x");
    world.slow_queries(100);
    let (active_at, last_at) = (START - 30 * MINUTE, START - 5 * MINUTE);
    let series = |value: i64| Ok(vector(&[(&[("__name__", ALERTS_FOR_STATE), ("alertname", "A")], value as f64)]));
    world.answer("last_over_time(ALERTS_FOR_STATE{alertname=\"A\"}[1h])", move |_, _| series(active_at / SECOND));
    world.answer("ts_of_last_over_time(ALERTS_FOR_STATE{alertname=\"A\"}[1h])", move |_, _| series(last_at / SECOND));
    world.answer("ALERTS_FOR_STATE{alertname=\"A\"}", move |_, _| series(active_at / SECOND));
    world.run(&group, 20 * MINUTE);
    // It was held for 25 minutes of 30; at the second evaluation it is given the grace of ten more.
    let fired = world.take_sent().first().map(|(_, alert)| (alert.starts_at.0 - first) / MINUTE);
    assert_eq!(fired, Some(11));
    let own = world.samples(&[("__name__", ALERTS_FOR_STATE), ("alertname", "A")]);
    assert_eq!((own[0].0 - first) / MINUTE, 2, "what it writes itself would hide what it looks for");
    // Three queries.
    assert!((lock(&group).stats().last_restore_secs - 0.3).abs() < 1e-9);
}

#[test]
fn a_hold_over_a_long_time_in_which_nobody_looked_is_shifted() {
    let world = World::at(START);
    let text = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    for: 60m\n";
    let before = group(text);
    let first = first_slot(&before, START);
    world.script("up", "x");
    let pending = |minutes_ago: i64| {
        let rule = lock(&before).rules()[0].id.clone();
        let instance =
            crate::alert_instance::AlertInstance::new(Timestamp(first - minutes_ago * MINUTE), 1.0, [].into());
        let alerts = vec![(crate::testing::labels(&[("alertname", "A")]), instance)];
        let memory = crate::state::RuleMemory { last_good: None, alerts };
        let last_slot = Some(Timestamp(first - 40 * MINUTE));
        crate::state::GroupMemory { last_slot, rules: [(rule, memory)].into_iter().collect(), ..Default::default() }
    };
    // Active for ten minutes when the process ended, 40 minutes ago; slots of that time are too old to be evaluated.
    let memory = pending(50);
    lock(&before).restore(memory, &std::collections::BTreeSet::new());
    world.run(&before, MINUTE);
    let alerts = AlertsView::of(std::slice::from_ref(&before)).alerts;
    assert_eq!((first - alerts[0].active_at.0) / MINUTE, 10);
}

/// As in Prometheus, whose `ALERTS` has the text of the template then; here it has the labels of the alert.
#[test]
fn a_label_whose_template_expands_to_nothing_is_no_label() {
    let world = World::at(START);
    let text = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    labels:\n      team: '{{ $labels.owner }}'\n      \
                job: '{{ $labels.nothing }}'\n";
    let group = group(text);
    world.answer("up", |_, _| Ok(vector(&[(&[("job", "a"), ("zone", "z")], 1.0)])));
    world.run(&group, MINUTE);
    let sent = world.take_sent();
    assert_eq!(sent[0].1.labels, crate::testing::labels(&[("alertname", "A"), ("zone", "z")]));
    let firing = [("__name__", ALERTS), ("alertname", "A"), ("alertstate", "firing"), ("zone", "z")];
    assert_eq!(world.samples(&firing).len(), 1);
}
