//! Reads Prometheus' files: numbers, checksums, and where something is wrong.

use crate::crc32c::crc32c;
use crate::import::ImportError;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A file that is read in pieces, each checked before it is used.
#[derive(Debug)]
pub(super) struct CheckedFile {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl CheckedFile {
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let file = File::open(path).map_err(ImportError::io("open", path))?;
        let bytes = file.metadata().map_err(ImportError::io("look at", path))?.len();
        Ok(Self { file, path: path.to_owned(), bytes })
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that must be there.
    pub(super) fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, ImportError> {
        if offset.checked_add(length).is_none_or(|end| end > self.bytes) {
            return Err(self.damaged(offset, "the file ends before what should be here"));
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, offset).map_err(ImportError::io("read", &self.path))?;
        Ok(bytes)
    }

    /// Up to so many bytes.
    pub(super) fn read_some(&self, offset: u64, length: u64) -> Result<Vec<u8>, ImportError> {
        self.read(offset, length.min(self.bytes.saturating_sub(offset)))
    }

    /// A section: its length, as four bytes, the content that is returned, its checksum.
    pub(super) fn section(&self, offset: u64) -> Result<Vec<u8>, ImportError> {
        let length = self.read(offset, 4)?;
        let length = Reader::new(&length).be32().map(u64::from).unwrap_or_default();
        let mut bytes = self.read(offset + 4, length.saturating_add(4))?;
        let content = bytes.len() - 4;
        self.check(offset, &bytes, content)?;
        bytes.truncate(content);
        Ok(bytes)
    }

    /// An entry: its length as a varint, `extra` bytes and the content, which are returned, its checksum. And where the next
    /// thing begins.
    pub(super) fn entry(&self, offset: u64, extra: u64) -> Result<(Vec<u8>, u64), ImportError> {
        /// Most are smaller.
        const GUESS: u64 = 512;
        let mut bytes = self.read_some(offset, GUESS)?;
        let mut reader = Reader::new(&bytes);
        let length = reader.uvarint().ok_or_else(|| self.damaged(offset, "there is no length"))?;
        let head = reader.at as u64;
        let whole = head.saturating_add(length).saturating_add(extra + 4);
        if whole > bytes.len() as u64 {
            bytes = self.read(offset, whole)?;
        }
        bytes.truncate(whole as usize);
        bytes.drain(..head as usize);
        let content = bytes.len() - 4;
        self.check(offset, &bytes, content)?;
        bytes.truncate(content);
        Ok((bytes, offset + whole))
    }

    fn check(&self, offset: u64, bytes: &[u8], content: usize) -> Result<(), ImportError> {
        let (content, sum) = bytes.split_at(content);
        if Reader::new(sum).be32() == Some(crc32c(content)) {
            return Ok(());
        }
        Err(self.damaged(offset, "its checksum does not match"))
    }

    pub(super) fn damaged(&self, offset: u64, what: impl Into<String>) -> ImportError {
        ImportError::Damaged { path: self.path.clone(), offset, what: what.into() }
    }
}

/// Numbers from bytes; `None` where they end too early.
#[derive(Debug, Clone)]
pub(super) struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn be32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn be64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    /// Go's `binary.Uvarint`.
    pub(super) fn uvarint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Go's `binary.Varint`.
    pub(super) fn varint(&mut self) -> Option<i64> {
        let value = self.uvarint()?;
        Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// A text with its length before it.
    pub(super) fn text(&mut self) -> Option<&'b [u8]> {
        let length = usize::try_from(self.uvarint()?).ok()?;
        self.take(length)
    }
}
