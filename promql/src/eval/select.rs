//! Instant selectors: at each step the newest sample of each series within the lookback, unless it is a stale marker.

use super::buckets::{Tiers, Wanted, Window};
use super::exec::{Counting, Exec, Samples, Worker};
use super::remarks::Place;
use super::row::{Cell, Row, samples_of};
use super::samples::Extras;
use super::steps::LookTimes;
use super::vector::{Nothing, SeriesVector, Vector};
use super::windows::Windows;
use crate::query_error::QueryError;
use crate::source::{SelectRequest, SeriesSet, SourceError, TimelineToken};
use model::labels::{Labels, METRIC_NAME, METRIC_TYPE, METRIC_UNIT};
use model::matcher::{MatchOp, Matcher};
use model::sample::{SampleColumns, is_stale_marker};
use std::ops::Range;
use std::sync::Arc;

/// Selected series and what is known of all of them.
pub(crate) struct Selection {
    pub(crate) set: Box<dyn SeriesSet>,
    /// The name that all series have, when the matchers say so.
    pub(crate) name: Option<String>,
    /// Whether no series has a type or unit label.
    untyped: bool,
    /// Whether all that matters of a histogram is its count and sum.
    pub(crate) stats_only: bool,
    /// What is served from buckets, if anything is.
    pub(crate) tiers: Option<Box<Tiers>>,
}

impl Selection {
    /// Asks the source for series with samples in `after_ms < t <= until_ms`; `None` when no series matches.
    pub(crate) fn of(
        matchers: &[Matcher],
        (after_ms, until_ms): (i64, i64),
        wanted: &Wanted,
        exec: &Exec<'_>,
    ) -> Result<Option<Self>, QueryError> {
        exec.budget.check()?;
        let series_max = exec.budget.series_left();
        let request = SelectRequest { matchers, after_ms, until_ms, series_max };
        let set = exec.source.select_with_buckets(&request, &wanted.buckets).map_err(|error| match error {
            // It knows what is left alone.
            SourceError::TooManySeries { .. } => {
                QueryError::TooManySeries { series_max: exec.budget.limits().series_max }
            }
            error => error.into(),
        })?;
        let coverage = set.coverage();
        if let Some(coverage) = coverage {
            wanted.remark(coverage, (after_ms, until_ms), exec);
        }
        let tiers = coverage.and_then(Tiers::of);
        if set.is_empty() {
            return Ok(None);
        }
        exec.budget.touch_series(set.len())?;
        let name = matchers
            .iter()
            .find(|matcher| matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal)
            .map(|matcher| matcher.value().to_owned())
            .filter(|name| !name.is_empty());
        let untyped = ![METRIC_TYPE, METRIC_UNIT].iter().any(|label| set.may_have_label(label));
        Ok(Some(Self { set, name, untyped, stats_only: false, tiers }))
    }

    /// The same, of histograms only count and sum if `stats_only`.
    pub(crate) fn with_stats_only(self, stats_only: bool) -> Self {
        Self { stats_only, ..self }
    }

    /// Replaces the content of `into` by the samples of one series; where they have expired one of each bucket stands for
    /// the others.
    pub(crate) fn read(
        &self,
        index: usize,
        (after_ms, until_ms): (i64, i64),
        into: &mut SampleColumns,
    ) -> Result<Option<TimelineToken>, QueryError> {
        match &self.tiers {
            None => Ok(self.set.read(index, after_ms, until_ms, into)?),
            Some(tiers) => tiers.read_thinned(self.set.as_ref(), index, Window { after_ms, until_ms }, into),
        }
    }

    /// Whether removing name, type and unit makes no two series equal.
    pub(crate) fn has_one_name(&self) -> bool {
        self.name.is_some() && self.untyped
    }

    /// The metric's name of one series.
    pub(crate) fn metric_name(&self, index: usize) -> Option<String> {
        match &self.name {
            Some(name) => Some(name.clone()),
            None => self.set.labels_among(index, &[METRIC_NAME]).metric_name().map(str::to_owned),
        }
    }
}

