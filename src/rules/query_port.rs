//! Evaluates rules by the query executor that users' queries go through, with bounds, threads and memory of their own.

use crate::query::error::{FailureKind, QueryFailure};
use crate::query::executor::{LocalQueries, QueryExecutor, RuleJob};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::labels::Labels;
use model::matcher::Matcher;
use model::tenant::TenantId;
use model::time::Timestamp;
use promql::ast::Expr;
use promql::query_error::{QueryError as EvaluationError, QueryErrorKind};
use promql::value::{QueryValue as Answer, VectorSample};
use ruler::ended::EarlierSeries;
use ruler::error::{QueryError, RuleError};
use ruler::evaluation::{Cost, Evaluation, Request};
use ruler::ports::{Element, IngestWatch, Queries, QueryPort, QueryValue};
use ruler::restore;
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::head::{Head, Watch};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The query executor as rules see it.
#[derive(Clone)]
pub struct RuleQueries {
    executor: QueryExecutor,
    tenant: TenantId,
    /// Places for rules that groups evaluate at once, beyond one for each group.
    places: Option<Arc<Semaphore>>,
    /// Where samples arrive.
    head: Option<Head>,
}

impl RuleQueries {
    /// Queries of the rules of `tenant`.
    #[must_use]
    pub fn new(executor: QueryExecutor, tenant: TenantId) -> Self {
        Self { executor, tenant, places: None, head: None }
    }

    /// Lets groups hear of samples that arrive in `head`.
    #[must_use]
    pub fn watching(self, head: Head) -> Self {
        Self { head: Some(head), ..self }
    }

    /// Lets groups evaluate up to `places` more rules at once, all groups together.
    #[must_use]
    pub fn at_once(self, places: usize) -> Self {
        Self { places: Some(Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)))), ..self }
    }
}

impl QueryPort for RuleQueries {
    type Place = OwnedSemaphorePermit;

    fn another_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(self.places.as_ref()?).try_acquire_owned().ok()
    }

    fn watch(&self, selectors: Vec<Vec<Matcher>>) -> Option<Box<dyn IngestWatch>> {
        let head = self.head.as_ref()?;
        Some(HeadWatch::of(|wake| head.watch(selectors, wake)))
    }

    fn watch_targets(&self, selectors: Vec<Vec<Matcher>>) -> Option<Box<dyn IngestWatch>> {
        let head = self.head.as_ref()?;
        Some(HeadWatch::of(|wake| head.watch_targets(selectors, wake)))
    }

    async fn look_up(&self, series: &EarlierSeries, at: Timestamp) -> Result<Vec<Labels>, QueryError> {
        let (query, series) = (series.query()?, series.clone());
        let (text, expr) = (&query.text().clone(), &query.expr().clone());
        let job = RuleJob { text, expr, asks_more: false, at_ms: at.0, tenant: &self.tenant };
        let work = move |local: &LocalQueries<'_>| {
            let local = Local { queries: local, cost: Cell::default(), started: Instant::now() };
            series.look_up(&query, &local, at)
        };
        self.executor.run_rule(job, work).await.map_err(|failure| no_answer(&failure))?
    }

    async fn evaluate(&self, request: Request) -> Evaluation {
        let rule = request.rule.clone();
        let looks_up = request.look_back_ms.is_some_and(|within_ms| {
            self.executor.may_select(&restore::matchers(&rule), request.query_at.0.saturating_sub(within_ms))
        });
        // What templates ask is not known before they are expanded.
        let asks_more = rule.asks_queries() || looks_up || request.earlier.is_some();
        let (text, expr) = (rule.query.text(), rule.query.expr());
        let job = RuleJob { text, expr, asks_more, at_ms: request.query_at.0, tenant: &self.tenant };
        let work = move |local: &LocalQueries<'_>| {
            let started = Instant::now();
            let local = Local { queries: local, cost: Cell::default(), started };
            let mut evaluation = request.evaluate(&local);
            let has_selectors = request.rule.query.expr().selectors().next().is_some();
            let cost = local.cost.get();
            let matched_nothing = has_selectors && cost.series == 0 && evaluation.result.is_ok();
            evaluation.cost = Some(Cost { cpu: started.elapsed(), matched_nothing, ..cost });
            evaluation
        };
        match self.executor.run_rule(job, work).await {
            Ok(evaluation) => evaluation,
            Err(failure) => Evaluation::failed(RuleError::Query(no_answer(&failure))),
        }
    }
}

