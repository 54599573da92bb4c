//! Samples of a day go when its tiers hold everything that was acknowledged, and not before.

use super::late::{append, check, truth_of};
use super::*;
use crate::block::meta::ulid;
use crate::bucket::BucketOptions;
use crate::manifest::{Manifest, Role};
use crate::offline::BlockStore;
use std::time::Instant;

fn retention(raw_days: u32, keep_ms: Option<i64>) -> Retention {
    let raw_keep = Duration::from_secs(24 * 3600) * raw_days;
    let tiers = Some(TierPolicy { raw_keep, ..TierPolicy::default() });
    Retention { tiers, keep_ms, ..Retention::default() }
}

/// The days whose tiers are there, and which a late sample is of, in a store that does what is due all the time.
fn busy(path: &std::path::Path, base_ms: i64, seed: u64) -> (Store, Vec<BTreeMap<i64, f64>>) {
    let store = open(path);
    let mut truth = truth_of(fill(&store, base_ms, seed));
    live(&store, 30);
    append(&store, &mut truth, SERIES, base_ms + 2 * DAY + 5, 41.0);
    // What comes in order keeps the head from being flushed up to now.
    append(&store, &mut truth, SERIES, base_ms + 3 * DAY + HOUR + 5, 41.0);
    drop(store);
    (open_busy(path), truth)
}

fn open_busy(path: &std::path::Path) -> Store {
    let mut options = StoreOptions::new(path);
    options.engine.segment_bytes = 256 << 10;
    options.engine.shards = Some(2);
    options.check_interval = Duration::from_millis(1);
    options.retention = retention(30, None);
    Store::open(options, &ReplayProgress::default()).unwrap()
}

fn until(store: &Store, is_wanted: impl Fn(&[(u64, u64)]) -> bool) {
    let begun = Instant::now();
    while !is_wanted(&blocks(store)) {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", blocks(store));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Of samples at most the fourth day is left, which has tiers as soon as nothing is in the head.
fn until_expired(store: &Store) {
    until(store, |blocks| blocks.iter().all(|(resolution, blocks)| *resolution > 0 || *blocks <= 1));
}

/// By the time of tiers, and by the time of retention, which may be shorter.
#[test]
fn what_came_late_is_in_the_tiers_before_the_samples_go() {
    for by_tiers in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let base_ms = base_ms();
        let keep_ms = now_ms() - base_ms - 3 * DAY - MINUTE;
        let retention = if by_tiers { retention(5, None) } else { retention(30, Some(keep_ms)) };
        let (store, mut truth) = busy(dir.path(), base_ms, 30);
        store.set_retention(retention);
        until(&store, |blocks| blocks == [(0, 2), (5, 4), (60, 4)]);
        check(&store, &truth, base_ms);
        if by_tiers {
            // As long as its samples are there, a day takes more.
            append(&store, &mut truth, SERIES, base_ms + 2 * DAY + 6, 42.0);
        }
        std::thread::sleep(Duration::from_millis(100));
        check(&store, &truth, base_ms);
        store.flush(true).unwrap();
        until_expired(&store);
        check(&store, &truth, base_ms);
    }
}

/// Late samples come all the while: each is refused, or in answers for good.
#[test]
fn what_is_taken_while_samples_expire_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let base_ms = base_ms();
    let (store, mut truth) = busy(dir.path(), base_ms, 31);
    let (first, sent_one) = std::sync::mpsc::channel();
    let sender = {
        let (store, mut random, begun) = (store.clone(), SmallRng::seed_from_u64(31), Instant::now());
        std::thread::spawn(move || {
            let (mut sent, mut at_ms) = (Vec::new(), base_ms + 2 * DAY + 1_000_000);
            while begun.elapsed() < Duration::from_secs(10) {
                // Now and then there is time enough for a day to expire.
                let wait_ms_max = if random.random_bool(0.1) { 1500 } else { 10 };
                std::thread::sleep(Duration::from_millis(random.random_range(0..wait_ms_max)));
                at_ms += 1;
                let mut rows = Rows::default();
                rows.push(series(&store, SERIES), at_ms, 43.0);
                if store.engine().append_wait(rows).unwrap().rejected == [(0, Rejection::TooOld)] {
                    break;
                }
                sent.push(at_ms);
                // Whoever waits for the first may have heard of it.
                let _ = first.send(());
            }
            sent
        })
    };
    sent_one.recv().unwrap();
    store.set_retention(retention(5, None));
    while !sender.is_finished() {
        store.flush(true).unwrap();
    }
    let sent = sender.join().unwrap();
    assert!(!sent.is_empty());
    truth[SERIES].extend(sent.into_iter().map(|at_ms| (at_ms, 43.0)));
    store.flush(true).unwrap();
    until_expired(&store);
    check(&store, &truth, base_ms);
}

