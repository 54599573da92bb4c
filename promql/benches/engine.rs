//! Queries as dashboards ask them over series in memory: what evaluating costs, reading apart. Functions and aggregations
//! alone are in `functions.rs`.
//!
//! Throughput is in scanned samples: those that the source hands out, each once. The source copies its columns, about 0.3 ns
//! per sample; series of one target share their timestamps, as scraped ones do.

#[path = "../../storage/benches/fleet/cpu_time.rs"]
mod cpu_time;

use cpu_time::CpuTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::labels::Labels;
use model::sample::{Sample, SampleColumns};
use promql::budget::Budget;
use promql::source::{SelectRequest, SeriesSet, SeriesSource, SourceError, TimelineToken};
use promql::{Engine, ParseOptions, QueryContext, parse};
use std::hint::black_box;
use std::sync::Arc;

/// Scrapes every 15 s for two hours.
const SCRAPES: i64 = 480;
const INTERVAL_MS: i64 = 15_000;
const SERIES_PER_TARGET: usize = 100;

/// Counters of some targets, with bucket labels, jittered timestamps shared by a target.
struct Counters {
    labels: Arc<Vec<Labels>>,
    timelines: Arc<Vec<Vec<i64>>>,
    values: Arc<Vec<Vec<f64>>>,
}

impl Counters {
    fn new(series: usize) -> Self {
        let labels = (0..series).map(|i| {
            let le = ["0.1", "0.5", "1", "5", "+Inf"][i % 5];
            Labels::from_pairs([
                ("__name__".to_owned(), "http_requests_total".to_owned()),
                ("instance".to_owned(), format!("node-{:04}:9100", i / SERIES_PER_TARGET)),
                ("job".to_owned(), format!("job-{}", i % 7)),
                ("le".to_owned(), le.to_owned()),
                ("path".to_owned(), format!("/api/v1/items/{}", (i % SERIES_PER_TARGET) / 5)),
                ("pod".to_owned(), format!("items-{:05}-{:03}", i / 13, i % 13)),
            ])
            .expect("labels")
        });
        let timeline = |target: i64| (0..SCRAPES).map(|n| n * INTERVAL_MS + (n * 7 + target * 13) % 6 - 3).collect();
        let values = |i: usize| (0..SCRAPES).map(|n| (n * (3 + i as i64 % 11) + n % 5) as f64).collect();
        Self {
            labels: Arc::new(labels.collect()),
            timelines: Arc::new((0..=(series / SERIES_PER_TARGET) as i64).map(timeline).collect()),
            values: Arc::new((0..series).map(values).collect()),
        }
    }
}

impl SeriesSource for Counters {
    fn select(&self, _request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        Ok(Box::new(Self {
            labels: Arc::clone(&self.labels),
            timelines: Arc::clone(&self.timelines),
            values: Arc::clone(&self.values),
        }))
    }
}

impl SeriesSet for Counters {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.labels[index].clone()
    }

    fn may_have_label(&self, name: &str) -> bool {
        !matches!(name, "__type__" | "__unit__")
    }

    fn read(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut SampleColumns,
    ) -> Result<Option<TimelineToken>, SourceError> {
        let target = index / SERIES_PER_TARGET;
        let times = &self.timelines[target];
        let start = times.partition_point(|t| *t <= after_ms);
        let end = times.partition_point(|t| *t <= until_ms);
        into.clear();
        into.timestamps_ms.extend_from_slice(&times[start..end]);
        into.values.extend_from_slice(&self.values[index][start..end]);
        Ok(Some(TimelineToken(target as u64)))
    }

    fn latest(&self, index: usize, after_ms: i64, at_ms: i64) -> Result<Option<Sample>, SourceError> {
        let times = &self.timelines[index / SERIES_PER_TARGET];
        let newest = times.partition_point(|t| *t <= at_ms).checked_sub(1).filter(|i| times[*i] > after_ms);
        Ok(newest.map(|i| Sample { timestamp_ms: times[i], value: self.values[index][i] }))
    }
}

const HOUR: i64 = 3_600_000;

