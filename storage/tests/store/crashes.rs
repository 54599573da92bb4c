//! The process is gone between any two requests to the store of objects: of a flush, a merge, a deletion, its carrying out, the
//! making of tiers, and a collection of garbage.

use super::fixture::{BASE_MS, HOUR, Samples, append, at, everything, impatient, open, wait};
use model::matcher::Matcher;
use std::path::Path;
use std::time::Duration;
use storage::bucket::testing::FaultyStore;
use storage::bucket::{Bucket, BucketStore};
use storage::lifecycle::retention::Retention;
use storage::manifest::{GarbageOptions, ManifestChain, collect_garbage, system_clock};
use storage::store::{Store, StoreError};
use storage::tiers::policy::{TierOptions, TierPolicy};

/// Series of which some samples are deleted.
const DELETED: usize = 3;

/// Tiers of 5 m and 1 h of what is kept for ever.
fn tiers() -> Retention {
    let keep = Duration::from_secs(1_000 * 365 * 86_400);
    let tiers = [300, 3_600].map(|seconds| TierOptions { resolution: Duration::from_secs(seconds), keep });
    Retention { tiers: Some(TierPolicy { raw_keep: keep, tiers: tiers.to_vec() }), ..Retention::default() }
}

async fn collect(bucket: &Bucket) -> Result<ManifestChain, StoreError> {
    let chain = ManifestChain::open(bucket.clone(), "anonymous", system_clock()).await?;
    collect_garbage(&chain, system_clock()() + 26 * HOUR, GarbageOptions::default()).await?;
    Ok(chain)
}

/// Whether a deletion was asked for, and whether it was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deletion {
    No,
    Asked,
    Acknowledged,
}

/// Does everything that the store can do until something fails.
fn live(store: &Store, bucket: &Bucket, truth: &mut Samples, deletion: &mut Deletion) -> Result<(), StoreError> {
    (0..5).for_each(|n| append(store, &at(0..6, BASE_MS + n * HOUR), truth));
    store.flush(false)?;
    append(store, &at(2..5, BASE_MS - 20 * HOUR), truth);
    append(store, &at(0..6, BASE_MS + 6 * HOUR), truth);
    store.flush(true)?;
    *deletion = Deletion::Asked;
    let of = vec![Matcher::equal("n", DELETED.to_string())];
    store.delete_series(&[of], BASE_MS, BASE_MS + 2 * HOUR)?;
    *deletion = Deletion::Acknowledged;
    append(store, &at(0..6, BASE_MS + 7 * HOUR), truth);
    store.clean_tombstones()?;
    append(store, &at(4..9, BASE_MS + 8 * HOUR), truth);
    store.set_retention(tiers());
    store.flush(true)?;
    let resolutions: Vec<u64> = store.stats().blocks.iter().map(|group| group.resolution_ms).collect();
    assert_eq!(resolutions.iter().filter(|resolution_ms| **resolution_ms > 0).count(), 2, "{resolutions:?}");
    wait(collect(bucket)).map(|_| ())
}

fn check(store: &Store, truth: &Samples, deletion: Deletion, case: &str) {
    let (mut found, mut expected) = (everything(store).unwrap(), truth.clone());
    if deletion != Deletion::No {
        let is_deleted = |at: &i64| (BASE_MS..=BASE_MS + 2 * HOUR).contains(at);
        let left = found.get(&DELETED).map_or(0, |samples| samples.keys().filter(|at| is_deleted(at)).count());
        assert!(deletion == Deletion::Asked || left == 0, "{case}: {left} deleted samples are there");
        for samples in [&mut found, &mut expected] {
            samples.get_mut(&DELETED).unwrap().retain(|at, _| !is_deleted(at));
        }
    }
    assert!(found == expected, "{case}: {found:?} instead of {expected:?}");
}

fn one(requests: u64, dir: &Path) -> bool {
    let case = format!("after {requests} requests");
    let objects = BucketStore::in_memory();
    let faulty = FaultyStore::new(objects.clone(), requests);
    let bucket = impatient(faulty.store());
    let store = open(&bucket, dir);
    faulty.crash_after(requests);
    let (mut truth, mut deletion) = (Samples::new(), Deletion::No);
    let outcome = live(&store, &bucket, &mut truth, &mut deletion);
    assert_eq!(outcome.is_ok(), !faulty.is_crashed(), "{case}: {outcome:?}");
    drop(store);

    let bucket = impatient(objects);
    let store = open(&bucket, dir);
    check(&store, &truth, deletion, &case);
    store.flush(true).unwrap();
    check(&store, &truth, deletion, &case);
    wait(async {
        let manifest = collect(&bucket).await.unwrap().latest();
        for object in bucket.list("").await.unwrap() {
            let is_named = manifest.blocks.iter().any(|block| object.key.contains(&format!("block={}/", block.ulid)));
            assert!(is_named || object.key.contains("/manifest/"), "{case}: {} is left", object.key);
        }
    });
    check(&store, &truth, deletion, &case);
    faulty.is_crashed()
}

#[test]
fn nothing_is_lost_or_left_when_the_process_ends_between_any_two_requests() {
    // Most of the time is waiting for the disk.
    const THREADS: u64 = 8;
    let last = std::thread::scope(|scope| {
        let of_thread = |first: u64| {
            let crashes = |requests: &u64| one(*requests, tempfile::tempdir().unwrap().path());
            scope.spawn(move || (first..).step_by(THREADS as usize).take_while(crashes).last())
        };
        let threads: Vec<_> = (0..THREADS).map(of_thread).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).max()
    });
    println!("{last:?} requests");
    assert!(last > Some(40), "only {last:?} requests");
}
