//! Counts what the series are made of, over all shards.
//!
//! A pair or value may be known to several shards; its series add up, as a value it counts once.

use super::LabelIndex;
use hashbrown::HashMap;

/// Sums over the shards visited so far.
#[derive(Debug, Default)]
pub(crate) struct CardinalityTables {
    /// Per label name.
    names: HashMap<String, NameTable>,
}

#[derive(Debug, Default)]
struct NameTable {
    /// Series per value.
    values: HashMap<String, u64>,
    bytes: u64,
}

/// One line: what and how many.
pub(crate) type Line = (String, u64);

impl CardinalityTables {
    /// Adds one shard.
    pub(crate) fn add(&mut self, index: &LabelIndex) {
        for name in &index.names {
            let table = self.names.entry_ref(index.text.get(name.text)).or_default();
            for pair in name.pairs() {
                let known = &index.pairs[pair as usize];
                let value = index.text.get(known.value);
                match table.values.get_mut(value) {
                    Some(series) => *series += u64::from(known.series),
                    None => {
                        table.bytes += value.len() as u64;
                        table.values.insert(value.to_owned(), u64::from(known.series));
                    }
                }
            }
        }
    }

    /// Distinct pairs.
    pub(crate) fn pairs(&self) -> u64 {
        self.names.values().map(|table| table.values.len() as u64).sum()
    }

    /// The largest numbers of series per value of one label.
    pub(crate) fn series_by_value(&self, name: &str, top: usize) -> Vec<Line> {
        let values = self.names.get(name).map(|table| &table.values);
        largest(values.into_iter().flatten().map(|(value, series)| (value.as_str(), *series)), top, str::to_owned)
    }

    /// The largest numbers of values per name.
    pub(crate) fn values_by_name(&self, top: usize) -> Vec<Line> {
        let lines = self.names.iter().map(|(name, table)| (name.as_str(), table.values.len() as u64));
        largest(lines, top, str::to_owned)
    }

    /// The largest sums of bytes of values per name.
    pub(crate) fn bytes_by_name(&self, top: usize) -> Vec<Line> {
        largest(self.names.iter().map(|(name, table)| (name.as_str(), table.bytes)), top, str::to_owned)
    }

    /// The largest numbers of series per `name=value`.
    pub(crate) fn series_by_pair(&self, top: usize) -> Vec<Line> {
        let pairs = self.names.iter().flat_map(|(name, table)| {
            table.values.iter().map(move |(value, series)| ((name.as_str(), value.as_str()), *series))
        });
        largest(pairs, top, |(name, value)| format!("{name}={value}"))
    }
}

/// The `top` largest in descending order, ties in ascending order of what is counted.
fn largest<T: Ord>(all: impl Iterator<Item = (T, u64)>, top: usize, print: impl Fn(T) -> String) -> Vec<Line> {
    let mut all: Vec<(T, u64)> = all.collect();
    let order = |a: &(T, u64), b: &(T, u64)| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0));
    if top < all.len() {
        all.select_nth_unstable_by(top, order);
        all.truncate(top);
    }
    all.sort_unstable_by(order);
    all.into_iter().map(|(what, count)| (print(what), count)).collect()
}
