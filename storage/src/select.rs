//! Reading: series by matchers, their samples, and what labels there are.

use crate::append::SeriesRef;
use crate::head::Head;
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::{Sample, SampleColumns};
use std::collections::{BTreeMap, BTreeSet};

/// Why series could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// More series match than the caller allows.
    #[error("the query selects more than {series_max} series")]
    TooManySeries {
        /// The bound that was passed.
        series_max: usize,
    },
    /// A stored chunk cannot be read.
    #[error("read a chunk of series {series}")]
    Chunk {
        /// Whose chunk.
        series: u32,
        /// What is wrong with it.
        source: crate::head::HeadError,
    },
}

/// Samples with `after_ms < t <= until_ms`, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// Exclusive.
    pub after_ms: i64,
    /// Inclusive.
    pub until_ms: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { after_ms: i64::MIN, until_ms: i64::MAX };
}

/// Sorted names or values, perhaps cut off by a limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// In ascending order of bytes, each once.
    pub items: Vec<String>,
    /// Whether there were more than the limit.
    pub truncated: bool,
}

/// One line of a cardinality table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// What is counted.
    pub name: String,
    /// How many.
    pub value: u64,
}

/// The largest contributors to the number of series, each table in descending order of value, ties by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Distinct (name, value) pairs.
    pub label_pairs: u64,
    /// Series per metric name.
    pub series_by_metric_name: Vec<Count>,
    /// Distinct values per label name.
    pub values_by_label_name: Vec<Count>,
    /// Bytes of the distinct values per label name.
    pub bytes_by_label_name: Vec<Count>,
    /// Series per `name=value`.
    pub series_by_label_pair: Vec<Count>,
}

/// Series selected from the head, addressed by index; any thread may read any of them at any time.
#[derive(Debug, Clone)]
pub struct Selection {
    head: Head,
    series: Vec<SeriesRef>,
}

impl Head {
    /// The series that satisfy all `matchers` and may have samples in the range.
    ///
    /// # Errors
    /// More than `series_max` series match.
    pub fn select(
        &self,
        matchers: &[Matcher],
        after_ms: i64,
        until_ms: i64,
        series_max: usize,
    ) -> Result<Selection, SelectError> {
        let _ = (after_ms, until_ms);
        let mut series = Vec::new();
        for (shard, state) in self.inner.shard.iter().enumerate() {
            for (slot, (_, labels, _)) in state.read().series.iter().enumerate() {
                if matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or(""))) {
                    series.push(SeriesRef((slot * self.shards() + shard) as u32));
                }
            }
        }
        if series.len() > series_max {
            return Err(SelectError::TooManySeries { series_max });
        }
        Ok(Selection { head: self.clone(), series })
    }

    /// The label names of the series that satisfy all `matchers` and may have samples in the range.
    ///
    /// # Errors
    /// None yet known; reading the index may fail in other stores.
    pub fn label_names(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Listing, SelectError> {
        let all = self.select(matchers, range.after_ms, range.until_ms, usize::MAX)?;
        let mut names = BTreeSet::new();
        for i in 0..all.len() {
            names.extend(all.labels(i).iter().map(|(n, _)| n.to_owned()));
        }
        Ok(Listing { truncated: names.len() > limit, items: names.into_iter().take(limit).collect() })
    }

    /// The values of one label among the series that satisfy all `matchers` and may have samples in the range.
    ///
    /// # Errors
    /// As [`Head::label_names`].
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Listing, SelectError> {
        let all = self.select(matchers, range.after_ms, range.until_ms, usize::MAX)?;
        let values: BTreeSet<_> = (0..all.len()).filter_map(|i| all.labels(i).get(name).map(str::to_owned)).collect();
        Ok(Listing { truncated: values.len() > limit, items: values.into_iter().take(limit).collect() })
    }

    /// What the series are made of: the `top` largest lines of each table.
    #[must_use]
    pub fn cardinality(&self, top: usize) -> Cardinality {
        let mut pairs: BTreeMap<(String, String), u64> = BTreeMap::new();
        for state in &self.inner.shard {
            for (_, labels, _) in &state.read().series {
                for (n, v) in labels {
                    *pairs.entry((n.to_owned(), v.to_owned())).or_default() += 1;
                }
            }
        }
        let by_pair = pairs.iter().map(|((n, v), &c)| Count { name: format!("{n}={v}"), value: c });
        let mut series_by_label_pair: Vec<_> = by_pair.collect();
        series_by_label_pair.sort_by_key(|c| std::cmp::Reverse(c.value));
        series_by_label_pair.truncate(top);
        Cardinality { label_pairs: pairs.len() as u64, series_by_label_pair, ..Cardinality::default() }
    }
}

impl Selection {
    /// How many series were selected.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The reference of one series.
    #[must_use]
    pub fn series(&self, index: usize) -> SeriesRef {
        self.series[index]
    }

    /// The labels of one series.
    #[must_use]
    pub fn labels(&self, index: usize) -> Labels {
        let series = self.series[index];
        let slot = series.0 as usize / self.head.shards();
        self.head.inner.shard[self.head.shard_of(series)].read().series[slot].1.clone()
    }

    /// The labels of one series restricted to `names` (sorted).
    #[must_use]
    pub fn labels_among(&self, index: usize, names: &[&str]) -> Labels {
        self.labels(index).filter(|name| names.binary_search(&name).is_ok())
    }

    /// Replaces the content of `into` by the samples with `after_ms < t <= until_ms`, in order of time, stale markers
    /// included. Equal tokens from one selection and one range mean equal timestamps.
    ///
    /// # Errors
    /// A stored chunk cannot be read.
    pub fn read(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut SampleColumns,
    ) -> Result<Option<u64>, SelectError> {
        into.clear();
        let series = self.series[index];
        let slot = series.0 as usize / self.head.shards();
        let state = self.head.inner.shard[self.head.shard_of(series)].read();
        for (&t, &v) in state.series[slot].2.iter().filter(|(t, _)| **t > after_ms && **t <= until_ms) {
            into.push(t, f64::from_bits(v));
        }
        Ok(None)
    }

    /// The newest sample of one series with `after_ms < t <= at_ms`, stale marker included.
    ///
    /// # Errors
    /// A stored chunk cannot be read.
    pub fn latest(&self, index: usize, after_ms: i64, at_ms: i64) -> Result<Option<Sample>, SelectError> {
        let mut columns = SampleColumns::default();
        self.read(index, after_ms, at_ms, &mut columns)?;
        Ok(columns
            .timestamps_ms
            .last()
            .zip(columns.values.last())
            .map(|(&timestamp_ms, &value)| Sample { timestamp_ms, value }))
    }
}
