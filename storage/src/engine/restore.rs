//! Brings the head back after a start: snapshots first, then the log.
//!
//! Each shard comes from the newest snapshot in which it is whole, with the position of the log up to which it holds
//! everything; replay then gives it the records above. A damaged snapshot is set aside, never deleted.

use super::Applied;
use super::directory::Directory;
use super::shard_filler::ShardFiller;
use crate::append::{ExemplarRow, LabelHash, Rows, SeriesRef};
use crate::disk::Disk;
use crate::error::Error;
use crate::exemplars::ExemplarStore;
use crate::head::{FlushedState, Head, HeadError};
use crate::metadata::MetadataStore;
use crate::snapshot::file::{SectionKind, SnapshotError, SnapshotFile, VERSION};
use crate::snapshot::name::SnapshotName;
use crate::wal::histograms::SeriesHistogram;
use crate::wal::payload::Checkpoint;
use crate::wal::replay::{Damage, ReplayReport, ReplaySink};
use crate::wal::segment::Epoch;
use hashbrown::HashSet;
use model::metadata::Metadata;
use parking_lot::Mutex;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
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
    /// Samples and exemplars of series whose own record is lost.
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
    /// Its size.
    pub(super) bytes: u64,
}

/// What snapshots gave.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// Of each shard, the position of the log up to which it holds everything.
    pub(super) shard_lsns: Vec<u64>,
    pub(super) metadata_lsn: u64,
    pub(super) exemplars_lsn: u64,
    /// Usable snapshots, oldest first.
    pub(super) kept: Vec<Kept>,
    /// The highest number that any snapshot has.
    pub(super) last_number: u64,
}

impl Loaded {
    /// Every record up to this one is in the head.
    pub(super) fn covered_lsn(&self) -> u64 {
        self.shard_lsns.iter().copied().chain([self.metadata_lsn, self.exemplars_lsn]).min().unwrap_or(0)
    }

    /// No record above this one is in the head.
    pub(super) fn last_lsn(&self) -> u64 {
        self.shard_lsns.iter().copied().chain([self.metadata_lsn, self.exemplars_lsn]).max().unwrap_or(0)
    }
}

struct Candidate {
    path: PathBuf,
    file: SnapshotFile,
    damaged: AtomicBool,
}

