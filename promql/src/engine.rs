//! The engine: expressions in, answers out.
//!
//! Holds what does not change from query to query. Knows no clock: times come with the query, deadlines through the
//! [`Budget`]. Blocks the calling thread until the answer is there; with a pool the work is shared with its threads.

mod run;

use crate::ast::{Expr, ValueType};
use crate::budget::Budget;
use crate::estimate::{Cost, Depth, Estimator, QueryCost};
use crate::eval::exec::{Exec, Samples, Settings, Tally};
use crate::eval::profile::Profile;
use crate::eval::shared::Shared;
use crate::eval::steps::Steps;
use crate::explain::{Explanation, explanation};
use crate::plan::repeats::Repeats;
use crate::plan::walk::{Placed, parts};
use crate::plan::{self, Bounds, Kind, Node};
pub use crate::query_error::{QueryError, QueryErrorKind};
use crate::resolution::SourceResolution;
use crate::source::SeriesSource;
use crate::value::{QueryResult, QueryStats, QueryValue};
use run::Run;

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
        self.run((expr, &plan), steps, context, |run| match &plan.kind {
            Kind::Range(range) => run.range_vector(range, plan.ordinal),
            _ => run.instant(&plan, expr.value_type()),
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
        let costs = estimate(&placed, Depth::Look, self.settings(context), context)?;
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
        let explain = context.foresight == Foresight::Explain;
        let costs = match context.foresight {
            Foresight::None => None,
            // What fits at a glance needs no closer look.
            Foresight::Estimate if estimate(&placed, Depth::Glance, settings, context).is_ok() => None,
            Foresight::Estimate | Foresight::Explain => Some(estimate(&placed, Depth::Look, settings, context)?),
        };
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
                samples_total: exec.tally.total().used,
                samples_per_step: per_step(&exec.tally, |samples| samples.used),
                samples_read: exec.tally.total().fresh,
                samples_read_per_step: per_step(&exec.tally, |samples| samples.fresh),
                samples_peak: context.budget.samples_peak(),
                series: context.budget.series(),
            },
        })
    }
}

/// One of the counts of each step, if they are counted.
fn per_step(tally: &Tally, count: impl Fn(Samples) -> u64) -> Option<Vec<(i64, u64)>> {
    let counted = tally.per_step()?;
    Some(counted.into_iter().map(|(time_ms, samples)| (time_ms, count(samples))).collect())
}

/// What the parts of a plan will cost; refuses what cannot fit.
fn estimate(
    placed: &[Placed<'_>],
    depth: Depth,
    settings: Settings,
    context: &QueryContext<'_>,
) -> Result<(Vec<Cost>, QueryCost), QueryError> {
    let (source, budget, limits) = (context.source, context.budget, context.budget.limits());
    let threads = context.pool.map_or(1, rayon::ThreadPool::current_num_threads);
    let estimator = Estimator { source, budget, settings, limits, depth, threads };
    let (costs, whole) = estimator.costs(placed)?;
    whole.check(limits)?;
    Ok((costs, whole))
}
