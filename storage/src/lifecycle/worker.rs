//! The thread that moves samples through their life: flushes, merges, rewrites, drops and collects what is due.
//!
//! One thing at a time, so none needs to know of the others. What fails is counted and tried again; nothing halts. After a crash
//! at any step the manifest says what is true, and what was half done is garbage: staged files are removed at the next start,
//! uploaded ones when they are a day old.

use super::compaction::{Keep, Target, merge_blocks};
use super::compaction_plan;
use super::epochs::Epochs;
use super::expiring::Expiring;
use super::flush::{StagedBlock, write_blocks};
use super::publish::Change;
use super::relief::Relief;
use super::window::due_boundary;
use crate::block::meta::BlockMeta;
use crate::block::read::Block;
use crate::engine::Flush;
use crate::error::ErrorKind;
use crate::manifest::{Role, collect_garbage};
use crate::store::{Shared, StoreError};
use crate::tiers::days::left_behind;
use crate::tombstone::{Since, Tombstone};
use crate::wal::pool::now_ms;
use hashbrown::HashMap;
use model::labels::Labels;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Directory of blocks that are being written, below that of all data.
const STAGING: &str = "staging";
/// At the end, what is under way has so long. What is cut off is as after a crash.
const PATIENCE: Duration = Duration::from_secs(5);
/// Whoever waits for its turn to merge looks this often whether the process stops.
const TURN_LOOK_EVERY: Duration = Duration::from_millis(100);
/// Garbage is looked for this often.
const COLLECT_EVERY: Duration = Duration::from_secs(600);
/// When nothing came for so long, the clock of the process counts instead of that of the samples.
const IDLE_AFTER: Duration = Duration::from_secs(3600);
/// Idle series leave memory this often.
const IDLE_EVERY: Duration = Duration::from_secs(60);

/// What somebody asks for.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    /// Flush everything that the head holds, and then merge what there is.
    Flush {
        /// Whether to merge.
        compact: bool,
    },
    /// Take these deletions down; they count at once.
    Delete(Vec<Tombstone>),
    /// Carry out all deletions.
    CleanTombstones,
    /// Give memory back.
    Relieve,
}

type Asked = (Request, SyncSender<Result<(), StoreError>>);

/// The running thread.
pub(crate) struct Worker {
    requests: Option<Sender<Asked>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(crate) fn start(shared: Arc<Shared>) -> Result<Self, StoreError> {
        let path = shared.options.engine.path.clone();
        let staging = path.join(STAGING);
        if staging.exists() {
            std::fs::remove_dir_all(&staging).map_err(StoreError::io("remove", &staging))?;
        }
        let (requests, asked) = channel();
        let (stop, stopped) = watch::channel(false);
        let mut lifecycle = Lifecycle {
            stopped,
            shared,
            staging,
            epochs: Epochs::default(),
            pending: None,
            collected: None,
            idled: None,
            relief: Relief::default(),
            seen: None,
            clean: HashMap::new(),
        };
        let builder = std::thread::Builder::new().name("lifecycle".into());
        let thread =
            builder.spawn(move || lifecycle.run(&asked)).map_err(StoreError::io("start a thread for", &path))?;
        Ok(Self { requests: Some(requests), stop, thread: Some(thread) })
    }

    /// Asks for something; the answer comes when it is done.
    pub(crate) fn ask(&self, request: Request) -> Result<Receiver<Result<(), StoreError>>, StoreError> {
        let (sender, receiver) = sync_channel(1);
        let requests = self.requests.as_ref().ok_or(StoreError::Closed)?;
        requests.send((request, sender)).map_err(|_| StoreError::Closed)?;
        Ok(receiver)
    }
}

impl Drop for Worker {
    /// Ends the thread, after what it is doing, unless that waits for a store of objects that does not answer.
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            let asked = Instant::now();
            while !thread.is_finished() && asked.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(2));
            }
            self.stop.send_replace(true);
            // A panic of the thread was already reported by the panic hook.
            let _ = thread.join();
        }
    }
}

pub(super) struct Lifecycle {
    pub(super) shared: Arc<Shared>,
    /// Whether nothing is waited for any more.
    stopped: watch::Receiver<bool>,
    pub(super) staging: PathBuf,
    pub(super) epochs: Epochs,
    /// A flush whose blocks are written and could not be published yet.
    pending: Option<(Flush, Vec<StagedBlock>)>,
    collected: Option<Instant>,
    idled: Option<Instant>,
    pub(super) relief: Relief,
    /// How often anything was appended, and since when that has not changed.
    seen: Option<(u64, Instant)>,
    /// Blocks that nothing more is to be left out of, by the classes of retention that this is known of.
    pub(super) clean: HashMap<String, Vec<String>>,
}

