//! Reads the log back after a start, in order and in bounded memory.
//!
//! Records are numbered without gaps, so the numbers alone tell a crash from damage. Where the next record of a segment
//! is missing or bad:
//! - a later segment goes on with the very number that was expected: a crash ended this one, nothing is lost;
//! - a later segment goes on with a higher number: the records between are damaged. What can be read behind the damage is;
//! - no record follows: the end of the log, torn or clean. Unless a record further on says that it was written when
//!   everything before it was durable: then what is missing was durable too, and is damaged.
//!
//! Samples behind damage can be decoded only from the next new start of the coding state on; the rows between are counted
//! as lost. Damage never stops a start: it is reported, and the file is set aside once a snapshot holds what it gave.

use super::histograms::{self, SeriesHistogram};
use super::payload::{self, Checkpoint};
use super::pool::{Inventory, LogDir, Sealed};
use super::record::{Record, RecordError, RecordHead, RecordType};
use super::samples::{DecodeError, SampleDecoder, row_count};
use super::segment::{HeaderError, SEGMENT_HEADER_BYTES, SegmentName, SegmentReader, VERSION};
use crate::append::{ExemplarRow, LabelHash, Rows, SeriesRef};
use crate::error::Error;
use model::metadata::Metadata;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Damage that is described one by one; more is only counted.
const DAMAGE_LISTED_MAX: usize = 100;

/// Receives what the log holds, in order.
pub(crate) trait ReplaySink {
    /// One more than the highest reference of a series that is known.
    fn series_bound(&self) -> u32;
    /// A series was made.
    fn series(&mut self, lsn: u64, series: SeriesRef, pairs: &[(&str, &str)]);
    /// Samples were appended; the sink may take the rows and leave others.
    fn samples(&mut self, lsn: u64, rows: &mut Rows);
    /// Native histograms were appended.
    fn histograms(&mut self, lsn: u64, rows: Vec<SeriesHistogram>);
    /// An exemplar was appended.
    fn exemplar(&mut self, lsn: u64, row: ExemplarRow);
    /// Metadata was told.
    fn metadata(&mut self, lsn: u64, metric: &str, metadata: Metadata);
    /// Series left the head: later records mean others by their references.
    fn gone(&mut self, lsn: u64, gone: Vec<(SeriesRef, LabelHash)>);
    /// A snapshot was published.
    fn checkpoint(&mut self, lsn: u64, checkpoint: Checkpoint);
}

/// How far a replay is; readable from any thread while it runs.
#[derive(Debug, Default)]
pub struct ReplayProgress {
    first: AtomicU64,
    last: AtomicU64,
    current: AtomicU64,
}

impl ReplayProgress {
    /// Numbers of the first and last segment to read and of the one that is being read; all 0 before it is known.
    #[must_use]
    pub fn get(&self) -> (u64, u64, u64) {
        (self.first.load(Relaxed), self.last.load(Relaxed), self.current.load(Relaxed))
    }
}

/// A place where the log is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is wrong.
    pub what: &'static str,
    /// Records that could not be read at all.
    pub records_lost: u64,
}

impl Damage {
    /// The damage as an error of kind `Corrupt`, for logs.
    #[must_use]
    pub fn to_error(&self) -> Error {
        Error::Damaged { path: self.path.clone(), offset: self.offset, what: self.what }
    }
}

/// What a replay found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Segments read.
    pub segments: u64,
    /// Records delivered.
    pub records: u64,
    /// Samples delivered.
    pub samples: u64,
    /// A batch was being written when the process ended; none of it was acknowledged.
    pub torn_tail: Option<(PathBuf, u64)>,
    /// The first places of damage.
    pub damage: Vec<Damage>,
    /// All places of damage.
    pub damage_count: u64,
    /// Records that could not be read.
    pub records_lost: u64,
    /// Samples in readable records that build on unreadable ones.
    pub samples_lost: u64,
    /// The number of the last record of the log.
    pub last_lsn: u64,
}

