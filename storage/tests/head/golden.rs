//! Files of every format version are read for ever. Set `HEARTH_BLESS=1` to write the golden files of a new version.

use crate::damage::snapshot_end;
use crate::samples::{Pair, Step, open};
use crate::snapshots::{read_all, write_all};
use model::sample::STALE_MARKER_BITS;
use std::path::{Path, PathBuf};
use storage::chunk::bits::BitBuffer;
use storage::chunk::decode::{Decoded, Times};
use storage::chunk::timestamp;
use storage::chunk::value::{ValueState, encode, encode_first};

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

/// Every code of the value and timestamp codecs.
fn chunk_values() -> Vec<u64> {
    let floats = [12.5, 12.75, 13.0, 40_000.25, 40_000.25, 1.0 / 3.0, 2.0 / 3.0, -0.0, f64::NAN, f64::INFINITY];
    let mut bits: Vec<u64> = floats.iter().map(|value| value.to_bits()).collect();
    bits.push(STALE_MARKER_BITS);
    bits.extend([4096.0f64, 4096.0 * 70_001.0, 4096.0 * 70_002.0, 7.0, 5e-324, 0.001].map(f64::to_bits));
    bits
}

#[test]
fn a_chunk_of_version_1_is_written_bit_for_bit_and_read() {
    let bits = chunk_values();
    let deltas = [0, 15_000, 15_000, 15_003, 14_000, 15_000, 45_000, 15_000, 1, 2, 3, 600_000, 9, 9, 9, 9, 1_000];
    let (mut buffer, mut state) = (BitBuffer::default(), ValueState::default());
    let (mut before, mut last_delta, mut at, mut times) = (None, 0, 1_790_000_000_000, Vec::new());
    for (&value, &delta) in bits.iter().zip(&deltas) {
        at += i64::from(delta);
        times.push(at);
        match before {
            None => {
                buffer.push(timestamp::encode_first(at));
                buffer.push(encode_first(&mut state, None, value));
            }
            Some(before) => {
                buffer.push(timestamp::encode(last_delta, delta));
                buffer.push(encode(&mut state, before, value));
                last_delta = delta;
            }
        }
        before = Some(value);
    }
    check("chunk-v1.bin", &buffer.finish());
    let mut decoded = Decoded::default();
    decoded.decode(&std::fs::read(golden("chunk-v1.bin")).unwrap(), bits.len(), Times::Own).unwrap();
    assert_eq!(decoded.timestamps_ms(), times);
    assert_eq!(decoded.values().iter().map(|value| value.to_bits()).collect::<Vec<_>>(), bits);
}

#[test]
fn chunk_file_and_snapshot_are_written_byte_for_byte_and_read_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let mut pair = Pair::new(open(dir.path(), 1));
    history(&mut pair);
    let snapshots = write_all(&pair.head, || ());
    let fork = pair.fork();
    drop(pair);
    let written = std::fs::read(dir.path().join("000-00000001.chunks")).unwrap();
    let used = snapshot_end(&snapshots[0]) as usize;
    check("head-chunk-file-v2.bin", &written[..used]);
    check("head-shard-state-v3.bin", &snapshots[0]);

    // All versions hold the same history.
    for version in [1, 2, 3] {
        let fresh = tempfile::tempdir().unwrap();
        let chunks = golden(&format!("head-chunk-file-v{}.bin", version.min(2)));
        std::fs::copy(chunks, fresh.path().join("000-00000001.chunks")).unwrap();
        let restored = fork.onto(open(fresh.path(), 1));
        let state = golden(&format!("head-shard-state-v{version}.bin"));
        read_all(&restored.head, &[std::fs::read(state).unwrap()]);
        restored.compare_ranges(7);
    }
}
