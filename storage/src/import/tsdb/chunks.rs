//! A block's chunks: files of runs of samples, each with its encoding and checksum. Format: `tsdb/docs/format/chunks.md` of
//! Prometheus.

use super::bits::BitReader;
use super::bytes::{CheckedFile, Reader};
use super::{histogram, xor};
use crate::import::ImportError;
use model::histogram::HistogramColumns;
use model::sample::SampleColumns;
use std::path::Path;

const MAGIC: u32 = 0x85bd_40dd;
const VERSION: u8 = 1;

/// The files of chunks of one block, in order.
#[derive(Debug)]
pub(super) struct ChunkFiles {
    files: Vec<CheckedFile>,
}

/// Where decoded samples go, in the order of chunks.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    pub(super) floats: SampleColumns,
    pub(super) histograms: HistogramColumns,
}

impl ChunkFiles {
    pub(super) fn open(directory: &Path) -> Result<Self, ImportError> {
        let entries = std::fs::read_dir(directory).map_err(ImportError::io("read", directory))?;
        let mut paths = Vec::new();
        for entry in entries {
            let entry = entry.map_err(ImportError::io("read", directory))?;
            if entry.file_name().to_string_lossy().parse::<u64>().is_ok() {
                paths.push(entry.path());
            }
        }
        paths.sort();
        let files = paths.iter().map(|path| Self::open_file(path)).collect::<Result<_, _>>()?;
        Ok(Self { files })
    }

    fn open_file(path: &Path) -> Result<CheckedFile, ImportError> {
        let file = CheckedFile::open(path)?;
        let header = file.read(0, 8)?;
        let mut reader = Reader::new(&header);
        if reader.be32() != Some(MAGIC) {
            return Err(file.damaged(0, "it is no file of chunks of a Prometheus block"));
        }
        match reader.byte() {
            Some(VERSION) => Ok(file),
            version => Err(ImportError::unsupported(path, format!("it has version {version:?}; known is {VERSION}"))),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(CheckedFile::len).sum()
    }

    /// Adds the samples of a chunk.
    pub(super) fn decode(&self, reference: u64, directory: &Path, into: &mut Decoded) -> Result<(), ImportError> {
        let (number, offset) = ((reference >> 32) as usize, reference & 0xffff_ffff);
        let missing = || ImportError::unsupported(directory, format!("chunk file number {} is missing", number + 1));
        let file = self.files.get(number).ok_or_else(missing)?;
        // The encoding is not part of the length.
        let (bytes, _) = file.entry(offset, 1)?;
        let Some((encoding, data)) = bytes.split_first() else { return Err(file.damaged(offset, "it is empty")) };
        let short = || file.damaged(offset, "the chunk ends too early");
        let (count, data) = data.split_at_checked(2).ok_or_else(short)?;
        let count = count.iter().fold(0u16, |count, byte| count << 8 | u16::from(*byte));
        let mut bits = BitReader::new(data);
        match encoding {
            1 => xor::decode(&mut bits, count, &mut into.floats).ok_or_else(short),
            2 | 3 => histogram::decode(&mut bits, count, *encoding == 3, &mut into.histograms)
                .map_err(|what| file.damaged(offset, what)),
            0xff => Err(ImportError::unsupported(file.path(), "it is downsampled by Thanos")),
            other => Err(ImportError::unsupported(file.path(), format!("chunks have the unknown encoding {other}"))),
        }
    }
}
