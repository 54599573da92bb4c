//! Prepares the next segment ahead of need and gives segments that snapshots cover a new life.
//!
//! A segment is zero-written and synced once, when it is made: later syncs of records then move data only, which is
//! twenty times faster than growing a file. Preparing one writes the header under its new number, syncs, renames it into
//! the log and syncs the directory; only then may records go in.
//!
//! Invariant: no number is used twice, so that what a segment holds from an earlier life cannot be mistaken for records.

use super::segment::{Epoch, SegmentHeader, SegmentName};
use super::stats::{WalCounters, increment};
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// How long to wait after a failed attempt.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Zeros are synced in portions, so that a sync of the log never waits for all of them.
const ZERO_BYTES: usize = 1 << 20;
const ZERO_BYTES_PER_SYNC: u64 = 8 << 20;

/// The log's directory.
#[derive(Clone)]
pub(crate) struct LogDir {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
    pub(crate) epoch: Epoch,
}

impl LogDir {
    pub(crate) fn file(&self, name: SegmentName) -> PathBuf {
        self.path.join(name.to_string())
    }
}

/// A segment ready for records.
pub(crate) struct Segment {
    pub(crate) sequence: u64,
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) bytes: u64,
}

/// A segment that gets no more records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealed {
    pub(crate) sequence: u64,
    /// Number of its last record; 0 when it has none.
    pub(crate) last_lsn: u64,
    /// To be set aside instead of recycled.
    pub(crate) damaged: bool,
}

/// What the directory holds when the log is opened.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) sealed: Vec<Sealed>,
    pub(crate) spares: Vec<u64>,
    /// The highest number that any file of the directory ever had.
    pub(crate) last_sequence: u64,
}

/// Sizes of the pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolOptions {
    pub(crate) segment_bytes: u64,
    pub(crate) spares_max: usize,
}

/// The handle; dropping it stops the thread.
pub(crate) struct SegmentPool {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    dir: LogDir,
    options: PoolOptions,
    counters: Arc<WalCounters>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: Option<Segment>,
    failure: Option<Arc<str>>,
    sealed: Vec<Sealed>,
    spares: Vec<u64>,
    last_sequence: u64,
    covered_lsn: u64,
    recycling_failed: bool,
    stopping: bool,
}

/// What the pool does next.
enum Step {
    Recycle(Vec<Sealed>),
    Prepare { sequence: u64, spare: Option<u64> },
    Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stepped {
    Worked,
    Failed,
    Idle,
}

impl State {
    fn plan(&self) -> Step {
        let covered: Vec<Sealed> =
            self.sealed.iter().filter(|sealed| sealed.last_lsn <= self.covered_lsn).copied().collect();
        // Recycling first: it may give the space that preparing needs. Unless it fails: the log must go on.
        let prepare_first = covered.is_empty() || self.recycling_failed;
        match &self.next {
            None if prepare_first => {
                Step::Prepare { sequence: self.last_sequence + 1, spare: self.spares.last().copied() }
            }
            Some(_) if covered.is_empty() => Step::Wait,
            _ => Step::Recycle(covered),
        }
    }
}

impl SegmentPool {
    /// Starts the thread of the pool.
    pub(crate) fn start(
        dir: LogDir,
        options: PoolOptions,
        inventory: Inventory,
        counters: Arc<WalCounters>,
    ) -> Result<Self, Error> {
        let mut pool = Self::without_thread(dir, options, inventory, counters);
        let worker = Arc::clone(&pool.shared);
        let spawned = std::thread::Builder::new().name("wal-pool".into()).spawn(move || worker.run());
        pool.thread = Some(spawned.map_err(Error::io("start a thread for", &pool.shared.dir.path))?);
        Ok(pool)
    }

