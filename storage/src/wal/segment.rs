//! Segments: the files of the log. Names, header, reading them record by record.
//!
//! A segment keeps its size for life. `<seq>.wal` is part of the log; `spare-<seq>.wal` was, and waits for a new life;
//! `damaged-<seq>.wal` was set aside for a human.
#![warn(clippy::indexing_slicing)]

use super::cursor::Cursor;
use super::record::{self, ALIGNMENT, HEADER_BYTES, LSN_OFFSET, PAYLOAD_BYTES_MAX, Record, RecordError};
use crate::disk::DiskFile;
use std::io;
use std::ops::Range;

/// Bytes before the first record.
pub const SEGMENT_HEADER_BYTES: usize = 64;
/// First bytes of every segment.
pub const MAGIC: [u8; 8] = *b"HRTHWAL\n";
/// The version that is written; the only one so far.
pub const VERSION: u32 = 1;
const CHECKSUM_OFFSET: usize = 60;
const READ_BYTES: usize = 1 << 20;

/// Identity of a data directory: segments of another directory are not its log.
pub type Epoch = [u8; 16];

/// The first bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Number of the segment; never used twice in one directory.
    pub sequence: u64,
    /// The directory it belongs to.
    pub epoch: Epoch,
    /// When this life began, in milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// Why the first bytes of a file are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not a header, or a damaged one.
    #[error("the segment header is damaged")]
    Damaged,
    /// A whole header of a version that is not known.
    #[error("segment format version {0}")]
    UnknownVersion(u32),
}

impl SegmentHeader {
    /// The bytes of the header.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        bytes.extend_from_slice(&self.epoch);
        bytes.extend_from_slice(&self.created_ms.to_le_bytes());
        bytes.resize(CHECKSUM_OFFSET, 0);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// Reads and verifies a header.
    ///
    /// # Errors
    /// The bytes are damaged, or of another version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HeaderError> {
        let fields = || {
            let (covered, checksum) = bytes.get(..SEGMENT_HEADER_BYTES)?.split_at_checked(CHECKSUM_OFFSET)?;
            let checksum = Cursor::new(checksum).u32()?;
            let mut cursor = Cursor::new(covered);
            let magic_fits = cursor.take(8)? == MAGIC;
            let version = cursor.u32()?;
            cursor.take(4)?;
            let sequence = cursor.u64()?;
            let epoch = cursor.take(16)?.try_into().ok()?;
            let created_ms = cursor.u64()? as i64;
            (magic_fits && checksum == crc32fast::hash(covered))
                .then_some((version, Self { sequence, epoch, created_ms }))
        };
        let (version, header) = fields().ok_or(HeaderError::Damaged)?;
        if version == VERSION { Ok(header) } else { Err(HeaderError::UnknownVersion(version)) }
    }
}

/// What a file in the log's directory is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentName {
    /// Part of the log.
    Live(u64),
    /// Waits for a new life; the number is that of its last one.
    Spare(u64),
    /// Set aside.
    Damaged(u64),
    /// Was being made when the process ended.
    Unfinished,
}

impl SegmentName {
    /// Reads a file name; `None` for files that are none of ours.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let stem = match name.strip_suffix(".wal") {
            Some(stem) => stem,
            None => return name.strip_suffix(".wal.tmp").map(|_| Self::Unfinished),
        };
        let digits = |text: &str| if text.len() == 20 { text.parse().ok() } else { None };
        if let Some(number) = stem.strip_prefix("spare-") {
            return digits(number).map(Self::Spare);
        }
        if let Some(number) = stem.strip_prefix("damaged-") {
            return digits(number).map(Self::Damaged);
        }
        digits(stem).map(Self::Live)
    }
}

/// The file name, with the number at full width so that names sort as numbers do.
impl std::fmt::Display for SegmentName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Live(number) => write!(f, "{number:020}.wal"),
            Self::Spare(number) => write!(f, "spare-{number:020}.wal"),
            Self::Damaged(number) => write!(f, "damaged-{number:020}.wal"),
            Self::Unfinished => f.write_str("new.wal.tmp"),
        }
    }
}

