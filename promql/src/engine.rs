//! The engine: expressions in, answers out.
//!
//! Holds what does not change from query to query. Knows no clock: times come with the query, deadlines through the
//! [`Budget`]. Blocks the calling thread until the answer is there; with a pool the work is shared with its threads.

use crate::ast::{Expr, ValueType};
use crate::budget::{Budget, Charge};
use crate::estimate::{Cost, Estimator, QueryCost};
use crate::eval::buckets::Wanted;
use crate::eval::exec::{Counting, Exec, Settings, Tally};
use crate::eval::extended::{self, Extension};
use crate::eval::names::remove_marked;
use crate::eval::profile::Profile;
use crate::eval::range_call::RangeInput;
use crate::eval::remarks::Place;
use crate::eval::row::{histogram_bytes, samples_of};
use crate::eval::select::Selection;
use crate::eval::shared::Shared;
use crate::eval::steps::{LookTimes, Steps};
use crate::eval::vector::{SeriesVector, Vector, announced};
use crate::evaluator::{Evaluator, Scope, Value};
use crate::explain::{Explanation, explanation};
use crate::plan::repeats::Repeats;
use crate::plan::walk::{Placed, parts};
use crate::plan::{self, Bounds, Kind, Node, RangeNode, RangeSource};
pub use crate::query_error::{QueryError, QueryErrorKind};
use crate::resolution::SourceResolution;
use crate::source::SeriesSource;
use crate::value::{MatrixSeries, QueryResult, QueryStats, QueryValue, SampleValue, VectorSample};
use model::histogram::HistogramColumns;
use model::sample::SampleColumns;
use std::sync::Arc;

/// How the engine understands queries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// How old the newest sample of a series may be for an instant selector to return it, in milliseconds.
    pub lookback_ms: i64,
    /// The step of subqueries that name none, in milliseconds; Prometheus uses the global evaluation interval.
    pub subquery_step_ms: i64,
    /// Remove metric names at the end of a query instead of in each operation.
    pub delayed_name_removal: bool,
    /// Judge by the label `__type__`, not by the name, whether a metric is a counter.
    pub type_and_unit_labels: bool,
    /// Let samples that say since when they count tell about counter resets, and `start_timestamp` return what they say.
    pub start_timestamps: bool,
}

impl Default for EngineOptions {
    /// What a Prometheus 3.14 server does without feature flags.
    fn default() -> Self {
        Self {
            lookback_ms: 300_000,
            subquery_step_ms: 60_000,
            delayed_name_removal: false,
            type_and_unit_labels: false,
            start_timestamps: false,
        }
    }
}

/// What one query works with.
#[derive(Clone, Copy)]
pub struct QueryContext<'a> {
    /// Where series come from.
    pub source: &'a dyn SeriesSource,
    /// What it may use, and whether it is to stop.
    pub budget: &'a Budget,
    /// The threads to share the work with; `None` means the calling thread alone. Answers do not depend on it.
    pub pool: Option<&'a rayon::ThreadPool>,
    /// A lookback for this query alone.
    pub lookback_ms: Option<i64>,
    /// Whether to count samples per step.
    pub per_step_stats: bool,
    /// How much to find out before evaluating.
    pub foresight: Foresight,
    /// Whether downsampled data may stand for samples.
    pub source_resolution: SourceResolution,
}

/// How much to find out about a query before it is evaluated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Foresight {
    /// Nothing: it is small.
    #[default]
    None,
    /// Enough to refuse what cannot fit its budget.
    Estimate,
    /// That, and count what each part of the plan takes.
    Explain,
}

impl<'a> QueryContext<'a> {
    /// A context for the calling thread, with the engine's lookback.
    #[must_use]
    pub fn new(source: &'a dyn SeriesSource, budget: &'a Budget) -> Self {
        Self {
            source,
            budget,
            pool: None,
            lookback_ms: None,
            per_step_stats: false,
            foresight: Foresight::None,
            source_resolution: SourceResolution::default(),
        }
    }
}

/// Evaluates queries.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    options: EngineOptions,
}

/// Steps beyond this cannot be numbered; callers have limits far below it.
const STEPS_MAX: usize = 1 << 28;

impl Engine {
    /// An engine with these options.
    #[must_use]
    pub fn new(options: EngineOptions) -> Self {
        Self { options }
    }

