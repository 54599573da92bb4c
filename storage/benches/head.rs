//! The head at 100,000 series: lookup, append, matchers, listings, reading.
#![allow(missing_docs)]

mod fleet;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use model::matcher::{MatchOp, Matcher};
use model::sample::SampleColumns;
use std::cell::Cell;
use std::hint::black_box;
use std::time::Duration;
use storage::append::{LabelHash, Rows, SeriesRef};
use storage::head::{Head, HeadOptions};
use storage::select::TimeRange;

const SERIES: usize = 100_000;
const TICKS: usize = 240;

struct Filled {
    head: Head,
    series: Vec<SeriesRef>,
    next_tick: Cell<usize>,
    _dir: tempfile::TempDir,
}

fn filled() -> Filled {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (head, _) = Head::open(HeadOptions { shards: 2, ..HeadOptions::new(dir.path()) }).expect("a fresh head");
    let series = fleet::create(&head, SERIES);
    let mut rows = Rows::default();
    (0..TICKS).for_each(|tick| {
        fleet::scrape(&head, &series, tick, &mut rows);
    });
    Filled { head, series, next_tick: Cell::new(TICKS), _dir: dir }
}

fn ingest(criterion: &mut Criterion<fleet::cpu_time::CpuTime>, filled: &Filled) {
    let mut group = criterion.benchmark_group("head");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let hashes = fleet::hashes(SERIES);
    let mut found = vec![None; 2_000];
    group.throughput(Throughput::Elements(SERIES as u64));
    group.bench_function("lookup/in scrape order", |bencher| {
        bencher.iter(|| hashes.chunks(2_000).for_each(|chunk| filled.head.lookup(chunk, &mut found)));
    });
    let mut shuffled = hashes.clone();
    shuffled.sort_unstable();
    shuffled.sort_by_key(|hash| fleet::mix(hash.0 as u64, 9));
    group.bench_function("lookup/random", |bencher| {
        bencher.iter(|| shuffled.chunks(2_000).for_each(|chunk| filled.head.lookup(chunk, &mut found)));
    });
    group.bench_function("append/in scrape order", |bencher| {
        let scrape_rows = || {
            let tick = filled.next_tick.replace(filled.next_tick.get() + 1);
            let batch = |(n, chunk): (usize, &[SeriesRef])| {
                let mut rows = Rows::default();
                fleet::fill(chunk, n * 2_000, tick, &mut rows);
                rows
            };
            filled.series.chunks(2_000).enumerate().map(batch).collect::<Vec<_>>()
        };
        let append = |batches: Vec<Rows>| batches.iter().for_each(|rows| drop(filled.head.append(rows)));
        bencher.iter_batched(scrape_rows, append, BatchSize::PerIteration);
    });
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("create", |bencher| {
        let fresh = || {
            let dir = tempfile::tempdir().expect("a temporary directory");
            (Head::open(HeadOptions { shards: 2, ..HeadOptions::new(dir.path()) }).expect("a fresh head").0, dir)
        };
        bencher.iter_batched(fresh, |(head, dir)| (fleet::create(&head, 10_000), dir), BatchSize::PerIteration);
    });
    group.finish();
}

fn index(criterion: &mut Criterion<fleet::cpu_time::CpuTime>, filled: &Filled) {
    let regex = |name, pattern| Matcher::new(name, MatchOp::Regex, pattern).expect("valid");
    let name = || Matcher::equal("__name__", "service_http_0_total");
    let queries: Vec<(&str, Vec<Matcher>)> = vec![
        ("name", vec![name()]),
        ("name, job", vec![name(), Matcher::equal("job", "team-0/service-007")]),
        ("job", vec![Matcher::equal("job", "team-0/service-007")]),
        ("name, pod=~prefix", vec![name(), regex("pod", "service-00[1-5]-.*")]),
        ("pod=~prefix", vec![regex("pod", "service-00[1-5]-.*")]),
        ("pod=~unanchored", vec![regex("pod", ".*-0a.*")]),
        ("name, code!=", vec![name(), Matcher::new("code", MatchOp::NotEqual, "200").expect("valid")]),
        ("everything", vec![]),
    ];
    let mut group = criterion.benchmark_group("select");
    group.sample_size(20).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    for (what, matchers) in &queries {
        let select = || filled.head.select(black_box(matchers), 0, i64::MAX, usize::MAX).map(|found| found.len());
        group.bench_function(*what, |bencher| bencher.iter(select));
    }
    group.finish();
    let mut group = criterion.benchmark_group("list");
    group.sample_size(20).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    let recent = TimeRange { after_ms: fleet::START_MS + 60_000, until_ms: i64::MAX };
    let values = |name, matchers: &[Matcher], limit| filled.head.label_values(name, matchers, recent, limit);
    group.bench_function("values of instance", |bencher| bencher.iter(|| values("instance", &[], usize::MAX)));
    let matchers = [Matcher::equal("namespace", "team-3")];
    group.bench_function("values of path, with matcher", |bencher| {
        bencher.iter(|| values("path", &matchers, usize::MAX));
    });
    let matchers = [name()];
    group.bench_function("values of instance, with matcher", |bencher| {
        bencher.iter(|| values("instance", &matchers, usize::MAX));
    });
    group.bench_function("names, with matcher", |bencher| {
        bencher.iter(|| filled.head.label_names(&matchers, recent, usize::MAX));
    });
    group.bench_function("ten values of pod", |bencher| bencher.iter(|| values("pod", &[], 10)));
    group.bench_function("ten values of pod, with matcher", |bencher| bencher.iter(|| values("pod", &matchers, 10)));
    group.bench_function("ten series", |bencher| {
        bencher.iter(|| filled.head.select_first(&matchers, recent, 10).len());
    });
    group.bench_function("extent", |bencher| bencher.iter(|| filled.head.extent()));
    group.bench_function("stats", |bencher| bencher.iter(|| filled.head.stats().series));
    group.bench_function("cardinality", |bencher| bencher.iter(|| filled.head.cardinality(10)));
    group.finish();
}

