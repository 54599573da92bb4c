//! One page of a column: its header read, its checksum verified, its values decompressed.

use super::error::PageError;
use super::thrift::{DATA_PAGE_V2, DICTIONARY_PAGE, read_page_header};
use std::cell::RefCell;

/// No page of ours is larger; a header that says otherwise is damaged.
const PAGE_BYTES_MAX: usize = 256 << 20;
/// The most rows of a page.
const PAGE_ROWS_MAX: usize = 1 << 24;

/// How the values of a page are written: the numbers of the Parquet standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    DeltaBinaryPacked,
    DeltaLengthByteArray,
    DeltaByteArray,
    Dictionary,
    ByteStreamSplit,
    Rle,
}

impl Encoding {
    fn from_number(number: i64) -> Result<Self, PageError> {
        Ok(match number {
            0 => Self::Plain,
            2 | 8 => Self::Dictionary,
            3 => Self::Rle,
            5 => Self::DeltaBinaryPacked,
            6 => Self::DeltaLengthByteArray,
            7 => Self::DeltaByteArray,
            9 => Self::ByteStreamSplit,
            _ => return Err(PageError("the page has an encoding that is not known")),
        })
    }
}

/// A data page, decompressed.
#[derive(Debug)]
pub(crate) struct DataPage {
    pub(crate) encoding: Encoding,
    /// Rows, absent ones included.
    pub(crate) rows: usize,
    /// Levels: as many as rows in a flat column.
    pub(crate) count: usize,
    /// Levels without a value.
    pub(crate) nulls: usize,
    /// Repetition levels; empty in a flat column.
    pub(crate) repetition: Box<[u8]>,
    /// Definition levels; empty when the column has none.
    pub(crate) levels: Box<[u8]>,
    /// Values that are there, encoded.
    pub(crate) values: Vec<u8>,
}

/// A dictionary page, decompressed.
#[derive(Debug)]
pub(crate) struct DictionaryPage {
    pub(crate) count: usize,
    /// Values in plain encoding.
    pub(crate) values: Vec<u8>,
}

/// How the pages of a column are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Zstd,
}

impl Compression {
    pub(crate) fn of(column: &parquet::file::metadata::ColumnChunkMetaData) -> Result<Self, PageError> {
        match column.compression() {
            parquet::basic::Compression::UNCOMPRESSED => Ok(Self::None),
            parquet::basic::Compression::ZSTD(_) => Ok(Self::Zstd),
            _ => Err(PageError("the column has a compression that is not known")),
        }
    }
}

thread_local! {
    static ZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Reads a data page of version 2 with its header. `reuse` gives its memory to the values.
pub(crate) fn read_data_page(bytes: &[u8], compression: Compression, reuse: Vec<u8>) -> Result<DataPage, PageError> {
    let header = read_page_header(bytes)?;
    if header.kind != DATA_PAGE_V2 {
        return Err(PageError("the page is not a data page of version 2"));
    }
    let flat = header.repetition_bytes == 0;
    if header.values > PAGE_ROWS_MAX || header.nulls > header.values || flat && header.values != header.rows {
        return Err(PageError("the page has counts that cannot be"));
    }
    let body = body(bytes, &header)?;
    const ENDS_EARLY: PageError = PageError("the levels of the page end early");
    let (repetition, behind) = body.split_at_checked(header.repetition_bytes).ok_or(ENDS_EARLY)?;
    let (levels, stored) = behind.split_at_checked(header.definition_bytes).ok_or(ENDS_EARLY)?;
    let values_bytes = header
        .uncompressed_bytes
        .checked_sub(header.definition_bytes + header.repetition_bytes)
        .ok_or(PageError("the page has sizes that cannot be"))?;
    let compression = if header.is_compressed { compression } else { Compression::None };
    let mut values = reuse;
    decompress(stored, compression, values_bytes, &mut values)?;
    Ok(DataPage {
        encoding: Encoding::from_number(header.encoding)?,
        rows: header.rows,
        count: header.values,
        nulls: header.nulls,
        repetition: repetition.into(),
        levels: levels.into(),
        values,
    })
}

/// Reads a dictionary page with its header.
pub(crate) fn read_dictionary_page(bytes: &[u8], compression: Compression) -> Result<DictionaryPage, PageError> {
    let header = read_page_header(bytes)?;
    if header.kind != DICTIONARY_PAGE {
        return Err(PageError("the page is not a dictionary page"));
    }
    let mut values = Vec::new();
    decompress(body(bytes, &header)?, compression, header.uncompressed_bytes, &mut values)?;
    Ok(DictionaryPage { count: header.values, values })
}

fn body<'a>(bytes: &'a [u8], header: &super::thrift::PageHeader) -> Result<&'a [u8], PageError> {
    let end = header.header_bytes.saturating_add(header.compressed_bytes);
    let body = bytes.get(header.header_bytes..end).ok_or(PageError("the page ends early"))?;
    if header.crc.is_some_and(|crc| crc32fast::hash(body) != crc) {
        return Err(PageError("the page contradicts its checksum"));
    }
    Ok(body)
}

fn decompress(stored: &[u8], compression: Compression, bytes: usize, into: &mut Vec<u8>) -> Result<(), PageError> {
    if bytes > PAGE_BYTES_MAX {
        return Err(PageError("the page is larger than any page is"));
    }
    into.clear();
    if compression == Compression::None || stored.is_empty() {
        if stored.len() != bytes {
            return Err(PageError("the page has sizes that cannot be"));
        }
        into.extend_from_slice(stored);
        return Ok(());
    }
    into.reserve(bytes);
    let length = ZSTD.with_borrow_mut(|zstd| {
        if zstd.is_none() {
            *zstd = zstd::bulk::Decompressor::new().ok();
        }
        zstd.as_mut()?.decompress_to_buffer(stored, into).ok()
    });
    match length {
        Some(length) if length == bytes => Ok(()),
        _ => Err(PageError("the page cannot be decompressed")),
    }
}
