//! Brings the head back after a start: snapshots first, then the log.
//!
//! Each shard comes from the newest snapshot in which it is whole, with the position of the log up to which it holds
//! everything; replay then gives it the records above. A damaged snapshot is set aside, never deleted.

use crate::append::{LabelHash, Rows, SeriesRef};
use crate::disk::Disk;
use crate::error::Error;
use crate::head::{Grouping, Head, HeadError};
use crate::metadata::MetadataStore;
use crate::snapshot::file::{SectionKind, SnapshotError, SnapshotFile, VERSION};
use crate::snapshot::name::SnapshotName;
use crate::wal::payload::Checkpoint;
use crate::wal::replay::{Damage, ReplayReport, ReplaySink};
use crate::wal::segment::Epoch;
use model::metadata::Metadata;
use parking_lot::Mutex;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Remarks that are kept; more are only worth their number.
const NOTICES_MAX: usize = 100;

/// What a start found and did. Worth a few lines of the log of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Number of the newest snapshot that was used.
    pub snapshot: Option<u64>,
    /// Time it took to read snapshots.
    pub snapshot_time: Duration,
    /// What the log gave.
    pub replay: ReplayReport,
    /// Time it took to replay the log.
    pub replay_time: Duration,
    /// Damaged snapshots, or parts of them.
    pub snapshot_damage: Vec<Damage>,
    /// Samples of the log that the head refused, as it did when they were written.
    pub rejected: u64,
    /// Samples of series whose own record is lost.
    pub orphans: u64,
    /// Series records that contradict the head.
    pub conflicts: u64,
    /// Remarks of the head, as sentences.
    pub notices: Vec<String>,
}

impl RestoreReport {
    /// Places where stored bytes were not what was written.
    #[must_use]
    pub fn damage_count(&self) -> u64 {
        self.replay.damage_count + self.snapshot_damage.len() as u64
    }

    pub(super) fn note(&mut self, notice: String) {
        if self.notices.len() < NOTICES_MAX {
            self.notices.push(notice);
        }
    }
}

/// A snapshot that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) number: u64,
    /// Every record of the log up to this one is in it.
    pub(super) covered_lsn: u64,
}

/// What snapshots gave.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// Of each shard, the position of the log up to which it holds everything.
    pub(super) shard_lsns: Vec<u64>,
    pub(super) metadata_lsn: u64,
    /// Usable snapshots, oldest first.
    pub(super) kept: Vec<Kept>,
    /// The highest number that any snapshot has.
    pub(super) last_number: u64,
}

impl Loaded {
    /// Every record up to this one is in the head.
    pub(super) fn covered_lsn(&self) -> u64 {
        self.shard_lsns.iter().copied().chain([self.metadata_lsn]).min().unwrap_or(0)
    }

    /// No record above this one is in the head.
    pub(super) fn last_lsn(&self) -> u64 {
        self.shard_lsns.iter().copied().chain([self.metadata_lsn]).max().unwrap_or(0)
    }
}

struct Candidate {
    path: PathBuf,
    file: SnapshotFile,
    damaged: AtomicBool,
}

/// Fills an empty head and metadata store from the snapshots in `dir`.
///
/// # Errors
/// The directory cannot be used, or a snapshot is of a newer version. Damage is no error.
pub(super) fn load_snapshots(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    epoch: Epoch,
    head: &Head,
    metadata: &MetadataStore,
    report: &mut RestoreReport,
) -> Result<Loaded, Error> {
    let (candidates, last_number) = open_candidates(disk, dir, epoch, report)?;
    let shared = Mutex::new(std::mem::take(report));
    let mut loaded = Loaded { last_number, ..Loaded::default() };
    loaded.shard_lsns = load_shards(&candidates, head, &shared)?;
    loaded.metadata_lsn = load_metadata(&candidates, metadata, &shared);
    *report = shared.into_inner();
    report.snapshot = candidates.iter().find(|c| !c.damaged.load(Relaxed)).map(|c| c.file.header.number);
    for candidate in candidates {
        let kept = Kept { number: candidate.file.header.number, covered_lsn: candidate.file.covered_lsn() };
        if candidate.damaged.into_inner() {
            set_aside(disk, dir, kept.number)?;
        } else {
            loaded.kept.insert(0, kept);
        }
    }
    Ok(loaded)
}

