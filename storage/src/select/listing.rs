//! Listings: which label names there are, and which values of a label; and whether there is anything at all.

use super::{SelectError, TimeRange};
use crate::head::Head;
use crate::head::below::Generations;
use crate::head::eras::Visible;
use crate::head::shard::Shard;
use crate::index::Among;
use model::matcher::Matcher;
use roaring::RoaringBitmap;
use std::cell::Cell;

/// Listings of more names or values take longer than a glance.
const GLANCE_ITEMS_MAX: usize = 1024;

/// So do those of what more series have, if not of all.
const GLANCE_SERIES_MAX: usize = 1024;

/// So do those for which more series are looked at.
const GLANCE_LOOKS_MAX: usize = 4096;

/// Sorted names or values, perhaps cut off by a limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// In ascending order of bytes, each once.
    pub items: Vec<String>,
    /// Whether there were more than the limit.
    pub truncated: bool,
}

impl Listing {
    /// This one and others as one, cut off at the limit.
    #[must_use]
    pub fn join(mut self, others: impl IntoIterator<Item = Self>, limit: usize) -> Self {
        for other in others {
            self.truncated |= other.truncated;
            self.items.extend(other.items);
        }
        self.items.sort(); // finds the listings' runs and merges them
        self.items.dedup();
        self.truncated |= self.items.len() > limit;
        self.items.truncate(limit);
        self
    }
}

impl Head {
    /// Whether any series that satisfies all `matchers` may have samples in the range that are here and in no block.
    pub(crate) fn may_hold(&self, matchers: &[Matcher], range: TimeRange) -> bool {
        let visible = self.inner.eras.visible();
        self.inner.shards.iter().any(|shard| {
            let shard = shard.read();
            let may_hold = |slot| match range.until_ms < visible.floor_ms {
                true => shard.may_overlap_below(slot, range, Generations::of(visible)),
                false => shard.in_range(slot, range, visible),
            };
            shard.overlaps(range, visible) && shard.matching(matchers).iter().any(may_hold)
        })
    }

    /// The label names of the series that satisfy all `matchers` and may have samples in the range.
    ///
    /// # Errors
    /// None as long as the index is in memory.
    pub fn label_names(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Listing, SelectError> {
        let visible = self.inner.eras.visible();
        Ok(self.list(matchers, range, visible, limit, |shard, series, whole| {
            shard.names(series, (!whole).then_some(|slot| shard.in_range(slot, range, visible)))
        }))
    }

    /// The values of one label among the series that satisfy all `matchers` and may have samples in the range.
    ///
    /// # Errors
    /// None as long as the index is in memory.
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Listing, SelectError> {
        let visible = self.inner.eras.visible();
        Ok(self.list(matchers, range, visible, limit, |shard, series, whole| {
            shard.values(name, series, (!whole).then_some(|slot| shard.in_range(slot, range, visible)), limit)
        }))
    }

    /// The label names of the series that satisfy all `matchers` and may have samples in the range, or their values of one label,
    /// if listing them takes well below a tenth of a millisecond. That regular expressions may take longer is not looked at.
    #[must_use]
    pub fn list_at_a_glance(
        &self,
        label: Option<&str>,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Option<Listing> {
        let listed = || self.inner.shards.iter().map(|shard| shard.read().labels.listing_bound(label)).sum::<usize>();
        let is_small = match matchers {
            [] => listed() <= GLANCE_ITEMS_MAX,
            _ => self.series_bound(matchers, range) <= GLANCE_SERIES_MAX,
        };
        if !is_small {
            return None;
        }
        let visible = self.inner.eras.visible();
        let looks = Cell::new(0);
        let listing = self.list(matchers, range, visible, limit, |shard, series, whole| {
            // Beyond the bound every series is taken for one in range, which ends the search.
            let in_range =
                |slot| looks.replace(looks.get() + 1) >= GLANCE_LOOKS_MAX || shard.in_range(slot, range, visible);
            let in_range = (!whole).then_some(in_range);
            match label {
                None => shard.names(series, in_range),
                Some(name) => shard.values(name, series, in_range, limit),
            }
        });
        (looks.get() <= GLANCE_LOOKS_MAX).then_some(listing)
    }

    /// Merges what each shard lists, given the series that match (`None` for all) and whether all of them are in range.
    fn list(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        visible: Visible,
        limit: usize,
        list: impl Fn(&Shard, Option<&RoaringBitmap>, bool) -> Vec<String>,
    ) -> Listing {
        let mut items = Vec::new();
        for shard in &self.inner.shards {
            let shard = shard.read();
            if shard.overlaps(range, visible) {
                let series = (!matchers.is_empty()).then(|| shard.matching(matchers));
                items.extend(list(&shard, series.as_ref(), shard.within(range, visible)));
            }
        }
        items.sort(); // finds the shards' runs and merges them
        items.dedup();
        let truncated = items.len() > limit;
        items.truncate(limit);
        Listing { items, truncated }
    }
}

impl Shard {
    fn names(&self, series: Option<&RoaringBitmap>, in_range: Option<impl Fn(u32) -> bool>) -> Vec<String> {
        self.labels.list_names(&Among { series, in_range }).into_iter().map(str::to_owned).collect()
    }

    fn values(
        &self,
        name: &str,
        series: Option<&RoaringBitmap>,
        in_range: Option<impl Fn(u32) -> bool>,
        limit: usize,
    ) -> Vec<String> {
        let labels_of = |slot: u32| self.slots.get(slot as usize).labels;
        let among = Among { series, in_range };
        let found = self.labels.list_values(name, &among, limit.saturating_add(1), labels_of);
        found.into_iter().map(str::to_owned).collect()
    }
}
