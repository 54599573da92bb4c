//! The log as a whole, on a simulated disk: what was delivered survives, whatever happens.

use super::histograms::SeriesHistogram;
use super::payload::{self, Checkpoint};
use super::pool::{LogDir, PoolOptions, SegmentPool};
use super::queue::{LogQueue, Work};
use super::replay::{ReplayProgress, ReplayReport, ReplaySink, replay};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentName};
use super::stats::WalCounters;
use super::writer::{LogWriter, RecordLimits};
use crate::append::{AppendOutcome, Batch, ExemplarRow, LabelHash, Rows, SeriesRef};
use crate::disk::simulated::{Fault, SimulatedDisk};
use crate::error::{Error, ErrorKind};
use model::metadata::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

mod crash;
mod damage;
mod golden;
mod histograms;

pub(super) const SEGMENT_BYTES: u64 = 64 << 10;
const DIR: &str = "/wal";

/// What a log told, in order.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Told {
    pub(super) series: Vec<(u32, Vec<(String, String)>)>,
    /// Series, timestamp, bits of the value.
    pub(super) samples: Vec<(u32, i64, u64)>,
    pub(super) histograms: Vec<SeriesHistogram>,
    pub(super) exemplars: Vec<ExemplarRow>,
    /// The column of start timestamps of each record.
    pub(super) starts: Vec<Vec<i64>>,
    pub(super) metadata: Vec<String>,
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) gone: Vec<(SeriesRef, LabelHash)>,
    pub(super) last_lsn: u64,
}

impl ReplaySink for Told {
    fn series_bound(&self) -> u32 {
        u32::MAX
    }

    fn series(&mut self, lsn: u64, series: SeriesRef, pairs: &[(&str, &str)]) {
        self.in_order(lsn);
        self.series.push((series.0, pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()));
    }

    fn samples(&mut self, lsn: u64, rows: &mut Rows) {
        assert!(lsn > self.last_lsn, "record {lsn} after {}", self.last_lsn);
        self.in_order(lsn);
        self.samples.extend(listed(rows));
        self.starts.push(rows.starts_ms.clone());
    }

    fn histograms(&mut self, lsn: u64, rows: Vec<SeriesHistogram>) {
        self.in_order(lsn);
        self.histograms.extend(rows);
    }

    fn exemplar(&mut self, lsn: u64, row: ExemplarRow) {
        self.in_order(lsn);
        self.exemplars.push(row);
    }

    fn metadata(&mut self, lsn: u64, metric: &str, _metadata: Metadata) {
        self.in_order(lsn);
        self.metadata.push(metric.to_owned());
    }

    fn gone(&mut self, lsn: u64, gone: Vec<(SeriesRef, LabelHash)>) {
        self.in_order(lsn);
        self.gone.extend(gone);
    }

    fn checkpoint(&mut self, lsn: u64, checkpoint: Checkpoint) {
        self.in_order(lsn);
        self.checkpoints.push(checkpoint);
    }
}

impl Told {
    fn in_order(&mut self, lsn: u64) {
        assert!(lsn >= self.last_lsn, "record {lsn} after {}", self.last_lsn);
        self.last_lsn = lsn;
    }
}

pub(super) fn listed(rows: &Rows) -> impl Iterator<Item = (u32, i64, u64)> {
    let columns = rows.series.iter().zip(&rows.timestamps_ms).zip(&rows.values);
    columns.map(|((series, timestamp), value)| (series.0, *timestamp, value.to_bits()))
}

/// A log without threads.
pub(super) struct TestLog {
    pub(super) disk: SimulatedDisk,
    pub(super) pool: Arc<SegmentPool>,
    pub(super) queue: Arc<LogQueue>,
    pub(super) writer: LogWriter,
    pub(super) counters: Arc<WalCounters>,
    /// Delivered as durable.
    pub(super) durable: Told,
    pub(super) refused: Arc<Mutex<Vec<Error>>>,
    /// Position of each batch, and how many samples were delivered with it and before.
    positions: Vec<(u64, usize)>,
}

pub(super) fn log_dir(disk: &SimulatedDisk) -> LogDir {
    LogDir { disk: Arc::new(disk.clone()), path: PathBuf::from(DIR), epoch: [7; 16] }
}

