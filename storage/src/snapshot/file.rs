//! The file of a snapshot: header, sections of blocks, index, trailer. Byte layout: `docs/formats/snapshot.md`.
#![warn(clippy::indexing_slicing)]

use super::blocks::{BlockReader, BlockWriter};
use crate::disk::DiskFile;
use crate::wal::cursor::Cursor;
use crate::wal::segment::Epoch;
use std::io;

/// First bytes of the file.
pub const MAGIC: [u8; 8] = *b"HRTHSNP\n";
/// Last bytes of the file.
pub const END_MAGIC: [u8; 8] = *b"HRTHEND\n";
/// The version that is written. Version 1 has no exemplars and no native histograms.
pub const VERSION: u32 = 2;
const VERSIONS_READ: std::ops::RangeInclusive<u32> = 1..=VERSION;
const HEADER_BYTES: usize = 64;
const TRAILER_BYTES: usize = 32;
const SECTION_BYTES: usize = 32;
/// More than any head has shards.
const SECTIONS_MAX: usize = 1 << 16;

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SectionKind {
    /// One shard of the head, by its number.
    Shard(u16),
    /// Type, help and unit of all metrics.
    Metadata,
    /// The last exemplars.
    Exemplars,
}

impl SectionKind {
    fn to_numbers(self) -> (u16, u16) {
        match self {
            Self::Shard(number) => (1, number),
            Self::Metadata => (2, 0),
            Self::Exemplars => (3, 0),
        }
    }

    fn from_numbers(kind: u16, number: u16) -> Option<Self> {
        match kind {
            1 => Some(Self::Shard(number)),
            2 => Some(Self::Metadata),
            3 => Some(Self::Exemplars),
            _ => None,
        }
    }
}

/// Where a section is and what it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// What it holds.
    pub kind: SectionKind,
    /// Every record of the log up to this one is in it, as far as it concerns the section.
    pub lsn: u64,
    offset: u64,
    bytes: u64,
}

/// What identifies a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// Number of the snapshot, rising.
    pub number: u64,
    /// The data directory it belongs to.
    pub epoch: Epoch,
    /// When it was begun, in milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// Why a file is no snapshot that can be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Bytes contradict their checksum.
    #[error("{0}")]
    Damaged(&'static str),
    /// A whole snapshot of a version that is not known.
    #[error("snapshot format version {0}")]
    UnknownVersion(u32),
    /// The file cannot be read.
    #[error("read a snapshot")]
    Io(#[from] io::Error),
}

/// Writes one snapshot, section by section.
pub struct SnapshotWriter<'f> {
    file: &'f dyn DiskFile,
    number: u64,
    offset: u64,
    sections: Vec<Section>,
}

impl<'f> SnapshotWriter<'f> {
    /// Begins a snapshot in an empty file.
    ///
    /// # Errors
    /// The file's.
    pub fn begin(file: &'f dyn DiskFile, header: SnapshotHeader) -> io::Result<Self> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&header.number.to_le_bytes());
        bytes.extend_from_slice(&header.epoch);
        bytes.extend_from_slice(&header.created_ms.to_le_bytes());
        bytes.resize(HEADER_BYTES - 4, 0);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        fail::fail_point!("snapshot-header");
        file.write_all_at(&bytes, 0)?;
        Ok(Self { file, number: header.number, offset: HEADER_BYTES as u64, sections: Vec::new() })
    }

