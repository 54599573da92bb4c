//! The series themselves: labels, type, and when samples were first and last seen.

use super::selected::{Needed, SelectedSeries, fingerprint};
use super::{Scan, ScanRequest, Table};
use crate::query::error::QueryFailure;
use crate::query::executor::LocalQueries;
use crate::query::store::MetadataSource;
use crate::sql::batch::{BATCH_ROWS, label_maps, label_type, labels_type, schema, text_column, time_type};
use crate::sql::scan::{Output, Portions, ScanSource};
use crate::sql::scope::Scope;
use datafusion::arrow::array::{ArrayRef, TimestampMillisecondArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use model::labels::Labels;
use model::sample::SampleColumns;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// All series.
#[derive(Debug, Clone)]
pub(super) struct AllSeries;

const METRIC: usize = 0;
const LABELS: usize = 1;
const FINGERPRINT: usize = 2;
const TYPE: usize = 3;
const FIRST_TIME: usize = 4;
const LAST_TIME: usize = 5;

impl Table for AllSeries {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("metric", label_type(), true),
            ("labels", labels_type(), false),
            ("fingerprint", DataType::UInt64, false),
            ("type", label_type(), true),
            ("first_time", time_type(), true),
            ("last_time", time_type(), true),
        ])
    }

    fn reads_samples(&self, columns: &[usize]) -> bool {
        columns.iter().any(|column| matches!(*column, FIRST_TIME | LAST_TIME))
    }

    fn open(&self, request: ScanRequest, local: &LocalQueries<'_>, scope: &Scope) -> Result<Scan, QueryFailure> {
        let selected = SelectedSeries::select(&request.selector, &Needed::default(), local, scope)?;
        let metadata = Arc::clone(&scope.sources.metadata);
        Ok(Scan::new(SeriesScan { selected: Arc::new(selected), columns: request.columns.into(), metadata }))
    }
}

struct SeriesScan {
    selected: Arc<SelectedSeries>,
    columns: Arc<[usize]>,
    metadata: Arc<dyn MetadataSource>,
}

impl ScanSource for SeriesScan {
    fn partitions(&self) -> usize {
        1
    }

    fn open(&self, _partition: usize) -> Box<dyn Portions> {
        Box::new(SeriesPortions {
            selected: Arc::clone(&self.selected),
            columns: Arc::clone(&self.columns),
            metadata: Arc::clone(&self.metadata),
            types: HashMap::new(),
            places: 0..self.selected.order.len(),
            scratch: SampleColumns::default(),
        })
    }

    fn describe(&self) -> String {
        self.selected.describe()
    }
}

struct SeriesPortions {
    selected: Arc<SelectedSeries>,
    columns: Arc<[usize]>,
    metadata: Arc<dyn MetadataSource>,
    /// Types of metrics asked for so far.
    types: HashMap<String, Option<&'static str>>,
    places: Range<usize>,
    scratch: SampleColumns,
}

impl Portions for SeriesPortions {
    fn next(&mut self, local: &LocalQueries<'_>, rows_max: usize, out: &mut Output) -> Result<bool, QueryFailure> {
        let count = self.places.len().min(BATCH_ROWS).min(rows_max);
        let places: Vec<usize> = self.places.by_ref().take(count).collect();
        let labels: Vec<Labels> = places.iter().map(|place| self.selected.labels_at(*place)).collect();
        let mut times = Vec::new();
        if self.columns.iter().any(|column| matches!(*column, FIRST_TIME | LAST_TIME)) {
            for place in &places {
                local.budget().check()?;
                times.push(self.times(*place, out)?);
            }
        }
        let mut columns: Vec<ArrayRef> = Vec::new();
        for column in Arc::clone(&self.columns).iter() {
            columns.push(match *column {
                METRIC => text_column(labels.iter().map(Labels::metric_name)),
                LABELS => label_maps(labels.iter().map(|labels| (labels, 1))),
                FINGERPRINT => Arc::new(labels.iter().map(fingerprint).collect::<UInt64Array>()),
                TYPE => {
                    let types: Vec<_> = labels.iter().map(|labels| self.type_of(labels)).collect();
                    text_column(types)
                }
                FIRST_TIME => Arc::new(of_times(times.iter().map(|times| times.map(|(first, _)| first)))),
                _ => Arc::new(of_times(times.iter().map(|times| times.map(|(_, last)| last)))),
            });
        }
        out.count(count, 0);
        out.push(columns, count)?;
        Ok(!self.places.is_empty())
    }
}

impl SeriesPortions {
    /// Times of the first and the last float sample.
    fn times(&mut self, place: usize, out: &Output) -> Result<Option<(i64, i64)>, QueryFailure> {
        let selected = &self.selected;
        selected.set.read(selected.index(place), selected.after_ms, selected.until_ms, &mut self.scratch)?;
        out.count(0, self.scratch.len());
        Ok(self.scratch.timestamps_ms.first().copied().zip(self.scratch.timestamps_ms.last().copied()))
    }

    /// What senders told last; nothing is not `unknown`.
    fn type_of(&mut self, labels: &Labels) -> Option<&'static str> {
        let name = labels.metric_name()?;
        if let Some(known) = self.types.get(name) {
            return *known;
        }
        let told = self.metadata.metadata(Some(name), 1, 1);
        let found = told.first().and_then(|(_, entries)| entries.first()).map(|entry| entry.metric_type.name());
        self.types.insert(name.to_owned(), found);
        found
    }
}

fn of_times(times: impl Iterator<Item = Option<i64>>) -> TimestampMillisecondArray {
    times.collect::<TimestampMillisecondArray>().with_timezone("UTC")
}
