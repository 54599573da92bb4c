//! Reading: series by matchers, their samples, and what labels there are.

mod listing;

pub use listing::Listing;

use crate::append::{Pin, SeriesRef};
use crate::block::read::ReadError;
use crate::head::below::Generations;
use crate::head::eras::Visible;
use crate::head::lock::RwLock;
use crate::head::shard::Shard;
use crate::head::slot::Slot;
use crate::head::views::Sight;
use crate::head::{Head, HeadError, View, read, read_histograms, read_starts};
use model::histogram::{Histogram, HistogramColumns};
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::{Sample, SampleColumns};
use rayon::prelude::*;
use roaring::RoaringBitmap;
use std::ops::Range;
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
    /// Bytes of the values per label name, each counted for every series that has it.
    pub bytes_by_label_name: Vec<Count>,
    /// Series per `name=value`.
    pub series_by_label_pair: Vec<Count>,
    /// Distinct pairs of name and value; about, when they are many.
    pub label_pairs: u64,
}

/// Selections of fewer series are quicker done than shared.
const PARALLEL_SERIES_MIN: usize = 8192;

/// Series selected from the head, addressed by index; any thread may read any of them at any time.
#[derive(Debug, Clone)]
pub struct Selection {
    head: Head,
    /// Keeps what was selected, and says what of it counts.
    pin: Pin,
    /// Hides what came after it was opened.
    view: Option<View>,
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
        self.select_pinned(matchers, range, series_max, self.pin())
    }

    fn select_pinned(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        series_max: usize,
        pin: Pin,
    ) -> Result<Selection, SelectError> {
        let (visible, limit) = (pin.visible(), series_max.saturating_add(1));
        let select = |shard: &RwLock<Shard>| shard.read().select(matchers, range, visible, limit);
        let shards = &self.inner.shards;
        // On a thread of a pool the shards of a large selection are shared with its other threads.
        let parts: Vec<Selected> = match rayon::current_thread_index() {
            Some(_) if self.series_bound(matchers, range) >= PARALLEL_SERIES_MIN => {
                shards.par_iter().map(select).collect()
            }
            _ => shards.iter().map(select).collect(),
        };
        let found = parts.iter().map(|part| part.series.len()).sum();
        if found > series_max {
            return Err(SelectError::TooManySeries { series_max });
        }
        let (histograms, starts) = (parts.iter().any(|part| part.histograms), parts.iter().any(|part| part.starts));
        let mut series = Vec::with_capacity(found);
        parts.into_iter().for_each(|part| series.extend(part.series));
        Ok(Selection { head: self.clone(), pin, view: None, series, histograms, starts })
    }

    /// No more series than this satisfy the matchers and have samples in the range, as far as a glance at the index tells.
    #[must_use]
    pub fn series_bound(&self, matchers: &[Matcher], range: TimeRange) -> usize {
        let visible = self.inner.eras.visible();
        let bound = |shard: &RwLock<Shard>| {
            let shard = shard.read();
            if shard.overlaps(range, visible) { shard.labels.series_bound(matchers) } else { 0 }
        };
        self.inner.shards.iter().map(bound).sum()
    }

    /// The first `limit` series, in no particular order but the same each time, that satisfy all `matchers` and may have samples
    /// with `after_ms < t <= until_ms`: what others there are is not looked at.
    #[must_use]
    pub fn select_first(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Selection {
        let pin = self.pin();
        let mut all = Selected::default();
        for shard in &self.inner.shards {
            let part = shard.read().select(matchers, range, pin.visible(), limit - all.series.len());
            all.series.extend(part.series);
            all.histograms |= part.histograms;
            all.starts |= part.starts;
        }
        let Selected { series, histograms, starts } = all;
        Selection { head: self.clone(), pin, view: None, series, histograms, starts }
    }

    /// The labels of a series, if the head holds it.
    pub(crate) fn labels_of(&self, series: SeriesRef) -> Option<Labels> {
        let shard = self.inner.shard_of(series).read();
        shard.live(series).map(|slot| Labels::from_sorted(shard.labels.labels(slot.labels)))
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

impl View {
    /// As [`Head::select`]; of the series there are only samples that were stored when the view was opened.
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
        let selection = self.head().select_pinned(matchers, range, series_max, self.pin().clone())?;
        Ok(Selection { view: Some(self.clone()), ..selection })
    }
}

/// The part of a selection that one shard has.
#[derive(Debug, Default)]
struct Selected {
    series: Vec<SeriesRef>,
    histograms: bool,
    starts: bool,
}

impl Shard {
    /// The first `limit` series that satisfy all matchers and may have samples in the range.
    fn select(&self, matchers: &[Matcher], range: TimeRange, visible: Visible, limit: usize) -> Selected {
        if limit == 0 || !self.overlaps(range, visible) {
            return Selected::default();
        }
        let slots = self.matching(matchers);
        let whole = self.within(range, visible);
        let in_range = slots.iter().filter(|slot| whole || self.in_range(*slot, range, visible));
        let aside = !self.histograms.is_empty() || !self.below.is_empty();
        Selected {
            series: in_range.take(limit).map(|slot| self.series_ref(slot)).collect(),
            histograms: aside,
            starts: !self.starts.is_empty() || aside,
        }
    }

    fn matching(&self, matchers: &[Matcher]) -> RoaringBitmap {
        self.labels.evaluate(matchers, |slot| self.slots.get(slot as usize).labels)
    }

    fn in_range(&self, slot: u32, range: TimeRange, visible: Visible) -> bool {
        let found = self.slots.get(slot as usize);
        let main = range.from(visible.floor_ms);
        found.may_overlap(main.after_ms, main.until_ms)
            || found.has(Slot::HAS_HISTOGRAMS) && self.has_histograms_in(slot, main)
            || found.has(Slot::HAS_BELOW) && self.may_overlap_below(slot, range, Generations::of(visible))
    }

    #[cold]
    fn has_histograms_in(&self, slot: u32, range: TimeRange) -> bool {
        self.histograms.get(&slot).is_some_and(|series| series.may_overlap(range.after_ms, range.until_ms))
    }

    /// Whether any sample may be in the range.
    fn overlaps(&self, range: TimeRange, visible: Visible) -> bool {
        let main = range.from(visible.floor_ms);
        self.last_ms > main.after_ms && self.first_ms <= main.until_ms || self.any_below(Generations::of(visible))
    }

    /// Whether every series has samples, and all of them in the range. Only found out while there is no floor.
    fn within(&self, range: TimeRange, visible: Visible) -> bool {
        let whole = self.first_ms > range.after_ms && self.last_ms <= range.until_ms;
        whole && self.sampled == self.hashes.len() && visible == Visible::ALL
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

    fn sight(&self) -> Sight {
        Sight { visible: self.pin.visible(), appended: self.view.as_ref().map(View::appended) }
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

    /// Appends numbers that stand for the labels of some series restricted to `names` (sorted), `names.len() + 1` for each
    /// series: within this selection, equal numbers mean equal labels. The shard is locked until it is done.
    pub fn label_numbers(&self, indices: Range<usize>, names: &[&str], into: &mut Vec<u32>) {
        for of_one_shard in self.series[indices].chunk_by(|a, b| self.head.shard_of(*a) == self.head.shard_of(*b)) {
            // Each shard numbers its pairs itself.
            let number = self.head.shard_of(of_one_shard[0]) as u32;
            let shard = self.head.inner.shard_of(of_one_shard[0]).read();
            let names = shard.labels.name_numbers(names);
            for series in of_one_shard {
                into.push(number);
                shard.labels.push_pairs(shard.slot_of(*series).labels, &names, into);
            }
        }
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
        read::read(&self.head.inner, series, range, self.sight(), into).map_err(|e| failed(series, e))
    }

    /// The newest sample of one series with `after_ms < t <= at_ms`, stale marker included.
    ///
    /// # Errors
    /// A stored chunk cannot be read.
    pub fn latest(&self, index: usize, after_ms: i64, at_ms: i64) -> Result<Option<Sample>, SelectError> {
        let series = self.series[index];
        let range = TimeRange { after_ms, until_ms: at_ms };
        read::latest(&self.head.inner, series, range, self.sight()).map_err(|e| failed(series, e))
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
    /// included. Each says whether there was no reset since the one before it, as far as that was read, too; gauges are
    /// gauges, and what the sender said of a reset stays.
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
        self.read_histograms_after(index, after_ms, until_ms, into).map(|_| ())
    }

    /// As [`Selection::read_histograms`]; returns the one before, if it was seen on the way.
    pub(crate) fn read_histograms_after(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut HistogramColumns,
    ) -> Result<Option<read_histograms::Before>, SelectError> {
        let series = self.series[index];
        let range = TimeRange { after_ms, until_ms };
        read_histograms::read(&self.head.inner, series, range, self.sight(), into).map_err(|e| failed(series, e))
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
        read_histograms::latest(&self.head.inner, series, range, self.sight()).map_err(|e| failed(series, e))
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
        read_starts::read(&self.head.inner, series, range, self.sight(), into).map_err(|e| failed(series, e))
    }
}

fn failed(series: SeriesRef, source: HeadError) -> SelectError {
    SelectError::Chunk { series: series.0, source }
}
