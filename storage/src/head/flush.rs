//! What a flush reads: everything that blocks do not hold yet, metric by metric.
//!
//! Nothing of it changes while the flush is under way: floors and generations were set when it began, and it holds a pin.
//! Appends go on. Memory is bounded by the largest metric's labels.

use super::below::{self, Generations};
use super::eras::{Pin, Visible};
use super::error::HeadError;
use super::floors::Turn;
use super::read::{self, merge_late};
use super::slot::Slot;
use super::{FlushedState, Head, read_histograms, read_starts};
use crate::append::{LabelHash, SeriesRef};
use crate::select::TimeRange;
use hashbrown::HashMap;
use model::histogram::HistogramColumns;
use model::labels::{Labels, METRIC_NAME};
use model::sample::SampleColumns;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A flush that is under way, one at a time. Dropping it gives it up: the next takes everything again.
#[derive(Debug)]
pub struct Flushing {
    head: Head,
    pin: Pin,
    boundary_ms: i64,
    lsn: u64,
    generation: u64,
    _turn: Turn,
}

/// Which of a series' samples are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushPart {
    /// Those from the read floor to the boundary.
    Window,
    /// Those that came when their time had been flushed already.
    Below,
}

/// A series with something to flush.
#[derive(Debug, Clone)]
pub struct FlushSeries {
    /// Its reference, for the reads of the flush that it is of.
    pub series: SeriesRef,
    /// Its labels.
    pub labels: Labels,
    /// Their hash.
    pub hash: LabelHash,
    /// There may be samples of [`FlushPart::Window`].
    pub in_window: bool,
    /// There are samples of [`FlushPart::Below`].
    pub below: bool,
}

impl Flushing {
    pub(super) fn new(head: &Head, turn: Turn, boundary_ms: i64, lsn: u64, generation: u64) -> Self {
        Self { head: head.clone(), pin: head.pin(), boundary_ms, lsn, generation, _turn: turn }
    }

    /// Samples older than this are flushed.
    #[must_use]
    pub fn boundary_ms(&self) -> i64 {
        self.boundary_ms
    }

    /// Samples from this time on are of the window.
    #[must_use]
    pub fn floor_ms(&self) -> i64 {
        self.visible().floor_ms
    }

    /// Position in the log at which the flush began.
    #[must_use]
    pub fn lsn(&self) -> u64 {
        self.lsn
    }

    /// The newest below-floor generation that is flushed.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What a manifest is to say once everything is in blocks; `directory` is that of the engine.
    #[must_use]
    pub fn flushed(&self, directory: [u8; 16]) -> FlushedState {
        FlushedState { boundary_ms: self.boundary_ms, lsn: self.lsn, generation: self.generation, directory }
    }

    fn visible(&self) -> Visible {
        self.pin.visible()
    }

    fn window(&self) -> TimeRange {
        let after_ms = self.visible().floor_ms.saturating_sub(1);
        TimeRange { after_ms, until_ms: self.boundary_ms.saturating_sub(1) }
    }

    fn generations(&self) -> Generations {
        Generations { after: self.visible().after_generation, up_to: self.generation }
    }

    /// The metrics of the head in the order of blocks: `None`, the series without a metric name, and then names in
    /// ascending order. Some may have nothing to flush.
    #[must_use]
    pub fn metrics(&self) -> Vec<Option<String>> {
        let mut names = BTreeSet::new();
        for shard in &self.head.inner.shards {
            let shard = shard.read();
            names.extend(shard.labels.values_in_use(METRIC_NAME).map(str::to_owned));
        }
        std::iter::once(None).chain(names.into_iter().map(Some)).collect()
    }

    /// The series of a metric that have something to flush, in no order.
    #[must_use]
    pub fn series_of(&self, metric: Option<&str>) -> Vec<FlushSeries> {
        let mut found = Vec::new();
        let mut scratch = Vec::new();
        for shard in &self.head.inner.shards {
            let slots = shard.read().labels.with_metric(metric);
            // So many at a time that appends hardly wait.
            let slots: Vec<u32> = slots.iter().collect();
            for slots in slots.chunks(512) {
                let shard = shard.read();
                for &number in slots {
                    let (in_window, below) = self.parts_of(&shard, number);
                    if in_window || below {
                        let slot = shard.slots.get(number as usize);
                        let labels = Labels::from_sorted(shard.labels.labels(slot.labels));
                        let hash = LabelHash::of_pairs(labels.iter(), &mut scratch);
                        found.push(FlushSeries { series: shard.series_ref(number), labels, hash, in_window, below });
                    }
                }
            }
        }
        found
    }