/// What an instant selector returns for a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// Its value.
    Value,
    /// Its time in seconds: `timestamp()` of a selector.
    Time,
    /// Its time in seconds; info series have floats.
    InfoTime,
    /// When its counting began, in seconds; 0 if nobody knows: `start_timestamp()`.
    Start,
}

/// An instant selector.
pub(crate) struct InstantSelector {
    pub(crate) selection: Selection,
    pub(crate) look: LookTimes,
    pub(crate) lookback_ms: i64,
    pub(crate) field: Field,
    counting: Counting,
    ordinal: u32,
}

impl InstantSelector {
    /// Selects; `place` is that of the selector.
    pub(crate) fn build<'q>(
        (matchers, stats_only): (&[Matcher], bool),
        look: LookTimes,
        field: Field,
        counting: Counting,
        place: Place,
        exec: &Exec<'_>,
    ) -> Result<Vector<'q>, QueryError> {
        let lookback_ms = exec.settings.lookback_ms;
        let after_ms = look.first().saturating_sub(lookback_ms);
        let wanted = Wanted::of_instant(&look, &exec.settings, place);
        Ok(match Selection::of(matchers, (after_ms, look.last()), &wanted, exec)? {
            Some(selection) => {
                let selection = selection.with_stats_only(stats_only);
                Arc::new(Self { selection, look, lookback_ms, field, counting, ordinal: place.ordinal })
            }
            None => Arc::new(Nothing),
        })
    }

    /// One look: the source knows the newest sample best.
    fn look_once(&self, index: usize, out: &mut Row) -> Result<(), QueryError> {
        let at_ms = self.look.first();
        let newest = self.selection.set.latest(index, at_ms.saturating_sub(self.lookback_ms), at_ms)?;
        match newest.filter(|sample| !is_stale_marker(sample.value)) {
            Some(sample) => {
                let value = self.field.of(sample.timestamp_ms, sample.value);
                out.reset_to(self.look.count(), value);
            }
            None => out.reset(self.look.count()),
        }
        Ok(())
    }

    fn look_at_each_step(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        let after_ms = self.look.first().saturating_sub(self.lookback_ms);
        let mut columns = worker.take_columns();
        let token = self.selection.set.read(index, after_ms, self.look.last(), &mut columns)?;
        worker.hold_samples(columns.len())?;
        let times = &columns.timestamps_ms;
        let windows = worker.windows(self.ordinal, token, || Windows::find(times, &self.look, self.lookback_ms))?;
        out.reset(self.look.count());
        for (step, (low, high)) in windows.by_step() {
            if low < high {
                let newest = high as usize - 1;
                let value = columns.values[newest];
                if !is_stale_marker(value) {
                    out.set(step, self.field.of(columns.timestamps_ms[newest], value));
                }
            }
        }
        worker.give_columns(columns);
        Ok(())
    }

    /// A series that may have more than floats: at each step the newest sample of either kind.
    fn look_at_all_kinds(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        let after_ms = self.look.first().saturating_sub(self.lookback_ms);
        let tiers = self.selection.tiers.as_deref();
        let whole_ms = tiers.map_or(after_ms, |tiers| tiers.histograms_after(self.look.first(), self.lookback_ms));
        let mut floats = worker.take_columns();
        let with_starts = self.field == Field::Start;
        let read = |after_ms: i64, floats: &mut SampleColumns| {
            let range = (after_ms, self.look.last());
            self.selection.read(index, range, floats)?;
            Extras::read(&self.selection, index, range, with_starts, floats).map(Option::unwrap_or_default)
        };
        let mut extras = read(whole_ms, &mut floats)?;
        let tiers = tiers.filter(|_| !extras.histograms.left_out.is_empty());
        if tiers.is_none() && whole_ms < after_ms {
            extras = read(after_ms, &mut floats)?;
        }
        worker.hold_samples(floats.len() + extras.samples())?;
        out.reset(self.look.count());
        let histogram_times = &extras.histograms.timestamps_ms;
        for step in 0..self.look.count() {
            let at = self.look.time(step);
            // Where some were left out, the newest that is known is that of the newest whole bucket.
            let until_ms = tiers.map_or(at, |tiers| tiers.histogram_look(at));
            let newest = |times: &[i64], until_ms: i64| {
                let newest = times.partition_point(|time| *time <= until_ms).checked_sub(1)?;
                Some(newest).filter(|i| times[*i] > until_ms.saturating_sub(self.lookback_ms))
            };
            let (float, histogram) = (newest(&floats.timestamps_ms, at), newest(histogram_times, until_ms));
            let float_time = float.map(|i| floats.timestamps_ms[i]);
            let histogram_time = histogram.map(|i| histogram_times[i]);
            let Some(time) = float_time.max(histogram_time) else { continue };
            let start = |starts: &[i64], i: usize| starts.get(i).copied().unwrap_or(0) as f64 / 1000.0;
            if let Some(i) = histogram.filter(|_| histogram_time == Some(time)) {
                let histogram = &extras.histograms.histograms[i];
                if !histogram.is_stale() {
                    out.set_cell(
                        step,
                        match self.field {
                            Field::Value => Cell::Histogram(Arc::clone(histogram)),
                            Field::Time => Cell::Float(time as f64 / 1000.0),
                            Field::Start => Cell::Float(start(&extras.histogram_starts, i)),
                            Field::InfoTime => {
                                return Err(QueryError::InfoHistogram(self.selection.set.labels(index).to_string()));
                            }
                        },
                    );
                }
            } else if let Some(i) = float.filter(|i| !is_stale_marker(floats.values[*i])) {
                let value = match self.field {
                    Field::Start => start(&extras.float_starts, i),
                    field => field.of(time, floats.values[i]),
                };
                out.set(step, value);
            }
        }
        worker.give_columns(floats);
        Ok(())
    }
}