/// Reads the records of one segment through a window that holds one record at least.
pub struct SegmentReader {
    file: Box<dyn DiskFile>,
    sequence: u64,
    length: u64,
    window: Vec<u8>,
    window_start: u64,
    window_filled: usize,
    position: u64,
}

/// What [`SegmentReader::find_after_damage`] may read, in multiples of the segment: bounds the time that foreign bytes
/// made of plausible headers can take.
const SEARCH_PASSES_MAX: u64 = 8;

impl SegmentReader {
    /// Reads a segment from its first record on.
    ///
    /// # Errors
    /// The length cannot be had.
    pub fn new(file: Box<dyn DiskFile>, sequence: u64) -> io::Result<Self> {
        let length = file.len()?;
        let position = SEGMENT_HEADER_BYTES as u64;
        Ok(Self { file, sequence, length, window: Vec::new(), window_start: 0, window_filled: 0, position })
    }

    /// Reads and verifies the header.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn header(&self) -> io::Result<Result<SegmentHeader, HeaderError>> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let read = self.file.read_at(&mut bytes, 0)?;
        Ok(SegmentHeader::from_bytes(bytes.get(..read).unwrap_or_default()))
    }

    /// Where the next record starts.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Length of the file.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The record at the position, which stays there.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn peek(&mut self) -> io::Result<Result<Record<'_>, RecordError>> {
        let wanted = match record::claimed_bytes(self.ahead(HEADER_BYTES)?) {
            Some(wanted) => wanted,
            None => HEADER_BYTES,
        };
        let sequence = self.sequence;
        Ok(record::parse(sequence, self.ahead(wanted)?))
    }

    /// Steps behind the record at the position, which takes `bytes`.
    pub fn advance(&mut self, bytes: usize) {
        self.position += bytes as u64;
    }

    /// Steps to a position where a record starts.
    pub fn seek(&mut self, position: u64) {
        self.position = position;
    }

    /// Steps to the next whole record whose number is in `wanted`; false, and at the end, when there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn find_after_damage(&mut self, wanted: Range<u64>) -> io::Result<bool> {
        let mut verified = 0;
        loop {
            self.position += ALIGNMENT as u64;
            let Some(numbers) = self.ahead(HEADER_BYTES)?.get(LSN_OFFSET..) else { break };
            let words = numbers.len() / ALIGNMENT;
            if words == 0 {
                break;
            }
            let Some(skipped) = first_word_in(numbers, &wanted) else {
                self.position += ((words - 1) * ALIGNMENT) as u64;
                continue;
            };
            self.position += (skipped * ALIGNMENT) as u64;
            let Some(claimed) = record::claimed_bytes(self.ahead(HEADER_BYTES)?) else { continue };
            verified += claimed as u64;
            if verified > SEARCH_PASSES_MAX * self.length {
                break;
            }
            if self.peek()?.is_ok() {
                return Ok(true);
            }
        }
        self.position = self.length;
        Ok(false)
    }

    /// At least `wanted` bytes from the position on, fewer at the end of the file.
    fn ahead(&mut self, wanted: usize) -> io::Result<&[u8]> {
        debug_assert!(wanted <= HEADER_BYTES + PAYLOAD_BYTES_MAX + ALIGNMENT);
        let window_end = self.window_start + self.window_filled as u64;
        let end = (self.position + wanted as u64).min(self.length);
        if self.position < self.window_start || end > window_end {
            let rest = self.length.saturating_sub(self.position);
            let size = rest.min(wanted.max(READ_BYTES) as u64) as usize;
            if self.window.len() < size {
                self.window = vec![0; size];
            }
            self.window_start = self.position;
            self.window_filled = 0;
            self.window_filled = self.file.read_at(&mut self.window, self.position)?;
        }
        let start = (self.position - self.window_start) as usize;
        Ok(self.window.get(start..self.window_filled).unwrap_or_default())
    }
}

