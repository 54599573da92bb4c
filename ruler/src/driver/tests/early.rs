//! What arrives between slots.

use super::*;

const FILE: &str =
    "groups:\n- name: g\n  interval: 60s\n  rules:\n  - alert: Down\n    expr: up == 0\n    evaluate: on_ingest\n";

/// Firing or resolved, with the milliseconds since `START`, of everything that was sent.
fn told(world: &World) -> Vec<(i64, bool)> {
    world.take_sent().into_iter().map(|(at, alert)| (at - START, alert.resolved)).collect()
}

fn returns_between(world: &World, from: i64, until: i64) {
    world.answer("up == 0", move |at, _| {
        Ok(if (from..until).contains(&at.0) { vector(&[(&[("job", "a")], 1.0)]) } else { vector(&[]) })
    });
}

#[test]
fn an_alert_fires_as_soon_as_its_sample_arrives_and_resolves_in_a_slot() {
    let world = World::at(START);
    let group = group(FILE);
    let first = first_slot(&group, START) - START;
    assert!(first > 10_000, "the sample arrives before the first slot");
    returns_between(&world, START + 5_000, START + 6_000);
    world.arrives(START + 5_100, START + 5_000);
    world.arrives(START + 9_000, START + 8_900);
    world.run(&group, 3 * MINUTE);
    let told = told(&world);
    assert_eq!(told[..2], [(5_100, false), (first, true)]);
    let early = lock(&group).stats().early_evaluations;
    assert_eq!(early, 2, "the second sample resolves nothing");
}

#[test]
fn samples_of_alerts_have_the_times_of_slots() {
    let world = World::at(START);
    let group = group(FILE);
    let first = first_slot(&group, START);
    returns_between(&world, START + 5_000, i64::MAX);
    world.arrives(START + 5_100, START + 5_000);
    world.run(&group, 2 * MINUTE);
    let series = [("__name__", ALERTS), ("alertname", "Down"), ("alertstate", "firing"), ("job", "a")];
    let at: Vec<i64> = world.samples(&series).iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [first, first + MINUTE]);
    let since = [("__name__", ALERTS_FOR_STATE), ("alertname", "Down"), ("job", "a")];
    assert_eq!(world.samples(&since)[0].1, Some((START + 5_000) as f64 / 1000.0));
}

#[test]
fn a_pending_alert_fires_between_slots_when_it_was_held() {
    let world = World::at(START);
    let group = group(&FILE.replace("evaluate", "for: 30s\n    evaluate"));
    let first = first_slot(&group, START);
    returns_between(&world, START, i64::MAX);
    world.arrives(first + 20_000, first + 19_000);
    world.arrives(first + 40_000, first + 39_000);
    world.run(&group, 70 * SECOND);
    assert_eq!(told(&world), [(first + 40_000 - START, false)]);
}

#[test]
fn a_sample_that_is_older_than_others_that_arrived_before_it_is_not_missed() {
    let world = World::at(START);
    let group = group(FILE);
    let first = first_slot(&group, START);
    // Two targets: the second sends what is older, and later. Whoever asks at the time of the newer one before does not see it.
    let (clock, arrival, slot_arrival) = (world.clone(), START + 7_000, first + 9_000);
    world.answer("up == 0", move |at, _| {
        let returned = (clock.asked_ms() >= arrival && at.0 >= START + 4_900).then_some((&[("job", "b")][..], 1.0));
        let after_slot =
            (clock.asked_ms() >= slot_arrival && at.0 >= first - 100).then_some((&[("job", "c")][..], 1.0));
        Ok(vector(&returned.into_iter().chain(after_slot).collect::<Vec<_>>()))
    });
    world.arrives(START + 5_100, START + 5_000);
    world.arrives(arrival, START + 4_900);
    // And one that is older than a slot that was evaluated before it arrived.
    world.arrives(slot_arrival, first - 100);
    world.run(&group, 70 * SECOND);
    let sent: Vec<_> = world
        .take_sent()
        .into_iter()
        .map(|(at, alert)| (alert.labels.get("job").unwrap().to_owned(), at - START, alert.starts_at.0 - START))
        .collect();
    let expected = [("b", 7_000, 5_000), ("c", slot_arrival - START, first - START)];
    assert_eq!(sent, expected.map(|(job, at, since)| (job.to_owned(), at, since)));
}

#[test]
fn what_the_group_writes_itself_is_not_awaited() {
    let text = "groups:\n- name: g\n  evaluation: {wait_for_ingest: 2s}\n  rules:\n  - record: r\n    expr: up\n  \
                - alert: A\n    expr: r > 1\n  - alert: B\n    expr: ALERTS\n  - record: s\n    expr: '{job=\"x\"}'\n";
    let awaited = lock(&group(text)).awaited_selectors();
    let printed: Vec<Vec<String>> =
        awaited.iter().map(|matchers| matchers.iter().map(ToString::to_string).collect()).collect();
    let job =
        ["job=\"x\"", "__name__!=\"ALERTS\"", "__name__!=\"ALERTS_FOR_STATE\"", "__name__!=\"r\"", "__name__!=\"s\""];
    assert_eq!(printed, [&["__name__=\"up\""][..], &job]);
}

#[test]
fn many_samples_make_four_evaluations_a_second() {
    let world = World::at(START);
    let group = group(FILE);
    returns_between(&world, 0, 0);
    for i in 0..1_000 {
        world.arrives(START + 1_000 + i, START + 900 + i);
    }
    world.run(&group, 5 * SECOND);
    let early = lock(&group).stats().early_evaluations;
    assert!((4..=5).contains(&early), "{early}");
}

#[test]
fn an_early_evaluation_that_fails_or_exceeds_the_limit_changes_nothing() {
    let world = World::at(START);
    let limited = group(&FILE.replace("interval: 60s", "interval: 60s\n  limit: 1"));
    world.answer("up == 0", |_, _| Ok(vector(&[(&[("job", "a")], 1.0), (&[("job", "b")], 1.0)])));
    world.arrives(START + 5_100, START + 5_000);
    world.run(&limited, 10 * SECOND);
    assert!(world.take_sent().is_empty());
    let failing = group(FILE);
    world.answer("up == 0", |_, _| Err(QueryError::Unavailable("storage is away".into())));
    world.arrives(START + 15_100, START + 15_000);
    world.run(&failing, 10 * SECOND);
    assert_eq!(lock(&failing).rules()[0].health, Health::Unknown);
    assert!(lock(&failing).stats().early_evaluations > 0);
}

#[test]
fn a_slot_waits_for_samples_as_new_as_itself_but_not_for_long() {
    let text = "groups:\n- name: g\n  evaluation: {wait_for_ingest: 2s}\n  rules:\n  - record: r\n    expr: up\n";
    let world = World::at(START);
    let group = group(text);
    let first = first_slot(&group, START);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (log, clock) = (Arc::clone(&asked), world.clone());
    world.answer("up", move |at, _| {
        log.lock().unwrap().push((at.0 - first, clock.asked_ms() - first));
        Ok(vector(&[(&[], 1.0)]))
    });
    // The first slot's sample is 700 ms late, the second's never comes, the third's is early.
    world.arrives(first + 400, first - 1);
    world.arrives(first + 700, first + 10);
    world.arrives(first + 2 * MINUTE - 1, first + 2 * MINUTE + 5);
    world.run(&group, 3 * MINUTE);
    assert_eq!(*asked.lock().unwrap(), [(0, 700), (MINUTE, MINUTE + 2_000), (2 * MINUTE, 2 * MINUTE)]);
    assert_eq!(lock(&group).stats().iterations_missed, 0);
}