/// Hears of samples that arrive in the head.
struct HeadWatch {
    watch: Watch,
    changed: Arc<Notify>,
}

impl HeadWatch {
    /// `watch` is told whom to wake.
    fn of(watch: impl FnOnce(Box<dyn Fn() + Send + Sync>) -> Watch) -> Box<dyn IngestWatch> {
        let changed = Arc::new(Notify::new());
        let wake = Arc::clone(&changed);
        Box::new(Self { watch: watch(Box::new(move || wake.notify_one())), changed })
    }
}

impl IngestWatch for HeadWatch {
    fn newest(&self) -> Option<Timestamp> {
        self.watch.newest_ms().map(Timestamp)
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        self.changed.notified().boxed()
    }

    fn lacks(&self, at: Timestamp, now: Timestamp, silence_ms: i64) -> bool {
        self.watch.lacks(at.0, now.0, silence_ms)
    }
}

/// Answers the queries of one rule and counts.
struct Local<'a> {
    queries: &'a LocalQueries<'a>,
    cost: Cell<Cost>,
    started: Instant,
}

impl Queries for Local<'_> {
    fn instant(&self, expr: &Expr, at: Timestamp) -> Result<QueryValue, QueryError> {
        let result = self.queries.instant(expr, at.0).map_err(|error| failed(&error))?;
        let Cost { series, samples, .. } = self.cost.get();
        let (series, samples) = (series + result.stats.series as u64, samples + result.stats.samples_total);
        self.cost.set(Cost { series, samples, ..Cost::default() });
        // A rule must not take what is there for all there is.
        if let Some(missing) = result.annotations.incomplete() {
            return Err(QueryError::Unavailable(format!("the answer is not complete: {missing}")));
        }
        Ok(match result.value {
            Answer::Scalar { value, .. } => QueryValue::Scalar(value),
            Answer::Vector { samples, .. } => {
                let element = |VectorSample { labels, value }| Element { labels, value };
                QueryValue::Vector(samples.into_iter().map(element).collect())
            }
            Answer::String { .. } | Answer::Matrix(_) => QueryValue::Other,
        })
    }

    fn may_select(&self, matchers: &[Matcher], after: Timestamp) -> bool {
        self.queries.may_select(matchers, after.0)
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

fn failed(error: &EvaluationError) -> QueryError {
    let message = error.to_string();
    match error.kind() {
        QueryErrorKind::BadData => QueryError::Invalid(message),
        QueryErrorKind::Execution if is_bound(error) => QueryError::Limited(message),
        QueryErrorKind::Execution => QueryError::Invalid(message),
        QueryErrorKind::Canceled => QueryError::Canceled,
        QueryErrorKind::Timeout => QueryError::Limited(message),
        QueryErrorKind::Unavailable | QueryErrorKind::Internal => QueryError::Unavailable(message),
    }
}

fn is_bound(error: &EvaluationError) -> bool {
    matches!(
        error,
        EvaluationError::TooManySamples { .. }
            | EvaluationError::TooManySteps { .. }
            | EvaluationError::TooManyBytes { .. }
            | EvaluationError::TooManySeries { .. }
    )
}

fn no_answer(failure: &QueryFailure) -> QueryError {
    let message = failure.to_string();
    match failure.kind() {
        // It has not begun: nothing is known about the rule.
        _ if matches!(failure, QueryFailure::TimedOutInQueue) => QueryError::Unavailable(message),
        FailureKind::BadQuery | FailureKind::Execution => QueryError::Invalid(message),
        FailureKind::Canceled => QueryError::Canceled,
        FailureKind::Timeout => QueryError::Limited(message),
        FailureKind::Busy | FailureKind::Unavailable | FailureKind::Internal => QueryError::Unavailable(message),
    }
}
