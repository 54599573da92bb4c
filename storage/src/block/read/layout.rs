//! Where the pages of a file are: what its footer and page index say, in the form that readers need.

use super::error::{PageError, ReadError};
use super::page::Compression;
use bytes::Bytes;
use hashbrown::HashMap;
use parquet::DecodeResult;
use parquet::basic::{Encoding, PageType, Type};
use parquet::file::metadata::{
    ColumnChunkMetaData, PageEncodingStats, PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;
use std::ops::Range;
use std::sync::Arc;

/// The pages of one file.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) rows: u64,
    columns: HashMap<String, Arc<ColumnLayout>>,
}

/// The pages of one column through all row groups.
#[derive(Debug)]
pub(crate) struct ColumnLayout {
    pub(crate) kind: Type,
    pub(crate) compression: Compression,
    pub(crate) definition_max: u32,
    /// In the order of rows.
    pub(crate) pages: Vec<PagePlace>,
    /// Least and greatest integer of each page. Empty if nobody asked for them.
    pub(crate) bounds: Vec<(i64, i64)>,
    /// The same of texts; they may be a little wider. `None` where they are not known.
    text_bounds: Vec<Option<TextBounds>>,
    pub(crate) groups: Vec<GroupPlace>,
}

/// The least and the greatest text of a page.
type TextBounds = (Box<[u8]>, Box<[u8]>);

/// A data page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PagePlace {
    /// Its first row, in the file.
    pub(crate) row: u64,
    pub(crate) offset: u64,
    /// Header included.
    pub(crate) bytes: u32,
    /// Its row group.
    pub(crate) group: u32,
}

impl PagePlace {
    pub(crate) fn range(&self) -> Range<u64> {
        self.offset..self.offset + u64::from(self.bytes)
    }
}

/// The pages of a column in one row group.
#[derive(Debug, Clone)]
pub(crate) struct GroupPlace {
    /// Bytes of the dictionary page; empty when there is none.
    pub(crate) dictionary: Range<u64>,
    /// Rows without a value, if that is known.
    pub(crate) nulls: Option<u64>,
    pub(crate) rows: u64,
    /// Whether it is certain that all pages use the dictionary, so that its values are those that occur.
    pub(crate) dictionary_only: bool,
}

impl Layout {
    /// Reads the footer and page index of a file, of which `tail` is the end; the bounds of the pages of one column too.
    pub(crate) fn read(
        key: &Arc<str>,
        file_bytes: u64,
        tail: &Bytes,
        bounds_of: Option<&str>,
    ) -> Result<Self, ReadError> {
        let start = file_bytes.checked_sub(tail.len() as u64).ok_or(PageError("the file is too short").at(key, 0))?;
        let unreadable = |error: parquet::errors::ParquetError| ReadError::unreadable(key, error);
        let mut decoder = ParquetMetaDataPushDecoder::try_new(file_bytes)
            .map_err(unreadable)?
            .with_column_index_policy(if bounds_of.is_some() {
                PageIndexPolicy::Optional
            } else {
                PageIndexPolicy::Skip
            })
            .with_offset_index_policy(PageIndexPolicy::Required);
        loop {
            match decoder.try_decode().map_err(unreadable)? {
                DecodeResult::Data(metadata) => return Self::of(key, &metadata, file_bytes, bounds_of),
                DecodeResult::NeedsData(ranges) => {
                    for range in ranges {
                        let within = range.start.checked_sub(start).zip(range.end.checked_sub(start));
                        let bytes = within.filter(|(from, to)| from <= to && *to <= tail.len() as u64);
                        let (from, to) =
                            bytes.ok_or(PageError("the footer is not where it should be").at(key, range.start))?;
                        decoder.push_range(range, tail.slice(from as usize..to as usize)).map_err(unreadable)?;
                    }
                }
                DecodeResult::Finished => return Err(PageError("the file has no footer").at(key, file_bytes)),
            }
        }
    }

