//! Every function, aggregation, operator and modifier once: `cargo bench -p promql --bench functions [-- PART-OF-A-NAME]`.
//!
//! Functions come from the table of the language, so none can be missing. Each is evaluated over 31 steps of a minute, over
//! 500 series of floats or 50 of native histograms with 20 buckets; throughput is in values given.

#[path = "../../storage/benches/fleet/cpu_time.rs"]
mod cpu_time;

use cpu_time::CpuTime;
use criterion::measurement::Measurement;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use model::histogram::{Histogram, Span};
use model::labels::Labels;
use promql::ast::ValueType;
use promql::budget::Budget;
use promql::functions::{FUNCTIONS, Function};
use promql::testing::memory::MemorySource;
use promql::{Engine, EngineOptions, ParseOptions, QueryContext, parse};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const SCRAPES: i64 = 240;
const INTERVAL_MS: i64 = 15_000;
const SERIES: i64 = 500;
const HISTOGRAMS: i64 = 50;
const BUCKETS: i64 = 20;
const MINUTE_MS: i64 = 60_000;
const STEPS: i64 = 31;

fn labels(name: &str, i: i64, more: &[(&str, &str)]) -> Labels {
    let own = [("__name__", name.to_owned()), ("i", i.to_string()), ("job", format!("job-{}", i % 7))];
    let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
    let pairs = own.into_iter().chain([("instance", format!("node-{i}"))]).chain(more);
    Labels::from_pairs(pairs.map(|(name, value)| (name.to_owned(), value))).expect("names are distinct")
}

fn times() -> impl Iterator<Item = i64> {
    (0..SCRAPES).map(|n| n * INTERVAL_MS)
}

/// Counters `c_total` that tell since when they count, with `target_info` beside them; classic buckets; native histograms `h`.
fn source() -> MemorySource {
    let mut source = MemorySource::new();
    for i in 0..SERIES {
        let counter = labels("c_total", i, &[]);
        source.append(&counter, times().map(|t| (t, (t / 1000 % 1800 * (3 + i % 11)) as f64 / 8.0)));
        source.append_starts(&counter, times().map(|t| (t, t / 1_800_000 * 1_800_000)));
        source.append(&labels("target_info", i, &[("version", "1.2")]), times().map(|t| (t, 1.0)));
        let le = ["0.1", "0.5", "1", "5", "+Inf"][(i % 5) as usize];
        source.append(&labels("b_bucket", i / 5, &[("le", le)]), times().map(|t| (t, (t / 1000 * (i % 5)) as f64)));
    }
    for i in 0..HISTOGRAMS {
        let histograms = times().map(|t| {
            let each = (t / 1000 + i) as f64;
            let histogram = Histogram {
                zero_threshold: 0.001,
                zero_count: each,
                count: each * (BUCKETS + 1) as f64,
                sum: each * 3.0,
                positive_spans: vec![Span { offset: -10, length: BUCKETS as u32 }],
                positive_buckets: vec![each; BUCKETS as usize],
                ..Histogram::default()
            };
            (t, Arc::new(histogram))
        });
        source.append_histograms(&labels("h", i, &[]), histograms);
    }
    source
}

/// A call of the function with arguments of its types.
fn call(function: &Function) -> String {
    let over_histograms = function.name.starts_with("histogram_");
    let arguments = match function.name {
        "label_replace" => r#"c_total, "to", "$1", "instance", "node-(.*)""#.to_owned(),
        "label_join" => r#"c_total, "to", "/", "job", "instance""#.to_owned(),
        "sort_by_label" | "sort_by_label_desc" => r#"c_total, "instance""#.to_owned(),
        "histogram_quantiles" => r#"h, "q", 0.5, 0.9, 0.99"#.to_owned(),
        "histogram_fraction" => "0, 1, h".to_owned(),
        "info" => r#"c_total, {version=~".+"}"#.to_owned(),
        _ => {
            let argument = |kind: &ValueType| match kind {
                ValueType::Matrix => "c_total[5m]",
                ValueType::Vector if over_histograms => "h",
                ValueType::Vector => "c_total",
                ValueType::Scalar => "0.5",
                ValueType::String => r#""text""#,
            };
            function.args.iter().map(argument).collect::<Vec<_>>().join(", ")
        }
    };
    format!("{}({arguments})", function.name)
}

