//! What an engine answers: series, labels, metadata, exemplars.

use super::{Applied, Engine};
use crate::head::Head;
use crate::select::{Cardinality, Listing, SelectError, Selection, TimeRange};
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::matcher::Matcher;
use model::metadata::Metadata;

impl Engine {
    /// What is known about one metric or all: at most `limit` metrics in ascending order, with at most
    /// `limit_per_metric` entries each, newest first.
    #[must_use]
    pub fn metadata(
        &self,
        metric: Option<&str>,
        limit: usize,
        limit_per_metric: usize,
    ) -> Vec<(String, Vec<Metadata>)> {
        self.inner.applied.metadata.list(metric, limit, limit_per_metric)
    }

    /// The exemplars with `start_ms <= t <= end_ms` of the series that satisfy all matchers of any of the `sets`, in order of
    /// time, series in order of their labels.
    #[must_use]
    pub fn exemplars(&self, sets: &[Vec<Matcher>], start_ms: i64, end_ms: i64) -> Vec<(Labels, Vec<Exemplar>)> {
        let Applied { head, exemplars, .. } = &*self.inner.applied;
        let _references_stay = head.pin();
        let selected = head.satisfying(exemplars.series(), sets);
        let found =
            selected.into_iter().map(|(series, labels)| (labels, exemplars.of_series(series, start_ms, end_ms)));
        let mut found: Vec<_> = found.filter(|(_, exemplars)| !exemplars.is_empty()).collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// The series that satisfy all `matchers` and may have samples with `after_ms < t <= until_ms`.
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
        self.inner.applied.head.select(matchers, after_ms, until_ms, series_max)
    }

    /// The label names of the series that satisfy all `matchers` and may have samples in the range.
    ///
    /// # Errors
    /// Storage failed.
    pub fn label_names(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Listing, SelectError> {
        self.inner.applied.head.label_names(matchers, range, limit)
    }

    /// The values of one label among the series that satisfy all `matchers` and may have samples in the range.
    ///
    /// # Errors
    /// Storage failed.
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Listing, SelectError> {
        self.inner.applied.head.label_values(name, matchers, range, limit)
    }

    /// What the series are made of: the `top` largest lines of each table.
    #[must_use]
    pub fn cardinality(&self, top: usize) -> Cardinality {
        self.inner.applied.head.cardinality(top)
    }

    /// The head, for what only it can tell.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.inner.applied.head
    }
}
