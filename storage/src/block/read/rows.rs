//! Sets of rows of a block's series.

use std::ops::Range;

/// Rows as ascending ranges that do not touch: series that match lie together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RowRanges {
    ranges: Vec<Range<u32>>,
}

impl RowRanges {
    pub(crate) fn all(rows: u32) -> Self {
        let mut all = Self::default();
        all.push(0..rows);
        all
    }

    /// Adds rows behind those that are there.
    pub(crate) fn push(&mut self, rows: Range<u32>) {
        if rows.is_empty() {
            return;
        }
        match self.ranges.last_mut() {
            Some(last) if last.end == rows.start => last.end = rows.end,
            _ => self.ranges.push(rows),
        }
    }

    pub(crate) fn ranges(&self) -> &[Range<u32>] {
        &self.ranges
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many rows there are.
    pub(crate) fn count(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.ranges.iter().cloned().flatten()
    }

    /// Keeps the first rows.
    pub(crate) fn truncate(&mut self, rows: usize) {
        let mut left = rows;
        for range in &mut self.ranges {
            let kept = range.len().min(left);
            range.end = range.start + kept as u32;
            left -= kept;
        }
        self.ranges.retain(|range| !range.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_kept_as_ranges() {
        let mut rows = RowRanges::default();
        [0..2, 2..4, 6..7, 9..9, 10..20].into_iter().for_each(|range| rows.push(range));
        assert_eq!(rows.ranges(), [0..4, 6..7, 10..20]);
        rows.truncate(5);
        assert_eq!(rows.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 6]);
        assert_eq!((rows.count(), RowRanges::all(0).is_empty()), (5, true));
    }
}
