//! Labels of selected series of a block, read where they are asked for.

use super::column::ABSENT;
use super::columns::{Column, TextPage};
use super::error::ReadError;
use super::overflow::Overflow;
use model::labels::Labels;
use smallvec::SmallVec;
use std::sync::Arc;

/// Labels of selected series.
#[derive(Debug)]
pub struct BlockLabels {
    /// Rows of the series file.
    pub(super) rows: Vec<u32>,
    /// In ascending order of names.
    pub(super) columns: Vec<(String, Column<TextPage>)>,
    pub(super) overflow: Option<Arc<Overflow>>,
}

impl BlockLabels {
    /// All that were asked for of the labels of one series; without restriction, its labels.
    ///
    /// # Errors
    /// The block is damaged.
    pub fn of(&self, index: usize) -> Result<Labels, ReadError> {
        self.collect(index, |_| true)
    }

    /// Those of the labels that are among `names` (sorted).
    ///
    /// # Errors
    /// The block is damaged.
    pub fn among(&self, index: usize, names: &[&str]) -> Result<Labels, ReadError> {
        self.collect(index, |name| names.binary_search(&name).is_ok())
    }

    fn collect(&self, index: usize, keep: impl Fn(&str) -> bool) -> Result<Labels, ReadError> {
        let row = self.row(index);
        let mut pairs: SmallVec<[(&str, &str); 16]> = SmallVec::new();
        for (name, column) in self.columns.iter().filter(|(name, _)| keep(name)) {
            let value = column.text(row)?;
            if !value.is_empty() {
                pairs.push((name, value));
            }
        }
        if let Some(overflow) = &self.overflow {
            pairs.extend(overflow.labels(row).filter(|(name, _)| keep(name)));
            pairs.sort_unstable();
        }
        Ok(Labels::from_sorted(pairs))
    }

    /// Decodes the labels of some series and tells `hold` of the bytes of each part; `false` as soon as that says that there is room
    /// for no more.
    ///
    /// # Errors
    /// The block is damaged.
    pub(crate) fn decode(
        &self,
        indices: impl Iterator<Item = usize>,
        hold: &mut dyn FnMut(usize) -> bool,
    ) -> Result<bool, ReadError> {
        let mut rows: Vec<u32> = indices.map(|index| self.row(index)).collect();
        rows.sort_unstable();
        for (_, column) in &self.columns {
            let mut counted = None;
            let has_room = column.each_page(&rows, |page| {
                // Pages of a row group share one.
                let is_new = counted.replace(page.dictionary_number) != Some(page.dictionary_number);
                hold(page.ids.memory() + if is_new { page.dictionary.memory() } else { 0 })
            })?;
            if !has_room {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn row(&self, index: usize) -> u32 {
        self.rows.get(index).copied().unwrap_or(u32::MAX)
    }

    /// The value of one label, empty when it is absent.
    ///
    /// # Errors
    /// The block is damaged.
    pub fn value(&self, index: usize, name: &str) -> Result<&str, ReadError> {
        let row = self.row(index);
        if let Some((_, column)) = self.columns.iter().find(|(other, _)| other == name) {
            return column.text(row);
        }
        let mut labels = self.overflow.iter().flat_map(|overflow| overflow.labels(row));
        Ok(labels.find(|(other, _)| *other == name).map_or("", |(_, value)| value))
    }

    /// Appends a number for each of the `names`, and one before them: within one block, equal numbers mean equal values, and the
    /// first is below 65,536. Returns whether it could tell: only names that were asked for have numbers, and values that no
    /// dictionary of a row group has do not.
    ///
    /// # Errors
    /// The block is damaged.
    pub fn numbers(&self, index: usize, names: &[&str], into: &mut Vec<u32>) -> Result<bool, ReadError> {
        let (row, start) = (self.row(index), into.len());
        // Row groups number their values; the map of a block numbers its own.
        let mut group = None;
        let none = |into: &mut Vec<u32>| {
            into.truncate(start);
            false
        };
        into.push(0);
        for name in names {
            let found = self.columns.binary_search_by(|(other, _)| other.as_str().cmp(name));
            let number = match found.ok().and_then(|at| self.columns.get(at)) {
                Some((_, column)) => {
                    let (page, at) = column.page_of(row)?;
                    match page.ids.get(at) {
                        ABSENT => ABSENT,
                        id if page.dictionary_number == *group.get_or_insert(page.dictionary_number) => id,
                        _ => return Ok(none(into)),
                    }
                }
                None => self.overflow.as_ref().and_then(|overflow| overflow.value_number(row, name)).unwrap_or(ABSENT),
            };
            into.push(number);
        }
        match (group, into.get_mut(start)) {
            (Some(group), Some(first)) if group <= u16::MAX.into() => *first = group,
            (Some(_), _) => return Ok(none(into)),
            (None, _) => {}
        }
        Ok(true)
    }
}
