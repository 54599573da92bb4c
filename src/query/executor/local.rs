//! Evaluations on the thread that asks.

use super::Shared;
use super::preparing::bounds;
use crate::query::request::{QueryRequest, Window};
use crate::query::results_cache;
use model::matcher::Matcher;
use promql::ast::Expr;
use promql::budget::Budget;
use promql::engine::{Foresight, QueryContext, QueryError};
use promql::explain::Explanation;
use promql::resolution::SourceResolution;
use promql::source::SeriesSource;
use promql::value::QueryResult;

/// When and how to evaluate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evaluation {
    pub(super) window: Window,
    pub(super) lookback_ms: Option<i64>,
    pub(super) source_resolution: SourceResolution,
    pub(super) per_step_stats: bool,
    pub(super) foresight: Foresight,
}

impl Evaluation {
    /// With the engine's habits.
    pub(super) fn of(window: Window) -> Self {
        let source_resolution = SourceResolution::default();
        Self { window, lookback_ms: None, source_resolution, per_step_stats: false, foresight: Foresight::None }
    }

    pub(super) fn asked_by(request: &QueryRequest) -> Self {
        let QueryRequest { window, lookback_ms, source_resolution, per_step_stats, .. } = *request;
        Self { window, lookback_ms, source_resolution, per_step_stats, foresight: Foresight::None }
    }
}

/// Answers queries at once, on the calling thread of the CPU pool, all from one budget.
pub struct LocalQueries<'a> {
    pub(super) shared: &'a Shared,
    /// The source, as far as it is read for these.
    pub(super) session: &'a dyn SeriesSource,
    pub(super) budget: &'a Budget,
    pub(super) threads: Option<&'a rayon::ThreadPool>,
    /// What all of them read from; without it each reads what is stored when it begins.
    pub(super) view: Option<&'a dyn SeriesSource>,
}

impl LocalQueries<'_> {
    /// The value of `expr` at one time, in milliseconds.
    ///
    /// # Errors
    /// The query cannot be evaluated, needs more than the budget, or was stopped.
    pub fn instant(&self, expr: &Expr, at_ms: i64) -> Result<QueryResult, QueryError> {
        self.evaluate(expr, Evaluation::of(Window::Instant(at_ms)))
    }

    /// See [`QueryExecutor::may_select`].
    #[must_use]
    pub fn may_select(&self, matchers: &[Matcher], after_ms: i64) -> bool {
        self.session.series_bound(matchers, after_ms, i64::MAX) > 0
    }

    pub(super) fn explain(&self, expr: &Expr, how: Evaluation) -> Result<Explanation, QueryError> {
        let Evaluation { lookback_ms, source_resolution, .. } = how;
        let context = QueryContext::new(self.session, self.budget);
        let context = QueryContext { lookback_ms, source_resolution, pool: self.threads, ..context };
        self.shared.engine.explain(expr, bounds(how.window), &context)
    }

    pub(super) fn answer_from_cache(
        &self,
        query: &results_cache::Query,
        expr: &Expr,
        how: Evaluation,
    ) -> Result<QueryResult, QueryError> {
        let evaluate = |window| self.evaluate(expr, Evaluation { window, ..how });
        match self.shared.results.get() {
            Some(cache) => cache.answer(query, self.budget, evaluate),
            None => evaluate(query.whole_window()),
        }
    }

    pub(super) fn evaluate(&self, expr: &Expr, how: Evaluation) -> Result<QueryResult, QueryError> {
        let Self { shared, budget, threads, .. } = *self;
        let Evaluation { window, lookback_ms, source_resolution, per_step_stats, foresight } = how;
        // After the cache has asked what changed: what it keeps has seen everything before that.
        let opened = if self.view.is_none() { self.session.view() } else { None };
        let source = opened.as_deref().unwrap_or(self.source());
        let context =
            QueryContext { source, budget, pool: threads, lookback_ms, per_step_stats, foresight, source_resolution };
        let result = match window {
            Window::Instant(at_ms) => shared.engine.instant(expr, at_ms, &context)?,
            Window::Range { start_ms, end_ms, step_ms } => {
                shared.engine.range(expr, start_ms, end_ms, step_ms, &context)?
            }
        };
        shared.metrics.samples.inc_by(result.stats.samples_total);
        shared.metrics.samples_read.inc_by(result.stats.samples_read);
        shared.metrics.series.inc_by(result.stats.series as u64);
        Ok(result)
    }
}