/// Fills an empty head and its empty stores from the snapshots in `directory`, of which blocks hold what `flushed` says.
///
/// # Errors
/// The directory cannot be used, or a snapshot is of a newer version. Damage is no error.
pub(super) fn load_snapshots(
    disk: &Arc<dyn Disk>,
    directory: &Directory,
    applied: &Applied,
    report: &mut RestoreReport,
    flushed: &FlushedState,
) -> Result<Loaded, Error> {
    let dir = directory.head.as_path();
    let (candidates, last_number) = open_candidates(disk, dir, directory.epoch, report)?;
    let shared = Mutex::new(std::mem::take(report));
    let mut loaded = Loaded { last_number, ..Loaded::default() };
    loaded.shard_lsns = load_shards(&candidates, &applied.head, flushed, &shared)?;
    loaded.metadata_lsn = load_metadata(&candidates, &applied.metadata, &shared);
    loaded.exemplars_lsn = load_exemplars(&candidates, &applied.exemplars, &shared);
    *report = shared.into_inner();
    report.snapshot = candidates.iter().find(|c| !c.damaged.load(Relaxed)).map(|c| c.file.header.number);
    for candidate in candidates {
        let SnapshotFile { header, length, .. } = &candidate.file;
        let kept = Kept { number: header.number, covered_lsn: candidate.file.covered_lsn(), bytes: *length };
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
fn load_shards(
    candidates: &[Candidate],
    head: &Head,
    flushed: &FlushedState,
    report: &Mutex<RestoreReport>,
) -> Result<Vec<u64>, Error> {
    let next = AtomicUsize::new(0);
    let lsns: Vec<Mutex<Result<u64, Error>>> = (0..head.shards()).map(|_| Mutex::new(Ok(0))).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(lsns.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let shard = next.fetch_add(1, Relaxed)
                    && let Some(lsn) = lsns.get(shard)
                {
                    *lsn.lock() = load_shard(candidates, head, shard, flushed, report);
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
    flushed: &FlushedState,
    report: &Mutex<RestoreReport>,
) -> Result<u64, Error> {
    let kind = SectionKind::Shard(shard as u16);
    for candidate in candidates {
        let Some(section) = candidate.file.section(kind) else {
            candidate.give_up(0, "a shard is missing in the snapshot", report);
            continue;
        };
        let mut reader = candidate.file.read(&section);
        match head.read_shard_snapshot(shard, &mut reader, flushed) {
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

fn load_exemplars(candidates: &[Candidate], exemplars: &ExemplarStore, report: &Mutex<RestoreReport>) -> u64 {
    for candidate in candidates {
        let Some(section) = candidate.file.section(SectionKind::Exemplars) else {
            // Snapshots of version 1 have none, and neither had the log that they cover.
            return candidate.file.covered_lsn();
        };
        let mut bytes = Vec::new();
        let whole =
            candidate.file.read(&section).read_to_end(&mut bytes).is_ok() && exemplars.restore(&bytes).is_some();
        if whole {
            return section.lsn;
        }
        candidate.give_up(0, "the exemplars of the snapshot are damaged", report);
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

/// Gives the records of the log to the head, each shard only those that its snapshot does not hold.
pub(super) struct RestoreSink<'e> {
    fillers: Vec<ShardFiller>,
    head: &'e Head,
    metadata: &'e MetadataStore,
    exemplars: &'e ExemplarStore,
    shard_lsns: Vec<u64>,
    metadata_lsn: u64,
    exemplars_lsn: u64,
    /// Records above this one concern every shard.
    last_lsn: u64,
    series_bound: u32,
    /// One bit per reference: the head is known to hold it.
    known: Vec<u64>,
    hash_scratch: Vec<u8>,
    /// What need not be brought back.
    flushed: FlushedState,
    orphans: u64,
    conflicts: u64,
    first_conflict: Option<String>,
}

impl<'e> RestoreSink<'e> {
    pub(super) fn start(applied: &'e Applied, loaded: &Loaded, flushed: &FlushedState) -> std::io::Result<Self> {
        let head = &applied.head;
        let mut sink = Self {
            fillers: (0..head.shards()).map(|_| ShardFiller::start(head.clone())).collect::<Result<_, _>>()?,
            head,
            metadata: &applied.metadata,
            exemplars: &applied.exemplars,
            shard_lsns: loaded.shard_lsns.clone(),
            metadata_lsn: loaded.metadata_lsn,
            exemplars_lsn: loaded.exemplars_lsn,
            last_lsn: loaded.last_lsn(),
            series_bound: 0,
            known: Vec::new(),
            hash_scratch: Vec::new(),
            flushed: *flushed,
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

    /// Whether a sample is in blocks.
    fn in_blocks(&self, lsn: u64, timestamp_ms: i64) -> bool {
        lsn <= self.flushed.lsn && timestamp_ms < self.flushed.boundary_ms
    }

    /// Keeps the rows that are still to be appended.
    fn retain(&mut self, lsn: u64, rows: &mut Rows) {
        let mut kept = 0;
        for row in 0..rows.len() {
            let series = rows.series[row];
            if lsn <= self.shard_lsns[self.head.shard_of(series)] || self.in_blocks(lsn, rows.timestamps_ms[row]) {
                continue;
            }
            if !self.holds(series) {
                self.orphans += 1;
                continue;
            }
            rows.series[kept] = series;
            rows.timestamps_ms[kept] = rows.timestamps_ms[row];
            rows.values[kept] = rows.values[row];
            if !rows.starts_ms.is_empty() {
                rows.starts_ms[kept] = rows.starts_ms[row];
            }
            kept += 1;
        }
        rows.starts_ms.truncate(kept);
        rows.series.truncate(kept);
        rows.timestamps_ms.truncate(kept);
        rows.values.truncate(kept);
    }
}

impl ReplaySink for RestoreSink<'_> {
    fn series_bound(&self) -> u32 {
        self.series_bound
    }

    fn series(&mut self, lsn: u64, series: SeriesRef, pairs: &[(&str, &str)]) {
        self.series_bound = self.series_bound.max(series.0.saturating_add(1));
        if self.shard_lsns.get(self.head.shard_of(series)).is_some_and(|covered| lsn <= *covered) {
            // It may have left since, and another may have its reference.
            return;
        }
        let hash = LabelHash::of_pairs(pairs.iter().copied(), &mut self.hash_scratch);
        if let Err(error) = self.head.restore_series(series, hash, pairs) {
            self.conflicts += 1;
            self.first_conflict.get_or_insert_with(|| Error::from(error).to_line());
        }
    }

    fn gone(&mut self, lsn: u64, gone: Vec<(SeriesRef, LabelHash)>) {
        let mut removed = HashSet::new();
        for (series, hash) in gone {
            let shard = self.head.shard_of(series);
            if self.shard_lsns.get(shard).is_some_and(|covered| lsn <= *covered) {
                continue;
            }
            // What was appended before is on its way through another thread.
            self.fillers[shard].wait();
            if self.head.remove_series(series, hash) {
                removed.insert(series);
                if let Some(known) = self.known.get_mut(series.0 as usize / 64) {
                    *known &= !(1u64 << (series.0 % 64));
                }
            }
        }
        if lsn > self.exemplars_lsn {
            self.exemplars.forget_series(&removed);
        }
    }

    fn samples(&mut self, lsn: u64, rows: &mut Rows) {
        let all_wanted =
            lsn > self.last_lsn.max(self.flushed.lsn) && rows.series.iter().all(|series| self.holds(*series));
        if !all_wanted {
            self.retain(lsn, rows);
        }
        for row in 0..rows.len() {
            let series = rows.series[row];
            let start_ms = rows.starts_ms.get(row).copied().unwrap_or(0);
            let filler = &mut self.fillers[self.head.shard_of(series)];
            filler.push(series, rows.timestamps_ms[row], rows.values[row], start_ms);
        }
    }

    fn histograms(&mut self, lsn: u64, rows: Vec<SeriesHistogram>) {
        let mut by_shard = vec![Vec::new(); self.fillers.len()];
        for row in rows {
            let shard = self.head.shard_of(row.0);
            if lsn <= self.shard_lsns[shard] || self.in_blocks(lsn, row.1.timestamp_ms) {
                continue;
            }
            if self.holds(row.0) {
                by_shard[shard].push(row);
            } else {
                self.orphans += 1;
            }
        }
        for (filler, rows) in self.fillers.iter_mut().zip(by_shard) {
            if !rows.is_empty() {
                filler.push_histograms(rows);
            }
        }
    }

    fn exemplar(&mut self, lsn: u64, row: ExemplarRow) {
        if lsn > self.exemplars_lsn {
            if self.holds(row.series) {
                self.exemplars.insert(row);
            } else if !self.in_blocks(lsn, row.exemplar.timestamp_ms) {
                self.orphans += 1;
            }
            if lsn <= self.flushed.lsn {
                self.exemplars.finish_flush(self.exemplars.begin_flush(self.flushed.boundary_ms));
            }
        }
    }

    fn metadata(&mut self, lsn: u64, metric: &str, metadata: Metadata) {
        if lsn > self.metadata_lsn {
            self.metadata.insert(metric, metadata);
        }
    }

    fn checkpoint(&mut self, _lsn: u64, _checkpoint: Checkpoint) {}
}
