//! Series come and go for simulated days: what the head keeps of them reaches a plateau.

use crate::naive::hash_of;
use crate::samples::open;
use model::labels::Labels;
use model::sample::SampleColumns;
use storage::append::{Rows, SeriesRef};
use storage::head::{FlushPart, Head};

const START_MS: i64 = 1_790_000_000_000;
const TARGETS: i64 = 40;
const PER_TARGET: i64 = 12;
const STEP_MS: i64 = 120_000;
/// A target lives so long, then another takes its place: all series change each time.
const LIFE_MS: i64 = 3_600_000;
const FLUSH_MS: i64 = 2 * 3_600_000;

fn series(head: &Head, target: i64, life: i64, n: i64) -> SeriesRef {
    let labels = Labels::from_pairs([
        ("__name__", format!("metric_{n}")),
        ("instance", format!("host-{target}-{life}:9100")),
        ("job", "churn".to_owned()),
        ("pod", format!("a-pod-with-a-long-name-{target}-{life}-{n}")),
    ]);
    let labels = labels.expect("distinct names");
    let mut found = [None];
    head.lookup(&[hash_of(&labels)], &mut found);
    let pairs: Vec<_> = labels.iter().collect();
    found[0].unwrap_or_else(|| head.create(hash_of(&labels), &pairs, |_| ()).expect("room").0)
}

fn scrape(head: &Head, now_ms: i64) {
    let pin = head.pin();
    let mut rows = Rows::default();
    for target in 0..TARGETS {
        // Lives begin at different times.
        let life = (now_ms - START_MS + target * LIFE_MS / TARGETS) / LIFE_MS;
        for n in 0..PER_TARGET {
            rows.push(series(head, target, life, n), now_ms, (now_ms / 1_000 * n) as f64);
        }
    }
    assert_eq!(head.append(&rows).written, rows.len() as u64);
    drop(pin);
}

/// Flushes everything older than an hour; returns how many samples that were.
fn flush(head: &Head, now_ms: i64) -> usize {
    let flushing = head.begin_flush(now_ms - LIFE_MS, 0).expect("one at a time");
    let (mut samples, mut columns) = (0, SampleColumns::default());
    for metric in flushing.metrics() {
        for series in flushing.series_of(metric.as_deref()) {
            flushing.read_floats(series.series, FlushPart::Window, &mut columns).expect("readable");
            samples += columns.timestamps_ms.len();
        }
    }
    head.finish_flush(flushing);
    samples
}

#[test]
fn series_that_come_and_go_for_days_take_no_more_memory_than_those_of_hours() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(dir.path(), 2);
    let (mut totals, mut appended, mut flushed, mut logged) = (Vec::new(), 0, 0, 0);
    let steps = 4 * 86_400_000 / STEP_MS;
    for step in 0..steps {
        let now_ms = START_MS + step * STEP_MS;
        scrape(&head, now_ms);
        appended += (TARGETS * PER_TARGET) as usize;
        if now_ms % FLUSH_MS < STEP_MS {
            flushed += flush(&head, now_ms);
        }
        if step % 5 == 0 {
            let collected = head.collect_idle(now_ms - LIFE_MS, &|_| false, &mut |gone| logged += gone.len());
            assert!(collected.freed == 0 || logged > 0);
        }
        if step % (steps / 16) == steps / 16 - 1 {
            let stats = head.stats();
            totals.push(stats.memory);
            let live = (TARGETS * PER_TARGET) as u64;
            assert!(step < steps / 4 || stats.series < 7 * live, "{} series", stats.series);
            assert!(stats.timelines <= 7 * TARGETS as u64 * 2, "{} timelines", stats.timelines);
            assert!(stats.chunk_files <= 4, "{} files", stats.chunk_files);
        }
    }
    flushed += flush(&head, START_MS + steps * STEP_MS + LIFE_MS);
    assert_eq!(flushed, appended);
    assert!(logged as u64 > 80 * (TARGETS * PER_TARGET) as u64, "{logged} series left");
    // Arenas are copied when so much of them is garbage, in each shard.
    const SLACK: u64 = 640 << 10;
    let (early, late) = (totals[3], totals[15]);
    assert!(late.total() < early.total() + 2 * SLACK, "{early:?} {late:?}");
    for (name, early, late) in [
        ("slots", early.slots, late.slots),
        ("label sets", early.label_sets, late.label_sets),
        ("label pairs", early.label_pairs, late.label_pairs),
        ("hash index", early.hash_index, late.hash_index),
        ("postings", early.postings, late.postings),
        ("timelines", early.timelines, late.timelines),
    ] {
        assert!(late <= early * 5 / 4 + SLACK, "{name}: {early} bytes after a day, {late} after four");
    }
}

/// A writer that found a series before it was doomed, one that finds it afterwards, and a reader: none meets another series.
#[test]
fn who_holds_a_pin_or_comes_back_keeps_the_series() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(dir.path(), 1);
    let collect = || head.collect_idle(i64::MAX, &|_| false, &mut |_| ());
    let old = series(&head, 0, 0, 0);
    let pin = head.pin();
    assert_eq!(collect().doomed, 1, "it has no sample");
    assert_eq!((collect().freed, collect().doomed), (0, 1), "somebody may have found it");
    let mut rows = Rows::default();
    rows.push(old, START_MS, 1.0);
    head.append(&rows);
    drop(pin);
    assert_eq!((collect().freed, head.stats().series), (0, 1));

    let revived = series(&head, 0, 0, 1);
    assert_eq!(collect().doomed, 1);
    assert_eq!(series(&head, 0, 0, 1), revived, "looked up while it is doomed");
    assert_eq!(collect(), storage::head::Collected { freed: 0, doomed: 1 }, "revived, and doomed once more");
    assert_eq!(collect().freed, 1, "nobody came back");

    let selection = head.select(&[], i64::MIN, i64::MAX, 10).unwrap();
    let flushing = head.begin_flush(START_MS + 1, 0).unwrap();
    head.finish_flush(flushing);
    collect();
    assert_eq!(collect().freed, 0, "it is being read");
    let mut columns = SampleColumns::default();
    selection.read(0, i64::MIN, i64::MAX, &mut columns).unwrap();
    assert_eq!(columns.timestamps_ms, [START_MS], "who selected before sees what was there");
    assert_eq!(head.select(&[], i64::MIN, i64::MAX, 10).unwrap().len(), 0);
    drop(selection);
    collect();
    assert_eq!((collect().freed, head.stats().series), (1, 0));

    let taken = series(&head, 9, 9, 9);
    assert!([old, revived].contains(&taken), "the reference is used again");
    let mut rows = Rows::default();
    rows.push(if taken == old { revived } else { old }, START_MS + 2, 1.0);
    let rejected = head.append(&rows).rejected;
    assert_eq!(rejected, [(0, storage::append::Rejection::SeriesGone)], "without a pin");
}
