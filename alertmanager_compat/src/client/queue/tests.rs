use super::*;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

fn alert(name: &str, ends_at_ms: i64) -> PostableAlert {
    PostableAlert {
        labels: Labels::from_pairs([("alertname", name)]).unwrap(),
        annotations: [].into(),
        starts_at_ms: 0,
        ends_at_ms,
        generator_url: "".into(),
    }
}

/// A firing message with a number that no other has.
fn parcel(alert: PostableAlert) -> Parcel {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    Parcel { number: NUMBERS.fetch_add(1, Ordering::Relaxed), resolved: false, alert }
}

/// A transition of the alert `a`: since when it fires, and until when to believe that, or when it resolved.
fn transition(starts_at_ms: i64, ends_at_ms: i64, resolved: bool) -> Parcel {
    Parcel { resolved, ..parcel(PostableAlert { starts_at_ms, ..alert("a", ends_at_ms) }) }
}

fn queue(capacity: usize, batch_max: usize) -> DeliveryQueue {
    DeliveryQueue::new(QueueOptions { capacity, batch_max, ..QueueOptions::default() })
}

/// What was counted; how large the messages are does not matter.
fn counts(queue: &DeliveryQueue) -> QueueStats {
    QueueStats { waiting_bytes: 0, ..queue.stats() }
}

fn names(batch: &Batch) -> Vec<(&str, i64)> {
    batch.alerts.iter().map(|a| (a.labels.get("alertname").unwrap(), a.ends_at_ms)).collect()
}

const NOW: Duration = Duration::from_secs(100);
const DOWN: Outcome = Outcome::Unavailable { retry_after: None };

#[test]
fn batches_leave_in_order_of_arrival() {
    let mut queue = queue(10, 2);
    queue.push([alert("a", 1), alert("b", 1), alert("c", 1)].map(parcel));
    let batch = queue.next_batch(NOW, 0).unwrap();
    assert_eq!(names(&batch), [("a", 1), ("b", 1)]);
    queue.handle_outcome(&batch, Outcome::Accepted, NOW);
    let batch = queue.next_batch(NOW, 0).unwrap();
    assert_eq!(names(&batch), [("c", 1)]);
    queue.handle_outcome(&batch, Outcome::Accepted, NOW);
    assert_eq!(queue.next_batch(NOW, 0), Err(None));
    assert_eq!(counts(&queue), QueueStats { sent: 3, ..QueueStats::default() });
}

#[test]
fn a_failed_batch_waits_and_news_take_the_place_of_what_they_replace() {
    let mut queue = queue(10, 10);
    queue.push([alert("a", 1), alert("b", 1)].map(parcel));
    let batch = queue.next_batch(NOW, 0).unwrap();
    queue.push([alert("a", 2)].map(parcel));
    queue.handle_outcome(&batch, DOWN, NOW);
    let later = NOW + Duration::from_millis(250);
    assert_eq!(queue.next_batch(NOW, 0), Err(Some(later)));
    let batch = queue.next_batch(later, 0).unwrap();
    assert_eq!(names(&batch), [("a", 2), ("b", 1)]);
    queue.handle_outcome(&batch, DOWN, later);
    assert_eq!(queue.next_batch(later, 0), Err(Some(later + Duration::from_millis(500))));
    assert_eq!(counts(&queue), QueueStats { failed: 4, superseded: 1, waiting: 2, ..QueueStats::default() });
}

#[test]
fn news_that_arrive_while_a_batch_is_under_way_are_sent_too() {
    let mut queue = queue(10, 10);
    queue.push([alert("a", 1)].map(parcel));
    let batch = queue.next_batch(NOW, 0).unwrap();
    queue.push([alert("a", 2)].map(parcel));
    queue.handle_outcome(&batch, Outcome::Accepted, NOW);
    assert_eq!(names(&queue.next_batch(NOW, 0).unwrap()), [("a", 2)]);
}

/// An alert that changes faster than the queue drains is sent nevertheless.
#[test]
fn a_stream_of_news_does_not_starve_an_alert() {
    let mut queue = queue(10, 1);
    queue.push([alert("a", 0), alert("b", 0), alert("c", 0)].map(parcel));
    let mut seen = Vec::new();
    for round in 1..=3 {
        let batch = queue.next_batch(NOW, 0).unwrap();
        seen.extend(names(&batch).iter().map(|(name, _)| (*name).to_owned()));
        queue.handle_outcome(&batch, Outcome::Accepted, NOW);
        queue.push([alert("a", round), alert("b", round), alert("c", round)].map(parcel));
    }
    assert_eq!(seen, ["a", "b", "c"]);
}

