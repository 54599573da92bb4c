//! How a read ended: counted once, and written to the log when it took long.
//!
//! An answer is read while it is sent, so it ends with its last piece, with a failure, or with the client that went away:
//! then what is dropped with it tells.

use super::super::QueryExecutor;
use super::super::slow::cut;
use crate::query::admission::QueryClass;
use crate::query::error::{FailureKind, QueryFailure};
use model::tenant::TenantId;
use promql::budget::Budget;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// A read that has not ended; dropping it ends it.
pub(super) struct Unended {
    executor: QueryExecutor,
    /// As it is shown.
    text: String,
    tenant: TenantId,
    started: Instant,
    budget: Arc<Budget>,
    told: OnceLock<()>,
}

impl Unended {
    pub(super) fn begin(executor: &QueryExecutor, text: &str, tenant: &TenantId, budget: &Arc<Budget>) -> Self {
        let (executor, tenant, budget) = (executor.clone(), tenant.clone(), Arc::clone(budget));
        Self { executor, text: cut(text).into_owned(), tenant, started: Instant::now(), budget, told: OnceLock::new() }
    }

    /// Tells how it ended; the first end counts.
    pub(super) fn end(&self, failure: Option<&QueryFailure>) {
        self.tell(failure.map(QueryFailure::kind), || failure.map(QueryFailure::to_string));
    }

    fn tell(&self, kind: Option<FailureKind>, error: impl FnOnce() -> Option<String>) {
        if self.told.set(()).is_err() {
            return;
        }
        let shared = &self.executor.shared;
        shared.metrics.count(QueryClass::Interactive, kind);
        let took = self.started.elapsed();
        if took <= shared.options.log_slower_than {
            return;
        }
        let Self { text: query, tenant, budget, .. } = self;
        let (seconds, series) = (took.as_secs_f64(), budget.series());
        let (peak_samples, peak_bytes) = (budget.samples_peak(), budget.bytes_peak());
        match error() {
            None => tracing::info!(query, %tenant, seconds, series, peak_samples, peak_bytes, "slow query"),
            Some(error) => {
                let error = &*cut(&error);
                tracing::info!(
                    query, %tenant, seconds, series, peak_samples, peak_bytes, error, "slow query without an answer"
                );
            }
        }
    }
}

impl Drop for Unended {
    fn drop(&mut self) {
        self.tell(Some(FailureKind::Canceled), || Some("its client went away".into()));
    }
}

#[cfg(test)]
mod tests;
