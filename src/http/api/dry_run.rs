//! What a deletion would hide, told without deleting it.
//!
//! Samples are read a day at a time, so that no more of blocks is held at once than that, and what is held is charged.

use super::selectors::satisfies_any;
use crate::query::error::QueryFailure;
use crate::query::store::SeriesStore;
use model::histogram::HistogramColumns;
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::SampleColumns;
use promql::budget::Budget;
use promql::source::{SelectRequest, SeriesSource};
use serde::Serialize;
use std::collections::HashSet;
use std::sync::Arc;
use storage::append::LabelHash;

/// What is read at once, in milliseconds.
const PART_MS: i64 = 86_400_000;

/// Parts of one stretch of samples, at most; longer than a day where those are not enough.
const PARTS_MAX: i64 = 10_000;

/// What is held of a series that was counted: its hash, and room for a table of hashes to grow.
const COUNTED_BYTES: usize = 4 * size_of::<LabelHash>();

/// What a deletion would hide.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Doomed {
    series: u64,
    /// Native histograms included.
    samples: u64,
}

impl Doomed {
    /// Counts what satisfies any of `sets` in `after_ms < t <= until_ms`; what that takes is charged to `account`.
    ///
    /// # Errors
    /// More than `series_max` series satisfy one, more would be held than may be, or storage failed.
    pub(super) fn count(
        store: &dyn SeriesStore,
        sets: &[Vec<Matcher>],
        (after_ms, until_ms): (i64, i64),
        series_max: usize,
        account: &Arc<Budget>,
    ) -> Result<Self, QueryFailure> {
        let session = store.session(account);
        let source: &dyn SeriesSource = session.as_deref().unwrap_or(store);
        let parts = parts(&stretches(store), after_ms, until_ms);
        let (mut found, mut counted) = (Self::default(), Counted::new(parts.len() > 1));
        let (mut floats, mut histograms) = (SampleColumns::default(), HistogramColumns::default());
        for (after_ms, until_ms) in parts {
            for (at, matchers) in sets.iter().enumerate() {
                let selected = source.select(&SelectRequest { matchers, after_ms, until_ms, series_max })?;
                let earlier = sets.get(..at).unwrap_or_default();
                let is_told_apart = counted.is_needed || !earlier.is_empty();
                let held = if is_told_apart { selected.fetch_labels(account)? } else { 0 };
                for index in 0..selected.len() {
                    let labels = if is_told_apart { selected.labels(index) } else { Labels::empty() };
                    if satisfies_any(earlier, &labels) {
                        continue;
                    }
                    selected.read(index, after_ms, until_ms, &mut floats)?;
                    selected.read_histograms(index, after_ms, until_ms, &mut histograms)?;
                    let samples = (floats.len() + histograms.timestamps_ms.len()) as u64;
                    found.samples += samples;
                    found.series += u64::from(samples > 0 && counted.is_new(&labels, account)?);
                }
                account.release(0, held);
            }
        }
        Ok(found)
    }
}

/// The series that were counted in an earlier part.
struct Counted {
    is_needed: bool,
    series: HashSet<LabelHash>,
    scratch: Vec<u8>,
}

impl Counted {
    fn new(is_needed: bool) -> Self {
        Self { is_needed, series: HashSet::new(), scratch: Vec::new() }
    }

    fn is_new(&mut self, labels: &Labels, account: &Budget) -> Result<bool, QueryFailure> {
        let is_new = !self.is_needed || self.series.insert(LabelHash::of_pairs(labels.iter(), &mut self.scratch));
        if is_new && self.is_needed {
            account.hold(0, COUNTED_BYTES)?;
        }
        Ok(is_new)
    }
}

/// First and last times of what holds samples.
fn stretches(store: &dyn SeriesStore) -> Vec<(i64, i64)> {
    let blocks = store.blocks().into_iter().map(|meta| (meta.min_ms, meta.max_ms));
    store.head_summary().time_range_ms.into_iter().chain(blocks).collect()
}

