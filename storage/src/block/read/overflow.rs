//! Labels that have no column of their own: they are in the map of all labels alone.

use super::column::value_ids;
use super::columns::{ColumnBytes, group_of, page_bytes, shared_dictionary};
use super::error::ReadError;
use super::layout::ColumnLayout;
use super::lists::row_starts;
use super::page::read_data_page;
use super::rows::RowRanges;
use super::text::{Dictionary, TextBuilder};
use hashbrown::HashSet;
use model::matcher::Matcher;

/// Path of the names of the map.
pub(crate) const KEYS: &str = "labels.key_value.key";
/// Path of its values.
pub(crate) const VALUES: &str = "labels.key_value.value";

/// The labels without a column, of all series.
#[derive(Debug, Default)]
pub(crate) struct Overflow {
    names: Dictionary,
    values: Dictionary,
    /// By row, then by name.
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    row: u32,
    name: u32,
    value: u32,
}

impl Overflow {
    /// Reads the map and keeps what `columns` do not have.
    pub(crate) fn read(
        bytes: &ColumnBytes,
        keys: &ColumnLayout,
        values: &ColumnLayout,
        columns: &HashSet<&str>,
    ) -> Result<Self, ReadError> {
        let (mut names, mut texts, mut entries) = (TextBuilder::default(), TextBuilder::default(), Vec::new());
        let keys = strings(bytes, keys)?;
        let values = strings(bytes, values)?;
        for (row, (keys, values)) in keys.iter().zip(&values).enumerate() {
            for (name, value) in keys.iter().zip(values) {
                if !columns.contains(&**name) {
                    entries.push(Entry { row: row as u32, name: names.id_of(name), value: texts.id_of(value) });
                }
            }
        }
        Ok(Self { names: names.finish(), values: texts.finish(), entries })
    }

    pub(crate) fn memory(&self) -> usize {
        64 + self.names.memory() + self.values.memory() + self.entries.len() * 12
    }

    fn of_row(&self, row: u32) -> &[Entry] {
        let first = self.entries.partition_point(|entry| entry.row < row);
        let end = self.entries.partition_point(|entry| entry.row <= row);
        self.entries.get(first..end).unwrap_or_default()
    }

    /// The labels of a row by name.
    pub(crate) fn labels(&self, row: u32) -> impl Iterator<Item = (&str, &str)> {
        self.of_row(row).iter().map(|entry| (self.names.get(entry.name), self.values.get(entry.value)))
    }

    /// The number of a row's value of a label; equal numbers are equal values.
    pub(crate) fn value_number(&self, row: u32, name: &str) -> Option<u32> {
        self.of_row(row).iter().find(|entry| self.names.get(entry.name) == name).map(|entry| entry.value)
    }

    /// The rows among `rows` that satisfy a matcher of a label without a column.
    pub(crate) fn filter(&self, matcher: &Matcher, rows: &RowRanges) -> RowRanges {
        let absent = matcher.matches("");
        let mut kept = RowRanges::default();
        for range in rows.ranges() {
            let first = self.entries.partition_point(|entry| entry.row < range.start);
            let mut next = range.start;
            let later = self.entries.get(first..).unwrap_or_default();
            let of_label = later
                .iter()
                .take_while(|entry| entry.row < range.end)
                .filter(|entry| self.names.get(entry.name) == matcher.name());
            for entry in of_label {
                if absent {
                    kept.push(next..entry.row);
                }
                if matcher.matches(self.values.get(entry.value)) {
                    kept.push(entry.row..entry.row + 1);
                }
                next = entry.row + 1;
            }
            if absent {
                kept.push(next..range.end);
            }
        }
        kept
    }

    /// Calls `take` with name and value of every label of the rows, as often as they have it.
    pub(crate) fn for_each(&self, rows: &RowRanges, mut take: impl FnMut(&str, &str)) {
        for range in rows.ranges() {
            let first = self.entries.partition_point(|entry| entry.row < range.start);
            let later = self.entries.get(first..).unwrap_or_default();
            for entry in later.iter().take_while(|entry| entry.row < range.end) {
                take(self.names.get(entry.name), self.values.get(entry.value));
            }
        }
    }
}

/// The texts of each row of a column of lists.
pub(crate) fn strings(bytes: &ColumnBytes, column: &ColumnLayout) -> Result<Vec<Vec<Box<str>>>, ReadError> {
    let mut rows = Vec::new();
    for page in &column.pages {
        rows.extend(page_strings(bytes, column, page)?);
    }
    Ok(rows)
}

/// The texts of each row of one page of a column of lists.
pub(crate) fn page_strings(
    bytes: &ColumnBytes,
    column: &ColumnLayout,
    page: &super::layout::PagePlace,
) -> Result<Vec<Vec<Box<str>>>, ReadError> {
    let at = |error: super::error::PageError| error.at(&bytes.object.key, page.offset);
    let stored = page_bytes(bytes, page)?;
    let data = read_data_page(stored, column.compression, Vec::new()).map_err(at)?;
    let starts = row_starts(&data, column.definition_max).map_err(at)?;
    let shared = shared_dictionary(bytes, column, group_of(bytes, column, page)?)?;
    let (ids, own) = value_ids(&data, shared.as_deref()).map_err(at)?;
    let texts = |dictionary: &Dictionary| {
        let of_row = |ends: &[u32]| match ends {
            [from, to] => ids.get(*from as usize..*to as usize).unwrap_or_default(),
            _ => &[],
        };
        let row = |ends: &[u32]| of_row(ends).iter().map(|id| dictionary.get(*id).into()).collect();
        starts.windows(2).map(row).collect()
    };
    Ok(match (own.as_ref(), shared.as_deref()) {
        (Some(dictionary), _) | (None, Some(dictionary)) => texts(dictionary),
        (None, None) => texts(&Dictionary::default()),
    })
}
