//! A store of objects that is slow, overloaded, unreachable, or lies about what it did.

use super::fixture::{BASE_MS, HOUR, Samples, append, at, everything, impatient, open, options, read, wait};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::time::{Duration, Instant};
use storage::bucket::testing::{Faults, FaultyStore};
use storage::bucket::{Bucket, BucketStore, RetryPolicy};
use storage::manifest::{GarbageOptions, ManifestChain, collect_garbage, system_clock};
use storage::store::Store;
use storage::wal::replay::ReplayProgress;

/// During an outage appends are acknowledged and what is in the head can be read; what is in blocks fails with the name of an
/// object. Afterwards the flush that failed is published.
#[test]
fn an_outage_stops_flushes_and_nothing_else() {
    let (dir, faulty) = (tempfile::tempdir().unwrap(), FaultyStore::new(BucketStore::in_memory(), 1));
    let bucket = impatient(faulty.store());
    let store = open(&bucket, dir.path());
    let mut truth = Samples::new();
    append(&store, &at(0..20, BASE_MS), &mut truth);
    store.flush(false).unwrap();

    faulty.set_outage(true);
    for minute in 1..20 {
        append(&store, &at(0..20, BASE_MS + minute * 60_000), &mut truth);
        if minute % 6 == 0 {
            let failure = store.flush(true).unwrap_err().to_line();
            assert!(failure.contains("cannot be reached") && failure.contains("t=anonymous/"), "{failure}");
            assert!(store.stats().flush.failure.is_some());
        }
    }
    let failure = everything(&store).unwrap_err();
    assert!(failure.contains("block=") && failure.contains("cannot be reached"), "{failure}");
    let of_head = read(&store, BASE_MS, i64::MAX).unwrap();
    assert!(of_head.len() == 20 && of_head.values().all(|samples| samples.len() == 19), "{of_head:?}");

    faulty.set_outage(false);
    store.flush(true).unwrap();
    assert_eq!(store.stats().flush.failure, None);
    assert!(everything(&store).unwrap() == truth);
    assert!(store.engine().select(&[], i64::MIN, i64::MAX, 100).unwrap().is_empty(), "the head still shows it");
    store.close().unwrap();
    drop(store);
    assert!(everything(&open(&bucket, dir.path())).unwrap() == truth);
}

/// A process that dies in an outage, its flush unpublished, has everything when it starts anew.
#[test]
fn what_could_not_be_published_survives_a_crash() {
    let (dir, faulty) = (tempfile::tempdir().unwrap(), FaultyStore::new(BucketStore::in_memory(), 1));
    let bucket = impatient(faulty.store());
    let mut truth = Samples::new();
    for round in 0..4 {
        let store = open(&bucket, dir.path());
        append(&store, &at(0..20, BASE_MS + round * HOUR), &mut truth);
        faulty.set_outage(true);
        assert!(store.flush(true).is_err());
        append(&store, &at(0..20, BASE_MS + round * HOUR + 1000), &mut truth);
        drop(store);
        faulty.set_outage(false);
    }
    let store = open(&bucket, dir.path());
    assert!(everything(&store).unwrap() == truth);
    store.flush(true).unwrap();
    assert!(everything(&store).unwrap() == truth);
}

/// Whoever ends the process does not wait for a store that does not answer: what it holds is in the log.
#[test]
fn an_outage_does_not_keep_the_process_from_ending() {
    let (dir, faulty) = (tempfile::tempdir().unwrap(), FaultyStore::new(BucketStore::in_memory(), 1));
    let bucket = Bucket::new(faulty.store(), "", RetryPolicy::default(), 1);
    let mut patient = options(dir.path());
    patient.check_interval = Duration::from_millis(5);
    let store = Store::open_on(bucket.clone(), patient, &ReplayProgress::default()).unwrap();
    let mut truth = Samples::new();
    append(&store, &at(0..20, BASE_MS), &mut truth);
    faulty.set_outage(true);
    append(&store, &at(0..20, BASE_MS + 1000), &mut truth);
    std::thread::sleep(Duration::from_millis(50));
    let asked = Instant::now();
    store.close().unwrap();
    drop(store);
    assert!(asked.elapsed() < Duration::from_secs(15), "it took {:?}", asked.elapsed());
    faulty.set_outage(false);
    assert!(everything(&open(&bucket, dir.path())).unwrap() == truth);
}

/// Appends, late ones too, flushes, merges and restarts on bad days: a read is right or fails, and in the end all is there once.
#[test]
fn nothing_is_lost_on_bad_days() {
    let seeds = std::env::var("HEARTH_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    for seed in 0..seeds {
        println!("seed {seed}");
        let (dir, faulty) = (tempfile::tempdir().unwrap(), FaultyStore::new(BucketStore::in_memory(), seed));
        let bucket = impatient(faulty.store());
        let mut random = SmallRng::seed_from_u64(seed);
        let mut truth = Samples::new();
        let (mut store, mut now_ms) = (open(&bucket, dir.path()), BASE_MS);
        let bad = Faults {
            slow_down: 0.2,
            lost_answer: 0.15,
            late_write: 0.1,
            cut_body: 0.2,
            delay_max: Duration::from_millis(3),
            latency: Duration::ZERO,
        };
        faulty.set_faults(bad);
        let (mut flushed, mut wrong) = (0, 0);
        for step in 0..60 {
            match random.random_range(0..9) {
                0..=2 => append(&store, &at(0..12, now_ms), &mut truth),
                3 => append(&store, &at(3..6, now_ms - random.random_range(1..30) * HOUR + step), &mut truth),
                4..=5 => flushed += u32::from(store.flush(false).is_ok()),
                6 => flushed += u32::from(store.flush(true).is_ok()),
                7 => {
                    drop(store);
                    // What keeps a process from starting is another matter.
                    faulty.set_faults(Faults::default());
                    store = open(&bucket, dir.path());
                    faulty.set_faults(bad);
                }
                _ => match everything(&store) {
                    Ok(found) => assert!(found == truth, "seed {seed}, step {step}"),
                    Err(failure) => {
                        wrong += 1;
                        assert!(failure.contains("t=anonymous/"), "{failure}");
                    }
                },
            }
            now_ms += random.random_range(1_000..900_000);
        }
        faulty.set_faults(Faults::default());
        store.flush(true).or_else(|_| store.flush(true)).unwrap();
        assert!(everything(&store).unwrap() == truth, "seed {seed}");
        store.close().unwrap();
        drop(store);
        let store = open(&bucket, dir.path());
        assert!(everything(&store).unwrap() == truth, "seed {seed}");
        println!("{flushed} flushes, {wrong} reads failed, {} blocks", store.manifest().blocks.len());
        wait(async {
            // Late writes have come by then.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let chain = ManifestChain::open(bucket.clone(), "anonymous", system_clock()).await.unwrap();
            let later_ms = system_clock()() + 26 * HOUR;
            collect_garbage(&chain, later_ms, GarbageOptions::default()).await.unwrap();
            let manifest = chain.latest();
            for object in bucket.list("").await.unwrap() {
                let named = |ulid: &str| object.key.contains(&format!("block={ulid}/"));
                let known = object.key.contains("/manifest/") || manifest.blocks.iter().any(|block| named(&block.ulid));
                assert!(known, "seed {seed}: {} is left", object.key);
            }
        });
        assert!(everything(&store).unwrap() == truth, "seed {seed}, after collecting garbage");
    }
}
