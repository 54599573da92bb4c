//! Which rows satisfy a matcher: it is tried once on each distinct value that occurs, then numbers are compared.

use super::column::{ABSENT, Ids, Numbers};
use super::columns::{Column, TextPage};
use super::error::ReadError;
use super::rows::RowRanges;
use super::text::Dictionary;
use crate::select::TimeRange;
use model::matcher::Matcher;
use std::ops::Range;
use std::sync::Arc;

/// The rows among `rows` whose label satisfies the matcher.
pub(crate) fn filter(column: &Column<TextPage>, matcher: &Matcher, rows: &RowRanges) -> Result<RowRanges, ReadError> {
    let mut verdicts =
        Verdicts { matcher, absent: matcher.matches(""), of: Vec::new(), all_known: false, dictionary: None };
    let mut kept = RowRanges::default();
    column.for_each_part(rows, |page, first, part| {
        verdicts.turn_to(&page.dictionary);
        let within = (part.start - first) as usize..(part.end - first) as usize;
        let take = |range: Range<usize>| kept.push(first + range.start as u32..first + range.end as u32);
        if verdicts.are_known(&page.ids, within.len()) {
            let (known, absent) = (verdicts.of.as_slice(), verdicts.absent);
            keep(&page.ids, within, |id| known.get(id as usize).map_or(absent, |verdict| *verdict == YES), take);
        } else {
            keep(&page.ids, within, |id| verdicts.of(id), take);
        }
        Ok(())
    })?;
    Ok(kept)
}

/// Verdicts: not asked yet, and the two answers.
const UNKNOWN: u8 = 0;
const NO: u8 = 1;
const YES: u8 = 2;

/// What a matcher says of the values of a dictionary, found out when it is first asked.
struct Verdicts<'a> {
    matcher: &'a Matcher,
    absent: bool,
    of: Vec<u8>,
    all_known: bool,
    dictionary: Option<Arc<Dictionary>>,
}

impl Verdicts<'_> {
    fn turn_to(&mut self, dictionary: &Arc<Dictionary>) {
        if self.dictionary.as_ref().is_none_or(|current| !Arc::ptr_eq(current, dictionary)) {
            self.dictionary = Some(Arc::clone(dictionary));
            self.of.clear();
            self.of.resize(dictionary.len(), UNKNOWN);
            self.all_known = false;
        }
    }

    /// Whether all verdicts are there, which makes looking at rows cheaper: if there are more rows than values, they are made.
    fn are_known(&mut self, ids: &Ids, rows: usize) -> bool {
        if !self.all_known && !matches!(ids, Ids::Runs(_)) && rows >= self.of.len() {
            (0..self.of.len() as u32).for_each(|id| _ = self.of(id));
            self.all_known = true;
        }
        self.all_known
    }

    #[inline]
    fn of(&mut self, id: u32) -> bool {
        match self.of.get_mut(id as usize) {
            None => self.absent,
            Some(verdict) => {
                if *verdict == UNKNOWN {
                    let value = self.dictionary.as_ref().map_or("", |dictionary| dictionary.get(id));
                    *verdict = if self.matcher.matches(value) { YES } else { NO };
                }
                *verdict == YES
            }
        }
    }
}

/// Hands runs of wanted rows to `take`.
fn keep(ids: &Ids, rows: Range<usize>, mut wanted: impl FnMut(u32) -> bool, mut take: impl FnMut(Range<usize>)) {
    match ids {
        Ids::Runs(runs) => {
            let first = runs.partition_point(|run| run.0 as usize <= rows.start);
            let mut start = rows.start;
            for (end, id) in runs.get(first..).unwrap_or_default() {
                if start >= rows.end {
                    break;
                }
                let end = (*end as usize).min(rows.end);
                if wanted(*id) {
                    take(start..end);
                }
                start = end;
            }
        }
        Ids::Bytes(ids) => keep_each(ids, rows, |id| wanted(if id == u8::MAX { ABSENT } else { id.into() }), take),
        Ids::Words(ids) => keep_each(ids, rows, |id| wanted(if id == u16::MAX { ABSENT } else { id.into() }), take),
        Ids::Longs(ids) => keep_each(ids, rows, wanted, take),
    }
}

fn keep_each<T: Copy>(
    ids: &[T],
    rows: Range<usize>,
    mut wanted: impl FnMut(T) -> bool,
    mut take: impl FnMut(Range<usize>),
) {
    let mut start = rows.start;
    for some in ids.get(rows).unwrap_or_default().chunks(64) {
        let mut bits = 0u64;
        for (at, id) in some.iter().enumerate() {
            bits |= u64::from(wanted(*id)) << at;
        }
        // Runs of set bits, one after the other.
        let mut at = 0;
        while bits != 0 {
            let zeros = bits.trailing_zeros();
            bits >>= zeros;
            let ones = bits.trailing_ones();
            bits = bits.checked_shr(ones).unwrap_or(0);
            at += zeros as usize;
            take(start + at..start + at + ones as usize);
            at += ones as usize;
        }
        start += some.len();
    }
}

/// The rows among `rows` that may have samples in the range.
pub(crate) fn in_range(
    first_ms: &Column<Numbers>,
    last_ms: &Column<Numbers>,
    range: TimeRange,
    rows: &RowRanges,
) -> Result<RowRanges, ReadError> {
    let mut kept = RowRanges::default();
    for range_of_rows in rows.ranges() {
        let mut row = range_of_rows.start;
        while row < range_of_rows.end {
            // As far as both pages go.
            let ((first, first_at), (last, last_at)) = (first_ms.page_of(row)?, last_ms.page_of(row)?);
            let here = first.rows().saturating_sub(first_at) as u32;
            let length = here.min(last.rows().saturating_sub(last_at) as u32);
            let end = range_of_rows.end.min(row.saturating_add(length.max(1)));
            match overlap(first, last, range).filter(|_| length > 0) {
                Some(true) => kept.push(row..end),
                Some(false) => {}
                None => {
                    for (at, row) in (row..end).enumerate() {
                        let overlaps = match (first.get(first_at + at), last.get(last_at + at)) {
                            (Some(first), Some(last)) => first as i64 <= range.until_ms && last as i64 > range.after_ms,
                            _ => false,
                        };
                        if overlaps {
                            kept.push(row..row + 1);
                        }
                    }
                }
            }
            row = end;
        }
    }
    Ok(kept)
}

/// Whether all series of two pages may have samples in the range, or none; `None` if each has to be looked at. Most series live
/// through a block, so that a range that cuts off its edges means all of them.
pub(super) fn overlap(first_ms: &Numbers, last_ms: &Numbers, range: TimeRange) -> Option<bool> {
    let ((first, first_until), (last_from, last)) = first_ms.signed_bounds().zip(last_ms.signed_bounds())?;
    if first_until <= range.until_ms && last_from > range.after_ms {
        return Some(true);
    }
    (first > range.until_ms || last <= range.after_ms).then_some(false)
}
