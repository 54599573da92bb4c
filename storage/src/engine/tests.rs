//! The engine as a whole, on a simulated disk; the head's own files are real and below a temporary directory.

use super::*;
use crate::append::Rows;
use crate::disk::simulated::{Fault, SimulatedDisk};
use crate::error::ErrorKind;
use crate::snapshot::name::SnapshotName;
use model::sample::SampleColumns;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

mod crash;
mod damage;
mod flush;
mod histograms;

/// Labels, then bits of values by timestamp.
pub(super) type Content = BTreeMap<String, BTreeMap<i64, u64>>;

pub(super) struct Place {
    pub(super) dir: tempfile::TempDir,
    pub(super) disk: SimulatedDisk,
    pub(super) options: Options,
}

impl Place {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = Options {
            segment_bytes: 64 << 10,
            snapshot_wal_bytes: 1 << 30,
            snapshot_interval: Duration::from_secs(3600),
            shards: Some(2),
            ..Options::new(dir.path())
        };
        Self { dir, disk: SimulatedDisk::new(), options }
    }

    pub(super) fn open(&self) -> Engine {
        self.try_open().expect("the directory opens")
    }

    pub(super) fn try_open(&self) -> Result<Engine, Error> {
        self.open_flushed(&FlushedState::default())
    }

    pub(super) fn open_flushed(&self, flushed: &FlushedState) -> Result<Engine, Error> {
        Engine::open_on(Arc::new(self.disk.clone()), &self.options, &ReplayProgress::default(), flushed)
    }

    /// The next process finds what a power cut left.
    pub(super) fn restart(&mut self, seed: u64) {
        self.disk = self.disk.restart(seed);
    }

    pub(super) fn snapshot_path(&self, number: u64) -> PathBuf {
        self.dir.path().join("head").join(SnapshotName::Whole(number).to_string())
    }
}

/// The series `m{n="…"}`, made if need be.
pub(super) fn series(engine: &Engine, n: u32) -> Result<SeriesRef, Error> {
    let n = n.to_string();
    let labels = [("__name__", "m"), ("n", n.as_str())];
    let hash = LabelHash::of_pairs(labels, &mut Vec::new());
    let mut found = [None];
    engine.lookup(&[hash], &mut found);
    match found {
        [Some(series)] => Ok(series),
        [None] => engine.create(hash, &labels),
    }
}

