//! How much memory decoding a foreign Parquet file takes, told from the headers of its pages before one of them is read.
//!
//! A reader of Parquet believes what headers say of sizes, and decodes one page of each column at a time, and what a batch of rows
//! spans of them. So all headers are looked at first; the number of rows per batch follows from what they say.

use crate::block::read::{DICTIONARY_PAGE, PageHeader, read_page_header};
use crate::import::ImportError;
use crate::import::room::Room;
use parquet::basic::Type;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Rows that are decoded at once, at most.
const BATCH_ROWS: u64 = 1024;
/// Labels of a row, where they are a map: more are not counted on.
const MAP_ENTRIES: u64 = 64;
/// What is read of a page to find its header; statistics may make it longer, up to the second.
const HEADER_BYTES: usize = 4 << 10;
const HEADER_BYTES_MAX: usize = 4 << 20;
/// The length of the footer and the magic number behind it.
const TAIL_BYTES: u64 = 8;

/// Refuses a file whose footer alone takes too much memory; a file that is none has to be refused by whoever reads it.
///
/// # Errors
/// The footer is too large, or the file cannot be read.
pub(super) fn check_footer(path: &Path, file: &File, room: &Room) -> Result<(), ImportError> {
    let length = file.metadata().map_err(ImportError::io("read", path))?.len();
    let Some(at) = length.checked_sub(TAIL_BYTES) else { return Ok(()) };
    let mut tail = [0; TAIL_BYTES as usize];
    file.read_exact_at(&mut tail, at).map_err(ImportError::io("read", path))?;
    let bytes = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    // Decoded, it takes several times as much.
    let bytes_max = (room.decoding_bytes() / 8).max(1 << 20);
    if bytes <= bytes_max || bytes > length {
        return Ok(());
    }
    let why = format!("its footer has {bytes} bytes, more than the {bytes_max} that `--memory.limit` allows");
    Err(ImportError::unsupported(path, why))
}

/// How many rows to decode at once, of the columns whose roots are `roots`.
///
/// # Errors
/// A page is too large for `room`, a header or the place of a chunk is damaged, or the file cannot be read.
pub(super) fn batch_rows(
    path: &Path,
    file: &File,
    metadata: &ParquetMetaData,
    roots: &[usize],
    room: &Room,
) -> Result<usize, ImportError> {
    let length = file.metadata().map_err(ImportError::io("read", path))?.len();
    let schema = metadata.file_metadata().schema_descr();
    let mut rows = BATCH_ROWS;
    let leaves: Vec<usize> =
        (0..schema.num_columns()).filter(|leaf| roots.contains(&schema.get_column_root_idx(*leaf))).collect();
    for group in metadata.row_groups() {
        let mut costs = Vec::with_capacity(leaves.len());
        for leaf in &leaves {
            let column = schema.column(*leaf);
            let chunk = group.column(*leaf);
            let entries = if column.max_rep_level() > 0 { MAP_ENTRIES } else { 1 };
            let mut cost = Cost { name: column.path().string(), entries, ..Cost::default() };
            cost.is_text = chunk.column_type() == Type::BYTE_ARRAY;
            let place = place_of(chunk, length).ok_or_else(|| ImportError::Damaged {
                path: path.to_owned(),
                offset: length.saturating_sub(TAIL_BYTES),
                what: format!("its footer says that column `{}` lies where no bytes are", cost.name),
            })?;
            each_page(path, file, place, |at, header| cost.add(at, header))?;
            costs.push(cost);
        }
        rows = rows.min(rows_of(&costs, room.decoding_bytes()).map_err(|column| ImportError::PageTooLarge {
            path: path.to_owned(),
            column: column.name.clone(),
            offset: column.largest_at,
            bytes: column.largest,
            bytes_max: room.decoding_bytes(),
        })?);
    }
    Ok(usize::try_from(rows).unwrap_or(1).max(1))
}

/// Where a column chunk begins and ends in a file of so many bytes, if that is in it: a footer may say anything, and
/// `ColumnChunkMetaData::byte_range` believes it.
fn place_of(chunk: &ColumnChunkMetaData, length: u64) -> Option<(u64, u64)> {
    let start = u64::try_from(chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset())).ok()?;
    let end = start.checked_add(u64::try_from(chunk.compressed_size()).ok()?)?;
    (end <= length).then_some((start, end))
}

/// What the pages of one column chunk say of themselves. Bytes.
#[derive(Debug, Default)]
struct Cost {
    name: String,
    /// Values of one row.
    entries: u64,
    /// Whether a value of a dictionary may be as long as all of it.
    is_text: bool,
    /// The largest page, stored and decompressed, and where it is.
    largest: u64,
    largest_at: u64,
    dictionary: u64,
    /// Decompressed pages that [`BATCH_ROWS`] rows may span.
    span: u64,
    /// The last of them: values and bytes.
    open: VecDeque<(u64, u64)>,
    open_values: u64,
    open_bytes: u64,
}