    fn of(
        key: &Arc<str>,
        metadata: &ParquetMetaData,
        file_bytes: u64,
        bounds_of: Option<&str>,
    ) -> Result<Self, ReadError> {
        let damaged = |what| PageError(what).at(key, file_bytes);
        let mut columns: HashMap<String, ColumnLayout> = HashMap::new();
        let mut first_row = 0u64;
        let offsets = metadata.offset_index().ok_or(damaged("the file has no page index"))?;
        if metadata.num_row_groups() > offsets.len() {
            return Err(damaged("the page index leaves out row groups"));
        }
        for (number, (group, offsets)) in metadata.row_groups().iter().zip(offsets).enumerate() {
            let rows = u64::try_from(group.num_rows()).map_err(|_| damaged("a row group has no size"))?;
            if group.num_columns() != offsets.len() {
                return Err(damaged("the page index leaves out columns"));
            }
            for (leaf, (column, index)) in group.columns().iter().zip(offsets).enumerate() {
                let layout = match columns.entry(column.column_path().string()) {
                    hashbrown::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                    hashbrown::hash_map::Entry::Vacant(entry) => entry.insert(ColumnLayout {
                        kind: column.column_type(),
                        compression: Compression::of(column).map_err(|error| error.at(key, file_bytes))?,
                        definition_max: column.column_descr().max_def_level().unsigned_abs().into(),
                        pages: Vec::new(),
                        bounds: Vec::new(),
                        text_bounds: Vec::new(),
                        groups: Vec::new(),
                    }),
                };
                let mut next_row = 0;
                for page in index.page_locations() {
                    let offset = u64::try_from(page.offset).ok();
                    let row = u64::try_from(page.first_row_index).ok().filter(|row| *row >= next_row && *row <= rows);
                    let bytes = u32::try_from(page.compressed_page_size).ok();
                    let (Some(offset), Some(row), Some(bytes)) = (offset, row, bytes) else {
                        return Err(damaged("the page index has a place that cannot be"));
                    };
                    if next_row == 0 && row != 0 || offset.saturating_add(u64::from(bytes)) > file_bytes {
                        return Err(damaged("the page index has a place that cannot be"));
                    }
                    next_row = row + 1;
                    layout.pages.push(PagePlace { row: first_row + row, offset, bytes, group: number as u32 });
                }
                let first =
                    index.page_locations().first().and_then(|page| u64::try_from(page.offset).ok()).unwrap_or(0);
                let dictionary = match column.dictionary_page_offset().map(u64::try_from) {
                    Some(Ok(start)) if start < first => start..first,
                    _ => first..first,
                };
                layout.groups.push(GroupPlace {
                    nulls: column.statistics().and_then(Statistics::null_count_opt),
                    rows,
                    dictionary_only: !dictionary.is_empty() && uses_dictionary_only(column),
                    dictionary,
                });
                if bounds_of.is_some_and(|path| column.column_path().string() == path) {
                    let index = metadata.column_index().and_then(|index| index.get(number)).and_then(|g| g.get(leaf));
                    layout.push_bounds(index);
                }
            }
            first_row = first_row.saturating_add(rows);
        }
        let columns = columns.into_iter().map(|(name, column)| (name, Arc::new(column))).collect();
        Ok(Self { rows: first_row, columns })
    }

    /// The pages of a column, `None` if the file has no such column.
    pub(crate) fn column(&self, path: &str) -> Option<&Arc<ColumnLayout>> {
        self.columns.get(path)
    }

    /// Memory that it takes, about.
    pub(crate) fn memory(&self) -> usize {
        let of = |(name, column): (&String, &Arc<ColumnLayout>)| {
            name.len()
                + 120
                + column.pages.len() * 24
                + column.bounds.len() * 16
                + column.groups.len() * 48
                + column.text_bounds.len() * 160
        };
        64 + self.columns.iter().map(of).sum::<usize>()
    }
}

impl ColumnLayout {
    /// Adds the bounds of the pages of one more row group; where they are not known, such as hold everything.
    fn push_bounds(&mut self, index: Option<&ColumnIndexMetaData>) {
        match index {
            Some(ColumnIndexMetaData::INT64(index)) => {
                self.bounds.extend(index.min_values().iter().copied().zip(index.max_values().iter().copied()));
            }
            Some(ColumnIndexMetaData::BYTE_ARRAY(index)) => {
                let of_page = |page| Some((index.min_value(page)?.into(), index.max_value(page)?.into()));
                let pages = self.pages.len().saturating_sub(self.text_bounds.len());
                self.text_bounds.extend((0..pages).map(of_page));
            }
            _ => {}
        }
        self.bounds.resize(self.pages.len(), (i64::MIN, i64::MAX));
        self.text_bounds.resize(self.pages.len(), None);
    }

