//! When a snapshot is due, and taking it.

use super::Applied;
use super::restore::{Kept, Loaded};
use crate::disk::Disk;
use crate::error::Error;
use crate::snapshot::file::{Section, SectionKind, SnapshotHeader, SnapshotWriter, covered_lsn};
use crate::snapshot::name::SnapshotName;
use crate::wal::payload::Checkpoint;
use crate::wal::pool::{SegmentPool, now_ms};
use crate::wal::queue::{LogQueue, Work};
use crate::wal::segment::Epoch;
use parking_lot::{Condvar, Mutex};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Snapshots that are kept: should the newest be damaged, the one before and the log since are whole.
const KEPT: usize = 2;
const CHECK_EVERY: Duration = Duration::from_secs(1);
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// What became of the snapshots of this process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SnapshotStats {
    /// Taken.
    pub taken: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Why the last attempt failed, if it did.
    pub last_failure: Option<String>,
    /// Bytes of the last one.
    pub last_bytes: u64,
    /// Bytes of those on the disk, of an earlier process too.
    pub kept_bytes: u64,
    /// Time that the last one took.
    pub last_duration: Duration,
    /// When the last one was taken, in milliseconds since the Unix epoch; 0 when there was none.
    pub last_ms: i64,
    /// Number of the newest snapshot on the disk.
    pub newest: u64,
}

/// When snapshots are taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    pub(super) interval: Duration,
    pub(super) wal_bytes: u64,
}

/// Takes snapshots, one at a time.
pub(super) struct Snapshots {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) epoch: Epoch,
    pub(super) applied: Arc<Applied>,
    pub(super) pool: Arc<SegmentPool>,
    pub(super) queue: Arc<LogQueue>,
    pub(super) state: Mutex<State>,
    /// Held while one is taken.
    pub(super) taking: Mutex<()>,
}

/// What is known of the snapshots on the disk.
#[derive(Debug)]
pub(super) struct State {
    kept: Vec<Kept>,
    last_number: u64,
    last_taken: Instant,
    /// One is wanted whatever the schedule says.
    wanted: bool,
    stats: SnapshotStats,
}

impl State {
    pub(super) fn new(loaded: &Loaded, wanted: bool) -> Self {
        let newest = loaded.kept.last().map_or(0, |kept| kept.number);
        Self {
            kept: loaded.kept.clone(),
            last_number: loaded.last_number,
            last_taken: Instant::now(),
            wanted,
            stats: SnapshotStats { newest, ..SnapshotStats::default() },
        }
    }

    fn newest_covered(&self) -> u64 {
        self.kept.last().map_or(0, |kept| kept.covered_lsn)
    }

    /// Snapshots hold every record up to this one, even if the newest should turn out damaged.
    pub(super) fn safely_covered(&self) -> u64 {
        if self.kept.len() < KEPT { 0 } else { self.kept.first().map_or(0, |kept| kept.covered_lsn) }
    }

    fn is_due(&self, schedule: &Schedule, now: Instant, applied_lsn: u64, wal_bytes: u64) -> bool {
        let news = applied_lsn > self.newest_covered();
        let time = now.duration_since(self.last_taken) >= schedule.interval;
        self.wanted || news && (time || wal_bytes >= schedule.wal_bytes)
    }
}

impl Snapshots {
    pub(super) fn stats(&self) -> SnapshotStats {
        let state = self.state.lock();
        let kept_bytes = state.kept.iter().map(|kept| kept.bytes).sum();
        SnapshotStats { kept_bytes, ..state.stats.clone() }
    }

    pub(super) fn is_due(&self, schedule: &Schedule) -> bool {
        let applied_lsn = *self.applied.position.lock();
        let state = self.state.lock();
        let wal_bytes = self.pool.sealed_bytes_above(state.newest_covered());
        state.is_due(schedule, Instant::now(), applied_lsn, wal_bytes)
    }

    /// Whether anything was applied that no snapshot holds.
    pub(super) fn has_news(&self) -> bool {
        *self.applied.position.lock() > self.state.lock().newest_covered()
    }

    /// Takes a snapshot now. Appends go on meanwhile.
    pub(super) fn take(&self) -> Result<SnapshotStats, Error> {
        let _one_at_a_time = self.taking.lock();
        let start = Instant::now();
        let number = {
            let mut state = self.state.lock();
            state.last_number += 1;
            state.last_number
        };
        let taken = self.write(number).and_then(|(sections, bytes)| {
            self.publish(number, &sections)?;
            Ok((covered_lsn(&sections), bytes))
        });
        let mut state = self.state.lock();
        match taken {
            Ok((covered_lsn, bytes)) => {
                state.wanted = false;
                state.last_taken = Instant::now();
                state.kept.push(Kept { number, covered_lsn, bytes });
                let stats = &mut state.stats;
                stats.taken += 1;
                stats.last_failure = None;
                (stats.last_bytes, stats.last_duration) = (bytes, start.elapsed());
                (stats.last_ms, stats.newest) = (now_ms(), number);
                drop(state);
                self.forget_old();
                Ok(self.stats())
            }
            Err(error) => {
                state.stats.failed += 1;
                state.stats.last_failure = Some(error.to_line());
                drop(state);
                // Gives the space back; a file that was not made, or was renamed, does not matter.
                let _ = self.disk.remove(&self.path(SnapshotName::Unfinished(number)));
                Err(error)
            }
        }
    }

