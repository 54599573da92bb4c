use super::parsing::PARSE_INLINE_BYTES_MAX;
use super::*;
use crate::query::admission::AdmissionOptions;
use crate::query::error::FailureKind;
use crate::query::testing::{MemoryStore, ReadLog};
use promql::budget::BudgetLimits;
use promql::parse::{ParseOptions, parse};
use promql::resolution::SourceResolution;
use promql::source::{SelectRequest, SeriesSet, SourceError};
use promql::value::{QueryValue, SampleValue};

fn executor(source: impl SeriesSource + 'static, timeout: Duration) -> QueryExecutor {
    executor_with(source, timeout, Duration::from_secs(3600))
}

/// An executor that logs what takes longer than `log_slower_than`.
pub(super) fn executor_logging(source: impl SeriesSource + 'static, log_slower_than: Duration) -> QueryExecutor {
    executor_with(source, LONG, log_slower_than)
}

fn executor_with(source: impl SeriesSource + 'static, timeout: Duration, log_slower_than: Duration) -> QueryExecutor {
    let options = QueryOptions {
        parse: ParseOptions::default(),
        limits: BudgetLimits::default(),
        timeout,
        admission: AdmissionOptions { interactive_max: 1, rules_max: 1, waiting_max: 4 },
        log_slower_than,
    };
    let pool = CpuPool::with_size(1, 2).unwrap();
    QueryExecutor::new(options, Engine::default(), Arc::new(source), pool, QueryMetrics::default())
}

pub(super) fn request(text: &str) -> QueryRequest {
    QueryRequest {
        text: text.into(),
        tenant: TenantId::anonymous(),
        window: Window::Instant(5000),
        timeout: None,
        lookback_ms: None,
        source_resolution: SourceResolution::default(),
        per_step_stats: false,
        explain: false,
        no_cache: false,
    }
}

const LONG: Duration = Duration::from_secs(60);

/// Takes most of a minute over [`MemoryStore::slow`].
pub(super) const SLOW: &str = "sum(slow)";

pub(super) async fn until(mut condition: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < patience, "the condition never came true");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The evaluation has ended long before its work was done: no series is read and nothing is in flight any more.
async fn until_stopped(executor: &QueryExecutor, reads: &ReadLog) {
    until(|| executor.active().is_empty() && executor.shared.pool.jobs() == 0).await;
    let count = reads.count();
    assert!(count < 25_000, "{count} series were read");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(reads.count(), count);
    assert_eq!(executor.shared.metrics.evaluating.get(), 0);
}

fn one_series() -> MemoryStore {
    let mut store = MemoryStore::default();
    store.add(&[("__name__", "up")], [(4000, 7.0)]);
    store
}

#[tokio::test]
async fn an_answer_comes_with_its_cost() {
    let executor = executor(one_series(), LONG);
    let answer = executor.run(request("sum(up)")).await.unwrap();
    assert!(
        matches!(&answer.result.value, QueryValue::Vector { samples, .. } if samples[0].value == SampleValue::Float(7.0))
    );
    assert!(answer.timings.total >= answer.timings.evaluation);
    assert_eq!((executor.shared.metrics.samples.get(), executor.shared.metrics.series.get()), (1, 1));
    assert!(executor.active().is_empty());
}

#[tokio::test]
async fn what_is_no_query_is_refused_in_the_words_of_the_parser() {
    let executor = executor(one_series(), LONG);
    let failure = executor.run(request("1 +")).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::BadQuery);
    assert!(failure.to_string().contains("parse error"), "{failure}");
    let long = format!("{} 1 +", " ".repeat(PARSE_INLINE_BYTES_MAX));
    assert_eq!(executor.run(request(&long)).await.unwrap_err().kind(), FailureKind::BadQuery);
}

#[tokio::test]
async fn dropping_the_future_stops_the_evaluation() {
    let store = MemoryStore::slow();
    let reads = store.reads.clone();
    let executor = executor(store, LONG);
    let running = tokio::spawn({
        let executor = executor.clone();
        async move { executor.run(request(SLOW)).await }
    });
    until(|| reads.count() > 3).await;
    running.abort();
    until_stopped(&executor, &reads).await;
}

#[tokio::test]
async fn a_deadline_answers_at_once_and_stops_the_evaluation() {
    let store = MemoryStore::slow();
    let reads = store.reads.clone();
    let executor = executor(store, LONG);
    let hurried = QueryRequest { timeout: Some(Duration::from_millis(200)), ..request(SLOW) };
    let failure = executor.run(hurried).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Timeout);
    assert_eq!(failure.to_string(), "query timed out in expression evaluation");
    until_stopped(&executor, &reads).await;
}

