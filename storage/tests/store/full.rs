//! No space for objects, at any step of what the store does: everything fails by a reason, nothing is lost, and with space it goes
//! on. `tests/full_disk` does the same on a disk that is really full.

use super::fixture::{BASE_MS, HOUR, Samples, append, at, everything, impatient, open};
use model::matcher::Matcher;
use std::time::Duration;
use storage::bucket::BucketStore;
use storage::bucket::testing::{Faults, FaultyStore};
use storage::error::ErrorKind;
use storage::store::{Store, StoreError};

/// Flushes, merges, deletes and carries that out. Nobody has what is deleted.
fn work(store: &Store) -> Result<(), StoreError> {
    store.flush(false)?;
    store.flush(true)?;
    let of = vec![Matcher::equal("n", "3")];
    store.delete_series(&[of], BASE_MS + 1, BASE_MS + HOUR - 1)?;
    store.clean_tombstones()
}

/// With space for so many objects; returns whether that was too few.
fn one(room: u64) -> bool {
    let case = format!("with space for {room} objects");
    let dir = tempfile::tempdir().unwrap();
    let faulty = FaultyStore::new(BucketStore::in_memory(), room);
    let bucket = impatient(faulty.store());
    let (store, mut truth) = (open(&bucket, dir.path()), Samples::new());
    append(&store, &at(0..6, BASE_MS), &mut truth);
    store.flush(false).unwrap();
    append(&store, &at(0..6, BASE_MS + HOUR), &mut truth);
    append(&store, &at(2..4, BASE_MS - 30 * HOUR), &mut truth);
    faulty.set_room(Some(room));
    let outcome = work(&store);
    if let Err(error) = &outcome {
        let line = error.to_line();
        assert!(line.contains("t=anonymous/") && line.contains("No space left on device"), "{case}: {line}");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{case}");
        // Samples are taken and everything is read as ever, after a restart too.
        append(&store, &at(0..6, BASE_MS + 2 * HOUR), &mut truth);
        assert!(everything(&store).unwrap() == truth, "{case}");
        assert!(work(&store).is_err(), "{case}: again");
    }
    drop(store);
    let store = open(&bucket, dir.path());
    assert!(everything(&store).unwrap() == truth, "{case}, after a restart");
    faulty.set_room(None);
    work(&store).unwrap();
    assert!(everything(&store).unwrap() == truth, "{case}, with space again");
    assert_eq!((store.stats().flush.failure, store.stats().tombstones), (None, 0), "{case}");
    outcome.is_err()
}

#[test]
fn nothing_is_lost_when_space_ends_at_any_object() {
    // Most of the time is waiting for the disk.
    const THREADS: u64 = 8;
    let last = std::thread::scope(|scope| {
        let of_thread =
            |first: u64| scope.spawn(move || (first..).step_by(THREADS as usize).take_while(|room| one(*room)).last());
        let threads: Vec<_> = (0..THREADS).map(of_thread).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).max()
    });
    println!("{last:?} objects");
    assert!(last > Some(15), "only {last:?} objects");
}

/// A store whose every request takes long holds up neither appends nor reads of the head.
#[test]
fn a_slow_store_holds_nobody_up_who_does_not_need_it() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = FaultyStore::new(BucketStore::in_memory(), 1);
    let bucket = storage::bucket::Bucket::new(faulty.store(), "", Default::default(), 1);
    let (store, mut truth) = (open(&bucket, dir.path()), Samples::new());
    append(&store, &at(0..6, BASE_MS), &mut truth);
    faulty.set_faults(Faults { delay_max: Duration::from_millis(300), ..Faults::default() });
    let flushing = store.clone();
    let flush = std::thread::spawn(move || flushing.flush(true));
    let mut taken = 0;
    while !flush.is_finished() {
        taken += 1;
        append(&store, &at(0..6, BASE_MS + taken * 1000), &mut truth);
        let found = store.engine().select(&[], BASE_MS, i64::MAX, 100).unwrap();
        assert_eq!(found.len(), 6);
    }
    flush.join().unwrap().unwrap();
    assert!(taken > 20, "only {taken} batches while one flush was under way");
    faulty.set_faults(Faults::default());
    assert!(everything(&store).unwrap() == truth);
}
