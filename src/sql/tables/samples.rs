//! Float samples: the table of one metric, with a column per label, and the table of all, with a map.
//!
//! Stale markers say that a series ended; they are no values. They are shown, as NULL, only if the request includes them.

use super::selected::{Needed, SelectedSeries};
use super::{Scan, ScanRequest, Table};
use crate::query::error::QueryFailure;
use crate::query::executor::LocalQueries;
use crate::sql::batch::{BATCH_ROWS, label_maps, label_type, labels_type, schema, times};
use crate::sql::pushdown::{Role, Selector};
use crate::sql::scan::{Output, Portions, ScanSource};
use crate::sql::scope::{Bounds, Scope};
use datafusion::arrow::array::{ArrayRef, Float64Array, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use model::labels::{Labels, METRIC_NAME};
use model::matcher::Matcher;
use model::sample::{SampleColumns, is_stale_marker};
use promql::source::PREFETCH_SERIES;
use std::ops::Range;
use std::sync::Arc;

/// What a column shows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shown {
    Time,
    Value,
    /// One label; the name of the metric is one.
    Label(String),
    Labels,
    Fingerprint,
}

/// The samples of one metric.
#[derive(Debug, Clone)]
pub(in crate::sql) struct MetricTable {
    metric: String,
    columns: Arc<[Shown]>,
    schema: SchemaRef,
    include_stale: bool,
}

impl MetricTable {
    /// `labels` are the names of the labels that its series have.
    pub(in crate::sql) fn new(metric: &str, labels: &[String], include_stale: bool) -> Self {
        let labels: Vec<&str> = labels.iter().map(String::as_str).filter(|name| *name != METRIC_NAME).collect();
        let names = label_column_names(&labels, &["time", "value", "fingerprint"]);
        let mut columns = vec![Shown::Time, Shown::Value];
        let mut fields = vec![
            Field::new("time", crate::sql::batch::time_type(), false),
            Field::new("value", DataType::Float64, include_stale),
        ];
        for (label, name) in labels.iter().zip(names) {
            columns.push(Shown::Label((*label).to_owned()));
            fields.push(Field::new(name, label_type(), true));
        }
        columns.push(Shown::Fingerprint);
        fields.push(Field::new("fingerprint", DataType::UInt64, false));
        let (metric, schema) = (metric.to_owned(), Arc::new(Schema::new(fields)));
        Self { metric, columns: columns.into(), schema, include_stale }
    }
}

/// Names of columns for labels: their own, unless a column of the table has it already.
pub(in crate::sql) fn label_column_names(labels: &[&str], taken: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(labels.len());
    for label in labels {
        let mut name = (*label).to_owned();
        while taken.contains(&name.as_str()) || (name != *label && labels.contains(&name.as_str())) {
            name.insert_str(0, "label_");
        }
        names.push(name);
    }
    names
}

impl Table for MetricTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn role(&self, column: &str) -> Role {
        let index = self.schema.index_of(column).ok();
        match index.and_then(|index| self.columns.get(index)) {
            Some(Shown::Time) => Role::Time,
            Some(Shown::Label(name)) => Role::Label(name.clone()),
            _ => Role::Other,
        }
    }

    fn selector(&self) -> Selector {
        Selector { matchers: vec![Matcher::equal(METRIC_NAME, &self.metric)], bounds: Bounds::default() }
    }

    fn open(&self, request: ScanRequest, local: &LocalQueries<'_>, scope: &Scope) -> Result<Scan, QueryFailure> {
        open(&self.columns, self.include_stale, request, local, scope)
    }
}

/// The samples of all metrics.
#[derive(Debug, Clone)]
pub(super) struct AllSamples {
    pub(super) include_stale: bool,
}

impl AllSamples {
    fn columns() -> [Shown; 5] {
        [Shown::Time, Shown::Label(METRIC_NAME.into()), Shown::Value, Shown::Labels, Shown::Fingerprint]
    }
}

impl Table for AllSamples {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("time", crate::sql::batch::time_type(), false),
            ("metric", label_type(), true),
            ("value", DataType::Float64, self.include_stale),
            ("labels", labels_type(), false),
            ("fingerprint", DataType::UInt64, false),
        ])
    }

    fn open(&self, request: ScanRequest, local: &LocalQueries<'_>, scope: &Scope) -> Result<Scan, QueryFailure> {
        open(&Self::columns(), self.include_stale, request, local, scope)
    }
}