/// Delivers to `sink` every record above `covered_lsn`, the last one that snapshots hold of everything.
///
/// # Errors
/// The directory cannot be read, or was written by a newer version. Damage is no error.
pub(crate) fn replay(
    dir: &LogDir,
    covered_lsn: u64,
    sink: &mut dyn ReplaySink,
    progress: &ReplayProgress,
) -> Result<(ReplayReport, Inventory), Error> {
    let (names, mut inventory) = take_inventory(dir)?;
    let segments = names.iter().map(|sequence| Found::open(dir, *sequence)).collect::<Result<Vec<_>, _>>()?;
    let start = first_needed(&segments, covered_lsn);
    progress.first.store(segments.get(start).map_or(0, |found| found.sequence), Relaxed);
    progress.last.store(segments.last().map_or(0, |found| found.sequence), Relaxed);
    let first_lsn = segments.get(start).and_then(|found| found.first_lsn).unwrap_or(u64::MAX);
    let mut replay = Replay {
        sink,
        report: ReplayReport::default(),
        decoder: SampleDecoder::default(),
        scratch: Vec::new(),
        rows: Rows::default(),
        covered_lsn,
        expected: first_lsn.min(covered_lsn + 1),
        sealed: Vec::new(),
        ended: None,
    };
    for (index, found) in segments.iter().enumerate() {
        let damaged = found.state != HeaderState::Whole;
        replay.sealed.push(Sealed { sequence: found.sequence, last_lsn: 0, damaged });
        if index < start {
            continue;
        }
        progress.current.store(found.sequence, Relaxed);
        let next_lsn = segments.iter().skip(index + 1).find_map(|later| later.first_lsn);
        replay.segment(dir, found, next_lsn)?;
    }
    replay.make_durable(dir)?;
    replay.report.last_lsn = (replay.expected - 1).max(covered_lsn);
    inventory.sealed = replay.sealed;
    Ok((replay.report, inventory))
}

/// Sorts the files by what they are and removes what was never finished.
fn take_inventory(dir: &LogDir) -> Result<(Vec<u64>, Inventory), Error> {
    let mut inventory = Inventory::default();
    let mut live = Vec::new();
    for name in dir.disk.list(&dir.path).map_err(Error::io("list", &dir.path))? {
        let Some(parsed) = SegmentName::parse(&name) else { continue };
        match parsed {
            SegmentName::Live(sequence) => live.push(sequence),
            SegmentName::Spare(sequence) => inventory.spares.push(sequence),
            SegmentName::Damaged(_) => {}
            SegmentName::Unfinished => {
                let path = dir.path.join(&name);
                dir.disk.remove(&path).map_err(Error::io("remove", path))?;
            }
        }
        if let SegmentName::Live(sequence) | SegmentName::Spare(sequence) | SegmentName::Damaged(sequence) = parsed {
            inventory.last_sequence = inventory.last_sequence.max(sequence);
        }
    }
    live.sort_unstable();
    Ok((live, inventory))
}

/// A segment before it is read.
struct Found {
    sequence: u64,
    /// Number of the first record; `None` when there is none or it is damaged.
    first_lsn: Option<u64>,
    state: HeaderState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeaderState {
    Whole,
    /// Its records can still tell whether they belong here.
    Damaged,
    /// A whole header of another segment or another data directory.
    Foreign,
}

impl Found {
    fn open(dir: &LogDir, sequence: u64) -> Result<Self, Error> {
        let mut reader = open(dir, sequence)?;
        let path = || dir.file(SegmentName::Live(sequence));
        let state = match reader.header() {
            Ok(Ok(header)) if header.sequence == sequence && header.epoch == dir.epoch => HeaderState::Whole,
            Ok(Ok(_)) => HeaderState::Foreign,
            Ok(Err(HeaderError::UnknownVersion(found))) => {
                return Err(Error::UnknownVersion { path: path(), found, known: VERSION });
            }
            Ok(Err(HeaderError::Damaged)) | Err(_) => HeaderState::Damaged,
        };
        let first_lsn = match reader.peek() {
            _ if state == HeaderState::Foreign => None,
            Ok(Ok(record)) => Some(record.head.lsn),
            Ok(Err(RecordError::Unknown)) => return Err(newer_record(path())),
            Ok(Err(RecordError::Blank | RecordError::Mismatch { .. })) | Err(_) => None,
        };
        Ok(Self { sequence, first_lsn, state })
    }
}

fn open(dir: &LogDir, sequence: u64) -> Result<SegmentReader, Error> {
    let path = dir.file(SegmentName::Live(sequence));
    let file = dir.disk.open(&path).map_err(Error::io("open log segment", &path))?;
    SegmentReader::new(file, sequence).map_err(Error::io("read log segment", path))
}

fn newer_record(path: PathBuf) -> Error {
    Error::UnknownVersion { path, found: VERSION + 1, known: VERSION }
}

/// The last segment that starts at or below the first record that is needed, for everything before it is covered.
fn first_needed(segments: &[Found], covered_lsn: u64) -> usize {
    segments.iter().rposition(|found| found.first_lsn.is_some_and(|first| first <= covered_lsn + 1)).unwrap_or(0)
}

struct Replay<'s> {
    sink: &'s mut dyn ReplaySink,
    report: ReplayReport,
    decoder: SampleDecoder,
    scratch: Vec<u8>,
    rows: Rows,
    covered_lsn: u64,
    /// Number of the record that comes next.
    expected: u64,
    /// Every segment up to the one that is being read.
    sealed: Vec<Sealed>,
    /// Where the segment before the current one ended.
    ended: Option<(PathBuf, u64)>,
}

