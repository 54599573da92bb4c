//! Gets ready what a query will select before it is evaluated, so that no thread of the CPU pool waits for the object store.
//!
//! What is cached is looked up where the query is evaluated, which then goes on at once. Only what is not takes a thread that waits.

use super::{Evaluation, QueryExecutor};
use crate::query::request::Window;
use crate::query::results_cache;
use crate::runtime::cpu::JobPanicked;
use promql::ast::Expr;
use promql::budget::Budget;
use promql::engine::{Engine, QueryContext};
use promql::source::{Fetching, Foreseen, SeriesSource};
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
}

impl Preparation {
    /// Finds out what will be selected and gets it ready as far as it is cached; what is returned waits for the rest.
    pub(super) fn begin(self, engine: &Engine, session: &dyn SeriesSource, budget: &Budget) -> Option<Fetching> {
        let Self { expr, windows, how } = self;
        let Evaluation { lookback_ms, source_resolution, .. } = how;
        let context = QueryContext { lookback_ms, source_resolution, ..QueryContext::new(session, budget) };
        let selections = windows.into_iter().flat_map(|window| engine.selections(&expr, bounds(window), &context));
        let foreseen: Vec<Foreseen> = selections.filter(|found| session.may_wait(found.after_ms)).collect();
        session.prepare(&foreseen)
    }
}

/// What became of a job on the CPU pool.
pub(super) enum Stage<T, J> {
    /// It is done.
    Done(T),
    /// Something has to be fetched before the job can be done.
    Lacks(Fetching, J),
}

/// Fetches on a thread that may wait. `kept` is kept until that ends, whether or not somebody still waits for it.
pub(super) async fn fetched<J: Send + 'static>(fetching: Fetching, kept: J) -> Result<J, JobPanicked> {
    let fetch = move || {
        fetching();
        kept
    };
    tokio::task::spawn_blocking(fetch).await.map_err(|error| JobPanicked::new(error.to_string()))
}