/// Not even when the news always arrive while the alert is under way.
#[test]
fn news_of_what_is_under_way_wait_behind_all_others() {
    let mut queue = queue(10, 1);
    queue.push([alert("a", 0), alert("b", 0)].map(parcel));
    let batch = queue.next_batch(NOW, 0).unwrap();
    queue.push([alert("a", 1), alert("c", 1)].map(parcel));
    queue.handle_outcome(&batch, Outcome::Accepted, NOW);
    let mut seen = Vec::new();
    while let Ok(batch) = queue.next_batch(NOW, 0) {
        seen.extend(names(&batch).iter().map(|(name, _)| (*name).to_owned()));
        queue.handle_outcome(&batch, Outcome::Accepted, NOW);
    }
    assert_eq!(seen, ["b", "a", "c"]);
}

#[test]
fn beyond_the_capacity_the_oldest_are_dropped_and_counted() {
    let mut queue = queue(2, 10);
    queue.push((0..5).map(|i| alert(&i.to_string(), i)).map(parcel));
    assert_eq!(names(&queue.next_batch(NOW, 0).unwrap()), [("3", 3), ("4", 4)]);
    assert_eq!(counts(&queue), QueueStats { dropped: 3, waiting: 2, ..QueueStats::default() });
}

#[test]
fn large_alerts_are_bounded_by_bytes() {
    let large =
        |name: &str| PostableAlert { annotations: [("text".to_owned(), "x".repeat(1_000))].into(), ..alert(name, 1) };
    let options = QueueOptions { bytes_max: 5_500, batch_bytes_max: 2_500, ..QueueOptions::default() };
    let mut queue = DeliveryQueue::new(options);
    queue.push((0..8).map(|i| large(&i.to_string())).map(parcel));
    assert_eq!((queue.stats().waiting, queue.stats().dropped), (5, 3));
    let batch = queue.next_batch(NOW, 0).unwrap();
    assert_eq!(names(&batch), [("3", 1), ("4", 1)]);
    let mut queue = DeliveryQueue::new(QueueOptions { batch_bytes_max: 10, ..options });
    queue.push([large("a"), large("b")].map(parcel));
    assert_eq!(names(&queue.next_batch(NOW, 0).unwrap()), [("a", 1)], "one alert always fits");
}

#[test]
fn waits_stop_growing_and_end_with_success() {
    let mut queue = queue(2, 10);
    queue.push([alert("a", 1)].map(parcel));
    let mut now = NOW;
    let mut waits = Vec::new();
    for _ in 0..100 {
        let batch = queue.next_batch(now, 0).unwrap();
        queue.handle_outcome(&batch, DOWN, now);
        let next = queue.next_batch(now, 0).unwrap_err().unwrap();
        waits.push((next - now).as_millis());
        now = next;
    }
    assert_eq!(waits.get(..8), Some([250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000].as_slice()));
    assert_eq!(waits.last(), Some(&30_000));
    let batch = queue.next_batch(now, 0).unwrap();
    queue.handle_outcome(&batch, Outcome::Accepted, now);
    queue.push([alert("a", 2)].map(parcel));
    let batch = queue.next_batch(now, 0).expect("success ends the wait");
    queue.handle_outcome(&batch, DOWN, now);
    assert_eq!(queue.next_batch(now, 0), Err(Some(now + Duration::from_millis(250))));
}

#[test]
fn a_target_may_ask_for_a_longer_wait_within_reason() {
    let mut queue = queue(2, 10);
    queue.push([alert("a", 1)].map(parcel));
    for (asked, waited) in [(7, 7), (3_600, 30)] {
        let batch = queue.next_batch(NOW, 0).unwrap();
        queue.handle_outcome(&batch, Outcome::Unavailable { retry_after: Some(Duration::from_secs(asked)) }, NOW);
        assert_eq!(queue.next_batch(NOW, 0), Err(Some(NOW + Duration::from_secs(waited))));
        queue.retry_now();
    }
}

