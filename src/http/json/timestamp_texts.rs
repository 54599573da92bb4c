//! The texts of timestamps that several series of a result have.

use super::number::push_timestamp;
use std::sync::Arc;

/// Points of a column whose texts are made beforehand, at most: the first of a range query and its 11,000 steps.
const SHARED_POINTS_MAX: usize = 11_001;

/// The texts of a column of timestamps that series which follow each other have in common.
#[derive(Default)]
pub(super) struct TimestampTexts {
    column: Option<Arc<[i64]>>,
    text: Vec<u8>,
    /// Where each text ends.
    ends: Vec<u32>,
}

impl TimestampTexts {
    /// Makes the texts those of `column`, or none when the column is not worth it: `following` is that of the next series.
    pub(super) fn prepare(&mut self, column: &Arc<[i64]>, following: Option<&Arc<[i64]>>) {
        if self.column.as_ref().is_some_and(|known| Arc::ptr_eq(known, column)) {
            return;
        }
        self.text.clear();
        self.ends.clear();
        let is_read_again = following.is_some_and(|following| Arc::ptr_eq(following, column));
        let worth_it = is_read_again && column.len() <= SHARED_POINTS_MAX;
        self.column = worth_it.then(|| Arc::clone(column));
        if worth_it {
            for &at in column.iter() {
                push_timestamp(&mut self.text, at);
                self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
            }
        }
    }

    /// The text of a timestamp of the column, if it was made.
    pub(super) fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)? as usize;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |&start| start as usize);
        self.text.get(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept beside a result, and made before its next piece is written, does not grow with it.
    #[test]
    fn texts_are_made_beforehand_of_short_columns_that_the_next_series_has_too() {
        let column = |points: usize| -> Arc<[i64]> { (0..points as i64).collect() };
        let (short, long) = (column(SHARED_POINTS_MAX), column(SHARED_POINTS_MAX + 1));
        let mut texts = TimestampTexts::default();
        texts.prepare(&short, Some(&short));
        assert_eq!(texts.get(1500), Some(&b"1.500"[..]));
        texts.prepare(&short, None);
        assert_eq!(texts.get(1500), Some(&b"1.500"[..]), "they are there");
        texts.prepare(&long, Some(&long));
        assert_eq!((texts.get(0), texts.text.len()), (None, 0));
        texts.prepare(&short, Some(&long));
        assert_eq!((texts.get(0), texts.text.len()), (None, 0));
    }
}
