//! Turns an evaluated plan into an answer: series by series, on all threads, in order.

use crate::ast::ValueType;
use crate::budget::Charge;
use crate::eval::buckets::Wanted;
use crate::eval::exec::{Counting, Exec, Samples};
use crate::eval::extended::{self, Extension};
use crate::eval::names::remove_marked;
use crate::eval::profile::Reading;
use crate::eval::range_call::RangeInput;
use crate::eval::remarks::Place;
use crate::eval::row::{Row, histogram_bytes, samples_of};
use crate::eval::select::Selection;
use crate::eval::steps::{LookTimes, Steps};
use crate::eval::vector::{SeriesVector, Vector, announced};
use crate::evaluator::{Evaluator, Scope, Value};
use crate::plan::{Node, RangeNode, RangeSource};
use crate::query_error::QueryError;
use crate::value::{MatrixSeries, QueryValue, SampleValue, VectorSample};
use model::histogram::HistogramColumns;
use model::sample::SampleColumns;
use std::sync::Arc;
use std::time::Instant;

/// One query being answered.
pub(super) struct Run<'e, 'q> {
    pub(super) exec: &'e Exec<'q>,
    pub(super) steps: Steps,
}

impl<'q> Run<'_, 'q> {
    fn evaluate(&self, plan: &Node) -> Result<Value<'q>, QueryError> {
        let scope = Scope { steps: self.steps, counting: Counting::PerStep };
        match (Evaluator { exec: self.exec }).evaluate(plan, scope)? {
            Value::Vector(vector) => self.named(vector).map(Value::Vector),
            other => Ok(other),
        }
    }

    /// Names as the user sees them.
    fn named(&self, vector: Vector<'q>) -> Result<Vector<'q>, QueryError> {
        if self.exec.settings.delayed_name_removal {
            return remove_marked(vector, self.steps.count, self.exec);
        }
        Ok(vector)
    }

    pub(super) fn instant(&self, plan: &Node, value_type: ValueType) -> Result<QueryValue, QueryError> {
        let timestamp_ms = self.steps.start_ms;
        debug_assert!(value_type != ValueType::Matrix, "range vectors are answered elsewhere");
        Ok(match self.evaluate(plan)? {
            Value::Scalar(scalar) => QueryValue::Scalar { timestamp_ms, value: scalar.at(0) },
            Value::Text(value) => QueryValue::String { timestamp_ms, value },
            Value::Vector(vector) => QueryValue::Vector { timestamp_ms, samples: self.samples(vector.as_ref())? },
        })
    }

    fn samples(&self, vector: &dyn SeriesVector) -> Result<Vec<VectorSample>, QueryError> {
        let chunks = self.exec.map_chunks(vector.len(), 1024, |range, worker| {
            let mut charge = Charge::none(self.exec.budget);
            let mut samples = Vec::new();
            let mut row = worker.take_row();
            for index in announced(vector, range) {
                vector.row(index, worker, &mut row)?;
                let (value, count, bytes) = match (row.get(0), row.histogram(0)) {
                    (Some(value), _) => (SampleValue::Float(value), 1, 0),
                    (None, Some(histogram)) => {
                        let (count, bytes) = (samples_of(histogram), histogram_bytes(histogram));
                        (SampleValue::Histogram(Arc::clone(histogram)), count, bytes)
                    }
                    (None, None) => continue,
                };
                let labels = vector.labels(index);
                charge.add(count, labels.held_bytes() + size_of::<SampleValue>() + bytes)?;
                samples.push(VectorSample { labels, value });
            }
            worker.give_row(row);
            Ok((samples, charge))
        })?;
        Ok(joined(chunks))
    }

    pub(super) fn range(&self, plan: &Node) -> Result<QueryValue, QueryError> {
        let all_steps: Arc<[i64]> = (0..self.steps.count).map(|step| self.steps.time(step)).collect();
        let mut series = match self.evaluate(plan)? {
            Value::Scalar(scalar) => vec![MatrixSeries {
                labels: model::labels::Labels::empty(),
                values: scalar.values(self.steps.count).collect(),
                timestamps_ms: all_steps,
                histograms: HistogramColumns::default(),
            }],
            Value::Text(_) => return Err(QueryError::RangeQueryType { got: "string" }),
            Value::Vector(vector) => self.series(vector.as_ref(), &all_steps)?,
        };
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(QueryValue::Matrix(series))
    }

    fn series(&self, vector: &dyn SeriesVector, all_steps: &Arc<[i64]>) -> Result<Vec<MatrixSeries>, QueryError> {
        let chunks = self.exec.map_rows(vector.len(), self.steps.count, |range, worker| {
            let mut charge = Charge::none(self.exec.budget);
            let mut series = Vec::with_capacity(range.len().min(SERIES_AT_FIRST));
            let mut gappy = GappyTimes::default();
            let mut row = worker.take_row();
            for index in announced(vector, range) {
                vector.row(index, worker, &mut row)?;
                if row.is_empty() {
                    continue;
                }
                let labels = vector.labels(index);
                let count = row.count();
                let full = row.is_full();
                let bytes_per_sample = if full { size_of::<f64>() } else { size_of::<(i64, f64)>() };
                let mut histograms = HistogramColumns::default();
                for (step, histogram) in row.histograms() {
                    histograms.push(all_steps[step], Arc::clone(histogram));
                }
                let (samples, held) = if row.has_histograms() { row.samples() } else { (count, 0) };
                let bytes = labels.held_bytes() + size_of::<MatrixSeries>() + count * bytes_per_sample + held;
                charge.add(samples, bytes)?;
                let (timestamps_ms, values) = if full {
                    (Arc::clone(all_steps), row.values().to_vec())
                } else {
                    let mut values = Vec::with_capacity(count);
                    values.extend(row.iter().map(|(_, value)| value));
                    (gappy.times(&row, all_steps), values)
                };
                series.push(MatrixSeries { labels, timestamps_ms, values, histograms });
            }
            worker.give_row(row);
            Ok((series, charge))
        })?;
        Ok(joined(chunks))
    }

    /// A range vector as the result of an instant query: its samples as they are stored or evaluated. `ordinal` is that of
    /// the part that it is.
    pub(super) fn range_vector(&self, range: &RangeNode, ordinal: u32) -> Result<QueryValue, QueryError> {
        let started = Instant::now();
        let mut series = self.range_samples(range)?;
        if let Some(counters) = self.exec.profiled(ordinal) {
            let samples: usize =
                series.iter().map(|series| series.values.len() + series.histograms.histograms.len()).sum();
            counters.count(series.len() as u64, samples as u64);
            counters.add_time(started.elapsed());
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(QueryValue::Matrix(series))
    }

    fn range_samples(&self, range: &RangeNode) -> Result<Vec<MatrixSeries>, QueryError> {
        let look = LookTimes::new(&self.steps, range.when().at_ms, range.when().offset_ms);
        let end_ms = look.first();
        let start_ms = end_ms.saturating_sub(range.range_ms);
        let evaluator = Evaluator { exec: self.exec };
        let (input, extension) = match &range.source {
            RangeSource::Subquery { .. } => {
                let input = match evaluator.subquery(range, &look, Counting::LastStep)? {
                    RangeInput::Subquery { vector, steps } if self.exec.settings.delayed_name_removal => {
                        RangeInput::Subquery { vector: remove_marked(vector, steps.count, self.exec)?, steps }
                    }
                    input => input,
                };
                (input, None)
            }
            RangeSource::Selector(selector) => {
                let (before, after) =
                    selector.extension.map_or((0, 0), |extension| extension.margins(self.exec.settings.lookback_ms));
                let span = (start_ms.saturating_sub(before), end_ms.saturating_add(after));
                let place = Place { ordinal: range.ordinal, span: range.span };
                let wanted = Wanted::samples(&self.exec.settings, place);
                match Selection::of(&selector.matchers, span, &wanted, self.exec)? {
                    Some(selection) => {
                        (RangeInput::Stored(selection.with_stats_only(selector.stats_only)), selector.extension)
                    }
                    None => return Ok(Vec::new()),
                }
            }
        };
        self.samples_of(&input, extension, (start_ms, end_ms), range.ordinal)
    }

    fn samples_of(
        &self,
        input: &RangeInput<'q>,
        extension: Option<Extension>,
        (start_ms, end_ms): (i64, i64),
        ordinal: u32,
    ) -> Result<Vec<MatrixSeries>, QueryError> {
        let (before, after) = extension.map_or((0, 0), |extension| extension.margins(self.exec.settings.lookback_ms));
        let is_stored = matches!(input, RangeInput::Stored(_));
        let chunks = self.exec.map_chunks(input.len(), 64, |range, worker| {
            let mut charge = Charge::none(self.exec.budget);
            let mut series = Vec::new();
            let mut columns = SampleColumns::default();
            for index in range {
                let (from, until) = (start_ms.saturating_sub(before), end_ms.saturating_add(after));
                let reading = Reading::begin(worker.exec, ordinal);
                let loaded = input.load(index, (from, until), false, worker, &mut columns)?;
                let histograms = loaded.extras.map(|extras| extras.histograms).unwrap_or_default();
                let held: usize = histograms.histograms.iter().map(|histogram| samples_of(histogram)).sum();
                reading.end(columns.len() + histograms.len(), columns.len() + held);
                if let (Some(extension), false) = (extension, histograms.is_empty()) {
                    return Err(QueryError::HistogramModifier { modifier: extension.as_str() });
                }
                if let Some(extension) = extension {
                    let mut bounded = SampleColumns::default();
                    extended::bounded_samples(extension, &columns, start_ms, end_ms, &mut bounded);
                    std::mem::swap(&mut columns, &mut bounded);
                }
                if columns.is_empty() && histograms.is_empty() {
                    continue;
                }
                if is_stored {
                    let count = (columns.len() + held) as u64;
                    let count = Samples::once(count);
                    worker.count(Counting::LastStep, count, 1, |_| count);
                }
                let labels = input.labels(index);
                let bytes = labels.held_bytes()
                    + size_of::<MatrixSeries>()
                    + columns.len() * size_of::<(i64, f64)>()
                    + held * 16;
                charge.add(columns.len() + held, bytes)?;
                let timestamps_ms = columns.timestamps_ms.as_slice().into();
                series.push(MatrixSeries { labels, timestamps_ms, values: columns.values.clone(), histograms });
            }
            Ok((series, charge))
        })?;
        Ok(joined(chunks))
    }
}

/// Room that is made at once for the series of a chunk of an answer; more where they have values indeed.
const SERIES_AT_FIRST: usize = 128;

/// All parts of an answer in one list, which is as long as they are. Their charges are released together at the end: while
/// the answer is put together all of it is held.
fn joined<T>(parts: Vec<(Vec<T>, Charge<'_>)>) -> Vec<T> {
    let mut whole = Vec::with_capacity(parts.iter().map(|(part, _)| part.len()).sum());
    let mut charges = Vec::with_capacity(parts.len());
    for (part, charge) in parts {
        whole.extend(part);
        charges.push(charge);
    }
    whole
}

/// The timestamps of the latest series with gaps: the next one often has the same gaps, as when a target was away.
#[derive(Default)]
struct GappyTimes {
    present: Vec<u64>,
    times: Arc<[i64]>,
}

impl GappyTimes {
    fn times(&mut self, row: &Row, all_steps: &[i64]) -> Arc<[i64]> {
        if self.present != row.present() {
            self.present.clear();
            self.present.extend_from_slice(row.present());
            self.times = row.iter().map(|(step, _)| all_steps[step]).collect();
        }
        Arc::clone(&self.times)
    }
}
