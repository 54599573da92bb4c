//! Queries over blocks behind a network.

use super::*;
use crate::query::admission::AdmissionOptions;
use crate::query::error::QueryFailure;
use crate::query::executor::QueryExecutor;
use crate::query::metrics::QueryMetrics;
use crate::query::request::{QueryAnswer, QueryOptions, QueryRequest, Window};
use crate::runtime::cpu::CpuPool;
use model::tenant::TenantId;
use promql::budget::BudgetLimits;
use promql::parse::ParseOptions;
use promql::resolution::SourceResolution;
use promql::value::QueryValue;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;
use storage::append::{LabelHash, Rows};
use storage::bucket::testing::{Faults, FaultyStore};
use storage::bucket::{Bucket, BucketStore, RetryPolicy};
use storage::store::{Store, StoreOptions};
use storage::wal::replay::ReplayProgress;

const HOUR: i64 = 3_600_000;
const BASE_MS: i64 = 1_700_049_600_000;
const BLOCKS: i64 = 10;

fn open(path: &Path, network: &FaultyStore) -> Store {
    let mut options = StoreOptions::new(path);
    options.check_interval = Duration::from_secs(3600);
    let bucket = Bucket::new(network.store(), "", RetryPolicy::default(), 1);
    Store::open_on(bucket, options, &ReplayProgress::default()).unwrap()
}

/// Ten blocks of two hours, jittered.
fn fill(store: &Store) {
    for block in 0..BLOCKS {
        let mut rows = Rows::default();
        for number in 0..20i64 {
            let (name, instance) = (format!("m{}", number % 4), format!("i{}", number / 4));
            let labels = [("__name__", &*name), ("instance", &*instance)];
            let series = store.engine().create(LabelHash::of_pairs(labels, &mut Vec::new()), &labels).unwrap();
            for scrape in 0..239 {
                let at_ms = BASE_MS + block * 2 * HOUR + scrape * 30_000 + (scrape * 7 + number) % 5;
                rows.push(series, at_ms, (number * (block * 240 + scrape)) as f64);
            }
        }
        store.engine().append_wait(rows).unwrap();
        store.flush(false).unwrap();
    }
}

fn executor(store: &Store, bytes_max: usize) -> QueryExecutor {
    executor_on(store, bytes_max, CpuPool::new().unwrap())
}

fn executor_on(store: &Store, bytes_max: usize, pool: CpuPool) -> QueryExecutor {
    let options = QueryOptions {
        parse: ParseOptions::default(),
        limits: BudgetLimits { bytes_max, ..BudgetLimits::default() },
        timeout: Duration::from_secs(600),
        admission: AdmissionOptions { interactive_max: 4, rules_max: 1, waiting_max: 16 },
        log_slower_than: Duration::from_secs(3600),
    };
    let source = Arc::new(EngineStore::new(store.clone()));
    QueryExecutor::new(options, promql::engine::Engine::default(), source, pool, QueryMetrics::default())
}

fn request(text: &str) -> QueryRequest {
    let window = Window::Range { start_ms: BASE_MS, end_ms: BASE_MS + 20 * HOUR, step_ms: 600_000 };
    QueryRequest {
        text: text.to_owned(),
        tenant: TenantId::anonymous(),
        window,
        timeout: None,
        lookback_ms: None,
        source_resolution: SourceResolution::default(),
        per_step_stats: false,
        explain: false,
        no_cache: true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_query_waits_for_three_round_trips_and_pays_for_what_it_holds() {
    const QUERY: &str = "sum by (instance) (rate(m1[5m])) / sum by (instance) (rate(m2[5m]))";
    let (dir, network) = (tempfile::tempdir().unwrap(), FaultyStore::new(BucketStore::in_memory(), 1));
    let store = open(dir.path(), &network);
    fill(&store);
    let warm = executor(&store, usize::MAX).run(request(QUERY)).await.unwrap();
    store.close().unwrap();
    drop(store);

    let store = open(dir.path(), &network);
    assert_eq!(store.manifest().blocks.len(), BLOCKS as usize);
    network.set_faults(Faults { latency: Duration::from_millis(20), ..Faults::default() });
    network.forget_round_trips();
    let before = network.requests();
    let cold = executor(&store, usize::MAX).run(request(QUERY)).await.unwrap();
    assert_same(&cold, &warm);
    let (requests, round_trips) = (network.requests() - before, network.round_trips());
    assert!(requests <= 7 * BLOCKS as u64, "{requests} requests");
    assert!(round_trips <= 3, "{round_trips} round trips");

    let refused = executor(&store, 10_000).run(request(QUERY)).await.unwrap_err();
    assert_eq!(refused, QueryFailure::Evaluation(QueryError::TooManyBytes { bytes_max: 10_000 }));
}

/// Waits no longer than what is about to happen may take.
async fn soon<T>(happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), happens).await.expect("it happens soon")
}

