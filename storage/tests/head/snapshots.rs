//! Snapshots: a point in time of each shard, from which the log goes on.

use crate::naive::hash_of;
use crate::samples::{Pair, any_step, open};
use proptest::prelude::*;
use storage::head::{FlushedState, Head, HeadErrorKind};

/// Writes all shards; `freeze` and `write` may have a history between them.
pub(crate) fn write_all(head: &Head, between: impl FnOnce()) -> Vec<Vec<u8>> {
    let frozen: Vec<_> = (0..head.shards()).map(|shard| head.freeze_shard(shard).expect("not under way")).collect();
    between();
    let write = |frozen: storage::head::FrozenShard| {
        let mut bytes = Vec::new();
        frozen.write(&mut bytes).expect("into memory");
        bytes
    };
    frozen.into_iter().map(write).collect()
}

pub(crate) fn read_all(head: &Head, snapshots: &[Vec<u8>]) -> Vec<String> {
    read_flushed(head, snapshots, &FlushedState::default())
}

/// As [`read_all`], where blocks hold what `flushed` says.
pub(crate) fn read_flushed(head: &Head, snapshots: &[Vec<u8>], flushed: &FlushedState) -> Vec<String> {
    let read = |(shard, bytes): (usize, &Vec<u8>)| {
        head.read_shard_snapshot(shard, &mut bytes.as_slice(), flushed).expect("whole")
    };
    snapshots.iter().enumerate().flat_map(read).map(|notice| notice.message).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// What happened after the freeze is not in the snapshot, whatever pages it touched; replaying it comes to the same
    /// verdicts and the same samples. And once more from there.
    #[test]
    fn a_restored_head_goes_on_as_if_nothing_had_happened(
        before in proptest::collection::vec(any_step(), 0..200),
        after in proptest::collection::vec(any_step(), 0..100),
        shards in 0u32..2,
        seed: u64,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut pair = Pair::new(open(dir.path(), 1 << shards));
        before.iter().for_each(|step| pair.apply(step));
        let at_freeze = pair.fork();
        let head = pair.head.clone();
        let snapshots = write_all(&head, || after.iter().for_each(|step| pair.apply(step)));
        pair.compare_ranges(seed);
        drop((pair, head));

        let mut restored = at_freeze.onto(open(dir.path(), 1 << shards));
        read_all(&restored.head, &snapshots);
        restored.compare_ranges(seed);
        for series in &restored.twin.series {
            let labels: Vec<_> = series.labels.iter().collect();
            restored.head.restore_series(series.series, hash_of(&series.labels), &labels).expect("harmless");
        }
        after.iter().for_each(|step| restored.apply(step));
        restored.compare_ranges(seed ^ 1);

        let again = restored.fork();
        let snapshots = write_all(&restored.head.clone(), || ());
        drop(restored);
        let last = again.onto(open(dir.path(), 1 << shards));
        read_all(&last.head, &snapshots);
        last.compare_ranges(seed ^ 2);
    }

    #[test]
    fn a_damaged_snapshot_is_refused_or_at_least_harmless(steps in proptest::collection::vec(any_step(), 0..60), flip in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()) {
        let dir = tempfile::tempdir().unwrap();
        let mut pair = Pair::new(open(dir.path(), 1));
        steps.iter().for_each(|step| pair.apply(step));
        let snapshot = write_all(&pair.head, || ()).remove(0);
        drop(pair);
        let head = open(dir.path(), 1);
        let cut = cut.index(snapshot.len());
        let error = head.read_shard_snapshot(0, &mut &snapshot[..cut], &FlushedState::default()).expect_err("the end is missing");
        prop_assert_eq!(error.kind(), HeadErrorKind::Corrupt);
        let mut flipped = snapshot.clone();
        let bit = flip.index(snapshot.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        let _ = head.read_shard_snapshot(0, &mut flipped.as_slice(), &FlushedState::default());
    }
}

#[test]
fn one_snapshot_of_a_shard_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(dir.path(), 1);
    let frozen = head.freeze_shard(0).unwrap();
    assert_eq!(head.freeze_shard(0).unwrap_err().kind(), HeadErrorKind::Limited);
    drop(frozen);
    head.freeze_shard(0).unwrap();
}

#[test]
fn a_snapshot_of_another_shard_or_of_a_newer_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(dir.path(), 2);
    let snapshots = write_all(&head, || ());
    let error = head.read_shard_snapshot(1, &mut snapshots[0].as_slice(), &FlushedState::default()).unwrap_err();
    assert!(error.to_string().contains("another shard"), "{error}");
    let mut newer = snapshots[0].clone();
    newer[8] = 4;
    let error = head.read_shard_snapshot(0, &mut newer.as_slice(), &FlushedState::default()).unwrap_err();
    assert!(error.to_string().contains("format version 4"), "{error}");
}

#[test]
fn series_restored_in_place_of_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::new(open(dir.path(), 1));
    let [first, second, ..] = pair.twin.series.as_slice() else { panic!("two series at least") };
    let labels: Vec<_> = second.labels.iter().collect();
    let error = pair.head.restore_series(first.series, hash_of(&second.labels), &labels).unwrap_err();
    assert_eq!(error.kind(), HeadErrorKind::Corrupt);
}
