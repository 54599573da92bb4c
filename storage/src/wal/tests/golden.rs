//! Segments of every format version are read for ever. Set `HEARTH_BLESS=1` to write the golden file of a new version.

use super::{SEGMENT_BYTES, Told, open, read, scrape, segment_path};
use crate::append::{Rows, SeriesRef};
use crate::disk::Disk;
use crate::disk::simulated::SimulatedDisk;
use crate::wal::payload::Checkpoint;
use crate::wal::queue::Work;
use crate::wal::record::{self, RecordHead};
use crate::wal::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use model::metadata::{Metadata, MetricType};
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wal-segment-v1.bin")
}

/// A log with every type of record and every code of a value. Returns its segment and what it told.
fn written() -> (Vec<u8>, Told) {
    let disk = SimulatedDisk::new();
    let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
    for n in 0..40u32 {
        let n_text = n.to_string();
        log.queue
            .push_series(SeriesRef(n), &[("__name__", "http_requests_total"), ("instance", &n_text), ("job", "api")]);
    }
    let metadata =
        Metadata { metric_type: MetricType::Counter, help: "Requests, all told.".into(), unit: String::new() };
    let entries = vec![("http_requests_total".to_owned(), metadata)];
    log.queue.push(Work::Metadata { entries, done: Box::new(|_| {}) }).expect("room");
    for round in 0..6 {
        log.append(scrape(round, 40));
    }
    let mut rows = Rows::default();
    for value in [0.5, -0.0, f64::NAN, model::sample::stale_marker(), f64::INFINITY, 1e300, 12.345, 12.346, 1e9, -1e9] {
        rows.push(SeriesRef(7), 1_700_000_000_000 + rows.len() as i64, value);
    }
    log.append(rows);
    log.queue.push(Work::Checkpoint(Checkpoint { snapshot: 1, lsn: 4 })).expect("room");
    log.write();
    let mut bytes = disk.bytes(&segment_path(1)).expect("the first segment");
    let header = SegmentHeader { sequence: 1, epoch: [7; 16], created_ms: 1_700_000_000_000 };
    bytes[..SEGMENT_HEADER_BYTES].copy_from_slice(&header.to_bytes());
    (bytes, read(&disk, 0).0)
}

/// Header and unpacked payload of each record; compressed bytes may differ from one version of the compressor to the next.
fn records(mut bytes: &[u8]) -> Vec<(RecordHead, Vec<u8>)> {
    let mut records = Vec::new();
    bytes = &bytes[SEGMENT_HEADER_BYTES..];
    while let Ok(record) = record::parse(1, bytes) {
        records.push((record.head, record.payload(&mut Vec::new()).expect("own record").to_vec()));
        bytes = &bytes[record.stored_bytes()..];
    }
    records
}

#[test]
fn a_segment_of_version_1_is_written_and_read_as_ever() {
    let (written, told) = written();
    if std::env::var_os("HEARTH_BLESS").is_some() {
        let used = written.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        std::fs::write(golden(), &written[..used]).expect("the directory exists");
    }
    let mut stored = std::fs::read(golden()).expect("the golden file is there");
    stored.resize(SEGMENT_BYTES as usize, 0);
    assert_eq!(stored[..SEGMENT_HEADER_BYTES], written[..SEGMENT_HEADER_BYTES]);
    assert_eq!(records(&stored), records(&written));

    let disk = SimulatedDisk::new();
    disk.create(&segment_path(1)).expect("no fault is set").write_all_at(&stored, 0).expect("no fault is set");
    let (read, report) = read(&disk, 0);
    assert_eq!(read, told);
    assert_eq!((report.records, report.samples, report.damage_count), (10, 250, 0));
}
