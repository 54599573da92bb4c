//! A stream of bytes cut into blocks, each verified before a byte of it is used. Byte layout: `docs/formats/snapshot.md`.
//!
//! The checksum starts from the snapshot's number and the block's place, so that a block of another snapshot or from
//! another place never validates.
#![warn(clippy::indexing_slicing)]

use crate::disk::DiskFile;
use crate::wal::cursor::Cursor;
use std::io::{self, Read, Write};

/// Content of a block, at most.
pub const BLOCK_BYTES_MAX: usize = 1 << 20;
const BLOCK_HEADER_BYTES: usize = 8;
/// Written blocks are synced in portions, so that a sync of the log never waits for all of them.
const BYTES_PER_SYNC: u64 = 16 << 20;

fn checksum(snapshot: u64, offset: u64, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&snapshot.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

/// Writes blocks one after the other from `offset` on.
pub struct BlockWriter<'f> {
    file: &'f dyn DiskFile,
    snapshot: u64,
    offset: u64,
    synced: u64,
    /// The block that is being filled, with room for its header in front.
    block: Vec<u8>,
    content_bytes: u64,
}

impl<'f> BlockWriter<'f> {
    /// Writes to `file` from `offset` on.
    #[must_use]
    pub fn new(file: &'f dyn DiskFile, snapshot: u64, offset: u64) -> Self {
        let mut block = Vec::with_capacity(BLOCK_HEADER_BYTES + BLOCK_BYTES_MAX);
        block.resize(BLOCK_HEADER_BYTES, 0);
        Self { file, snapshot, offset, synced: offset, block, content_bytes: 0 }
    }

    /// Writes the block that is open. Returns where the next would start and how many bytes were given.
    ///
    /// # Errors
    /// The file's.
    pub fn finish(mut self) -> io::Result<(u64, u64)> {
        self.write_block()?;
        Ok((self.offset, self.content_bytes))
    }

    fn write_block(&mut self) -> io::Result<()> {
        let (header, content) = self.block.split_at_mut(BLOCK_HEADER_BYTES);
        if content.is_empty() {
            return Ok(());
        }
        let length = (content.len() as u32).to_le_bytes();
        let checksum = checksum(self.snapshot, self.offset, content).to_le_bytes();
        header.copy_from_slice([length, checksum].as_flattened());
        fail::fail_point!("snapshot-block");
        self.file.write_all_at(&self.block, self.offset)?;
        self.offset += self.block.len() as u64;
        self.block.truncate(BLOCK_HEADER_BYTES);
        if self.offset - self.synced >= BYTES_PER_SYNC {
            self.file.sync_data()?;
            self.synced = self.offset;
        }
        Ok(())
    }
}

impl Write for BlockWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BLOCK_HEADER_BYTES + BLOCK_BYTES_MAX - self.block.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.block.extend_from_slice(taken);
        self.content_bytes += taken.len() as u64;
        if taken.len() == room {
            self.write_block()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads blocks one after the other; an error tells where the first damaged one is.
pub struct BlockReader<'f> {
    file: &'f dyn DiskFile,
    snapshot: u64,
    offset: u64,
    /// Bytes of content that are still to come after this block.
    remaining: u64,
    block: Vec<u8>,
    consumed: usize,
}

impl<'f> BlockReader<'f> {
    /// Reads `content_bytes` from blocks that start at `offset`.
    #[must_use]
    pub fn new(file: &'f dyn DiskFile, snapshot: u64, offset: u64, content_bytes: u64) -> Self {
        Self { file, snapshot, offset, remaining: content_bytes, block: Vec::new(), consumed: 0 }
    }

    /// Where the block is that was read last, or could not be.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn read_block(&mut self) -> io::Result<()> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a block does not fit its checksum");
        let mut header = [0; BLOCK_HEADER_BYTES];
        let read = self.file.read_at(&mut header, self.offset)?;
        let mut cursor = Cursor::new(header.get(..read).unwrap_or_default());
        let (length, stored) = cursor.u32().zip(cursor.u32()).ok_or_else(damaged)?;
        let length = length as usize;
        if length == 0 || length > BLOCK_BYTES_MAX || length as u64 > self.remaining {
            return Err(damaged());
        }
        self.block.resize(length, 0);
        let read = self.file.read_at(&mut self.block, self.offset + BLOCK_HEADER_BYTES as u64)?;
        if read != length || checksum(self.snapshot, self.offset, &self.block) != stored {
            self.block.clear();
            return Err(damaged());
        }
        self.offset += (BLOCK_HEADER_BYTES + length) as u64;
        self.remaining -= length as u64;
        self.consumed = 0;
        Ok(())
    }
}

impl Read for BlockReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.consumed == self.block.len() {
            if self.remaining == 0 {
                return Ok(0);
            }
            self.read_block()?;
        }
        let mut rest = self.block.get(self.consumed..).unwrap_or_default();
        let read = rest.read(buffer)?;
        self.consumed += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::disk::simulated::SimulatedDisk;
    use std::path::Path;

    fn write(content: &[u8], pieces: usize) -> (SimulatedDisk, u64) {
        let disk = SimulatedDisk::new();
        let file = disk.create(Path::new("s")).expect("no fault is set");
        let mut writer = BlockWriter::new(&*file, 5, 64);
        content.chunks(pieces).for_each(|piece| writer.write_all(piece).expect("no fault is set"));
        let (end, bytes) = writer.finish().expect("no fault is set");
        assert_eq!(bytes, content.len() as u64);
        (disk, end)
    }

    fn read(disk: &SimulatedDisk, snapshot: u64, bytes: u64) -> io::Result<Vec<u8>> {
        let file = disk.open(Path::new("s")).expect("exists");
        let mut content = Vec::new();
        BlockReader::new(&*file, snapshot, 64, bytes).read_to_end(&mut content).map(|_| content)
    }

    #[test]
    fn streams_of_any_length_come_back() {
        for length in [0, 1, BLOCK_BYTES_MAX - 1, BLOCK_BYTES_MAX, BLOCK_BYTES_MAX + 1, 3 * BLOCK_BYTES_MAX] {
            let content: Vec<u8> = (0..length).map(|n| (n * 31 % 251) as u8).collect();
            let (disk, _) = write(&content, 300_000);
            assert_eq!(read(&disk, 5, length as u64).expect("own blocks"), content);
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let (disk, end) = write(&[7; 500], 100);
        for at in 64..end as usize {
            disk.flip(Path::new("s"), at, 0x10);
            assert!(read(&disk, 5, 500).is_err(), "byte {at}");
            disk.flip(Path::new("s"), at, 0x10);
        }
        assert!(read(&disk, 5, 500).is_ok());
    }

    #[test]
    fn blocks_of_another_snapshot_or_cut_ones_are_refused() {
        let (disk, _) = write(&[7; 500], 100);
        assert!(read(&disk, 6, 500).is_err());
        assert!(read(&disk, 5, 501).is_err());
        assert!(read(&disk, 5, 499).is_err());
    }
}
