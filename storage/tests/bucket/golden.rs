//! Manifests of every format version are read for ever. `HEARTH_BLESS=1` writes the golden file of a new version.

use std::path::Path;
use storage::block::meta::{BlockFile, BlockMeta};
use storage::head::FlushedState;
use storage::manifest::{FORMAT_VERSION, Manifest, RemovedBlock};
use storage::tombstone::{StoredMatcher, Tombstone};

fn example() -> Manifest {
    let file =
        |name: &str, bytes, footer_bytes| BlockFile { name: name.into(), bytes, footer_bytes, rows: 3, crc32: 7 };
    let block = BlockMeta {
        format_version: 1,
        ulid: "01ARYZ6S410000000000000000".into(),
        tenant: "anonymous".into(),
        level: 1,
        resolution_ms: 0,
        min_ms: 1_790_000_000_000,
        max_ms: 1_790_007_199_999,
        series: 3,
        samples: 1_440,
        histograms: 0,
        exemplars: 1,
        files: vec![
            file("series.parquet", 4_096, 1_024),
            file("timelines.parquet", 900, 400),
            file("samples.parquet", 12_000, 2_000),
        ],
        sources: vec!["01ARYZ6S400000000000000000".into()],
        label_columns: vec!["job".into(), "instance".into()],
        labels_overflow: false,
        thinned_ms: 0,
    };
    Manifest {
        format_version: FORMAT_VERSION,
        version: 42,
        commit_id: "7b1f8f0fb6a54b0e9d4f5bb1a2f5c1de".into(),
        parent_id: "c2b6f7a8d0e14f51a4c1d3e2f1a0b9c8".into(),
        tenant: "anonymous".into(),
        created_ms: 1_790_010_000_000,
        writer_epoch: 3,
        compactor_epoch: 2,
        flushed: Some(FlushedState { boundary_ms: 1_790_007_200_000, lsn: 123_456, generation: 9, directory: [7; 16] }),
        blocks: vec![block],
        removed: vec![RemovedBlock { ulid: "01ARYZ6S400000000000000000".into(), removed_ms: 1_790_010_000_000 }],
        tombstones: vec![Tombstone {
            id: "01ARYZ6S430000000000000000".into(),
            matchers: [("__name__", "up"), ("job", "node")].map(stored).to_vec(),
            min_ms: 1_790_000_000_000,
            max_ms: 1_790_001_000_000,
            created_ms: 1_790_009_000_000,
            up_to_version: Some(41),
        }],
        added: [("01ARYZ6S410000000000000000".into(), 42)].into(),
    }
}

/// As version 1 could say it: the tombstone is about all that is as old.
fn example_of_version_1() -> Manifest {
    let mut example = Manifest { format_version: 1, added: Default::default(), ..example() };
    example.tombstones[0].up_to_version = None;
    example
}

#[test]
fn a_manifest_of_version_1_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/manifest-v1.json.zst");
    let golden = std::fs::read(&path).expect("the golden file is there");
    assert_eq!(Manifest::decode("golden", &golden).unwrap(), example_of_version_1());
}

#[test]
fn a_manifest_of_version_2_is_written_and_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/manifest-v2.json.zst");
    if std::env::var_os("HEARTH_BLESS").is_some() {
        std::fs::write(&path, example().encode()).unwrap();
    }
    let golden = std::fs::read(&path).expect("the golden file is there");
    assert_eq!(Manifest::decode("golden", &golden).unwrap(), example());
    // The frame may differ with the version of zstd, the text may not.
    let text = |bytes: &[u8]| String::from_utf8(zstd::decode_all(bytes).unwrap()).unwrap();
    assert_eq!(text(&example().encode()), text(&golden));
}

fn stored((name, value): (&str, &str)) -> StoredMatcher {
    StoredMatcher { name: name.into(), op: "=".into(), value: value.into() }
}