    /// Whether a page may hold a text.
    pub(crate) fn may_hold_text(&self, page: usize, text: &str) -> bool {
        let bounds = self.text_bounds.get(page).and_then(Option::as_ref);
        bounds.is_none_or(|(least, greatest)| **least <= *text.as_bytes() && *text.as_bytes() <= **greatest)
    }

    /// Whether a page may hold an integer `after < n <= until`.
    pub(crate) fn may_hold(&self, page: usize, after: i64, until: i64) -> bool {
        self.bounds.get(page).is_none_or(|(least, greatest)| *least <= until && *greatest > after)
    }

    /// The numbers of the pages that have rows of a range.
    pub(crate) fn pages_of(&self, rows: &Range<u64>) -> Range<usize> {
        if rows.is_empty() {
            return 0..0;
        }
        let after = self.first_behind(self.guess(rows.start), |page| page.row > rows.start);
        let end = self.first_behind(after, |page| page.row >= rows.end);
        after.saturating_sub(1)..end
    }

    /// About which page has a row: most pages have equally many.
    fn guess(&self, row: u64) -> usize {
        let last = self.pages.last().map_or(0, |page| page.row).max(1);
        let row = u128::from(row.min(last));
        (row * self.pages.len().saturating_sub(1) as u128 / u128::from(last)) as usize + 1
    }

    /// The first page that `is_behind` holds of, as it does of all later ones: looked for near a place first.
    fn first_behind(&self, near: usize, is_behind: impl Fn(&PagePlace) -> bool) -> usize {
        let is_behind = |at: usize| self.pages.get(at).is_none_or(&is_behind);
        let (mut low, mut high, mut stride) = (0, self.pages.len(), 1);
        // Bounds that are twice as far away each time, until the first one is between them.
        let mut at = near.min(high);
        if is_behind(at) {
            high = at;
            while at > 0 {
                at = at.saturating_sub(stride);
                stride *= 2;
                if !is_behind(at) {
                    low = at + 1;
                    break;
                }
                high = at;
            }
        } else {
            low = at + 1;
            while low < high {
                at += stride;
                stride *= 2;
                if is_behind(at) {
                    high = at.min(high);
                    break;
                }
                low = at + 1;
            }
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if is_behind(middle) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }
}

fn uses_dictionary_only(column: &ColumnChunkMetaData) -> bool {
    let in_dictionary = |encoding| matches!(encoding, Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY);
    if let Some(mask) = column.page_encoding_stats_mask() {
        return mask.encodings().all(in_dictionary);
    }
    let data = |stats: &&PageEncodingStats| matches!(stats.page_type, PageType::DATA_PAGE | PageType::DATA_PAGE_V2);
    let all = |stats: &Vec<PageEncodingStats>| stats.iter().filter(data).all(|stats| in_dictionary(stats.encoding));
    column.page_encoding_stats().is_some_and(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wherever pages begin, those with some rows are found.
    #[test]
    fn pages_are_found_by_rows() {
        let layout = |starts: &[u64]| ColumnLayout {
            kind: Type::INT64,
            compression: Compression::None,
            definition_max: 0,
            pages: starts.iter().map(|row| PagePlace { row: *row, offset: 0, bytes: 0, group: 0 }).collect(),
            bounds: Vec::new(),
            text_bounds: Vec::new(),
            groups: Vec::new(),
        };
        let even: Vec<u64> = (0..100).map(|page| page * 7).collect();
        let uneven: Vec<u64> = (0..100).map(|page| page * page).collect();
        for starts in [&even, &uneven, &vec![0], &vec![0, 1, 2, 9_000], &vec![0, 9_000, 9_001, 9_002]] {
            let layout = layout(starts);
            for start in (0..10_100).step_by(3) {
                for end in [start, start + 1, start + 8, start + 5_000, u64::MAX] {
                    let first = starts.partition_point(|row| *row <= start).saturating_sub(1);
                    let last = starts.partition_point(|row| *row < end);
                    let expected = if start < end { first..last } else { 0..0 };
                    assert_eq!(layout.pages_of(&(start..end)), expected, "{start}..{end} of {starts:?}");
                }
            }
        }
    }
}
