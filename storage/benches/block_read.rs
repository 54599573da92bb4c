//! Reading blocks: nanoseconds per sample from fetched pages to timestamps and values, and matchers over a million series.

#![allow(clippy::print_stdout, reason = "sizes beside the times")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::metadata::MetricType;
use model::sample::SampleColumns;
use std::hint::black_box;
use std::sync::Arc;
use storage::append::LabelHash;
use storage::block::meta::BlockMeta;
use storage::block::order;
use storage::block::read::{Block, BlockCaches, What};
use storage::block::timeline::{GroupKey, TimelinePlanner};
use storage::block::writer::{BlockSpec, BlockWriter, Floats, Histograms, Layout, SeriesInput};
use storage::bucket::Bucket;
use storage::select::TimeRange;

const BASE_MS: i64 = 1_790_000_000_000;

struct Series {
    labels: Labels,
    target: usize,
    kind: usize,
}

/// Writes series with `samples` samples each and returns the block, in memory.
fn block(
    runtime: &tokio::runtime::Runtime,
    mut all: Vec<Series>,
    samples: usize,
    targets: usize,
) -> (Bucket, Arc<BlockMeta>) {
    all.sort_by(|a, b| order::compare(a.labels.iter(), b.labels.iter()));
    let mut noise = 7u64;
    let mut next = move |bound: u64| {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise % bound
    };
    let jittered = |n: usize, off: u64| BASE_MS + n as i64 * 15_000 + off as i64 - 3;
    let grids: Vec<Vec<i64>> = (0..targets).map(|_| (0..samples).map(|n| jittered(n, next(7))).collect()).collect();
    let mut planner = TimelinePlanner::default();
    let choices: Vec<_> = all
        .iter()
        .map(|series| {
            let instance = format!("host-{}", series.target);
            planner.add(
                GroupKey { job: "node", instance: &instance },
                &grids[series.target],
                Some(series.target as u64),
            )
        })
        .collect();
    let spec = BlockSpec {
        ulid: storage::block::meta::ulid(BASE_MS as u64, samples as u128),
        tenant: "anonymous".into(),
        level: 1,
        resolution_ms: 0,
        thinned_ms: 0,
        sources: Vec::new(),
        label_names: ["job", "instance", "cluster", "pod", "code", "le"].map(str::to_owned).to_vec(),
        layout: Layout::of_level(1),
    };
    let dir = tempfile::tempdir().expect("a directory");
    let mut writer = BlockWriter::create(dir.path(), spec, planner.finish().expect("a plan")).expect("files");
    for (series, timeline) in all.iter().zip(choices) {
        let mut counter = 0u64;
        let value = |step: u64| match series.kind % 5 {
            0 => step as f64,
            1 => step as f64 / 1000.0,
            2 => (step / 64) as f64,
            3 => 1.0,
            _ => (step * 4096) as f64,
        };
        let values: Vec<f64> = (0..samples)
            .map(|_| {
                counter += next(40);
                value(counter)
            })
            .collect();
        let labels: Vec<_> = series.labels.iter().collect();
        let input = SeriesInput {
            labels: &labels,
            hash: LabelHash::of_pairs(labels.iter().copied(), &mut Vec::new()),
            metric_type: MetricType::Unknown,
            floats: Floats {
                timestamps_ms: &grids[series.target],
                values: &values,
                starts_ms: &[],
                timeline: Some(timeline),
                token: Some(series.target as u64),
            },
            histograms: Histograms::default(),
            exemplars: &[],
        };
        writer.push(&input).expect("a series");
    }
    let meta = writer.finish().expect("a block");
    let bucket = Bucket::in_memory();
    for file in &meta.files {
        let bytes = std::fs::read(dir.path().join(&file.name)).expect("a file");
        println!("{}: {} bytes", file.name, bytes.len());
        runtime.block_on(bucket.put(&format!("{}{}", meta.prefix(), file.name), bytes.into())).expect("an upload");
    }
    (bucket, Arc::new(meta))
}

