//! What one shard can tell cheaply about what its series are made of. `crate::cardinality` puts shards together.

use super::LabelIndex;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Pairs with many series.
#[derive(Debug, Default)]
pub(crate) struct Heaviest {
    /// Name, value and how many series of this shard have it.
    pub(crate) pairs: Vec<(String, String)>,
    /// No other pair has more series than this.
    pub(crate) others_max: u64,
}

/// One label name of a shard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NameExtent {
    pub(crate) values: u64,
    /// Of the values, each counted for every series that has it.
    pub(crate) bytes: u64,
}

impl LabelIndex {
    /// The `top` pairs of one name, or of all, that most series have: one look at 16 bytes for each pair there is.
    pub(crate) fn heaviest(&self, name: Option<&str>, top: usize) -> Heaviest {
        let mut heap: BinaryHeap<Reverse<(u32, u32)>> = BinaryHeap::new();
        let mut others_max = 0;
        let mut offer = |pair: u32| {
            let series = self.pairs[pair as usize].series;
            if series == 0 {
                return;
            }
            match heap.peek() {
                Some(Reverse((least, _))) if heap.len() == top && series <= *least => others_max = *least,
                _ => {
                    heap.push(Reverse((series, pair)));
                    if heap.len() > top {
                        others_max = heap.pop().map_or(0, |Reverse((series, _))| series);
                    }
                }
            }
        };
        match name.map(|name| self.name_number(name)) {
            None => (0..self.pairs.len() as u32).for_each(&mut offer),
            Some(Some(name)) => self.names[name as usize].pairs().for_each(&mut offer),
            Some(None) => {}
        }
        let pair = |Reverse((_, pair)): Reverse<(u32, u32)>| {
            (self.name_text(self.pairs[pair as usize].name).to_owned(), self.value(pair).to_owned())
        };
        Heaviest { pairs: heap.into_iter().map(pair).collect(), others_max: u64::from(others_max) }
    }

    /// How many series have a pair.
    pub(crate) fn series_with(&self, name: &str, value: &str) -> u64 {
        let pair = self.name_number(name).and_then(|name| self.pair_number(name, value));
        pair.map_or(0, |pair| u64::from(self.pairs[pair as usize].series))
    }

    /// Whether a pair is known.
    pub(crate) fn knows(&self, name: &str, value: &str) -> bool {
        self.name_number(name).is_some_and(|name| self.pair_number(name, value).is_some())
    }

    /// All names.
    pub(crate) fn name_extents(&self) -> impl Iterator<Item = (&str, NameExtent)> {
        self.names.iter().filter(|name| name.value_count() > 0).map(|name| {
            let extent = NameExtent { values: name.value_count() as u64, bytes: name.value_bytes };
            (self.text.get(name.text), extent)
        })
    }

    /// About `count` values of a name, or all of them when there are no more.
    pub(crate) fn sample_values(&self, name: &str, count: usize) -> impl Iterator<Item = &str> {
        let name = self.name_number(name).map(|name| &self.names[name as usize]);
        name.into_iter().flat_map(move |name| name.sample(count)).map(|pair| self.value(pair))
    }
}