pub(super) fn segment_path(sequence: u64) -> PathBuf {
    Path::new(DIR).join(SegmentName::Live(sequence).to_string())
}

pub(super) fn read(disk: &SimulatedDisk, covered_lsn: u64) -> (Told, ReplayReport) {
    let mut told = Told::default();
    let (report, _) = replay(&log_dir(disk), covered_lsn, &mut told, &ReplayProgress::default()).expect("readable");
    (told, report)
}

/// Replays what the disk holds above `covered_lsn` and goes on after it.
pub(super) fn open(disk: &SimulatedDisk, covered_lsn: u64) -> Result<(TestLog, Told, ReplayReport), Error> {
    let mut told = Told::default();
    let dir = log_dir(disk);
    let (report, inventory) = replay(&dir, covered_lsn, &mut told, &ReplayProgress::default())?;
    let counters = Arc::new(WalCounters::default());
    let limits = RecordLimits::new(SEGMENT_BYTES);
    let options = PoolOptions { segment_bytes: SEGMENT_BYTES, spares_max: 3 };
    let pool = Arc::new(SegmentPool::without_thread(dir, options, inventory, Arc::clone(&counters)));
    let queue = Arc::new(LogQueue::new(1 << 20, limits));
    let writer = LogWriter::new(Arc::clone(&pool), Arc::clone(&queue), Arc::clone(&counters), limits, report.last_lsn);
    let log = TestLog {
        disk: disk.clone(),
        pool,
        queue,
        writer,
        counters,
        durable: Told::default(),
        refused: Arc::default(),
        positions: Vec::new(),
    };
    Ok((log, told, report))
}

impl TestLog {
    /// Writes everything that waits as one batch.
    pub(super) fn write(&mut self) {
        let work = self.queue.take().expect("work was pushed");
        let (durable, queue, positions) = (&mut self.durable, &self.queue, &mut self.positions);
        self.writer.write(work, &mut |batch| {
            durable.last_lsn = batch.last_lsn;
            for work in batch.work {
                queue.release(work.bytes());
                match work {
                    Work::Append { content, done } => {
                        durable.samples.extend(listed(&content.rows));
                        durable.starts.push(content.rows.starts_ms);
                        durable.histograms.extend(content.histograms);
                        durable.exemplars.extend(content.exemplars);
                        done(Ok(AppendOutcome::default()));
                    }
                    Work::Metadata { entries, done } => {
                        durable.metadata.extend(entries.into_iter().map(|(metric, _)| metric));
                        done(Ok(()));
                    }
                    Work::Checkpoint(checkpoint) => durable.checkpoints.push(checkpoint),
                    Work::Gone(payload) => durable.gone.extend(payload::read_gone(&payload).expect("own bytes")),
                    Work::Series(_) => {}
                }
            }
            positions.push((batch.last_lsn, durable.samples.len()));
        });
    }

    pub(super) fn push(&self, batch: impl Into<Batch>) {
        let refused = Arc::clone(&self.refused);
        let done = Box::new(move |result: Result<_, _>| {
            if let Err(error) = result {
                refused.lock().expect("no panic").push(error);
            }
        });
        // A refusal is told to `done`.
        let content = batch.into().into();
        let _ = self.queue.push(Work::Append { content, done });
    }

    pub(super) fn append(&mut self, batch: impl Into<Batch>) {
        self.push(batch);
        self.write();
    }
}

