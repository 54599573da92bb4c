//! A log of small records that forgets its oldest ones: what happened lately, for people who ask.
//!
//! Records are appended to segment files and never changed; the oldest segments are deleted when all of them together are too
//! large or too old. What [`RecordLog::append`] returned from survives the end of the process and a power failure: one sync for
//! each call, however many records it brings. Every opening begins a new segment, so a tail that was cut off by a crash stays where it is and is passed over.
//! Byte layout: `docs/formats/record-log.md`.

mod segment;

use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use parking_lot::Mutex;
use segment::Segment;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest record in bytes; longer ones are refused.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordLogOptions {
    /// Bytes of all segments, about.
    pub bytes_max: u64,
    /// Segments whose last record is older are deleted, in milliseconds.
    pub keep_ms: i64,
}

/// The log. Any thread may append and read.
pub struct RecordLog {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    options: RecordLogOptions,
    oldest: Oldest,
    state: Mutex<State>,
}

struct State {
    /// Oldest first; the last one is written. Never empty.
    segments: Vec<Arc<Segment>>,
    file: Arc<dyn DiskFile>,
    next: u64,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Counts from 1, without gaps while nothing is damaged.
    pub number: u64,
    /// When it happened, as the writer says, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// What happened.
    pub payload: Vec<u8>,
}

/// The oldest time that a record is about, at most its own, from that and the payload: one record may tell of many times.
pub type Oldest = fn(i64, &[u8]) -> i64;

impl RecordLog {
    /// Opens the log in `directory`, which is made if it is missing. Each of its records is about one time.
    ///
    /// # Errors
    /// The directory cannot be read or written.
    pub fn open(disk: Arc<dyn Disk>, directory: &Path, options: RecordLogOptions) -> Result<Self, Error> {
        Self::open_spanning(disk, directory, options, |time_ms, _| time_ms)
    }

    /// As [`RecordLog::open`], with records that are about several times.
    ///
    /// # Errors
    /// The directory cannot be read or written.
    pub fn open_spanning(
        disk: Arc<dyn Disk>,
        directory: &Path,
        options: RecordLogOptions,
        oldest: Oldest,
    ) -> Result<Self, Error> {
        disk.create_dir_all(directory).map_err(Error::io("create", directory))?;
        let mut segments = segment::list(&*disk, directory)?;
        let next = match segments.last() {
            Some(last) => last.first + last.read(&*disk, oldest)?.len() as u64,
            None => 1,
        };
        // Two segments cannot have one name: a last one without records is written anew.
        segments.retain(|segment| segment.first < next);
        let (segment, file) = segment::create(&*disk, directory, next)?;
        segments.push(Arc::new(segment));
        let state = Mutex::new(State { segments, file, next });
        Ok(Self { disk, directory: directory.to_owned(), options, oldest, state })
    }

    /// Appends records, each with its time, in this order, and returns when they are durable. Readers see them before.
    ///
    /// # Errors
    /// The disk refuses; some of the records may be there.
    pub fn append(&self, records: &[(i64, Vec<u8>)]) -> Result<(), Error> {
        let mut bytes = Vec::new();
        let mut times = Vec::with_capacity(records.len());
        for (time_ms, payload) in records.iter().filter(|(_, payload)| payload.len() <= RECORD_BYTES_MAX) {
            segment::encode(*time_ms, payload, &mut bytes);
            times.push(((self.oldest)(*time_ms, payload), *time_ms));
        }
        let mut state = self.state.lock();
        let current = Arc::clone(state.segments.last().expect("there is always one"));
        let file = Arc::clone(&state.file);
        if let Err(error) = file.write_all_at(&bytes, current.bytes()) {
            // What was written of it would hide what follows.
            self.begin_segment(&mut state)?;
            return Err(Error::io("append to", &current.path)(error));
        }
        state.next += times.len() as u64;
        let written = current.grow(bytes.len() as u64, &times);
        if written >= self.segment_bytes() {
            self.begin_segment(&mut state)?;
        }
        self.prune(&mut state, times.into_iter().map(|(_, newest)| newest).max());
        drop(state);
        // Nobody else waits for the disk meanwhile.
        file.sync_data().map_err(|error| {
            // What is on the disk of this file is not known any more.
            let mut state = self.state.lock();
            if Arc::ptr_eq(&state.file, &file)
                && let Err(error) = self.begin_segment(&mut state)
            {
                return error;
            }
            Error::io("sync", &current.path)(error)
        })
    }

    /// Shows records from the newest to the oldest, those before number `before` and about times in `times`, until `visit` breaks
    /// or about `bytes_max` were read. Returns the number before which to go on, or `None` when there is nothing left.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub fn read_back(
        &self,
        before: Option<u64>,
        times: RangeInclusive<i64>,
        bytes_max: u64,
        mut visit: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<Option<u64>, Error> {
        let segments = self.state.lock().segments.clone();
        let before = before.unwrap_or(u64::MAX);
        let (mut read, mut behind) = (0, before);
        for segment in segments.iter().rev().filter(|segment| segment.first < before) {
            if read > 0 && read + segment.bytes() > bytes_max {
                return Ok(Some(behind));
            }
            behind = segment.first;
            if !segment.may_reach_into(&times) {
                continue;
            }
            read += segment.bytes();
            for record in segment.read(&*self.disk, self.oldest)?.into_iter().rev() {
                let is_about =
                    record.time_ms >= *times.start() && (self.oldest)(record.time_ms, &record.payload) <= *times.end();
                if record.number >= before || !is_about {
                    continue;
                }
                let number = record.number;
                if visit(record).is_break() {
                    return Ok((number > 1).then_some(number));
                }
            }
        }
        Ok(None)
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.state.lock().segments.iter().map(|segment| segment.bytes()).sum()
    }

    /// A sixteenth of all, so that little is forgotten at once, within what is read at once.
    fn segment_bytes(&self) -> u64 {
        (self.options.bytes_max / 16).clamp(1 << 10, 8 << 20)
    }

    fn begin_segment(&self, state: &mut State) -> Result<(), Error> {
        if state.segments.last().is_some_and(|last| last.first == state.next) {
            // Nothing was counted in it: its number is needed again.
            state.next += 1;
        }
        let (segment, file) = segment::create(&*self.disk, &self.directory, state.next)?;
        state.segments.push(Arc::new(segment));
        state.file = file;
        Ok(())
    }

    /// Deletes segments from the oldest on, never the one that is written.
    fn prune(&self, state: &mut State, now_ms: Option<i64>) {
        let mut bytes: u64 = state.segments.iter().map(|segment| segment.bytes()).sum();
        while let [oldest, _, ..] = state.segments.as_slice() {
            let is_old = now_ms.is_some_and(|now_ms| oldest.is_older_than(now_ms.saturating_sub(self.options.keep_ms)));
            if bytes <= self.options.bytes_max && !is_old {
                return;
            }
            // One that cannot be deleted is forgotten until the next opening.
            let _ = self.disk.remove(&oldest.path);
            bytes -= oldest.bytes();
            state.segments.remove(0);
        }
    }
}

impl std::fmt::Debug for RecordLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordLog").field("directory", &self.directory).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
