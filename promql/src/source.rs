//! Where the engine gets its series from. The engine asks; whoever embeds it answers.

use crate::budget::Budget;
use crate::query_error::QueryError;
pub use crate::rehearsal::Foreseen;
use model::bucket::{BucketColumns, BucketFields, BucketUse, Coverage, Segment};
use model::histogram::{Histogram, HistogramColumns};
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::{Sample, SampleColumns};
use std::ops::Range;
use std::sync::Arc;

/// Which samples a selector needs: those with `after_ms < t <= until_ms`.
#[derive(Debug, Clone, Copy)]
pub struct SelectRequest<'a> {
    /// All must hold.
    pub matchers: &'a [Matcher],
    /// Milliseconds since the Unix epoch, exclusive.
    pub after_ms: i64,
    /// Milliseconds since the Unix epoch, inclusive.
    pub until_ms: i64,
    /// The largest number of series the query may still touch; more is an error of the source.
    pub series_max: usize,
}

/// Why series could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// More series match than the query may touch.
    #[error("the query selects more than {series_max} series")]
    TooManySeries {
        /// The bound that was passed.
        series_max: usize,
    },
    /// What would be read does not fit in the memory of the query.
    #[error("the query may hold {bytes_max} bytes, and what it reads is more")]
    TooManyBytes {
        /// The bound of the query.
        bytes_max: usize,
    },
    /// All queries together hold too much memory for what would be read.
    #[error("all queries together would hold {held} of {bytes_max} bytes")]
    NoMemory {
        /// What they would hold.
        held: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// What would be read cannot be reached now; the same query can succeed later. Says what was asked for, and why it did not come.
    #[error("{0}")]
    Unavailable(String),
    /// Storage failed, and will fail again.
    #[error("{0}")]
    Failed(String),
}

/// What is left of fetching: takes a thread that may wait.
pub type Fetching = Box<dyn FnOnce() + Send>;

/// Stored series.
pub trait SeriesSource: Send + Sync {
    /// The series as they are now, which stay so however much is stored meanwhile: one query reads from one view. `None` when
    /// the source does not change.
    fn view(&self) -> Option<Box<dyn SeriesSource>> {
        None
    }

    /// The same series for one query: what reading holds in memory is charged to its budget, and what it will select can be
    /// fetched beforehand. `None` when neither makes a difference.
    fn session(&self, _budget: &Arc<Budget>) -> Option<Box<dyn SeriesSource>> {
        None
    }

    /// Whether samples after a time, in milliseconds, may have to be waited for.
    fn may_wait(&self, _after_ms: i64) -> bool {
        false
    }

    /// Gets ready what these selections need, all of it together, as far as that takes no waiting. What is returned waits for the
    /// rest, so that whoever makes the selections need not; failures are left to them.
    fn prepare(&self, _selections: &[Foreseen]) -> Option<Fetching> {
        None
    }

    /// Of a source that has no series and only remembers what it is asked for: the matchers on one of `labels` that all selections so
    /// far have in common. `None` for every other.
    fn rehearsed_matchers(&self, _labels: &[&str]) -> Option<Vec<Matcher>> {
        None
    }

    /// No more series than this satisfy the matchers and have samples with `after_ms < t <= until_ms`, as far as a glance at what
    /// is in memory tells.
    fn series_bound(&self, _matchers: &[Matcher], _after_ms: i64, _until_ms: i64) -> usize {
        usize::MAX
    }

    /// The series that satisfy `request` and may have samples in its range, in any order.
    ///
    /// # Errors
    /// Too many series, or storage failed.
    fn select(&self, request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError>;

    /// The same for a caller that understands [`SeriesSet::coverage`]: where `buckets` allows it, old samples may be served
    /// as buckets. A series that has samples in expired time alone is selected too.
    ///
    /// # Errors
    /// As [`SeriesSource::select`].
    fn select_with_buckets(
        &self,
        request: &SelectRequest<'_>,
        _buckets: &BucketUse,
    ) -> Result<Box<dyn SeriesSet>, SourceError> {
        self.select(request)
    }
}

/// Names the timestamps that a read returned: equal tokens from one set and one range mean equal timestamps, so that
/// window boundaries need to be computed only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimelineToken(pub u64);

/// For how many series numbers of labels are asked at once: locks are held for so long.
pub const NUMBERED_SERIES: usize = 512;

/// How many series are announced at once.
pub const PREFETCH_SERIES: usize = 8;

/// Selected series, addressed by index; any thread may read any of them at any time.
pub trait SeriesSet: Send + Sync {
    /// How many series were selected.
    fn len(&self) -> usize;

    /// Whether none was.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The labels of one series.
    fn labels(&self, index: usize) -> Labels;

    /// Gets the labels of all series ready, so that [`Self::labels`] neither waits nor fails. Returns the bytes that `account` holds
    /// for that, to be released with the set.
    ///
    /// # Errors
    /// Storage failed, or there is no room.
    fn fetch_labels(&self, _account: &Budget) -> Result<usize, QueryError> {
        Ok(0)
    }

