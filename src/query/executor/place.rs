//! What a running query takes up, and how it gets that: a place, an entry among the queries in flight, an account.

use super::{QueryExecutor, Shared};
use crate::query::active::Registration;
use crate::query::admission::{Place, QueryClass};
use crate::query::error::QueryFailure;
use crate::query::metrics::{QueryMetrics, QueryStage};
use model::tenant::TenantId;
use promql::budget::Budget;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Light queries of no more text are not written to the journal of queries in flight.
const SHORT_BYTES_MAX: usize = 200;

/// Who asks for what since when.
pub(super) struct Job<'a> {
    pub(super) text: &'a str,
    pub(super) tenant: &'a TenantId,
    pub(super) class: QueryClass,
    /// Whether it looks at next to nothing.
    pub(super) light: bool,
    pub(super) started: Instant,
    pub(super) budget: Arc<Budget>,
}

/// A job that has its place.
pub(super) struct Admitted {
    pub(super) budget: Arc<Budget>,
    pub(super) held: Held,
    pub(super) deadline: tokio::time::Instant,
    /// Time that it waited.
    pub(super) queue: Duration,
    pub(super) abandon: CancelOnDrop,
}

impl QueryExecutor {
    /// Waits for a place.
    pub(super) async fn admit(&self, job: Job<'_>, timeout: Duration) -> Result<Admitted, QueryFailure> {
        let Shared { admission, active, metrics, .. } = &*self.shared;
        if let (QueryClass::Interactive | QueryClass::Light, Some(memory)) = (job.class, self.shared.memory.get()) {
            memory.admit_query()?;
        }
        let arrived = Instant::now();
        let deadline = tokio::time::Instant::from_std(job.started) + timeout;
        let budget = job.budget;
        let mut registration = active.register(job.text, job.tenant, Arc::clone(&budget));
        // The two writes would take longer than what is light. Where depth could overflow a stack there is more text.
        if !job.light || job.text.len() > SHORT_BYTES_MAX {
            registration.write_down();
        }
        let abandon = CancelOnDrop(Arc::clone(&budget));
        let place = admission.enter(job.class, deadline, registration.stop(), metrics).await?;
        let queue = arrived.elapsed();
        metrics.observe(QueryStage::Queue, queue);
        registration.begin_evaluation();
        let held = Held::new(place, registration, metrics.clone());
        Ok(Admitted { budget, held, deadline, queue, abandon })
    }
}

/// What a running query takes up.
pub(super) struct Held {
    _place: Place,
    _registration: Registration,
    metrics: QueryMetrics,
    since: Instant,
}

impl Held {
    fn new(place: Place, registration: Registration, metrics: QueryMetrics) -> Self {
        metrics.evaluating.inc();
        Self { _place: place, _registration: registration, metrics, since: Instant::now() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.metrics.evaluating.dec();
        self.metrics.observe(QueryStage::Evaluation, self.since.elapsed());
    }
}

/// Stops the evaluation when nobody waits for it any more; harmless when it has ended.
pub(super) struct CancelOnDrop(pub(super) Arc<Budget>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
