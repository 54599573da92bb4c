//! Reading: series by matchers, their samples, and what labels there are.

use crate::append::{Pin, SeriesRef};
use crate::block::read::ReadError;
use crate::head::below::Generations;
use crate::head::eras::View;
use crate::head::shard::Shard;
use crate::head::slot::Slot;
use crate::head::{Head, HeadError, read, read_histograms, read_starts};
use crate::index::Among;
use model::histogram::{Histogram, HistogramColumns};
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::{Sample, SampleColumns};
use roaring::RoaringBitmap;
use std::sync::Arc;

/// Why series could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// More series match than the caller allows.
    #[error("the query selects more than {series_max} series")]
    TooManySeries {
        /// The bound that was passed.
        series_max: usize,
    },
    /// A block cannot be read.
    #[error("read a block")]
    Block(#[source] ReadError),
    /// A stored chunk cannot be read.
    #[error("read a chunk of series {series}")]
    Chunk {
        /// Whose chunk.
        series: u32,
        /// What is wrong with it.
        source: HeadError,
    },
}

impl From<ReadError> for SelectError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooManySeries { series_max } => Self::TooManySeries { series_max },
            error => Self::Block(error),
        }
    }
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

    /// The part of it from `first_ms` on.
    pub(crate) fn from(self, first_ms: i64) -> Self {
        Self { after_ms: self.after_ms.max(first_ms.saturating_sub(1)), ..self }
    }
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
    /// Series per metric name.
    pub series_by_metric_name: Vec<Count>,
    /// Distinct values per label name; about, when they are many.
    pub values_by_label_name: Vec<Count>,
    /// Bytes of the distinct values per label name; about, when they are many.
    pub bytes_by_label_name: Vec<Count>,
    /// Series per `name=value`.
    pub series_by_label_pair: Vec<Count>,
}

/// Series selected from the head, addressed by index; any thread may read any of them at any time.
#[derive(Debug, Clone)]
pub struct Selection {
    head: Head,
    /// Keeps what was selected, and says what of it counts.
    pin: Pin,
    series: Vec<SeriesRef>,
    /// Whether any of the head's series has native histograms.
    histograms: bool,
    /// Whether any of the head's series has start timestamps.
    starts: bool,
}