#[tokio::test]
async fn a_query_can_ask_for_less_time_but_not_for_more() {
    let executor = executor(MemoryStore::slow(), Duration::from_millis(100));
    let patient = QueryRequest { timeout: Some(LONG), ..request(SLOW) };
    assert_eq!(executor.run(patient).await.unwrap_err().kind(), FailureKind::Timeout);
}

#[tokio::test]
async fn an_operator_can_stop_a_query_that_runs_and_one_that_waits() {
    let store = MemoryStore::slow();
    let reads = store.reads.clone();
    let executor = executor(store, LONG);
    let run = |text: &'static str| {
        let executor = executor.clone();
        tokio::spawn(async move { executor.run(request(text)).await })
    };
    let first = run(SLOW);
    until(|| executor.active().list().iter().any(|query| query.state == "evaluating")).await;
    let second = run("up");
    until(|| executor.active().len() == 2).await;
    let queries = executor.active().list();
    let states: Vec<_> = queries.iter().map(|query| (query.id, query.query.as_str(), query.state)).collect();
    assert_eq!(states, [(1, SLOW, "evaluating"), (2, "up", "queued")]);
    assert!(executor.active().cancel(2));
    assert_eq!(second.await.unwrap().unwrap_err(), QueryFailure::CanceledInQueue);
    assert!(executor.active().cancel(1));
    let failure = first.await.unwrap().unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Canceled);
    assert_eq!(failure.to_string(), "query was canceled in expression evaluation");
    until_stopped(&executor, &reads).await;
}

#[tokio::test]
async fn rules_ask_many_queries_of_one_budget() {
    let executor = executor(one_series(), LONG);
    let expr = parse("time()", &ParseOptions::default()).unwrap();
    let asked = expr.clone();
    let work =
        move |queries: &LocalQueries<'_>| [7000, 8000].map(|at| queries.instant(&asked, at).map(|result| result.value));
    let tenant = TenantId::anonymous();
    let job = RuleJob { text: "time()", expr: &expr, asks_more: true, at_ms: 7000, tenant: &tenant };
    let asked = executor.run_rule(job, work).await;
    let scalar = |timestamp_ms, value| QueryValue::Scalar { timestamp_ms, value };
    assert_eq!(asked.unwrap().map(Result::unwrap), [scalar(7000, 7.0), scalar(8000, 8.0)]);
}

/// A rule, evaluated where heavy ones are.
async fn run_heavy_rule(executor: &QueryExecutor, text: &'static str) -> Result<QueryValue, QueryFailure> {
    let expr = parse(text, &ParseOptions::default()).unwrap();
    let tenant = TenantId::anonymous();
    let asked = expr.clone();
    let job = RuleJob { text, expr: &expr, asks_more: true, at_ms: 5000, tenant: &tenant };
    let work = move |queries: &LocalQueries<'_>| queries.instant(&asked, 5000).map(|result| result.value);
    Ok(executor.run_rule(job, work).await??)
}

#[tokio::test]
async fn dashboards_at_full_load_delay_no_rule_and_rules_no_dashboard() {
    let executor = {
        let options = executor(one_series(), LONG).options().clone();
        let admission = AdmissionOptions { interactive_max: 6, rules_max: 2, waiting_max: 4 };
        let mut store = MemoryStore::slow();
        store.add(&[("__name__", "up")], [(4000, 7.0)]);
        let pool = CpuPool::with_reserve(2, 1).unwrap();
        let options = QueryOptions { admission, ..options };
        QueryExecutor::new(options, Engine::default(), Arc::new(store), pool, QueryMetrics::default())
    };
    let running = || executor.active().list().iter().filter(|query| query.state == "evaluating").count();
    let heavy: Vec<_> = (0..6)
        .map(|_| {
            let executor = executor.clone();
            tokio::spawn(async move { executor.run(request(SLOW)).await.map(|_| ()) })
        })
        .collect();
    until(|| running() == 6).await;
    let answer = run_heavy_rule(&executor, "sum(up)").await.unwrap();
    assert!(matches!(&answer, QueryValue::Vector { samples, .. } if samples[0].value == SampleValue::Float(7.0)));
    assert_eq!(running(), 6, "they are still at it");
    heavy.iter().for_each(tokio::task::JoinHandle::abort);
    until(|| executor.active().is_empty()).await;

    let rules: Vec<_> = (0..2)
        .map(|_| {
            let executor = executor.clone();
            tokio::spawn(async move { run_heavy_rule(&executor, SLOW).await.map(|_| ()) })
        })
        .collect();
    until(|| running() == 2).await;
    assert!(executor.run(request("sum(up)")).await.is_ok());
    assert_eq!(running(), 2);
    rules.iter().for_each(tokio::task::JoinHandle::abort);
    until(|| executor.active().is_empty() && executor.shared.pool.jobs() == 0).await;
}