/// What series `n` has at a timestamp: different kinds of values, the same in every life.
pub(super) fn value(n: u32, timestamp_ms: i64) -> f64 {
    match n % 3 {
        0 => f64::from(n),
        1 => (timestamp_ms / 1000 * i64::from(n)) as f64,
        _ => f64::from_bits((timestamp_ms as u64 ^ u64::from(n)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2),
    }
}

/// One sample for each of the series `range`.
pub(super) fn scrape(engine: &Engine, range: std::ops::Range<u32>, timestamp_ms: i64) -> Result<Rows, Error> {
    let mut rows = Rows::default();
    for n in range {
        rows.push(series(engine, n)?, timestamp_ms, value(n, timestamp_ms));
    }
    Ok(rows)
}

pub(super) fn append(engine: &Engine, range: std::ops::Range<u32>, timestamp_ms: i64) -> Result<AppendOutcome, Error> {
    engine.append_wait(scrape(engine, range, timestamp_ms)?)
}

/// Everything that is stored. Fails when a sample comes twice.
pub(super) fn content(engine: &Engine) -> Content {
    let selection = engine.select(&[], i64::MIN, i64::MAX, usize::MAX).expect("no limit");
    let mut content = Content::new();
    for index in 0..selection.len() {
        let mut columns = SampleColumns::default();
        selection.read(index, i64::MIN, i64::MAX, &mut columns).expect("readable");
        assert!(columns.timestamps_ms.is_sorted_by(|a, b| a < b), "a sample came twice: {:?}", columns.timestamps_ms);
        let samples = columns.timestamps_ms.iter().copied().zip(columns.values.iter().map(|v| v.to_bits())).collect();
        let twice = content.insert(selection.labels(index).to_string(), samples);
        assert!(twice.is_none(), "a series came twice");
    }
    content
}

pub(super) fn expected(range: std::ops::Range<u32>, timestamps_ms: &[i64]) -> Content {
    let labels = |n| format!("{{__name__=\"m\", n=\"{n}\"}}");
    range.map(|n| (labels(n), timestamps_ms.iter().map(|t| (*t, value(n, *t).to_bits())).collect())).collect()
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart_without_close() {
    let mut place = Place::new();
    let engine = place.open();
    let timestamps: Vec<i64> = (1..30).map(|round| round * 15_000).collect();
    for t in &timestamps {
        assert_eq!(append(&engine, 0..300, *t).expect("healthy").written, 300);
    }
    drop(engine);
    place.restart(1);
    let engine = place.open();
    assert_eq!(content(&engine), expected(0..300, &timestamps));
    let report = engine.restore_report();
    assert_eq!((report.damage_count(), report.replay.samples, report.snapshot), (0, 29 * 300, None));
}

/// A clean shutdown leaves a snapshot, so that the next start replays nothing.
#[test]
fn a_closed_engine_starts_from_its_snapshot() {
    let mut place = Place::new();
    let engine = place.open();
    append(&engine, 0..100, 15_000).expect("healthy");
    engine.flush_and_close().expect("healthy");
    assert!(matches!(append(&engine, 0..1, 30_000), Err(Error::Closed)));
    drop(engine);
    place.restart(2);
    let engine = place.open();
    assert_eq!(content(&engine), expected(0..100, &[15_000]));
    assert_eq!((engine.restore_report().snapshot, engine.restore_report().replay.samples), (Some(1), 0));
    append(&engine, 0..100, 30_000).expect("healthy");
    assert_eq!(content(&engine), expected(0..100, &[15_000, 30_000]));
}

/// Snapshots are taken while samples come; each shard has its own position, and replay takes up from there.
#[test]
fn snapshots_while_samples_come_lose_and_repeat_nothing() {
    let mut place = Place::new();
    let timestamps: Vec<i64> = (1..200).map(|round| round * 1000).collect();
    let engine = place.open();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for t in &timestamps {
                append(&engine, 0..50, *t).expect("healthy");
            }
        });
        scope.spawn(|| (0..10).for_each(|_| drop(engine.snapshot_now().expect("no fault is set"))));
    });
    assert_eq!(engine.stats().snapshots.taken, 10);
    drop(engine);
    place.restart(3);
    let engine = place.open();
    assert_eq!(content(&engine), expected(0..50, &timestamps));
    assert_eq!(engine.restore_report().damage_count(), 0);
}

/// Two snapshots are kept, and the log since the older one.
#[test]
fn snapshots_release_the_log_before_the_one_before() {
    let place = Place::new();
    let engine = place.open();
    for round in 1..300 {
        append(&engine, 0..500, round * 1000).expect("healthy");
        if round % 50 == 0 {
            engine.snapshot_now().expect("no fault is set");
        }
    }
    let wal = engine.stats().wal;
    assert!(wal.segments_recycled > 0 && wal.segments < 6, "{wal:?}");
    let names = crate::disk::Disk::list(&place.disk, &place.dir.path().join("head")).expect("no fault is set");
    assert_eq!(names.iter().filter(|name| SnapshotName::parse(name).is_some()).count(), 2, "{names:?}");
}

/// What is lost for good is reported, and does not stop the start.
#[test]
fn the_loss_of_all_snapshots_is_reported() {
    let mut place = Place::new();
    let engine = place.open();
    for round in 1..300 {
        append(&engine, 0..500, round * 1000).expect("healthy");
        if round % 50 == 0 {
            engine.snapshot_now().expect("no fault is set");
        }
    }
    assert!(engine.stats().wal.segments_recycled > 0, "the start of the log is gone");
    drop(engine);
    for number in [4, 5] {
        crate::disk::Disk::remove(&place.disk, &place.snapshot_path(number)).expect("exists");
    }
    crate::disk::Disk::sync_dir(&place.disk, place.dir.path()).expect("no fault is set");
    place.restart(9);
    let engine = place.open();
    let report = engine.restore_report();
    assert!(report.replay.records_lost > 0, "{report:?}");
    assert!(report.orphans > 0, "samples of series whose record is lost are counted: {report:?}");
    append(&engine, 0..10, 900_000).expect("healthy");
}

/// A sample that waits for the disk lets others join its sync.
#[test]
fn appends_at_the_same_time_share_syncs() {
    const WRITERS: u32 = 16;
    let place = Place::new();
    let engine = place.open();
    append(&engine, 0..WRITERS, 1).expect("healthy");
    let before = engine.stats().wal.syncs;
    place.disk.set_fault(Some(Fault::Stall));
    std::thread::scope(|scope| {
        for n in 0..WRITERS {
            let engine = &engine;
            scope.spawn(move || append(engine, n..n + 1, 1000).expect("healthy"));
        }
        while engine.stats().wal.queue_bytes < u64::from(WRITERS) * 148 {
            std::thread::yield_now();
        }
        place.disk.set_fault(None);
    });
    let syncs = engine.stats().wal.syncs - before;
    assert!(syncs <= 2, "{syncs} syncs for {WRITERS} appends");
    assert_eq!(content(&engine), expected(0..WRITERS, &[1, 1000]));
}

