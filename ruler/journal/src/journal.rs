//! The journal: a handle for the process, and the writer that one thread runs.
//!
//! A commit changes the memory and appends its frame to a buffer under one lock, so that both have one order. The writer takes
//! the buffer, writes it, syncs if somebody waits, and tells all who do. When a segment has grown, or after the disk
//! failed, a new one begins with the whole memory; then the older ones are deleted.

mod load;

use crate::memory::Memory;
use crate::record::{self, Record};
use crate::segment;
use model::time::Timestamp;
use ruler::ports::AlertMessage;
use ruler::state::shape::GroupShape;
use ruler::state::{Departure, GroupId, GroupMemory, LeftGroup};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use storage::disk::{Disk, DiskFile};
use tokio::sync::oneshot;

pub use load::{Opened, Trouble};

/// A segment with more bytes is followed by a new one, unless most of them are the state with which it began.
const SEGMENT_BYTES: u64 = 16 << 20;
/// Bytes that may wait for the disk.
const BUFFER_BYTES_MAX: usize = 64 << 20;
/// How long to wait before a disk that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Why something is not durable.
pub type Problem = Arc<str>;

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

/// The only one that touches the disk.
pub struct Writer {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// The segment that is written, unless there is none because the disk failed.
    segment: Option<Segment>,
    /// The number of the last segment.
    number: u64,
    /// After a failure: not before this time.
    retry_at: Duration,
    /// A segment that could not be read, to be kept under another name.
    damaged: Option<PathBuf>,
}

struct Shared {
    state: Mutex<State>,
    bell: Condvar,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

#[derive(Default)]
struct State {
    memory: Memory,
    buffer: Vec<u8>,
    waiters: Vec<oneshot::Sender<Result<(), Problem>>>,
    /// The buffer is to be synced although nobody waits.
    sync: bool,
    /// The disk failed, and this is how. The memory goes on without it.
    problem: Option<Problem>,
    closed: bool,
    stats: JournalStats,
}

struct Segment {
    file: Box<dyn DiskFile>,
    length: u64,
    /// How long it was when it held nothing but the state it began with.
    state_length: u64,
}

/// What the journal counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Evaluations that were made durable.
    pub commits: u64,
    /// Evaluations that were not, because the disk failed.
    pub commits_failed: u64,
    /// Syncs of the disk; one serves all commits that wait for it.
    pub syncs: u64,
    /// Failed writes and syncs.
    pub failures: u64,
    /// Segments that were begun.
    pub segments: u64,
    /// Bytes of the segment that is written.
    pub segment_bytes: u64,
    /// Alerts that are remembered: pending, firing, and resolved a short while ago.
    pub alerts: usize,
    /// Messages that at least one Alertmanager was not told yet.
    pub messages: usize,
    /// Whether nothing can be made durable at the moment.
    pub failing: bool,
}

/// A departure on its way to the disk.
#[derive(Debug)]
pub struct Commit {
    /// The alerts that leave, with the numbers under which they wait for every target.
    pub messages: Vec<(u64, AlertMessage)>,
    /// Told when the departure is durable, or why it is not.
    pub durable: oneshot::Receiver<Result<(), Problem>>,
}

