//! Files of every format version are read for ever. Set `HEARTH_BLESS=1` to write the golden files of a new version.

use crate::damage::snapshot_end;
use crate::samples::{Pair, Step, open};
use crate::snapshots::{read_all, write_all};
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn check(name: &str, bytes: &[u8]) {
    let path = golden(name);
    if std::env::var_os("HEARTH_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    let expected = std::fs::read(&path).expect("the golden file is there");
    let difference = bytes.iter().zip(&expected).position(|(a, b)| a != b);
    assert_eq!((bytes.len(), difference), (expected.len(), None), "{name} differs");
}

/// A history with shared and own timelines, gaps, stale markers and out-of-order samples.
fn history(pair: &mut Pair) {
    for i in 0..300u32 {
        let missing = if i % 17 == 0 { 3 } else { 0 };
        pair.apply(&Step::Scrape { target: 0, ticks: 1, jitter: (i % 5) as i8 - 2, missing });
        if i % 9 == 0 {
            pair.apply(&Step::Push { series: 13, ahead_ms: 11_000 + i * 40, value: i as u16 });
        }
        if i % 4 == 0 {
            pair.apply(&Step::Late { series: 2, behind_ms: 7_001 + i * 1_000, value: i as u16 });
        }
    }
}

#[test]
fn chunk_file_and_snapshot_of_version_1_are_written_byte_for_byte_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut pair = Pair::new(open(dir.path(), 1));
    history(&mut pair);
    let snapshots = write_all(&pair.head, || ());
    let fork = pair.fork();
    drop(pair);
    let written = std::fs::read(dir.path().join("000-00000001.chunks")).unwrap();
    let used = snapshot_end(&snapshots[0]) as usize;
    check("head-chunk-file-v1.bin", &written[..used]);
    check("head-shard-state-v1.bin", &snapshots[0]);

    let fresh = tempfile::tempdir().unwrap();
    std::fs::copy(golden("head-chunk-file-v1.bin"), fresh.path().join("000-00000001.chunks")).unwrap();
    let restored = fork.onto(open(fresh.path(), 1));
    read_all(&restored.head, &[std::fs::read(golden("head-shard-state-v1.bin")).unwrap()]);
    restored.compare_ranges(7);
}
