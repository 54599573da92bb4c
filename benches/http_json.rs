//! How fast an answer becomes JSON: a matrix of series that share their timestamps, and one of series that do not.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hearth::http::json::query_result::ResultDocument;
use hearth::http::json::stream::Document;
use model::histogram::HistogramColumns;
use model::labels::Labels;
use promql::value::{MatrixSeries, QueryValue};
use std::hint::black_box;
use std::sync::Arc;

const SERIES: usize = 100;
const POINTS: i64 = 1000;

/// The value of a series at a step.
type ValueAt = fn(usize, i64) -> f64;

fn matrix(shared: bool, value: ValueAt) -> QueryValue {
    let timestamps = || (0..POINTS).map(|i| 1_700_000_000_000 + i * 15_000).collect::<Arc<[i64]>>();
    let column = timestamps();
    let series = |i: usize| MatrixSeries {
        labels: Labels::from_pairs([("__name__", "http_requests_total"), ("instance", &format!("10.0.0.{i}:9100"))])
            .unwrap_or_default(),
        timestamps_ms: if shared { Arc::clone(&column) } else { timestamps() },
        values: (0..POINTS).map(|at| value(i, at)).collect(),
        histograms: HistogramColumns::default(),
    };
    QueryValue::Matrix((0..SERIES).map(series).collect())
}

fn write_all(value: QueryValue, chunk: &mut Vec<u8>) -> usize {
    let mut document = ResultDocument::new(value);
    let mut bytes = 0;
    loop {
        chunk.clear();
        let more = document.write_some(chunk, 32 << 10);
        bytes += chunk.len();
        if !more {
            return bytes;
        }
    }
}

fn benchmark(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matrix_to_json");
    group.throughput(Throughput::Elements(SERIES as u64 * POINTS as u64));
    let values: [(&str, ValueAt); 2] = [
        ("integers", |series, at| (series as i64 * 1000 + at) as f64),
        ("rates", |series, at| (series as f64 + 1.0) / (at as f64 + 3.0)),
    ];
    for (name, value) in values {
        for shared in [true, false] {
            let answer = matrix(shared, value);
            let mut chunk = Vec::with_capacity(40 << 10);
            let label = format!("{name}/{}", if shared { "shared" } else { "own" });
            group.bench_function(BenchmarkId::from_parameter(label), |bencher| {
                bencher.iter_batched(
                    || answer.clone(),
                    |answer| black_box(write_all(answer, &mut chunk)),
                    criterion::BatchSize::LargeInput,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