fn samples(criterion: &mut Criterion) {
    const SAMPLES: usize = 5760;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let series = |n: usize| {
        let labels = [
            ("__name__", format!("metric_{}", n / 100)),
            ("job", "node".into()),
            ("instance", format!("host-{}", n % 100)),
        ];
        Series { labels: Labels::from_pairs(labels).expect("labels"), target: n % 100, kind: n / 100 }
    };
    let (bucket, meta) = block(&runtime, (0..500).map(series).collect(), SAMPLES, 100);
    let block = Block::new(&bucket, meta, &BlockCaches::new(512 << 20, 1.0)).expect("a block");
    let mut group = criterion.benchmark_group("read 100 series × 24 h");
    group.sample_size(20).throughput(Throughput::Elements(100 * SAMPLES as u64));
    for (metric, name) in ["counter", "3 decimals", "slow counter", "constant", "memory"].iter().enumerate() {
        let matchers = [Matcher::equal("__name__", format!("metric_{metric}"))];
        let found = runtime.block_on(block.select(&matchers, TimeRange::ALL, 1000)).expect("series");
        let pages = runtime.block_on(found.fetch(0..found.len(), TimeRange::ALL, What::FLOATS)).expect("pages");
        println!("{name}: {} bytes of pages", pages.bytes());
        let mut into = SampleColumns::default();
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                for index in 0..found.len() {
                    found.read(&pages, index, TimeRange::ALL, &mut into).expect("samples");
                    black_box(&into);
                }
            });
        });
    }
    group.finish();
}

fn matchers(criterion: &mut Criterion) {
    const SERIES: usize = 1_000_000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let series = |n: usize| {
        let (metric, pod) = (n / 2000, n % 2000);
        let labels = [
            ("__name__", format!("metric_{metric:03}")),
            ("job", "node".into()),
            ("instance", format!("host-{}", pod / 20)),
            ("cluster", format!("cluster-{}", pod % 3)),
            ("pod", format!("pod-{:x}", pod * 7919)),
            ("code", ["200", "404", "500", "503"][pod % 4].into()),
        ];
        Series { labels: Labels::from_pairs(labels).expect("labels"), target: 0, kind: 3 }
    };
    let (bucket, meta) = block(&runtime, (0..SERIES).map(series).collect(), 1, 1);
    let cold = || Block::new(&bucket, Arc::clone(&meta), &BlockCaches::new(512 << 20, 1.0)).expect("a block");
    let block = cold();
    group_of_listings(criterion, &runtime, cold);
    let mut group = criterion.benchmark_group("matchers over 1M series");
    group.sample_size(20);
    let cases = [
        ("one metric", vec![("__name__", MatchOp::Equal, "metric_123")]),
        ("one metric, code =~", vec![("__name__", MatchOp::Equal, "metric_123"), ("code", MatchOp::Regex, "5..")]),
        ("pod =", vec![("pod", MatchOp::Equal, "pod-7bb7")]),
        ("code !=", vec![("code", MatchOp::NotEqual, "200")]),
        ("pod =~", vec![("pod", MatchOp::Regex, "pod-.*7")]),
    ];
    for (name, matchers) in cases {
        let matchers: Vec<_> =
            matchers.into_iter().map(|(name, op, value)| Matcher::new(name, op, value).expect("a matcher")).collect();
        let count = runtime.block_on(block.count(&matchers, TimeRange::ALL)).expect("a count");
        println!("{name}: {count} series");
        group.bench_function(format!("{name}, decoded"), |bencher| {
            bencher.iter(|| runtime.block_on(block.count(&matchers, TimeRange::ALL)).expect("a count"));
        });
        // Nothing is cached but the footer: columns are fetched from memory, checked, decompressed and decoded.
        group.bench_function(format!("{name}, footer alone known"), |bencher| {
            let with_footer = || {
                let block = cold();
                runtime.block_on(block.label_names(&[], TimeRange::ALL, 100)).expect("names");
                block
            };
            let count = |block: Block| runtime.block_on(block.count(&matchers, TimeRange::ALL)).expect("a count");
            bencher.iter_batched(with_footer, count, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn group_of_listings(criterion: &mut Criterion, runtime: &tokio::runtime::Runtime, cold: impl Fn() -> Block) {
    let mut group = criterion.benchmark_group("listings of 1M series, nothing cached");
    group.sample_size(20);
    group.bench_function("label names", |bencher| {
        let names = |block: Block| runtime.block_on(block.label_names(&[], TimeRange::ALL, 100)).expect("names");
        bencher.iter_batched(&cold, names, BatchSize::PerIteration);
    });
    group.bench_function("values of pod", |bencher| {
        let values = |block: Block| runtime.block_on(block.label_values("pod", &[], TimeRange::ALL, 100));
        bencher.iter_batched(&cold, |block| values(block).expect("values"), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, samples, matchers);
criterion_main!(benches);