/// Records are aligned, so their numbers are too: one pass over words finds every header that may be wanted.
fn first_word_in(bytes: &[u8], wanted: &Range<u64>) -> Option<usize> {
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
    bytes.chunks_exact(ALIGNMENT).position(|bytes| wanted.contains(&word(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::disk::simulated::SimulatedDisk;
    use crate::wal::record::{RecordHead, RecordType};
    use std::path::Path;

    const HEADER: SegmentHeader = SegmentHeader { sequence: 7, epoch: [3; 16], created_ms: 1_700_000_000_000 };

    #[test]
    fn headers_come_back_and_a_flipped_bit_is_noticed() {
        let bytes = HEADER.to_bytes();
        assert_eq!(bytes.len(), SEGMENT_HEADER_BYTES);
        assert_eq!(SegmentHeader::from_bytes(&bytes), Ok(HEADER));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::from_bytes(&flipped), Err(HeaderError::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut bytes = HEADER.to_bytes();
        bytes[8] = 2;
        let checksum = crc32fast::hash(&bytes[..CHECKSUM_OFFSET]);
        bytes[CHECKSUM_OFFSET..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(SegmentHeader::from_bytes(&bytes), Err(HeaderError::UnknownVersion(2)));
    }

    #[test]
    fn names_come_back_and_foreign_names_are_left_alone() {
        for name in
            [SegmentName::Live(7), SegmentName::Spare(u64::MAX), SegmentName::Damaged(0), SegmentName::Unfinished]
        {
            assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        }
        for name in ["7.wal", "lost+found", "00000000000000000007.wal.bak", "spare-x.wal"] {
            assert_eq!(SegmentName::parse(name), None, "{name}");
        }
    }

    fn segment(payloads: &[&[u8]]) -> (SimulatedDisk, SegmentReader) {
        let disk = SimulatedDisk::new();
        let mut bytes = HEADER.to_bytes();
        for (lsn, payload) in payloads.iter().enumerate() {
            let head = RecordHead {
                record_type: RecordType::Samples,
                lsn: lsn as u64,
                batch_start: false,
                restart: false,
                starts: false,
            };
            record::push(&mut bytes, HEADER.sequence, head, payload);
        }
        bytes.resize(4 << 20, 0);
        let file = disk.create(Path::new("a")).expect("no fault is set");
        file.write_all_at(&bytes, 0).expect("no fault is set");
        (disk, SegmentReader::new(file, HEADER.sequence).expect("no fault is set"))
    }

    #[test]
    fn records_larger_than_the_window_are_read() {
        let noise: Vec<u8> = (0..3u64 << 20).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        let (_, mut reader) = segment(&[b"one", &noise, b"three"]);
        let mut sizes = Vec::new();
        while let Ok(record) = reader.peek().expect("no fault is set") {
            let mut scratch = Vec::new();
            sizes.push(record.payload(&mut scratch).expect("own record").len());
            let bytes = record.stored_bytes();
            reader.advance(bytes);
        }
        assert_eq!(sizes, [3, noise.len(), 5]);
    }

    #[test]
    fn the_next_whole_record_is_found_after_damage() {
        let (disk, mut reader) = segment(&[b"one", b"two", b"three"]);
        disk.flip(Path::new("a"), SEGMENT_HEADER_BYTES + HEADER_BYTES, 1);
        assert_eq!(reader.peek().expect("no fault is set").unwrap_err(), RecordError::Mismatch { lsn: 0 });
        assert!(reader.find_after_damage(1..3).expect("no fault is set"));
        assert_eq!(reader.peek().expect("no fault is set").expect("undamaged").head.lsn, 1);
        assert!(!reader.find_after_damage(3..9).expect("no fault is set"));
    }
}
