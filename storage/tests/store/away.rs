//! Starts while the object store does not answer.

use super::fixture::{BASE_MS, HOUR, Samples, append, at, everything, impatient, open, options, read, wait};
use model::matcher::Matcher;
use std::path::Path;
use std::time::{Duration, Instant};
use storage::bucket::testing::FaultyStore;
use storage::bucket::{Bucket, BucketStore};
use storage::error::ErrorKind;
use storage::manifest::system_clock;
use storage::store::{Store, StoreError};
use storage::wal::replay::ReplayProgress;

const AWAY: &str = "the object store has not answered since the start";

fn network(seed: u64) -> (FaultyStore, Bucket) {
    let faulty = FaultyStore::new(BucketStore::in_memory(), seed);
    let bucket = impatient(faulty.store());
    (faulty, bucket)
}

fn try_open(bucket: &Bucket, path: &Path) -> Result<Store, StoreError> {
    Store::open_on(bucket.clone(), options(path), &ReplayProgress::default())
}

fn newer_than(truth: &Samples, after_ms: i64) -> Samples {
    let mut newer = truth.clone();
    newer.values_mut().for_each(|samples| samples.retain(|at, _| *at > after_ms));
    newer.retain(|_, samples| !samples.is_empty());
    newer
}

/// What the head has is read, what is or may be in blocks is refused by a failure that says why, samples are taken; and all of
/// it is in blocks as soon as the store answers.
#[test]
fn a_start_during_an_outage_reads_and_writes_what_is_recent() {
    let dir = tempfile::tempdir().unwrap();
    let (faulty, bucket) = network(1);
    let (mut truth, mut store) = (Samples::new(), open(&bucket, dir.path()));
    append(&store, &at(0..20, BASE_MS), &mut truth);
    store.flush(true).unwrap();
    append(&store, &at(0..20, BASE_MS + HOUR), &mut truth);
    faulty.set_outage(true);
    for restart in 1..4 {
        // Once as after a crash, then as after an end.
        if restart > 1 {
            store.close().unwrap();
        }
        drop(store);
        store = open(&bucket, dir.path());
        assert!(store.away().unwrap().contains("cannot be reached"), "{:?}", store.away());
        append(&store, &at(0..20, BASE_MS + HOUR + restart), &mut truth);
        assert!(read(&store, BASE_MS, i64::MAX).unwrap() == newer_than(&truth, BASE_MS));
        let refused = everything(&store).unwrap_err();
        assert!(refused.contains(AWAY) && refused.contains("cannot be reached"), "{refused}");
        assert!(store.label_names(&[], storage::select::TimeRange::ALL, 10).is_err());
        assert!(store.flush(true).is_err() && store.delete_series(&[vec![]], 0, 1).is_err());
        assert_eq!(store.stats().blocks.iter().map(|group| group.blocks).sum::<u64>(), 1, "what was known is listed");
    }
    faulty.set_outage(false);
    store.flush(true).unwrap();
    assert_eq!(store.away(), None);
    assert!(everything(&store).unwrap() == truth);
    store.close().unwrap();
    drop(store);
    assert!(everything(&open(&bucket, dir.path())).unwrap() == truth);
}

#[test]
fn the_first_start_of_all_takes_samples_without_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (faulty, bucket) = network(2);
    faulty.set_outage(true);
    let started_ms = system_clock()();
    let mut truth = Samples::new();
    for restart in 0..3 {
        let store = open(&bucket, dir.path());
        let now_ms = system_clock()();
        append(&store, &at(0..10, now_ms), &mut truth);
        if restart == 0 {
            append(&store, &at(0..10, BASE_MS), &mut truth);
        }
        let after_ms = system_clock()() - 1;
        assert!(read(&store, after_ms, i64::MAX).unwrap() == newer_than(&truth, after_ms));
        let refused = read(&store, started_ms - HOUR, i64::MAX).unwrap_err();
        assert!(refused.contains(AWAY), "{refused}");
    }
    faulty.set_outage(false);
    let store = open(&bucket, dir.path());
    assert_eq!(store.away(), None);
    assert!(everything(&store).unwrap() == truth);
    store.flush(true).unwrap();
    assert!(everything(&store).unwrap() == truth);
}

/// A directory that was used, whose copy of the manifest is gone or damaged, may have given up what nobody can tell: its start
/// has to wait for the store.
#[test]
fn without_a_copy_a_used_directory_waits_for_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (faulty, bucket) = network(3);
    let mut truth = Samples::new();
    let store = open(&bucket, dir.path());
    append(&store, &at(0..20, BASE_MS), &mut truth);
    store.flush(true).unwrap();
    drop(store);
    let copy = std::fs::read_dir(dir.path().join("manifest")).unwrap().next().unwrap().unwrap().path();
    faulty.set_outage(true);
    for damage in [true, false] {
        if damage {
            std::fs::write(&copy, "not a manifest").unwrap();
        } else {
            std::fs::remove_file(&copy).unwrap();
        }
        let error = try_open(&bucket, dir.path()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let line = error.to_line();
        assert!(line.contains("does not answer") && line.contains("cannot be reached"), "{line}");
        assert_eq!(line.contains("is damaged"), damage, "{line}");
    }
    faulty.set_outage(false);
    assert!(everything(&open(&bucket, dir.path())).unwrap() == truth);
}