/// A million series with a label of their own: what is asked of the index must not depend on how many there are.
fn million(criterion: &mut Criterion<fleet::cpu_time::CpuTime>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (head, _) = Head::open(HeadOptions { shards: 2, ..HeadOptions::new(dir.path()) }).expect("a fresh head");
    let mut scratch = Vec::new();
    for n in 0..1_000_000 {
        let (name, id, pod) = (format!("metric_{}", n % 500), format!("{n:08}"), format!("pod-{}", n / 20));
        let labels = [("__name__", name.as_str()), ("id", &id), ("pod", &pod)];
        let hash = LabelHash::of_pairs(labels, &mut scratch);
        let (series, _) = head.create(hash, &labels, |_| {}).expect("room");
        let mut rows = Rows::default();
        rows.push(series, n, 1.0);
        assert_eq!(head.append(&rows).written, 1);
    }
    let mut group = criterion.benchmark_group("million");
    group.sample_size(20).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    let (half, any) = (TimeRange { after_ms: 500_000, until_ms: i64::MAX }, Matcher::equal("__name__", "metric_7"));
    let values = |matchers: &[Matcher]| head.label_values("id", matchers, half, 10).map(|found| found.items.len());
    group.bench_function("ten values of id", |bencher| bencher.iter(|| values(&[])));
    group.bench_function("ten values of id, with matcher", |bencher| {
        bencher.iter(|| values(std::slice::from_ref(&any)))
    });
    group.bench_function("ten series", |bencher| bencher.iter(|| head.select_first(&[], half, 10).len()));
    group.bench_function("cardinality", |bencher| bencher.iter(|| head.cardinality(10)));
    group.bench_function("stats", |bencher| bencher.iter(|| head.stats().series));
    group.finish();
}

fn reading(criterion: &mut Criterion<fleet::cpu_time::CpuTime>, filled: &Filled) {
    let mut group = criterion.benchmark_group("read");
    group.sample_size(20).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    let matcher = Matcher::equal("__name__", "service_http_0_total");
    let selection = filled.head.select(&[matcher], i64::MIN, i64::MAX, usize::MAX).expect("no bound");
    let mut columns = SampleColumns::default();
    let hour = TimeRange { after_ms: fleet::START_MS + 60_000, until_ms: fleet::START_MS + 3_660_000 };
    group.throughput(Throughput::Elements(selection.len() as u64 * 240));
    group.bench_function("samples of an hour", |bencher| {
        bencher.iter(|| {
            for i in 0..selection.len() {
                black_box(selection.read(i, hour.after_ms, hour.until_ms, &mut columns).expect("readable"));
            }
        });
    });
    group.throughput(Throughput::Elements(selection.len() as u64));
    group.bench_function("newest sample", |bencher| {
        bencher
            .iter(|| (0..selection.len()).filter_map(|i| selection.latest(i, 0, i64::MAX).expect("readable")).count());
    });
    group.bench_function("labels", |bencher| {
        bencher.iter(|| (0..selection.len()).map(|i| selection.labels(i).packed_len()).sum::<usize>());
    });
    group.bench_function("two labels", |bencher| {
        let names = ["job", "pod"];
        bencher.iter(|| (0..selection.len()).map(|i| selection.labels_among(i, &names).packed_len()).sum::<usize>());
    });
    group.finish();
}

fn all(criterion: &mut Criterion<fleet::cpu_time::CpuTime>) {
    let filled = filled();
    reading(criterion, &filled);
    index(criterion, &filled);
    ingest(criterion, &filled);
    million(criterion);
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(fleet::cpu_time::CpuTime);
    targets = all
}
criterion_main!(benches);
