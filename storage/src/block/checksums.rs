//! Checksums of the other files of a block, one for every 16 KiB: whoever reads a range can check it, and damage has a place.
//!
//! Parquet has a checksum per page, but hardly any program writes or checks it. Layout of `checksums.bin`, little-endian:
//! `HrthSums` | version u32 | chunk bytes u32 | files u32 | per file: name length u16, name, file length u64, then a CRC-32
//! (IEEE) of each chunk, the last one perhaps short | CRC-32 of all that precedes.
#![warn(clippy::indexing_slicing)]

use super::error::BlockError;
use super::schema::CHECKSUMS_FILE;
use crc32fast::Hasher;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

/// Bytes that share a checksum.
pub const CHUNK_BYTES: usize = 16 * 1024;
const MAGIC: &[u8; 8] = b"HrthSums";
const VERSION: u32 = 1;

/// The checksums of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSums {
    /// Name within the block.
    pub name: String,
    /// Length of the file.
    pub bytes: u64,
    /// Of each chunk in order.
    pub chunks: Vec<u32>,
}

impl FileSums {
    /// Checks bytes that begin at a chunk of the file; the last chunk must be complete or the end of the file.
    ///
    /// # Errors
    /// The first chunk that is not what was written.
    pub fn check(&self, first_chunk: usize, bytes: &[u8]) -> Result<(), BlockError> {
        for (at, chunk) in bytes.chunks(CHUNK_BYTES).enumerate() {
            let number = first_chunk + at;
            if self.chunks.get(number) != Some(&crc32fast::hash(chunk)) {
                let offset = (number * CHUNK_BYTES) as u64;
                let end = offset + chunk.len() as u64;
                let what = format!("the checksum of bytes {offset} to {end} is not what was written");
                return Err(BlockError::Damaged { file: self.name.clone(), offset, what });
            }
        }
        Ok(())
    }
}

/// A file being written, and its checksums so far.
pub(crate) struct SummedFile {
    file: File,
    path: PathBuf,
    bytes: u64,
    chunks: Vec<u32>,
    /// Of all complete chunks.
    whole: Hasher,
    /// Of the chunk in progress.
    chunk: Hasher,
    chunk_bytes: usize,
}

impl SummedFile {
    pub(crate) fn create(path: PathBuf) -> Result<Self, BlockError> {
        let file = File::create(&path).map_err(BlockError::io("create", &path))?;
        let (whole, chunk) = (Hasher::new(), Hasher::new());
        Ok(Self { file, path, bytes: 0, chunks: Vec::new(), whole, chunk, chunk_bytes: 0 })
    }

    /// Makes the content durable; the directory is the caller's. Returns the checksums and that of the whole file.
    pub(crate) fn finish(mut self, name: &str) -> Result<(FileSums, u32), BlockError> {
        if self.chunk_bytes > 0 {
            self.end_chunk();
        }
        self.file.sync_all().map_err(BlockError::io("sync", &self.path))?;
        let sums = FileSums { name: name.to_owned(), bytes: self.bytes, chunks: self.chunks };
        Ok((sums, self.whole.finalize()))
    }

    fn end_chunk(&mut self) {
        let chunk = std::mem::take(&mut self.chunk);
        self.whole.combine(&chunk);
        self.chunks.push(chunk.finalize());
        self.chunk_bytes = 0;
    }
}

impl Write for SummedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        let mut rest = bytes.get(..written).unwrap_or_default();
        self.bytes += written as u64;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(CHUNK_BYTES - self.chunk_bytes));
            self.chunk.update(now);
            self.chunk_bytes += now.len();
            if self.chunk_bytes == CHUNK_BYTES {
                self.end_chunk();
            }
            rest = later;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The content of the checksums file.
#[must_use]
pub fn encode(files: &[FileSums]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for number in [VERSION, CHUNK_BYTES as u32, files.len() as u32] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for file in files {
        out.extend_from_slice(&(file.name.len() as u16).to_le_bytes());
        out.extend_from_slice(file.name.as_bytes());
        out.extend_from_slice(&file.bytes.to_le_bytes());
        file.chunks.iter().for_each(|sum| out.extend_from_slice(&sum.to_le_bytes()));
    }
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    out
}