impl Field {
    /// Of a float; start timestamps are not known from time and value.
    pub(crate) fn of(self, timestamp_ms: i64, value: f64) -> f64 {
        match self {
            Self::Value => value,
            Self::Time | Self::InfoTime => timestamp_ms as f64 / 1000.0,
            Self::Start => 0.0,
        }
    }
}

impl SeriesVector for InstantSelector {
    fn len(&self) -> usize {
        self.selection.set.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.selection.set.labels(index)
    }

    fn labels_among(&self, index: usize, names: &[&str]) -> Labels {
        self.selection.set.labels_among(index, names)
    }

    fn prefetch(&self, indices: &[usize]) {
        if !self.look.is_fixed() {
            self.selection.set.prefetch(indices);
        }
    }

    fn label_numbers(&self, indices: Range<usize>, names: &[&str], into: &mut Vec<u32>) -> bool {
        self.selection.set.label_numbers(indices, names, into)
    }

    fn has_one_name(&self) -> bool {
        self.selection.has_one_name()
    }

    fn may_have_histograms(&self, index: usize) -> bool {
        self.field == Field::Value && self.selection.set.may_have_histograms(index)
    }

    fn row(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        worker.exec.budget.check()?;
        let set = self.selection.set.as_ref();
        let has_starts = self.field == Field::Start && set.may_have_start_timestamps(index);
        if has_starts || set.may_have_histograms(index) {
            self.look_at_all_kinds(index, worker, out)?;
        } else if let Some(tiers) = &self.selection.tiers {
            tiers.look(self, index, worker, out)?;
        } else if self.look.is_fixed() {
            self.look_once(index, out)?;
        } else {
            self.look_at_each_step(index, worker, out)?;
        }
        if !out.has_histograms() {
            let present = |step: usize| Samples::once(u64::from(out.is_present(step)));
            worker.count(self.counting, Samples::once(out.count() as u64), out.steps(), present);
            return Ok(());
        }
        let samples = |step: usize| {
            let histogram = out.histogram(step).map_or(0, |histogram| samples_of(histogram) as u64);
            Samples::once(u64::from(out.is_present(step)) + histogram)
        };
        worker.count(self.counting, Samples::once(out.samples().0 as u64), out.steps(), samples);
        Ok(())
    }
}
