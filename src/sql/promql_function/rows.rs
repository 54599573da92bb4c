//! The value of a query, cut into runs of rows of one series.

use super::Shown;
use crate::sql::batch::{BATCH_ROWS, label_maps, text_column, times};
use datafusion::arrow::array::{ArrayRef, Float64Array, StringArray};
use model::histogram::Histogram;
use model::labels::Labels;
use promql::value::{MatrixSeries, QueryValue, SampleValue};
use std::sync::Arc;

/// Rows not shown yet.
pub(super) struct Rows {
    runs: Box<dyn Iterator<Item = Run> + Send>,
}

impl Rows {
    pub(super) fn new(value: QueryValue) -> Self {
        let one = |labels: Labels, at_ms: i64, value: SampleValue| {
            let cell = match value {
                SampleValue::Float(value) => Cell::Float(value),
                SampleValue::Histogram(histogram) => Cell::Histogram(histogram),
            };
            Run { labels, rows: vec![(at_ms, cell)] }
        };
        match value {
            QueryValue::Scalar { timestamp_ms, value } => {
                let run = one(Labels::empty(), timestamp_ms, SampleValue::Float(value));
                Self { runs: Box::new(std::iter::once(run)) }
            }
            QueryValue::String { .. } => Self { runs: Box::new(std::iter::empty()) },
            QueryValue::Vector { timestamp_ms, samples } => {
                let runs = samples.into_iter().map(move |sample| one(sample.labels, timestamp_ms, sample.value));
                Self { runs: Box::new(runs) }
            }
            QueryValue::Matrix(series) => Self { runs: Box::new(series.into_iter().flat_map(runs_of)) },
        }
    }

    /// About a batch of rows; none when nothing is left.
    pub(super) fn next_batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        while batch.rows < BATCH_ROWS {
            let Some(run) = self.runs.next() else { break };
            batch.rows += run.rows.len();
            batch.runs.push(run);
        }
        batch
    }
}

fn runs_of(series: MatrixSeries) -> impl Iterator<Item = Run> {
    let MatrixSeries { labels, timestamps_ms, values, histograms } = series;
    let floats = timestamps_ms.iter().copied().zip(values.into_iter().map(Cell::Float));
    let others = histograms.timestamps_ms.into_iter().zip(histograms.histograms.into_iter().map(Cell::Histogram));
    let mut rows: Vec<(i64, Cell)> = floats.chain(others).collect();
    rows.sort_by_key(|(at, _)| *at);
    let mut rows = rows.into_iter();
    std::iter::from_fn(move || {
        let rows: Vec<_> = rows.by_ref().take(BATCH_ROWS).collect();
        (!rows.is_empty()).then(|| Run { labels: labels.clone(), rows })
    })
}

enum Cell {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// Rows of one series.
struct Run {
    labels: Labels,
    rows: Vec<(i64, Cell)>,
}

/// Rows of several series.
#[derive(Default)]
pub(super) struct Batch {
    runs: Vec<Run>,
    pub(super) rows: usize,
}

impl Batch {
    pub(super) fn column(&self, shown: &Shown) -> ArrayRef {
        let rows = || self.runs.iter().flat_map(|run| &run.rows);
        match shown {
            Shown::Time => times(rows().map(|(at, _)| *at).collect()),
            Shown::Metric => self.texts(Labels::metric_name),
            Shown::Label(name) => self.texts(|labels| labels.get(name)),
            Shown::Labels => label_maps(self.runs.iter().map(|run| (&run.labels, run.rows.len()))),
            Shown::Value => {
                let value = |(_, cell): &(i64, Cell)| match cell {
                    Cell::Float(value) => Some(*value),
                    Cell::Histogram(_) => None,
                };
                Arc::new(rows().map(value).collect::<Float64Array>())
            }
            Shown::Histogram => {
                let value = |(_, cell): &(i64, Cell)| match cell {
                    Cell::Float(_) => None,
                    Cell::Histogram(histogram) => Some(histogram.to_string()),
                };
                Arc::new(rows().map(value).collect::<StringArray>())
            }
        }
    }

    fn texts<'a>(&'a self, of: impl Fn(&'a Labels) -> Option<&'a str>) -> ArrayRef {
        text_column(self.runs.iter().flat_map(|run| std::iter::repeat_n(of(&run.labels), run.rows.len())))
    }
}
