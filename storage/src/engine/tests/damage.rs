//! Snapshots that are not what was written.

use super::{Content, Place, append, content, expected};
use crate::disk::Disk;
use std::path::Path;

/// Three snapshots with samples before, between and after them.
fn filled() -> (Place, Content) {
    let place = Place::new();
    let engine = place.open();
    let timestamps: Vec<i64> = (1..=40).map(|round| round * 1000).collect();
    for t in &timestamps {
        append(&engine, 0..50, *t).expect("healthy");
        if t % 10_000 == 0 && *t < 40_000 {
            engine.snapshot_now().expect("no fault is set");
        }
    }
    drop(engine);
    (place, expected(0..50, &timestamps))
}

fn names(place: &Place) -> Vec<String> {
    let mut names = place.disk.list(&place.dir.path().join("head")).expect("no fault is set");
    names.retain(|name| name.contains("snapshot"));
    names.sort();
    names
}

/// Wherever the newest snapshot is damaged, the one before and the log make up for it.
#[test]
fn a_damaged_snapshot_costs_nothing() {
    let (mut place, expected) = filled();
    let newest = place.snapshot_path(3);
    let length = place.disk.bytes(&newest).expect("exists").len();
    for at in (0..length).step_by(length / 40) {
        place.disk.flip(&newest, at, 0x20);
        let damaged = place.disk.clone();
        place.restart(at as u64);
        let engine = place.open();
        assert_eq!(content(&engine), expected, "byte {at}");
        let report = engine.restore_report().clone();
        assert_eq!(report.snapshot_damage.len(), 1, "byte {at}: {report:?}");
        assert_eq!((report.snapshot, report.replay.damage_count), (Some(2), 0), "byte {at}");
        drop(engine);
        assert!(names(&place).contains(&"damaged-snapshot-00000000000000000003.snap".to_owned()));
        assert_eq!(content(&place.open()), expected, "byte {at}, once more");
        place.disk = damaged;
        place.disk.flip(&newest, at, 0x20);
    }
}

/// The log reaches back to the snapshot before the last, here to the very start.
#[test]
fn without_any_snapshot_the_log_alone_is_read() {
    let (mut place, expected) = filled();
    for number in [2, 3] {
        place.disk.remove(&place.snapshot_path(number)).expect("exists");
    }
    place.disk.sync_dir(place.dir.path()).expect("no fault is set");
    place.restart(1);
    let engine = place.open();
    assert_eq!(engine.restore_report().snapshot, None);
    assert_eq!(content(&engine), expected);
}

#[test]
fn a_snapshot_of_another_directory_is_not_read() {
    let (place, _) = filled();
    let (other, expected) = filled();
    let foreign = place.disk.bytes(&place.snapshot_path(3)).expect("exists");
    let file = other.disk.create(&other.snapshot_path(9)).expect("no fault is set");
    file.write_all_at(&foreign, 0).expect("no fault is set");
    let engine = other.open();
    assert_eq!(engine.restore_report().snapshot_damage.len(), 1);
    assert_eq!(content(&engine), expected);
}

#[test]
fn an_unfinished_snapshot_is_removed() {
    let (place, expected) = filled();
    let path = Path::new(place.dir.path()).join("head/snapshot-00000000000000000004.snap.tmp");
    place.disk.create(&path).expect("no fault is set");
    assert_eq!(content(&place.open()), expected);
    assert_eq!(names(&place).len(), 2);
}

/// The log is released up to the older snapshot only, so that the newest can be done without.
#[test]
fn the_log_reaches_back_to_the_older_snapshot() {
    let mut place = Place::new();
    let engine = place.open();
    let timestamps: Vec<i64> = (1..300).map(|round| round * 1000).collect();
    for t in &timestamps {
        append(&engine, 0..500, *t).expect("healthy");
        if t % 70_000 == 0 {
            engine.snapshot_now().expect("no fault is set");
        }
    }
    assert!(engine.stats().wal.segments_recycled > 0, "the start of the log is gone");
    drop(engine);
    place.disk.flip(&place.snapshot_path(4), 5000, 0xff);
    place.restart(1);
    let engine = place.open();
    assert_eq!(engine.restore_report().snapshot, Some(3));
    assert_eq!(engine.restore_report().replay.damage_count, 0);
    assert_eq!(content(&engine), expected(0..500, &timestamps));
}