fn open(
    columns: &[Shown],
    include_stale: bool,
    request: ScanRequest,
    local: &LocalQueries<'_>,
    scope: &Scope,
) -> Result<Scan, QueryFailure> {
    let shown: Vec<Shown> = request.columns.iter().filter_map(|column| columns.get(*column).cloned()).collect();
    let labels = shown.iter().filter_map(|column| match column {
        Shown::Label(name) => Some(name.clone()),
        _ => None,
    });
    let needed = Needed { labels: labels.collect(), fingerprint: shown.contains(&Shown::Fingerprint) };
    let selected = SelectedSeries::select(&request.selector, &needed, local, scope)?;
    let orderings = orderings(&shown, &selected);
    let partitions = request.partitions.min(selected.order.len()).max(1);
    let source = SampleScan { selected: Arc::new(selected), shown: shown.into(), include_stale, partitions };
    Ok(Scan { source: Arc::new(source), orderings })
}

/// By fingerprint and time when the fingerprint is shown, else by the labels that are shown and, if they tell the series
/// apart, time.
fn orderings(shown: &[Shown], selected: &SelectedSeries) -> Vec<Vec<usize>> {
    let places = |wanted: fn(&Shown) -> bool| (0..shown.len()).filter(move |i| wanted(&shown[*i]));
    let mut ordering: Vec<usize> = places(|column| *column == Shown::Fingerprint).collect();
    if ordering.is_empty() {
        ordering.extend(places(|column| matches!(column, Shown::Label(_))));
        if !selected.distinct {
            return vec![ordering];
        }
    }
    ordering.extend(places(|column| *column == Shown::Time));
    vec![ordering]
}

struct SampleScan {
    selected: Arc<SelectedSeries>,
    shown: Arc<[Shown]>,
    include_stale: bool,
    partitions: usize,
}

impl ScanSource for SampleScan {
    fn partitions(&self) -> usize {
        self.partitions
    }

    fn open(&self, partition: usize) -> Box<dyn Portions> {
        let places = self.selected.part(partition, self.partitions);
        let shown = Arc::clone(&self.shown);
        Box::new(SamplePortions {
            wants_time: shown.contains(&Shown::Time),
            wants_value: shown.contains(&Shown::Value),
            wants_labels: shown.contains(&Shown::Labels),
            selected: Arc::clone(&self.selected),
            shown,
            include_stale: self.include_stale,
            places,
            announced: 0,
            scratch: SampleColumns::default(),
            scratch_from: 0,
            scratch_place: 0,
            pending: Pending::default(),
        })
    }

    fn describe(&self) -> String {
        self.selected.describe()
    }
}

/// One part of the series on its way.
struct SamplePortions {
    selected: Arc<SelectedSeries>,
    shown: Arc<[Shown]>,
    include_stale: bool,
    wants_time: bool,
    wants_value: bool,
    wants_labels: bool,
    /// Series not read yet.
    places: Range<usize>,
    /// Series before this place have been announced.
    announced: usize,
    /// The samples of the series being shown, and how many of them have been.
    scratch: SampleColumns,
    scratch_from: usize,
    scratch_place: usize,
    pending: Pending,
}

/// The rows of the next batch.
#[derive(Default)]
struct Pending {
    times: Vec<i64>,
    values: Vec<f64>,
    rows: usize,
    /// Places of series and how many rows each has.
    runs: Vec<(usize, usize)>,
}

impl Portions for SamplePortions {
    fn next(&mut self, local: &LocalQueries<'_>, rows_max: usize, out: &mut Output) -> Result<bool, QueryFailure> {
        // A map repeats its texts in every row.
        let rows_max = if self.wants_labels { rows_max.min(BATCH_ROWS) } else { rows_max };
        while out.rows() < rows_max {
            local.budget().check()?;
            if self.scratch_from == self.scratch.len() && !self.read_series(out)? {
                self.flush(out)?;
                return Ok(false);
            }
            let wanted = BATCH_ROWS.min(rows_max - out.rows());
            self.take(wanted);
            if self.pending.rows >= wanted {
                self.flush(out)?;
            }
        }
        Ok(true)
    }
}

