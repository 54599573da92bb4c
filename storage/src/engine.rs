//! The engine: the front of the crate. Log, head, snapshots and metadata as one thing that can be opened, written,
//! read and closed.
//!
//! Who writes first turns label sets into [`SeriesRef`]s ([`Engine::lookup`], [`Engine::create`]) and then appends rows.
//! Never reordered: a sample is durable in the log, then visible in the head, then acknowledged; the record of a new
//! series is in the log before any sample of it. A failure of the log ends all acknowledgement; what was stored stays
//! readable, and a restart brings back what was acknowledged.

mod options;

mod directory;
mod flush;
mod kept;
mod pipeline;
mod reading;
mod restore;
mod shard_filler;
mod snapshots;

pub use flush::Flush;
pub(crate) use kept::Kept;
pub use options::Options;
pub use restore::RestoreReport;
pub use snapshots::SnapshotStats;

use crate::append::{AppendOutcome, Batch, LabelHash, Pin, SeriesRef};
use crate::disk::{Disk, RealDisk};
use crate::error::Error;
use crate::exemplars::ExemplarStore;
use crate::head::{FlushedState, Head, HeadOptions, HeadStats};
use crate::metadata::{MetadataStore, News};
use crate::wal::pool::{Inventory, LogDir, PoolOptions, SegmentPool, now_ms};
use crate::wal::queue::{Content, LogQueue, Work};
use crate::wal::replay::{ReplayProgress, replay};
use crate::wal::stats::{WalCounters, WalStats};
use crate::wal::writer::{LogWriter, RecordLimits};
use directory::Directory;
use model::metadata::Metadata;
use parking_lot::{Mutex, RwLock};
use pipeline::Pipeline;
use restore::{Loaded, RestoreSink, load_snapshots};
use snapshots::{Schedule, SnapshotThread, Snapshots};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Instant;

/// An open data directory. A cheap handle: clones share one engine, any thread may use any of them.
///
/// The directory is released when the last clone is dropped, best after [`Engine::flush_and_close`].
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// Fields are dropped in this order: threads first, the lock of the directory last.
struct Inner {
    snapshot_thread: Mutex<SnapshotThread>,
    pipeline: Mutex<Pipeline>,
    snapshots: Arc<Snapshots>,
    queue: Arc<LogQueue>,
    pool: Arc<SegmentPool>,
    applied: Arc<Applied>,
    counters: Arc<WalCounters>,
    kept: RwLock<Kept>,
    limits: RecordLimits,
    queue_bytes_max: usize,
    report: RestoreReport,
    _directory: Directory,
}

/// What the log is applied to, and how far it is.
struct Applied {
    head: Head,
    metadata: MetadataStore,
    exemplars: ExemplarStore,
    /// Every record up to this one is applied. Held while a batch is, so that a shard can be frozen at a known position.
    position: Mutex<u64>,
}

/// Whether the engine can do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Everything works.
    Healthy,
    /// Appends are refused until there is space for the log again; that is tried without end.
    NoLogSpace {
        /// Why the last attempt failed.
        reason: String,
    },
    /// Appends are refused until the process starts anew.
    Failed {
        /// What happened.
        reason: String,
    },
}

/// Everything an operator needs to know about storage.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EngineStats {
    /// The log.
    pub wal: WalStats,
    /// The head.
    pub head: HeadStats,
    /// Snapshots.
    pub snapshots: SnapshotStats,
    /// Metrics with metadata.
    pub metadata_metrics: u64,
    /// Bytes of memory that metadata takes.
    pub metadata_bytes: u64,
    /// Metadata refused because the store was full.
    pub metadata_refused: u64,
    /// Exemplars held.
    pub exemplars: u64,
    /// Places where stored bytes were not what was written, found at the start.
    pub corruptions: u64,
    /// Time that the start took to bring the head back, in seconds.
    pub restore_seconds: f64,
}

impl Engine {
    /// Opens the directory and brings the head back.
    ///
    /// # Errors
    /// An option cannot work, the directory is held by another process, was written by a newer version, or cannot be used.
    /// Damaged files are no error: see [`Engine::restore_report`].
    pub fn open(options: &Options) -> Result<Self, Error> {
        Self::open_observed(options, &ReplayProgress::default())
    }