/// Reads the checksums file.
///
/// # Errors
/// It is damaged or newer than this program.
pub fn parse(bytes: &[u8]) -> Result<Vec<FileSums>, BlockError> {
    let damaged =
        |what: &str| BlockError::Damaged { file: CHECKSUMS_FILE.to_owned(), offset: 0, what: what.to_owned() };
    let (content, sum) = bytes.split_last_chunk::<4>().ok_or_else(|| damaged("too short"))?;
    if crc32fast::hash(content) != u32::from_le_bytes(*sum) {
        return Err(damaged("wrong checksum"));
    }
    let mut input = Input(content);
    if input.take::<8>() != Some(*MAGIC) {
        return Err(damaged("not a file of checksums"));
    }
    match input.u32() {
        Some(VERSION) => {}
        Some(found) if found > VERSION => {
            return Err(BlockError::NewerFormat { file: CHECKSUMS_FILE.to_owned(), found, known: VERSION });
        }
        _ => return Err(damaged("no version")),
    }
    input.files().ok_or_else(|| damaged("lengths contradict each other"))
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn files(&mut self) -> Option<Vec<FileSums>> {
        let chunk_bytes = self.u32().filter(|bytes| *bytes as usize == CHUNK_BYTES)?;
        let mut files = Vec::new();
        for _ in 0..self.u32()? {
            let length = u16::from_le_bytes(self.take()?);
            let (name, rest) = self.0.split_at_checked(usize::from(length))?;
            self.0 = rest;
            let name = std::str::from_utf8(name).ok()?.to_owned();
            let bytes = u64::from_le_bytes(self.take()?);
            let count = usize::try_from(bytes.div_ceil(u64::from(chunk_bytes))).ok()?;
            if self.0.len() / 4 < count {
                return None;
            }
            let chunks = (0..count).map(|_| self.u32()).collect::<Option<_>>()?;
            files.push(FileSums { name, bytes, chunks });
        }
        self.0.is_empty().then_some(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(lengths: &[usize]) -> (FileSums, u32, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let mut file = SummedFile::create(dir.path().join("x")).unwrap();
        for (at, length) in lengths.iter().enumerate() {
            file.write_all(&vec![at as u8; *length]).unwrap();
        }
        let (sums, whole) = file.finish("x").unwrap();
        (sums, whole, std::fs::read(dir.path().join("x")).unwrap())
    }

    #[test]
    fn every_chunk_and_the_whole_have_a_checksum() {
        for lengths in [vec![], vec![1], vec![CHUNK_BYTES], vec![5, CHUNK_BYTES * 3, 7, CHUNK_BYTES - 12]] {
            let (sums, whole, bytes) = written(&lengths);
            assert_eq!((sums.bytes, whole), (bytes.len() as u64, crc32fast::hash(&bytes)));
            assert_eq!(sums.chunks.len(), bytes.len().div_ceil(CHUNK_BYTES));
            sums.check(0, &bytes).unwrap();
            if let Some(behind) = bytes.get(CHUNK_BYTES..) {
                sums.check(1, behind).unwrap();
            }
        }
    }

    #[test]
    fn damage_has_a_place() {
        let (sums, _, mut bytes) = written(&[CHUNK_BYTES * 2 + 9]);
        bytes[CHUNK_BYTES + 77] ^= 1;
        let message = sums.check(0, &bytes).unwrap_err().to_string();
        assert!(message.starts_with("`x` is damaged at byte 16384: "), "{message}");
    }

    #[test]
    fn the_file_comes_back_and_any_flipped_bit_is_noticed() {
        let files = vec![written(&[9]).0, written(&[CHUNK_BYTES + 1]).0, written(&[]).0];
        let mut bytes = encode(&files);
        assert_eq!(parse(&bytes).unwrap(), files);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