    fn path(&self, name: SnapshotName) -> PathBuf {
        self.dir.join(name.to_string())
    }

    fn write(&self, number: u64) -> Result<(Vec<Section>, u64), Error> {
        let path = self.path(SnapshotName::Unfinished(number));
        let io = |step| Error::io(step, path.clone());
        fail::fail_point!("snapshot-create");
        let file = self.disk.create(&path).map_err(io("create snapshot"))?;
        let header = SnapshotHeader { number, epoch: self.epoch, created_ms: now_ms() };
        let mut writer = SnapshotWriter::begin(&*file, header).map_err(io("write snapshot"))?;
        for shard in 0..self.applied.head.shards() {
            // The position stands still only while the shard is frozen; writing it out takes its time.
            let (lsn, frozen) = {
                let position = self.applied.position.lock();
                (*position, self.applied.head.freeze_shard(shard)?)
            };
            fail::fail_point!("snapshot-frozen");
            let section = writer.section(SectionKind::Shard(shard as u16), lsn, |out| {
                frozen.write(out).map_err(|error| SectionError(error.into()))
            });
            section.map_err(|error| error.0)?;
        }
        let (lsn, metadata) = {
            let position = self.applied.position.lock();
            (*position, self.applied.metadata.to_bytes())
        };
        let section = writer.section::<std::io::Error>(SectionKind::Metadata, lsn, |out| out.write_all(&metadata));
        section.map_err(io("write snapshot"))?;
        let (lsn, exemplars) = {
            let position = self.applied.position.lock();
            (*position, self.applied.exemplars.to_bytes())
        };
        let section = writer.section::<std::io::Error>(SectionKind::Exemplars, lsn, |out| out.write_all(&exemplars));
        section.map_err(io("write snapshot"))?;
        writer.finish().map_err(io("write snapshot"))
    }

    /// Gives the file its name and tells the log.
    fn publish(&self, number: u64, sections: &[Section]) -> Result<(), Error> {
        let (from, to) = (self.path(SnapshotName::Unfinished(number)), self.path(SnapshotName::Whole(number)));
        fail::fail_point!("snapshot-rename");
        self.disk.rename(&from, &to).map_err(Error::io("rename snapshot", &from))?;
        fail::fail_point!("snapshot-sync-dir");
        self.disk.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))?;
        fail::fail_point!("snapshot-published");
        let checkpoint = Checkpoint { snapshot: number, lsn: covered_lsn(sections) };
        // A log that is closed or full misses no more than this note.
        let _ = self.queue.push(Work::Checkpoint(checkpoint));
        Ok(())
    }

    /// Removes snapshots that are no longer kept, and releases the log that the others cover.
    fn forget_old(&self) {
        let mut state = self.state.lock();
        while state.kept.len() > KEPT {
            let oldest = state.kept.remove(0);
            // What could not be removed now is listed, and kept, at the next start.
            let _ = self.disk.remove(&self.path(SnapshotName::Whole(oldest.number)));
        }
        self.pool.release(state.safely_covered());
    }
}

struct SectionError(Error);

impl From<std::io::Error> for SectionError {
    fn from(error: std::io::Error) -> Self {
        Self(Error::io("write", Path::new("snapshot"))(error))
    }
}

/// The thread that takes snapshots when they are due.
pub(super) struct SnapshotThread {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl SnapshotThread {
    pub(super) fn start(snapshots: Arc<Snapshots>, schedule: Schedule) -> std::io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stopping = Arc::clone(&stop);
        let builder = std::thread::Builder::new().name("snapshots".into());
        let thread = builder.spawn(move || {
            let (stopped, changed) = &*stopping;
            let mut wait = CHECK_EVERY;
            loop {
                let mut stopped = stopped.lock();
                if !*stopped {
                    changed.wait_for(&mut stopped, wait);
                }
                if *stopped {
                    return;
                }
                drop(stopped);
                let healthy = !matches!(snapshots.queue.refusal(), Some(Error::LogFailed { .. }));
                let failed = healthy && snapshots.is_due(&schedule) && snapshots.take().is_err();
                wait = if failed { RETRY_AFTER } else { CHECK_EVERY };
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends the thread, after the snapshot that it may be taking.
    pub(super) fn stop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was already reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Drop for SnapshotThread {
    fn drop(&mut self) {
        self.stop();
    }
}