    /// As [`Engine::open`]; other threads can see in `progress` how far it is.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_observed(options: &Options, progress: &ReplayProgress) -> Result<Self, Error> {
        Self::open_flushed(options, progress, &FlushedState::default())
    }

    /// As [`Engine::open_observed`], when blocks hold a part of what was written, as their manifest tells.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_flushed(options: &Options, progress: &ReplayProgress, flushed: &FlushedState) -> Result<Self, Error> {
        Self::open_on(Arc::new(RealDisk), options, progress, flushed)
    }

    /// As [`Engine::open_flushed`], with log and snapshots on another disk.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        options: &Options,
        progress: &ReplayProgress,
        flushed: &FlushedState,
    ) -> Result<Self, Error> {
        options.check()?;
        let directory = Directory::open(&disk, &options.path)?;
        let mut report = RestoreReport::default();
        let head = open_head(options, &directory, &mut report)?;
        let applied = Applied {
            head,
            metadata: MetadataStore::new(options.metadata_bytes_max),
            exemplars: ExemplarStore::new(options.exemplars_max),
            position: Mutex::new(0),
        };
        let dir = LogDir { disk: Arc::clone(&disk), path: directory.wal.clone(), epoch: directory.epoch };
        let flushed = flush::of_directory(flushed, directory.epoch, &mut report);
        let (loaded, inventory) = restore(&dir, &directory, &applied, progress, &mut report, &flushed)?;
        let found_lsn = report.replay.last_lsn.max(loaded.last_lsn());
        // Records above what blocks hold must never look as if they were below.
        let last_lsn = found_lsn.max(flushed.lsn);
        *applied.position.lock() = last_lsn;
        let applied = Arc::new(applied);

        let counters = Arc::new(WalCounters::default());
        let limits = RecordLimits::new(options.segment_bytes);
        let sealed_bytes = inventory.sealed.len() as u64 * options.segment_bytes;
        let pool_options = PoolOptions { segment_bytes: options.segment_bytes, spares_max: options.spares_max() };
        let pool = Arc::new(SegmentPool::start(dir, pool_options, inventory, Arc::clone(&counters))?);
        let queue = Arc::new(LogQueue::new(options.queue_bytes_max, limits));
        // What was damaged is better kept in a snapshot than read once more.
        let wanted = report.damage_count() > 0 || loaded.last_lsn() > report.replay.last_lsn;
        let state = snapshots::State::new(&loaded, wanted);
        pool.release(state.safely_covered());
        let snapshots = Arc::new(Snapshots {
            disk,
            dir: directory.head.clone(),
            epoch: directory.epoch,
            applied: Arc::clone(&applied),
            pool: Arc::clone(&pool),
            queue: Arc::clone(&queue),
            state: Mutex::new(state),
            taking: Mutex::new(()),
        });
        if sealed_bytes >= 3 * options.snapshot_wal_bytes || last_lsn > found_lsn {
            // The next start must not take the numbers left out for records lost. A process that ends again and again before a snapshot is due would fill the disk with started segments.
            snapshots.take()?;
        }
        let writer = LogWriter::new(Arc::clone(&pool), Arc::clone(&queue), Arc::clone(&counters), limits, last_lsn);
        let thread_error = || Error::io("start a thread for", &options.path);
        let pipeline = Pipeline::start(Arc::clone(&queue), writer, Arc::clone(&applied)).map_err(thread_error())?;
        let schedule = Schedule { interval: options.snapshot_interval, wal_bytes: options.snapshot_wal_bytes };
        let snapshot_thread = SnapshotThread::start(Arc::clone(&snapshots), schedule).map_err(thread_error())?;
        Ok(Self {
            inner: Arc::new(Inner {
                snapshot_thread: Mutex::new(snapshot_thread),
                pipeline: Mutex::new(pipeline),
                snapshots,
                queue,
                pool,
                applied,
                counters,
                kept: RwLock::default(),
                limits,
                queue_bytes_max: options.queue_bytes_max,
                report,
                _directory: directory,
            }),
        })
    }

    /// Keeps what is found from now on, until the pin is dropped: take one before [`Engine::lookup`] and [`Engine::create`]
    /// and hand it over with the batch.
    #[must_use]
    pub fn pin(&self) -> Pin {
        self.inner.applied.head.pin()
    }

    /// Finds the series of many label sets; `out` has the length of `hashes`.
    pub fn lookup(&self, hashes: &[LabelHash], out: &mut [Option<SeriesRef>]) {
        self.inner.applied.head.lookup(hashes, out);
    }

    /// Finds or makes the series of one label set, whose names ascend and whose values are not empty. A new series is
    /// durable with its first sample.
    ///
    /// # Errors
    /// The labels are too large, the head is full, or the log takes nothing now.
    pub fn create(&self, hash: LabelHash, labels: &[(&str, &str)]) -> Result<SeriesRef, Error> {
        const OVERHEAD: usize = 16;
        let bytes = labels.iter().map(|(name, value)| OVERHEAD + name.len() + value.len()).sum();
        let bytes_max = self.inner.limits.entry_bytes_max;
        if bytes > bytes_max {
            return Err(Error::LabelsTooLarge { bytes, bytes_max });
        }
        let queue = &self.inner.queue;
        queue.admit()?;
        let log = |series| queue.push_series(series, labels);
        let (series, _) = self.inner.applied.head.create(hash, labels, log)?;
        Ok(series)
    }

    /// Refuses from now on what would not be kept. Of calls at the same time the last one to find out about it counts.
    pub(crate) fn set_kept(&self, kept: impl FnOnce() -> Kept) {
        let mut held = self.inner.kept.write();
        *held = kept();
    }

    /// Appends to series that [`Engine::lookup`] or [`Engine::create`] named. Returns at once. Samples that would not be kept are
    /// refused without being logged.
    ///
    /// `done` is called once, on this thread when the batch is refused at once, else on a thread of the engine, so it must
    /// be quick: when the batch is durable and visible, or when it never will be. Should a thread of the engine panic,
    /// `done` may be dropped without being called.
    ///
    /// # Panics
    /// If the columns differ in length, or a histogram has more than [`HISTOGRAM_BUCKETS_MAX`] populated buckets and bounds.
    ///
    /// [`HISTOGRAM_BUCKETS_MAX`]: crate::append::HISTOGRAM_BUCKETS_MAX
    pub fn append(&self, batch: impl Into<Batch>, done: impl FnOnce(Result<AppendOutcome, Error>) + Send + 'static) {
        let mut batch = batch.into();
        // Until the batch is in the queue, so that whoever changes what is kept can wait for all that was taken before.
        let kept = self.inner.kept.read();
        let taken = kept.take_out(&mut batch, now_ms(), |series| self.inner.applied.head.labels_of(series));
        let all_taken = !taken.is_empty() && batch.is_empty();
        let done = move |rest: Result<AppendOutcome, Error>| done(rest.map(|rest| taken.join(rest)));
        if all_taken {
            drop(kept);
            return done(Ok(AppendOutcome::default()));
        }
        let content = Content::from(batch);
        content.check();
        let offered = self.inner.queue.offer(Work::Append { content, done: Box::new(done) });
        drop(kept);
        if let Err(refused) = offered {
            let (work, error) = *refused;
            if is_full(&error) {
                crate::wal::stats::increment(&self.inner.counters.queue_full);
            }
            work.refuse(error);
        }
    }

    /// Waits until everything that was appended before is in the head or refused; `false` when that cannot be told now.
    pub(crate) fn settle(&self) -> bool {
        let (sender, receiver) = mpsc::sync_channel(1);
        // The receiver is gone only if this thread is.
        let done = Box::new(move |applied: Result<(), Error>| {
            let _ = sender.send(applied.is_ok());
        });
        // Nothing is logged, but its turn comes after all others.
        let _ = self.inner.queue.push(Work::Metadata { entries: Vec::new(), done });
        receiver.recv().unwrap_or(false)
    }

    /// As [`Engine::append`], and waits for the outcome. Not for async tasks.
    ///
    /// # Errors
    /// The batch was refused; whether it is stored is unknown only after [`Error::LogFailed`].
    pub fn append_wait(&self, batch: impl Into<Batch>) -> Result<AppendOutcome, Error> {
        let (sender, receiver) = mpsc::sync_channel(1);
        // The receiver is gone only if this thread is.
        self.append(batch, move |outcome| drop(sender.send(outcome)));
        receiver.recv().unwrap_or_else(|_| Err(lost()))
    }

    /// Stores what senders tell about metrics; what is known already costs nothing. `done` is called as by
    /// [`Engine::append`], with the number of entries that were refused because they are too large or the store is full.
    pub fn append_metadata(
        &self,
        mut entries: Vec<(String, Metadata)>,
        done: impl FnOnce(Result<usize, Error>) + Send + 'static,
    ) {
        let (store, limits) = (&self.inner.applied.metadata, self.inner.limits);
        let mut refused = 0;
        entries.retain(|(metric, metadata)| {
            let bytes = metric.len() + metadata.help.len() + metadata.unit.len();
            let news = if bytes > limits.entry_bytes_max { News::Refused } else { store.judge(metric, metadata) };
            refused += usize::from(news == News::Refused);
            news == News::New
        });
        store.count_refused(refused as u64);
        let done = move |result: Result<(), Error>| done(result.map(|()| refused));
        if entries.is_empty() {
            done(Ok(()));
        } else {
            // A refusal is told to `done`.
            let _ = self.inner.queue.push(Work::Metadata { entries, done: Box::new(done) });
        }
    }

    /// Figures for the operator.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        let inner = &self.inner;
        let (metadata_metrics, metadata_bytes, metadata_refused) = inner.applied.metadata.figures();
        EngineStats {
            wal: inner.counters.read(inner.queue.bytes()),
            head: inner.applied.head.stats(),
            snapshots: inner.snapshots.stats(),
            metadata_metrics,
            metadata_bytes,
            metadata_refused,
            exemplars: inner.applied.exemplars.len() as u64,
            corruptions: inner.report.damage_count(),
            restore_seconds: (inner.report.snapshot_time + inner.report.replay_time).as_secs_f64(),
        }
    }

    /// Bytes on the disk of what is not in blocks, as of `stats`: full segments of the log that no snapshot covers and the
    /// active one, snapshots, and chunk files. Neither spare segments nor a flush that waits to be published count.
    #[must_use]
    pub fn local_bytes(&self, stats: &EngineStats) -> u64 {
        stats.wal.segments * self.inner.pool.segment_bytes() + stats.snapshots.kept_bytes + stats.head.chunk_file_bytes
    }

    /// Whether the engine can do its work.
    #[must_use]
    pub fn health(&self) -> Health {
        if let Some(error) = self.inner.queue.refusal() {
            return Health::Failed { reason: error.to_line() };
        }
        match self.inner.pool.failure() {
            Some(reason) => Health::NoLogSpace { reason: reason.as_ref().to_owned() },
            None => Health::Healthy,
        }
    }

    /// The bound of what may wait for the disk, in bytes; see [`EngineStats`] for what does.
    #[must_use]
    pub fn queue_bytes_max(&self) -> usize {
        self.inner.queue_bytes_max
    }

    /// What the start found and did.
    #[must_use]
    pub fn restore_report(&self) -> &RestoreReport {
        &self.inner.report
    }

    /// Takes a snapshot now and waits for it. Appends go on meanwhile.
    ///
    /// # Errors
    /// A file could not be written; the log keeps what the snapshot would have released.
    pub fn snapshot_now(&self) -> Result<SnapshotStats, Error> {
        self.inner.snapshots.take()
    }

    /// Takes nothing more, waits until everything that was taken is durable, and leaves a snapshot for a fast start.
    ///
    /// # Errors
    /// The log failed before, or the snapshot could not be written. Nothing acknowledged is lost either way.
    pub fn flush_and_close(&self) -> Result<(), Error> {
        self.inner.snapshot_thread.lock().stop();
        self.inner.pipeline.lock().stop();
        match self.inner.queue.refusal() {
            Some(error @ Error::LogFailed { .. }) => return Err(error),
            _ if self.inner.snapshots.has_news() => self.inner.snapshots.take()?,
            _ => return Ok(()),
        };
        Ok(())
    }
}