    /// The options.
    #[must_use]
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Evaluates `expr` at one time.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn instant(&self, expr: &Expr, at_ms: i64, context: &QueryContext<'_>) -> Result<QueryResult, QueryError> {
        let bounds = Bounds { start_ms: at_ms, end_ms: at_ms, step_ms: 0 };
        let plan = plan::plan(expr, bounds)?;
        let steps = Steps::instant(at_ms);
        self.run((expr, &plan), steps, context, |run| match result_range(&plan) {
            Some(range) => run.range_vector(range),
            None => run.instant(&plan, expr.value_type()),
        })
    }

    /// Evaluates `expr` at `start_ms` and every `step_ms` after it up to `end_ms`.
    ///
    /// # Errors
    /// See [`QueryError`]. Only scalars and instant vectors have a value over a range.
    pub fn range(
        &self,
        expr: &Expr,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        context: &QueryContext<'_>,
    ) -> Result<QueryResult, QueryError> {
        match expr.value_type() {
            ValueType::Scalar | ValueType::Vector => {}
            ValueType::String => return Err(QueryError::RangeQueryType { got: "string" }),
            ValueType::Matrix => return Err(QueryError::RangeQueryType { got: "range vector" }),
        }
        if step_ms <= 0 {
            return Err(QueryError::BadRange("zero or negative query resolution step widths are not accepted"));
        }
        if end_ms < start_ms {
            return Err(QueryError::BadRange("end timestamp must not be before start time"));
        }
        let steps = Steps::range(start_ms, end_ms, step_ms);
        if steps.count > STEPS_MAX {
            return Err(QueryError::BadRange("exceeded maximum resolution per timeseries"));
        }
        let plan = plan::plan(expr, Bounds { start_ms, end_ms, step_ms })?;
        self.run((expr, &plan), steps, context, |run| run.range(&plan))
    }

    /// The plan of `expr` from `start_ms` to `end_ms` and what it will cost, without evaluating it; a step of 0 means one
    /// evaluation at `start_ms`.
    ///
    /// # Errors
    /// See [`QueryError`]; also when the query is sure not to fit its budget.
    pub fn explain(
        &self,
        expr: &Expr,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
        context: &QueryContext<'_>,
    ) -> Result<Explanation, QueryError> {
        let steps = if step_ms == 0 { Steps::instant(start_ms) } else { Steps::range(start_ms, end_ms, step_ms) };
        let plan = plan::plan(expr, Bounds { start_ms, end_ms, step_ms })?;
        let placed = parts(&plan, steps, self.options.subquery_step_ms);
        let costs = estimate(&placed, self.settings(context), context)?;
        let repeats = Repeats::find(&placed);
        Ok(explanation(&placed, costs, None, |ordinal| repeats.is_shared(ordinal)))
    }

    fn settings(&self, context: &QueryContext<'_>) -> Settings {
        Settings {
            lookback_ms: context.lookback_ms.unwrap_or(self.options.lookback_ms),
            subquery_step_ms: self.options.subquery_step_ms,
            delayed_name_removal: self.options.delayed_name_removal,
            type_and_unit_labels: self.options.type_and_unit_labels,
            start_timestamps: self.options.start_timestamps,
            source_resolution: context.source_resolution,
        }
    }

    fn run<'a>(
        &self,
        (expr, plan): (&Expr, &Node),
        steps: Steps,
        context: &QueryContext<'a>,
        answer: impl FnOnce(&Run<'_, 'a>) -> Result<QueryValue, QueryError>,
    ) -> Result<QueryResult, QueryError> {
        context.budget.check()?;
        let settings = self.settings(context);
        let foresees = context.foresight != Foresight::None;
        let placed = if foresees || Repeats::are_possible(expr) {
            parts(plan, steps, settings.subquery_step_ms)
        } else {
            Vec::new()
        };
        let costs = if foresees { Some(estimate(&placed, settings, context)?) } else { None };
        let explain = context.foresight == Foresight::Explain;
        let profile = explain.then(|| Profile::new(placed.iter().map(|placed| placed.part.ordinal())));
        let tally = Tally::new(steps, context.per_step_stats);
        let shared = Shared::new(Repeats::find(&placed));
        let exec = Exec::new(context.source, context.budget, settings, context.pool, tally, shared, profile);
        let value = answer(&Run { exec: &exec, steps })?;
        Ok(QueryResult {
            explanation: costs
                .filter(|_| explain)
                .map(|costs| explanation(&placed, costs, exec.profile(), |ordinal| exec.shared.was_spared(ordinal))),
            value,
            annotations: exec.take_annotations(),
            stats: QueryStats {
                samples_total: exec.tally.total(),
                samples_per_step: exec.tally.per_step(),
                samples_peak: context.budget.samples_peak(),
                series: context.budget.series(),
            },
        })
    }
}