impl SamplePortions {
    /// Reads the next series; `false` when none is left.
    fn read_series(&mut self, out: &Output) -> Result<bool, QueryFailure> {
        let Some(place) = self.places.next() else { return Ok(false) };
        let selected = &self.selected;
        if place >= self.announced {
            let end = (place + PREFETCH_SERIES).min(self.places.end);
            selected.set.prefetch(selected.order.get(place..end).unwrap_or_default());
            self.announced = end;
        }
        selected.set.read(selected.index(place), selected.after_ms, selected.until_ms, &mut self.scratch)?;
        out.count(1, self.scratch.len());
        if !self.include_stale {
            remove_stale(&mut self.scratch);
        }
        (self.scratch_from, self.scratch_place) = (0, place);
        Ok(true)
    }

    /// Moves samples to the next batch until it has `wanted` rows.
    fn take(&mut self, wanted: usize) {
        let from = self.scratch_from;
        let count = (self.scratch.len() - from).min(wanted.saturating_sub(self.pending.rows));
        if count == 0 {
            return;
        }
        let taken = from..from + count;
        if self.wants_time {
            self.pending.times.extend_from_slice(self.scratch.timestamps_ms.get(taken.clone()).unwrap_or_default());
        }
        if self.wants_value {
            self.pending.values.extend_from_slice(self.scratch.values.get(taken).unwrap_or_default());
        }
        self.pending.rows += count;
        self.pending.runs.push((self.scratch_place, count));
        self.scratch_from += count;
    }

    /// Makes a batch of the pending rows.
    fn flush(&mut self, out: &mut Output) -> Result<(), QueryFailure> {
        let next = Pending {
            times: Vec::with_capacity(BATCH_ROWS * usize::from(self.wants_time)),
            values: Vec::with_capacity(BATCH_ROWS * usize::from(self.wants_value)),
            ..Pending::default()
        };
        let Pending { times: at, values, rows, runs } = std::mem::replace(&mut self.pending, next);
        let (mut at, mut values) = (Some(at), Some(values));
        let sets: Vec<(Labels, usize)> = match self.wants_labels {
            true => runs.iter().map(|(place, count)| (self.selected.labels_at(*place), *count)).collect(),
            false => Vec::new(),
        };
        let mut numbered = self.selected.labels.iter();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.shown.len());
        for column in &*self.shown {
            columns.push(match column {
                Shown::Time => times(at.take().unwrap_or_default()),
                Shown::Value => values_or_null(values.take().unwrap_or_default()),
                Shown::Label(_) => {
                    let Some((dictionary, numbers)) = numbered.next() else { continue };
                    dictionary.column(runs.iter().map(|(place, count)| (numbers[*place], *count)), rows)
                }
                Shown::Labels => label_maps(sets.iter().map(|(labels, count)| (labels, *count))),
                Shown::Fingerprint => {
                    let of_run = |(place, count): &(usize, usize)| {
                        std::iter::repeat_n(self.selected.fingerprints.get(*place).copied().unwrap_or_default(), *count)
                    };
                    Arc::new(runs.iter().flat_map(of_run).collect::<UInt64Array>())
                }
            });
        }
        out.push(columns, rows)
    }
}

/// A column of values, NULL in the place of stale markers.
fn values_or_null(values: Vec<f64>) -> ArrayRef {
    match values.iter().any(|value| is_stale_marker(*value)) {
        true => Arc::new(
            values
                .into_iter()
                .map(|value| Some(value).filter(|value| !is_stale_marker(*value)))
                .collect::<Float64Array>(),
        ),
        false => Arc::new(Float64Array::from(values)),
    }
}

fn remove_stale(columns: &mut SampleColumns) {
    if !columns.values.iter().any(|value| is_stale_marker(*value)) {
        return;
    }
    let kept = columns.timestamps_ms.iter().zip(&columns.values).filter(|(_, value)| !is_stale_marker(**value));
    let (timestamps_ms, values) = kept.map(|(at, value)| (*at, *value)).unzip();
    *columns = SampleColumns { timestamps_ms, values };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_collide_with_columns_get_another_name() {
        let names = label_column_names(&["job", "time", "value", "label_value"], &["time", "value", "fingerprint"]);
        assert_eq!(names, ["job", "label_time", "label_label_value", "label_value"]);
    }
}
