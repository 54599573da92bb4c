//! The head's directory: how many shards it was made with.
//!
//! References hold the shard in their low bits, so a stored head keeps its number of shards for good. Layout of
//! `head.meta`: see `docs/formats/head-chunk-file.md`.

use super::chunk_file::io_error;
use super::error::HeadError;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

const MAGIC: &[u8; 8] = b"HrthHead";
const VERSION: u32 = 1;
const LEN: usize = 20;
const NAME: &str = "head.meta";

/// Makes the directory if need be and returns the number of shards of the head in it, `wanted` for a new one.
pub(super) fn open_dir(dir: &Path, wanted: usize) -> Result<usize, HeadError> {
    std::fs::create_dir_all(dir).map_err(io_error("create", dir))?;
    let path = dir.join(NAME);
    match std::fs::read(&path) {
        Ok(bytes) => parse(&bytes, &path),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            store(dir, &path, wanted)?;
            Ok(wanted)
        }
        Err(error) => Err(io_error("read", &path)(error)),
    }
}

fn encode(shards: usize) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(shards as u32).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

fn parse(bytes: &[u8], path: &Path) -> Result<usize, HeadError> {
    let place = || path.display().to_string();
    let corrupt = |what| HeadError::Corrupt { what, place: place(), offset: 0 };
    let fields: [u8; LEN] = bytes.try_into().map_err(|_| corrupt("not the 20 bytes of a head"))?;
    let word = |at: usize| u32::from_le_bytes([fields[at], fields[at + 1], fields[at + 2], fields[at + 3]]);
    if fields[..8] != *MAGIC {
        return Err(corrupt("not a head"));
    }
    if word(8) > VERSION {
        return Err(HeadError::NewerFormat { place: place(), found: word(8), known: VERSION });
    }
    let shards = word(12) as usize;
    if crc32fast::hash(&fields[..16]) != word(16) || !shards.is_power_of_two() || shards > super::SHARDS_MAX {
        return Err(corrupt("wrong checksum"));
    }
    Ok(shards)
}

fn store(dir: &Path, path: &Path, shards: usize) -> Result<(), HeadError> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary).map_err(io_error("create", &temporary))?;
    file.write_all(&encode(shards)).map_err(io_error("write", &temporary))?;
    file.sync_all().map_err(io_error("sync", &temporary))?;
    std::fs::rename(&temporary, path).map_err(io_error("rename", &temporary))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_keeps_its_number_of_shards() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(open_dir(dir.path(), 4).unwrap(), 4);
        assert_eq!(open_dir(dir.path(), 8).unwrap(), 4);
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        for bit in 0..LEN * 8 {
            let mut bytes = encode(4);
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bytes, Path::new("head.meta")).is_err(), "bit {bit}");
        }
    }
}
