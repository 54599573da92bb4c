//! What the series of the head are made of, for people who look for what makes them many.
//!
//! Cheap however many series there are: no table of all values is built. Series are spread over the shards by their hashes, so
//! what is frequent is frequent in every shard: the pairs with most series are looked for among those of each shard and then
//! counted exactly, and so are bytes of values. How many values a label has is exact while they are few; beyond, a few hundred values of
//! each shard are looked up in the others, which tells how often a value is counted more than once, to about two percent.

use crate::head::Head;
use crate::select::{Cardinality, Count};
use model::labels::METRIC_NAME;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Values looked up in all shards for one label, and for all labels together.
const SAMPLES_PER_NAME: usize = 512;
const SAMPLES: usize = 8192;
/// The same for the labels that are in no table, of which only the number of pairs is told.
const OTHER_SAMPLES: usize = 1 << 15;
/// Of so many of these values are looked up; others, which have fewer values, count for those of one shard.
const OTHER_NAMES: usize = 1024;

/// The head as a whole, without what takes a walk over the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadExtent {
    /// Series held.
    pub series: u64,
    /// Open chunks, and those cut since the process started.
    pub chunks: u64,
    /// Times of the oldest and the newest sample, in milliseconds since the Unix epoch.
    pub time_range_ms: Option<(i64, i64)>,
}

/// The values of one label.
#[derive(Debug, Default)]
struct Values {
    per_shard: Vec<u64>,
    /// Of all shards, each value counted for every series that has it.
    bytes: u64,
}

impl Values {
    /// Added up over shards: more than there are, when shards share some.
    fn total(&self) -> u64 {
        self.per_shard.iter().sum()
    }

    /// Of the shard that has most: not more than there are.
    fn largest(&self) -> u64 {
        self.per_shard.iter().copied().max().unwrap_or(0)
    }
}

/// A value of one shard, to be looked up in all.
struct Sample {
    shard: usize,
    value: String,
    /// Shards that have it.
    holders: u32,
}

impl Head {
    /// Size and reach of the head.
    #[must_use]
    pub fn extent(&self) -> HeadExtent {
        let mut extent = HeadExtent::default();
        for shard in &self.inner.shards {
            let shard = shard.read();
            let series = shard.hashes.len() as u64;
            extent.series += series;
            let cut = &shard.counters;
            extent.chunks += series + cut.chunks_cut + cut.late_chunks_cut + cut.histogram_chunks_cut;
            if let Some((first_ms, last_ms)) = shard.time_range_ms() {
                let (oldest_ms, newest_ms) = extent.time_range_ms.unwrap_or((first_ms, last_ms));
                extent.time_range_ms = Some((oldest_ms.min(first_ms), newest_ms.max(last_ms)));
            }
        }
        extent
    }

    /// What the series are made of: the `top` largest lines of each table.
    #[must_use]
    pub fn cardinality(&self, top: usize) -> Cardinality {
        let by_metric = self.heaviest(Some(METRIC_NAME), top);
        let by_pair = self.heaviest(None, top);
        let names = self.names();
        let (mut values, label_pairs) = self.distinct_values(&names, top);
        let mut bytes: Vec<_> = names.iter().map(|(name, values)| (name.clone(), values.bytes)).collect();
        sort_and_cut(&mut values, top);
        sort_and_cut(&mut bytes, top);
        let counts = |lines: Vec<(String, u64)>| lines.into_iter().map(|(name, value)| Count { name, value }).collect();
        Cardinality {
            series_by_metric_name: counts(by_metric.into_iter().map(|((_, value), n)| (value, n)).collect()),
            values_by_label_name: counts(values),
            bytes_by_label_name: counts(bytes),
            series_by_label_pair: counts(
                by_pair.into_iter().map(|((name, v), n)| (format!("{name}={v}"), n)).collect(),
            ),
            label_pairs,
        }
    }

    /// The pairs of one name, or of all, that most series have.
    ///
    /// A pair that is among the heaviest of no shard has at most as many series as the next ones of all shards together. When
    /// that could still matter, more of each shard are looked at, up to a bound: beyond it only pairs with about as many
    /// series as the last lines could have been missed.
    fn heaviest(&self, name: Option<&str>, top: usize) -> Vec<((String, String), u64)> {
        let mut depth = top.max(64);
        loop {
            let mut others_max = 0;
            let mut candidates = BTreeSet::new();
            for shard in &self.inner.shards {
                let found = shard.read().labels.heaviest(name, depth);
                others_max += found.others_max;
                candidates.extend(found.pairs);
            }
            let mut lines: Vec<_> = candidates.into_iter().map(|pair| (pair, 0)).collect();
            for shard in &self.inner.shards {
                let shard = shard.read();
                lines.iter_mut().for_each(|((name, value), count)| *count += shard.labels.series_with(name, value));
            }
            sort_and_cut(&mut lines, top);
            let least = if lines.len() == top { lines.last().map_or(0, |line| line.1) } else { 0 };
            if least >= others_max || depth >= 16 * top.max(64) {
                return lines;
            }
            depth *= 4;
        }
    }

