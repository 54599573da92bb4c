//! A disk that is really full: a small tmpfs. Needs the right to mount; without it there is nothing to test here, and
//! the simulated disk has the same cases.

use model::sample::SampleColumns;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use storage::append::{LabelHash, Rows};
use storage::engine::{Engine, Health, Options};
use storage::error::Error;
use storage::store::{Store, StoreOptions};
use storage::wal::replay::ReplayProgress;

/// A mounted tmpfs of a few megabytes, unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "hearth-test"]).arg(dir.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self(dir))
    }

    fn options(&self) -> Options {
        Options {
            segment_bytes: 256 << 10,
            snapshot_wal_bytes: 1 << 20,
            shards: Some(2),
            ..Options::new(self.0.path())
        }
    }

    /// Takes all the space there is.
    fn fill(&self) {
        let mut size = 4 << 20;
        while size >= 4096 {
            let name = format!("filler-{size}");
            if std::fs::write(self.0.path().join(name), vec![1; size]).is_err() {
                let _ = std::fs::remove_file(self.0.path().join(format!("filler-{size}")));
            }
            size /= 2;
        }
    }

    /// Takes all the space but so many bytes, in whole pages.
    fn fill_but(&self, bytes: u64) {
        let spare = self.0.path().join("filler-spare");
        std::fs::write(&spare, vec![1; usize::try_from(bytes).expect("small")]).expect("there is space");
        self.fill();
        std::fs::remove_file(spare).expect("ours");
    }

    fn give_back(&self) {
        for entry in std::fs::read_dir(self.0.path()).expect("mounted") {
            let path = entry.expect("mounted").path();
            if path.to_string_lossy().contains("filler") {
                std::fs::remove_file(path).expect("ours");
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whatever still holds a file must not leave the mount behind.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

fn append(engine: &Engine, timestamp_ms: i64) -> Result<(), Error> {
    let mut rows = Rows::default();
    for n in 0..200 {
        let text = n.to_string();
        let labels = [("__name__", "m"), ("n", text.as_str())];
        let series = engine.create(LabelHash::of_pairs(labels, &mut Vec::new()), &labels)?;
        rows.push(series, timestamp_ms, noise(timestamp_ms, n));
    }
    engine.append_wait(rows).map(|_| ())
}

fn noise(timestamp_ms: i64, n: i32) -> f64 {
    (timestamp_ms as u64 * 1000 + n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) as f64 / 3.0
}

fn assert_holds(engine: &Engine, acknowledged: &[i64]) {
    let selection = engine.select(&[], i64::MIN, i64::MAX, usize::MAX).expect("no limit");
    assert_eq!(selection.len(), 200);
    for index in 0..selection.len() {
        let n: i32 = selection.labels(index).get("n").expect("every series has it").parse().expect("a number");
        let mut columns = SampleColumns::default();
        selection.read(index, i64::MIN, i64::MAX, &mut columns).expect("readable");
        for timestamp in acknowledged {
            let at = columns.timestamps_ms.binary_search(timestamp).expect("acknowledged");
            assert_eq!(columns.values[at].to_bits(), noise(*timestamp, n).to_bits());
        }
    }
}

fn free_file_count(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("wal")).expect("made").count()
}

#[test]
fn a_full_disk_refuses_with_a_reason_loses_nothing_and_recovers() {
    let Some(disk) = SmallDisk::mount("6m") else {
        println!("not allowed to mount a tmpfs: skipped");
        return;
    };
    let engine = Engine::open(&disk.options()).expect("there is space");
    let mut acknowledged = vec![1000];
    append(&engine, 1000).expect("there is space");
    disk.fill();
    let error = loop {
        let next = acknowledged[acknowledged.len() - 1] + 1000;
        match append(&engine, next) {
            Ok(()) => acknowledged.push(next),
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 10_000, "the disk is full");
    };
    assert!(error.to_line().contains("No space left on device"), "{}", error.to_line());
    assert!(matches!(engine.health(), Health::NoLogSpace { .. }), "{:?}", engine.health());
    assert!(engine.snapshot_now().is_err());
    assert_holds(&engine, &acknowledged);

    // A restart on the full disk can be read, and refuses as clearly.
    drop(engine);
    let engine = Engine::open(&disk.options()).expect("opening needs no space");
    assert_eq!(engine.restore_report().damage_count(), 0);
    assert_holds(&engine, &acknowledged);
    let files = free_file_count(disk.0.path());
    let again = acknowledged[acknowledged.len() - 1] + 1000;
    let _ = append(&engine, again);

    // With space it goes on by itself.
    disk.give_back();
    let deadline = Instant::now() + Duration::from_secs(20);
    let recovered = again + 1000;
    while let Err(error) = append(&engine, recovered) {
        assert!(Instant::now() < deadline, "{}", error.to_line());
        std::thread::sleep(Duration::from_millis(50));
    }
    acknowledged.push(recovered);
    assert_eq!(engine.health(), Health::Healthy);
    engine.snapshot_now().expect("there is space");
    assert!(free_file_count(disk.0.path()) <= files + 3, "failed attempts leave nothing behind");
    drop(engine);
    assert_holds(&Engine::open(&disk.options()).expect("our directory"), &acknowledged);
}

fn store_options(disk: &SmallDisk) -> StoreOptions {
    let mut options = StoreOptions::new(disk.0.path());
    options.engine = disk.options();
    options.check_interval = Duration::from_secs(3600);
    options
}

fn open_store(disk: &SmallDisk) -> Store {
    Store::open(store_options(disk), &ReplayProgress::default()).expect("opening needs no space")
}

fn assert_store_holds(store: &Store, acknowledged: &[i64], case: &str) {
    let selection = store.select(&[], i64::MIN, i64::MAX, usize::MAX).expect("no limit");
    assert_eq!(selection.len(), 200, "{case}");
    for index in 0..selection.len() {
        let n: i32 =
            selection.labels(index).expect("readable").get("n").expect("all have it").parse().expect("a number");
        let mut columns = SampleColumns::default();
        selection.read(index, i64::MIN, i64::MAX, &mut columns).expect("readable");
        assert_eq!(columns.timestamps_ms, acknowledged, "{case}");
        for (timestamp, value) in columns.timestamps_ms.iter().zip(&columns.values) {
            assert_eq!(value.to_bits(), noise(*timestamp, n).to_bits(), "{case}");
        }
    }
}

/// Log, head, staged blocks, blocks and manifest on one disk that gets full at any step of a flush or a merge: samples are taken
/// as long as the log has room, the failure names a file or object and the reason, and with space everything is as it should be.
#[test]
fn a_flush_onto_a_disk_that_gets_full_anywhere_loses_nothing() {
    let Some(disk) = SmallDisk::mount("24m") else {
        println!("not allowed to mount a tmpfs: skipped");
        return;
    };
    let mut acknowledged = Vec::new();
    let (mut failures, mut refused) = (0, 0);
    for spare in (0..30).map(|step| step * (16 << 10)) {
        let case = format!("{spare} bytes free");
        let store = open_store(&disk);
        let mut next = acknowledged.last().map_or(1000, |last| last + 1000);
        for _ in 0..10 {
            append(store.engine(), next).expect("there is space");
            acknowledged.push(next);
            next += 1000;
        }
        disk.fill_but(spare);
        for _ in 0..2 {
            if let Err(error) = store.flush(true) {
                failures += 1;
                let line = error.to_line();
                assert!(line.contains("No space left on device"), "{case}: {line}");
                assert!(line.contains('/'), "{case}: {line} names nothing");
            }
            match append(store.engine(), next) {
                Ok(()) => acknowledged.push(next),
                Err(error) => {
                    refused += 1;
                    assert!(error.to_line().contains("No space left on device"), "{case}: {}", error.to_line());
                }
            }
            next += 1000;
            assert_store_holds(&store, &acknowledged, &case);
        }
        if spare % (64 << 10) == 0 {
            drop(store);
            let store = open_store(&disk);
            assert_store_holds(&store, &acknowledged, &format!("{case}, after a restart"));
            disk.give_back();
            store.flush(true).expect("there is space");
            assert_store_holds(&store, &acknowledged, &format!("{case}, with space again"));
            continue;
        }
        disk.give_back();
        store.flush(true).expect("there is space");
        assert_eq!(store.stats().flush.failure, None);
        assert_store_holds(&store, &acknowledged, &format!("{case}, with space again"));
    }
    println!("{failures} flushes failed, {refused} appends were refused");
    assert!(failures > 10, "only {failures} flushes failed");
}
