//! Lists label names and values without building label sets.

use super::{LabelIndex, postings};
use crate::index::Address;
use roaring::RoaringBitmap;

/// Which series count for a listing.
pub(crate) struct Among<'a, F> {
    /// Those that satisfy the matchers; `None` for all.
    pub(crate) series: Option<&'a RoaringBitmap>,
    /// Whether a series may have samples in the range; `None` when all have.
    pub(crate) in_range: Option<F>,
}

impl<F: Fn(u32) -> bool> Among<'_, F> {
    fn is_everything(&self) -> bool {
        self.series.is_none() && self.in_range.is_none()
    }

    fn in_range(&self, slot: u32) -> bool {
        self.in_range.as_ref().is_none_or(|in_range| in_range(slot))
    }
}

/// Asking for a value whether any series has it costs about this many times finding the value of a series.
const VALUE_COST: u64 = 4;

/// Sorting one value costs about this many times picking it out of all values in order.
const SORT_COST: usize = 8;

/// Finding the next value lazily costs about this many times taking it from all values in order.
const LAZY_COST: usize = 8;

impl LabelIndex {
    /// The names of labels that series have, in no order.
    pub(crate) fn list_names<F: Fn(u32) -> bool>(&self, among: &Among<'_, F>) -> Vec<&str> {
        let used = |name: &&super::Name| match among.is_everything() {
            true => name.series > 0,
            false => name.present.any_in(among.series, |slot| among.in_range(slot)),
        };
        self.names.iter().filter(used).map(|name| self.text.get(name.text)).collect()
    }

    /// The first `limit` values of a label that series have, in ascending order; `labels_of` gives the label set of a slot.
    pub(crate) fn list_values<F: Fn(u32) -> bool>(
        &self,
        name: &str,
        among: &Among<'_, F>,
        limit: usize,
        labels_of: impl Fn(u32) -> Address,
    ) -> Vec<&str> {
        let Some(name) = self.name_number(name) else { return Vec::new() };
        match among.series {
            Some(series) if series.len() < self.cost_by_value(name, series.len(), limit) => {
                self.values_of_series(name, series, among, limit, labels_of)
            }
            _ => self.values_with_series(name, among, limit),
        }
    }

    /// What it takes to find `limit` values by going through them in order, when so many series are left: as many values are
    /// visited as it takes, if each series has another.
    fn cost_by_value(&self, name: u32, series: u64, limit: usize) -> u64 {
        let values = self.names[name as usize].value_count() as u64;
        let visited_for_one = values / series.clamp(1, values.max(1)) + 1;
        VALUE_COST * values.min(visited_for_one.saturating_mul(limit as u64))
    }

    /// Goes through the values in order and asks for each whether a series has it.
    fn values_with_series<F: Fn(u32) -> bool>(&self, name: u32, among: &Among<'_, F>, limit: usize) -> Vec<&str> {
        let values = &self.names[name as usize];
        let pairs: Box<dyn Iterator<Item = u32>> = if limit.saturating_mul(LAZY_COST) < values.value_count() {
            Box::new(values.in_order_lazily(|pair| self.value(pair)))
        } else {
            Box::new(values.in_order(|pair| self.value(pair)).into_iter())
        };
        let everything = among.is_everything();
        pairs
            .filter(|pair| {
                let postings = &self.postings[*pair as usize];
                everything && self.pairs[*pair as usize].series > 0
                    || postings.any_in(among.series, |slot| among.in_range(slot))
            })
            .take(limit)
            .map(|pair| self.value(pair))
            .collect()
    }

    /// Goes through the series and collects their values.
    fn values_of_series<F: Fn(u32) -> bool>(
        &self,
        name: u32,
        series: &RoaringBitmap,
        among: &Among<'_, F>,
        limit: usize,
        labels_of: impl Fn(u32) -> Address,
    ) -> Vec<&str> {
        let in_range = series.iter().filter(|slot| among.in_range(*slot));
        let mut pairs: Vec<u32> = in_range.filter_map(|slot| self.pair_of(labels_of(slot), name)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        if pairs.len() * SORT_COST < self.names[name as usize].value_count() {
            pairs.sort_unstable_by(|a, b| self.value(*a).cmp(self.value(*b)));
        } else {
            let found = postings::ascending(pairs.into_iter());
            pairs = self.names[name as usize].in_order(|pair| self.value(pair));
            pairs.retain(|pair| found.contains(*pair));
        }
        pairs.into_iter().take(limit).map(|pair| self.value(pair)).collect()
    }
}
