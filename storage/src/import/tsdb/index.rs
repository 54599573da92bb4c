//! A block's index: which series there are, and where their chunks lie. Format: `tsdb/docs/format/index.md` of Prometheus.
//!
//! ```text
//! BAAAD700 version | symbols | series … | … | table of contents: six offsets and a checksum
//! ```
//! Postings and label indices are for searching and are not read. Symbols are kept in memory while series are listed; what a
//! series has of chunks is read anew whenever it is needed.

use super::bytes::{CheckedFile, Reader};
use crate::import::ImportError;
use model::labels::Labels;
use std::path::Path;

const MAGIC: u32 = 0xbaaa_d700;
const HEADER_BYTES: u64 = 5;
/// Six offsets and their checksum.
const CONTENTS_BYTES: u64 = 6 * 8 + 4;

/// A chunk is of one block, and no block is longer than a few months.
const CHUNK_MS_MAX: i64 = 10 * 365 * 86_400_000;

/// A block's index.
#[derive(Debug)]
pub(super) struct Index {
    file: CheckedFile,
    version: u8,
    symbols: u64,
    series: u64,
    series_end: u64,
    /// Identifies the content well enough, together with what else is known of the block.
    pub(super) contents: Vec<u8>,
}

/// Where a chunk is, and of which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkPlace {
    pub(super) min_ms: i64,
    pub(super) max_ms: i64,
    /// Number of the file in the upper half, offset in it in the lower one.
    pub(super) reference: u64,
}

/// A series as it is listed.
pub(super) struct Entry {
    /// Where it is in the index.
    pub(super) offset: u64,
    /// How other files of the block call it.
    pub(super) reference: u64,
    pub(super) labels: Labels,
    pub(super) chunks: Vec<ChunkPlace>,
}