    /// All labels.
    fn names(&self) -> BTreeMap<String, Values> {
        let mut names: BTreeMap<String, Values> = BTreeMap::new();
        for (number, shard) in self.inner.shards.iter().enumerate() {
            for (name, extent) in shard.read().labels.name_extents() {
                let values = names.entry(name.to_owned()).or_default();
                values.bytes += extent.bytes;
                values.per_shard.resize(number, 0);
                values.per_shard.push(extent.values);
            }
        }
        names
    }

    /// How many values the labels have that may be among the `top` with most, and how many all labels have together.
    fn distinct_values(&self, names: &BTreeMap<String, Values>, top: usize) -> (Vec<(String, u64)>, u64) {
        let mut by_values: Vec<(&str, &Values)> = names.iter().map(|(name, values)| (name.as_str(), values)).collect();
        by_values.sort_by_cached_key(|(_, values)| Reverse(values.total()));
        let mut certain: Vec<u64> = names.values().map(Values::largest).collect();
        certain.sort_unstable_by_key(|largest| Reverse(*largest));
        let needed = certain.get(top - 1).copied().unwrap_or(0);
        let listed = by_values.iter().take(4 * top).take_while(|(_, values)| values.total() >= needed).count();
        let (listed, others) = by_values.split_at(listed);
        let (others, rest) = others.split_at(others.len().min(OTHER_NAMES));
        let (listed, others) = (self.values_of(listed, SAMPLES), self.values_of(others, OTHER_SAMPLES));
        let sum = |lines: &[(String, u64)]| lines.iter().map(|(_, values)| values).sum::<u64>();
        let rest: u64 = rest.iter().map(|(_, values)| values.largest()).sum();
        let pairs = sum(&listed) + sum(&others) + rest;
        (listed, pairs)
    }

    /// Counts the distinct values of labels, given how many each shard has; up to about `samples_max` are looked up.
    fn values_of(&self, names: &[(&str, &Values)], samples_max: usize) -> Vec<(String, u64)> {
        let per_name = (samples_max / names.len().max(1)).clamp(16, SAMPLES_PER_NAME);
        let per_shard = per_name.div_ceil(self.shards());
        let mut samples: Vec<Vec<Sample>> = names.iter().map(|_| Vec::new()).collect();
        for (number, shard) in self.inner.shards.iter().enumerate() {
            let shard = shard.read();
            for ((name, _), samples) in names.iter().zip(&mut samples) {
                let values = shard.labels.sample_values(name, per_shard);
                samples.extend(values.map(|value| Sample { shard: number, value: value.to_owned(), holders: 0 }));
            }
        }
        for shard in &self.inner.shards {
            let shard = shard.read();
            for ((name, _), samples) in names.iter().zip(&mut samples) {
                for sample in samples.iter_mut().filter(|sample| shard.labels.knows(name, &sample.value)) {
                    sample.holders += 1;
                }
            }
        }
        let counted = names.iter().zip(&samples);
        counted.map(|((name, values), samples)| ((*name).to_owned(), distinct(samples, &values.per_shard))).collect()
    }
}

/// A value counts for as much as its part in each shard that has it; what was sampled stands for the rest of its shard.
fn distinct(samples: &[Sample], per_shard: &[u64]) -> u64 {
    let mut count = 0.0;
    for (number, all) in per_shard.iter().enumerate() {
        let of_shard = samples.iter().filter(|sample| sample.shard == number && sample.holders > 0);
        let (mut sampled, mut parts) = (0.0, 0.0);
        for sample in of_shard {
            sampled += 1.0;
            parts += 1.0 / f64::from(sample.holders);
        }
        count += parts * (*all as f64 / f64::max(sampled, 1.0));
    }
    count.round() as u64
}

/// The `top` largest in descending order, ties in ascending order of what is counted.
pub(crate) fn sort_and_cut<T: Ord>(lines: &mut Vec<(T, u64)>, top: usize) {
    lines.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    lines.truncate(top);
}