fn is_full(error: &Error) -> bool {
    matches!(error, Error::QueueFull { .. })
}

fn lost() -> Error {
    Error::LogFailed { reason: "a thread of the log ended early".into() }
}

fn open_head(options: &Options, directory: &Directory, report: &mut RestoreReport) -> Result<Head, Error> {
    let mut head_options = HeadOptions::new(&directory.head);
    head_options.shards = options.shards.unwrap_or(head_options.shards);
    head_options.out_of_order_bytes_max = options.out_of_order_bytes_max;
    head_options.histogram_bytes_max = options.histogram_bytes_max;
    let (head, notices) = Head::open(head_options)?;
    notices.into_iter().for_each(|notice| report.note(notice.message));
    Ok(head)
}

/// Fills the empty head from snapshots and log.
fn restore(
    dir: &LogDir,
    directory: &Directory,
    applied: &Applied,
    progress: &ReplayProgress,
    report: &mut RestoreReport,
    flushed: &FlushedState,
) -> Result<(Loaded, Inventory), Error> {
    let start = Instant::now();
    let loaded = load_snapshots(&dir.disk, directory, applied, report, flushed)?;
    applied.head.adopt_flushed(flushed);
    if loaded.exemplars_lsn <= flushed.lsn {
        applied.exemplars.finish_flush(applied.exemplars.begin_flush(flushed.boundary_ms));
    }
    report.snapshot_time = start.elapsed();
    let start = Instant::now();
    let mut sink =
        RestoreSink::start(applied, &loaded, flushed).map_err(Error::io("start a thread for", &directory.head))?;
    let (replayed, inventory) = replay(dir, loaded.covered_lsn(), &mut sink, progress)?;
    sink.finish(report);
    report.replay = replayed;
    report.replay_time = start.elapsed();
    Ok((loaded, inventory))
}

#[cfg(test)]
mod tests;
