//! Columns of the series file, decoded page by page when they are asked for.

use super::cache::{CacheKey, CacheKind, TenantCache};
use super::column::{Ids, Numbers, dictionary_numbers, text_ids};
use super::error::{PageError, ReadError};
use super::fetch::{Fetched, Object};
use super::layout::{ColumnLayout, GroupPlace, PagePlace};
use super::page::{read_data_page, read_dictionary_page};
use super::rows::RowRanges;
use super::text::Dictionary;
use bytes::Bytes;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Bytes of a file that are here: all of it, or some pages of some columns.
#[derive(Debug)]
pub(crate) struct ColumnBytes {
    pub(crate) object: Arc<Object>,
    pub(crate) cache: TenantCache,
    pub(crate) whole: Option<Arc<Bytes>>,
    /// Pages and dictionaries, by where they start.
    pub(crate) parts: Fetched,
}

impl ColumnBytes {
    /// The bytes of a page or a dictionary.
    fn get(&self, range: Range<u64>) -> Result<&[u8], ReadError> {
        let missing = || ReadError::not_fetched(&self.object.key, range.start);
        match &self.whole {
            Some(whole) => whole.get(range.start as usize..range.end as usize),
            None => {
                let part = self.parts.get(&self.object, range.start);
                part.filter(|part| part.len() as u64 == range.end.saturating_sub(range.start)).map(|part| &**part)
            }
        }
        .ok_or_else(missing)
    }
}

/// Pages of a column, decoded.
pub(crate) trait Decode: Sized + Send + Sync + 'static {
    /// Decodes one page of a column.
    fn decode(bytes: &ColumnBytes, column: &ColumnLayout, page: &PagePlace) -> Result<Self, ReadError>;
    /// Memory that the page takes.
    fn memory(&self) -> usize;
}

/// One column. Pages are decoded once and stay as long as this does.
#[derive(Debug)]
pub(crate) struct Column<P> {
    pub(crate) layout: Arc<ColumnLayout>,
    bytes: Arc<ColumnBytes>,
    pages: Box<[OnceLock<Arc<P>>]>,
}

impl<P: Decode> Column<P> {
    pub(crate) fn new(bytes: &Arc<ColumnBytes>, layout: &Arc<ColumnLayout>) -> Self {
        let pages = layout.pages.iter().map(|_| OnceLock::new()).collect();
        Self { layout: Arc::clone(layout), bytes: Arc::clone(bytes), pages }
    }

    /// A page by its number, and its first row.
    pub(crate) fn page(&self, number: usize) -> Result<(&Arc<P>, u32), ReadError> {
        let found = self.pages.get(number).zip(self.layout.pages.get(number));
        let (slot, place) = found.ok_or_else(|| self.leaves_out_rows())?;
        if let Some(page) = slot.get() {
            return Ok((page, place.row as u32));
        }
        let page = cached(&self.bytes, place.offset, P::memory, || P::decode(&self.bytes, &self.layout, place))?;
        Ok((slot.get_or_init(|| page), place.row as u32))
    }

    /// Calls `visit` with each page that has some of the rows, its first row, and the rows: all of them, in ascending order.
    pub(crate) fn for_each_part(
        &self,
        rows: &RowRanges,
        mut visit: impl FnMut(&P, u32, Range<u32>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let (pages, mut number) = (&self.layout.pages, 0);
        for range in rows.ranges() {
            let mut row = range.start;
            while row < range.end {
                while pages.get(number + 1).is_some_and(|next| next.row <= u64::from(row)) {
                    number += 1;
                }
                let end = pages.get(number + 1).map_or(range.end, |next| range.end.min(next.row as u32));
                let (page, first) = self.page(number)?;
                if first > row {
                    return Err(self.leaves_out_rows());
                }
                visit(page, first, row..end)?;
                row = end;
            }
        }
        Ok(())
    }

    /// Calls `visit` with each page that has some of the rows, which ascend, until that says that it is enough; returns whether it
    /// never did.
    pub(crate) fn each_page(&self, rows: &[u32], mut visit: impl FnMut(&P) -> bool) -> Result<bool, ReadError> {
        let mut rest = rows;
        while let Some(row) = rest.first() {
            let after = self.layout.pages.partition_point(|page| page.row <= u64::from(*row));
            if !visit(self.page(after.wrapping_sub(1))?.0) {
                return Ok(false);
            }
            let end = self.layout.pages.get(after).map_or(u64::MAX, |next| next.row);
            rest = rest.get(rest.partition_point(|row| u64::from(*row) < end)..).unwrap_or_default();
        }
        Ok(true)
    }

    fn leaves_out_rows(&self) -> ReadError {
        PageError("the page index leaves out rows").at(&self.bytes.object.key, 0)
    }

    /// The page with a row, and the row's place in it.
    pub(crate) fn page_of(&self, row: u32) -> Result<(&Arc<P>, usize), ReadError> {
        let after = self.layout.pages.partition_point(|page| page.row <= u64::from(row));
        let (page, first) = self.page(after.wrapping_sub(1))?;
        Ok((page, (row - first) as usize))
    }
}

impl Column<Numbers> {
    /// The number in a row, `None` where there is none.
    pub(crate) fn number(&self, row: u32) -> Result<Option<u64>, ReadError> {
        let (page, at) = self.page_of(row)?;
        Ok(page.get(at))
    }
}

impl Column<TextPage> {
    /// The text in a row, empty where there is none.
    pub(crate) fn text(&self, row: u32) -> Result<&str, ReadError> {
        let (page, at) = self.page_of(row)?;
        Ok(page.dictionary.get(page.ids.get(at)))
    }
}

/// What the cache has, or what is made now.
fn cached<T: Send + Sync + 'static>(
    bytes: &ColumnBytes,
    place: u64,
    memory: impl Fn(&T) -> usize,
    make: impl FnOnce() -> Result<T, ReadError>,
) -> Result<Arc<T>, ReadError> {
    let key = CacheKey { object: bytes.object.id, kind: CacheKind::Series, place };
    if let Some(found) = bytes.cache.get(&key) {
        return Ok(found);
    }
    let made = Arc::new(make()?);
    bytes.cache.insert(key, Arc::clone(&made), memory(&made));
    Ok(made)
}

