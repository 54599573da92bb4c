//! Two processes, each with a directory of its own, on one bucket.

use super::fixture::{BASE_MS, HOUR, Samples, append, at, everything, impatient, open};
use storage::bucket::BucketStore;
use storage::bucket::testing::FaultyStore;
use storage::error::ErrorKind;

/// Of two writers the one that claimed first is refused, says so, and publishes once it has claimed anew. Neither loses what it
/// acknowledged, and both see what the other published.
#[test]
fn two_writers_fence_each_other_and_lose_nothing() {
    let objects = BucketStore::in_memory();
    let networks = [1, 2].map(|seed| FaultyStore::new(objects.clone(), seed));
    let buckets = networks.map(|network| impatient(network.store()));
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut stores = [0, 1].map(|n| open(&buckets[n], dirs[n].path()));
    let mut truth = Samples::new();
    let mut fenced = 0;
    for round in 0..12 {
        for (n, store) in stores.iter().enumerate() {
            // Series of their own, and some that both have.
            let own = n * 100..n * 100 + 10;
            // One of them is behind the other in time.
            let now_ms = BASE_MS + (round - 3 * n as i64) * HOUR;
            append(store, &at(own, now_ms), &mut truth);
            append(store, &at(1000..1005, now_ms), &mut truth);
        }
        for store in &stores {
            let compact = round % 3 == 2;
            if let Err(error) = store.flush(compact) {
                let failure = error.to_line();
                assert!(failure.contains("another process took over as"), "{failure}");
                assert_eq!(error.kind(), ErrorKind::Unavailable, "it is worth another try");
                fenced += 1;
                while let Err(error) = store.flush(compact) {
                    let failure = error.to_line();
                    assert!(
                        failure.contains("took over as") || failure.contains("no longer in the manifest"),
                        "{failure}"
                    );
                }
            }
        }
        if round % 4 == 3 {
            stores = [0, 1].map(|n| {
                drop(std::mem::replace(
                    &mut stores[n],
                    open(&impatient(BucketStore::in_memory()), tempfile::tempdir().unwrap().path()),
                ));
                open(&buckets[n], dirs[n].path())
            });
        }
    }
    assert!(fenced > 3, "only {fenced} times");
    for n in [0, 1, 0] {
        // Follows what the other published.
        stores[n].flush(false).or_else(|_| stores[n].flush(false)).unwrap();
    }
    for store in &stores {
        let found = everything(store).unwrap();
        for (series, samples) in &truth {
            assert_eq!(found.get(series), Some(samples), "series {series}");
        }
    }
}
