//! Page headers: as much of Thrift's compact protocol as they need.
//!
//! The parquet crate keeps its own parser of page headers to itself.

use super::error::PageError;
use crate::wal::cursor::{Cursor, unzigzag};

/// What a page says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PageHeader {
    /// Bytes of the header itself.
    pub(crate) header_bytes: usize,
    pub(crate) kind: i64,
    /// Bytes of the page without its header, when nothing is compressed.
    pub(crate) uncompressed_bytes: usize,
    /// Bytes of the page without its header, as stored.
    pub(crate) compressed_bytes: usize,
    pub(crate) crc: Option<u32>,
    pub(crate) encoding: i64,
    pub(crate) values: usize,
    pub(crate) nulls: usize,
    pub(crate) rows: usize,
    pub(crate) definition_bytes: usize,
    pub(crate) repetition_bytes: usize,
    pub(crate) is_compressed: bool,
}

/// `PageHeader.type` of dictionary pages.
pub(crate) const DICTIONARY_PAGE: i64 = 2;
/// `PageHeader.type` of data pages of version 2.
pub(crate) const DATA_PAGE_V2: i64 = 3;

const STRUCT_DEPTH_MAX: u32 = 8;
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const STRUCT: u8 = 12;

const ENDS_EARLY: PageError = PageError("the page header ends early");

/// Reads the header at the start of a page.
pub(crate) fn read_page_header(bytes: &[u8]) -> Result<PageHeader, PageError> {
    let mut cursor = Cursor::new(bytes);
    let mut header = PageHeader { is_compressed: true, ..PageHeader::default() };
    let mut numbers = Numbers::default();
    while let Some(field) = numbers.next(&mut cursor)? {
        match field {
            (1, I16..=I64) => header.kind = int(&mut cursor)?,
            (2, I16..=I64) => header.uncompressed_bytes = size(&mut cursor)?,
            (3, I16..=I64) => header.compressed_bytes = size(&mut cursor)?,
            (4, I16..=I64) => header.crc = Some(int(&mut cursor)? as u32),
            // Of what files of ours do not have, the number of values is enough; it is at the same place.
            (5 | 7, STRUCT) => dictionary_header(&mut cursor, &mut header)?,
            (8, STRUCT) => data_header(&mut cursor, &mut header)?,
            (_, kind) => skip(&mut cursor, kind, 0)?,
        }
    }
    header.header_bytes = bytes.len() - cursor.remaining();
    Ok(header)
}

fn dictionary_header(cursor: &mut Cursor<'_>, header: &mut PageHeader) -> Result<(), PageError> {
    let mut numbers = Numbers::default();
    while let Some(field) = numbers.next(cursor)? {
        match field {
            (1, I16..=I64) => header.values = size(cursor)?,
            (2, I16..=I64) => header.encoding = int(cursor)?,
            (_, kind) => skip(cursor, kind, 1)?,
        }
    }
    Ok(())
}

fn data_header(cursor: &mut Cursor<'_>, header: &mut PageHeader) -> Result<(), PageError> {
    let mut numbers = Numbers::default();
    while let Some(field) = numbers.next(cursor)? {
        match field {
            (1, I16..=I64) => header.values = size(cursor)?,
            (2, I16..=I64) => header.nulls = size(cursor)?,
            (3, I16..=I64) => header.rows = size(cursor)?,
            (4, I16..=I64) => header.encoding = int(cursor)?,
            (5, I16..=I64) => header.definition_bytes = size(cursor)?,
            (6, I16..=I64) => header.repetition_bytes = size(cursor)?,
            (7, TRUE) => header.is_compressed = true,
            (7, FALSE) => header.is_compressed = false,
            (_, kind) => skip(cursor, kind, 1)?,
        }
    }
    Ok(())
}

/// The numbers of the fields of one struct: each is a difference from the one before.
#[derive(Debug, Default)]
struct Numbers {
    before: i64,
}

impl Numbers {
    /// Number and type of the next field, `None` behind the last one.
    fn next(&mut self, cursor: &mut Cursor<'_>) -> Result<Option<(i64, u8)>, PageError> {
        let byte = cursor.u8().ok_or(ENDS_EARLY)?;
        if byte == 0 {
            return Ok(None);
        }
        self.before = match byte >> 4 {
            0 => int(cursor)?,
            step => self.before.wrapping_add(i64::from(step)),
        };
        Ok(Some((self.before, byte & 0x0f)))
    }
}

fn int(cursor: &mut Cursor<'_>) -> Result<i64, PageError> {
    cursor.varint().map(unzigzag).ok_or(ENDS_EARLY)
}

fn size(cursor: &mut Cursor<'_>) -> Result<usize, PageError> {
    let size = u32::try_from(int(cursor)?).map_err(|_| PageError("the page header has a size that cannot be"))?;
    Ok(size as usize)
}

fn skip(cursor: &mut Cursor<'_>, kind: u8, depth: u32) -> Result<(), PageError> {
    if depth > STRUCT_DEPTH_MAX {
        return Err(PageError("the page header nests too deep"));
    }
    match kind {
        TRUE | FALSE => {}
        BYTE => drop(cursor.u8().ok_or(ENDS_EARLY)?),
        I16..=I64 => drop(int(cursor)?),
        DOUBLE => drop(cursor.take(8).ok_or(ENDS_EARLY)?),
        BINARY => {
            let length = cursor.varint_usize().ok_or(ENDS_EARLY)?;
            cursor.take(length).ok_or(ENDS_EARLY)?;
        }
        LIST | SET => {
            let first = cursor.u8().ok_or(ENDS_EARLY)?;
            let count = match first >> 4 {
                15 => cursor.varint_usize().ok_or(ENDS_EARLY)?,
                short => usize::from(short),
            };
            for _ in 0..count {
                match first & 0x0f {
                    TRUE | FALSE => drop(cursor.u8().ok_or(ENDS_EARLY)?),
                    kind => skip(cursor, kind, depth + 1)?,
                }
            }
        }
        STRUCT => {
            let mut numbers = Numbers::default();
            while let Some((_, kind)) = numbers.next(cursor)? {
                skip(cursor, kind, depth + 1)?;
            }
        }
        _ => return Err(PageError("the page header has a field of unknown type")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_page_header(&bytes);
        }
    }
}
