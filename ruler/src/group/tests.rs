use super::*;
use crate::driver::lock;
use crate::rule_state::Health;
use crate::testing::{MINUTE, World, group, settings, spec, vector};

const START: i64 = 1_000_000_000;

/// Runs `old` for a few minutes, then a group made of `new` that takes its state over.
fn reload(world: &World, old: &str, new: &str, minutes: i64) -> crate::driver::SharedGroup {
    let before = group(old);
    world.run(&before, minutes * MINUTE);
    let mut after = Group::new(spec(new), settings());
    after.copy_state(&lock(&before));
    Arc::new(std::sync::Mutex::new(after))
}

#[test]
fn a_reload_keeps_the_hold_of_alerts_whose_rule_stays() {
    let world = World::at(START);
    world.script("up", "x");
    world.script("down", "x");
    let old = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    for: 3m\n";
    let new = "groups:\n- name: g\n  rules:\n  - alert: B\n    expr: down\n    for: 3m\n  - alert: A\n    expr: up\n    for: \
               3m\n";
    let after = reload(&world, old, new, 2);
    let first = Schedule::new("rules.yml", "g", MINUTE).slot_after(Timestamp(START)).0;
    world.run(&after, 2 * MINUTE);
    let sent = world.take_sent();
    assert_eq!(sent.len(), 1, "B is pending, since it is new");
    assert_eq!(sent[0].1.labels.get("alertname"), Some("A"));
    assert_eq!(sent[0].0, first + 3 * MINUTE, "as if there had been no reload");
    assert_eq!(lock(&after).stats().iterations, 4, "counters go on");
}

#[test]
fn rules_that_look_alike_are_found_again_in_their_order() {
    let world = World::at(START);
    world.script("one", "x");
    world.script("two", ".");
    let twice = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: one\n  - alert: A\n    expr: two\n";
    let after = reload(&world, twice, twice, 1);
    let active: Vec<_> = lock(&after).rules().iter().map(|rule| rule.alerts.active().count()).collect();
    assert_eq!(active, [1, 0]);
}

#[test]
fn series_of_a_rule_that_was_taken_away_end_in_the_next_iteration() {
    let world = World::at(START);
    world.script("up", "x");
    world.script("down", "x");
    let old = "groups:\n- name: g\n  rules:\n  - record: r\n    expr: up\n  - record: s\n    expr: down\n";
    let after = reload(&world, old, "groups:\n- name: g\n  rules:\n  - record: s\n    expr: down\n", 1);
    world.run(&after, MINUTE);
    let values = |name| -> Vec<_> { world.samples(&[("__name__", name)]).iter().map(|(_, value)| *value).collect() };
    assert_eq!(values("r"), [Some(1.0), None]);
    assert_eq!(values("s"), [Some(1.0), Some(1.0)]);
    world.run(&after, MINUTE);
    assert_eq!(values("r").len(), 2, "one marker is enough");
}

#[test]
fn farewells_that_could_not_be_stored_are_tried_again() {
    let world = World::at(START);
    world.script("up", "x");
    let old = "groups:\n- name: g\n  rules:\n  - record: r\n    expr: up\n";
    let after = reload(&world, old, "groups:\n- name: g\n  rules: []\n", 1);
    world.fail_appends(Some("disk full"));
    world.run(&after, MINUTE);
    assert_eq!(world.take_events(), [GroupEvent::FarewellFailed { error: "disk full".into() }]);
    world.fail_appends(None);
    world.run(&after, MINUTE);
    assert_eq!(world.samples(&[("__name__", "r")]).len(), 2);
}

#[test]
fn a_failed_append_keeps_the_series_that_may_need_a_marker() {
    let world = World::at(START);
    let group = group("groups:\n- name: g\n  rules:\n  - record: r\n    expr: up\n");
    world.script("up", "x.");
    world.run(&group, MINUTE);
    world.fail_appends(Some("disk full"));
    world.run(&group, MINUTE);
    assert_eq!(lock(&group).rules()[0].health, Health::Bad(RuleError::Append("disk full".into())));
    world.fail_appends(None);
    world.run(&group, MINUTE);
    let values: Vec<_> = world.samples(&[("__name__", "r")]).iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [Some(1.0), None]);
    assert_eq!(lock(&group).rules()[0].health, Health::Good);
}

#[test]
fn the_limit_of_a_recording_rule_counts_series() {
    let world = World::at(START);
    let group = group("groups:\n- name: g\n  limit: 1\n  rules:\n  - record: r\n    expr: up\n");
    world.answer("up", |_, _| Ok(vector(&[(&[("a", "1")], 1.0), (&[("a", "2")], 1.0)])));
    world.run(&group, MINUTE);
    assert!(world.series().is_empty());
    let error = RuleError::TooManySeries { limit: 1, series: 2 };
    assert_eq!(error.to_string(), "exceeded limit of 1 with 2 series");
    assert_eq!(lock(&group).rules()[0].health, Health::Bad(error));
}

#[test]
fn texts_and_range_vectors_are_no_results_of_a_rule() {
    let world = World::at(START);
    let group = group("groups:\n- name: g\n  rules:\n  - record: r\n    expr: up\n");
    world.answer("up", |_, _| Ok(crate::ports::QueryValue::Other));
    world.run(&group, MINUTE);
    assert_eq!(lock(&group).rules()[0].health, Health::Bad(RuleError::NotAVector));
}