/// What it means that the expected record is not where it should be.
enum Gap {
    /// The segment ends here.
    End,
    /// As [`Gap::End`], in the middle of a batch.
    Torn,
    /// Durable records are damaged; the reader stands at the first whole one behind them.
    Damaged,
}

impl Replay<'_> {
    /// Reads one segment. `next_lsn` is where the later segments go on, if any has records.
    fn segment(&mut self, dir: &LogDir, found: &Found, next_lsn: Option<u64>) -> Result<(), Error> {
        let path = dir.file(SegmentName::Live(found.sequence));
        self.decoder.lose_step();
        self.report.segments += 1;
        match found.state {
            HeaderState::Whole => {}
            HeaderState::Damaged => self.note_damage(&path, 0, "the segment header is damaged", 0),
            HeaderState::Foreign => {
                self.note_damage(&path, 0, "the segment belongs to another log", 0);
                return Ok(());
            }
        }
        let mut reader = open(dir, found.sequence)?;
        loop {
            let offset = reader.position();
            let claimed = match reader.peek() {
                Ok(Ok(record)) if record.head.lsn >= self.expected => {
                    self.accept(&path, offset, &record);
                    let bytes = record.stored_bytes();
                    reader.advance(bytes);
                    continue;
                }
                Ok(Err(RecordError::Unknown)) => return Err(newer_record(path)),
                Ok(Err(RecordError::Mismatch { lsn })) => Some(lsn),
                Ok(Ok(_) | Err(RecordError::Blank)) => None,
                Err(_) => Some(self.expected),
            };
            match find_gap(&mut reader, self.expected, claimed, next_lsn) {
                Gap::Damaged => continue,
                Gap::Torn => self.report.torn_tail = Some((path.clone(), offset)),
                Gap::End => {}
            }
            self.ended = Some((path, offset));
            return Ok(());
        }
    }

    /// What was read may be in the page cache only, if a process was killed while it synced. Later records build on it.
    fn make_durable(&self, dir: &LogDir) -> Result<(), Error> {
        let Some(newest) = self.sealed.iter().rfind(|sealed| sealed.last_lsn > 0) else { return Ok(()) };
        let path = dir.file(SegmentName::Live(newest.sequence));
        let file = dir.disk.open(&path).map_err(Error::io("open log segment", &path))?;
        file.sync_data().map_err(Error::io("sync log segment", path))
    }

    /// Takes a whole record, the expected one or one behind damage.
    fn accept(&mut self, path: &Path, offset: u64, record: &Record<'_>) {
        let lsn = record.head.lsn;
        if lsn > self.expected {
            self.decoder.lose_step();
            // What snapshots cover is not missed.
            let missed = lsn.saturating_sub(self.expected.max(self.covered_lsn + 1));
            if missed > 0 {
                self.note_missing(path, offset, missed);
            }
        }
        self.deliver(path, offset, record);
        self.expected = lsn + 1;
        if let Some(sealed) = self.sealed.last_mut() {
            sealed.last_lsn = lsn;
        }
    }

    /// Reports missing records at the place where they should have been.
    fn note_missing(&mut self, path: &Path, offset: u64, count: u64) {
        let at_start = offset == SEGMENT_HEADER_BYTES as u64;
        match self.ended.take().filter(|_| at_start) {
            Some((before, end)) => {
                if let [.., sealed, _] = self.sealed.as_mut_slice() {
                    sealed.damaged = true;
                }
                self.note_damage(&before, end, "records at the end of the segment are damaged", count);
            }
            None => {
                self.mark_damaged();
                self.note_damage(path, offset, "the records before this one are damaged or missing", count);
            }
        }
    }

    /// Hands a record to the sink.
    fn deliver(&mut self, path: &Path, offset: u64, record: &Record<'_>) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let delivered = record.payload(&mut scratch).and_then(|payload| self.deliver_payload(record.head, payload));
        self.scratch = scratch;
        self.report.records += 1;
        if delivered.is_none() {
            self.mark_damaged();
            self.note_damage(path, offset, "the payload of a record is malformed", 1);
        }
    }

    fn deliver_payload(&mut self, head: RecordHead, payload: &[u8]) -> Option<()> {
        let lsn = head.lsn;
        let covered = lsn <= self.covered_lsn;
        match head.record_type {
            RecordType::Samples => {
                let bound = self.sink.series_bound();
                match self.decoder.decode(payload, head.restart, head.starts, bound, &mut self.rows) {
                    _ if covered => {}
                    Ok(()) => {
                        self.report.samples += self.rows.len() as u64;
                        self.sink.samples(lsn, &mut self.rows);
                    }
                    Err(DecodeError::BaseMissing) => self.report.samples_lost += row_count(payload) as u64,
                    Err(DecodeError::Malformed) => {
                        self.report.samples_lost += row_count(payload) as u64;
                        return None;
                    }
                }
            }
            _ if covered => {}
            RecordType::Series => {
                let sink = &mut *self.sink;
                payload::read_series(payload, &mut Vec::new(), |series, pairs| sink.series(lsn, series, pairs))?;
            }
            RecordType::Histograms => {
                let rows = histograms::read_histograms(payload)?;
                self.report.samples += rows.len() as u64;
                self.sink.histograms(lsn, rows);
            }
            RecordType::Exemplars => {
                let sink = &mut *self.sink;
                histograms::read_exemplars(payload, |row| sink.exemplar(lsn, row))?;
            }
            RecordType::Metadata => {
                let sink = &mut *self.sink;
                payload::read_metadata(payload, |metric, metadata| sink.metadata(lsn, metric, metadata))?;
            }
            RecordType::Gone => self.sink.gone(lsn, payload::read_gone(payload)?),
            RecordType::Checkpoint => self.sink.checkpoint(lsn, Checkpoint::from_bytes(payload)?),
        }
        Some(())
    }

    fn mark_damaged(&mut self) {
        if let Some(sealed) = self.sealed.last_mut() {
            sealed.damaged = true;
        }
    }

    fn note_damage(&mut self, path: &Path, offset: u64, what: &'static str, records_lost: u64) {
        self.report.damage_count += 1;
        self.report.records_lost += records_lost;
        if self.report.damage.len() < DAMAGE_LISTED_MAX {
            self.report.damage.push(Damage { path: path.to_owned(), offset, what, records_lost });
        }
    }
}

/// Decides what it means that the record `expected` is not at the reader's position, where a damaged header may claim to
/// be record `claimed`; `next_lsn` is where later segments go on.
fn find_gap(reader: &mut SegmentReader, expected: u64, claimed: Option<u64>, next_lsn: Option<u64>) -> Gap {
    if next_lsn.is_some_and(|next| next <= expected) {
        return Gap::End;
    }
    let end = next_lsn.unwrap_or_else(|| expected.saturating_add(reader.length()));
    let mut first_whole = None;
    // A read error ends the search: what cannot be read is lost as well.
    while reader.find_after_damage(expected + 1..end).unwrap_or(false) {
        let position = reader.position();
        let was_durable = match reader.peek() {
            Ok(Ok(record)) => next_lsn.is_some() || record.head.batch_start,
            Ok(Err(_)) | Err(_) => false,
        };
        let first = *first_whole.get_or_insert(position);
        if was_durable {
            reader.seek(first);
            return Gap::Damaged;
        }
    }
    if next_lsn.is_none() && claimed == Some(expected) { Gap::Torn } else { Gap::End }
}
