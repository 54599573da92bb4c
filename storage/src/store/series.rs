//! Selected series, wherever they are.

use super::selection::Merged;
use crate::select::{SelectError, Selection as HeadSelection, TimeRange};
use model::bucket::{BucketColumns, BucketFields, Coverage, Segment};
use model::histogram::{Histogram, HistogramColumns};
use model::labels::Labels;
use model::sample::{Sample, SampleColumns};
use std::ops::Range;
use std::sync::Arc;

/// Selected series, addressed by index; any thread may read any of them at any time.
#[derive(Debug)]
pub enum Selection {
    /// All of it is in the head.
    Head(HeadSelection),
    /// Some of it may be in blocks.
    Merged(Box<Merged>),
}

impl Selection {
    /// How many series were selected.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Head(head) => head.len(),
            Self::Merged(merged) => merged.len(),
        }
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The labels of one series.
    ///
    /// # Errors
    /// A block cannot be read.
    pub fn labels(&self, index: usize) -> Result<Labels, SelectError> {
        match self {
            Self::Head(head) => Ok(head.labels(index)),
            Self::Merged(merged) => merged.labels(index),
        }
    }

    /// The labels of one series restricted to `names` (sorted).
    ///
    /// # Errors
    /// A block cannot be read.
    pub fn labels_among(&self, index: usize, names: &[&str]) -> Result<Labels, SelectError> {
        match self {
            Self::Head(head) => Ok(head.labels_among(index, names)),
            Self::Merged(merged) => merged.labels_among(index, names),
        }
    }

    /// See [`HeadSelection::label_numbers`]; `false` when it cannot tell and appends nothing.
    pub fn label_numbers(&self, indices: Range<usize>, names: &[&str], into: &mut Vec<u32>) -> bool {
        match self {
            Self::Head(head) => {
                head.label_numbers(indices, names, into);
                true
            }
            Self::Merged(merged) => merged.label_numbers(indices, names, into),
        }
    }

    /// Reads the labels of all series that are not in the head, so that asking for one neither waits nor fails. `hold` is told of the
    /// bytes of each part, which stay as long as the selection; `false` as soon as it says that there is room for no more.
    ///
    /// # Errors
    /// A block cannot be read.
    pub fn fetch_labels(&self, hold: &mut dyn FnMut(usize) -> bool) -> Result<bool, SelectError> {
        match self {
            Self::Head(_) => Ok(true),
            Self::Merged(merged) => merged.fetch_labels(hold),
        }
    }

    /// Whether any of the selected series may have the label.
    #[must_use]
    pub fn may_have_label(&self, name: &str) -> bool {
        match self {
            Self::Head(head) => head.may_have_label(name),
            Self::Merged(merged) => merged.may_have_label(name),
        }
    }

    /// See [`HeadSelection::prefetch`].
    pub fn prefetch(&self, indices: &[usize]) {
        match self {
            Self::Head(head) => head.prefetch(indices),
            Self::Merged(merged) => merged.prefetch(indices),
        }
    }

    /// Replaces the content of `into` by the samples with `after_ms < t <= until_ms`, in order of time, stale markers
    /// included. Equal tokens from one selection and one range mean equal timestamps.
    ///
    /// # Errors
    /// A stored chunk or a block cannot be read.
    pub fn read(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut SampleColumns,
    ) -> Result<Option<u64>, SelectError> {
        match self {
            Self::Head(head) => head.read(index, after_ms, until_ms, into),
            Self::Merged(merged) => merged.read(index, TimeRange { after_ms, until_ms }, into),
        }
    }

    /// The newest sample of one series with `after_ms < t <= at_ms`, stale marker included.
    ///
    /// # Errors
    /// As [`Selection::read`].
    pub fn latest(&self, index: usize, after_ms: i64, at_ms: i64) -> Result<Option<Sample>, SelectError> {
        match self {
            Self::Head(head) => head.latest(index, after_ms, at_ms),
            Self::Merged(merged) => merged.latest(index, TimeRange { after_ms, until_ms: at_ms }),
        }
    }

    /// Whether a series has native histograms.
    #[must_use]
    pub fn has_histograms(&self, index: usize) -> bool {
        match self {
            Self::Head(head) => head.has_histograms(index),
            Self::Merged(merged) => merged.has_histograms(index),
        }
    }

    /// See [`HeadSelection::read_histograms`].
    ///
    /// # Errors
    /// As [`Selection::read`].
    pub fn read_histograms(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut HistogramColumns,
    ) -> Result<(), SelectError> {
        match self {
            Self::Head(head) => head.read_histograms(index, after_ms, until_ms, into),
            Self::Merged(merged) => merged.read_histograms(index, TimeRange { after_ms, until_ms }, into),
        }
    }

    /// The newest native histogram of one series with `after_ms < t <= at_ms`, a stale one included.
    ///
    /// # Errors
    /// As [`Selection::read`].
    pub fn latest_histogram(
        &self,
        index: usize,
        after_ms: i64,
        at_ms: i64,
    ) -> Result<Option<(i64, Arc<Histogram>)>, SelectError> {
        match self {
            Self::Head(head) => head.latest_histogram(index, after_ms, at_ms),
            Self::Merged(merged) => merged.latest_histogram(index, TimeRange { after_ms, until_ms: at_ms }),
        }
    }

    /// Which time is served from buckets; `None` when none is and nothing has expired.
    #[must_use]
    pub fn coverage(&self) -> Option<&Coverage> {
        match self {
            Self::Head(_) => None,
            Self::Merged(merged) => merged.coverage(),
        }
    }

    /// Replaces the content of `into` by the buckets of one series that end in a range, open at its start, of a segment of
    /// [`Selection::coverage`].
    ///
    /// # Errors
    /// A block cannot be read.
    pub fn read_buckets(
        &self,
        index: usize,
        segment: &Segment,
        range: (i64, i64),
        fields: BucketFields,
        into: &mut BucketColumns,
    ) -> Result<(), SelectError> {
        match self {
            Self::Head(_) => {
                into.clear();
                Ok(())
            }
            Self::Merged(merged) => merged.read_buckets(index, segment, range, fields, into),
        }
    }

    /// Whether some sample of a series has a start timestamp.
    #[must_use]
    pub fn has_start_timestamps(&self, index: usize) -> bool {
        match self {
            Self::Head(head) => head.has_start_timestamps(index),
            Self::Merged(merged) => merged.has_start_timestamps(index),
        }
    }

    /// See [`HeadSelection::read_start_timestamps`].
    ///
    /// # Errors
    /// As [`Selection::read`].
    pub fn read_start_timestamps(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut Vec<i64>,
    ) -> Result<(), SelectError> {
        match self {
            Self::Head(head) => head.read_start_timestamps(index, after_ms, until_ms, into),
            Self::Merged(merged) => merged.read_start_timestamps(index, TimeRange { after_ms, until_ms }, into),
        }
    }
}