    /// Writes one section by `fill`.
    ///
    /// # Errors
    /// The file's, or those of `fill`.
    pub fn section<E: From<io::Error>>(
        &mut self,
        kind: SectionKind,
        lsn: u64,
        fill: impl FnOnce(&mut BlockWriter<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut writer = BlockWriter::new(self.file, self.number, self.offset);
        fill(&mut writer)?;
        let (end, bytes) = writer.finish()?;
        self.sections.push(Section { kind, lsn, offset: self.offset, bytes });
        self.offset = end;
        Ok(())
    }

    /// Writes index and trailer and syncs. Returns the sections and the length of the file.
    ///
    /// # Errors
    /// The file's.
    pub fn finish(self) -> io::Result<(Vec<Section>, u64)> {
        let mut bytes = Vec::new();
        for section in &self.sections {
            let (kind, number) = section.kind.to_numbers();
            bytes.extend_from_slice(&kind.to_le_bytes());
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(&[0; 4]);
            for number in [section.lsn, section.offset, section.bytes] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        let index_checksum = crc32fast::hash(&bytes);
        let mut trailer = self.offset.to_le_bytes().to_vec();
        trailer.extend_from_slice(&(self.sections.len() as u32).to_le_bytes());
        trailer.extend_from_slice(&index_checksum.to_le_bytes());
        trailer.extend_from_slice(&END_MAGIC);
        trailer.extend_from_slice(&[0; 4]);
        trailer.extend_from_slice(&crc32fast::hash(&trailer).to_le_bytes());
        bytes.extend_from_slice(&trailer);
        fail::fail_point!("snapshot-trailer");
        self.file.write_all_at(&bytes, self.offset)?;
        fail::fail_point!("snapshot-sync");
        self.file.sync_data()?;
        Ok((self.sections, self.offset + bytes.len() as u64))
    }
}

/// A snapshot whose header, index and trailer are whole; sections are verified as they are read.
pub struct SnapshotFile {
    file: Box<dyn DiskFile>,
    /// What identifies it.
    pub header: SnapshotHeader,
    /// What it holds.
    pub sections: Vec<Section>,
    /// Its bytes.
    pub length: u64,
}

impl SnapshotFile {
    /// Reads header, trailer and index.
    ///
    /// # Errors
    /// They are damaged or of another version, or the file cannot be read.
    pub fn open(file: Box<dyn DiskFile>) -> Result<Self, SnapshotError> {
        let length = file.len()?;
        let header = read_header(&*file)?;
        let trailer_offset =
            length.checked_sub(TRAILER_BYTES as u64).ok_or(SnapshotError::Damaged("the file is cut"))?;
        let mut trailer = [0; TRAILER_BYTES];
        file.read_at(&mut trailer, trailer_offset)?;
        let (index_offset, count, checksum) =
            parse_trailer(&trailer).ok_or(SnapshotError::Damaged("the trailer is damaged"))?;
        let index_bytes = count * SECTION_BYTES;
        let damaged = SnapshotError::Damaged("the index is damaged");
        if count > SECTIONS_MAX || index_offset.checked_add(index_bytes as u64) != Some(trailer_offset) {
            return Err(damaged);
        }
        let mut index = vec![0; index_bytes];
        file.read_at(&mut index, index_offset)?;
        if crc32fast::hash(&index) != checksum {
            return Err(damaged);
        }
        let sections = index.chunks(SECTION_BYTES).map(parse_section).collect::<Option<_>>().ok_or(damaged)?;
        Ok(Self { file, header, sections, length })
    }

    /// The section of a kind, if there is one.
    #[must_use]
    pub fn section(&self, kind: SectionKind) -> Option<Section> {
        self.sections.iter().find(|section| section.kind == kind).copied()
    }

    /// The content of a section.
    #[must_use]
    pub fn read(&self, section: &Section) -> BlockReader<'_> {
        BlockReader::new(&*self.file, self.header.number, section.offset, section.bytes)
    }

    /// Every record up to this one is contained in every section.
    #[must_use]
    pub fn covered_lsn(&self) -> u64 {
        covered_lsn(&self.sections)
    }
}

/// Every record up to this one is contained in every section.
#[must_use]
pub fn covered_lsn(sections: &[Section]) -> u64 {
    sections.iter().map(|section| section.lsn).min().unwrap_or(0)
}

fn read_header(file: &dyn DiskFile) -> Result<SnapshotHeader, SnapshotError> {
    let mut bytes = [0; HEADER_BYTES];
    file.read_at(&mut bytes, 0)?;
    let fields = || {
        let (covered, checksum) = bytes.split_at_checked(HEADER_BYTES - 4)?;
        let mut cursor = Cursor::new(covered);
        let whole = cursor.take(8)? == MAGIC && Cursor::new(checksum).u32()? == crc32fast::hash(covered);
        let version = cursor.u32()?;
        cursor.take(4)?;
        let number = cursor.u64()?;
        let epoch = cursor.take(16)?.try_into().ok()?;
        let created_ms = cursor.u64()? as i64;
        whole.then_some((version, SnapshotHeader { number, epoch, created_ms }))
    };
    let (version, header) = fields().ok_or(SnapshotError::Damaged("the header is damaged"))?;
    if VERSIONS_READ.contains(&version) { Ok(header) } else { Err(SnapshotError::UnknownVersion(version)) }
}

/// Where the index is, how many sections it has, and its checksum.
fn parse_trailer(bytes: &[u8]) -> Option<(u64, usize, u32)> {
    let (covered, checksum) = bytes.split_at_checked(TRAILER_BYTES - 4)?;
    let mut cursor = Cursor::new(covered);
    let fields = (cursor.u64()?, cursor.u32()? as usize, cursor.u32()?);
    let whole = cursor.take(8)? == END_MAGIC && Cursor::new(checksum).u32()? == crc32fast::hash(covered);
    whole.then_some(fields)
}

fn parse_section(bytes: &[u8]) -> Option<Section> {
    let mut cursor = Cursor::new(bytes);
    let kind = SectionKind::from_numbers(cursor.u16()?, cursor.u16()?)?;
    cursor.take(4)?;
    Some(Section { kind, lsn: cursor.u64()?, offset: cursor.u64()?, bytes: cursor.u64()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::disk::simulated::SimulatedDisk;
    use std::io::{Read, Write};
    use std::path::Path;

    const HEADER: SnapshotHeader = SnapshotHeader { number: 3, epoch: [9; 16], created_ms: 1_700_000_000_000 };

    fn written() -> SimulatedDisk {
        let disk = SimulatedDisk::new();
        let file = disk.create(Path::new("s")).expect("no fault is set");
        let mut writer = SnapshotWriter::begin(&*file, HEADER).expect("no fault is set");
        for (kind, lsn, content) in [
            (SectionKind::Shard(0), 7, "zero"),
            (SectionKind::Shard(1), 9, "one"),
            (SectionKind::Metadata, 8, ""),
            (SectionKind::Exemplars, 8, ""),
        ] {
            let fill = |out: &mut BlockWriter<'_>| out.write_all(content.as_bytes());
            writer.section::<io::Error>(kind, lsn, fill).expect("no fault is set");
        }
        let (sections, length) = writer.finish().expect("no fault is set");
        assert_eq!((sections.len(), length), (4, file.len().expect("no fault is set")));
        disk
    }

    fn open(disk: &SimulatedDisk) -> Result<SnapshotFile, SnapshotError> {
        SnapshotFile::open(disk.open(Path::new("s")).expect("exists"))
    }

    fn content(snapshot: &SnapshotFile, kind: SectionKind) -> io::Result<String> {
        let section = snapshot.section(kind).expect("was written");
        let mut content = String::new();
        snapshot.read(&section).read_to_string(&mut content).map(|_| content)
    }

    #[test]
    fn sections_come_back() {
        let snapshot = open(&written()).expect("own file");
        assert_eq!(snapshot.header, HEADER);
        assert_eq!(snapshot.covered_lsn(), 7);
        assert_eq!(content(&snapshot, SectionKind::Shard(0)).expect("own section"), "zero");
        assert_eq!(content(&snapshot, SectionKind::Shard(1)).expect("own section"), "one");
        assert_eq!(content(&snapshot, SectionKind::Metadata).expect("own section"), "");
        assert!(snapshot.section(SectionKind::Shard(2)).is_none());
    }

    fn golden(version: u32) -> Vec<u8> {
        let name = format!("tests/golden/snapshot-v{version}.bin");
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("the golden file is there")
    }

    /// Snapshots of every format version are read for ever. Set `HEARTH_BLESS=1` to write the golden file of a new version.
    #[test]
    fn snapshots_are_written_byte_for_byte_and_read_in_every_version() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/snapshot-v2.bin");
        let bytes = written().bytes(Path::new("s")).expect("exists");
        if std::env::var_os("HEARTH_BLESS").is_some() {
            std::fs::write(&path, &bytes).expect("the directory exists");
        }
        assert_eq!(bytes, golden(2));
        for version in 1..=VERSION {
            let disk = SimulatedDisk::new();
            let file = disk.create(Path::new("s")).expect("no fault is set");
            file.write_all_at(&golden(version), 0).expect("no fault is set");
            let snapshot = open(&disk).expect("own file");
            assert_eq!(content(&snapshot, SectionKind::Shard(1)).expect("own section"), "one");
            assert_eq!(snapshot.section(SectionKind::Metadata).map(|section| section.lsn), Some(8));
            assert_eq!(snapshot.section(SectionKind::Exemplars).is_some(), version >= 2);
        }
    }

    /// Damage in one section leaves the others readable; damage elsewhere refuses the file.
    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let disk = written();
        let length = disk.bytes(Path::new("s")).expect("exists").len();
        let mut sections_damaged = 0;
        for bit in 0..length * 8 {
            disk.flip(Path::new("s"), bit / 8, 1 << (bit % 8));
            if let Ok(snapshot) = open(&disk) {
                let bad = [SectionKind::Shard(0), SectionKind::Shard(1)].map(|kind| content(&snapshot, kind).is_err());
                assert_eq!(bad.iter().filter(|bad| **bad).count(), 1, "bit {bit}");
                sections_damaged += 1;
            }
            disk.flip(Path::new("s"), bit / 8, 1 << (bit % 8));
        }
        assert_eq!(sections_damaged, (4 + 3 + 2 * 8) * 8);
    }

    #[test]
    fn a_cut_file_is_refused() {
        let disk = written();
        let bytes = disk.bytes(Path::new("s")).expect("exists");
        for length in 0..bytes.len() {
            let file = disk.create(Path::new("s")).expect("no fault is set");
            file.write_all_at(&bytes[..length], 0).expect("no fault is set");
            assert!(open(&disk).is_err(), "{length} bytes");
        }
    }
}