/// The lifecycle finds by itself that the store is back.
#[test]
fn a_store_that_comes_back_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (faulty, bucket) = network(4);
    let mut truth = Samples::new();
    let store = open(&bucket, dir.path());
    append(&store, &at(0..20, BASE_MS), &mut truth);
    store.flush(true).unwrap();
    drop(store);
    faulty.set_outage(true);
    let mut eager = options(dir.path());
    eager.check_interval = Duration::from_millis(5);
    let store = Store::open_on(bucket, eager, &ReplayProgress::default()).unwrap();
    assert!(everything(&store).is_err());
    faulty.set_outage(false);
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.away().is_some() {
        assert!(Instant::now() < deadline, "nobody noticed");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(everything(&store).unwrap() == truth);
}

/// One life that ends after so many requests; returns whether it did.
fn one(requests: u64) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let (faulty, bucket) = network(requests);
    let (mut truth, store) = (Samples::new(), open(&bucket, dir.path()));
    append(&store, &at(0..6, BASE_MS), &mut truth);
    store.flush(false).unwrap();
    append(&store, &at(0..6, BASE_MS + HOUR), &mut truth);
    append(&store, &at(2..4, BASE_MS - 30 * HOUR), &mut truth);
    faulty.crash_after(requests);
    // What comes of it does not matter; the last of it moves the boundary far ahead of the samples.
    let _ = store.flush(true);
    let nothing = vec![Matcher::equal("n", "none")];
    let _ = store.delete_series(&[nothing], BASE_MS, BASE_MS + 10 * HOUR).and_then(|()| store.clean_tombstones());
    drop(store);
    let objects = faulty.revive();
    objects.set_outage(true);
    let bucket = impatient(objects.store());
    let store = open(&bucket, dir.path());
    append(&store, &at(0..6, BASE_MS + 2 * HOUR), &mut truth);
    let recent = read(&store, BASE_MS + HOUR, i64::MAX).unwrap();
    assert!(recent == newer_than(&truth, BASE_MS + HOUR), "after {requests} requests: {recent:?}");
    objects.set_outage(false);
    // A time before the boundary that the store knows: what is flushed next must not fall behind it.
    append(&store, &at(3..5, BASE_MS - 20 * HOUR), &mut truth);
    let outcome = store.flush(true);
    assert!(outcome.is_ok(), "after {requests} requests: {outcome:?}");
    assert!(everything(&store).unwrap() == truth, "after {requests} requests");
    drop(store);
    assert!(everything(&open(&bucket, dir.path())).unwrap() == truth, "after {requests} requests");
    faulty.is_crashed()
}

/// The process ends between any two requests of a flush, starts in the outage that follows, and goes on when that is over: the
/// store may be one version ahead of what was copied.
#[test]
fn nothing_is_lost_when_an_outage_begins_in_a_flush() {
    // Most of the time is waiting for the disk.
    const THREADS: u64 = 8;
    let last = std::thread::scope(|scope| {
        let of_thread = |first: u64| {
            scope.spawn(move || (first..).step_by(THREADS as usize).take_while(|requests| one(*requests)).last())
        };
        let threads: Vec<_> = (1..=THREADS).map(of_thread).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).max()
    });
    println!("{last:?} requests");
    assert!(last > Some(15), "only {last:?} requests");
}

/// Another process takes over during the outage of one: that one claims anew before it publishes, and is refused where it did not.
#[test]
fn whoever_starts_in_an_outage_publishes_nothing_before_it_has_read_the_chain() {
    let objects = BucketStore::in_memory();
    let networks = [1, 2].map(|seed| FaultyStore::new(objects.clone(), seed));
    let buckets = networks.each_ref().map(|network| impatient(network.store()));
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut truth = Samples::new();
    let first = open(&buckets[0], dirs[0].path());
    append(&first, &at(0..5, BASE_MS), &mut truth);
    first.flush(true).unwrap();
    drop(first);
    networks[0].set_outage(true);
    let first = open(&buckets[0], dirs[0].path());
    append(&first, &at(0..5, BASE_MS + HOUR), &mut truth);
    let second = open(&buckets[1], dirs[1].path());
    for round in 1..5 {
        append(&second, &at(10..15, BASE_MS + round * HOUR), &mut truth);
        second.flush(true).unwrap();
    }
    let version = second.manifest().version;
    assert!(first.flush(true).is_err());
    networks[0].set_outage(false);
    first.flush(true).unwrap();
    assert!(first.manifest().version > version, "it went on from where the other was");
    assert!(everything(&first).unwrap() == truth);
    let refused = second.flush(true).unwrap_err().to_line();
    assert!(refused.contains("another process took over"), "{refused}");
    second.flush(true).or_else(|_| second.flush(true)).unwrap();
    assert!(everything(&second).unwrap() == truth);
}

/// A store that turns out to be another one is not written to.
#[test]
fn a_store_that_lacks_what_was_known_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (faulty, bucket) = network(5);
    let mut truth = Samples::new();
    let store = open(&bucket, dir.path());
    append(&store, &at(0..20, BASE_MS), &mut truth);
    store.flush(true).unwrap();
    drop(store);
    let (other, other_bucket) = network(6);
    assert_ne!(faulty.requests(), 0);
    other.set_outage(true);
    let store = open(&other_bucket, dir.path());
    other.set_outage(false);
    append(&store, &at(0..20, BASE_MS + HOUR), &mut truth);
    let refused = store.flush(true).unwrap_err();
    let line = refused.to_line();
    assert!(line.contains("is not the one that was known here"), "{line}");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(wait(other_bucket.list("t=anonymous/manifest")).unwrap().is_empty());
    drop(store);
    // With the right one all is well.
    assert!(everything(&open(&bucket, dir.path())).unwrap() == truth);
}