/// The snapshots whose index is whole, newest first, and the highest number of all.
fn open_candidates(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    epoch: Epoch,
    report: &mut RestoreReport,
) -> Result<(Vec<Candidate>, u64), Error> {
    let mut numbers = Vec::new();
    let mut last_number = 0;
    for name in disk.list(dir).map_err(Error::io("list", dir))? {
        match SnapshotName::parse(&name) {
            Some(SnapshotName::Whole(number)) => numbers.push(number),
            Some(SnapshotName::Damaged(number)) => last_number = last_number.max(number),
            Some(SnapshotName::Unfinished(_)) => {
                let path = dir.join(&name);
                disk.remove(&path).map_err(Error::io("remove", path))?;
            }
            None => {}
        }
    }
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    last_number = numbers.first().copied().unwrap_or(0).max(last_number);
    let mut candidates = Vec::new();
    for number in numbers {
        let path = dir.join(SnapshotName::Whole(number).to_string());
        let file = disk.open(&path).map_err(Error::io("open snapshot", &path))?;
        let what = match SnapshotFile::open(file) {
            Ok(file) if file.header.number == number && file.header.epoch == epoch => {
                candidates.push(Candidate { path, file, damaged: AtomicBool::new(false) });
                continue;
            }
            Ok(_) => "the snapshot belongs to another data directory",
            Err(SnapshotError::Damaged(what)) => what,
            Err(SnapshotError::UnknownVersion(found)) => {
                return Err(Error::UnknownVersion { path, found, known: VERSION });
            }
            Err(SnapshotError::Io(error)) => return Err(Error::io("read snapshot", path)(error)),
        };
        report.snapshot_damage.push(Damage { path, offset: 0, what, records_lost: 0 });
        set_aside(disk, dir, number)?;
    }
    Ok((candidates, last_number))
}

fn set_aside(disk: &Arc<dyn Disk>, dir: &Path, number: u64) -> Result<(), Error> {
    let from = dir.join(SnapshotName::Whole(number).to_string());
    let to = dir.join(SnapshotName::Damaged(number).to_string());
    disk.rename(&from, &to).map_err(Error::io("set aside", &from))?;
    disk.sync_dir(dir).map_err(Error::io("sync", dir))
}

/// Reads the shards on as many threads as there are cores.
fn load_shards(candidates: &[Candidate], head: &Head, report: &Mutex<RestoreReport>) -> Result<Vec<u64>, Error> {
    let next = AtomicUsize::new(0);
    let lsns: Vec<Mutex<Result<u64, Error>>> = (0..head.shards()).map(|_| Mutex::new(Ok(0))).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(lsns.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let shard = next.fetch_add(1, Relaxed)
                    && let Some(lsn) = lsns.get(shard)
                {
                    *lsn.lock() = load_shard(candidates, head, shard, report);
                }
            });
        }
    });
    lsns.into_iter().map(Mutex::into_inner).collect()
}

/// Reads one shard from the newest snapshot in which it is whole.
fn load_shard(
    candidates: &[Candidate],
    head: &Head,
    shard: usize,
    report: &Mutex<RestoreReport>,
) -> Result<u64, Error> {
    let kind = SectionKind::Shard(shard as u16);
    for candidate in candidates {
        let Some(section) = candidate.file.section(kind) else {
            candidate.give_up(0, "a shard is missing in the snapshot", report);
            continue;
        };
        let mut reader = candidate.file.read(&section);
        match head.read_shard_snapshot(shard, &mut reader) {
            Ok(notices) => {
                notices.into_iter().for_each(|notice| report.lock().note(notice.message));
                return Ok(section.lsn);
            }
            Err(error @ HeadError::NewerFormat { .. }) => return Err(error.into()),
            Err(error) => {
                report.lock().note(Error::from(error).to_line());
                candidate.give_up(reader.offset(), "a shard of the snapshot is damaged", report);
            }
        }
    }
    Ok(0)
}

