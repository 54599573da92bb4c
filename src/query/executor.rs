//! Runs queries: a place, a budget, a thread, a deadline, and somebody who notices when nobody waits any more.
//!
//! Whoever drops the future of a query cancels its evaluation: the HTTP server drops it when the client goes away. The
//! place stays taken until the evaluation has really ended, so that abandoned work counts against the bound.

use super::active::ActiveQueries;
use super::admission::{Admission, QueryClass};
use super::error::QueryFailure;
use super::metrics::{QueryMetrics, QueryStage};
use super::parsed::ParsedQueries;
use super::request::{QueryAnswer, QueryOptions, QueryRequest, Timings, Window};
use super::results_cache::dependence::Dependence;
use super::results_cache::{self, ChangeLog, ResultsCache};
use crate::runtime::cpu::{CpuPool, JobPanicked};
use crate::runtime::memory::Memory;
use futures::FutureExt;
use local::Evaluation;
use model::matcher::Matcher;
use model::tenant::TenantId;
use place::{Admitted, Job};
use preparing::{Preparation, Stage, fetched};
use promql::ast::Expr;
use promql::budget::Budget;
use promql::engine::{Engine, EngineOptions, Foresight, QueryError};
use promql::explain::Explanation;
use promql::resolution::SourceResolution;
use promql::source::SeriesSource;
use slow::Unended;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

mod local;
mod parsing;
mod place;
mod preparing;
mod reading;
mod slow;
mod weight;

pub use local::LocalQueries;
pub use reading::{Pieces, Reading};

/// Queries that look at up to so many samples are evaluated where they arrive: a few tenths of a millisecond.
const LIGHT_SAMPLES_MAX: u64 = 32_768;

/// The same for rules, whose results become labels and texts as well.
const LIGHT_RULE_SAMPLES_MAX: u64 = 1024;

/// Queries that may take as long as so many samples are estimated before they are evaluated, to refuse what cannot fit.
const HEAVY_SAMPLES_MIN: u64 = 5_000_000;

/// Look-ups that wait for the object store at once: what they fetch has a bound of its own.
const WAITING_LOOKUPS_MAX: usize = 16;

/// Runs queries over one store. Cheap to clone.
#[derive(Clone)]
pub struct QueryExecutor {
    shared: Arc<Shared>,
}

struct Shared {
    options: QueryOptions,
    engine: Engine,
    source: Arc<dyn SeriesSource>,
    pool: CpuPool,
    admission: Admission,
    active: ActiveQueries,
    parsed: ParsedQueries,
    metrics: QueryMetrics,
    /// For look-ups that wait for the object store.
    waiting_lookups: Arc<Semaphore>,
    /// Absent while results are not kept.
    results: OnceLock<ResultsCache>,
    /// Absent while the process is not bounded.
    memory: OnceLock<Memory>,
}

impl Shared {
    /// The account of a new query.
    fn budget(&self, class: QueryClass) -> Arc<Budget> {
        let shared = self.memory.get().map(|memory| match class {
            QueryClass::Interactive | QueryClass::Light => memory.queries(),
            QueryClass::Rule => memory.rules(),
        });
        Arc::new(match shared {
            Some(shared) => Budget::sharing(self.options.limits, Arc::clone(shared)),
            None => Budget::new(self.options.limits),
        })
    }
}

