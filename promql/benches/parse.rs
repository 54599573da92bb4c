//! What it costs to turn queries of dashboards and rules into checked trees, and back.

use criterion::{Criterion, criterion_group, criterion_main};
use promql::printer::prettify;
use promql::{ParseOptions, parse};
use std::hint::black_box;

/// Queries as dashboards and rule files have them, from small to large.
const QUERIES: &[(&str, &str)] = &[
    ("selector", "up"),
    ("rate", r#"rate(http_requests_total{job="api",code=~"5.."}[5m])"#),
    (
        "ratio",
        r#"sum by (job) (rate(http_requests_total{code=~"5.."}[5m])) / sum by (job) (rate(http_requests_total[5m])) > 0.05"#,
    ),
    (
        "quantile",
        r#"histogram_quantile(0.99, sum by (le, route) (rate(http_request_duration_seconds_bucket{cluster="eu",namespace="shop"}[$__rate])))"#,
    ),
    (
        "join",
        r#"sum by (namespace, pod) (kube_pod_info{node=~"node-(a|b|c)"} * on (namespace, pod) group_left (owner) (kube_pod_owner{owner_kind!="Job"} == 1)) unless on (namespace) (kube_namespace_labels{label_ignored="true"} offset 1h)"#,
    ),
    (
        "regex",
        r#"count(node_cpu_seconds_total{instance=~"(web|db|cache)-[0-9]+\\.example\\.com:9100",mode!~"idle|iowait|steal"})"#,
    ),
];

fn queries() -> Vec<(String, String)> {
    let listed = QUERIES.iter().map(|(name, query)| ((*name).to_owned(), query.replace("$__rate", "5m")));
    let values: Vec<String> = (0..200).map(|i| format!("instance-{i:03}")).collect();
    let chain: Vec<String> = (0..100).map(|i| format!("up{{instance=\"{i}\"}}")).collect();
    listed
        .chain([
            ("200 values".to_owned(), format!("up{{instance=~\"{}\"}}", values.join("|"))),
            ("100 operands".to_owned(), chain.join(" or ")),
            ("1000 operators".to_owned(), vec!["a"; 1001].join(" or ")),
        ])
        .collect()
}

fn bench(criterion: &mut Criterion) {
    let options = ParseOptions::default();
    let mut group = criterion.benchmark_group("parse");
    for (name, query) in queries() {
        group.bench_function(&name, |bencher| bencher.iter(|| parse(black_box(&query), &options)));
    }
    group.finish();
    let mut group = criterion.benchmark_group("prettify");
    for (name, query) in queries() {
        let expr = parse(&query, &options).expect("a valid query");
        group.bench_function(&name, |bencher| bencher.iter(|| prettify(black_box(&expr))));
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