    /// The labels of one series restricted to `names` (sorted): cheaper than [`SeriesSet::labels`] for aggregations.
    fn labels_among(&self, index: usize, names: &[&str]) -> Labels {
        self.labels(index).filter(|name| names.binary_search(&name).is_ok())
    }

    /// Appends to `into` numbers that stand for the labels of some series restricted to `names` (sorted), `names.len() + 1` for
    /// each series in turn, and returns whether it did: within this set, equal numbers mean equal labels. Cheaper than
    /// [`SeriesSet::labels_among`], since no text is touched. Ask for [`NUMBERED_SERIES`] at most.
    fn label_numbers(&self, _indices: Range<usize>, _names: &[&str], _into: &mut Vec<u32>) -> bool {
        false
    }

    /// Tells that the samples of these series, [`PREFETCH_SERIES`] at most, are read next, so that their memory can be fetched
    /// together.
    fn prefetch(&self, _indices: &[usize]) {}

    /// Whether any of the selected series may have the label; `false` lets the engine skip work that only matters for
    /// series that differ in it.
    fn may_have_label(&self, _name: &str) -> bool {
        true
    }

    /// Replaces the content of `into` by the samples of one series with `after_ms < t <= until_ms`, in order of time,
    /// stale markers included.
    ///
    /// # Errors
    /// Storage failed.
    fn read(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut SampleColumns,
    ) -> Result<Option<TimelineToken>, SourceError>;

    /// The newest sample of one series with `after_ms < t <= at_ms`, stale marker included.
    ///
    /// # Errors
    /// Storage failed.
    fn latest(&self, index: usize, after_ms: i64, at_ms: i64) -> Result<Option<Sample>, SourceError> {
        let mut columns = SampleColumns::default();
        self.read(index, after_ms, at_ms, &mut columns)?;
        Ok(columns
            .timestamps_ms
            .last()
            .zip(columns.values.last())
            .map(|(&timestamp_ms, &value)| Sample { timestamp_ms, value }))
    }

    /// Which time is served from buckets; `None` when none is and nothing has expired. Samples of that time need not be there
    /// to be read. Native histograms and start timestamps are never in buckets: their series are read as ever, but where samples have
    /// expired histograms may be thinned (see [`model::bucket::thin`]) for a resolution that divides those of all segments.
    fn coverage(&self) -> Option<&Coverage> {
        None
    }

    /// Replaces the content of `into` by the buckets of one series that end in `after_ms < end <= until_ms`, in order of
    /// time. `segment` is one of those in [`SeriesSet::coverage`]. Columns that are not among `fields` may be left empty.
    ///
    /// # Errors
    /// Storage failed.
    fn read_buckets(
        &self,
        _index: usize,
        _segment: &Segment,
        (_after_ms, _until_ms): (i64, i64),
        _fields: BucketFields,
        into: &mut BucketColumns,
    ) -> Result<(), SourceError> {
        into.clear();
        Ok(())
    }

    /// Whether a series may have native histograms; `false` spares the engine the calls below.
    fn may_have_histograms(&self, _index: usize) -> bool {
        false
    }

    /// Replaces the content of `into` by the native histograms of one series with `after_ms < t <= until_ms`, in order of
    /// time, stale ones included. No timestamp is that of a float of the series. Hints are `Unknown` for the first of a
    /// run, `NotReset` for those that follow it without a counter reset, `Gauge` for gauges. How many were left out before each is
    /// told if any was.
    ///
    /// # Errors
    /// Storage failed.
    fn read_histograms(
        &self,
        _index: usize,
        _after_ms: i64,
        _until_ms: i64,
        into: &mut HistogramColumns,
    ) -> Result<(), SourceError> {
        into.clear();
        Ok(())
    }

    /// The newest native histogram of one series with `after_ms < t <= at_ms`, stale ones included.
    ///
    /// # Errors
    /// Storage failed.
    fn latest_histogram(
        &self,
        index: usize,
        after_ms: i64,
        at_ms: i64,
    ) -> Result<Option<(i64, Arc<Histogram>)>, SourceError> {
        let mut columns = HistogramColumns::default();
        self.read_histograms(index, after_ms, at_ms, &mut columns)?;
        Ok(columns.timestamps_ms.last().copied().zip(columns.histograms.last().cloned()))
    }

    /// Whether samples of a series may have start timestamps; `false` spares the engine the call below.
    fn may_have_start_timestamps(&self, _index: usize) -> bool {
        false
    }

    /// Replaces the content of `into` by the start timestamps of the samples, floats and histograms merged in order of
    /// time, with `after_ms < t <= until_ms`: one per sample, 0 where none is known, or none at all when no sample has one.
    ///
    /// # Errors
    /// Storage failed.
    fn read_start_timestamps(
        &self,
        _index: usize,
        _after_ms: i64,
        _until_ms: i64,
        into: &mut Vec<i64>,
    ) -> Result<(), SourceError> {
        into.clear();
        Ok(())
    }
}
