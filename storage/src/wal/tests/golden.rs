//! Segments of every format version are read for ever. Set `HEARTH_BLESS=1` to write the golden file of a new version.

use super::{SEGMENT_BYTES, Told, open, read, scrape, segment_path};
use crate::append::{Batch, ExemplarRow, HistogramRow, LabelHash, Rows, SeriesRef};
use crate::disk::Disk;
use crate::disk::simulated::SimulatedDisk;
use crate::wal::payload::Checkpoint;
use crate::wal::queue::Work;
use crate::wal::record::{self, RecordHead};
use crate::wal::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use model::exemplar::Exemplar;
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Histogram, Span};
use model::labels::Labels;
use model::metadata::{Metadata, MetricType};
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
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
    (segment(&disk), read(&disk, 0).0)
}

/// A log with histograms of all kinds, exemplars and start timestamps.
fn written_with_histograms() -> (Vec<u8>, Told) {
    let disk = SimulatedDisk::new();
    let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
    log.queue.push_series(SeriesRef(1), &[("__name__", "latency_seconds")]);
    let span = |offset, length| Span { offset, length };
    let native = |t: i64| Histogram {
        schema: 3,
        zero_threshold: 0.001,
        zero_count: 2.0,
        count: 12.0 + t as f64,
        sum: 18.4,
        positive_spans: vec![span(-2, 2), span(3, 1)],
        positive_buckets: vec![4.0, t as f64, 4.5],
        negative_spans: vec![span(1, 1)],
        negative_buckets: vec![2.0],
        ..Histogram::default()
    };
    let gauge = Histogram { counter_reset_hint: CounterResetHint::Gauge, ..native(3) };
    let reset = Histogram { counter_reset_hint: CounterResetHint::Reset, ..native(1) };
    let custom = Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        custom_values: vec![0.1, 0.5].into(),
        positive_spans: vec![span(0, 3)],
        positive_buckets: vec![1.0, 0.0, 1.0],
        count: 2.0,
        ..Histogram::default()
    };
    let stale = Histogram { sum: model::sample::stale_marker(), ..Histogram::default() };
    let histograms = [native(1), native(2), gauge, reset, custom, stale];
    let row = |(n, histogram): (i64, Histogram)| HistogramRow {
        series: SeriesRef(1),
        timestamp_ms: 1_700_000_000_000 + n * 15_000,
        start_ms: if n % 2 == 0 { 1_600_000_000_000 } else { 0 },
        histogram,
    };
    let exemplar = |n: i64| ExemplarRow {
        series: SeriesRef(1),
        exemplar: Exemplar {
            labels: Labels::from_pairs([("trace_id", "abc"), ("span_id", "é")]).expect("distinct names"),
            value: 0.25 * n as f64,
            timestamp_ms: 1_700_000_000_000 - n,
        },
    };
    let mut rows = Rows::default();
    (0..5).for_each(|n| rows.push_started(SeriesRef(1), 1_600_000_000_000 + n, n as f64, if n > 2 { n } else { 0 }));
    let histograms = (0..).zip(histograms).map(row).collect();
    log.append(Batch { rows, histograms, exemplars: (0..3).map(exemplar).collect(), ..Batch::default() });
    (segment(&disk), read(&disk, 0).0)
}

/// Of three series two leave, and another gets the reference of one.
fn written_with_gone() -> (Vec<u8>, Told) {
    let disk = SimulatedDisk::new();
    let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
    (0..3).for_each(|n| log.queue.push_series(SeriesRef(n), &[("n", &n.to_string())]));
    log.append(scrape(1, 3));
    log.queue.push_gone(&[(SeriesRef(1), LabelHash(7 << 100 | 9))]);
    log.queue.push_gone(&[(SeriesRef(2), LabelHash(u128::MAX))]);
    log.queue.push_series(SeriesRef(1), &[("n", "another")]);
    log.append(scrape(2, 2));
    (segment(&disk), read(&disk, 0).0)
}

/// The first segment, with a header that is always the same.
fn segment(disk: &SimulatedDisk) -> Vec<u8> {
    let mut bytes = disk.bytes(&segment_path(1)).expect("the first segment");
    let header = SegmentHeader { sequence: 1, epoch: [7; 16], created_ms: 1_700_000_000_000 };
    bytes[..SEGMENT_HEADER_BYTES].copy_from_slice(&header.to_bytes());
    bytes
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

fn check(name: &str, (written, told): (Vec<u8>, Told), records_and_samples: (u64, u64)) {
    if std::env::var_os("HEARTH_BLESS").is_some() {
        let used = written.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        std::fs::write(golden(name), &written[..used]).expect("the directory exists");
    }
    let mut stored = std::fs::read(golden(name)).expect("the golden file is there");
    stored.resize(SEGMENT_BYTES as usize, 0);
    assert_eq!(stored[..SEGMENT_HEADER_BYTES], written[..SEGMENT_HEADER_BYTES]);
    assert_eq!(records(&stored), records(&written));

    let disk = SimulatedDisk::new();
    disk.create(&segment_path(1)).expect("no fault is set").write_all_at(&stored, 0).expect("no fault is set");
    let (read, report) = read(&disk, 0);
    assert_eq!(read, told);
    assert_eq!(((report.records, report.samples), report.damage_count), (records_and_samples, 0));
}

#[test]
fn a_segment_of_version_1_is_written_and_read_as_ever() {
    check("wal-segment-v1.bin", written(), (10, 250));
}

#[test]
fn a_segment_with_series_that_are_gone_is_written_and_read_as_ever() {
    check("wal-segment-v1-gone.bin", written_with_gone(), (5, 5));
}

#[test]
fn a_segment_with_histograms_is_written_and_read_as_ever() {
    check("wal-segment-v1-histograms.bin", written_with_histograms(), (4, 11));
}