/// One alert that the target refuses costs some requests, and nothing but itself.
#[test]
fn a_refused_alert_is_found_and_dropped_alone() {
    let mut queue = queue(100, 64);
    queue.push((0..64).map(|i| alert(&format!("{i:02}"), i)).map(parcel));
    let (mut requests, mut received) = (0, Vec::new());
    while let Ok(batch) = queue.next_batch(NOW, 0) {
        requests += 1;
        assert!(requests < 40, "the search ends");
        let refused = names(&batch).iter().any(|(name, _)| *name == "37");
        queue.handle_outcome(&batch, if refused { Outcome::Refused } else { Outcome::Accepted }, NOW);
        if !refused {
            received.extend(batch.alerts.iter().map(|a| a.ends_at_ms));
        }
    }
    assert_eq!(received, (0..64).filter(|i| *i != 37).collect::<Vec<_>>());
    assert_eq!((queue.stats().refused, queue.stats().sent), (1, 63));
}

/// All that the target hears of `a`, as start, end and resolved, when every request from now on is accepted.
fn heard(queue: &mut DeliveryQueue, wall_ms: i64) -> Vec<(i64, i64)> {
    let mut heard = Vec::new();
    while let Ok(batch) = queue.next_batch(NOW, wall_ms) {
        heard.extend(batch.alerts.iter().map(|alert| (alert.starts_at_ms, alert.ends_at_ms)));
        queue.handle_outcome(&batch, Outcome::Accepted, NOW);
    }
    heard
}

/// A target that was away hears that an alert fired, although it resolved meanwhile, and fires again.
#[test]
fn every_transition_is_told_in_order_and_repetitions_once() {
    let mut queue = queue(10, 10);
    queue.push([transition(5, 100, false), transition(5, 160, false), transition(5, 70, true)]);
    queue.push([transition(5, 70, true), transition(80, 200, false)]);
    assert_eq!(counts(&queue), QueueStats { superseded: 2, waiting: 1, ..QueueStats::default() });
    assert_eq!(queue.next_batch(NOW, 0).unwrap().alerts.len(), 1, "one request after the other");
    assert_eq!(heard(&mut queue, 0), [(5, 160), (5, 70), (80, 200)]);
}

/// An Alertmanager takes an alert whose end has passed as resolved, and would never say that it fired.
#[test]
fn that_an_alert_fired_is_told_however_late_and_before_what_followed() {
    let mut queue = queue(10, 10);
    queue.push([transition(5, 160, false), transition(5, 70, true)]);
    assert_eq!(heard(&mut queue, 160), [(5, 160 + LATE_BELIEF_MS), (5, 70)]);
    assert_eq!(counts(&queue), QueueStats { sent: 2, late: 1, ..QueueStats::default() });
    queue.push([transition(200, 260, false)]);
    assert_eq!(heard(&mut queue, 300), [(200, 260)], "the last word of an alert is told as it was");
    assert_eq!(queue.stats().late, 1);
}

#[test]
fn an_alert_that_flaps_while_its_target_is_away_keeps_all_its_transitions() {
    let mut queue = queue(1, 10);
    let mut expected = Vec::new();
    for round in 0..500 {
        let (fires, resolves) = (round * 10, round * 10 + 5);
        queue.push([transition(fires, 10_000, false), transition(resolves - 5, resolves, true)]);
        expected.extend([(fires, 10_000), (fires, resolves)]);
    }
    assert_eq!(heard(&mut queue, 0), expected);
    assert_eq!((queue.stats().dropped, queue.bytes), (0, 0));
}

/// Room for six messages: whoever has more than four gives way to those that have few.
#[test]
fn when_bytes_are_short_the_oldest_transitions_of_long_lines_are_lost_and_told() {
    let size = alert("a", 0).size_bytes();
    let mut queue = DeliveryQueue::new(QueueOptions { bytes_max: 6 * size, ..QueueOptions::default() });
    queue.push([parcel(alert("b", 7))]);
    for round in 0..5 {
        queue.push([transition(round * 10, 1_000, false), transition(round * 10, round * 10 + 5, true)]);
    }
    let lost: Vec<_> = queue.take_lost().iter().map(|lost| (lost.parcel.alert.starts_at_ms, lost.reason)).collect();
    let expected = [0, 0, 10, 10, 20].map(|start| (start, LossReason::TooManyBytes));
    assert_eq!((lost.as_slice(), queue.stats().dropped), (expected.as_slice(), 5));
    queue.push([parcel(alert("c", 8)), parcel(alert("d", 9))]);
    let lost: Vec<_> = queue.take_lost().iter().map(|lost| lost.parcel.alert.ends_at_ms).collect();
    assert_eq!(lost, [25, 7], "then what waits longest");
    assert_eq!((queue.stats().waiting, queue.stats().waiting_bytes), (3, 6 * size));
    assert_eq!(heard(&mut queue, 0).len(), 6);
}

