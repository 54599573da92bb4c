//! Damage to chunk files: noticed, confined to what is damaged, never a panic.

use crate::samples::{Fork, Pair, Step, open};
use crate::snapshots::{read_all, read_flushed, write_all};
use model::sample::SampleColumns;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use storage::head::{FlushedState, Head};
use storage::select::SelectError;

/// A head with some chunks per series in its files, gone but for its directory and snapshot.
fn stored(dir: &Path) -> (Fork, Vec<Vec<u8>>) {
    let mut pair = Pair::new(open(dir, 1));
    for _ in 0..400 {
        pair.apply(&Step::Scrape { target: 0, ticks: 1, jitter: 0, missing: 0 });
    }
    let fork = pair.fork();
    let snapshots = write_all(&pair.head, || ());
    (fork, snapshots)
}

fn chunk_file(dir: &Path) -> PathBuf {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut chunks: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "chunks")).collect();
    assert_eq!(chunks.len(), 1);
    chunks.remove(0)
}

fn read_errors(head: &Head, after_ms: i64) -> Vec<String> {
    let selection = head.select(&[], i64::MIN, i64::MAX, usize::MAX).unwrap();
    let mut columns = SampleColumns::default();
    let read = |i| selection.read(i, after_ms, i64::MAX, &mut columns).err();
    let text = |error: SelectError| match error {
        SelectError::Chunk { source, .. } => source.to_string(),
        SelectError::Block(_) | SelectError::TooManySeries { .. } => panic!("{error}"),
    };
    (0..selection.len()).filter_map(read).map(text).collect()
}

#[test]
fn a_flipped_bit_fails_the_queries_that_need_the_chunk_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (fork, snapshots) = stored(dir.path());
    let path = chunk_file(dir.path());
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 90).unwrap();
    file.write_all_at(&[byte[0] ^ 4], 90).unwrap();
    let head = open(dir.path(), 1);
    assert!(read_all(&head, &snapshots).is_empty());
    let errors = read_errors(&head, i64::MIN);
    assert!((1..=6).contains(&errors.len()), "{errors:?}");
    assert!(errors[0].contains("checksum") && errors[0].contains(path.to_str().unwrap()), "{errors:?}");
    let newest = fork.twin.series[0].samples.keys().next_back().unwrap();
    assert!(read_errors(&head, newest - 60_000).is_empty());
}

#[test]
fn what_lies_behind_the_snapshot_is_cut_with_a_notice() {
    let dir = tempfile::tempdir().unwrap();
    let (fork, snapshots) = stored(dir.path());
    let path = chunk_file(dir.path());
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let used = snapshot_end(&snapshots[0]);
    file.write_all_at(b"a torn frame", used).unwrap();
    let restored = fork.onto(open(dir.path(), 1));
    let notices = read_all(&restored.head, &snapshots);
    assert!(notices.len() == 1 && notices[0].contains("is cut to"), "{notices:?}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), used);
    restored.compare(i64::MIN, i64::MAX);
}

/// The end of the first chunk file, from the first section of a snapshot.
pub(crate) fn snapshot_end(snapshot: &[u8]) -> u64 {
    let at = 8 + 12 + 16 + 28 + 12 + 4;
    u64::from(u32::from_le_bytes(snapshot[at..at + 4].try_into().unwrap()))
}

#[test]
fn a_file_that_lost_its_end_is_noticed_and_the_rest_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (fork, snapshots) = stored(dir.path());
    let path = chunk_file(dir.path());
    OpenOptions::new().write(true).open(&path).unwrap().set_len(snapshot_end(&snapshots[0]) - 40).unwrap();
    let head = open(dir.path(), 1);
    let notices = read_all(&head, &snapshots);
    assert!(notices.len() == 1 && notices[0].contains("are lost"), "{notices:?}");
    assert!(!read_errors(&head, i64::MIN).is_empty());
    let newest = fork.twin.series[0].samples.keys().next_back().unwrap();
    assert!(read_errors(&head, newest - 60_000).is_empty());
}

