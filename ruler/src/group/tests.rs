use super::*;
use crate::driver::{SharedGroup, lock};
use crate::ports::Element;
use crate::reload::Farewell;
use crate::rule_state::Health;
use crate::testing::{MINUTE, World, group, settings, spec, vector};
use promql::value::SampleValue;

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

/// What an earlier process knew of `group`.
fn memory_of(group: &Group) -> GroupMemory {
    let shape = Some(Arc::new(group.shape()));
    let mut memory = GroupMemory { last_slot: group.last_slot(), shape, ..GroupMemory::default() };
    for rule in group.rules().iter().filter(|rule| rule.rule.alerting().is_some()) {
        let alerts = rule.alerts.iter().map(|(labels, instance)| (labels.clone(), instance.clone())).collect();
        memory.rules.insert(rule.id.clone(), crate::state::RuleMemory { last_good: rule.last_good, alerts });
    }
    memory
}

/// The next process has `before` with the rules of `after`.
fn succeed(before: &SharedGroup, after: &str, shared: &[&str]) -> (SharedGroup, Unclaimed) {
    let mut after = Group::new(spec(after), settings());
    let mut memory = memory_of(&lock(before));
    let ids: Vec<_> = after.shape().rules.into_iter().map(|rule| rule.id).collect();
    let gone: Vec<_> = memory.rules.keys().filter(|id| !ids.contains(id)).cloned().collect();
    memory.gone = gone.iter().filter_map(|id| memory.rules.remove(id)).collect();
    let shared = shared.iter().map(|name| (*name).to_owned()).collect();
    let unclaimed = after.restore(memory, &shared);
    (Arc::new(std::sync::Mutex::new(after)), unclaimed)
}

/// Ends what none of the groups that run writes.
fn say(world: &World, mut farewell: Farewell, running: &[SharedGroup]) {
    assert_eq!(farewell.waits_for(running), None);
    for series in std::mem::take(&mut farewell.earlier) {
        farewell.learn(series.look_up(&series.query().unwrap(), world, farewell.at).unwrap());
    }
    crate::testing::block_on(crate::ports::AppendPort::append(world, &farewell.markers(running))).unwrap();
}

/// Runs the group for two minutes, then for as long another process that has it with other rules, which then ends what is gone.
/// Returns what recording rules wrote that no rule claimed.
fn replace(world: &World, before: &str, after: &str, shared: &[&str]) -> Vec<String> {
    let before = group(before);
    world.run(&before, 2 * MINUTE);
    let (after, unclaimed) = succeed(&before, after, shared);
    let mut names: Vec<String> = unclaimed.earlier.iter().map(|series| series.name.clone()).collect();
    names.sort();
    let farewell = Farewell::of_unclaimed(unclaimed, lock(&after).spec(), Timestamp(world.now_ms()));
    world.run(&after, 2 * MINUTE);
    say(world, farewell, &[after]);
    names
}

/// The last values of the series, `None` for its end.
fn ends(world: &World, pairs: &[(&str, &str)]) -> Vec<Option<f64>> {
    world.samples(pairs).iter().map(|(_, value)| value.map(|_| 1.0)).collect()
}

#[test]
fn series_of_rules_that_were_taken_out_while_no_process_ran_end_when_it_is_known_that_no_rule_writes_them() {
    let world = World::at(START);
    world.script("up", "x");
    world.script("down", "x");
    world.answer_newest_times("stays");
    world.answer_newest_times("gone");
    world.answer_newest_times_with("changed", &[("a", "b")]);
    let rules = |rules: &str| format!("groups:\n- name: g\n  rules: [{rules}]\n");
    let before = "{record: stays, expr: up}, {record: gone, expr: up}, {record: changed, expr: up, labels: {a: b}}, \
                  {alert: Gone, expr: down}, {alert: Stays, expr: down}";
    let after = "{record: stays, expr: up}, {record: changed, expr: up, labels: {a: c}}, {alert: Stays, expr: down}";
    replace(&world, &rules(before), &rules(after), &[]);
    let ended = [Some(1.0), Some(1.0), None];
    assert_eq!(ends(&world, &[("__name__", "gone")]), ended);
    assert_eq!(ends(&world, &[("__name__", "changed"), ("a", "b")]), ended);
    assert_eq!(ends(&world, &[("__name__", "stays")]), [Some(1.0); 4]);
    assert_eq!(ends(&world, &[("__name__", "changed"), ("a", "c")]), [Some(1.0); 2]);
    let firing = |name: &'static str| [("__name__", "ALERTS"), ("alertname", name), ("alertstate", "firing")];
    assert_eq!(ends(&world, &firing("Gone")), ended);
    assert_eq!(ends(&world, &[("__name__", "ALERTS_FOR_STATE"), ("alertname", "Gone")]), ended);
    assert_eq!(ends(&world, &firing("Stays")), [Some(1.0); 4]);
}

