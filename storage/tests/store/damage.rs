//! Objects that are missing, damaged, foreign or of the future.

use super::fixture::{BASE_MS, HOUR, Samples, append, at, everything, open, options, read, wait};
use bytes::Bytes;
use model::matcher::Matcher;
use storage::block::meta::BlockMeta;
use storage::bucket::Bucket;
use storage::error::ErrorKind;
use storage::lifecycle::deletion_jobs::DeletionState;
use storage::store::{Store, StoreError};
use storage::wal::replay::ReplayProgress;

const DAY: i64 = 24 * HOUR;

/// A store with one block of each of three days and something in the head.
struct Case {
    dir: tempfile::TempDir,
    bucket: Bucket,
    truth: Samples,
}

impl Case {
    fn new() -> (Self, Store) {
        let (dir, bucket) = (tempfile::tempdir().unwrap(), Bucket::in_memory());
        let store = open(&bucket, dir.path());
        let mut truth = Samples::new();
        for day in 0..3 {
            (0..40).for_each(|n| append(&store, &at(0..8, BASE_MS + day * DAY + n * 60_000 + n * n % 7), &mut truth));
            store.flush(true).unwrap();
        }
        assert_eq!(store.manifest().blocks.len(), 3);
        append(&store, &at(0..8, BASE_MS + 3 * DAY), &mut truth);
        (Self { dir, bucket, truth }, store)
    }

    fn reopen(&self) -> Store {
        open(&self.bucket, self.dir.path())
    }

    /// Everything but the day in the middle can be read; that day fails, and the failure names `object`.
    fn check(&self, store: &Store, object: &str) {
        let failure = everything(store).unwrap_err();
        assert!(failure.contains(object), "{failure} does not name {object}");
        for (after_ms, until_ms) in [(i64::MIN, BASE_MS + DAY - HOUR), (BASE_MS + 2 * DAY - HOUR, i64::MAX)] {
            let mut expected = self.truth.clone();
            expected.values_mut().for_each(|samples| samples.retain(|at, _| *at > after_ms && *at <= until_ms));
            assert!(read(store, after_ms, until_ms).unwrap() == expected, "{object}");
        }
        // Damage does not keep others from being flushed and merged, nor is it merged away.
        let mut more = self.truth.clone();
        append(store, &at(8..9, BASE_MS + 2 * DAY + HOUR), &mut more);
        append(store, &at(8..9, BASE_MS + DAY + HOUR), &mut more);
        let _ = store.flush(true);
        store.flush(true).unwrap();
        let found = read(store, BASE_MS + 2 * DAY - HOUR, i64::MAX).unwrap();
        assert_eq!(found[&8].len(), 1);
        let failure = everything(store).unwrap_err();
        assert!(failure.contains(object), "{failure} does not name {object}");
    }
}

fn block_of_day(store: &Store, day: i64) -> BlockMeta {
    let manifest = store.manifest();
    let found = manifest.blocks.iter().find(|block| block.min_ms == BASE_MS + day * DAY);
    found.unwrap().clone()
}

#[test]
fn a_missing_file_is_named_and_others_answer() {
    for name in ["samples.parquet", "series.parquet", "timelines.parquet"] {
        let (case, store) = Case::new();
        let block = block_of_day(&store, 1);
        drop(store);
        let key = format!("{}{name}", block.prefix());
        wait(case.bucket.delete(&key)).unwrap();
        case.check(&case.reopen(), &key);
    }
}

#[test]
fn a_damaged_page_is_named_and_others_answer() {
    for name in ["samples.parquet", "series.parquet", "timelines.parquet"] {
        let (case, store) = Case::new();
        let block = block_of_day(&store, 1);
        drop(store);
        let key = format!("{}{name}", block.prefix());
        let mut bytes = wait(case.bucket.get(&key)).unwrap().to_vec();
        // All pages, whichever is read: every one has a checksum. The footer says where they are.
        let pages = 4..bytes.len() - block.file(name).unwrap().footer_bytes as usize;
        bytes[pages].iter_mut().for_each(|byte| *byte ^= 0x55);
        wait(case.bucket.put(&key, Bytes::from(bytes))).unwrap();
        case.check(&case.reopen(), &key);
    }
}

#[test]
fn foreign_objects_are_left_alone() {
    let (case, store) = Case::new();
    let prefix = block_of_day(&store, 1).prefix();
    let foreign = [
        "README".to_owned(),
        "t=anonymous/notes.txt".to_owned(),
        format!("{prefix}thumbs.db"),
        "t=anonymous/manifest/00000000000000000099.json.zst.bak".to_owned(),
        "t=other/manifest/latest".to_owned(),
    ];
    for key in &foreign {
        wait(case.bucket.put(key, Bytes::from_static(b"not yours"))).unwrap();
    }
    drop(store);
    let store = case.reopen();
    assert!(everything(&store).unwrap() == case.truth);
    store.flush(true).unwrap();
    assert!(everything(&store).unwrap() == case.truth);
    for key in &foreign {
        assert_eq!(wait(case.bucket.get(key)).unwrap(), "not yours");
    }
}

