//! What the series of the head are made of, for people who look for what makes them many.
//!
//! Cheap however many series there are: no table of all values is built. Series are spread over the shards by their hashes, so
//! what is frequent is frequent in every shard: the pairs with most series are looked for among those of each shard and then
//! counted exactly. How many values a label has is exact while they are few; beyond, a few hundred values of each shard
//! are looked up in the others, which tells how often a value is counted more than once, to about two percent.

use crate::head::Head;
use crate::select::{Cardinality, Count};
use model::labels::METRIC_NAME;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Values looked up in all shards for one label, and for all labels together.
const SAMPLES_PER_NAME: usize = 512;
const SAMPLES: usize = 8192;

/// The head as a whole, without what takes a walk over the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadExtent {
    /// Series held.
    pub series: u64,
    /// Distinct label pairs, added up over shards.
    pub label_pairs: u64,
    /// Open chunks, and those cut since the process started.
    pub chunks: u64,
    /// Times of the oldest and the newest sample, in milliseconds since the Unix epoch.
    pub time_range_ms: Option<(i64, i64)>,
}

/// The values of one label over all shards.
#[derive(Debug, Clone, Copy, Default)]
struct Values {
    /// Added up over shards: more than there are, when shards share some.
    total: u64,
    /// Of the shard that has most: not more than there are.
    largest: u64,
    bytes: u64,
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
            extent.label_pairs += shard.labels.pair_count() as u64;
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
        let values = self.values_of(self.candidates(top));
        let counts = |lines: Vec<(String, u64)>| lines.into_iter().map(|(name, value)| Count { name, value }).collect();
        let largest = |of: fn(&Values) -> u64| {
            let mut lines: Vec<_> = values.iter().map(|(name, values)| (name.clone(), of(values))).collect();
            sort_and_cut(&mut lines, top);
            counts(lines)
        };
        Cardinality {
            series_by_metric_name: counts(by_metric.into_iter().map(|((_, value), n)| (value, n)).collect()),
            values_by_label_name: largest(|values| values.total),
            bytes_by_label_name: largest(|values| values.bytes),
            series_by_label_pair: counts(
                by_pair.into_iter().map(|((name, v), n)| (format!("{name}={v}"), n)).collect(),
            ),
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

    /// The labels that may be among the `top` with most values or most bytes of values.
    fn candidates(&self, top: usize) -> BTreeMap<String, Vec<u64>> {
        let mut names: BTreeMap<String, (Values, Vec<u64>)> = BTreeMap::new();
        for (number, shard) in self.inner.shards.iter().enumerate() {
            for (name, extent) in shard.read().labels.name_extents() {
                let (sum, per_shard) = names.entry(name.to_owned()).or_default();
                sum.total += extent.values;
                sum.largest = sum.largest.max(extent.values);
                sum.bytes += extent.bytes;
                per_shard.resize(number, 0);
                per_shard.push(extent.values);
            }
        }
        let mut certain: Vec<u64> = names.values().map(|(sum, _)| sum.largest).collect();
        certain.sort_unstable_by_key(|largest| Reverse(*largest));
        let needed = certain.get(top - 1).copied().unwrap_or(0);
        let kept = |of: fn(&Values) -> u64, most: usize| {
            let mut lines: Vec<_> = names.iter().map(|(name, (sum, _))| (name.clone(), of(sum))).collect();
            sort_and_cut(&mut lines, most);
            lines
        };
        let by_values = kept(|sum| sum.total, 4 * top).into_iter().filter(|(_, total)| *total >= needed);
        let wanted: BTreeSet<String> = by_values.chain(kept(|sum| sum.bytes, 2 * top)).map(|(name, _)| name).collect();
        let of_name = |(name, (_, per_shard))| wanted.contains(&name).then_some((name, per_shard));
        names.into_iter().filter_map(of_name).collect()
    }

    /// Counts the distinct values of labels, given how many each shard has.
    fn values_of(&self, names: BTreeMap<String, Vec<u64>>) -> BTreeMap<String, Values> {
        let per_name = (SAMPLES / names.len().max(1)).clamp(16, SAMPLES_PER_NAME);
        let per_shard = per_name.div_ceil(self.shards());
        let mut samples: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
        for (number, shard) in self.inner.shards.iter().enumerate() {
            let shard = shard.read();
            for name in names.keys() {
                let values = shard.labels.sample_values(name, per_shard);
                let sample = |value: &str| Sample { shard: number, value: value.to_owned(), holders: 0 };
                samples.entry(name).or_default().extend(values.map(sample));
            }
        }
        for shard in &self.inner.shards {
            let shard = shard.read();
            for (name, samples) in &mut samples {
                for sample in samples.iter_mut().filter(|sample| shard.labels.knows(name, &sample.value)) {
                    sample.holders += 1;
                }
            }
        }
        names.iter().map(|(name, per_shard)| (name.clone(), distinct(&samples[name.as_str()], per_shard))).collect()
    }
}

/// A value counts for as much as its part in each shard that has it; what was sampled stands for the rest of its shard.
fn distinct(samples: &[Sample], per_shard: &[u64]) -> Values {
    let (mut count, mut bytes) = (0.0, 0.0);
    for (number, all) in per_shard.iter().enumerate() {
        let of_shard = samples.iter().filter(|sample| sample.shard == number && sample.holders > 0);
        let (mut sampled, mut parts, mut bytes_of_parts) = (0.0, 0.0, 0.0);
        for sample in of_shard {
            let part = 1.0 / f64::from(sample.holders);
            sampled += 1.0;
            parts += part;
            bytes_of_parts += part * sample.value.len() as f64;
        }
        let stands_for = *all as f64 / f64::max(sampled, 1.0);
        count += parts * stands_for;
        bytes += bytes_of_parts * stands_for;
    }
    Values { total: count.round() as u64, largest: 0, bytes: bytes.round() as u64 }
}

/// The `top` largest in descending order, ties in ascending order of what is counted.
pub(crate) fn sort_and_cut<T: Ord>(lines: &mut Vec<(T, u64)>, top: usize) {
    lines.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    lines.truncate(top);
}