impl QueryExecutor {
    /// An executor without queries.
    #[must_use]
    pub fn new(
        options: QueryOptions,
        engine: Engine,
        source: Arc<dyn SeriesSource>,
        pool: CpuPool,
        metrics: QueryMetrics,
    ) -> Self {
        let admission = Admission::new(options.admission);
        let (active, parsed) = (ActiveQueries::default(), ParsedQueries::default());
        let waiting_lookups = Arc::new(Semaphore::new(WAITING_LOOKUPS_MAX));
        let (results, memory) = (OnceLock::new(), OnceLock::new());
        let shared = Shared {
            options,
            engine,
            source,
            pool,
            admission,
            active,
            parsed,
            metrics,
            waiting_lookups,
            results,
            memory,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Draws on the memory of the process from now on: queries of people are turned away when there is little, and all
    /// together hold no more than their share. Counts once.
    pub fn bound_by(&self, memory: Memory) {
        self.shared.memory.get_or_init(|| memory);
    }

    /// Forgets all kept results.
    pub fn forget_results(&self) {
        if let Some(results) = self.shared.results.get() {
            results.clear();
        }
    }

    /// Keeps results of range queries in about `bytes_max` bytes from now on, for as long as `changes` says that they are
    /// right. Counts once.
    pub fn keep_results(&self, bytes_max: u64, changes: Arc<dyn ChangeLog>) {
        let metrics = self.shared.metrics.results_cache.clone();
        self.shared.results.get_or_init(|| ResultsCache::new(bytes_max, changes, metrics));
    }

    /// The queries in flight.
    #[must_use]
    pub fn active(&self) -> &ActiveQueries {
        &self.shared.active
    }

    /// How expressions are evaluated.
    #[must_use]
    pub fn engine_options(&self) -> &EngineOptions {
        self.shared.engine.options()
    }

    /// Bounds and habits.
    #[must_use]
    pub fn options(&self) -> &QueryOptions {
        &self.shared.options
    }

    /// Runs a query of a user.
    ///
    /// # Errors
    /// It is no query, cannot be evaluated, needs more than it may use, took too long or was cancelled.
    pub async fn run(&self, request: QueryRequest) -> Result<QueryAnswer, QueryFailure> {
        let started = Instant::now();
        let budget = self.shared.budget(QueryClass::Interactive);
        let (metrics, log_slower_than) = (&self.shared.metrics, self.shared.options.log_slower_than);
        let (request, lent) = (&request, Arc::clone(&budget));
        let unended = Unended { request, started, budget: lent, metrics, log_slower_than, is_told: false };
        let outcome = self.run_untold(request, started, budget).await;
        unended.end(&outcome);
        outcome
    }

    async fn run_untold(
        &self,
        request: &QueryRequest,
        started: Instant,
        budget: Arc<Budget>,
    ) -> Result<QueryAnswer, QueryFailure> {
        let expr = self.parse(&request.text).await?;
        let cacheable = self.cacheable(&expr, request);
        let preparation = started.elapsed();
        let window = request.window;
        let (text, tenant) = (&request.text, &request.tenant);
        let timeout = request.timeout.unwrap_or(Duration::MAX).min(self.shared.options.timeout);
        let weight = self.weight(&expr, window, request.lookback_ms);
        let light = weight.samples <= LIGHT_SAMPLES_MAX;
        // What blocks lack in memory may take long to come: those places are not for it.
        let class = if light && !weight.reaches_blocks { QueryClass::Light } else { QueryClass::Interactive };
        let place = if light { Thread::Here } else { Thread::OfPool };
        let account = Arc::clone(&budget);
        let job = Job { text, tenant, class, light, started, budget };
        let foresight = match () {
            () if request.explain => Foresight::Explain,
            () if weight.samples >= HEAVY_SAMPLES_MIN => Foresight::Estimate,
            () => Foresight::None,
        };
        let how = Evaluation { foresight, ..Evaluation::asked_by(request) };
        let foreseen = weight.reaches_blocks.then(|| self.preparation(&expr, cacheable.as_ref(), how));
        let work = move |local: &LocalQueries<'_>| match &cacheable {
            Some(query) => local.answer_from_cache(query, &expr, how),
            None => local.evaluate(&expr, how),
        };
        let (result, queue) = self.run_job(job, timeout, (place, foreseen), work).await?;
        let (result, total) = (result?, started.elapsed());
        let evaluation = total.saturating_sub(preparation).saturating_sub(queue);
        // What is there already is not refused; queries that come after it find less room.
        let _ = account.hold(0, result.value.held_bytes());
        Ok(QueryAnswer { result, timings: Timings { preparation, queue, evaluation, total }, account })
    }

    /// The plan of a query and what it will cost, without evaluating it.
    ///
    /// # Errors
    /// As [`QueryExecutor::run`].
    pub async fn explain(&self, request: &QueryRequest) -> Result<Explanation, QueryFailure> {
        let expr = self.parse(&request.text).await?;
        let how = Evaluation::asked_by(request);
        let started = Instant::now();
        let budget = self.shared.budget(QueryClass::Interactive);
        let (text, tenant) = (&request.text, &request.tenant);
        let job = Job { text, tenant, class: QueryClass::Interactive, light: false, started, budget };
        let timeout = request.timeout.unwrap_or(Duration::MAX).min(self.shared.options.timeout);
        let work = move |local: &LocalQueries<'_>| local.explain(&expr, how);
        let (explanation, _) = self.run_job(job, timeout, (Thread::OfPool, None), work).await?;
        Ok(explanation?)
    }

    /// Whether series may satisfy all `matchers` and have samples after `after_ms`: they may where it takes more than a glance to know.
    #[must_use]
    pub fn may_select(&self, matchers: &[Matcher], after_ms: i64) -> bool {
        self.shared.source.series_bound(matchers, after_ms, i64::MAX) > 0
    }

    /// The query as the cache of results takes it; `None` when it is to be evaluated without.
    fn cacheable(&self, expr: &Expr, request: &QueryRequest) -> Option<results_cache::Query> {
        self.shared.results.get()?;
        let QueryRequest { window, lookback_ms, source_resolution, no_cache, per_step_stats, .. } = *request;
        if matches!(window, Window::Instant(_)) {
            return None;
        }
        let refused = no_cache || per_step_stats || request.explain || source_resolution != SourceResolution::default();
        let delayed_name_removal = self.shared.engine.options().delayed_name_removal;
        let dependence = if refused { None } else { Dependence::of(expr, delayed_name_removal) };
        let query = dependence.and_then(|dependence| {
            results_cache::Query::new(request.tenant.clone(), expr.to_string(), dependence, window, lookback_ms)
        });
        if query.is_none() {
            self.shared.metrics.results_cache.count_bypass();
        }
        query
    }

    /// Runs the evaluation of a rule: `work` may ask any number of queries of one budget. Rules have places, threads and
    /// memory of their own; one that looks at next to nothing is evaluated at once, where it is asked for.
    ///
    /// # Errors
    /// No place was free in time, it took too long, was cancelled or panicked. What its queries say is up to `work`.
    pub async fn run_rule<T: Send + 'static>(
        &self,
        job: RuleJob<'_>,
        work: impl FnOnce(&LocalQueries<'_>) -> T + Send + 'static,
    ) -> Result<T, QueryFailure> {
        let RuleJob { text, expr, asks_more, at_ms, tenant } = job;
        let budget = self.shared.budget(QueryClass::Rule);
        let weight = self.weight_of_rule(expr, at_ms);
        let is_light = weight.samples <= LIGHT_RULE_SAMPLES_MAX && !weight.reaches_blocks;
        let outcome = if is_light && !asks_more {
            let session = self.session(&budget);
            let local =
                LocalQueries { shared: &self.shared, session: &*session, budget: &budget, threads: None, view: None };
            let since = Instant::now();
            let ran = CpuPool::run_here(|| work(&local)).map_err(QueryFailure::from);
            self.shared.metrics.observe(QueryStage::Evaluation, since.elapsed());
            ran
        } else {
            let job = Job { text, tenant, class: QueryClass::Rule, light: false, started: Instant::now(), budget };
            let how = Evaluation::of(Window::Instant(at_ms));
            let foreseen = weight.reaches_blocks.then(|| self.preparation(&Arc::new(expr.clone()), None, how));
            let ran = self.run_job(job, self.shared.options.timeout, (Thread::Reserved, foreseen), work).await;
            ran.map(|(value, _)| value)
        };
        self.shared.metrics.count(QueryClass::Rule, outcome.as_ref().err().map(QueryFailure::kind));
        outcome
    }

    /// The threads that evaluate.
    #[must_use]
    pub fn pool(&self) -> &CpuPool {
        &self.shared.pool
    }

    /// The account of a look-up that is no query. What it holds counts among what all queries hold, until the account is dropped:
    /// whoever sends the answer keeps it until then.
    #[must_use]
    pub fn lookup_account(&self) -> Arc<Budget> {
        self.shared.budget(QueryClass::Interactive)
    }

    /// Runs a look-up that is no query, such as of label names, on the CPU pool.
    ///
    /// # Errors
    /// It panicked.
    pub async fn run_lookup<T: Send + 'static>(
        &self,
        lookup: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, QueryFailure> {
        Ok(self.shared.pool.run(|_| lookup()).await?)
    }

    /// Runs a look-up of stored series that have samples after `after_ms`. One that may have to wait for the object store runs on a
    /// thread that may wait, so that evaluations keep theirs; so many at once that some threads remain, others wait for their turn.
    ///
    /// # Errors
    /// Memory is short, it gave up or panicked.
    pub async fn run_store_lookup<T: Send + 'static>(
        &self,
        after_ms: i64,
        lookup: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, QueryFailure> {
        if let Some(memory) = self.shared.memory.get() {
            memory.admit_query()?;
        }
        if !self.shared.source.may_wait(after_ms) {
            return self.run_lookup(lookup).await;
        }
        let turn = Arc::clone(&self.shared.waiting_lookups).acquire_owned().await;
        let work = move || {
            // Held until the work has ended, whether or not somebody still waits for it.
            let _turn = turn;
            CpuPool::run_here(lookup)
        };
        let outcome = tokio::task::spawn_blocking(work).await;
        Ok(outcome.map_err(|error| JobPanicked::new(error.to_string()))??)
    }

    /// Waits for a place, then works on `thread` until done, stopped or out of time. What was foreseen and is not cached is waited for on
    /// a thread that may wait; then the CPU pool goes on. Returns the time in the queue too.
    async fn run_job<T: Send + 'static>(
        &self,
        job: Job<'_>,
        timeout: Duration,
        (thread, preparation): (Thread, Option<Preparation>),
        work: impl FnOnce(&LocalQueries<'_>) -> T + Send + 'static,
    ) -> Result<(T, Duration), QueryFailure> {
        let Admitted { budget, held, deadline, queue, abandon: _abandon } = self.admit(job, timeout).await?;
        let session = self.session(&budget);
        let preparation = preparation.filter(|_| session.may_wait(i64::MIN));
        let (shared, lent) = (Arc::clone(&self.shared), Arc::clone(&budget));
        let run = {
            let (shared, session, budget) = (Arc::clone(&shared), Arc::clone(&session), Arc::clone(&budget));
            move |threads: Option<&rayon::ThreadPool>| {
                // Released when the work ends, whether or not somebody still waits for it.
                let _held = held;
                work(&LocalQueries { shared: &shared, session: &*session, budget: &budget, threads, view: None })
            }
        };
        let pool = &self.shared.pool;
        let first = move |threads: Option<&rayon::ThreadPool>| {
            let lacks = preparation.and_then(|foreseen| foreseen.begin(&shared.engine, &*session, &lent));
            match lacks {
                None => Stage::Done(run(threads)),
                Some(fetching) => Stage::Lacks(fetching, run),
            }
        };
        let begin = async {
            match thread {
                Thread::Here => CpuPool::run_here(|| first(None)),
                Thread::OfPool | Thread::Reserved => on(pool, thread, move |threads| first(Some(threads))).await,
            }
        };
        let running = async {
            match begin.await? {
                Stage::Done(value) => Ok(value),
                Stage::Lacks(fetching, run) => {
                    let run = fetched(fetching, run).await?;
                    on(pool, thread, move |threads| run(Some(threads))).await
                }
            }
        };
        tokio::select! {
            // First: what is evaluated here needs no timer.
            biased;
            outcome = running => Ok((outcome?, queue)),
            () = tokio::time::sleep_until(deadline) => {
                budget.expire();
                Err(QueryError::TimedOut.into())
            }
        }
    }
}

/// Runs a job on the threads of the pool that are meant for it.
fn on<T: Send + 'static>(
    pool: &CpuPool,
    thread: Thread,
    job: impl FnOnce(&rayon::ThreadPool) -> T + Send + 'static,
) -> impl Future<Output = Result<T, JobPanicked>> + Send + 'static {
    match thread {
        Thread::Reserved => pool.run_reserved(job).left_future(),
        Thread::Here | Thread::OfPool => pool.run(job).right_future(),
    }
}

/// Which thread evaluates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thread {
    /// The one that serves the request.
    Here,
    /// One of the CPU pool.
    OfPool,
    /// One of the CPU pool that queries of people never take.
    Reserved,
}

/// A rule to evaluate.
#[derive(Debug, Clone, Copy)]
pub struct RuleJob<'a> {
    /// Names it in the list of queries in flight.
    pub text: &'a str,
    /// What it asks.
    pub expr: &'a Expr,
    /// Whether it may ask for something else, too.
    pub asks_more: bool,
    /// The time that it asks for, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Whose data it reads.
    pub tenant: &'a TenantId,
}

#[cfg(test)]
mod tests;
