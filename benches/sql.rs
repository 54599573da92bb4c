//! What statements cost per sample: 2.88 million samples of 1,000 series in the head, and 28.8 million with `SQL_BENCH_SERIES=10000`.
//! With `SQL_BENCH_BLOCKS=DIRECTORY` they are in blocks below that directory, which other programs can read for comparison.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, reason = "a report for people")]

use futures::StreamExt;
use hearth::query::admission::AdmissionOptions;
use hearth::query::engine_store::EngineStore;
use hearth::query::executor::QueryExecutor;
use hearth::query::metrics::QueryMetrics;
use hearth::query::request::QueryOptions;
use hearth::runtime::cpu::CpuPool;
use hearth::sql::request::{SqlFormat, SqlRequest};
use hearth::sql::{NoBlocks, Sql, SqlSources};
use model::tenant::TenantId;
use promql::budget::BudgetLimits;
use promql::parse::ParseOptions;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::append::{LabelHash, Rows};
use storage::engine::Engine;
use storage::store::{Store, StoreOptions};
use storage::wal::replay::ReplayProgress;

const SAMPLES: i64 = 2_880;
const ROUNDS: usize = 5;

const STATEMENTS: [&str; 7] = [
    "SELECT count(*) FROM m",
    "SELECT avg(value) FROM m",
    "SELECT job, avg(value), max(value) FROM m GROUP BY job",
    "SELECT instance, avg(value) FROM m GROUP BY instance",
    "SELECT date_bin(INTERVAL '5 minutes', time) AS t, job, avg(value) FROM m GROUP BY 1, 2",
    "SELECT avg(value) FROM m WHERE job = 'job-1' AND time >= TIMESTAMP '1970-01-01 06:00:00'",
    "SELECT sum(d) FROM (SELECT value - lag(value) OVER (PARTITION BY fingerprint ORDER BY time) AS d FROM m)",
];

fn main() {
    let series: i64 = std::env::var("SQL_BENCH_SERIES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000);
    let dir = tempfile::tempdir().unwrap();
    let blocks = std::env::var_os("SQL_BENCH_BLOCKS");
    let path = blocks.as_ref().map_or(dir.path(), std::path::Path::new);
    let stored = Store::open(StoreOptions::new(path), &ReplayProgress::default()).unwrap();
    fill(stored.engine(), series);
    if blocks.is_some() {
        stored.flush(true).unwrap();
    }
    let sql = sql(&stored);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let samples = series * SAMPLES;
    println!("{samples} samples, best of {ROUNDS}");
    for statement in STATEMENTS {
        let best = (0..ROUNDS).map(|_| runtime.block_on(run(&sql, statement))).min().unwrap();
        println!(
            "{:8.1} ms {:7.2} ns/sample  {statement}",
            best.as_secs_f64() * 1e3,
            best.as_nanos() as f64 / samples as f64
        );
    }
}

fn fill(engine: &Engine, series: i64) {
    let refs: Vec<_> = (0..series)
        .map(|i| {
            let (job, instance) = (format!("job-{}", i % 20), format!("host-{i}:9100"));
            let labels = [("__name__", "m"), ("instance", &*instance), ("job", &*job)];
            engine.create(LabelHash::of_pairs(labels, &mut Vec::new()), &labels).unwrap()
        })
        .collect();
    for scrapes in 0..SAMPLES / 10 {
        let mut rows = Rows::default();
        for scrape in scrapes * 10..(scrapes + 1) * 10 {
            for (i, series) in (0..).zip(&refs) {
                rows.push(*series, scrape * 15_000, ((scrape * 7 + i) % 1000) as f64 / 8.0);
            }
        }
        engine.append_wait(rows).unwrap();
    }
}

fn sql(stored: &Store) -> Sql {
    let store = Arc::new(EngineStore::new(stored.clone()));
    let options = QueryOptions {
        parse: ParseOptions::default(),
        limits: BudgetLimits::default(),
        timeout: Duration::from_secs(600),
        admission: AdmissionOptions { interactive_max: 4, rules_max: 1, waiting_max: 16 },
        log_slower_than: Duration::from_secs(3600),
    };
    let language = promql::engine::Engine::default();
    let pool = CpuPool::new().unwrap();
    let queries = QueryExecutor::new(options, language, store.clone(), pool, QueryMetrics::default());
    let sources = SqlSources {
        store,
        metadata: Arc::new(stored.engine().clone()),
        blocks: Arc::new(NoBlocks),
        lookback_ms: 300_000,
    };
    Sql::new(sources, queries)
}

async fn run(sql: &Sql, statement: &str) -> Duration {
    let started = Instant::now();
    let request = SqlRequest {
        text: statement.to_owned(),
        tenant: TenantId::anonymous(),
        start_ms: None,
        end_ms: None,
        include_stale: false,
        timeout: None,
        format: SqlFormat::Csv,
    };
    let mut body = sql.run(request).await.unwrap().body;
    while let Some(piece) = body.next().await {
        piece.unwrap();
    }
    started.elapsed()
}
