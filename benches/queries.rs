//! The queries of the side-by-side program inside the process: `cargo bench --bench queries [-- PART-OF-A-NAME]`.
//!
//! The same fleet (100,000 series, 120 scrapes), the same questions; from the text of a query to the text of its answer, without
//! HTTP. Medians of wall time with one thread of the CPU pool and with as many as there are cores, so nothing else may run.
//! The last lines say how the heavy ones scale.
#![allow(clippy::print_stdout, reason = "a benchmark reports")]

use compat_tests::load::{Fleet, SERIES_PER_TARGET};
use compat_tests::questions::{self, Ask, Query};
use compat_tests::remote_write::RequestBody;
use hearth::cluster::ring::{NodeId, Ring};
use hearth::http::json::query_result::ResultDocument;
use hearth::http::json::stream::Document;
use hearth::ingest::{Ingest, IngestOptions, WriteRequest};
use hearth::query::admission::AdmissionOptions;
use hearth::query::engine_store::EngineStore;
use hearth::query::executor::QueryExecutor;
use hearth::query::metrics::QueryMetrics;
use hearth::query::request::{QueryOptions, QueryRequest, Window};
use hearth::runtime::cpu::CpuPool;
use hearth::wire::Protocol;
use hearth::wire::compression::Encoding;
use model::tenant::TenantId;
use promql::Engine as QueryEngine;
use promql::budget::BudgetLimits;
use promql::parse::ParseOptions;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::engine::Engine;
use storage::store::{Store, StoreOptions};
use storage::wal::replay::ReplayProgress;

/// That of the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SERIES: usize = 100_000;
const SCRAPES: usize = 120;
/// The fleet sends 2,000 samples in a request.
const REQUESTS_PER_SCRAPE: usize = SERIES / 2_000;
const ROUNDS: usize = 15;
/// Queries that take one thread longer are heavy.
const HEAVY_MS: f64 = 5.0;

fn fleet() -> Fleet {
    let (scrapes, interval_ms) = (SCRAPES, 15_000);
    let start_ms = 1_795_168_800_000 - (scrapes as i64 - 1) * interval_ms;
    Fleet {
        targets: SERIES / SERIES_PER_TARGET,
        interval_ms,
        start_ms,
        scrapes,
        jitter_ms: 3,
        churn_every: 40,
        seed: 1,
    }
}

async fn load(engine: &Engine, fleet: &Fleet) {
    let local = NodeId::new("local");
    let cpu = CpuPool::new().expect("threads can be started");
    let ring = Arc::new(Ring::of_one(local.clone()));
    let ingest =
        Ingest::new(TenantId::anonymous(), IngestOptions::default(), ring, local, Arc::new(engine.clone()), cpu);
    let mut sender = fleet.part(0, 1);
    let mut body = RequestBody::default();
    loop {
        // One scrape of all series at a time, so that they share the wait for the disk and no sample overtakes an older one.
        let requests: Vec<_> =
            std::iter::from_fn(|| sender.next_request(&mut body)).take(REQUESTS_PER_SCRAPE).collect();
        if requests.is_empty() {
            return;
        }
        let writes = requests.into_iter().map(|(compressed, _)| {
            let request = WriteRequest {
                protocol: Protocol::V1,
                encoding: Encoding::Snappy,
                body: compressed.into(),
                tenant: TenantId::anonymous(),
                now_ms: fleet.end_ms(),
            };
            ingest.write(request, ingest.inflight().begin())
        });
        for report in futures::future::join_all(writes).await {
            let report = report.expect("the store takes everything");
            assert!(report.refused.is_empty() && report.retry.is_none(), "{report}");
        }
    }
}

fn executor(stored: &Store, threads: usize) -> QueryExecutor {
    let options = QueryOptions {
        parse: ParseOptions::default(),
        limits: BudgetLimits::default(),
        timeout: Duration::from_secs(60),
        admission: AdmissionOptions { interactive_max: 4, rules_max: 1, waiting_max: 4 },
        log_slower_than: Duration::from_secs(60),
    };
    let pool = CpuPool::with_size(1, threads).expect("threads can be started");
    let source = Arc::new(EngineStore::new(stored.clone()));
    QueryExecutor::new(options, QueryEngine::default(), source, pool, QueryMetrics::default())
}

/// The request of a query; `None` for look-ups of labels, which no executor evaluates.
fn request(query: &Query) -> Option<QueryRequest> {
    let window = match query.ask {
        Ask::Instant { at_ms } => Window::Instant(at_ms),
        Ask::Range { start_ms, end_ms, step_ms } => Window::Range { start_ms, end_ms, step_ms },
        Ask::Metadata { .. } => return None,
    };
    Some(QueryRequest {
        text: query.text.clone(),
        tenant: TenantId::anonymous(),
        window,
        timeout: None,
        lookback_ms: None,
        source_resolution: promql::resolution::SourceResolution::default(),
        per_step_stats: false,
        explain: false,
        no_cache: true,
    })
}

/// Evaluates once and writes the answer; returns its bytes.
async fn ask(executor: &QueryExecutor, request: &QueryRequest) -> usize {
    let answer = executor.run(request.clone()).await.expect("an answer");
    let mut document = ResultDocument::new(answer.result.value);
    let (mut bytes, mut chunk) = (0, Vec::with_capacity(36 << 10));
    loop {
        chunk.clear();
        let more = document.write_some(&mut chunk, 32 << 10);
        bytes += chunk.len();
        if !more {
            return bytes;
        }
    }
}

/// The median of some rounds in milliseconds, after three that do not count.
async fn median_ms(executor: &QueryExecutor, request: &QueryRequest) -> f64 {
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS + 3 {
        let started = Instant::now();
        std::hint::black_box(ask(executor, request).await);
        if round >= 3 {
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    times.get(ROUNDS / 2).copied().unwrap_or(f64::NAN)
}

async fn measure(stored: &Store, fleet: &Fleet, wanted: &str) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (alone, together) = (executor(stored, 1), executor(stored, cores));
    let mut scaling = Vec::new();
    println!("| query | ms, 1 thread | ms, {cores} threads | |\n|---|---|---|---|");
    for query in questions::list(fleet).iter().filter(|query| query.name.contains(wanted)) {
        let Some(request) = request(query) else { continue };
        let (one, all) = (median_ms(&alone, &request).await, median_ms(&together, &request).await);
        let kind = if matches!(query.ask, Ask::Instant { .. }) { "instant" } else { "range" };
        println!("| {kind}: {} | {one:.3} | {all:.3} | {:.2} |", query.name, one / all);
        if one > HEAVY_MS {
            scaling.push(one / all);
        }
    }
    scaling.sort_by(f64::total_cmp);
    let sum: f64 = scaling.iter().map(|ratio| ratio.ln()).sum();
    let mean = (sum / scaling.len().max(1) as f64).exp();
    println!("heavy queries: {} with {cores} threads {mean:.2} times as fast in the geometric mean,", scaling.len());
    println!(
        "the least {:.2}, the median {:.2}",
        scaling.first().unwrap_or(&1.0),
        scaling.get(scaling.len() / 2).unwrap_or(&1.0)
    );
}

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let directory = tempfile::tempdir().expect("a directory can be made");
    let stored = Store::open(StoreOptions::new(directory.path()), &ReplayProgress::default());
    let stored = stored.expect("an empty directory can be opened");
    let fleet = fleet();
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    runtime.block_on(async {
        load(stored.engine(), &fleet).await;
        measure(&stored, &fleet, &wanted).await;
    });
}
