//! A set of UTC days, of which neighbours are one entry. Pure.
//!
//! A day is that of a tier: it has the samples with `day start < t <= day end`.

use crate::lifecycle::window::{DAY_MS, day_of};
use smallvec::SmallVec;

/// See the head of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DaySpans {
    /// The first and the last day of each span, counted from the epoch; ascending, with days between them.
    spans: SmallVec<[(i64, i64); 2]>,
}

impl DaySpans {
    /// Adds the days of all samples with `first_ms <= t <= last_ms`.
    pub(crate) fn add(&mut self, first_ms: i64, last_ms: i64) {
        let (mut first, mut last) = (day_of(first_ms.saturating_sub(1)), day_of(last_ms.saturating_sub(1)));
        let from = self.spans.partition_point(|span| span.1.saturating_add(1) < first);
        let to = self.spans.partition_point(|span| span.0 <= last.saturating_add(1));
        match self.spans.get(from..to).unwrap_or_default() {
            [span] if span.0 <= first && span.1 >= last => return,
            touched => touched.iter().for_each(|span| (first, last) = (first.min(span.0), last.max(span.1))),
        }
        self.spans.drain(from..to);
        self.spans.insert(from, (first, last));
    }

    /// Adds the days of another set.
    pub(crate) fn add_all(&mut self, others: &Self) {
        others.iter().for_each(|(after_ms, until_ms)| self.add(after_ms.saturating_add(1), until_ms));
    }

    /// Whether the day of a sample is among them.
    pub(crate) fn contains(&self, at_ms: i64) -> bool {
        let day = day_of(at_ms.saturating_sub(1));
        self.spans.get(self.spans.partition_point(|span| span.1 < day)).is_some_and(|span| span.0 <= day)
    }

    /// Whether any day is in both sets.
    pub(crate) fn meet(&self, others: &Self) -> bool {
        let mut with = others.spans.iter();
        with.any(|(first, last)| self.spans.iter().any(|span| span.0 <= *last && span.1 >= *first))
    }

    /// The days that are not in another set.
    pub(crate) fn without(&self, others: &Self) -> Self {
        let mut rest = Self::default();
        for (mut first, last) in self.spans.iter().copied() {
            for (other_first, other_last) in others.spans.iter().copied().filter(|other| other.0 <= last) {
                if other_first > first {
                    rest.spans.push((first, other_first - 1));
                }
                first = first.max(other_last.saturating_add(1));
            }
            if first <= last {
                rest.spans.push((first, last));
            }
        }
        rest
    }

    /// The spans, of samples with `after_ms < t <= until_ms`.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (i64, i64)> {
        let start_ms = |day: i64| day.saturating_mul(DAY_MS);
        self.spans.iter().map(move |(first, last)| (start_ms(*first), start_ms(last.saturating_add(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(of: &[(i64, i64)]) -> Vec<(i64, i64)> {
        let mut days = DaySpans::default();
        of.iter().for_each(|(first, last)| days.add(first * DAY_MS + 1, (last + 1) * DAY_MS));
        days.iter().map(|(after_ms, until_ms)| (after_ms / DAY_MS, until_ms / DAY_MS - 1)).collect()
    }

    #[test]
    fn neighbours_are_one_span_in_whatever_order_they_come() {
        assert_eq!(days(&[(5, 5), (1, 1), (8, 8)]), [(1, 1), (5, 5), (8, 8)]);
        assert_eq!(days(&[(5, 5), (6, 6), (4, 4), (5, 5)]), [(4, 6)]);
        assert_eq!(days(&[(1, 1), (3, 3), (2, 2), (9, 9)]), [(1, 3), (9, 9)]);
        assert_eq!(days(&[(1, 1), (5, 6), (9, 9), (2, 8)]), [(1, 9)]);
    }

    #[test]
    fn days_that_others_have_are_left_out() {
        let of = |spans: &[(i64, i64)]| DaySpans { spans: spans.iter().copied().collect() };
        let (days, others) = (of(&[(1, 3), (5, 9), (12, 12)]), of(&[(0, 1), (6, 6), (8, 12)]));
        assert_eq!(days.without(&others), of(&[(2, 3), (5, 5), (7, 7)]));
        assert!(days.meet(&others) && !of(&[(4, 4), (10, 11)]).meet(&days) && of(&[(4, 5)]).meet(&days));
        let has = |day: i64| days.contains(day * DAY_MS + 1);
        assert!(has(5) && has(9) && has(12) && !has(0) && !has(4) && !has(13));
    }

    #[test]
    fn the_first_moment_of_a_day_is_of_the_day_before() {
        let mut days = DaySpans::default();
        days.add(3 * DAY_MS, 3 * DAY_MS);
        assert_eq!(days.iter().collect::<Vec<_>>(), [(2 * DAY_MS, 3 * DAY_MS)]);
        days.add(i64::MIN, i64::MAX);
        assert_eq!(days.iter().count(), 1);
    }
}