#[test]
fn aligned_groups_end_their_series_after_a_restart_but_those_of_names_that_others_record_too() {
    let text =
        |rules: &str| format!("groups:\n- {{name: g, align_evaluation_time_on_interval: true, rules: [{rules}]}}\n");
    for (shared, expected) in [(&[][..], &["gone"][..]), (&["stays"], &["gone", "stays"])] {
        let world = World::at(START);
        world.script("up", "x");
        world.answer_newest_times("stays");
        world.answer_newest_times("gone");
        let before = text("{record: stays, expr: up}, {record: gone, expr: up}");
        let unclaimed = replace(&world, &before, &text("{record: stays, expr: up}"), shared);
        assert_eq!(unclaimed, expected);
        assert_eq!(ends(&world, &[("__name__", "gone")]), [Some(1.0), Some(1.0), None]);
        assert_eq!(ends(&world, &[("__name__", "stays")]), [Some(1.0); 4]);
    }
}

/// Answers what an alerting rule `A` asks whose hold another group or server began.
fn answer_holds(world: &World) {
    let of_alert =
        |labels: &Labels| labels.metric_name() == Some("ALERTS_FOR_STATE") && labels.get("alertname") == Some("A");
    let last = move |at: Timestamp, store: &crate::testing::Store, is_time: bool| {
        let last = |(labels, samples): (&Labels, &std::collections::BTreeMap<i64, SampleValue>)| {
            let (at, value) = samples.range(..=at.0).rfind(|(_, value)| !crate::testing::ends(value))?;
            let value = if is_time { SampleValue::Float(*at as f64 / 1000.0) } else { value.clone() };
            Some(Element { labels: labels.clone(), value })
        };
        let series = store.iter().filter(|(labels, _)| of_alert(labels));
        Ok(crate::ports::QueryValue::Vector(series.filter_map(last).collect()))
    };
    let selector = "ALERTS_FOR_STATE{alertname=\"A\"}";
    world.answer(&format!("last_over_time({selector}[1h])"), move |at, store| last(at, store, false));
    world.answer(&format!("ts_of_last_over_time({selector}[1h])"), move |at, store| last(at, store, true));
    world.answer(selector, move |at, store| {
        Ok(crate::ports::QueryValue::Vector(crate::testing::latest(store, at, of_alert)))
    });
}

#[test]
fn rules_that_moved_to_another_group_while_no_process_ran_keep_their_hold_and_their_series() {
    move_to_another_group(false);
    move_to_another_group(true);
}

/// `is_known`: the other group was there before.
fn move_to_another_group(is_known: bool) {
    let world = World::at(START);
    world.script("up", "x");
    world.answer_newest_times("stays");
    world.answer_newest_times("moved");
    answer_holds(&world);
    let moved = "{record: moved, expr: up}, {alert: A, expr: up, for: 15m}";
    let text = |name: &str, rules: &str| format!("groups:\n- name: {name}\n  rules: [{rules}]\n");
    let before = group(&text("g", &format!("{{record: stays, expr: up}}, {moved}")));
    world.run(&before, 12 * MINUTE);
    let (old, unclaimed) = succeed(&before, &text("g", "{record: stays, expr: up}"), &[]);
    let farewell = Farewell::of_unclaimed(unclaimed, lock(&old).spec(), Timestamp(world.now_ms()));
    let other = group(&text("h", "{record: other, expr: up}"));
    if is_known {
        world.run(&other, MINUTE);
    }
    let (new, unclaimed) = succeed(&other, &text("h", moved), &[]);
    assert_eq!(unclaimed.earlier.len(), usize::from(is_known));
    world.run(&old, 2 * MINUTE);
    let running = [old, new];
    let began = lock(&running[1]).spec().schedule().slot_after(Timestamp(world.now_ms()));
    let mut minutes = 0;
    while let Some(wait) = farewell.waits_for(&running) {
        assert_eq!(wait, Duration::from_secs(120));
        world.run(&running[1], MINUTE);
        minutes += 1;
    }
    // The hold is looked up in the second evaluation, and series are written in the third; slots that were missed come at once.
    assert_eq!(minutes, if is_known { 1 } else { 3 });
    say(&world, farewell, &running);
    world.run(&running[1], 15 * MINUTE);
    // Less of the hold was to go than the ten minutes of the grace period, which begin with the second evaluation.
    let fired = world.take_sent().first().map(|(_, alert)| (alert.starts_at.0 - began.0) / MINUTE);
    assert_eq!(fired, Some(if is_known { 9 } else { 11 }));
    let series = world.series();
    let pending = [("__name__", "ALERTS"), ("alertname", "A"), ("alertstate", "pending")];
    for pairs in [&[("__name__", "moved")][..], &[("__name__", "ALERTS_FOR_STATE"), ("alertname", "A")]] {
        assert!(world.samples(pairs).iter().all(|(_, value)| value.is_some()), "{pairs:?} ended, of {series:?}");
    }
    assert_eq!(world.samples(&pending).iter().filter(|(_, value)| value.is_none()).count(), 1, "when it fired");
}