/// Range queries over one hour; `lead_ms` is how far before it the query reads.
fn range_queries(c: &mut Criterion<CpuTime>) {
    let queries = [
        ("rate, 15 s steps", "rate(http_requests_total[5m])", 15_000, 300_000),
        ("rate, 1 m steps", "rate(http_requests_total[5m])", 60_000, 300_000),
        ("sum(rate), 15 s steps", "sum(rate(http_requests_total[5m]))", 15_000, 300_000),
        ("sum(rate), 1 m steps", "sum(rate(http_requests_total[5m]))", 60_000, 300_000),
        ("sum by (job) (rate), 1 m steps", "sum by (job) (rate(http_requests_total[5m]))", 60_000, 300_000),
        ("sum, 15 s steps", "sum(http_requests_total)", 15_000, 300_000),
        ("max_over_time 5 m, 1 m steps", "max(max_over_time(http_requests_total[5m]))", 60_000, 300_000),
        ("avg_over_time 1 h, 1 m steps", "max(avg_over_time(http_requests_total[1h]))", 60_000, 3_600_000),
        ("count_values, 1 m steps", r#"count_values("v", http_requests_total % 7)"#, 60_000, 300_000),
        ("topk(5, rate), 1 m steps", "topk(5, rate(http_requests_total[5m]))", 60_000, 300_000),
        ("quantile(rate), 1 m steps", "quantile(0.9, rate(http_requests_total[5m]))", 60_000, 300_000),
        (
            "histogram_quantile(sum by (le, job)), 1 m steps",
            "histogram_quantile(0.9, sum by (le, job) (rate(http_requests_total[5m])))",
            60_000,
            300_000,
        ),
        (
            "histogram_quantile(rate), 1 m steps",
            "max(histogram_quantile(0.9, rate(http_requests_total[5m])))",
            60_000,
            300_000,
        ),
        (
            "sum(rate * group_left rate), 1 m steps",
            "sum(rate(http_requests_total[5m]) * on (job) group_left () max by (job) (http_requests_total))",
            60_000,
            300_000,
        ),
        (
            "sum(x unless y), 1 m steps",
            r#"sum(http_requests_total unless on (pod) (http_requests_total > 1e6))"#,
            60_000,
            300_000,
        ),
        (
            "sum(rate / rate), 1 m steps",
            "sum(rate(http_requests_total[5m]) / rate(http_requests_total[5m]))",
            60_000,
            300_000,
        ),
        ("subquery, 1 m steps", "max(max_over_time(rate(http_requests_total[5m])[30m:1m]))", 60_000, 2_100_000),
    ];
    let source = Counters::new(1_000);
    let engine = Engine::default();
    let mut group = c.benchmark_group("range");
    group.sample_size(10).sampling_mode(criterion::SamplingMode::Flat);
    for (name, query, step_ms, lead_ms) in queries {
        let expr = parse(query, &ParseOptions::all()).expect("a query");
        let per_series = ((HOUR + lead_ms) / INTERVAL_MS) as u64;
        let reads = query.matches("http_requests_total").count() as u64;
        group.throughput(Throughput::Elements(per_series * reads * source.labels.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let budget = Budget::default();
                let context = QueryContext::new(&source, &budget);
                black_box(engine.range(&expr, HOUR, 2 * HOUR - 60_000, step_ms, &context).expect("an answer"))
            });
        });
    }
    group.finish();
}

/// Instant queries over many series; throughput is in series.
fn instant_queries(c: &mut Criterion<CpuTime>) {
    let queries = [
        ("count", "count(http_requests_total)"),
        ("count by (pod)", "count by (pod) (http_requests_total)"),
        ("sum by (job)", "sum by (job) (http_requests_total)"),
        ("rate", "rate(http_requests_total[5m])"),
        ("join", "http_requests_total * http_requests_total"),
    ];
    let source = Counters::new(100_000);
    let engine = Engine::default();
    let mut group = c.benchmark_group("instant, 100k series");
    group.sample_size(10).sampling_mode(criterion::SamplingMode::Flat);
    group.throughput(Throughput::Elements(source.labels.len() as u64));
    for (name, query) in queries {
        let expr = parse(query, &ParseOptions::all()).expect("a query");
        group.bench_function(name, |b| {
            b.iter(|| {
                let budget = Budget::default();
                let context = QueryContext::new(&source, &budget);
                black_box(engine.instant(&expr, 2 * HOUR - 60_000, &context).expect("an answer"))
            });
        });
    }
    group.finish();
}

/// One series, from the text on: what a panel with a single number asks.
fn one_series(c: &mut Criterion<CpuTime>) {
    let queries = [
        ("selector", r#"http_requests_total{job="job-0"}"#),
        ("rate", r#"rate(http_requests_total{job="job-0"}[5m])"#),
        ("sum(rate) > 0", r#"sum by (job) (rate(http_requests_total{job="job-0"}[5m])) > 0"#),
        ("quantile_over_time", r#"quantile_over_time(0.9, http_requests_total{job="job-0"}[1h])"#),
    ];
    let source = Counters::new(1);
    let engine = Engine::default();
    let mut group = c.benchmark_group("instant, one series");
    for (name, query) in queries {
        group.bench_function(name, |b| {
            // The clock of a thread is read by a system call: many evaluations share two of them.
            b.iter(|| {
                let expr = parse(black_box(query), &ParseOptions::all()).expect("a query");
                let budget = Budget::default();
                let context = QueryContext::new(&source, &budget);
                black_box(engine.instant(&expr, 2 * HOUR - 60_000, &context).expect("an answer"))
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = range_queries, instant_queries, one_series
}
criterion_main!(benches);
