//! Which samples are refused because they would be gone as soon as they are stored: older than anything that is kept, older than the class
//! of their series keeps, or floats of days of which only tiers are left.
//!
//! Only of samples that the shortest-lived class would not keep is looked at which class they have: what is recent pays one comparison
//! for each batch.
//!
//! That is decided before samples are logged. What is in the log is stored whatever the time is, so replaying it comes to the same
//! verdicts.

use crate::append::{AppendOutcome, Batch, Rejection, Rows, SeriesRef};
use crate::lifecycle::retention::Retention;
use crate::tiers::day_spans::DaySpans;
use hashbrown::HashMap;
use model::labels::Labels;
use std::sync::Arc;

/// What is kept; by default everything.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) retention: Arc<Retention>,
    /// The days whose floats tiers have outlived. Native histograms outlive them, too.
    pub(crate) expired: DaySpans,
}

impl Kept {
    /// Takes out of a batch what is not kept; `labels_of` knows the series that are there.
    pub(super) fn take_out(
        &self,
        batch: &mut Batch,
        now_ms: i64,
        labels_of: impl Fn(SeriesRef) -> Option<Labels>,
    ) -> TakenOut {
        let class_ms = self.retention.hidden_before_ms(now_ms);
        let mut by_series = HashMap::new();
        let mut is_hidden = |series: SeriesRef, at_ms: i64| {
            let before_ms = || labels_of(series).and_then(|labels| self.retention.class_before_ms(&labels, now_ms));
            at_ms < class_ms
                && by_series.entry(series).or_insert_with(before_ms).is_some_and(|before_ms| at_ms < before_ms)
        };
        let gone_until_ms = self.retention.gone_until_ms(now_ms);
        let expired_until_ms = self.expired.iter().next_back().map_or(i64::MIN, |(_, until_ms)| until_ms);
        let oldest_ms = batch.rows.timestamps_ms.iter().fold(i64::MAX, |oldest, at| oldest.min(*at));
        let mut taken = TakenOut::default();
        if oldest_ms <= gone_until_ms.max(expired_until_ms) || oldest_ms < class_ms {
            let rows = batch.rows.series.iter().zip(&batch.rows.timestamps_ms);
            taken.floats = indices(rows.map(|(series, at_ms)| {
                *at_ms <= gone_until_ms || self.expired.contains(*at_ms) || is_hidden(*series, *at_ms)
            }));
            if !taken.floats.is_empty() {
                batch.rows = without(&batch.rows, &taken.floats);
            }
        }
        let mut is_gone = |at_ms: i64, series: SeriesRef| at_ms <= gone_until_ms || is_hidden(series, at_ms);
        taken.histograms = indices(batch.histograms.iter().map(|row| is_gone(row.timestamp_ms, row.series)));
        if !taken.histograms.is_empty() {
            batch.histograms.retain(|row| !is_gone(row.timestamp_ms, row.series));
        }
        taken
    }
}

fn indices(are_gone: impl Iterator<Item = bool>) -> Vec<u32> {
    (0u32..).zip(are_gone).filter(|(_, is_gone)| *is_gone).map(|(index, _)| index).collect()
}

fn without(rows: &Rows, taken: &[u32]) -> Rows {
    let (mut kept, mut taken) = (Rows::default(), taken.iter().map(|index| *index as usize).peekable());
    let samples = rows.series.iter().zip(&rows.timestamps_ms).zip(&rows.values).enumerate();
    for (row, ((series, at_ms), value)) in samples.filter(|(row, _)| taken.next_if_eq(row).is_none()) {
        kept.push_started(*series, *at_ms, *value, rows.starts_ms.get(row).copied().unwrap_or(0));
    }
    kept
}

/// The places that what was taken out had in its batch, ascending.
#[derive(Debug, Default)]
pub(super) struct TakenOut {
    floats: Vec<u32>,
    histograms: Vec<u32>,
}

impl TakenOut {
    pub(super) fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty()
    }

    /// What became of the whole batch, from what became of the rest.
    pub(super) fn join(&self, mut rest: AppendOutcome) -> AppendOutcome {
        join(&self.floats, &mut rest.rejected);
        join(&self.histograms, &mut rest.histograms_rejected);
        rest
    }
}