#[test]
fn a_full_queue_refuses_at_once_and_is_over_when_the_disk_is() {
    let mut place = Place::new();
    place.options.queue_bytes_max = 64 << 10;
    let engine = place.open();
    append(&engine, 0..100, 0).expect("healthy");
    place.disk.set_fault(Some(Fault::Stall));
    let (sender, receiver) = mpsc::channel();
    let mut accepted = 0;
    let error = loop {
        let sender = sender.clone();
        let rows = match scrape(&engine, 0..100, 1000 + accepted) {
            Ok(rows) => rows,
            Err(error) => break error,
        };
        engine.append(rows, move |outcome| sender.send(outcome).expect("the receiver lives"));
        match receiver.try_recv() {
            Ok(outcome) => break outcome.expect_err("the disk stalls"),
            Err(_) => accepted += 1,
        }
        assert!(accepted < 100, "64 KiB hold 30 appends of 2,128 bytes");
    };
    assert!(matches!(error, Error::QueueFull { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(engine.stats().wal.queue_full > 0);
    place.disk.set_fault(None);
    (0..accepted).for_each(|_| drop(receiver.recv().expect("acknowledged").expect("stored")));
    let timestamps: Vec<i64> = [0].into_iter().chain((0..accepted).map(|n| 1000 + n)).collect();
    assert_eq!(content(&engine), expected(0..100, &timestamps));
    append(&engine, 0..100, 9000).expect("room again");
}

/// Nothing is acknowledged after a failed sync, what was stored can be read, and a restart brings back all of it.
#[test]
fn after_a_failed_sync_the_engine_stays_readable() {
    let mut place = Place::new();
    let engine = place.open();
    append(&engine, 0..10, 1000).expect("healthy");
    assert_eq!(engine.health(), Health::Healthy);
    place.disk.set_fault(Some(Fault::Sync));
    let error = append(&engine, 0..10, 2000).expect_err("the sync failed");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    place.disk.set_fault(None);
    let error = append(&engine, 0..10, 3000).expect_err("nothing is known about the disk");
    assert!(error.to_string().contains("nothing is accepted until a restart"), "{error}");
    assert!(matches!(engine.health(), Health::Failed { .. }));
    assert!(series(&engine, 77).is_err(), "no series is made that could never be logged");
    assert_eq!(content(&engine), expected(0..10, &[1000]));
    assert!(matches!(engine.flush_and_close(), Err(Error::LogFailed { .. })));
    drop(engine);
    place.restart(4);
    let engine = place.open();
    append(&engine, 0..10, 4000).expect("healthy again");
    let stored = content(&engine);
    for (labels, samples) in expected(0..10, &[1000, 4000]) {
        assert!(samples.iter().all(|sample| stored[&labels].get_key_value(sample.0) == Some(sample)));
    }
}

/// A full disk: clear refusals, reads go on, and when there is space again everything works without a restart.
#[test]
fn a_full_disk_refuses_until_there_is_space() {
    let place = Place::new();
    let engine = place.open();
    append(&engine, 0..500, 1000).expect("healthy");
    place.disk.set_fault(Some(Fault::NoSpace));
    let mut stored = vec![1000];
    let error = loop {
        let t = stored[stored.len() - 1] + 1000;
        match append(&engine, 0..500, t) {
            Ok(_) => stored.push(t),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::NoLogSpace { .. }), "{error}");
    assert!(matches!(engine.health(), Health::NoLogSpace { .. }), "{:?}", engine.health());
    assert!(engine.snapshot_now().is_err(), "there is no space for a snapshot either");
    assert_eq!(content(&engine), expected(0..500, &stored));
    place.disk.set_fault(None);
    let deadline = Instant::now() + Duration::from_secs(10);
    while append(&engine, 0..500, 900_000).is_err() {
        assert!(Instant::now() < deadline, "it is tried without end");
        std::thread::sleep(Duration::from_millis(20));
    }
    stored.push(900_000);
    assert_eq!(engine.health(), Health::Healthy);
    drop(engine);
    assert_eq!(content(&place.open()), expected(0..500, &stored));
}

/// What the head refused when it came it refuses again at replay.
#[test]
fn refusals_come_out_the_same_after_a_restart() {
    let mut place = Place::new();
    let engine = place.open();
    append(&engine, 0..10, 1000).expect("healthy");
    let mut rows = scrape(&engine, 0..10, 1000).expect("healthy");
    rows.values[3] = 99.5;
    let outcome = engine.append_wait(rows).expect("healthy");
    assert_eq!((outcome.written, outcome.rejected.len(), outcome.rejected[0].0), (9, 1, 3));
    drop(engine);
    place.restart(5);
    let engine = place.open();
    assert_eq!(engine.restore_report().rejected, 1);
    assert_eq!(content(&engine), expected(0..10, &[1000]));
}

#[test]
fn metadata_survives_by_log_and_by_snapshot_and_repeats_cost_nothing() {
    let mut place = Place::new();
    let engine = place.open();
    let metadata = |help: &str| Metadata { help: help.to_owned(), ..Metadata::default() };
    let tell = |engine: &Engine, entries: &[(&str, &str)]| {
        let (sender, receiver) = mpsc::channel();
        let entries = entries.iter().map(|(metric, help)| (metric.to_string(), metadata(help))).collect();
        engine.append_metadata(entries, move |result| sender.send(result).expect("the receiver lives"));
        receiver.recv().expect("called")
    };
    tell(&engine, &[("up", "a"), ("down", "b")]).expect("room");
    let bytes = engine.stats().wal.bytes;
    tell(&engine, &[("up", "a"), ("down", "b")]).expect("room");
    assert_eq!(engine.stats().wal.bytes, bytes, "known already");
    drop(engine);
    place.restart(6);
    let engine = place.open();
    let all = vec![("down".to_owned(), vec![metadata("b")]), ("up".to_owned(), vec![metadata("a")])];
    assert_eq!(engine.metadata(None, 10, 10), all);
    engine.snapshot_now().expect("no fault is set");
    drop(engine);
    place.restart(7);
    let engine = place.open();
    assert_eq!(engine.metadata(None, 10, 10), all);
    let too_large = "x".repeat(engine.inner.limits.entry_bytes_max);
    assert_eq!(tell(&engine, &[("up", "new"), ("huge", &too_large)]).expect("healthy"), 1, "too large");
    assert_eq!(engine.metadata(Some("up"), 10, 10)[0].1.len(), 2);
}

#[test]
fn labels_larger_than_a_record_are_refused() {
    let place = Place::new();
    let engine = place.open();
    let value = "v".repeat(engine.inner.limits.entry_bytes_max);
    let labels = [("__name__", value.as_str())];
    let error = engine.create(LabelHash::of_pairs(labels, &mut Vec::new()), &labels).expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn a_second_process_is_told_who_holds_the_directory() {
    let place = Place::new();
    let engine = place.open();
    let error = place.try_open().map(|_| ()).expect_err("held");
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    drop(engine);
    place.try_open().expect("released");
}

#[test]
fn options_that_cannot_work_are_refused() {
    let mut place = Place::new();
    place.options.segment_bytes = 1000;
    let error = place.try_open().map(|_| ()).expect_err("too small");
    assert!(error.to_string().contains("segment_bytes"), "{error}");
}

#[test]
fn progress_names_the_segments() {
    let mut place = Place::new();
    let engine = place.open();
    (1..40).for_each(|round| drop(append(&engine, 0..500, round * 1000).expect("healthy")));
    drop(engine);
    place.restart(8);
    let progress = ReplayProgress::default();
    let disk = Arc::new(place.disk.clone());
    let engine = Engine::open_on(disk, &place.options, &progress, &FlushedState::default()).expect("readable");
    let (first, last, current) = progress.get();
    assert!(first == 1 && last > 1 && current == last, "{first} {last} {current}");
    drop(engine);
}

/// A process that ends before a snapshot is due, again and again, must not fill the disk with segments.
#[test]
fn restarts_in_a_row_do_not_pile_up_segments() {
    let mut place = Place::new();
    place.options.snapshot_wal_bytes = 4 * place.options.segment_bytes;
    let mut most = 0;
    for life in 1..40 {
        let engine = place.open();
        append(&engine, 0..10, life * 1000).expect("healthy");
        most = most.max(engine.stats().wal.segments);
    }
    assert!(most <= 14, "{most} segments");
    let timestamps: Vec<i64> = (1..40).map(|life| life * 1000).collect();
    assert_eq!(content(&place.open()), expected(0..10, &timestamps));
}
