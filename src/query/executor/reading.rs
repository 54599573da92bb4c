//! Reads of stored samples that are no queries, such as remote read: piece by piece, with a query's place, budget and
//! deadline from the first piece to the last.
//!
//! Between two pieces the reader holds its place but no thread: a client that reads slowly costs a place until its deadline,
//! and nothing else.

mod end;

use super::QueryExecutor;
use super::local::{Evaluation, LocalQueries};
use super::place::{Admitted, CancelOnDrop, Held, Job};
use super::preparing::fetched;
use crate::query::admission::QueryClass;
use crate::query::error::QueryFailure;
use crate::query::request::Window;
use crate::runtime::cpu::JobPanicked;
use end::Unended;
use model::tenant::TenantId;
use promql::ast::Expr;
use promql::budget::Budget;
use promql::engine::QueryError;
use promql::source::{Foreseen, SeriesSource};
use promql::value::QueryResult;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A read that has its place; dropping it stops the pieces that are being read.
pub struct Reading {
    pieces: Pieces,
    unended: Unended,
    _abandon: CancelOnDrop,
}

/// What the parts of one read share; the place is free again when the last clone is dropped. Cheap to clone.
#[derive(Clone)]
pub struct Pieces {
    executor: QueryExecutor,
    budget: Arc<Budget>,
    /// The same from the first piece to the last.
    source: Arc<dyn SeriesSource>,
    held: Arc<Held>,
    deadline: tokio::time::Instant,
}

impl QueryExecutor {
    /// Waits for a place to read. `text` names the read in the list of queries in flight.
    ///
    /// # Errors
    /// No place was free in time, too many wait already, or it was stopped.
    pub async fn open_reading(&self, text: &str, tenant: &TenantId) -> Result<Reading, QueryFailure> {
        self.open_reading_within(text, tenant, Duration::MAX).await
    }

    /// Waits for a place to read that ends after `timeout`, or after that of all queries when it is shorter.
    ///
    /// # Errors
    /// As [`QueryExecutor::open_reading`].
    pub async fn open_reading_within(
        &self,
        text: &str,
        tenant: &TenantId,
        timeout: Duration,
    ) -> Result<Reading, QueryFailure> {
        let budget = self.shared.budget(QueryClass::Interactive);
        let unended = Unended::begin(self, text, tenant, &budget);
        let job = Job { text, tenant, class: QueryClass::Interactive, light: false, started: Instant::now(), budget };
        let Admitted { budget, held, deadline, queue: _, abandon } = self
            .admit(job, timeout.min(self.shared.options.timeout))
            .await
            .inspect_err(|failure| unended.end(Some(failure)))?;
        let session = self.session(&budget);
        let source = match session.view() {
            Some(view) => Arc::from(view),
            None => session,
        };
        let pieces = Pieces { executor: self.clone(), budget, source, held: Arc::new(held), deadline };
        Ok(Reading { pieces, unended, _abandon: abandon })
    }
}

impl Reading {
    /// Notes how the whole read ended; the first end counts. One that is dropped before was given up by its client.
    pub fn end(&self, failure: Option<&QueryFailure>) {
        self.unended.end(failure);
    }

    /// Reads one piece on the CPU pool.
    ///
    /// # Errors
    /// The time of the whole read is over, or the piece panicked. What `work` says is up to it.
    pub async fn piece<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn SeriesSource, &Budget) -> T + Send + 'static,
    ) -> Result<T, QueryFailure> {
        self.pieces.run(move |local| work(local.source(), local.budget)).await
    }

    /// What pieces that are read beside each other share.
    #[must_use]
    pub fn pieces(&self) -> &Pieces {
        &self.pieces
    }
}

impl Pieces {
    /// What the whole read may use, and whether it should stop.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// When its time is over.
    #[must_use]
    pub fn deadline(&self) -> tokio::time::Instant {
        self.deadline
    }

    /// Gets ready what is going to be selected; waits for what is not cached.
    ///
    /// # Errors
    /// The time of the whole read is over.
    pub async fn prepare(&self, selections: Vec<Foreseen>) -> Result<(), QueryFailure> {
        if selections.iter().all(|selection| !self.source.may_wait(selection.after_ms)) {
            return Ok(());
        }
        match self.run(move |local| local.source().prepare(&selections)).await? {
            Some(fetching) => self.within_deadline(fetched(fetching, Arc::clone(&self.held))).await.map(drop),
            None => Ok(()),
        }
    }

    /// The result of a job, unless the time of the whole read ends before.
    async fn within_deadline<T>(&self, job: impl Future<Output = Result<T, JobPanicked>>) -> Result<T, QueryFailure> {
        tokio::select! {
            outcome = job => Ok(outcome?),
            () = tokio::time::sleep_until(self.deadline) => {
                self.budget.expire();
                Err(QueryError::TimedOut.into())
            }
        }
    }

    /// Runs `work` on the CPU pool; it may ask queries from the budget of the read.
    ///
    /// # Errors
    /// The time of the whole read is over, or `work` panicked. What `work` says is up to it.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&LocalQueries<'_>) -> T + Send + 'static,
    ) -> Result<T, QueryFailure> {
        let shared = Arc::clone(&self.executor.shared);
        let (budget, source, held) = (Arc::clone(&self.budget), Arc::clone(&self.source), Arc::clone(&self.held));
        let running = self.executor.shared.pool.run(move |threads| {
            // Released when the work ends, whether or not somebody still waits for it.
            let _held = held;
            let (session, view) = (&*source, Some(&*source));
            work(&LocalQueries { shared: &shared, session, budget: &budget, threads: Some(threads), view })
        });
        self.within_deadline(running).await
    }
}

impl LocalQueries<'_> {
    /// The value of `expr` in `window`.
    ///
    /// # Errors
    /// The query cannot be evaluated, needs more than the budget, or was stopped.
    pub fn over(&self, expr: &Expr, window: Window) -> Result<QueryResult, QueryError> {
        self.evaluate(expr, Evaluation::of(window))
    }

    /// What they read from.
    #[must_use]
    pub fn source(&self) -> &dyn SeriesSource {
        self.view.unwrap_or(self.session)
    }

    /// What all queries of the read may use together.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        self.budget
    }
}