/// `count` samples of round `round` of as many series; constants, counters and noise.
pub(super) fn scrape(round: u32, count: u32) -> Rows {
    let mut rows = Rows::default();
    for series in 0..count {
        let value = match series % 3 {
            0 => 1.5,
            1 => f64::from(round * (series + 3)),
            _ => f64::from_bits(u64::from(round * 7919 + series).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        };
        rows.push(SeriesRef(series * 2), i64::from(round) * 15_000, value);
    }
    rows
}

#[test]
fn what_is_durable_comes_back_in_order_over_many_segments() {
    let disk = SimulatedDisk::new();
    let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
    log.queue.push_series(SeriesRef(0), &[("__name__", "up"), ("job", "a")]);
    for round in 0..100 {
        log.append(scrape(round, 500));
    }
    assert!(log.counters.read(0).segments_created >= 3, "{:?}", log.counters.read(0));
    let (told, report) = read(&disk, 0);
    assert_eq!(told.series, [(0, vec![("__name__".into(), "up".into()), ("job".into(), "a".into())])]);
    assert_eq!(told.samples, log.durable.samples);
    assert_eq!((report.samples, report.damage_count, report.torn_tail), (50_000, 0, None));
}

/// Rows too many for one record, or even one segment, are cut and still come back.
#[test]
fn large_appends_are_cut_into_records() {
    let disk = SimulatedDisk::new();
    let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
    log.append(scrape(1, 30_000));
    assert!(log.counters.read(0).records > 20);
    assert_eq!(read(&disk, 0).0.samples, log.durable.samples);
}

/// A snapshot taken between two batches relies on their positions: no position covers work that is not delivered yet.
#[test]
fn a_position_never_covers_what_is_not_delivered() {
    let disk = SimulatedDisk::new();
    let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
    for round in 0..5 {
        log.push(scrape(round * 3, 100));
        log.push(scrape(round * 3 + 1, 20_000));
        log.push(scrape(round * 3 + 2, 100));
        log.write();
    }
    assert!(log.positions.len() > 5, "large work is written in several batches");
    for (position, delivered) in &log.positions {
        let rest = read(&disk, *position).0.samples;
        assert_eq!(rest, log.durable.samples[*delivered..], "above record {position}");
    }
}

#[test]
fn work_that_waits_together_is_synced_together() {
    let disk = SimulatedDisk::new();
    let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
    log.append(scrape(0, 10));
    let before = disk.syncs();
    (1..50).for_each(|round| log.push(scrape(round, 10)));
    log.write();
    assert_eq!(disk.syncs() - before, 1);
    assert_eq!(log.durable.samples.len(), 500);
}

#[test]
fn records_of_every_type_come_back() {
    let disk = SimulatedDisk::new();
    let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
    let entries = (0..50).map(|n| (format!("metric_{n}"), Metadata { help: "h".repeat(900), ..Metadata::default() }));
    log.queue.push(Work::Metadata { entries: entries.collect(), done: Box::new(|_| {}) }).expect("room");
    log.queue.push(Work::Checkpoint(Checkpoint { snapshot: 4, lsn: 9 })).expect("room");
    log.write();
    let told = read(&disk, 0).0;
    assert_eq!(told.metadata.len(), 50);
    assert_eq!(told.checkpoints, [Checkpoint { snapshot: 4, lsn: 9 }]);
}

/// After a restart the log goes on in a segment of its own, with numbers that follow.
#[test]
fn restarts_go_on_after_the_last_record() {
    let disk = SimulatedDisk::new();
    let mut all = Vec::new();
    for life in 0..10 {
        let (mut log, told, report) = open(&disk, 0).expect("readable");
        assert_eq!(told.samples, all);
        assert_eq!(report.damage_count, 0);
        (0..life).for_each(|round| log.append(scrape(life * 100 + round, 50)));
        all.append(&mut log.durable.samples);
    }
}

/// Segments that a snapshot covers get a new life, in which nothing of the old one shows.
#[test]
fn recycled_segments_show_nothing_of_their_former_life() {
    let disk = SimulatedDisk::new();
    let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
    let mut covered = (0, 0);
    for round in 0..400 {
        log.append(scrape(round, 500));
        if round % 50 == 49 {
            covered = (log.durable.last_lsn, log.durable.samples.len());
            log.pool.release(covered.0);
        }
        if round % 37 == 0 {
            let (told, report) = read(&disk, covered.0);
            assert_eq!(told.samples, log.durable.samples[covered.1..], "round {round}");
            assert_eq!((report.damage_count, report.torn_tail), (0, None));
        }
    }
    let stats = log.counters.read(0);
    assert!(stats.segments_recycled > 5 && stats.segments_created < 12, "{stats:?}");
}

/// After a failed sync nothing is known about the disk: nothing is acknowledged any more, old samples can be read.
#[test]
fn a_failed_sync_or_write_refuses_everything_from_then_on() {
    for fault in [Fault::Sync, Fault::Write] {
        let disk = SimulatedDisk::new();
        let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
        log.append(scrape(0, 10));
        disk.set_fault(Some(fault));
        log.push(scrape(1, 10));
        log.push(scrape(2, 10));
        log.write();
        disk.set_fault(None);
        log.append(scrape(3, 10));
        assert_eq!(log.durable.samples.len(), 10);
        let refused = std::mem::take(&mut *log.refused.lock().expect("no panic"));
        assert_eq!(refused.len(), 3);
        for error in refused {
            assert!(matches!(&error, Error::LogFailed { .. }), "{error}");
            assert_eq!(error.kind(), ErrorKind::Unavailable);
        }
        assert_eq!(log.queue.bytes(), 0);
        assert!(read(&disk, 0).0.samples.starts_with(&log.durable.samples));
    }
}

/// A full disk refuses with a reason, loses nothing, and is over when there is space again.
#[test]
fn a_full_disk_refuses_until_there_is_space() {
    let disk = SimulatedDisk::new();
    let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
    log.append(scrape(0, 500));
    disk.set_fault(Some(Fault::NoSpace));
    let mut round = 1;
    while log.refused.lock().expect("no panic").is_empty() {
        log.append(scrape(round, 500));
        round += 1;
    }
    let error = log.refused.lock().expect("no panic").remove(0);
    assert!(matches!(&error, Error::NoLogSpace { .. }), "{error}");
    assert!(error.to_string().contains("no room for the write-ahead log"), "{error}");
    // A series made meanwhile exists in the head: its record must come before its samples.
    log.queue.push_series(SeriesRef(9), &[("__name__", "late")]);
    log.append(scrape(round, 500));
    assert_eq!(read(&disk, 0).0.samples, log.durable.samples);
    disk.set_fault(None);
    log.append(scrape(round + 1, 500));
    let (told, report) = read(&disk, 0);
    assert_eq!(told.series.len(), 1);
    assert_eq!(told.samples, log.durable.samples);
    assert_eq!(report.damage_count, 0);
    assert_eq!(log.queue.bytes(), 0);
    assert!(log.writer.failure().is_none());
}

/// A file that could not be finished gives its space back, or a full disk would stay full.
#[test]
fn an_unfinished_segment_is_removed() {
    let disk = SimulatedDisk::new();
    let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
    disk.set_fault(Some(Fault::Write));
    log.append(scrape(0, 10));
    disk.set_fault(None);
    let names = crate::disk::Disk::list(&disk, Path::new(DIR)).expect("no fault is set");
    assert_eq!(names, Vec::<String>::new());
}

#[test]
fn a_segment_of_another_directory_is_not_read() {
    let disk = SimulatedDisk::new();
    let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
    log.append(scrape(0, 10));
    let mut dir = log_dir(&disk);
    dir.epoch = [8; 16];
    let mut told = Told::default();
    let (report, inventory) = replay(&dir, 0, &mut told, &ReplayProgress::default()).expect("readable");
    assert!(told.samples.is_empty());
    assert_eq!(report.damage[0].what, "the segment belongs to another log");
    assert!(inventory.sealed[0].damaged);
}

#[test]
fn a_newer_version_is_refused_and_left_alone() {
    let disk = SimulatedDisk::new();
    let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
    log.append(scrape(0, 10));
    let path = segment_path(1);
    disk.flip(&path, 8, 1 ^ 2);
    let bytes = disk.bytes(&path).expect("the first segment");
    let checksum = crc32fast::hash(&bytes[..SEGMENT_HEADER_BYTES - 4]);
    for (at, byte) in checksum.to_le_bytes().into_iter().enumerate() {
        disk.flip(&path, SEGMENT_HEADER_BYTES - 4 + at, byte ^ bytes[SEGMENT_HEADER_BYTES - 4 + at]);
    }
    let error = open(&disk, 0).map(|_| ()).expect_err("a newer version");
    assert!(matches!(error, Error::UnknownVersion { found: 2, known: 1, .. }), "{error}");
}