/// Storage with a bug.
struct Panicking;

impl SeriesSource for Panicking {
    fn select(&self, _: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        panic!("out of ideas")
    }
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_frees_its_place() {
    let executor = executor(Panicking, LONG);
    let failure = executor.run(request("up")).await.unwrap_err();
    assert_eq!(
        (failure.kind(), failure.to_string().as_str()),
        (FailureKind::Internal, "unexpected error: out of ideas")
    );
    assert!(executor.run(request("1")).await.is_ok());
}

/// Nothing is ever stored again.
struct Unchanged;

impl ChangeLog for Unchanged {
    fn changed_since(&self, _: u64) -> storage::head::Changed {
        storage::head::Changed { now: 0, oldest_ms: i64::MAX }
    }
}

#[tokio::test]
async fn a_range_query_that_is_repeated_reads_nothing_unless_it_is_told_to() {
    let store = one_series();
    let reads = store.reads.clone();
    let executor = executor(store, LONG);
    executor.keep_results(1 << 20, Arc::new(Unchanged));
    let window = Window::Range { start_ms: 4000, end_ms: 9999, step_ms: 1000 };
    let asked = QueryRequest { window, ..request("up") };
    let first = executor.run(asked.clone()).await.unwrap().result;
    assert_eq!((reads.count(), first.stats.samples_total), (1, 6));
    let again = executor.run(asked.clone()).await.unwrap().result;
    assert_eq!((reads.count(), again.stats.samples_total), (1, 0));
    let forced = executor.run(QueryRequest { no_cache: true, ..asked.clone() }).await.unwrap().result;
    assert_eq!((reads.count(), forced.stats.samples_total), (2, 6));
    let counted = executor.run(QueryRequest { per_step_stats: true, ..asked }).await.unwrap().result;
    assert_eq!((reads.count(), counted.stats.samples_per_step.map(|steps| steps.len())), (3, Some(6)));
    assert!(first.value == again.value && first.value == forced.value && first.value == counted.value);
}

/// A source whose blocks are in an object store.
struct Away;

impl SeriesSource for Away {
    fn may_wait(&self, after_ms: i64) -> bool {
        after_ms < 1_000
    }

    fn select(&self, _: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        Err(SourceError::Unavailable("read object `x`".into()))
    }
}

/// Counts how often it is asked how many series there are; blocks have what is older than a second.
struct CountsBounds(Arc<std::sync::atomic::AtomicUsize>);

impl SeriesSource for CountsBounds {
    fn may_wait(&self, after_ms: i64) -> bool {
        after_ms < 1_000
    }

    fn series_bound(&self, _: &[Matcher], _: i64, _: i64) -> usize {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        3
    }

    fn select(&self, _: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        Err(SourceError::Failed("nothing is selected".into()))
    }
}

/// Where a rule that reaches blocks is evaluated does not depend on how many series it selects.
#[test]
fn a_rule_that_reaches_blocks_is_weighed_without_asking_them() {
    let asked = Arc::default();
    let executor = executor(CountsBounds(Arc::clone(&asked)), LONG);
    let expr = parse("up + up", &ParseOptions::default()).unwrap();
    let weigh = |at_ms| {
        let weight = executor.weight_of_rule(&expr, at_ms);
        (weight.samples, weight.reaches_blocks, asked.swap(0, std::sync::atomic::Ordering::SeqCst))
    };
    assert_eq!(weigh(1_000_000), (6, false, 2));
    assert_eq!(weigh(5_000), (u64::MAX, true, 0));
    assert!(executor.weight(&expr, Window::Instant(5_000), None).reaches_blocks);
    assert_eq!(asked.swap(0, std::sync::atomic::Ordering::SeqCst), 2, "queries of people ask");
    let of_people = |at_ms| executor.weight(&expr, Window::Instant(at_ms), None).samples;
    assert_eq!((of_people(1_000_000), of_people(5_000)), (6 + 6 * 8, 6 + 6 * 256));
}

/// What waits for the object store takes no thread of evaluations, and what it gives up with keeps its kind.
#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_that_may_wait_runs_where_waiting_is_allowed() {
    let executor = executor(Away, LONG);
    let on_pool = || std::thread::current().name().is_some_and(|name| name.starts_with("cpu"));
    assert_eq!(executor.run_store_lookup(1_000, on_pool).await, Ok(true));
    assert_eq!(executor.run_store_lookup(0, on_pool).await, Ok(false));
    let gives_up = || -> u8 { crate::runtime::cpu::give_up(SourceError::Unavailable("read object `x`".into())) };
    let failure = executor.run_store_lookup(0, gives_up).await.unwrap_err();
    assert_eq!((failure.kind(), failure.to_string().as_str()), (FailureKind::Unavailable, "read object `x`"));
}