impl Lifecycle {
    fn run(&mut self, asked: &Receiver<Asked>) {
        loop {
            match asked.recv_timeout(self.shared.options.check_interval) {
                Ok((request, answer)) => {
                    let outcome = self.answer(request);
                    // Whoever asked may have stopped waiting.
                    let _ = answer.send(outcome);
                }
                Err(RecvTimeoutError::Timeout) => self.tick(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn answer(&mut self, request: Request) -> Result<(), StoreError> {
        match request {
            Request::Flush { compact } => {
                self.flush_all(i64::MIN)?;
                if compact { self.in_turn(|lifecycle| lifecycle.despite_takeovers(Self::merge_all)) } else { Ok(()) }
            }
            Request::Relieve => {
                self.relieve_if_due();
                Ok(())
            }
            Request::Delete(tombstones) => {
                self.despite_takeovers(|lifecycle| lifecycle.commit_deletions(tombstones.clone()))
            }
            Request::CleanTombstones => {
                // What others asked for counts, too.
                self.refresh()?;
                let view = self.shared.view();
                let in_head = view.deletions.iter().filter(|deletion| deletion.concerns(Since::NOW));
                if let Some(last_ms) = in_head.map(|deletion| deletion.max_ms).max() {
                    // Up to where anything is deleted that may be in the head, so that it holds nothing of it.
                    self.flush_all(last_ms.saturating_add(1))?;
                }
                // Whoever asks may have put right what was damaged.
                self.shared.damage.clear_all();
                self.in_turn(|lifecycle| {
                    lifecycle.despite_takeovers(|lifecycle| {
                        while lifecycle.carry_out_deletion()? {}
                        Ok(())
                    })
                })
            }
        }
    }

    /// Does what was asked for when no other store of the process merges.
    ///
    /// # Errors
    /// As `work`; or the process stops.
    fn in_turn(&mut self, work: impl FnOnce(&mut Self) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let merging = Arc::clone(&self.shared.merging);
        let _turn = loop {
            if let Some(turn) = merging.try_lock_for(TURN_LOOK_EVERY) {
                break turn;
            }
            if *self.stopped.borrow() {
                return Err(StoreError::Closed);
            }
        };
        work(self)
    }

    /// Merges and makes tiers until nothing is left to do, past blocks that turn out to be damaged.
    ///
    /// # Errors
    /// The first failure; what is about a damaged block only when everything else is done.
    fn merge_all(&mut self) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        loop {
            let known = self.shared.damage.count();
            let more = self.compact(true).and_then(|more| if more { Ok(true) } else { self.tier(now_ms()) });
            match more {
                Ok(true) => {}
                Ok(false) => return outcome,
                // It is left out from now on.
                Err(error) if self.shared.damage.count() > known => outcome = outcome.and(Err(error)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Does what is due.
    fn tick(&mut self) {
        let started = Instant::now();
        // What others published; a store that is down says so where it matters.
        if self.refresh().is_ok() {
            // What came of those that were closed is in the manifest.
            self.close_overdue();
        }
        let boundary_ms = self.due_boundary(started);
        if self.pending.is_some() || boundary_ms > self.shared.engine.head().read_floor_ms() {
            // What came of it is in the counters.
            let _ = self.flush(boundary_ms);
        }
        self.relieve_if_due();
        self.shared.engine.head().release();
        self.leave_idle();
        if let Err(error) = self.maintain() {
            self.shared.counters.compaction.failed(error.to_line());
        }
        if self.collected.is_none_or(|at| started.duration_since(at) >= COLLECT_EVERY) {
            self.collect(started);
        }
    }

    /// Up to where the head is to be flushed now. The clock of the samples counts as long as some come: a sender that catches
    /// up after an outage sends old ones in order, and they are not late.
    fn due_boundary(&mut self, now: Instant) -> i64 {
        let head = self.shared.engine.head();
        let changes = head.changed_since(u64::MAX).now;
        if self.seen.is_none_or(|(before, _)| before != changes) {
            self.seen = Some((changes, now));
        }
        let is_idle = self.seen.is_some_and(|(_, at)| now.duration_since(at) >= IDLE_AFTER);
        let newest_ms = head.extent().time_range_ms.map_or(i64::MAX, |(_, newest_ms)| newest_ms);
        let clock_ms = if is_idle { now_ms() } else { now_ms().min(newest_ms) };
        due_boundary(clock_ms, duration_ms(self.shared.options.flush_lag))
    }

    /// Waits for work on the store of objects, or for the end of the process.
    pub(super) fn wait<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, StoreError>
    where
        StoreError: From<E>,
    {
        let mut stopped = self.stopped.clone();
        self.shared.io.wait(async move {
            tokio::select! {
                done = work => Ok(done?),
                _ = stopped.wait_for(|stopped| *stopped) => Err(StoreError::Closed),
            }
        })
    }

    pub(super) fn refresh(&mut self) -> Result<(), StoreError> {
        let chain = Arc::clone(&self.shared.chain);
        self.wait(async move { chain.refresh().await })?;
        self.shared.follow()
    }

    /// Flushes whatever the head holds, and what comes older than `least_ms` is late from then on.
    fn flush_all(&mut self, least_ms: i64) -> Result<(), StoreError> {
        self.flush_up_to(i64::MAX, least_ms)?;
        self.shared.engine.snapshot_now()?;
        Ok(())
    }

    /// Flushes whatever the head holds up to `until_ms`.
    pub(super) fn flush_up_to(&mut self, until_ms: i64, least_ms: i64) -> Result<(), StoreError> {
        if self.pending.is_some() {
            self.flush(i64::MIN)?;
        }
        let head = self.shared.engine.head();
        let newest_ms = head.extent().time_range_ms.map_or(i64::MIN, |(_, newest_ms)| newest_ms);
        let boundary_ms = newest_ms.min(until_ms).saturating_add(1);
        self.flush(boundary_ms.max(head.read_floor_ms()).max(least_ms))
    }

    /// Flushes everything older than `boundary_ms`, or publishes what an earlier flush has written.
    pub(super) fn flush(&mut self, boundary_ms: i64) -> Result<(), StoreError> {
        let started = Instant::now();
        let flushed = self.try_flush(boundary_ms);
        match &flushed {
            Ok(samples) => self.shared.counters.flush.succeeded(*samples, started.elapsed()),
            Err(error) => self.shared.counters.flush.failed(error.to_line()),
        }
        flushed.map(|_| ())
    }

    /// Whether a flush waits to be published.
    pub(super) fn pending_flush(&self) -> bool {
        self.pending.is_some()
    }

    fn try_flush(&mut self, boundary_ms: i64) -> Result<u64, StoreError> {
        if self.shared.view().away.is_some() {
            // How far the head is in blocks may not be known yet.
            self.refresh()?;
        }
        let (flush, staged) = match self.pending.take() {
            Some(pending) => pending,
            None => {
                let flush = self.shared.engine.begin_flush(boundary_ms).ok_or(StoreError::Busy)?;
                fail::fail_point!("flush-begun");
                let (view, retention, now_ms) = (self.shared.view(), self.shared.retention(), now_ms());
                let hide = |labels: &Labels, since| retention.hidden_by_class(labels, &view.deletions, since, now_ms);
                let staged = write_blocks(&flush, &self.staging, &self.shared.options.tenant, now_ms, &hide)?;
                (flush, staged)
            }
        };
        fail::fail_point!("flush-written");
        let change = Change { flushed: Some(flush.state()), ..Change::default() };
        if let Err(error) = self.publish(Role::Writer, &staged, &change) {
            if error.kind() == ErrorKind::Unavailable && !error.is_outrun() {
                self.pending = Some((flush, staged));
            } else {
                self.unstage(&staged);
            }
            return Err(error);
        }
        self.shared.follow()?;
        self.shared.engine.finish_flush(flush);
        fail::fail_point!("flush-finished");
        self.unstage(&staged);
        Ok(staged.iter().map(|block| block.meta.samples + block.meta.histograms).sum())
    }

    /// Local copies are of no more use; what cannot be removed is removed at the next start.
    pub(super) fn unstage(&self, staged: &[StagedBlock]) {
        for block in staged {
            let _ = std::fs::remove_dir_all(&block.dir);
        }
    }

    fn leave_idle(&mut self) {
        let started = Instant::now();
        if self.idled.is_some_and(|at| started.duration_since(at) < IDLE_EVERY) {
            return;
        }
        self.idled = Some(started);
        let before_ms = now_ms().saturating_sub(duration_ms(self.shared.options.idle_after));
        let left = self.shared.engine.collect_idle(before_ms);
        self.shared.counters.series_left.fetch_add(left.freed, Ordering::Relaxed);
    }

    /// Merges, rewrites and drops what is due, one block at a time.
    fn maintain(&mut self) -> Result<(), StoreError> {
        let merging = Arc::clone(&self.shared.merging);
        // While another store merges, this one goes on with what takes no memory, and looks again soon.
        let turn = merging.try_lock().filter(|_| !self.shared.shortage.of_memory());
        if turn.is_none() {
            return self.drop_expired();
        }
        // A block that one of them cannot read does not keep the others from their work.
        let outcomes = [
            self.drop_expired(),
            self.carry_out_deletion().map(|_| ()),
            self.carry_out_class().map(|_| ()),
            self.compact(false).map(|_| ()),
            self.tier(now_ms()).map(|_| ()),
        ];
        outcomes.into_iter().collect()
    }

    /// Merges the blocks of one day, if that is worth it.
    fn compact(&mut self, force: bool) -> Result<bool, StoreError> {
        let view = self.shared.view();
        let raw: Vec<&Block> = self.shared.damage.readable(&view.blocks).collect();
        let candidates: Vec<_> = raw.iter().map(|block| compaction_plan::Candidate::of(block.meta())).collect();
        let mut options = self.shared.options.compaction;
        options.memory_max = options.memory_max.min(self.shared.options.merge_bytes_max);
        let Some(plan) = compaction_plan::plan(&candidates, now_ms(), options, force) else { return Ok(false) };
        let inputs: Vec<Block> =
            raw.into_iter().filter(|block| plan.inputs.contains(&block.meta().ulid)).cloned().collect();
        self.rewrite(&inputs, plan.level, Vec::new())?;
        Ok(true)
    }

    /// Writes one block in place of others; returns its identity, if there is anything left to write.
    pub(super) fn rewrite(
        &mut self,
        inputs: &[Block],
        level: u8,
        done_tombstones: Vec<String>,
    ) -> Result<Option<String>, StoreError> {
        self.rewrite_keeping(Keep::All, inputs, level, done_tombstones)
    }

    /// The same with a part of what is there.
    pub(super) fn rewrite_keeping(
        &mut self,
        keep: Keep,
        inputs: &[Block],
        level: u8,
        done_tombstones: Vec<String>,
    ) -> Result<Option<String>, StoreError> {
        let started = Instant::now();
        let (view, retention, now_ms) = (self.shared.view(), self.shared.retention(), now_ms());
        let hide = |labels: &Labels, since| retention.hidden_by_class(labels, &view.deletions, since, now_ms);
        let tenant = &self.shared.options.tenant;
        let target = Target { staging: &self.staging, tenant, level, now_ms, hide: &hide, view: &view, keep };
        let merged = merge_blocks(&self.shared.io, inputs, &target);
        match &merged {
            Ok(_) => self.shared.damage.clear(inputs),
            Err(error) => drop(self.shared.damage.note(inputs, error)),
        }
        let staged: Vec<_> = merged?.into_iter().collect();
        fail::fail_point!("compaction-written");
        let mut remove: Vec<String> = inputs.iter().map(|block| block.meta().ulid.clone()).collect();
        if keep == Keep::All {
            // They are made again from what is left.
            let added: Vec<&BlockMeta> = staged.iter().map(|block| &block.meta).collect();
            remove.extend(left_behind(&view.manifest.blocks, &remove, &added));
        }
        let deleted_up_to = Some(view.manifest.version);
        let expiring = match keep {
            Keep::All => None,
            Keep::Histograms(_) => Expiring::of(inputs.iter().map(|block| block.meta().as_ref()), &view.manifest),
        };
        let change = Change { remove, done_tombstones, deleted_up_to, expiring, ..Change::default() };
        let published = self.publish(Role::Compactor, &staged, &change);
        self.unstage(&staged);
        published?;
        self.shared.follow()?;
        let samples = inputs.iter().map(|block| block.meta().samples + block.meta().histograms).sum();
        self.shared.counters.compaction.succeeded(samples, started.elapsed());
        Ok(staged.first().map(|block| block.meta.ulid.clone()))
    }

    fn collect(&mut self, started: Instant) {
        self.collected = Some(started);
        let (chain, garbage, now_ms) = (Arc::clone(&self.shared.chain), self.shared.options.garbage, now_ms());
        let collected = self.wait(async move { collect_garbage(&chain, now_ms, garbage).await });
        let counters = &self.shared.counters;
        match collected {
            Ok(collected) => {
                let files = collected.removed_files + collected.orphan_files + collected.versions;
                counters.collected_bytes.fetch_add(collected.bytes, Ordering::Relaxed);
                counters.collection.succeeded(files, started.elapsed());
            }
            Err(error) => counters.collection.failed(error.to_line()),
        }
    }
}

fn duration_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