    /// How many of the series with something to flush have each label name, most frequent first.
    #[must_use]
    pub fn label_names(&self) -> Vec<(String, u64)> {
        let mut counts: HashMap<String, u64> = HashMap::new();
        for shard in &self.head.inner.shards {
            let count = shard.read().slots.len();
            let mut names: HashMap<u32, u64> = HashMap::new();
            for start in (0..count).step_by(4096) {
                let shard = shard.read();
                for number in start..count.min(start + 4096) {
                    let slot = *shard.slots.get(number);
                    if slot.has(Slot::LIVE) && self.parts_of(&shard, number as u32) != (false, false) {
                        shard.labels.name_numbers_of(slot.labels).for_each(|name| *names.entry(name).or_default() += 1);
                    }
                }
            }
            let shard = shard.read();
            for (name, count) in names {
                *counts.entry(shard.labels.name_at(name).to_owned()).or_default() += count;
            }
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counts
    }

    /// Whether a series may have samples in the window, and has below-floor samples.
    fn parts_of(&self, shard: &super::shard::Shard, number: u32) -> (bool, bool) {
        let window = self.window();
        let slot = shard.slots.get(number as usize);
        let floats = slot.may_overlap(window.after_ms, window.until_ms);
        let histograms = || {
            let series = shard.histograms.get(&number);
            series.is_some_and(|series| series.may_overlap(window.after_ms, window.until_ms))
        };
        let in_window = floats || slot.has(Slot::HAS_HISTOGRAMS) && histograms();
        (in_window, shard.has_below(number, self.generations()))
    }

    /// Replaces `into` by the floats of a series, in order of time. Equal tokens mean equal timestamps.
    ///
    /// # Errors
    /// A stored chunk cannot be read.
    pub fn read_floats(
        &self,
        series: SeriesRef,
        part: FlushPart,
        into: &mut SampleColumns,
    ) -> Result<Option<u64>, HeadError> {
        into.clear();
        match part {
            FlushPart::Window => read::read_main(&self.head.inner, series, self.window(), None, into),
            FlushPart::Below => {
                let mut late = Vec::new();
                below::read_floats(&self.head.inner, series, TimeRange::ALL, self.generations(), None, &mut late)?;
                merge_late(&mut late, into);
                Ok(None)
            }
        }
    }

    /// Replaces `into` by the start timestamps of floats that [`Flushing::read_floats`] gave: one for each, 0 where none is
    /// known, or none at all when that is so for all.
    ///
    /// # Errors
    /// A stored chunk cannot be read.
    pub fn read_float_starts(
        &self,
        series: SeriesRef,
        part: FlushPart,
        timestamps_ms: &[i64],
        into: &mut Vec<i64>,
    ) -> Result<(), HeadError> {
        into.clear();
        let head = &self.head.inner;
        if head.shard_of(series).read().live(series).is_none_or(|slot| !slot.has(Slot::HAS_STARTS)) {
            return Ok(());
        }
        let spans = match part {
            FlushPart::Window => read_starts::spans(head, series, self.window())?,
            FlushPart::Below => below::read_starts(head, series, TimeRange::ALL, self.generations())?,
        };
        into.extend(timestamps_ms.iter().map(|timestamp_ms| spans.start_of(*timestamp_ms)));
        if into.iter().all(|start_ms| *start_ms == 0) {
            into.clear();
        }
        Ok(())
    }

    /// Replaces `into` by the native histograms of a series, in order of time, with what their sender said of resets, and
    /// `starts_ms` by their start timestamps, 0 where none is known.
    ///
    /// # Errors
    /// A stored chunk cannot be read.
    pub fn read_histograms(
        &self,
        series: SeriesRef,
        part: FlushPart,
        into: &mut HistogramColumns,
        starts_ms: &mut Vec<i64>,
    ) -> Result<(), HeadError> {
        into.clear();
        starts_ms.clear();
        let head = &self.head.inner;
        let samples = match part {
            FlushPart::Window => read_histograms::collect_main(head, series, self.window(), None)?,
            FlushPart::Below => {
                let mut samples = below::read_histograms(head, series, TimeRange::ALL, self.generations(), None)?;
                samples.sort_by_key(|sample| sample.timestamp_ms);
                samples
            }
        };
        let mut bounds: Option<Arc<[f64]>> = None;
        for sample in samples {
            let histogram = Arc::new(sample.to_histogram(bounds.as_ref()));
            bounds = Some(Arc::clone(&histogram.custom_values));
            into.push(sample.timestamp_ms, histogram);
            starts_ms.push(sample.start_ms);
        }
        Ok(())
    }
}