#[test]
fn a_newer_manifest_is_refused_by_its_name() {
    let (case, store) = Case::new();
    let mut manifest = (*store.manifest()).clone();
    drop(store);
    manifest.version += 1;
    manifest.format_version = 99;
    let key = format!("t=anonymous/manifest/{:020}.json.zst", manifest.version);
    wait(case.bucket.put(&key, Bytes::from(manifest.encode()))).unwrap();
    let opened = Store::open_on(case.bucket.clone(), options(case.dir.path()), &ReplayProgress::default());
    let error: StoreError = opened.err().unwrap();
    let failure = error.to_line();
    assert!(failure.contains(&key) && failure.contains("format version 99"), "{failure}");
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

/// As after going back to an older version: its blocks stay, unread.
#[test]
fn a_newer_block_is_named_and_others_answer() {
    let (case, store) = Case::new();
    let mut manifest = (*store.manifest()).clone();
    let block = block_of_day(&store, 1);
    drop(store);
    manifest.version += 1;
    manifest.parent_id = std::mem::replace(&mut manifest.commit_id, "another".to_owned());
    for meta in manifest.blocks.iter_mut().filter(|meta| meta.ulid == block.ulid) {
        meta.format_version = 99;
    }
    let key = format!("t=anonymous/manifest/{:020}.json.zst", manifest.version);
    wait(case.bucket.put(&key, Bytes::from(manifest.encode()))).unwrap();
    case.check(&case.reopen(), &block.ulid);
}

/// Deletions, merges and tiers go on past a block that cannot be read; it is named, and what is deleted of it stays hidden.
#[test]
fn a_damaged_block_keeps_a_deletion_from_nothing_else() {
    let (case, store) = Case::new();
    let block = block_of_day(&store, 1);
    drop(store);
    let key = format!("{}samples.parquet", block.prefix());
    let whole = wait(case.bucket.get(&key)).unwrap();
    let mut bytes = whole.to_vec();
    let pages = 4..bytes.len() - block.file("samples.parquet").unwrap().footer_bytes as usize;
    bytes[pages].iter_mut().for_each(|byte| *byte ^= 0x55);
    wait(case.bucket.put(&key, Bytes::from(bytes))).unwrap();
    let store = case.reopen();
    let of = |n: usize| vec![Matcher::equal("n", n.to_string())];
    store.delete_series(&[of(1), of(2)], i64::MIN, i64::MAX).unwrap();
    let failure = store.clean_tombstones().unwrap_err().to_line();
    assert!(failure.contains(&key), "{failure}");
    let damaged = store.stats().damaged;
    assert!(damaged.len() == 1 && damaged[0].ulid == block.ulid && damaged[0].why.contains(&key), "{damaged:?}");
    // The other days have lost both series and are smaller now.
    for day in [0, 2] {
        assert_eq!(block_of_day(&store, day).series, 6, "day {day}");
    }
    let check = |store: &Store, state: DeletionState| {
        let jobs = store.deletions();
        assert_eq!(jobs.len(), 2);
        for job in &jobs {
            assert_eq!((job.state, job.finished_ms.is_some()), (state, state == DeletionState::Done), "{job:?}");
            assert_eq!(job.failure.as_ref().is_some_and(|why| why.contains(&key)), state == DeletionState::Pending);
        }
        jobs
    };
    let jobs = check(&store, DeletionState::Pending);
    // The first of them took the second along. The third block is what the head held.
    assert_eq!(jobs.iter().map(|job| job.blocks_rewritten).sum::<u64>(), 3, "{jobs:?}");
    assert_eq!(jobs.iter().map(|job| job.series_reclaimed).sum::<u64>(), 6, "{jobs:?}");
    assert!(jobs.iter().map(|job| job.samples_reclaimed).sum::<u64>() == 162, "{jobs:?}");
    assert!(jobs.iter().any(|job| job.bytes_reclaimed > 0), "{jobs:?}");
    drop(store);
    // All of it survives a restart; and when the object is put back the rest is done.
    let store = case.reopen();
    assert_eq!(check(&store, DeletionState::Pending), jobs);
    wait(case.bucket.put(&key, whole)).unwrap();
    drop(store);
    let store = case.reopen();
    store.clean_tombstones().unwrap();
    let jobs = check(&store, DeletionState::Done);
    assert_eq!(jobs.iter().map(|job| job.blocks_rewritten).sum::<u64>(), 4, "{jobs:?}");
    assert!(store.stats().damaged.is_empty());
    let mut truth = case.truth.clone();
    truth.retain(|n, _| *n != 1 && *n != 2);
    assert!(everything(&store).unwrap() == truth);
}
