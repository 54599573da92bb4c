//! A disk that is really full: a small tmpfs. Needs the right to mount; without it there is nothing to test here, and
//! the simulated disk has the same cases.

use model::sample::SampleColumns;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use storage::append::{LabelHash, Rows};
use storage::engine::{Engine, Health, Options};
use storage::error::Error;

/// A mounted tmpfs of a few megabytes, unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=6m", "hearth-test"]).arg(dir.path());
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
    let Some(disk) = SmallDisk::mount() else {
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