impl Head {
    /// The series that satisfy all `matchers` and may have samples with `after_ms < t <= until_ms`. Without matchers, all of
    /// them.
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
        let range = TimeRange { after_ms, until_ms };
        let pin = self.pin();
        let view = pin.view();
        let mut series = Vec::new();
        let (mut histograms, mut starts) = (false, false);
        for shard in &self.inner.shards {
            let shard = shard.read();
            if !shard.overlaps(range, view) {
                continue;
            }
            let aside = !shard.histograms.is_empty() || !shard.below.is_empty();
            histograms |= aside;
            starts |= !shard.starts.is_empty() || aside;
            let slots = shard.matching(matchers);
            let room = series_max - series.len();
            let whole = shard.within(range, view);
            let in_range = slots.iter().filter(|slot| whole || shard.in_range(*slot, range, view));
            let before = series.len();
            series.extend(in_range.take(room.saturating_add(1)).map(|slot| shard.series_ref(slot)));
            if series.len() - before > room {
                return Err(SelectError::TooManySeries { series_max });
            }
        }
        Ok(Selection { head: self.clone(), pin, series, histograms, starts })
    }

    /// No more series than this satisfy the matchers, as far as a glance at the index tells.
    #[must_use]
    pub fn series_bound(&self, matchers: &[Matcher]) -> usize {
        self.inner.shards.iter().map(|shard| shard.read().labels.series_bound(matchers)).sum()
    }

    /// The first `limit` series, in no particular order but the same each time, that satisfy all `matchers` and may have samples
    /// with `after_ms < t <= until_ms`: what others there are is not looked at.
    #[must_use]
    pub fn select_first(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Selection {
        let pin = self.pin();
        let view = pin.view();
        let mut series = Vec::new();
        let (mut histograms, mut starts) = (false, false);
        for shard in &self.inner.shards {
            let shard = shard.read();
            if series.len() == limit || !shard.overlaps(range, view) {
                continue;
            }
            let aside = !shard.histograms.is_empty() || !shard.below.is_empty();
            histograms |= aside;
            starts |= !shard.starts.is_empty() || aside;
            let slots = shard.matching(matchers);
            let in_range = slots.iter().filter(|slot| shard.in_range(*slot, range, view));
            series.extend(in_range.take(limit - series.len()).map(|slot| shard.series_ref(slot)));
        }
        Selection { head: self.clone(), pin, series, histograms, starts }
    }

    /// The label names of the series that satisfy all `matchers` and may have samples in the range.
    ///
    /// # Errors
    /// None as long as the index is in memory.
    pub fn label_names(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Listing, SelectError> {
        let view = self.inner.eras.view();
        let names = |shard: &Shard, series: Option<&RoaringBitmap>, whole: bool| {
            let in_range = |slot: u32| shard.in_range(slot, range, view);
            let among = Among { series, in_range: (!whole).then_some(in_range) };
            shard.labels.list_names(&among).into_iter().map(str::to_owned).collect()
        };
        Ok(self.list(matchers, range, view, limit, names))
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
        let view = self.inner.eras.view();
        let values = |shard: &Shard, series: Option<&RoaringBitmap>, whole: bool| {
            let in_range = |slot: u32| shard.in_range(slot, range, view);
            let among = Among { series, in_range: (!whole).then_some(in_range) };
            let labels_of = |slot: u32| shard.slots.get(slot as usize).labels;
            let found = shard.labels.list_values(name, &among, limit.saturating_add(1), labels_of);
            found.into_iter().map(str::to_owned).collect()
        };
        Ok(self.list(matchers, range, view, limit, values))
    }

    /// Merges what each shard lists, given the series that match (`None` for all) and whether all of them are in range.
    fn list(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        view: View,
        limit: usize,
        list: impl Fn(&Shard, Option<&RoaringBitmap>, bool) -> Vec<String>,
    ) -> Listing {
        let mut items = Vec::new();
        for shard in &self.inner.shards {
            let shard = shard.read();
            if shard.overlaps(range, view) {
                let series = (!matchers.is_empty()).then(|| shard.matching(matchers));
                items.extend(list(&shard, series.as_ref(), shard.within(range, view)));
            }
        }
        items.sort(); // finds the shards' runs and merges them
        items.dedup();
        let truncated = items.len() > limit;
        items.truncate(limit);
        Listing { items, truncated }
    }

    /// Those of `series` that satisfy all matchers of any of the `sets`, with their labels.
    pub(crate) fn satisfying(&self, series: Vec<SeriesRef>, sets: &[Vec<Matcher>]) -> Vec<(SeriesRef, Labels)> {
        let mut by_shard: Vec<Vec<SeriesRef>> = vec![Vec::new(); self.shards()];
        for series in series {
            by_shard[self.shard_of(series)].push(series);
        }
        let mut found = Vec::new();
        for (shard, series) in self.inner.shards.iter().zip(by_shard).filter(|(_, series)| !series.is_empty()) {
            let shard = shard.read();
            let matching = sets.iter().fold(RoaringBitmap::new(), |all, matchers| all | shard.matching(matchers));
            for series in series.into_iter().filter(|series| matching.contains(shard.slot_number(*series))) {
                let labels = Labels::from_sorted(shard.labels.labels(shard.slot_of(series).labels));
                found.push((series, labels));
            }
        }
        found
    }
}

impl Shard {
    fn matching(&self, matchers: &[Matcher]) -> RoaringBitmap {
        self.labels.evaluate(matchers, |slot| self.slots.get(slot as usize).labels)
    }

    fn in_range(&self, slot: u32, range: TimeRange, view: View) -> bool {
        let found = self.slots.get(slot as usize);
        let main = range.from(view.floor_ms);
        found.may_overlap(main.after_ms, main.until_ms)
            || found.has(Slot::HAS_HISTOGRAMS) && self.has_histograms_in(slot, main)
            || found.has(Slot::HAS_BELOW) && self.may_overlap_below(slot, range, Generations::of(view))
    }

    #[cold]
    fn has_histograms_in(&self, slot: u32, range: TimeRange) -> bool {
        self.histograms.get(&slot).is_some_and(|series| series.may_overlap(range.after_ms, range.until_ms))
    }

    /// Whether any sample may be in the range.
    fn overlaps(&self, range: TimeRange, view: View) -> bool {
        let main = range.from(view.floor_ms);
        self.last_ms > main.after_ms && self.first_ms <= main.until_ms || self.any_below(Generations::of(view))
    }

    /// Whether every series has samples, and all of them in the range. Only found out while there is no floor.
    fn within(&self, range: TimeRange, view: View) -> bool {
        let whole = self.first_ms > range.after_ms && self.last_ms <= range.until_ms;
        whole && self.sampled == self.hashes.len() && view == View::ALL
    }

    fn slot_of(&self, series: SeriesRef) -> &Slot {
        self.live(series).expect("a selected series is in the head")
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
        let shard = self.head.inner.shard_of(self.series[index]).read();
        Labels::from_sorted(shard.labels.labels(shard.slot_of(self.series[index]).labels))
    }

    /// The labels of one series restricted to `names` (sorted).
    #[must_use]
    pub fn labels_among(&self, index: usize, names: &[&str]) -> Labels {
        let shard = self.head.inner.shard_of(self.series[index]).read();
        Labels::from_sorted(shard.labels.labels_among(shard.slot_of(self.series[index]).labels, names))
    }

    /// Appends numbers that stand for the labels of one series restricted to `names` (sorted): within this selection, equal
    /// numbers mean equal labels.
    pub fn label_numbers(&self, index: usize, names: &[&str], into: &mut Vec<u32>) {
        let series = self.series[index];
        let shard = self.head.inner.shard_of(series).read();
        // Each shard numbers its pairs itself.
        into.push(self.head.shard_of(series) as u32);
        into.extend(shard.labels.pairs_among(shard.slot_of(series).labels, names));
    }

    /// Whether any of the selected series may have the label.
    #[must_use]
    pub fn may_have_label(&self, name: &str) -> bool {
        self.head.inner.shards.iter().any(|shard| shard.read().labels.has_name(name))
    }

    /// Brings what reading some series will touch into the caches of the processor: cheap, and worth it for up to eight
    /// series whose samples are read next; of no use before [`Selection::latest`].
    pub fn prefetch(&self, indices: &[usize]) {
        read::warm(&self.head.inner, indices.iter().map(|index| self.series[*index]));
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
        let series = self.series[index];
        let range = TimeRange { after_ms, until_ms };
        read::read(&self.head.inner, series, range, self.pin.view(), into).map_err(|e| failed(series, e))
    }

    /// The newest sample of one series with `after_ms < t <= at_ms`, stale marker included.
    ///
    /// # Errors
    /// A stored chunk cannot be read.
    pub fn latest(&self, index: usize, after_ms: i64, at_ms: i64) -> Result<Option<Sample>, SelectError> {
        let series = self.series[index];
        let range = TimeRange { after_ms, until_ms: at_ms };
        read::latest(&self.head.inner, series, range, self.pin.view()).map_err(|e| failed(series, e))
    }

    /// Whether a series has native histograms.
    #[must_use]
    pub fn has_histograms(&self, index: usize) -> bool {
        let series = self.series[index];
        if !self.histograms {
            return false;
        }
        let shard = self.head.inner.shard_of(series).read();
        let slot = shard.slot_of(series);
        let below = || slot.has(Slot::HAS_BELOW) && shard.has_histograms_below(shard.slot_number(series));
        slot.has(Slot::HAS_HISTOGRAMS) || below()
    }

    /// Replaces the content of `into` by the native histograms with `after_ms < t <= until_ms`, in order of time, stale ones
    /// included. The first has an unknown reset hint, the following say whether there was no reset; gauges are gauges, and
    /// what the sender said of a reset stays.
    ///
    /// # Errors
    /// A stored chunk cannot be read.
    pub fn read_histograms(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut HistogramColumns,
    ) -> Result<(), SelectError> {
        let series = self.series[index];
        let range = TimeRange { after_ms, until_ms };
        read_histograms::read(&self.head.inner, series, range, self.pin.view(), into).map_err(|e| failed(series, e))
    }

    /// The newest native histogram of one series with `after_ms < t <= at_ms`, a stale one included.
    ///
    /// # Errors
    /// A stored chunk cannot be read.
    pub fn latest_histogram(
        &self,
        index: usize,
        after_ms: i64,
        at_ms: i64,
    ) -> Result<Option<(i64, Arc<Histogram>)>, SelectError> {
        let series = self.series[index];
        let range = TimeRange { after_ms, until_ms: at_ms };
        read_histograms::latest(&self.head.inner, series, range, self.pin.view()).map_err(|e| failed(series, e))
    }

    /// Whether some sample of a series has a start timestamp.
    #[must_use]
    pub fn has_start_timestamps(&self, index: usize) -> bool {
        let series = self.series[index];
        self.starts && self.head.inner.shard_of(series).read().slot_of(series).has(Slot::HAS_STARTS)
    }

    /// Replaces the content of `into` by the start timestamps of the samples with `after_ms < t <= until_ms`, floats and
    /// histograms merged in order of time: one per sample, 0 where none is known, or none at all when no sample has one.
    ///
    /// # Errors
    /// A stored chunk cannot be read.
    pub fn read_start_timestamps(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut Vec<i64>,
    ) -> Result<(), SelectError> {
        let series = self.series[index];
        let range = TimeRange { after_ms, until_ms };
        read_starts::read(&self.head.inner, series, range, self.pin.view(), into).map_err(|e| failed(series, e))
    }
}

fn failed(series: SeriesRef, source: HeadError) -> SelectError {
    SelectError::Chunk { series: series.0, source }
}
