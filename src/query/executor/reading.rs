//! Reads of stored samples that are no queries, such as remote read: piece by piece, with a query's place, budget and
//! deadline from the first piece to the last.
//!
//! Between two pieces the reader holds its place but no thread: a client that reads slowly costs a place until its deadline,
//! and nothing else.

use super::{Admitted, CancelOnDrop, Held, Job, QueryExecutor};
use crate::query::admission::QueryClass;
use crate::query::error::QueryFailure;
use model::tenant::TenantId;
use promql::budget::Budget;
use promql::engine::QueryError;
use promql::source::SeriesSource;
use std::sync::Arc;
use std::time::Instant;

/// A read that has its place; dropping it gives the place back and stops the piece that is being read.
pub struct Reading {
    executor: QueryExecutor,
    budget: Arc<Budget>,
    /// The same from the first piece to the last.
    source: Arc<dyn SeriesSource>,
    held: Arc<Held>,
    deadline: tokio::time::Instant,
    _abandon: CancelOnDrop,
}

impl QueryExecutor {
    /// Waits for a place to read. `text` names the read in the list of queries in flight.
    ///
    /// # Errors
    /// No place was free in time, too many wait already, or it was stopped.
    pub async fn open_reading(&self, text: &str, tenant: &TenantId) -> Result<Reading, QueryFailure> {
        let budget = self.shared.budget();
        let job = Job { text, tenant, class: QueryClass::Interactive, started: Instant::now(), budget };
        let Admitted { budget, held, deadline, queue: _, abandon } = self
            .admit(job, self.shared.options.timeout)
            .await
            .inspect_err(|failure| self.count_reading(Some(failure)))?;
        let source = match self.shared.source.view() {
            Some(view) => Arc::from(view),
            None => Arc::clone(&self.shared.source),
        };
        Ok(Reading { executor: self.clone(), budget, source, held: Arc::new(held), deadline, _abandon: abandon })
    }

    /// Counts a read that ended.
    pub fn count_reading(&self, failure: Option<&QueryFailure>) {
        self.shared.metrics.count(QueryClass::Interactive, failure.map(QueryFailure::kind));
    }
}

impl Reading {
    /// Reads one piece on the CPU pool.
    ///
    /// # Errors
    /// The time of the whole read is over, or the piece panicked. What `work` says is up to it.
    pub async fn piece<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn SeriesSource, &Budget) -> T + Send + 'static,
    ) -> Result<T, QueryFailure> {
        let shared = &self.executor.shared;
        let (budget, source, held) = (Arc::clone(&self.budget), Arc::clone(&self.source), Arc::clone(&self.held));
        let running = shared.pool.run(move |_| {
            // Released when the work ends, whether or not somebody still waits for it.
            let _held = held;
            work(&*source, &budget)
        });
        tokio::select! {
            outcome = running => Ok(outcome?),
            () = tokio::time::sleep_until(self.deadline) => {
                self.budget.expire();
                Err(QueryError::TimedOut.into())
            }
        }
    }
}
