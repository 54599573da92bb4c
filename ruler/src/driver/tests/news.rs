//! What is told to those who keep a history.

use super::*;
use crate::group::GroupEvent;
use crate::transition::Transition;

/// Every change as `minute job: from to cause`, failures of the rule as `minute: error`.
fn told(world: &World) -> Vec<String> {
    let minute = |slot: Timestamp| (slot.0 - START) / MINUTE;
    let alert = |slot, change: &Transition| {
        let job = change.labels.get("job").unwrap_or_default();
        format!("{} {job}: {} {} {}", minute(slot), change.from.name(), change.to.name(), change.cause.name())
    };
    let tell = |event| match event {
        GroupEvent::AlertsChanged { slot, transitions, .. } => {
            transitions.iter().map(|change| alert(slot, change)).collect()
        }
        GroupEvent::HealthChanged { slot, error, .. } => vec![format!("{}: {error:?}", minute(slot))],
        other => panic!("{other:?}"),
    };
    world.take_news().into_iter().flat_map(tell).collect()
}

/// A world whose expression `up` returns job `a` where the letter is `x` or `2`, `b` where it is `2`, fails at `!`.
fn world(letters: &'static str) -> World {
    let world = World::at(START);
    let mut letters = letters.chars();
    world.answer("up", move |_, _| {
        Ok(match letters.next() {
            Some('x') => vector(&[(&[("job", "a")], 1.0)]),
            Some('2') => vector(&[(&[("job", "a")], 1.0), (&[("job", "b")], 1.0)]),
            Some('!') => return Err(QueryError::Invalid("no".into())),
            _ => vector(&[]),
        })
    });
    world
}

fn run(letters: &'static str, rule: &str) -> Vec<String> {
    let world = world(letters);
    let group = group(&format!("groups:\n- name: g\n  limit: 1\n  rules:\n  - {{alert: A, expr: up{rule}}}\n"));
    world.run(&group, i64::try_from(letters.len()).expect("short") * MINUTE);
    told(&world)
}

#[test]
fn an_alert_is_told_of_at_each_change_with_its_cause() {
    assert_eq!(run("xx.", ""), ["0 a: inactive firing matched", "2 a: firing inactive gone"]);
    assert_eq!(
        run("xxx.x.", ", for: 1m"),
        [
            "0 a: inactive pending matched",
            "1 a: pending firing held_for",
            "3 a: firing inactive gone",
            "4 a: inactive pending matched",
            "5 a: pending inactive gone"
        ]
    );
    assert_eq!(
        run("x....", ", keep_firing_for: 2m"),
        ["0 a: inactive firing matched", "3 a: firing inactive keep_firing_for_over"]
    );
}

#[test]
fn a_limit_ends_alerts_and_failures_are_told_once() {
    let told = run("x2x!!x", "");
    assert_eq!(
        told,
        [
            "0 a: inactive firing matched",
            "1 a: firing inactive limit",
            "1: Some(\"exceeded limit of 1 with 2 alerts\")",
            "2 a: inactive firing matched",
            "2: None",
            "3: Some(\"no\")",
            "5: None"
        ]
    );
}