/// Work that occupies a thread until it is told to end.
fn occupation() -> (mpsc::Sender<()>, impl FnOnce() -> bool + Send + 'static) {
    let (end, ended) = mpsc::channel();
    (end, move || ended.recv().is_ok())
}

/// A runtime with one thread that may wait.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap()
}

/// Runs a query for which something must be fetched; it waits for the thread that may wait.
async fn run_cold(executor: &QueryExecutor, network: &FaultyStore, request: QueryRequest) -> QueryAnswer {
    let before = network.requests();
    let (end, occupy) = occupation();
    let occupied = tokio::task::spawn_blocking(occupy);
    let executor = executor.clone();
    let cold = tokio::spawn(async move { executor.run(request).await.unwrap() });
    soon(async {
        while network.requests() == before {
            assert!(!cold.is_finished(), "nothing was fetched");
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!cold.is_finished());
    end.send(()).unwrap();
    assert!(soon(occupied).await.unwrap());
    soon(cold).await.unwrap()
}

/// Runs a query for which nothing is fetched.
async fn run_warm(executor: &QueryExecutor, network: &FaultyStore, request: QueryRequest) -> QueryAnswer {
    let before = network.requests();
    let warm = soon(executor.run(request)).await.unwrap();
    assert_eq!(network.requests(), before);
    warm
}

fn assert_same(answer: &QueryAnswer, expected: &QueryAnswer) {
    assert_eq!(format!("{:?}", answer.result.value), format!("{:?}", expected.result.value));
}

/// A query that finds all in caches is evaluated at once; one that does not waits for a thread that may wait.
#[test]
fn a_warm_query_takes_no_thread_that_waits() {
    let (dir, network) = (tempfile::tempdir().unwrap(), FaultyStore::new(BucketStore::in_memory(), 1));
    let store = open(dir.path(), &network);
    fill(&store);
    runtime().block_on(async {
        let executor = executor(&store, usize::MAX);
        let cold = run_cold(&executor, &network, request("sum(m1)")).await;

        let (end, occupy) = occupation();
        let occupied = tokio::task::spawn_blocking(occupy);
        assert_same(&run_warm(&executor, &network, request("sum(m1)")).await, &cold);
        end.send(()).unwrap();
        assert!(soon(occupied).await.unwrap());
    });
}

/// A light query over blocks is evaluated where it arrives when all is in memory, whatever the pool does; what is not there is
/// waited for elsewhere.
#[test]
fn a_light_query_over_blocks_in_memory_needs_no_other_thread() {
    let (dir, network) = (tempfile::tempdir().unwrap(), FaultyStore::new(BucketStore::in_memory(), 1));
    let store = open(dir.path(), &network);
    fill(&store);
    store.close().unwrap();
    drop(store);
    let store = open(dir.path(), &network);
    let light = || {
        let window = Window::Instant(BASE_MS + 19 * HOUR);
        QueryRequest { window, ..request(r#"m1{instance="i2"}"#) }
    };
    runtime().block_on(async {
        let pool = CpuPool::with_size(1, 1).unwrap();
        let executor = executor_on(&store, usize::MAX, pool.clone());
        // Who the series are is known from now on, but not their samples.
        let range = TimeRange { after_ms: BASE_MS + 18 * HOUR, until_ms: i64::MAX };
        store.label_names(&[], range, 100).unwrap();
        let cold = run_cold(&executor, &network, light()).await;
        assert!(matches!(&cold.result.value, QueryValue::Vector { samples, .. } if samples.len() == 1));

        let (end, occupy) = occupation();
        let occupied = pool.run(move |_| occupy());
        assert_same(&run_warm(&executor, &network, light()).await, &cold);
        assert_eq!(pool.jobs(), 1, "it was not evaluated there");
        end.send(()).unwrap();
        assert!(soon(occupied).await.unwrap());
    });
}