#[test]
fn a_missing_file_and_one_of_somebody_else_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (fork, snapshots) = stored(dir.path());
    let path = chunk_file(dir.path());
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let head = open(dir.path(), 1);
    let notices = read_all(&head, &snapshots);
    assert!(notices.len() == 1 && notices[0].contains("is gone"), "{notices:?}");
    assert!(read_errors(&head, i64::MIN).is_empty(), "what is left is answered");
    drop(head);
    let newest = *fork.twin.series[0].samples.keys().next_back().unwrap();
    let flushed = |boundary_ms| FlushedState { boundary_ms, ..FlushedState::default() };
    assert_eq!(read_flushed(&open(dir.path(), 1), &snapshots, &flushed(newest - 3_600_000)).len(), 1);
    assert!(read_flushed(&open(dir.path(), 1), &snapshots, &flushed(newest)).is_empty(), "blocks have all of it");
    std::fs::write(&path, &bytes[1..]).unwrap();
    let head = open(dir.path(), 1);
    let notices = read_all(&head, &snapshots);
    assert!(notices.len() == 1 && notices[0].contains("left alone"), "{notices:?}");
    assert!(path.exists(), "a file that cannot be understood is kept");
    let again = write_all(&head, || ());
    drop(head);
    read_all(&open(dir.path(), 1), &again);
    assert!(path.exists(), "and at the next start");
}

/// Without a snapshot the log brings everything again, so files of an earlier life go.
#[test]
fn files_without_a_snapshot_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (fork, _) = stored(dir.path());
    let before = chunk_file(dir.path());
    let head = open(dir.path(), 1);
    let mut again = Pair::new(head);
    for _ in 0..400 {
        again.apply(&Step::Scrape { target: 0, ticks: 1, jitter: 0, missing: 0 });
    }
    again.head.freeze_shard(0).expect("writes what waits");
    assert_ne!(chunk_file(dir.path()), before);
    fork.onto(again.head.clone()).compare(i64::MIN, i64::MAX);
}

/// Chunks that cannot be written stay in memory, are answered from there, and are written when the disk is back.
#[test]
fn a_failing_disk_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let chunks = dir.path().join("head");
    let mut pair = Pair::new(open(&chunks, 1));
    std::fs::rename(&chunks, dir.path().join("away")).unwrap();
    for _ in 0..1_000 {
        pair.apply(&Step::Scrape { target: 0, ticks: 1, jitter: 1, missing: 3 });
    }
    assert!(pair.head.freeze_shard(0).is_err());
    let stats = pair.head.stats();
    assert!(stats.chunk_write_failures > 0 && stats.chunk_write_problem.is_some(), "{stats:?}");
    assert!(stats.memory.chunks_waiting > 0);
    pair.compare_ranges(1);
    std::fs::rename(dir.path().join("away"), &chunks).unwrap();
    pair.head.freeze_shard(0).expect("the disk is back");
    let stats = pair.head.stats();
    assert_eq!((stats.memory.chunks_waiting, stats.chunk_write_problem), (0, None));
    pair.compare_ranges(2);
}

#[test]
fn expired_files_go_with_their_last_reader() {
    let dir = tempfile::tempdir().unwrap();
    let (fork, snapshots) = stored(dir.path());
    let path = chunk_file(dir.path());
    let restored = fork.onto(open(dir.path(), 1));
    read_all(&restored.head, &snapshots);
    let newest = *restored.twin.series[0].samples.keys().next_back().unwrap();
    let flush = |boundary_ms| {
        let flushing = restored.head.begin_flush(boundary_ms, 0).expect("one at a time");
        restored.head.finish_flush(flushing);
    };
    flush(newest - 10 * 86_400_000);
    assert!(path.exists());
    flush(newest);
    assert!(!path.exists());
    assert!(read_errors(&restored.head, i64::MIN).is_empty());
}