#[test]
fn beyond_the_capacity_the_alert_that_waits_longest_is_lost_with_all_its_messages() {
    let mut queue = queue(2, 10);
    queue.push([transition(1, 50, false), transition(1, 20, true)]);
    queue.push([parcel(alert("b", 1)), parcel(alert("c", 1))]);
    let lost = queue.take_lost();
    assert!(lost.iter().all(|lost| lost.reason == LossReason::TooManyAlerts));
    assert_eq!((lost.len(), queue.stats().dropped, queue.stats().waiting), (2, 2, 2));
}

/// Who keeps messages on disk must be told of each of them, however it ended.
#[test]
fn the_number_of_every_message_is_settled_once() {
    let options = QueueOptions { capacity: 3, batch_max: 1, ..QueueOptions::default() };
    let mut queue = DeliveryQueue::new(options);
    let parcels = [
        transition(1, 50, false),
        transition(1, 60, false),
        transition(1, 20, true),
        parcel(alert("b", 1)),
        parcel(alert("c", 1)),
        parcel(alert("d", 1)),
    ];
    let mut expected: Vec<u64> = parcels.iter().map(|parcel| parcel.number).collect();
    queue.push(parcels);
    let mut settled = queue.take_settled();
    assert_eq!(settled.len(), 3, "one repeated, two beyond the capacity");
    let batch = queue.next_batch(NOW, 0).unwrap();
    queue.handle_outcome(&batch, Outcome::Refused, NOW);
    heard(&mut queue, 0);
    settled.extend(queue.take_settled());
    settled.sort_unstable();
    expected.sort_unstable();
    assert_eq!(settled, expected);
    assert!(queue.take_settled().is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Push(u8),
    Deliver(Outcome),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..12).prop_map(Step::Push),
        3 => Just(Step::Deliver(Outcome::Accepted)),
        1 => Just(Step::Deliver(DOWN)),
        1 => Just(Step::Wait),
    ]
}

proptest! {
    /// Whatever fails in between: what the target saw last of each alert is the newest, and it saw no news go backwards.
    #[test]
    fn the_newest_state_of_every_alert_arrives(steps in prop::collection::vec(step(), 0..200), batch_max in 1usize..6) {
        let mut queue = queue(100, batch_max);
        let mut newest = BTreeMap::new();
        let mut target: BTreeMap<String, i64> = BTreeMap::new();
        let (mut now, mut pushed, mut accepted) = (NOW, 0u64, 0u64);
        let mut deliver = |queue: &mut DeliveryQueue, outcome: Outcome, now: Duration| {
            let Ok(batch) = queue.next_batch(now, 0) else { return Ok(()) };
            prop_assert!((1..=batch_max).contains(&batch.alerts.len()));
            if outcome == Outcome::Accepted {
                for (name, state) in names(&batch) {
                    accepted += 1;
                    let before = target.insert(name.to_owned(), state);
                    prop_assert!(before.is_none_or(|before| before < state), "news go forward");
                }
            }
            queue.handle_outcome(&batch, outcome, now);
            Ok(())
        };
        for (i, step) in steps.into_iter().enumerate() {
            let state = i64::try_from(i).unwrap();
            match step {
                Step::Push(name) => {
                    pushed += 1;
                    newest.insert(name.to_string(), state);
                    queue.push([alert(&name.to_string(), state)].map(parcel));
                }
                Step::Deliver(outcome) => deliver(&mut queue, outcome, now)?,
                Step::Wait => now += Duration::from_secs(1),
            }
        }
        now += Duration::from_secs(3600);
        while !queue.is_empty() {
            deliver(&mut queue, Outcome::Accepted, now)?;
        }
        let stats = queue.stats();
        prop_assert_eq!((stats.sent, stats.sent + stats.superseded), (accepted, pushed));
        prop_assert_eq!(target, newest);
        prop_assert_eq!(queue.bytes, 0);
    }
}
