//! Readers, creators and snapshots while one thread appends.

use crate::naive::hash_of;
use crate::samples::open;
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::SampleColumns;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use storage::append::{Rows, SeriesRef};
use storage::head::Head;

const START_MS: i64 = 1_790_000_000_000;
const SERIES: usize = 60;
const TICKS: usize = 700;

fn create(head: &Head, n: usize) -> SeriesRef {
    let pairs = [("__name__", "load".to_owned()), ("instance", format!("host-{}", n / 20)), ("n", n.to_string())];
    let labels = Labels::from_pairs(pairs).unwrap();
    let pairs: Vec<_> = labels.iter().collect();
    head.create(hash_of(&labels), &pairs, |_| {}).unwrap().0
}

fn value(n: usize, tick: usize) -> f64 {
    (tick * 10 + n) as f64 / 4.0
}

/// Whatever was appended before a read began is in it, in full and in order.
fn read_all(head: &Head, appended: usize) {
    let selection = head.select(&[Matcher::equal("__name__", "load")], i64::MIN, i64::MAX, usize::MAX).unwrap();
    let mut columns = SampleColumns::default();
    for i in 0..selection.len() {
        selection.read(i, i64::MIN, i64::MAX, &mut columns).unwrap();
        let n: usize = selection.labels(i).get("n").unwrap().parse().unwrap();
        assert!(columns.len() >= appended, "{} samples of {appended}", columns.len());
        for (tick, (&at, &read)) in columns.timestamps_ms.iter().zip(&columns.values).enumerate() {
            assert_eq!((at, read), (START_MS + tick as i64 * 15_000, value(n, tick)));
        }
        let newest = selection.latest(i, i64::MIN, i64::MAX).unwrap().unwrap();
        assert!(newest.timestamp_ms >= *columns.timestamps_ms.last().unwrap());
    }
    head.label_values("n", &[], storage::select::TimeRange::ALL, 10).unwrap();
}

#[test]
fn everybody_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(dir.path(), 2);
    let series: Vec<SeriesRef> = (0..SERIES).map(|n| create(&head, n)).collect();
    let (ticks, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for tick in 0..TICKS {
                let mut rows = Rows::default();
                let at = START_MS + tick as i64 * 15_000;
                series.iter().enumerate().for_each(|(n, &series)| rows.push(series, at, value(n, tick)));
                assert_eq!(head.append(&rows).written, SERIES as u64);
                ticks.store(tick + 1, Ordering::SeqCst);
            }
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                read_all(&head, ticks.load(Ordering::SeqCst));
            }
        });
        scope.spawn(|| {
            let mut made = SERIES;
            while !done.load(Ordering::SeqCst) {
                made += 1;
                create(&head, made);
                (0..2).for_each(|shard| head.write_shard_snapshot(shard, &mut std::io::sink()).unwrap());
            }
        });
    });
    read_all(&head, TICKS);
}