impl Index {
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let file = CheckedFile::open(path)?;
        let header = file.read(0, HEADER_BYTES)?;
        let mut reader = Reader::new(&header);
        let (magic, version) = (reader.be32(), reader.byte().unwrap_or_default());
        if magic != Some(MAGIC) {
            return Err(file.damaged(0, "it is no index of a Prometheus block"));
        }
        if !(1..=2).contains(&version) {
            return Err(ImportError::unsupported(path, format!("its index has version {version}; known are 1 and 2")));
        }
        let start = file.len().saturating_sub(CONTENTS_BYTES);
        let contents = file.read(start, CONTENTS_BYTES)?;
        let (offsets, sum) = contents.split_at(contents.len() - 4);
        if Reader::new(sum).be32() != Some(crate::crc32c::crc32c(offsets)) {
            return Err(file.damaged(start, "the checksum of the table of contents does not match"));
        }
        let mut reader = Reader::new(offsets);
        let offsets: Vec<u64> = std::iter::from_fn(|| reader.be64()).collect();
        let [symbols, series, ..] = *offsets.as_slice() else { return Err(file.damaged(start, "it is too short")) };
        let behind = offsets.iter().copied().filter(|offset| *offset > series).min();
        let series_end = behind.unwrap_or(start).min(start);
        Ok(Self { file, version, symbols, series, series_end, contents })
    }

    /// Bytes of the symbols, which are in memory while series are listed.
    pub(super) fn symbol_bytes(&self) -> Result<u64, ImportError> {
        let length = self.file.read(self.symbols, 4)?;
        Ok(Reader::new(&length).be32().map(u64::from).unwrap_or_default())
    }

    /// Visits all series, in the order of the index.
    pub(super) fn each_series(
        &self,
        each: &mut dyn FnMut(Entry) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        let symbols = self.read_symbols()?;
        let mut offset = self.series;
        while let Some(found) = self.skip_padding(offset)? {
            let (bytes, next) = self.file.entry(found, 0)?;
            let entry = self.parse_series(found, &bytes, &symbols)?;
            each(entry)?;
            offset = next;
        }
        Ok(())
    }

    /// The chunks of a series that was listed.
    pub(super) fn chunks(&self, offset: u64) -> Result<Vec<ChunkPlace>, ImportError> {
        let (bytes, _) = self.file.entry(offset, 0)?;
        let mut reader = Reader::new(&bytes);
        let read = |reader: &mut Reader<'_>| {
            for _ in 0..reader.uvarint()? {
                reader.uvarint()?;
                reader.uvarint()?;
            }
            parse_chunks(reader)
        };
        read(&mut reader).ok_or_else(|| self.file.damaged(offset, "a series ends too early"))
    }

    /// Entries begin at multiples of 16; between them are zeros. No entry begins with one.
    fn skip_padding(&self, mut offset: u64) -> Result<Option<u64>, ImportError> {
        while offset < self.series_end {
            let bytes = self.file.read(offset, (self.series_end - offset).min(16))?;
            match bytes.iter().position(|byte| *byte != 0) {
                Some(zeros) => return Ok(Some(offset + zeros as u64)),
                None => offset += bytes.len() as u64,
            }
        }
        Ok(None)
    }

    fn parse_series(&self, offset: u64, bytes: &[u8], symbols: &Symbols) -> Result<Entry, ImportError> {
        let wrong = |what: String| self.file.damaged(offset, format!("a series is wrong: {what}"));
        let short = || wrong("it ends too early".to_owned());
        let mut reader = Reader::new(bytes);
        let mut pairs = Vec::new();
        for _ in 0..reader.uvarint().ok_or_else(short)? {
            let mut symbol = || -> Result<&str, ImportError> {
                let number = reader.uvarint().ok_or_else(short)?;
                symbols.get(number).ok_or_else(|| wrong(format!("there is no symbol {number}")))
            };
            pairs.push((symbol()?, symbol()?));
        }
        let labels = Labels::from_pairs(pairs).map_err(|error| wrong(error.to_string()))?;
        let chunks = parse_chunks(&mut reader).ok_or_else(short)?;
        let is_sound = |chunk: &ChunkPlace| {
            let length = chunk.max_ms.checked_sub(chunk.min_ms);
            length.is_some_and(|length| (0..=CHUNK_MS_MAX).contains(&length))
        };
        if !chunks.iter().all(is_sound) {
            return Err(wrong("a chunk has an impossible range of time".to_owned()));
        }
        let reference = if self.version == 1 { offset } else { offset / 16 };
        Ok(Entry { offset, reference, labels, chunks })
    }

    fn read_symbols(&self) -> Result<Symbols, ImportError> {
        let bytes = self.file.section(self.symbols)?;
        let damaged = |what: &str| self.file.damaged(self.symbols, what);
        let mut reader = Reader::new(&bytes);
        let count = reader.be32().ok_or_else(|| damaged("the symbols have no count"))?;
        let mut symbols = Symbols { text: String::new(), ends: Vec::new(), places: Vec::new() };
        for _ in 0..count {
            // Version 1 names symbols by their place in the file, version 2 by their number.
            if self.version == 1 {
                symbols.places.push(self.symbols + 4 + reader.at() as u64);
            }
            let text = reader.text().ok_or_else(|| damaged("the symbols end too early"))?;
            let text = std::str::from_utf8(text).map_err(|_| damaged("a symbol is no UTF-8"))?;
            symbols.text.push_str(text);
            symbols.ends.push(symbols.text.len());
        }
        Ok(symbols)
    }
}

fn parse_chunks(reader: &mut Reader<'_>) -> Option<Vec<ChunkPlace>> {
    let count = reader.uvarint()?;
    let mut chunks: Vec<ChunkPlace> = Vec::new();
    for _ in 0..count {
        let place = match chunks.last() {
            None => {
                let min_ms = reader.varint()?;
                let length = reader.uvarint()?;
                ChunkPlace { min_ms, max_ms: min_ms.wrapping_add(length.cast_signed()), reference: reader.uvarint()? }
            }
            Some(last) => {
                let min_ms = last.max_ms.wrapping_add(reader.uvarint()?.cast_signed());
                let length = reader.uvarint()?;
                let reference = last.reference.wrapping_add(reader.varint()?.cast_unsigned());
                ChunkPlace { min_ms, max_ms: min_ms.wrapping_add(length.cast_signed()), reference }
            }
        };
        chunks.push(place);
    }
    Some(chunks)
}

struct Symbols {
    text: String,
    ends: Vec<usize>,
    /// Of version 1 only.
    places: Vec<u64>,
}

impl Symbols {
    fn get(&self, reference: u64) -> Option<&str> {
        let number = match self.places.is_empty() {
            true => usize::try_from(reference).ok()?,
            false => self.places.binary_search(&reference).ok()?,
        };
        let start = match number.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.text.get(start..*self.ends.get(number)?)
    }
}
