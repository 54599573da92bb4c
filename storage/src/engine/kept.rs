//! Which samples are refused because they would be gone as soon as they are stored: older than anything that is kept, or floats of
//! days of which only tiers are left.
//!
//! That is decided before samples are logged. What is in the log is stored whatever the time is, so replaying it comes to the same
//! verdicts.

use crate::append::{AppendOutcome, Batch, Rejection, Rows};
use crate::lifecycle::retention::Retention;
use crate::tiers::day_spans::DaySpans;
use std::sync::Arc;

/// What is kept; by default everything.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) retention: Arc<Retention>,
    /// The days whose floats tiers have outlived. Native histograms outlive them, too.
    pub(crate) expired: DaySpans,
}

impl Kept {
    /// Takes out of a batch what is not kept.
    pub(super) fn take_out(&self, batch: &mut Batch, now_ms: i64) -> TakenOut {
        let gone_until_ms = self.retention.gone_until_ms(now_ms);
        let expired_until_ms = self.expired.iter().next_back().map_or(i64::MIN, |(_, until_ms)| until_ms);
        let oldest_ms = batch.rows.timestamps_ms.iter().fold(i64::MAX, |oldest, at| oldest.min(*at));
        let mut taken = TakenOut::default();
        if oldest_ms <= gone_until_ms.max(expired_until_ms) {
            let is_gone = |at_ms: i64| at_ms <= gone_until_ms || self.expired.contains(at_ms);
            taken.floats = indices(batch.rows.timestamps_ms.iter().copied(), is_gone);
            if !taken.floats.is_empty() {
                batch.rows = without(&batch.rows, is_gone);
            }
        }
        taken.histograms = indices(batch.histograms.iter().map(|row| row.timestamp_ms), |at_ms| at_ms <= gone_until_ms);
        if !taken.histograms.is_empty() {
            batch.histograms.retain(|row| row.timestamp_ms > gone_until_ms);
        }
        taken
    }
}

fn indices(times: impl Iterator<Item = i64>, is_gone: impl Fn(i64) -> bool) -> Vec<u32> {
    (0u32..).zip(times).filter(|(_, at_ms)| is_gone(*at_ms)).map(|(index, _)| index).collect()
}

fn without(rows: &Rows, is_gone: impl Fn(i64) -> bool) -> Rows {
    let mut kept = Rows::default();
    let samples = rows.series.iter().zip(&rows.timestamps_ms).zip(&rows.values).enumerate();
    for (row, ((series, at_ms), value)) in samples.filter(|(_, ((_, at_ms), _))| !is_gone(**at_ms)) {
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
    use crate::append::SeriesRef;
    use crate::lifecycle::window::DAY_MS;

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
        let taken = kept.take_out(&mut all, 100 * DAY_MS);
        assert_eq!(all.rows.values, [0.0, 3.0, 4.0, 6.0]);
        assert_eq!(all.rows.starts_ms, [0, 1, 0, 0]);
        let rejected = vec![(1, Rejection::ConflictingValue), (3, Rejection::SeriesGone)];
        let outcome = taken.join(AppendOutcome { written: 2, rejected, ..AppendOutcome::default() });
        let reasons = [1, 2, 5].map(|index| (index, Rejection::TooOld));
        let others = [(3, Rejection::ConflictingValue), (6, Rejection::SeriesGone)];
        assert_eq!(outcome.rejected, [reasons[0], reasons[1], others[0], reasons[2], others[1]]);
        let mut young = batch(&[97, 98]);
        assert!(kept.take_out(&mut young, 100 * DAY_MS).is_empty() && young.rows.len() == 2);
    }
}