impl Journal {
    /// Opens the journal in `directory` and begins a new segment with what is known. Never fails: what could not be read or
    /// written is told in [`Opened::troubles`]. `clock` tells the wall clock time.
    pub fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> (Self, Writer, Opened) {
        let loaded = load::load(&*disk, directory);
        let mut memory = loaded.memory;
        memory.start(clock());
        let mut opened =
            Opened { alerts: memory.alert_count(), messages: memory.message_count(), troubles: loaded.troubles };
        let state = State { memory, ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), bell: Condvar::new(), clock: Box::new(clock) });
        let mut writer = Writer {
            shared: shared.clone(),
            disk,
            directory: directory.to_owned(),
            segment: None,
            number: loaded.last_segment,
            retry_at: Duration::ZERO,
            damaged: loaded.damaged,
        };
        if let Err(error) = writer.begin_segment() {
            let problem = writer.fail(&error, Duration::ZERO);
            opened.troubles.push(Trouble::Write(problem));
        }
        (Self { shared }, writer, opened)
    }

    /// Takes in what an evaluation brought. Its alerts may leave when it is durable, or when that failed.
    #[must_use]
    pub fn commit(&self, departure: &Departure) -> Commit {
        let (told, durable) = oneshot::channel();
        let mut state = self.shared.lock();
        let first_number = state.memory.next_number();
        let messages = state.memory.depart(first_number, departure);
        let mut payload = Vec::new();
        record::encode_departure(first_number, departure, &mut payload);
        match state.append(&payload) {
            Ok(()) => state.waiters.push(told),
            Err(problem) => {
                state.stats.commits_failed += 1;
                // Nobody may be waiting.
                let _ = told.send(Err(problem));
            }
        }
        drop(state);
        self.shared.bell.notify_one();
        Commit { messages, durable }
    }

    /// Notes that all rules of a group were evaluated in `slot`. Nobody waits for the disk; it is synced with the next
    /// departure, and at once when it is the first that is known of the group.
    pub fn evaluated(&self, group: &Arc<GroupId>, slot: Timestamp) {
        let mut state = self.shared.lock();
        state.sync |= state.memory.evaluated(group, slot);
        self.note(state, &Record::Evaluated { group: GroupId::clone(group), slot });
    }

    /// Forgets messages that `target` accepted, or that need not be delivered to it any more. Nobody waits for the disk: if
    /// this is lost, it hears them twice.
    pub fn settled(&self, target: &str, numbers: &[u64]) {
        let mut state = self.shared.lock();
        let numbers = state.memory.settled(target, numbers);
        if !numbers.is_empty() {
            self.note(state, &Record::Settled { target: target.to_owned(), numbers });
        }
    }

    /// From now on alerts leave for the Alertmanagers with these URLs.
    pub fn set_targets(&self, urls: &BTreeSet<String>) {
        let now = (self.shared.clock)();
        let mut state = self.shared.lock();
        if state.memory.targets() != *urls {
            state.memory.set_targets(urls, Some(now));
            self.note(state, &Record::Targets(urls.iter().cloned().collect()));
        }
    }

    /// What the Alertmanager with this URL was not told yet, oldest first.
    #[must_use]
    pub fn waiting(&self, url: &str) -> Vec<(u64, AlertMessage)> {
        self.shared.lock().memory.waiting(url)
    }

    /// A group begins that is configured like this: what is remembered of it. Nobody waits for the disk.
    #[must_use]
    pub fn begin(&self, shape: GroupShape) -> GroupMemory {
        let now = (self.shared.clock)();
        let mut state = self.shared.lock();
        let (memory, is_new) = state.memory.begin(shape.clone(), now);
        if is_new {
            self.note(state, &Record::Begun(shape));
        }
        memory
    }

    /// The groups of an earlier process that did not begin in this one.
    #[must_use]
    pub fn left(&self) -> Vec<LeftGroup> {
        self.shared.lock().memory.left()
    }

    /// A group is gone.
    pub fn end(&self, group: &GroupId) {
        let now = (self.shared.clock)();
        let mut state = self.shared.lock();
        if state.memory.end(group, now) {
            self.note(state, &Record::Ended(group.clone()));
        }
    }

    /// Figures for the operator.
    #[must_use]
    pub fn stats(&self) -> JournalStats {
        let state = self.shared.lock();
        JournalStats {
            alerts: state.memory.alert_count(),
            messages: state.memory.message_count(),
            failing: state.problem.is_some(),
            ..state.stats
        }
    }

    /// Lets the writer end when everything is written.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.bell.notify_one();
    }

    /// Appends a record that nobody waits for. If the disk failed, the next segment will say it.
    fn note(&self, mut state: MutexGuard<'_, State>, record: &Record) {
        let mut payload = Vec::new();
        record::encode(record, &mut payload);
        let appended = state.append(&payload);
        drop(state);
        if appended.is_ok() {
            self.shared.bell.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn append(&mut self, payload: &[u8]) -> Result<(), Problem> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        if self.buffer.len() + payload.len() > BUFFER_BYTES_MAX {
            let problem: Problem = "the disk is too slow: too much waits to be written".into();
            self.give_up(&problem);
            return Err(problem);
        }
        if segment::put_frame(&mut self.buffer, payload) { Ok(()) } else { Err("the evaluation is too large".into()) }
    }

    /// Tells all who wait that the disk failed. Their changes are in the memory, with which the next segment begins.
    fn give_up(&mut self, problem: &Problem) {
        self.problem = Some(problem.clone());
        self.buffer = Vec::new();
        self.stats.commits_failed += self.waiters.len() as u64;
        for waiter in self.waiters.drain(..) {
            // Whoever waited may be gone.
            let _ = waiter.send(Err(problem.clone()));
        }
    }
}

impl Writer {
    /// Writes until the journal is closed. Blocks its thread.
    pub fn run(mut self) {
        let started = Instant::now();
        loop {
            let closed = self.wait(started);
            self.turn(started.elapsed());
            if closed {
                if let Some(segment) = &self.segment {
                    // The process ends; there is nobody left to tell, and what is lost is sent twice.
                    let _ = segment.file.sync_data();
                }
                return;
            }
        }
    }