impl Cost {
    fn add(&mut self, at: u64, header: &PageHeader) {
        let (stored, bytes) = (header.compressed_bytes as u64, header.uncompressed_bytes as u64);
        if stored.saturating_add(bytes) > self.largest {
            (self.largest, self.largest_at) = (stored.saturating_add(bytes), at);
        }
        if header.kind == DICTIONARY_PAGE {
            self.dictionary = self.dictionary.max(bytes);
            return;
        }
        // A batch begins inside of a page, and ends inside of one.
        self.open.push_back((header.values as u64, bytes));
        self.open_values = self.open_values.saturating_add(header.values as u64);
        self.open_bytes = self.open_bytes.saturating_add(bytes);
        self.span = self.span.max(self.open_bytes);
        while let Some((values, bytes)) = self.open.front().copied()
            && self.open_values.saturating_sub(values) >= BATCH_ROWS.saturating_mul(self.entries)
        {
            self.open.pop_front();
            self.open_values = self.open_values.saturating_sub(values);
            self.open_bytes = self.open_bytes.saturating_sub(bytes);
        }
    }

    /// Whatever the number of rows: the page that is read, and the dictionary, decoded.
    fn base(&self) -> u64 {
        self.largest.saturating_add(self.dictionary.saturating_mul(2))
    }

    /// What each row may take that repeats the longest value of the dictionary.
    fn row(&self) -> u64 {
        if self.is_text { self.dictionary.saturating_mul(self.entries) } else { 0 }
    }
}

/// How many rows fit, or the column that takes the most when not even one does.
fn rows_of(costs: &[Cost], bytes_max: u64) -> Result<u64, &Cost> {
    let sum = |of: &dyn Fn(&Cost) -> u64| costs.iter().map(of).fold(0, u64::saturating_add);
    let (base, row) = (sum(&Cost::base), sum(&Cost::row));
    let many = base.saturating_add(sum(&|cost| cost.span));
    if let Some(left) = bytes_max.checked_sub(many.saturating_add(row)) {
        return Ok(left.saturating_add(row).checked_div(row).map_or(BATCH_ROWS, |rows| rows.clamp(1, BATCH_ROWS)));
    }
    let one = base.saturating_add(sum(&|cost| cost.largest)).saturating_add(row);
    match costs.iter().max_by_key(|cost| cost.largest) {
        Some(largest) if one > bytes_max => Err(largest),
        _ => Ok(1),
    }
}

/// Visits the headers of all pages of a column chunk with their places.
fn each_page(
    path: &Path,
    file: &File,
    (mut at, end): (u64, u64),
    mut each: impl FnMut(u64, &PageHeader),
) -> Result<(), ImportError> {
    let mut buffer = vec![0; HEADER_BYTES];
    while at < end {
        let left = usize::try_from(end - at).unwrap_or(usize::MAX);
        let header = loop {
            let wanted = buffer.len().min(left);
            let bytes = buffer.get_mut(..wanted).unwrap_or_default();
            file.read_exact_at(bytes, at).map_err(ImportError::io("read", path))?;
            match read_page_header(bytes) {
                Ok(header) => break header,
                Err(_) if wanted < left && buffer.len() < HEADER_BYTES_MAX => buffer.resize(buffer.len() * 4, 0),
                Err(error) => {
                    return Err(ImportError::Damaged { path: path.to_owned(), offset: at, what: error.0.to_owned() });
                }
            }
        };
        each(at, &header);
        at = at.saturating_add(header.header_bytes.saturating_add(header.compressed_bytes) as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(dictionary: u64, pages: &[(u64, u64)]) -> Cost {
        let mut cost = Cost { entries: 1, is_text: true, ..Cost::default() };
        let header = |kind, values, bytes| PageHeader {
            kind,
            values: values as usize,
            uncompressed_bytes: bytes as usize,
            ..PageHeader::default()
        };
        cost.add(4, &header(DICTIONARY_PAGE, 10, dictionary));
        pages.iter().for_each(|(values, bytes)| cost.add(8, &header(0, *values, *bytes)));
        cost
    }

    #[test]
    fn rows_are_as_many_as_the_dictionary_lets_fit() {
        let small = [cost(1_000, &[(20_000, 30_000), (20_000, 30_000)])];
        assert_eq!(rows_of(&small, 10 << 20).ok(), Some(BATCH_ROWS));
        let base = 30_000 + 2_000 + 60_000;
        assert_eq!(rows_of(&small, base + 7_000).ok(), Some(7));
        assert_eq!(rows_of(&small, 70_000).ok(), Some(1), "no more than a page at once");
        assert_eq!(rows_of(&small, 50_000).unwrap_err().largest, 30_000);
    }

    #[test]
    fn pages_of_few_rows_are_counted_as_often_as_a_batch_spans_them() {
        let few: Vec<_> = (0..100).map(|_| (100, 1_000)).collect();
        assert_eq!(cost(0, &few).span, 12_000);
        let many: Vec<_> = (0..100).map(|_| (50_000, 1_000)).collect();
        assert_eq!(cost(0, &many).span, 2_000);
    }
}
