//! A block's deletions: spans of time by series. Format: `tsdb/docs/format/tombstones.md` of Prometheus.

use super::bytes::{CheckedFile, Reader};
use crate::crc32c::crc32c;
use crate::import::ImportError;
use hashbrown::HashMap;
use std::path::Path;

const MAGIC: u32 = 0x0130_ba30;
const VERSION: u8 = 1;

/// Deleted spans, both ends inclusive, by reference of the series.
pub(super) type Tombstones = HashMap<u64, Vec<(i64, i64)>>;

/// Reads a file, which need not be there.
pub(super) fn read(path: &Path) -> Result<Tombstones, ImportError> {
    if !path.exists() {
        return Ok(Tombstones::new());
    }
    let file = CheckedFile::open(path)?;
    let bytes = file.read(0, file.len())?;
    let parts = bytes.split_at_checked(bytes.len().saturating_sub(4)).and_then(|(content, sum)| {
        let (header, stones) = content.split_at_checked(5)?;
        Some((header, stones, sum))
    });
    let (header, stones, sum) = parts.ok_or_else(|| file.damaged(0, "it is too short"))?;
    let mut reader = Reader::new(header);
    if (reader.be32(), reader.byte()) != (Some(MAGIC), Some(VERSION)) {
        return Err(file.damaged(0, "it is no file of tombstones that is known"));
    }
    if Reader::new(sum).be32() != Some(crc32c(stones)) {
        return Err(file.damaged(5, "its checksum does not match"));
    }
    let mut found = Tombstones::new();
    let mut reader = Reader::new(stones);
    while !reader.is_empty() {
        let mut next = || Some((reader.uvarint()?, reader.varint()?, reader.varint()?));
        let (series, first_ms, last_ms) = next().ok_or_else(|| file.damaged(5, "a tombstone ends too early"))?;
        found.entry(series).or_default().push((first_ms, last_ms));
    }
    Ok(found)
}
