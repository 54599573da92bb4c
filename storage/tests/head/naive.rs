//! The naive twin of the head: a list of series, each a map from timestamps to values.

use model::labels::Labels;
use model::matcher::Matcher;
use std::collections::{BTreeMap, BTreeSet};
use storage::append::{AppendOutcome, LabelHash, Rejection, Rows, SeriesRef};
use storage::head::Head;

#[derive(Debug, Clone, Default)]
pub(crate) struct NaiveHead {
    pub(crate) series: Vec<NaiveSeries>,
}

#[derive(Debug, Clone)]
pub(crate) struct NaiveSeries {
    pub(crate) series: SeriesRef,
    pub(crate) labels: Labels,
    pub(crate) samples: BTreeMap<i64, u64>,
}

pub(crate) fn hash_of(labels: &Labels) -> LabelHash {
    LabelHash::of_pairs(labels.iter(), &mut Vec::new())
}

impl NaiveHead {
    /// Makes the series in both heads, unless the twin has it.
    pub(crate) fn create(&mut self, head: &Head, labels: &Labels) -> SeriesRef {
        let pairs: Vec<_> = labels.iter().collect();
        let mut logged = None;
        let (series, created) = head.create(hash_of(labels), &pairs, |series| logged = Some(series)).expect("room");
        let known = self.series.iter().find(|known| known.labels == *labels);
        assert_eq!(created, known.is_none());
        assert_eq!(logged, created.then_some(series));
        if created {
            self.series.push(NaiveSeries { series, labels: labels.clone(), samples: BTreeMap::new() });
        }
        series
    }

    pub(crate) fn append(&mut self, rows: &Rows) -> AppendOutcome {
        let mut outcome = AppendOutcome::default();
        for (i, &series) in rows.series.iter().enumerate() {
            let known = self.series.iter_mut().find(|known| known.series == series).expect("made before");
            let bits = rows.values[i].to_bits();
            if *known.samples.entry(rows.timestamps_ms[i]).or_insert(bits) == bits {
                outcome.written += 1;
            } else {
                outcome.rejected.push((i as u32, Rejection::ConflictingValue));
            }
        }
        outcome
    }

    pub(crate) fn matching(&self, matchers: &[Matcher]) -> impl Iterator<Item = &NaiveSeries> {
        let fits = |series: &Labels| matchers.iter().all(|m| m.matches(series.get(m.name()).unwrap_or("")));
        self.series.iter().filter(move |series| fits(&series.labels))
    }

    pub(crate) fn names(&self, matchers: &[Matcher]) -> Vec<String> {
        let names: BTreeSet<_> = self.matching(matchers).flat_map(|s| s.labels.iter().map(|(n, _)| n)).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    pub(crate) fn values(&self, name: &str, matchers: &[Matcher]) -> Vec<String> {
        let values: BTreeSet<_> = self.matching(matchers).filter_map(|s| s.labels.get(name)).collect();
        values.into_iter().map(str::to_owned).collect()
    }
}

impl NaiveSeries {
    pub(crate) fn within(&self, after_ms: i64, until_ms: i64) -> Vec<(i64, u64)> {
        let inside = |t: i64| t > after_ms && t <= until_ms;
        self.samples.iter().filter(|(t, _)| inside(**t)).map(|(t, bits)| (*t, *bits)).collect()
    }
}
