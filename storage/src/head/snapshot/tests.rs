//! The sections of native histograms and start timestamps are read for ever. Set `HEARTH_BLESS=1` to write the golden file of
//! a new version.

use crate::append::{LabelHash, Rows, SeriesRef};
use crate::head::{FlushedState, Head, HeadOptions};
use crate::histogram::stored::{Bucket, Scale, Stored};
use crate::select::TimeRange;
use model::histogram::HistogramColumns;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FIRST_MS: i64 = 1_699_990_000_000;

fn open(dir: &Path) -> Head {
    Head::open(HeadOptions { shards: 1, ..HeadOptions::new(dir) }).expect("a fresh head").0
}

fn filled(dir: &Path) -> Head {
    let head = open(dir);
    let scale = Arc::new(Scale { schema: 3, zero_threshold: 0.001f64.to_bits(), ..Scale::default() });
    for series in ["a", "b"] {
        let labels = [("__name__", "latency"), ("job", series)];
        head.create(LabelHash::of_pairs(labels, &mut Vec::new()), &labels, |_| ()).expect("room");
    }
    for n in 0..200i64 {
        let (timestamp_ms, start_ms) = (1_700_000_000_000 + n * 15_000, 1_600_000_000_000 + n / 3);
        let sample = Stored {
            timestamp_ms,
            start_ms,
            scale: Arc::clone(&scale),
            after_reset: false,
            totals: [n as f64, 0.0, 0.5].map(f64::to_bits),
            buckets: vec![(Bucket { negative: n % 2 == 0, index: 4 }, (n as f64 + 1.0).to_bits())],
        };
        head.append_batch(&Rows::default(), &[(SeriesRef(0), sample)]);
        let mut rows = Rows::default();
        rows.push_started(SeriesRef(1), timestamp_ms, n as f64, start_ms);
        rows.push_started(SeriesRef(1), timestamp_ms - 100_001, n as f64, n);
        head.append(&rows);
    }
    head
}

/// Everything that a head holds of histograms and starts.
fn content(head: &Head) -> (HistogramColumns, Vec<Vec<i64>>) {
    let selection = head.select(&[], i64::MIN, i64::MAX, 10).expect("no limit");
    let TimeRange { after_ms, until_ms } = TimeRange::ALL;
    let mut columns = HistogramColumns::default();
    selection.read_histograms(0, after_ms, until_ms, &mut columns).expect("readable");
    let starts = |index| {
        let mut starts = Vec::new();
        selection.read_start_timestamps(index, after_ms, until_ms, &mut starts).expect("readable");
        starts
    };
    (columns, vec![starts(0), starts(1)])
}

#[test]
fn histograms_and_starts_and_late_samples_are_written_byte_for_byte_and_read() {
    let (state_path, chunks_path) = (golden("head-shard-state-v3-late.bin"), golden("head-chunk-file-v2-late.bin"));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let head = filled(dir.path());
    add_late(&head);
    let mut state = Vec::new();
    head.write_shard_snapshot(0, &mut state).expect("room");
    let mut chunks = std::fs::read(dir.path().join("000-00000001.chunks")).expect("chunks were cut");
    let used = chunks.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    chunks.truncate(used);
    if std::env::var_os("HEARTH_BLESS").is_some() {
        std::fs::write(&state_path, &state).expect("the directory exists");
        std::fs::write(&chunks_path, &chunks).expect("the directory exists");
    }
    assert!(std::fs::read(&state_path).expect("the golden file is there") == state, "the state differs");
    assert!(std::fs::read(&chunks_path).expect("the golden file is there") == chunks, "the chunk file differs");

    let restored = restored(&state_path, &chunks_path);
    assert_eq!(content(&restored.0), content(&head));
    assert_eq!((content(&head).0.len(), content(&head).1[1].len()), (203, 400 + 30 + 100));
    assert_eq!(restored.0.append_floor_ms(), FIRST_MS);
}

/// Version 2 has no late samples.
#[test]
fn histograms_and_starts_of_version_2_are_read() {
    let (state_path, chunks_path) =
        (golden("head-shard-state-v2-histograms.bin"), golden("head-chunk-file-v2-histograms.bin"));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let restored = restored(&state_path, &chunks_path);
    assert_eq!(content(&restored.0), content(&filled(dir.path())));
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn restored(state: &Path, chunks: &Path) -> (Head, tempfile::TempDir) {
    let fresh = tempfile::tempdir().expect("a temporary directory");
    std::fs::copy(chunks, fresh.path().join("000-00000001.chunks")).expect("the golden file is there");
    let restored = open(fresh.path());
    let state = std::fs::read(state).expect("the golden file is there");
    let notices = restored.read_shard_snapshot(0, &mut state.as_slice(), &FlushedState::default()).expect("own bytes");
    assert!(notices.is_empty(), "{notices:?}");
    (restored, fresh)
}

/// Samples below the floor in two generations, in memory and cut.
fn add_late(head: &Head) {
    for first in [0, 70] {
        assert!(head.begin_flush(FIRST_MS, 7).is_some());
        for n in first..first + 30 + first {
            let mut rows = Rows::default();
            rows.push_started(SeriesRef(1), FIRST_MS - 1 - n * 1_000, n as f64, n / 50 * 9);
            head.append(&rows);
        }
        let scale = Arc::new(Scale { schema: 1, ..Scale::default() });
        for n in 0..=first / 70 {
            let (timestamp_ms, buckets) = (FIRST_MS - 5 - first - n, Vec::new());
            let sample = Stored {
                timestamp_ms,
                start_ms: 0,
                scale: Arc::clone(&scale),
                after_reset: false,
                totals: [0; 3],
                buckets,
            };
            head.append_batch(&Rows::default(), &[(SeriesRef(0), sample)]);
        }
    }
}
