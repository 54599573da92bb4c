//! Rule groups, journal and delivery queues as one process that dies between any two steps, against a twin that never does.
//!
//! The real state machines run under virtual time over a simulated disk. Whatever is interrupted, every Alertmanager must
//! hear of exactly the transitions of an undisturbed run, each at least once; twice only what was under way.
//! A failure prints its seed; `HEARTH_CRASH_SEED` runs that one alone, `HEARTH_CRASH_ROUNDS` sets how many there are.
#![allow(missing_docs, reason = "a test")]

mod twin; // what ought to happen
mod world; // what does

use twin::Twin;
use world::{Crash, Scenario, World};

const MINUTE: i64 = 60_000;

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("HEARTH_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HEARTH_CRASH_ROUNDS").unwrap_or(500),
    }
}

/// Runs a scenario to its end; compares what every Alertmanager heard with what it ought to have heard.
fn check(scenario: &Scenario) -> World {
    let expected = Twin::transitions(scenario);
    let world = World::run(scenario);
    let seed = scenario.seed;
    for target in world::TARGETS {
        let heard = world.heard(target);
        assert_eq!(heard, expected, "seed {seed}: {target} heard something else than an undisturbed run would say");
    }
    for (target, number, between) in world.repeated() {
        assert!(between > 0, "seed {seed}: message {number} went to {target} twice without a crash in between");
    }
    world
}

#[test]
fn every_transition_is_told_whatever_is_interrupted() {
    let mut crashes = 0;
    for seed in seeds() {
        crashes += check(&Scenario::random(seed, Crash::Anywhere)).crashes();
    }
    assert!(crashes > seeds().count(), "{crashes} crashes are too few to prove anything");
}

/// With `for` and without, dying at any moment, and nobody to tell for ten minutes: up to twenty changes of an alert wait.
#[test]
fn every_transition_is_told_though_every_receiver_is_away_for_ten_minutes() {
    for seed in seeds().take(100) {
        let scenario = Scenario::random(seed, Crash::Anywhere);
        check(&Scenario { away_ms: 4 * MINUTE..14 * MINUTE, ..scenario });
    }
}

/// As `for` and `keep_firing_for` are timers, this shows that they go on exactly.
#[test]
fn restarts_every_thirty_seconds_for_an_hour_change_nothing() {
    for seed in 0..10 {
        let scenario = Scenario { length_ms: 60 * MINUTE, ..Scenario::random(seed, Crash::Every(30_000)) };
        assert!(check(&scenario).crashes() >= 119);
    }
}

#[test]
fn a_thousand_reloads_change_nothing() {
    let scenario = Scenario { length_ms: 30 * MINUTE, ..Scenario::random(1, Crash::Reload(1_900)) };
    assert!(check(&scenario).reloads() > 1_000);
}