/// All of `after_ms < t <= until_ms` without a gap, cut at the ends of the days that have samples; the same kind of ends.
fn parts(stretches: &[(i64, i64)], after_ms: i64, until_ms: i64) -> Vec<(i64, i64)> {
    let mut cuts = Vec::new();
    for (first_ms, last_ms) in stretches {
        let (mut at_ms, last_ms) = ((*first_ms).max(after_ms.saturating_add(1)), (*last_ms).min(until_ms));
        let part_ms = PART_MS.max(last_ms.saturating_sub(at_ms) / PARTS_MAX);
        while at_ms <= last_ms {
            let end_ms = at_ms.div_euclid(part_ms).saturating_add(1).saturating_mul(part_ms).saturating_sub(1);
            cuts.push(end_ms.clamp(at_ms, until_ms));
            let Some(next_ms) = end_ms.max(at_ms).checked_add(1) else { break };
            at_ms = next_ms;
        }
    }
    cuts.push(until_ms);
    cuts.sort_unstable();
    cuts.dedup();
    let mut from_ms = after_ms;
    cuts.into_iter().map(|cut_ms| (std::mem::replace(&mut from_ms, cut_ms), cut_ms)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::engine_store::EngineStore;
    use promql::budget::BudgetLimits;
    use promql::engine::QueryError;
    use promql::source::SourceError;
    use storage::append::Rows;
    use storage::store::{Store, StoreOptions};
    use storage::wal::replay::ReplayProgress;

    /// A day boundary.
    const BASE_MS: i64 = 19_676 * PART_MS;
    const DAYS: i64 = 6;
    const SERIES: i64 = 20;
    const SCRAPES: i64 = 1_000;

    /// Blocks of one day each, and a series that is in the first one alone.
    fn store(dir: &std::path::Path) -> EngineStore {
        let mut options = StoreOptions::new(dir);
        options.check_interval = std::time::Duration::from_secs(3600);
        let store = Store::open(options, &ReplayProgress::default()).unwrap();
        for day in 0..DAYS {
            let mut rows = Rows::default();
            for number in 0..SERIES + i64::from(day == 0) {
                let number_text = number.to_string();
                let labels = [("__name__", "m"), ("n", &*number_text)];
                let series = store.engine().create(LabelHash::of_pairs(labels, &mut Vec::new()), &labels).unwrap();
                for scrape in 0..SCRAPES {
                    let at_ms = BASE_MS + day * PART_MS + scrape * 60_000 + (scrape * 7 + number) % 1000;
                    rows.push(series, at_ms, ((number * 7919 + scrape) * 104_729 % 1_000_003) as f64);
                }
            }
            store.engine().append_wait(rows).unwrap();
            store.flush(false).unwrap();
        }
        EngineStore::new(store)
    }

    fn count(store: &EngineStore, range: (i64, i64), bytes_max: usize) -> (Result<Doomed, QueryFailure>, usize) {
        let account = Arc::new(Budget::new(BudgetLimits { bytes_max, ..BudgetLimits::default() }));
        let sets = [vec![Matcher::equal("n", "3")], vec![Matcher::equal("__name__", "m")]];
        (Doomed::count(store, &sets, range, 1_000, &account), account.bytes_peak())
    }

    /// However many days a deletion is about, not much more is held than one of them takes, and never more than may be held.
    #[test]
    fn a_dry_run_holds_a_day_and_pays_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let (one, of_a_day) = count(&store, (BASE_MS, BASE_MS + PART_MS - 1), usize::MAX);
        let samples = ((SERIES + 1) * SCRAPES - 1) as u64;
        assert_eq!(one, Ok(Doomed { series: SERIES as u64 + 1, samples }), "the first sample is at the excluded end");
        assert!(of_a_day > 8 * SCRAPES as usize, "{of_a_day}");
        let (all, _) = count(&store, (i64::MIN, i64::MAX), of_a_day * 3 / 2);
        let samples = ((DAYS * SERIES + 1) * SCRAPES) as u64;
        assert_eq!(all, Ok(Doomed { series: SERIES as u64 + 1, samples }));
        let (refused, _) = count(&store, (i64::MIN, i64::MAX), 1_000);
        let refused = refused.unwrap_err();
        assert!(
            matches!(
                refused,
                QueryFailure::Source(SourceError::TooManyBytes { bytes_max: 1_000 })
                    | QueryFailure::Evaluation(QueryError::TooManyBytes { bytes_max: 1_000 })
            ),
            "{refused:?}"
        );
    }

    #[test]
    fn parts_are_days_without_a_gap() {
        let day = |n: i64| n * PART_MS;
        assert_eq!(parts(&[], 5, 9), [(5, 9)]);
        assert_eq!(parts(&[(7, 8)], i64::MIN, i64::MAX), [(i64::MIN, day(1) - 1), (day(1) - 1, i64::MAX)]);
        let stretches = [(day(1) + 3, day(2) + 3), (day(5), day(5) + 1)];
        let expected = [(day(1), day(2) - 1), (day(2) - 1, day(3) - 1), (day(3) - 1, day(5) + 1)];
        assert_eq!(parts(&stretches, day(1), day(5) + 1), expected);
        let endless = parts(&[(i64::MIN, i64::MAX), (0, i64::MAX)], i64::MIN, i64::MAX);
        assert!(endless.len() < 5 * PARTS_MAX as usize, "{}", endless.len());
        assert!(endless.windows(2).all(|pair| pair[0].1 == pair[1].0 && pair[0].0 < pair[0].1));
    }
}
