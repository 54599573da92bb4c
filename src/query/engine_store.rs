//! The storage engine as queries see it.

use super::results_cache::ChangeLog;
use super::store::{HeadSummary, LookupRequest, SeriesStore};
use model::labels::Labels;
use model::sample::{Sample, SampleColumns};
use promql::source::{SelectRequest, SeriesSet, SeriesSource, SourceError, TimelineToken};
use std::error::Error;
use storage::cardinality::HeadExtent;
use storage::engine::Engine;
use storage::head::Changed;
use storage::select::{Cardinality, Listing, SelectError, Selection, TimeRange};

/// The series of a storage engine. Cheap to clone.
#[derive(Clone)]
pub struct EngineStore {
    engine: Engine,
}

impl EngineStore {
    /// What `engine` stores.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

impl SeriesSource for EngineStore {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        let SelectRequest { matchers, after_ms, until_ms, series_max } = *request;
        let selection = self.engine.select(matchers, after_ms, until_ms, series_max).map_err(source_error)?;
        Ok(Box::new(SelectedSeries { selection }))
    }
}

impl SeriesStore for EngineStore {
    fn select_first(&self, request: &LookupRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        let selection = self.engine.head().select_first(request.matchers, range(request), request.limit);
        Ok(Box::new(SelectedSeries { selection }))
    }

    fn label_names(&self, request: &LookupRequest<'_>) -> Result<Listing, SourceError> {
        self.engine.label_names(request.matchers, range(request), request.limit).map_err(source_error)
    }

    fn label_values(&self, name: &str, request: &LookupRequest<'_>) -> Result<Listing, SourceError> {
        self.engine.label_values(name, request.matchers, range(request), request.limit).map_err(source_error)
    }

    fn cardinality(&self, top: usize) -> Cardinality {
        self.engine.cardinality(top)
    }

    fn head_summary(&self) -> HeadSummary {
        let HeadExtent { series, label_pairs, chunks, time_range_ms } = self.engine.head().extent();
        HeadSummary { series, label_pairs, chunks, time_range_ms }
    }
}

impl ChangeLog for EngineStore {
    fn changed_since(&self, number: u64) -> Changed {
        self.engine.head().changed_since(number)
    }
}

struct SelectedSeries {
    selection: Selection,
}

impl SeriesSet for SelectedSeries {
    fn len(&self) -> usize {
        self.selection.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.selection.labels(index)
    }

    fn labels_among(&self, index: usize, names: &[&str]) -> Labels {
        self.selection.labels_among(index, names)
    }

    fn read(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut SampleColumns,
    ) -> Result<Option<TimelineToken>, SourceError> {
        let token = self.selection.read(index, after_ms, until_ms, into).map_err(source_error)?;
        Ok(token.map(TimelineToken))
    }

    fn latest(&self, index: usize, after_ms: i64, at_ms: i64) -> Result<Option<Sample>, SourceError> {
        self.selection.latest(index, after_ms, at_ms).map_err(source_error)
    }
}

fn range(request: &LookupRequest<'_>) -> TimeRange {
    TimeRange { after_ms: request.after_ms, until_ms: request.until_ms }
}

/// With all causes in one line: the query's error message is all that anybody will see of it.
fn source_error(error: SelectError) -> SourceError {
    match error {
        SelectError::TooManySeries { series_max } => SourceError::TooManySeries { series_max },
        SelectError::Chunk { .. } => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(inner) = cause {
                text.push_str(": ");
                text.push_str(&inner.to_string());
                cause = inner.source();
            }
            SourceError::Failed(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::matcher::Matcher;
    use storage::append::{LabelHash, Rows};
    use storage::engine::Options;

    #[test]
    fn what_was_appended_can_be_selected_and_listed() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 64 << 10, shards: Some(2), ..Options::new(dir.path()) };
        let engine = Engine::open(&options).unwrap();
        let mut rows = Rows::default();
        for job in ["a", "b", "c"] {
            let labels = [("__name__", "up"), ("job", job)];
            let hash = LabelHash::of_pairs(labels, &mut Vec::new());
            let series = engine.create(hash, &labels).unwrap();
            rows.push(series, 1000, 1.0);
            rows.push(series, 2000, 2.0);
        }
        engine.append_wait(rows).unwrap();
        let store = EngineStore::new(engine);

        let matchers = [Matcher::equal("__name__", "up")];
        let request = SelectRequest { matchers: &matchers, after_ms: 1000, until_ms: 2000, series_max: 10 };
        let set = store.select(&request).unwrap();
        let mut columns = SampleColumns::default();
        set.read(0, 1000, 2000, &mut columns).unwrap();
        assert_eq!((set.len(), columns.timestamps_ms, columns.values), (3, vec![2000], vec![2.0]));
        assert_eq!(set.latest(0, 0, 1999).unwrap(), Some(Sample { timestamp_ms: 1000, value: 1.0 }));
        assert_eq!(set.labels_among(0, &["__name__"]).to_string(), r#"{__name__="up"}"#);

        let few = SelectRequest { series_max: 2, ..request };
        assert_eq!(store.select(&few).err(), Some(SourceError::TooManySeries { series_max: 2 }));

        let lookup = LookupRequest { matchers: &matchers, after_ms: 0, until_ms: 9000, limit: 2 };
        assert_eq!(store.select_first(&lookup).unwrap().len(), 2);
        assert_eq!(store.label_names(&lookup).unwrap().items, ["__name__", "job"]);
        let jobs = store.label_values("job", &lookup).unwrap();
        assert_eq!((jobs.items, jobs.truncated), (vec!["a".to_owned(), "b".to_owned()], true));
        let summary = store.head_summary();
        assert_eq!((summary.series, summary.time_range_ms), (3, Some((1000, 2000))));
    }
}
