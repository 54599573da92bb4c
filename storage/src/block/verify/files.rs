//! Bytes: lengths and checksums.

use super::super::checksums::{CHUNK_BYTES, FileSums};
use super::super::error::BlockError;
use super::super::meta::BlockFile;
use super::damaged;
use crc32fast::Hasher;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * CHUNK_BYTES;

pub(super) fn open(dir: &Path, name: &str) -> Result<File, BlockError> {
    let path = dir.join(name);
    File::open(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => BlockError::Missing { file: name.to_owned() },
        _ => BlockError::io("open", &path)(error),
    })
}

pub(super) fn read(dir: &Path, name: &str) -> Result<Vec<u8>, BlockError> {
    let mut bytes = Vec::new();
    open(dir, name)?.read_to_end(&mut bytes).map_err(BlockError::io("read", &dir.join(name)))?;
    Ok(bytes)
}

/// Compares a file with its checksums; without those of its chunks, damage has no place.
pub(super) fn check(dir: &Path, file: &BlockFile, sums: Option<&FileSums>) -> Result<(), BlockError> {
    let path = dir.join(&file.name);
    let mut input = open(dir, &file.name)?;
    let (mut whole, mut length, mut chunk) = (Hasher::new(), 0u64, 0);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = fill(&mut input, &mut buffer).map_err(BlockError::io("read", &path))?;
        let (bytes, _) = buffer.split_at(count);
        if bytes.is_empty() {
            break;
        }
        whole.update(bytes);
        length += count as u64;
        if let Some(sums) = sums {
            sums.check(chunk, bytes).map_err(|error| with_place(dir, file, sums, error))?;
            chunk += READ_BYTES / CHUNK_BYTES;
        }
    }
    if length != file.bytes {
        let what = format!("it has {length} bytes instead of {}", file.bytes);
        return Err(damaged(&file.name, length.min(file.bytes), what));
    }
    if whole.finalize() != file.crc32 {
        return Err(damaged(&file.name, 0, "the checksum of the file is not what was written"));
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends.
fn fill(input: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Names the pages in the damaged chunk, if the footer can be trusted.
fn with_place(dir: &Path, file: &BlockFile, sums: &FileSums, error: BlockError) -> BlockError {
    let BlockError::Damaged { file: name, offset, what } = error else { return error };
    let pages = match footer_is_sound(dir, file, sums) {
        true => pages(dir, &name, &(offset..offset + CHUNK_BYTES as u64)),
        false => "page index or footer".to_owned(),
    };
    BlockError::Damaged { file: name, offset, what: format!("{what} ({pages})") }
}

fn footer_is_sound(dir: &Path, file: &BlockFile, sums: &FileSums) -> bool {
    let first = file.bytes.saturating_sub(file.footer_bytes) as usize / CHUNK_BYTES;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut input = File::open(dir.join(&file.name))?;
        input.seek(SeekFrom::Start((first * CHUNK_BYTES) as u64))?;
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().is_ok_and(|bytes| sums.check(first, &bytes).is_ok())
}

/// What lies in a range of a Parquet file, in words.
fn pages(dir: &Path, name: &str, range: &Range<u64>) -> String {
    const LISTED_MAX: usize = 4;
    let parse = || -> Option<ParquetMetaData> {
        let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
        reader.try_parse(&File::open(dir.join(name)).ok()?).ok()?;
        reader.finish().ok()
    };
    let Some(metadata) = parse() else { return "the footer cannot be read".to_owned() };
    let mut found = Vec::new();
    let index = metadata.offset_index().map(Vec::as_slice).unwrap_or_default();
    for (group, (columns, offsets)) in metadata.row_groups().iter().zip(index).enumerate() {
        for (column, offsets) in columns.columns().iter().zip(offsets) {
            let place = |what: &str| format!("row group {group}, column {}, {what}", column.column_path().string());
            if let Some(start) = column.dictionary_page_offset()
                && overlaps(&(start as u64..column.data_page_offset() as u64), range)
            {
                found.push(place("dictionary"));
            }
            for (page, location) in offsets.page_locations().iter().enumerate() {
                let start = location.offset as u64;
                if overlaps(&(start..start.saturating_add(location.compressed_page_size as u64)), range) {
                    found.push(place(&format!("page {page}")));
                }
            }
        }
    }
    let more = found.len().saturating_sub(LISTED_MAX);
    found.truncate(LISTED_MAX);
    if more > 0 { format!("{} and {more} more", found.join("; ")) } else { found.join("; ") }
}

fn overlaps(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}