fn bench<M: Measurement>(group: &mut BenchmarkGroup<'_, M>, source: &MemorySource, name: &str, query: &str) {
    let expr = parse(query, &ParseOptions::all()).unwrap_or_else(|error| panic!("{query}: {error}"));
    let engine = Engine::new(EngineOptions { start_timestamps: true, ..EngineOptions::default() });
    let end_ms = SCRAPES * INTERVAL_MS;
    let ask = || {
        let budget = Budget::default();
        let context = QueryContext::new(source, &budget);
        engine.range(&expr, end_ms - (STEPS - 1) * MINUTE_MS, end_ms, MINUTE_MS, &context)
    };
    let series = match ask().unwrap_or_else(|error| panic!("{query}: {error}")).value {
        promql::value::QueryValue::Matrix(series) => series.len(),
        _ => 1,
    };
    group.throughput(Throughput::Elements((series as u64).max(1) * STEPS as u64));
    group.bench_function(name, |b| b.iter(|| black_box(ask())));
}

fn group<'c>(c: &'c mut Criterion<CpuTime>, name: &str) -> BenchmarkGroup<'c, CpuTime> {
    let mut group = c.benchmark_group(name);
    group.sample_size(10).sampling_mode(criterion::SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    group
}

fn functions(c: &mut Criterion<CpuTime>) {
    let source = source();
    let mut group = group(c, "function");
    for function in FUNCTIONS {
        bench(&mut group, &source, function.name, &call(function));
    }
    group.finish();
}

fn aggregations(c: &mut Criterion<CpuTime>) {
    let source = source();
    let mut group = group(c, "aggregation");
    for name in ["sum", "avg", "count", "min", "max", "group", "stddev", "stdvar"] {
        bench(&mut group, &source, name, &format!("{name} by (job) (c_total)"));
    }
    for (name, parameter) in
        [("topk", "3"), ("bottomk", "3"), ("quantile", "0.9"), ("limitk", "3"), ("limit_ratio", "0.5")]
    {
        bench(&mut group, &source, name, &format!("{name} by (job) ({parameter}, c_total)"));
    }
    bench(&mut group, &source, "count_values", r#"count_values("value", c_total)"#);
    bench(&mut group, &source, "sum without", "sum without (i, instance) (c_total)");
    for name in ["sum", "avg"] {
        bench(&mut group, &source, &format!("{name}, native histograms"), &format!("{name} by (job) (h)"));
    }
    group.finish();
}

fn operators(c: &mut Criterion<CpuTime>) {
    let source = source();
    let mut group = group(c, "operator");
    for op in ["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", "<=", ">", ">=", "and", "or", "unless"] {
        bench(&mut group, &source, op, &format!("c_total {op} c_total"));
    }
    let others = [
        ("with a scalar", "c_total * 2"),
        ("bool", "c_total > bool 100"),
        ("unary minus", "-c_total"),
        ("group_left", "c_total * on (instance) group_left (version) target_info"),
        ("fill", "c_total + on (instance) fill (0) target_info"),
        ("</", "h </ 0.7"),
        (">/", "h >/ 0.7"),
        ("+, native histograms", "h + h"),
        ("/, native histograms", "h / 2"),
    ];
    for (name, query) in others {
        bench(&mut group, &source, name, query);
    }
    group.finish();
}

fn modifiers(c: &mut Criterion<CpuTime>) {
    let source = source();
    let mut group = group(c, "modifier");
    let queries = [
        ("none", "c_total"),
        ("offset", "c_total offset 5m"),
        ("@", "c_total @ end()"),
        ("anchored", "rate(c_total[5m] anchored)"),
        ("smoothed", "rate(c_total[5m] smoothed)"),
        ("smoothed, instant", "c_total smoothed"),
        ("subquery", "max_over_time(c_total[10m:1m])"),
        ("duration expression", "rate(c_total[step() * 5])"),
        ("rate, native histograms", "rate(h[5m])"),
        ("rate below a count, native histograms", "histogram_count(rate(h[5m]))"),
        ("quantile of sums of rates, native histograms", "histogram_quantile(0.9, sum by (job) (rate(h[5m])))"),
        ("quantile of sums of rates, classic", "histogram_quantile(0.9, sum by (job, le) (rate(b_bucket[5m])))"),
        ("anchored, native histograms", "increase(h[5m] anchored)"),
    ];
    for (name, query) in queries {
        bench(&mut group, &source, name, query);
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = functions, aggregations, operators, modifiers
}
criterion_main!(benches);