#[test]
fn names_are_shared_by_aligned_groups_alone() {
    let group = |name: &str, aligned: bool| {
        format!(
            "- {{name: {name}, align_evaluation_time_on_interval: {aligned}, rules: [{{record: r, expr: up}}, {{record: {name}, expr: up}}, \
                 {{record: {name}, expr: down}}]}}\n"
        )
    };
    let names = |groups: &[(&str, bool)]| {
        let groups: String = groups.iter().map(|(name, aligned)| group(name, *aligned)).collect();
        let mut names: Vec<String> =
            crate::ended::shared_names(&crate::testing::specs(&format!("groups:\n{groups}"))).into_iter().collect();
        names.sort();
        names
    };
    assert_eq!(names(&[("a", true), ("b", true), ("c", false)]), ["r"]);
    assert_eq!(names(&[("a", true), ("b", false), ("c", false)]), [""; 0]);
}

/// Runs the group for two minutes, then another process with the same rules, the first slots of which are missed.
fn restart(world: &World, text: &str, away_ms: i64) -> crate::driver::SharedGroup {
    let before = group(text);
    world.run(&before, 2 * MINUTE);
    let mut after = Group::new(spec(text), GroupSettings { repair_window_ms: 0, ..settings() });
    after.restore(memory_of(&lock(&before)), &std::collections::BTreeSet::new());
    world.set_clock(world.now_ms() + away_ms);
    let after = Arc::new(std::sync::Mutex::new(after));
    world.run(&after, MINUTE);
    after
}

/// Prometheus leaves such series to be seen for five minutes.
#[test]
fn series_that_ended_while_the_process_was_down_get_their_markers_in_the_first_slot() {
    let world = World::at(START);
    let before: i64 = START + 3 * MINUTE;
    let series = move |at: Timestamp, _: &crate::testing::Store| {
        let stays: (&[(&str, &str)], f64) = (&[("job", "stays")], 1.0);
        let ends: (&[(&str, &str)], f64) = (&[("job", "ends")], 1.0);
        Ok(if at.0 < before { vector(&[stays, ends]) } else { vector(&[stays]) })
    };
    world.answer("up", series);
    world.answer("down", series);
    world.answer_newest_times("r");
    let text = "groups:\n- name: g\n  rules:\n  - record: r\n    expr: up\n  - alert: A\n    expr: down\n";
    restart(&world, text, MINUTE);
    let values = |name: &str, job: &str| -> Vec<Option<f64>> {
        let pairs = match name {
            "r" => vec![("__name__", "r"), ("job", job)],
            "ALERTS" => {
                vec![("__name__", name), ("alertname", "A"), ("alertstate", "firing"), ("job", job)]
            }
            _ => vec![("__name__", name), ("alertname", "A"), ("job", job)],
        };
        world.samples(&pairs).iter().map(|(_, value)| value.map(|_| 1.0)).collect()
    };
    for name in ["r", "ALERTS", "ALERTS_FOR_STATE"] {
        assert_eq!(values(name, "ends"), [Some(1.0), Some(1.0), None], "{name}");
        assert_eq!(values(name, "stays"), [Some(1.0); 3], "{name}");
    }
    let pending = [("__name__", "ALERTS"), ("alertname", "A"), ("alertstate", "pending"), ("job", "ends")];
    assert!(world.samples(&pending).is_empty(), "no series is made up");
}

#[test]
fn series_of_others_with_the_same_name_are_left_alone_after_a_restart() {
    let world = World::at(START);
    world.answer("up", |_, _| Ok(vector(&[])));
    world.answer("down", |_, _| Ok(vector(&[(&[("job", "other")], 1.0)])));
    world.answer_newest_times("r");
    // Sent by somebody, at a time that is no slot.
    let foreign = crate::ports::RuleSample {
        labels: crate::testing::labels(&[("__name__", "r"), ("job", "foreign")]),
        at: Timestamp(START + MINUTE + 7),
        value: promql::value::SampleValue::Float(1.0),
    };
    crate::testing::block_on(crate::ports::AppendPort::append(&world, &[foreign])).unwrap();
    // The second rule of the same name goes on writing what the first never wrote.
    let text = "groups:\n- name: g\n  rules:\n  - record: r\n    expr: up\n  - record: r\n    expr: down\n";
    restart(&world, text, MINUTE);
    let values = |job| world.samples(&[("__name__", "r"), ("job", job)]);
    assert!(values("foreign").iter().all(|(_, value)| value.is_some()));
    assert!(values("other").len() == 3 && values("other").iter().all(|(_, value)| value.is_some()));
}

#[test]
fn a_rule_that_fails_after_a_restart_ends_nothing_until_it_is_good() {
    let world = World::at(START);
    world.script("up", "xx!.");
    world.answer_newest_times("r");
    let after = restart(&world, "groups:\n- name: g\n  rules:\n  - record: r\n    expr: up\n", MINUTE);
    assert_eq!(world.samples(&[("__name__", "r")]).len(), 2);
    world.run(&after, MINUTE);
    let values: Vec<_> = world.samples(&[("__name__", "r")]).iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [Some(1.0), Some(1.0), None]);
}