    /// A pool that works when it is asked for a segment only: in tests every run takes the same steps.
    pub(crate) fn without_thread(
        dir: LogDir,
        options: PoolOptions,
        inventory: Inventory,
        counters: Arc<WalCounters>,
    ) -> Self {
        counters.segments.store(inventory.sealed.len() as u64, Relaxed);
        let state = State {
            sealed: inventory.sealed,
            spares: inventory.spares,
            last_sequence: inventory.last_sequence,
            ..State::default()
        };
        let shared = Shared { dir, options, counters, state: Mutex::new(state), changed: Condvar::new() };
        Self { shared: Arc::new(shared), thread: None }
    }

    /// The next segment; waits while it is being prepared, but not while that fails.
    pub(crate) fn take_next(&self) -> Result<Segment, Error> {
        if self.thread.is_none() {
            while self.shared.step() == Stepped::Worked {}
        }
        let mut state = self.shared.state.lock();
        loop {
            if let Some(segment) = state.next.take() {
                increment(&self.shared.counters.segments);
                self.shared.changed.notify_all();
                return Ok(segment);
            }
            if state.stopping {
                return Err(Error::Closed);
            }
            if let Some(reason) = &state.failure {
                return Err(Error::NoLogSpace { reason: Arc::clone(reason) });
            }
            self.shared.changed.wait(&mut state);
        }
    }

    /// Why no segment is ready, if the last attempt to prepare one failed.
    pub(crate) fn failure(&self) -> Option<Arc<str>> {
        self.shared.state.lock().failure.clone()
    }

    /// A segment is full.
    pub(crate) fn seal(&self, sealed: Sealed) {
        self.shared.state.lock().sealed.push(sealed);
        self.shared.changed.notify_all();
    }

    /// Snapshots hold every record up to this one.
    pub(crate) fn release(&self, covered_lsn: u64) {
        let mut state = self.shared.state.lock();
        state.covered_lsn = state.covered_lsn.max(covered_lsn);
        self.shared.changed.notify_all();
    }

    /// Bytes of each segment, full or not.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.shared.options.segment_bytes
    }

    /// Bytes of the full segments with records above `lsn`.
    pub(crate) fn sealed_bytes_above(&self, lsn: u64) -> u64 {
        let state = self.shared.state.lock();
        let above = state.sealed.iter().filter(|sealed| sealed.last_lsn > lsn).count();
        above as u64 * self.shared.options.segment_bytes
    }
}