fn load_metadata(candidates: &[Candidate], metadata: &MetadataStore, report: &Mutex<RestoreReport>) -> u64 {
    for candidate in candidates {
        let mut bytes = Vec::new();
        let section = candidate.file.section(SectionKind::Metadata);
        let whole = section.is_some_and(|section| {
            candidate.file.read(&section).read_to_end(&mut bytes).is_ok() && metadata.restore(&bytes).is_some()
        });
        if whole {
            return section.map_or(0, |section| section.lsn);
        }
        candidate.give_up(0, "the metadata of the snapshot is damaged", report);
    }
    0
}

impl Candidate {
    fn give_up(&self, offset: u64, what: &'static str, report: &Mutex<RestoreReport>) {
        self.damaged.store(true, Relaxed);
        let damage = Damage { path: self.path.clone(), offset, what, records_lost: 0 };
        report.lock().snapshot_damage.push(damage);
    }
}

/// Rows that are handed to the other thread at once: waking it costs as much as appending hundreds.
const BATCH_ROWS: usize = 1 << 15;
/// Batches that may wait for the head: enough to bridge a slow one, a few megabytes at most.
const WAITING_MAX: usize = 4;

/// A thread that appends rows to one shard, so that the others and the decoder go on meanwhile.
struct ShardFiller {
    batch: Rows,
    batches: SyncSender<Rows>,
    emptied: Receiver<Rows>,
    thread: JoinHandle<u64>,
}

impl ShardFiller {
    fn start(head: Head) -> std::io::Result<Self> {
        let (batches, received) = sync_channel::<Rows>(WAITING_MAX);
        let (give_back, emptied) = sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new().name("replay-append".into()).spawn(move || {
            let (mut rejected, mut grouping) = (0, Grouping::default());
            while let Ok(rows) = received.recv() {
                rejected += head.append_grouped(&rows, &mut grouping).rejected.len() as u64;
                // Kept for reuse when there is room.
                let _ = give_back.try_send(rows);
            }
            rejected
        })?;
        Ok(Self { batch: Rows::default(), batches, emptied, thread })
    }

    fn push(&mut self, series: SeriesRef, timestamp_ms: i64, value: f64) {
        self.batch.push(series, timestamp_ms, value);
        if self.batch.len() >= BATCH_ROWS {
            self.send();
        }
    }

    fn send(&mut self) {
        let mut next = self.emptied.try_recv().unwrap_or_default();
        next.clear();
        let filled = std::mem::replace(&mut self.batch, next);
        assert!(self.batches.send(filled).is_ok(), "the thread that fills the head is gone");
    }

    /// Waits until everything is in the head; how many rows it refused.
    fn finish(mut self) -> u64 {
        self.send();
        drop(self.batches);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Gives the records of the log to the head, each shard only those that its snapshot does not hold.
pub(super) struct RestoreSink<'e> {
    fillers: Vec<ShardFiller>,
    head: &'e Head,
    metadata: &'e MetadataStore,
    shard_lsns: Vec<u64>,
    metadata_lsn: u64,
    /// Records above this one concern every shard.
    last_lsn: u64,
    series_bound: u32,
    /// One bit per reference: the head is known to hold it.
    known: Vec<u64>,
    hash_scratch: Vec<u8>,
    orphans: u64,
    conflicts: u64,
    first_conflict: Option<String>,
}

impl<'e> RestoreSink<'e> {
    pub(super) fn start(head: &'e Head, metadata: &'e MetadataStore, loaded: &Loaded) -> std::io::Result<Self> {
        let mut sink = Self {
            fillers: (0..head.shards()).map(|_| ShardFiller::start(head.clone())).collect::<Result<_, _>>()?,
            head,
            metadata,
            shard_lsns: loaded.shard_lsns.clone(),
            metadata_lsn: loaded.metadata_lsn,
            last_lsn: loaded.last_lsn(),
            series_bound: 0,
            known: Vec::new(),
            hash_scratch: Vec::new(),
            orphans: 0,
            conflicts: 0,
            first_conflict: None,
        };
        sink.raise_bound(head.stats().series as u32);
        Ok(sink)
    }