/// What the parts of a plan will cost; refuses what cannot fit.
fn estimate(
    placed: &[Placed<'_>],
    settings: Settings,
    context: &QueryContext<'_>,
) -> Result<(Vec<Cost>, QueryCost), QueryError> {
    let limits = context.budget.limits();
    let estimator = Estimator { source: context.source, settings, series_max: limits.series_max };
    let (costs, whole) = estimator.costs(placed)?;
    whole.check(limits)?;
    Ok((costs, whole))
}

/// The range vector that is the result of a plan, if it is one.
fn result_range(plan: &Node) -> Option<&RangeNode> {
    match &plan.kind {
        Kind::Range(range) => Some(range),
        Kind::Invariant(inner) => result_range(inner),
        _ => None,
    }
}

/// One query being answered.
struct Run<'e, 'q> {
    exec: &'e Exec<'q>,
    steps: Steps,
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

    fn instant(&self, plan: &Node, value_type: ValueType) -> Result<QueryValue, QueryError> {
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
                charge.add(count, labels.packed_len() + size_of::<VectorSample>() + bytes)?;
                samples.push(VectorSample { labels, value });
            }
            worker.give_row(row);
            Ok((samples, charge))
        })?;
        Ok(chunks.into_iter().flat_map(|(samples, _)| samples).collect())
    }

    fn range(&self, plan: &Node) -> Result<QueryValue, QueryError> {
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
        let least = (1 << 14) / self.steps.count.max(1);
        let chunks = self.exec.map_chunks(vector.len(), least, |range, worker| {
            let mut charge = Charge::none(self.exec.budget);
            let mut series = Vec::new();
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
                let bytes = labels.packed_len() + size_of::<MatrixSeries>() + count * bytes_per_sample + held;
                charge.add(samples, bytes)?;
                let (timestamps_ms, values) = if full {
                    (Arc::clone(all_steps), row.values().to_vec())
                } else {
                    let (steps, values): (Vec<usize>, Vec<f64>) = row.iter().unzip();
                    (steps.into_iter().map(|step| all_steps[step]).collect(), values)
                };
                series.push(MatrixSeries { labels, timestamps_ms, values, histograms });
            }
            worker.give_row(row);
            Ok((series, charge))
        })?;
        // Charges are released together: while the answer is put together all of it is held.
        let (series, charges): (Vec<Vec<MatrixSeries>>, Vec<Charge<'_>>) = chunks.into_iter().unzip();
        drop(charges);
        Ok(series.into_iter().flatten().collect())
    }

    /// A range vector as the result of an instant query: its samples as they are stored or evaluated.
    fn range_vector(&self, range: &RangeNode) -> Result<QueryValue, QueryError> {
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
                    None => return Ok(QueryValue::Matrix(Vec::new())),
                }
            }
        };
        let mut series = self.stored_samples(&input, extension, start_ms, end_ms)?;
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(QueryValue::Matrix(series))
    }

    fn stored_samples(
        &self,
        input: &RangeInput<'q>,
        extension: Option<Extension>,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<MatrixSeries>, QueryError> {
        let (before, after) = extension.map_or((0, 0), |extension| extension.margins(self.exec.settings.lookback_ms));
        let is_stored = matches!(input, RangeInput::Stored(_));
        let chunks = self.exec.map_chunks(input.len(), 64, |range, worker| {
            let mut charge = Charge::none(self.exec.budget);
            let mut series = Vec::new();
            let mut columns = SampleColumns::default();
            for index in range {
                let (from, until) = (start_ms.saturating_sub(before), end_ms.saturating_add(after));
                let loaded = input.load(index, (from, until), false, worker, &mut columns)?;
                let histograms = loaded.extras.map(|extras| extras.histograms).unwrap_or_default();
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
                let held = histograms.histograms.iter().map(|histogram| samples_of(histogram)).sum::<usize>();
                if is_stored {
                    let count = (columns.len() + held) as u64;
                    self.exec.tally.add(Counting::LastStep, count, 1, |_| count);
                }
                let labels = input.labels(index);
                let bytes = labels.packed_len() + columns.len() * size_of::<(i64, f64)>() + held * 16;
                charge.add(columns.len() + held, bytes)?;
                let timestamps_ms = columns.timestamps_ms.as_slice().into();
                series.push(MatrixSeries { labels, timestamps_ms, values: columns.values.clone(), histograms });
            }
            Ok((series, charge))
        })?;
        Ok(chunks.into_iter().flat_map(|(series, _)| series).collect())
    }
}