impl Drop for SegmentPool {
    fn drop(&mut self) {
        self.shared.state.lock().stopping = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was already reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let stepped = self.step();
            let mut state = self.state.lock();
            match stepped {
                _ if state.stopping => return,
                Stepped::Worked => {}
                Stepped::Failed => drop(self.changed.wait_for(&mut state, RETRY_AFTER)),
                // Asked again under the lock: the reason to work may have come since.
                Stepped::Idle if matches!(state.plan(), Step::Wait) => self.changed.wait(&mut state),
                Stepped::Idle => {}
            }
        }
    }

    fn step(&self) -> Stepped {
        let mut state = self.state.lock();
        let failed = match state.plan() {
            Step::Wait => return Stepped::Idle,
            Step::Recycle(covered) => {
                drop(state);
                let recycled = self.recycle(&covered);
                self.state.lock().recycling_failed = recycled.is_err();
                recycled.is_err()
            }
            Step::Prepare { sequence, spare } => {
                // Taken before the attempt: a number that may have reached the disk is never used again.
                state.last_sequence = sequence;
                state.spares.retain(|other| Some(*other) != spare);
                drop(state);
                let prepared = self.prepare(sequence, spare);
                self.note_prepared(prepared)
            }
        };
        self.changed.notify_all();
        if failed {
            increment(&self.counters.segment_failures);
        }
        if failed { Stepped::Failed } else { Stepped::Worked }
    }

    /// Returns whether the attempt failed.
    fn note_prepared(&self, prepared: io::Result<Segment>) -> bool {
        let mut state = self.state.lock();
        match prepared {
            Ok(segment) => {
                state.next = Some(segment);
                state.failure = None;
                false
            }
            Err(error) => {
                let (bytes, dir) = (self.options.segment_bytes, self.dir.path.display());
                state.failure = Some(format!("prepare a segment of {bytes} bytes in {dir}: {error}").into());
                true
            }
        }
    }

    fn prepare(&self, sequence: u64, spare: Option<u64>) -> io::Result<Segment> {
        let live = self.dir.file(SegmentName::Live(sequence));
        let from = self.dir.file(spare.map_or(SegmentName::Unfinished, SegmentName::Spare));
        let attempt = (|| {
            let file = if spare.is_some() { self.dir.disk.open(&from)? } else { self.make_zeroed(&from)? };
            // A spare of another size: it was made when the option had another value.
            let fits = file.len()? == self.options.segment_bytes;
            let file = if fits { file } else { self.make_zeroed(&from)? };
            let bytes = self.options.segment_bytes;
            let header = SegmentHeader { sequence, epoch: self.dir.epoch, created_ms: now_ms() };
            fail::fail_point!("wal-segment-header");
            file.write_all_at(&header.to_bytes(), 0)?;
            fail::fail_point!("wal-segment-sync");
            file.sync_data()?;
            fail::fail_point!("wal-segment-rename");
            self.dir.disk.rename(&from, &live)?;
            fail::fail_point!("wal-segment-sync-dir");
            self.dir.disk.sync_dir(&self.dir.path)?;
            fail::fail_point!("wal-segment-ready");
            Ok(Segment { sequence, file, bytes })
        })();
        match &attempt {
            Ok(_) if spare.is_some() => increment(&self.counters.segments_recycled),
            Ok(_) => increment(&self.counters.segments_created),
            // Gives the space back; whichever of the two names exists. A failure changes nothing.
            Err(_) => [from, live].iter().for_each(|path| drop(self.dir.disk.remove(path))),
        }
        attempt
    }

    fn make_zeroed(&self, path: &std::path::Path) -> io::Result<Box<dyn DiskFile>> {
        fail::fail_point!("wal-segment-create");
        let file = self.dir.disk.create(path)?;
        let zeros = vec![0; ZERO_BYTES];
        let mut at = 0;
        while at < self.options.segment_bytes {
            let length = (self.options.segment_bytes - at).min(ZERO_BYTES as u64);
            fail::fail_point!("wal-segment-zero");
            file.write_all_at(zeros.get(..length as usize).unwrap_or(&zeros), at)?;
            at += length;
            if at % ZERO_BYTES_PER_SYNC == 0 {
                file.sync_data()?;
            }
        }
        Ok(file)
    }

    fn recycle(&self, covered: &[Sealed]) -> io::Result<()> {
        for sealed in covered {
            self.retire(*sealed)?;
            self.counters.segments.fetch_sub(1, Relaxed);
        }
        fail::fail_point!("wal-recycle-sync-dir");
        self.dir.disk.sync_dir(&self.dir.path)
    }

    /// Takes one segment out of the log.
    fn retire(&self, sealed: Sealed) -> io::Result<()> {
        let live = self.dir.file(SegmentName::Live(sealed.sequence));
        let room = self.state.lock().spares.len() < self.options.spares_max;
        let fits = room && !sealed.damaged && self.dir.disk.open(&live)?.len()? == self.options.segment_bytes;
        fail::fail_point!("wal-recycle");
        if sealed.damaged {
            self.dir.disk.rename(&live, &self.dir.file(SegmentName::Damaged(sealed.sequence)))?;
        } else if fits {
            self.dir.disk.rename(&live, &self.dir.file(SegmentName::Spare(sealed.sequence)))?;
        } else {
            self.dir.disk.remove(&live)?;
            increment(&self.counters.segments_removed);
        }
        let mut state = self.state.lock();
        state.sealed.retain(|other| other.sequence != sealed.sequence);
        if fits {
            state.spares.push(sealed.sequence);
        }
        Ok(())
    }
}

pub(crate) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
