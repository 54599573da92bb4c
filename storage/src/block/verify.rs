//! Finds out whether the files of a block are what was written, and whether they agree with each other.
//!
//! Checksums come first: they find every flipped bit and say where it is. Only files that pass are decoded, and every row is
//! checked against what the format promises, so that a mistake of a writer is found as well.

mod files;
mod histograms;
mod rows;
mod samples;

use super::checksums::{self, FileSums};
use super::error::BlockError;
use super::meta::BlockMeta;
use super::schema::{self, CHECKSUMS_FILE, META_FILE};
use rows::Block;
use std::path::Path;

/// What was found.
#[derive(Debug, Default)]
pub struct Verification {
    /// Files that were looked at.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows that were decoded.
    pub rows: u64,
    /// One entry per damaged file, or what else is wrong.
    pub problems: Vec<BlockError>,
}

/// Checks the block in a directory, whose files have the names of the format. `expected` is what the manifest says of it.
///
/// # Errors
/// A file cannot be read. Damage is no error but a problem.
pub fn verify(dir: &Path, expected: Option<&BlockMeta>) -> Result<Verification, BlockError> {
    let mut found = Verification::default();
    let meta = match read_meta(dir, expected) {
        Ok(meta) => meta,
        Err(error @ BlockError::Io { .. }) => return Err(error),
        Err(error) => {
            found.problems.push(error);
            match expected {
                Some(expected) => expected.clone(),
                None => return Ok(found),
            }
        }
    };
    let sums = match read_sums(dir, &meta) {
        Ok(sums) => sums,
        Err(error @ BlockError::Io { .. }) => return Err(error),
        Err(error) => {
            found.problems.push(error);
            Vec::new()
        }
    };
    for file in meta.files.iter().filter(|file| file.name != CHECKSUMS_FILE) {
        found.files += 1;
        found.bytes += file.bytes;
        match files::check(dir, file, sums.iter().find(|sums| sums.name == file.name)) {
            Ok(()) => {}
            Err(error @ BlockError::Io { .. }) => return Err(error),
            Err(error) => found.problems.push(error),
        }
    }
    if found.problems.is_empty() {
        let mut block = Block::new(dir, &meta);
        if let Err(error) = block.check() {
            found.problems.push(error);
        }
        found.rows = block.rows();
    }
    Ok(found)
}

fn read_meta(dir: &Path, expected: Option<&BlockMeta>) -> Result<BlockMeta, BlockError> {
    let meta = BlockMeta::from_json(&files::read(dir, META_FILE)?)?;
    if expected.is_some_and(|expected| *expected != meta) {
        return Err(damaged(META_FILE, 0, "it is not what the manifest says"));
    }
    Ok(meta)
}

fn read_sums(dir: &Path, meta: &BlockMeta) -> Result<Vec<FileSums>, BlockError> {
    let bytes = files::read(dir, CHECKSUMS_FILE)?;
    let expected = meta.file(CHECKSUMS_FILE).map(|file| (file.bytes, file.crc32));
    let sums = checksums::parse(&bytes)?;
    if expected != Some((bytes.len() as u64, crc32fast::hash(&bytes))) {
        return Err(damaged(CHECKSUMS_FILE, 0, "it is not the one that `meta.json` names"));
    }
    Ok(sums)
}

fn damaged(file: &str, offset: u64, what: impl Into<String>) -> BlockError {
    BlockError::Damaged { file: file.to_owned(), offset, what: what.into() }
}

/// Kinds of files that every block has.
const REQUIRED: [&str; 3] = [schema::SERIES_FILE, schema::TIMELINES_FILE, schema::SAMPLES_FILE];
