//! Fetches what a query will select before it is evaluated, so that no thread of the CPU pool waits for the object store.

use super::{Evaluation, Held, QueryExecutor};
use crate::query::error::QueryFailure;
use crate::query::request::Window;
use crate::query::results_cache;
use crate::runtime::cpu::JobPanicked;
use promql::ast::Expr;
use promql::budget::Budget;
use promql::engine::{QueryContext, QueryError};
use promql::source::{Foreseen, SeriesSource};
use std::sync::Arc;

/// What will be evaluated.
pub(super) struct Preparation {
    expr: Arc<Expr>,
    windows: Vec<Window>,
    how: Evaluation,
}

/// Start, end and step; a step of 0 means one evaluation.
pub(super) fn bounds(window: Window) -> (i64, i64, i64) {
    match window {
        Window::Instant(at_ms) => (at_ms, at_ms, 0),
        Window::Range { start_ms, end_ms, step_ms } => (start_ms, end_ms, step_ms),
    }
}

impl QueryExecutor {
    /// What is left to evaluate of a query.
    pub(super) fn preparation(
        &self,
        expr: &Arc<Expr>,
        cacheable: Option<&results_cache::Query>,
        how: Evaluation,
    ) -> Preparation {
        let missing = cacheable.and_then(|query| Some(self.shared.results.get()?.missing(query)));
        Preparation { expr: Arc::clone(expr), windows: missing.unwrap_or_else(|| vec![how.window]), how }
    }

    /// The source, read for one query.
    pub(super) fn session(&self, budget: &Arc<Budget>) -> Arc<dyn SeriesSource> {
        match self.shared.source.session(budget) {
            Some(session) => Arc::from(session),
            None => Arc::clone(&self.shared.source),
        }
    }

    /// Finds out what will be selected and has it fetched, on a thread that may wait. The place is held until that ends, whether
    /// or not somebody still waits for it.
    pub(super) async fn prepare(
        &self,
        preparation: Preparation,
        (session, budget): (&Arc<dyn SeriesSource>, &Arc<Budget>),
        held: Held,
        deadline: tokio::time::Instant,
    ) -> Result<Held, QueryFailure> {
        let (shared, session, lent) = (Arc::clone(&self.shared), Arc::clone(session), Arc::clone(budget));
        let fetching = move || {
            let Preparation { expr, windows, how } = preparation;
            let Evaluation { lookback_ms, source_resolution, .. } = how;
            let context = QueryContext { lookback_ms, source_resolution, ..QueryContext::new(&*session, &lent) };
            let selections =
                windows.into_iter().flat_map(|window| shared.engine.selections(&expr, bounds(window), &context));
            let foreseen: Vec<Foreseen> = selections.filter(|found| session.may_wait(found.after_ms)).collect();
            session.prepare(&foreseen);
            held
        };
        waited(fetching, budget, deadline).await
    }
}

/// The result of work that waits for storage, on a thread of its own.
pub(super) async fn waited<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    budget: &Budget,
    deadline: tokio::time::Instant,
) -> Result<T, QueryFailure> {
    tokio::select! {
        outcome = tokio::task::spawn_blocking(work) => {
            Ok(outcome.map_err(|error| JobPanicked::new(error.to_string()))?)
        }
        () = tokio::time::sleep_until(deadline) => {
            budget.expire();
            Err(QueryError::TimedOut.into())
        }
    }
}