    /// Returns when there is something to do; whether the journal was closed.
    fn wait(&self, started: Instant) -> bool {
        let mut state = self.shared.lock();
        loop {
            let failing = state.problem.is_some();
            if state.closed || (!failing && !state.buffer.is_empty()) {
                return state.closed;
            }
            if !failing {
                state = self.shared.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let wait = self.retry_at.saturating_sub(started.elapsed());
            if wait.is_zero() {
                return state.closed;
            }
            state = self.shared.bell.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes what waits, once. `now` is a monotonic time.
    pub fn turn(&mut self, now: Duration) {
        let failing = self.shared.lock().problem.is_some();
        if failing {
            if now >= self.retry_at
                && let Err(error) = self.begin_segment()
            {
                self.fail(&error, now);
            }
            return;
        }
        let (bytes, waiters, sync) = {
            let mut state = self.shared.lock();
            let waiters = std::mem::take(&mut state.waiters);
            (std::mem::take(&mut state.buffer), waiters, std::mem::take(&mut state.sync))
        };
        if let Err(error) = self.write(&bytes, sync || !waiters.is_empty()) {
            self.shared.lock().waiters.splice(..0, waiters);
            self.fail(&error, now);
            return;
        }
        self.shared.tell(waiters);
        if self.segment.as_ref().is_some_and(Segment::has_grown)
            && let Err(error) = self.begin_segment()
        {
            self.fail(&error, now);
        }
    }

    fn write(&mut self, bytes: &[u8], sync: bool) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let segment = self.segment.as_mut().ok_or_else(|| io::Error::other("there is no segment"))?;
        segment.file.write_all_at(bytes, segment.length)?;
        segment.length += bytes.len() as u64;
        if sync {
            segment.file.sync_data()?;
        }
        let mut state = self.shared.lock();
        state.stats.segment_bytes = segment.length;
        state.stats.syncs += u64::from(sync);
        Ok(())
    }

    /// Begins a segment with everything that is known, then deletes the older ones.
    fn begin_segment(&mut self) -> io::Result<()> {
        let mut bytes = segment::header();
        let now = (self.shared.clock)();
        let waiters = {
            let mut state = self.shared.lock();
            state.memory.expire(now);
            let mut whole = true;
            state.memory.frames(|payload| whole &= segment::put_frame(&mut bytes, payload));
            if !whole {
                return Err(io::Error::other("an alert is too large"));
            }
            // What waits is part of it.
            state.buffer = Vec::new();
            state.problem = None;
            std::mem::take(&mut state.waiters)
        };
        let written = self.write_segment(&bytes);
        if let Err(error) = written {
            self.shared.lock().waiters.splice(..0, waiters);
            return Err(error);
        }
        self.shared.tell(waiters);
        let mut state = self.shared.lock();
        state.stats.segments += 1;
        state.stats.segment_bytes = bytes.len() as u64;
        drop(state);
        self.tidy();
        Ok(())
    }

    /// A segment gets its name when it is whole and durable, so that no reader ever finds a part of a state.
    fn write_segment(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.create_dir_all(&self.directory)?;
        let number = self.number + 1;
        let (unfinished, path) = (self.directory.join(load::UNFINISHED), self.directory.join(load::file_name(number)));
        let file = self.disk.create(&unfinished)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()?;
        self.disk.rename(&unfinished, &path)?;
        self.disk.sync_dir(&self.directory)?;
        self.number = number;
        let length = bytes.len() as u64;
        self.segment = Some(Segment { file, length, state_length: length });
        Ok(())
    }

    /// Deletes what the last segment made superfluous. What cannot be deleted now is deleted with the next segment.
    fn tidy(&mut self) {
        if let Some(path) = self.damaged.take() {
            let _ = self.disk.rename(&path, &path.with_extension(load::DAMAGED));
        }
        for name in self.disk.list(&self.directory).unwrap_or_default() {
            if load::segment_number(&name).is_some_and(|number| number < self.number) {
                let _ = self.disk.remove(&self.directory.join(name));
            }
        }
    }

    fn fail(&mut self, error: &io::Error, now: Duration) -> Problem {
        self.segment = None;
        self.retry_at = now + RETRY;
        let problem: Problem = format!("{}: {error}", self.directory.display()).into();
        let mut state = self.shared.lock();
        state.stats.failures += 1;
        state.give_up(&problem);
        problem
    }
}

impl Shared {
    fn tell(&self, waiters: Vec<oneshot::Sender<Result<(), Problem>>>) {
        self.lock().stats.commits += waiters.len() as u64;
        for waiter in waiters {
            // Whoever waited may be gone.
            let _ = waiter.send(Ok(()));
        }
    }
}

impl Segment {
    fn has_grown(&self) -> bool {
        self.length > self.state_length.saturating_mul(2).saturating_add(SEGMENT_BYTES)
    }
}

#[cfg(test)]
mod tests;
