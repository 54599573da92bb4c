//! Objects that are missing, damaged, foreign or of the future.

use super::fixture::{BASE_MS, HOUR, Samples, append, at, everything, open, options, read, wait};
use bytes::Bytes;
use storage::block::meta::BlockMeta;
use storage::bucket::Bucket;
use storage::error::ErrorKind;
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
