//! What a view shows is what was stored when it was opened, whatever comes later and however long it stays open.

use crate::naive::{NaiveHead, hash_of};
use crate::samples::{Pair, Step, any_step, open};
use model::labels::Labels;
use model::sample::SampleColumns;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use storage::append::{Rows, SeriesRef};
use storage::head::{Head, View};

/// What happens to a head that is looked at.
#[derive(Debug, Clone)]
enum Event {
    Step(Step),
    Open,
    /// Closes one of the open views.
    Close(u8),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => any_step().prop_map(Event::Step),
        2 => Just(Event::Open),
        1 => any::<u8>().prop_map(Event::Close),
    ]
}

/// Compares what a view shows over a range with what the twin knew when it was opened.
fn compare(view: &View, twin: &NaiveHead, after_ms: i64, until_ms: i64) {
    let selection = view.select(&[], i64::MIN, i64::MAX, usize::MAX).expect("no bound");
    let mut by_token: HashMap<u64, Vec<i64>> = HashMap::new();
    let mut columns = SampleColumns::default();
    for i in 0..selection.len() {
        let series = selection.series(i);
        let known = twin.series.iter().find(|known| known.series == series).expect("known to the twin");
        let token = selection.read(i, after_ms, until_ms, &mut columns).expect("readable");
        let read: Vec<_> =
            columns.timestamps_ms.iter().copied().zip(columns.values.iter().map(|v| v.to_bits())).collect();
        let expected = known.within(after_ms, until_ms);
        assert_eq!(read, expected, "{} in ({after_ms}, {until_ms}]", known.labels);
        let latest = selection.latest(i, after_ms, until_ms).expect("readable");
        assert_eq!(latest.map(|s| (s.timestamp_ms, s.value.to_bits())), expected.last().copied());
        if let Some(token) = token {
            let same = by_token.entry(token).or_insert_with(|| columns.timestamps_ms.clone());
            assert_eq!(*same, columns.timestamps_ms, "one token, two lists of timestamps");
        }
    }
}

/// Over all of time, and up to and from some sample.
fn compare_all(view: &View, twin: &NaiveHead, seed: u64) {
    compare(view, twin, i64::MIN, i64::MAX);
    let times: Vec<i64> = twin.series.iter().flat_map(|series| series.samples.keys().copied()).collect();
    if let Some(time) = times.get(seed as usize % times.len().max(1)) {
        compare(view, twin, i64::MIN, *time);
        compare(view, twin, *time - 1, time + 100_000);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_view_shows_what_was_stored_when_it_was_opened(
        events in proptest::collection::vec(any_event(), 0..250), shards in 0u32..3, seed: u64,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut pair = Pair::new(open(dir.path(), 1 << shards));
        let mut views: Vec<(View, NaiveHead)> = Vec::new();
        for event in &events {
            match event {
                Event::Step(step) => pair.apply(step),
                Event::Open => views.push((pair.head.view(), pair.twin.clone())),
                Event::Close(which) if !views.is_empty() => {
                    let (view, twin) = views.swap_remove(usize::from(*which) % views.len());
                    compare_all(&view, &twin, seed);
                }
                Event::Close(_) => {}
            }
        }
        views.iter().for_each(|(view, twin)| compare_all(view, twin, seed));
        drop(views);
        pair.compare_ranges(seed);
        pair.apply(&Step::Push { series: 1, ahead_ms: 1, value: 1 });
        pair.apply(&Step::Scrape { target: 0, ticks: 1, jitter: 0, missing: 0 });
    }
}

/// Half of a target's series are appended before a view is opened, half of them after, all at one time and so on one row
/// of their timeline: what the view shows of them does not have the same timestamps, and must not say so.
#[test]
fn series_of_one_timeline_that_are_cut_off_differently_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut pair = Pair::new(open(dir.path(), 1));
    for _ in 0..30 {
        pair.apply(&Step::Scrape { target: 0, ticks: 1, jitter: 0, missing: 0 });
    }
    let next_ms = pair.twin.series[0].samples.keys().next_back().unwrap() + 15_000;
    let mut append = |range: std::ops::Range<usize>| {
        let mut rows = Rows::default();
        range.for_each(|n| rows.push(pair.twin.series[n].series, next_ms, 1.0));
        assert_eq!(pair.head.append(&rows), pair.twin.append(&rows));
        (pair.head.view(), pair.twin.clone())
    };
    let (view, twin) = append(0..3);
    append(3..6);
    compare(&view, &twin, i64::MIN, i64::MAX);
}

fn series(head: &Head, count: usize) -> Vec<SeriesRef> {
    let create = |n: usize| {
        let labels = Labels::from_pairs([("__name__", "load".to_owned()), ("n", n.to_string())]).unwrap();
        let pairs: Vec<_> = labels.iter().collect();
        head.create(hash_of(&labels), &pairs, |_| {}).unwrap().0
    };
    (0..count).map(create).collect()
}

/// Every series has as many samples as every other, and as many a second time; a later view never has fewer.
#[test]
fn batches_are_seen_as_a_whole_or_not_at_all() {
    const SERIES: usize = 40;
    let dir = tempfile::tempdir().unwrap();
    let head = open(dir.path(), 4);
    let series = series(&head, SERIES);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for tick in 0..1_500_i64 {
                let mut rows = Rows::default();
                // One in three comes late.
                let at = if tick % 3 == 2 { tick * 1000 - 1500 } else { tick * 1000 };
                series.iter().for_each(|series| rows.push(*series, at, tick as f64));
                assert_eq!(head.append(&rows).written, SERIES as u64);
            }
            done.store(true, Ordering::SeqCst);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let (mut columns, mut seen, mut views) = (SampleColumns::default(), 0, 0);
                while !done.load(Ordering::SeqCst) {
                    let view = head.view();
                    let mut samples = Vec::new();
                    for _ in 0..2 {
                        let selection = view.select(&[], i64::MIN, i64::MAX, usize::MAX).unwrap();
                        for i in 0..selection.len() {
                            selection.read(i, i64::MIN, i64::MAX, &mut columns).unwrap();
                            let newest = selection.latest(i, i64::MIN, i64::MAX).unwrap();
                            assert_eq!(newest.map(|s| s.timestamp_ms), columns.timestamps_ms.last().copied());
                            samples.push(columns.len());
                        }
                    }
                    samples.retain(|count| *count > 0);
                    let Some(first) = samples.first().copied() else { continue };
                    assert_eq!(samples, vec![first; 2 * SERIES]);
                    assert!(first >= seen);
                    (seen, views) = (first, views + 1);
                }
                assert!(views > 1, "{views} views");
            });
        }
    });
}

/// While no view is open nothing is noted, and a closed view leaves nothing behind.
#[test]
fn closed_views_cost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(dir.path(), 2);
    let series = series(&head, 1000);
    let append = |tick: i64| {
        let mut rows = Rows::default();
        series.iter().for_each(|series| rows.push(*series, tick * 1000, 1.0));
        head.append(&rows);
        head.stats().memory.views
    };
    assert_eq!(append(1), 0);
    let view = head.view();
    let one = append(2);
    assert!(one > 0);
    // The series are noted already.
    assert_eq!((3..50).map(append).max(), Some(one));
    drop(view);
    assert_eq!(append(50), 0);
}