    /// Waits until everything is in the head.
    pub(super) fn finish(self, report: &mut RestoreReport) {
        (report.orphans, report.conflicts) = (self.orphans, self.conflicts);
        self.first_conflict.into_iter().for_each(|conflict| report.note(conflict));
        report.rejected = self.fillers.into_iter().map(ShardFiller::finish).sum();
    }

    /// References are dense per shard and shards are filled evenly by hash, so that twice the number of series and some
    /// bounds them.
    fn raise_bound(&mut self, series: u32) {
        let some = (self.head.shards() as u32) << 16;
        self.series_bound = self.series_bound.max(series.saturating_mul(2).saturating_add(some));
    }

    fn holds(&mut self, series: SeriesRef) -> bool {
        let (word, bit) = (series.0 as usize / 64, 1u64 << (series.0 % 64));
        if self.known.get(word).is_some_and(|known| known & bit != 0) {
            return true;
        }
        if !self.head.contains(series) {
            return false;
        }
        if word >= self.known.len() {
            self.known.resize(word + 1, 0);
        }
        if let Some(known) = self.known.get_mut(word) {
            *known |= bit;
        }
        true
    }

    /// Keeps the rows that are still to be appended.
    fn retain(&mut self, lsn: u64, rows: &mut Rows) {
        let mut kept = 0;
        for row in 0..rows.len() {
            let series = rows.series[row];
            if lsn <= self.shard_lsns[self.head.shard_of(series)] {
                continue;
            }
            if !self.holds(series) {
                self.orphans += 1;
                continue;
            }
            rows.series[kept] = series;
            rows.timestamps_ms[kept] = rows.timestamps_ms[row];
            rows.values[kept] = rows.values[row];
            kept += 1;
        }
        rows.series.truncate(kept);
        rows.timestamps_ms.truncate(kept);
        rows.values.truncate(kept);
    }
}

impl ReplaySink for RestoreSink<'_> {
    fn series_bound(&self) -> u32 {
        self.series_bound
    }

    fn series(&mut self, _lsn: u64, series: SeriesRef, pairs: &[(&str, &str)]) {
        let hash = LabelHash::of_pairs(pairs.iter().copied(), &mut self.hash_scratch);
        if let Err(error) = self.head.restore_series(series, hash, pairs) {
            self.conflicts += 1;
            self.first_conflict.get_or_insert_with(|| Error::from(error).to_line());
        }
        self.series_bound = self.series_bound.max(series.0.saturating_add(1));
    }

    fn samples(&mut self, lsn: u64, rows: &mut Rows) {
        let all_wanted = lsn > self.last_lsn && rows.series.iter().all(|series| self.holds(*series));
        if !all_wanted {
            self.retain(lsn, rows);
        }
        for row in 0..rows.len() {
            let series = rows.series[row];
            self.fillers[self.head.shard_of(series)].push(series, rows.timestamps_ms[row], rows.values[row]);
        }
    }

    fn metadata(&mut self, lsn: u64, metric: &str, metadata: Metadata) {
        if lsn > self.metadata_lsn {
            self.metadata.insert(metric, metadata);
        }
    }

    fn checkpoint(&mut self, _lsn: u64, _checkpoint: Checkpoint) {}
}