/// The texts of a page.
#[derive(Debug)]
pub(crate) struct TextPage {
    pub(crate) ids: Ids,
    pub(crate) dictionary: Arc<Dictionary>,
    /// Tells dictionaries of a column apart.
    pub(crate) dictionary_number: u32,
}

impl Decode for TextPage {
    fn decode(bytes: &ColumnBytes, column: &ColumnLayout, page: &PagePlace) -> Result<Self, ReadError> {
        let at = |error: PageError| error.at(&bytes.object.key, page.offset);
        let group = group_of(bytes, column, page)?;
        let data = read_data_page(bytes.get(page.range())?, column.compression, Vec::new()).map_err(at)?;
        let shared = shared_dictionary(bytes, column, group)?;
        let (ids, own) = text_ids(&data, shared.as_deref()).map_err(at)?;
        Ok(match own {
            // The last bit is free: pages are not that many.
            Some(own) => Self { ids, dictionary: Arc::new(own), dictionary_number: page.row as u32 | 1 << 31 },
            None => Self { ids, dictionary: shared.unwrap_or_default(), dictionary_number: page.group },
        })
    }

    fn memory(&self) -> usize {
        let own = if self.dictionary_number >> 31 == 1 { self.dictionary.memory() } else { 0 };
        64 + self.ids.memory() + own
    }
}

impl Decode for Numbers {
    fn decode(bytes: &ColumnBytes, column: &ColumnLayout, page: &PagePlace) -> Result<Self, ReadError> {
        let group = group_of(bytes, column, page)?;
        let dictionary = (!group.dictionary.is_empty()).then(|| {
            cached(
                bytes,
                group.dictionary.start,
                |numbers: &Vec<u64>| numbers.len() * 8,
                || {
                    let stored = bytes.get(group.dictionary.clone())?;
                    read_dictionary_page(stored, column.compression)
                        .and_then(|page| dictionary_numbers(&page, column.kind))
                        .map_err(|error| error.at(&bytes.object.key, group.dictionary.start))
                },
            )
        });
        let dictionary = dictionary.transpose()?;
        read_data_page(bytes.get(page.range())?, column.compression, Vec::new())
            .and_then(|data| Numbers::read(&data, dictionary.as_ref(), column.kind))
            .map_err(|error| error.at(&bytes.object.key, page.offset))
    }

    fn memory(&self) -> usize {
        Self::memory(self)
    }
}

/// The row group of a page.
pub(crate) fn group_of<'a>(
    bytes: &ColumnBytes,
    column: &'a ColumnLayout,
    page: &PagePlace,
) -> Result<&'a GroupPlace, ReadError> {
    let missing = || PageError("the page is of no row group").at(&bytes.object.key, page.offset);
    column.groups.get(page.group as usize).ok_or_else(missing)
}

/// The dictionary of a column of texts in a row group.
pub(crate) fn shared_dictionary(
    bytes: &ColumnBytes,
    column: &ColumnLayout,
    group: &GroupPlace,
) -> Result<Option<Arc<Dictionary>>, ReadError> {
    if group.dictionary.is_empty() {
        return Ok(None);
    }
    let dictionary = cached(bytes, group.dictionary.start, Dictionary::memory, || {
        let stored = bytes.get(group.dictionary.clone())?;
        read_dictionary_page(stored, column.compression)
            .and_then(|page| Dictionary::read(&page))
            .map_err(|error| error.at(&bytes.object.key, group.dictionary.start))
    })?;
    Ok(Some(dictionary))
}

/// The bytes of a page that are here.
pub(crate) fn page_bytes<'a>(bytes: &'a ColumnBytes, page: &PagePlace) -> Result<&'a [u8], ReadError> {
    bytes.get(page.range())
}
