use super::*;
use crate::testing::{MINUTE, World, group, settings, specs};
use std::sync::{Arc, Mutex};

const START: i64 = 1_000_000_000;

fn names(specs: &[GroupSpec]) -> Vec<&str> {
    specs.iter().map(|spec| spec.name.as_str()).collect()
}

fn under(specs: Vec<GroupSpec>, settings: &GroupSettings) -> Vec<(GroupSpec, GroupSettings)> {
    specs.into_iter().map(|spec| (spec, settings.clone())).collect()
}

#[test]
fn only_groups_that_differ_are_touched() {
    let file = |c: &str| {
        format!(
            "groups:\n- name: same\n  rules:\n  - record: r\n    expr: sum(up)\n- name: {c}\n  rules:\n  - record: r\n    \
             expr: up\n- name: changed\n  interval: {}\n  rules: []\n",
            if c == "gone" { "1m" } else { "2m" }
        )
    };
    let running = specs(&file("gone"));
    let mut wanted = specs(&file("new"));
    // White space in an expression makes no other rule of it.
    wanted[0] = specs("groups:\n- name: same\n  rules:\n  - record: r\n    expr: sum( up )\n").remove(0);
    let settings = settings();
    let plan = plan(under(running, &settings), wanted, &settings);
    assert_eq!(names(&plan.keep), ["same"]);
    assert_eq!(names(&plan.start), ["new", "changed"]);
    assert_eq!(names(&plan.stop), ["gone"]);
}

#[test]
fn every_part_of_a_group_counts_as_a_difference() {
    let base = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n";
    let settings = settings();
    for other in [
        "groups:\n- name: g\n  limit: 1\n  rules:\n  - alert: A\n    expr: up\n",
        "groups:\n- name: g\n  query_offset: 1m\n  rules:\n  - alert: A\n    expr: up\n",
        "groups:\n- name: g\n  labels: {a: b}\n  rules:\n  - alert: A\n    expr: up\n",
        "groups:\n- name: g\n  rules:\n  - record: A\n    expr: up\n",
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    for: 1m\n",
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    keep_firing_for: 1m\n",
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    annotations: {a: b}\n",
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up > 0\n",
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n  - alert: A\n    expr: up\n",
    ] {
        let plan = plan(under(specs(base), &settings), specs(other), &settings);
        assert_eq!(plan.start.len(), 1, "{other}");
        assert!(plan.keep.is_empty() && plan.stop.is_empty(), "{other}");
    }
}

#[test]
fn other_external_labels_start_every_group_anew() {
    let running = specs("groups:\n- name: g\n  rules: []\n");
    let (old, mut new) = (settings(), settings());
    new.resend_delay_ms += 1;
    assert_eq!(plan(under(running.clone(), &old), running, &new).start.len(), 1);
}

#[test]
fn series_of_a_stopped_group_end_unless_another_group_writes_them_by_then() {
    let world = World::at(START);
    world.script("up", "x");
    world.script("down", "x");
    let old = group(
        "groups:\n- name: g\n  query_offset: 1s\n  rules:\n  - record: r\n    expr: up\n  - record: s\n    expr: down\n",
    );
    world.run(&old, 2 * MINUTE);
    let farewell = Farewell::of(&lock(&old), Timestamp(world.now_ms()));
    assert_eq!(farewell.wait, Duration::from_secs(120));
    let moved = group("groups:\n- name: h\n  rules:\n  - record: s\n    expr: down\n");
    world.run(&moved, 2 * MINUTE);
    let markers = farewell.markers([&moved]);
    let ended: Vec<_> = markers.iter().map(|marker| marker.labels.metric_name()).collect();
    assert_eq!(ended, [Some("r")]);
    assert_eq!(markers[0].at, Timestamp(START + 2 * MINUTE - 1_000));
    assert!(crate::testing::ends(&markers[0].value));
}

#[test]
fn a_group_that_never_ran_says_no_farewell() {
    let idle: SharedGroup =
        Arc::new(Mutex::new(Group::new(specs("groups:\n- name: g\n  rules: []\n").remove(0), settings())));
    assert!(Farewell::of(&lock(&idle), Timestamp(START)).markers([]).is_empty());
}
