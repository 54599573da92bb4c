//! The series of one query of a remote read, in the order in which they are sent.

use crate::query::error::QueryFailure;
use crate::wire::read::request::ReadQuery;
use model::histogram::HistogramColumns;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::sample::SampleColumns;
use promql::budget::Budget;
use promql::source::{SelectRequest, SeriesSet, SeriesSource};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The labels that every series has for others, though none is stored with them. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ExternalLabels {
    pairs: Arc<BTreeMap<String, String>>,
}

impl ExternalLabels {
    pub(super) fn new(pairs: &BTreeMap<String, String>) -> Self {
        Self { pairs: Arc::new(pairs.clone()) }
    }

    /// Makes `name="value"` of an external label the matcher of its absence.
    pub(super) fn rewrite(&self, matchers: &mut [Matcher]) {
        for matcher in matchers {
            let external = self.pairs.get(matcher.name());
            if matcher.op() == MatchOp::Equal && external.is_some_and(|value| value == matcher.value()) {
                *matcher = Matcher::equal(matcher.name(), "");
            }
        }
    }

    /// The labels with the external ones that are absent.
    fn added_to(&self, labels: Labels) -> Labels {
        let absent = self.pairs.iter().filter(|(name, _)| labels.get(name).is_none());
        absent.fold(labels.clone(), |labels, (name, value)| labels.with(name, value))
    }
}

/// Selected series in ascending order of their labels.
pub(super) struct SortedSeries {
    set: Box<dyn SeriesSet>,
    order: std::vec::IntoIter<(Labels, usize)>,
    range: (i64, i64),
}

/// One series with at least one sample.
pub(super) struct Series {
    pub(super) labels: Labels,
    pub(super) floats: SampleColumns,
    pub(super) histograms: HistogramColumns,
}

impl SortedSeries {
    /// Selects the series and sorts them; their labels are held until the last of them is sent.
    pub(super) fn select(
        query: &ReadQuery,
        external: &ExternalLabels,
        source: &dyn SeriesSource,
        budget: &Budget,
    ) -> Result<Self, QueryFailure> {
        let (after_ms, until_ms) = (query.start_ms.saturating_sub(1), query.end_ms);
        let series_max = budget.limits().series_max;
        let set = source.select(&SelectRequest { matchers: &query.matchers, after_ms, until_ms, series_max })?;
        budget.touch_series(set.len())?;
        let mut order = Vec::with_capacity(set.len());
        for index in 0..set.len() {
            if index % 1024 == 0 {
                budget.check()?;
            }
            let labels = external.added_to(set.labels(index));
            budget.hold(0, labels.held_bytes() + size_of::<usize>())?;
            order.push((labels, index));
        }
        order.sort_unstable();
        Ok(Self { set, order: order.into_iter(), range: (after_ms, until_ms) })
    }

    /// The next series that has samples.
    pub(super) fn next(&mut self, budget: &Budget) -> Result<Option<Series>, QueryFailure> {
        let (after_ms, until_ms) = self.range;
        for (labels, index) in self.order.by_ref() {
            budget.check()?;
            let (mut floats, mut histograms) = (SampleColumns::default(), HistogramColumns::default());
            self.set.read(index, after_ms, until_ms, &mut floats)?;
            if self.set.may_have_histograms(index) {
                self.set.read_histograms(index, after_ms, until_ms, &mut histograms)?;
            }
            if !(floats.is_empty() && histograms.is_empty()) {
                return Ok(Some(Series { labels, floats, histograms }));
            }
        }
        Ok(None)
    }
}