/// Whoever sends late samples all the time does not keep the samples of a day for ever.
#[test]
fn a_day_that_has_waited_for_long_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let base_ms = base_ms();
    let (store, mut truth) = busy(dir.path(), base_ms, 32);
    drop(store);
    // As if all of it had come when it was new.
    let blocks = BlockStore::open(&BucketOptions::default(), dir.path(), "anonymous").unwrap();
    let chain = blocks.chain();
    let claimed = blocks.io().wait(chain.claim(Role::Compactor)).unwrap();
    let age = |manifest: &Manifest| {
        let (mut next, mut aged) = (manifest.clone(), BTreeMap::<String, String>::new());
        for block in &mut next.blocks {
            let origins: Vec<String> = block.origins().map(str::to_owned).collect();
            let mut name = |origin: String| {
                let number = aged.len() as u128;
                aged.entry(origin).or_insert_with(|| ulid((base_ms + 4 * DAY) as u64, number)).clone()
            };
            block.sources = origins.into_iter().map(&mut name).collect();
        }
        Ok(next)
    };
    blocks.io().wait(chain.commit(claimed, age)).unwrap();
    let store = open_busy(dir.path());
    until(&store, |blocks| blocks == [(0, 4), (5, 4), (60, 4)]);
    store.set_retention(retention(5, None));
    let begun = Instant::now();
    // The late sample in the head keeps the third day's samples; more of them are not taken, those of the fourth day are.
    let refused = loop {
        let at_ms = base_ms + 2 * DAY + 1_000_000 + begun.elapsed().as_millis() as i64;
        let mut rows = Rows::default();
        rows.push(series(&store, SERIES), at_ms, 43.0);
        if store.engine().append_wait(rows).unwrap().rejected == [(0, Rejection::TooOld)] {
            break at_ms;
        }
        truth[SERIES].insert(at_ms, 43.0);
        assert!(begun.elapsed() < Duration::from_secs(30));
    };
    check(&store, &truth, base_ms);
    store.flush(true).unwrap();
    until_expired(&store);
    check(&store, &truth, base_ms);
    assert!(!truth[SERIES].contains_key(&refused));
}

/// Late native histograms are in no tier, so nothing waits for them.
#[test]
fn late_histograms_keep_no_floats() {
    let dir = tempfile::tempdir().unwrap();
    let base_ms = base_ms();
    let store = open(dir.path());
    fill(&store, base_ms, 33);
    live(&store, 30);
    let mut batch = Batch::default();
    let (series, histogram) = (series(&store, SERIES + 1), Histogram::default());
    batch.histograms.push(HistogramRow { series, timestamp_ms: base_ms + DAY + 7, start_ms: 0, histogram });
    assert_eq!(store.engine().append_wait(batch).unwrap().histograms_written, 1);
    let has_floats = || {
        let head = store.engine().head();
        head.float_days(head.pin().visible()).contains(base_ms + DAY + 7)
    };
    assert!(!has_floats());
    append(&store, &mut vec![BTreeMap::new(); SERIES + 1], SERIES, base_ms + DAY + 8, 1.0);
    assert!(has_floats());
}
