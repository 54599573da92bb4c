//! One file of the log.

use super::{Oldest, RECORD_BYTES_MAX, Record};
use crate::crc32c::crc32c;
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use parking_lot::Mutex;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"HTHRECL1";
const SUFFIX: &str = ".records";
/// Magic and number of the first record.
const HEADER_BYTES: u64 = 16;
/// Length and checksum, then time.
const HEAD_BYTES: usize = 8;
const TIME_BYTES: usize = 8;

/// A segment and what is known about it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// Number of its first record.
    pub(super) first: u64,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    bytes: u64,
    /// The oldest and the newest time that its records are about; `None` until it was read.
    times: Option<(i64, i64)>,
}

/// The segments of a directory, oldest first.
pub(super) fn list(disk: &dyn Disk, directory: &Path) -> Result<Vec<Arc<Segment>>, Error> {
    let names = disk.list(directory).map_err(Error::io("read directory", directory))?;
    let mut segments = Vec::new();
    for name in names {
        let digits = name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 20);
        let Some(first) = digits.and_then(|digits| digits.parse().ok()) else { continue };
        let path = directory.join(&name);
        let bytes = disk.open(&path).and_then(|file| file.len()).unwrap_or(0);
        segments.push(Arc::new(Segment { path, first, known: Mutex::new(Known { bytes, times: None }) }));
    }
    segments.sort_unstable_by_key(|segment| segment.first);
    Ok(segments)
}

/// Begins a segment, in the place of an empty one of that name. Its name is durable, its bytes are not yet.
pub(super) fn create(disk: &dyn Disk, directory: &Path, first: u64) -> Result<(Segment, Arc<dyn DiskFile>), Error> {
    let path = directory.join(format!("{first:020}{SUFFIX}"));
    let begin = || -> io::Result<Arc<dyn DiskFile>> {
        let file = disk.create(&path)?;
        file.write_all_at(&MAGIC, 0)?;
        file.write_all_at(&first.to_le_bytes(), MAGIC.len() as u64)?;
        disk.sync_dir(directory)?;
        Ok(file.into())
    };
    let file = begin().map_err(Error::io("create", &path))?;
    let known = Known { bytes: HEADER_BYTES, times: None };
    Ok((Segment { path, first, known: Mutex::new(known) }, file))
}

/// Appends one record as it is in the file.
pub(super) fn encode(time_ms: i64, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&time_ms.to_le_bytes());
    out.extend_from_slice(payload);
    let checksum = crc32c(&out[start + HEAD_BYTES..]);
    out[start + 4..start + HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

impl Segment {
    pub(super) fn bytes(&self) -> u64 {
        self.known.lock().bytes
    }

    /// Notes what was appended, by the oldest and the newest time of each record; returns the bytes of the segment.
    pub(super) fn grow(&self, bytes: u64, times: &[(i64, i64)]) -> u64 {
        let mut known = self.known.lock();
        known.bytes += bytes;
        known.note(times.iter().copied());
        known.bytes
    }

    /// Whether there may be records about these times.
    pub(super) fn may_reach_into(&self, times: &RangeInclusive<i64>) -> bool {
        self.known.lock().times.is_none_or(|(from, to)| from <= *times.end() && to >= *times.start())
    }

    pub(super) fn is_older_than(&self, time_ms: i64) -> bool {
        self.known.lock().times.is_some_and(|(_, to)| to < time_ms)
    }

    /// Its records in their order, up to the first that is not whole.
    pub(super) fn read(&self, disk: &dyn Disk, oldest: Oldest) -> Result<Vec<Record>, Error> {
        let bytes = match read_whole(disk, &self.path) {
            Ok(bytes) => bytes,
            // It was forgotten meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("read", &self.path)(error)),
        };
        let records = decode(&bytes, self.first);
        let times = records.iter().map(|record| (oldest(record.time_ms, &record.payload), record.time_ms));
        self.known.lock().note(times);
        Ok(records)
    }
}

impl Known {
    fn note(&mut self, times: impl Iterator<Item = (i64, i64)>) {
        let wider = |(a, b): (i64, i64), (from, to): (i64, i64)| (a.min(from), b.max(to));
        self.times = self.times.into_iter().chain(times).reduce(wider);
    }
}

fn read_whole(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    // What is appended meanwhile is left out.
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// The whole records of a segment's bytes.
pub(super) fn decode(bytes: &[u8], first: u64) -> Vec<Record> {
    let mut records = Vec::new();
    let Some((magic, rest)) = bytes.split_first_chunk::<8>() else { return records };
    let Some((stored, mut rest)) = rest.split_first_chunk::<8>() else { return records };
    if *magic != MAGIC || u64::from_le_bytes(*stored) != first {
        return records;
    }
    while let Some((record, after)) = decode_one(rest, first + records.len() as u64) {
        records.push(record);
        rest = after;
    }
    records
}

fn decode_one(bytes: &[u8], number: u64) -> Option<(Record, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > RECORD_BYTES_MAX {
        return None;
    }
    let (checked, after) = rest.split_at_checked(TIME_BYTES + length)?;
    if crc32c(checked) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (time, payload) = checked.split_first_chunk::<TIME_BYTES>()?;
    Some((Record { number, time_ms: i64::from_le_bytes(*time), payload: payload.to_vec() }, after))
}