fn join(taken: &[u32], rejected: &mut Vec<(u32, Rejection)>) {
    if taken.is_empty() {
        return;
    }
    let mut before = 0;
    for (index, _) in rejected.iter_mut() {
        while taken.get(before).is_some_and(|taken| *taken <= *index + before as u32) {
            before += 1;
        }
        *index += before as u32;
    }
    rejected.extend(taken.iter().map(|index| (*index, Rejection::TooOld)));
    rejected.sort_unstable_by_key(|rejected| rejected.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::append::HistogramRow;
    use crate::lifecycle::retention::RetentionClass;
    use crate::lifecycle::window::DAY_MS;
    use model::histogram::Histogram;
    use model::matcher::Matcher;
    use std::cell::Cell;

    fn batch(days: &[i64]) -> Batch {
        let mut rows = Rows::default();
        for (number, day) in (0u32..).zip(days) {
            rows.push_started(SeriesRef(number), day * DAY_MS + 1, f64::from(number), i64::from(number % 2));
        }
        Batch::from(rows)
    }

    #[test]
    fn what_is_not_kept_is_taken_out_and_its_place_is_known() {
        let retention = Arc::new(Retention { keep_ms: Some(10 * DAY_MS), ..Retention::default() });
        let mut kept = Kept { retention, ..Kept::default() };
        kept.expired.add(95 * DAY_MS + 1, 96 * DAY_MS);
        let mut all = batch(&[99, 95, 80, 97, 96, 95, 94]);
        let nobody = |_| unreachable!("there are no classes");
        let taken = kept.take_out(&mut all, 100 * DAY_MS, nobody);
        assert_eq!(all.rows.values, [0.0, 3.0, 4.0, 6.0]);
        assert_eq!(all.rows.starts_ms, [0, 1, 0, 0]);
        let rejected = vec![(1, Rejection::ConflictingValue), (3, Rejection::SeriesGone)];
        let outcome = taken.join(AppendOutcome { written: 2, rejected, ..AppendOutcome::default() });
        let reasons = [1, 2, 5].map(|index| (index, Rejection::TooOld));
        let others = [(3, Rejection::ConflictingValue), (6, Rejection::SeriesGone)];
        assert_eq!(outcome.rejected, [reasons[0], reasons[1], others[0], reasons[2], others[1]]);
        let mut young = batch(&[97, 98]);
        assert!(kept.take_out(&mut young, 100 * DAY_MS, nobody).is_empty() && young.rows.len() == 2);
    }

    #[test]
    fn what_its_class_does_not_keep_is_taken_out_and_only_what_is_old_is_looked_at() {
        let class = |n: &str, days| RetentionClass {
            name: n.into(),
            matchers: vec![Matcher::equal("n", n)],
            keep_ms: days * DAY_MS,
        };
        let classes = vec![class("1", 3), class("2", 20)];
        let kept = Kept { retention: Arc::new(Retention { classes, ..Retention::default() }), ..Kept::default() };
        let asked = Cell::new(0);
        let labels_of = |SeriesRef(number): SeriesRef| {
            asked.set(asked.get() + 1);
            // Series 4 has left meanwhile.
            (number != 4).then(|| Labels::from_pairs([("n", number.to_string())]).unwrap())
        };
        let (mut batch, now_ms) = (Batch::default(), 100 * DAY_MS);
        for (number, age) in [(1, 2), (1, 4), (1, 5), (2, 5), (2, 30), (3, 30), (4, 30)] {
            let (series, timestamp_ms) = (SeriesRef(number), now_ms - age * DAY_MS);
            batch.rows.push(series, timestamp_ms, age as f64);
            batch.histograms.push(HistogramRow { series, timestamp_ms, start_ms: 0, histogram: Histogram::default() });
        }
        let taken = kept.take_out(&mut batch, now_ms, labels_of);
        assert_eq!((batch.rows.values, asked.get()), (vec![2.0, 5.0, 30.0, 30.0], 4));
        assert_eq!(batch.histograms.iter().map(|row| row.series.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!((taken.floats, taken.histograms), (vec![1, 2, 4], vec![1, 2, 4]));
        let mut exact = Batch::default();
        exact.rows.push(SeriesRef(1), now_ms - 3 * DAY_MS, 0.0);
        assert!(kept.take_out(&mut exact, now_ms, labels_of).is_empty(), "what is still shown is taken");
        assert_eq!(asked.get(), 4);
    }
}
