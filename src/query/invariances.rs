//! What an answer must not depend on: over how many shards the series are spread, in which order samples arrive, and what
//! else arrives while a query runs. Answers are compared to the last bit.

use super::engine_store::EngineStore;
use model::histogram::{Histogram, Span};
use model::labels::Labels;
use promql::budget::Budget;
use promql::engine::{Engine, EngineOptions, QueryContext};
use promql::parse::{ParseOptions, parse};
use promql::source::SeriesSource;
use promql::value::{QueryValue, SampleValue};
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use storage::append::{Batch, HistogramRow, LabelHash, Rows, SeriesRef};
use storage::store::{Store, StoreOptions};
use storage::wal::replay::ReplayProgress;

const STEP_MS: i64 = 15_000;
const SCRAPES: i64 = 24;
/// So many that the larger groups are cut into segments.
const COUNTERS: usize = 700;

/// A sample before its series is known to a store.
#[derive(Debug, Clone)]
struct Sample {
    labels: Labels,
    timestamp_ms: i64,
    start_ms: i64,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Float(f64),
    Histogram(Histogram),
}

/// A number that is no round one, different for each pair.
fn number(a: usize, b: i64) -> f64 {
    let bits = (a as u64 * 1_000_003 + b as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12;
    bits as f64 / (1_u64 << 44) as f64
}

/// Counters with resets and starts, gauges with odd values, and histograms, scrape by scrape.
fn samples() -> Vec<Sample> {
    let labels = |name: &str, i: usize| {
        let pairs = [("__name__", name.to_owned()), ("i", i.to_string()), ("group", (i % 3).to_string())];
        Labels::from_pairs(pairs).unwrap()
    };
    let mut samples = Vec::new();
    for scrape in 0..SCRAPES {
        let timestamp_ms = 1_000_000 + scrape * STEP_MS;
        let mut add = |labels, start_ms, value| samples.push(Sample { labels, timestamp_ms, start_ms, value });
        for i in 0..COUNTERS {
            let since = scrape % (9 + i as i64 % 8);
            let counted: f64 = (0..=since).map(|at| number(i, at)).sum();
            let start_ms = if i % 5 == 0 { timestamp_ms - since * STEP_MS - 7_000 } else { 0 };
            add(labels("c_total", i), start_ms, Value::Float(counted));
        }
        for i in 0..40 {
            let odd = [f64::NAN, f64::INFINITY, -0.0, 0.0][(i + scrape as usize) % 4];
            let value = if (i + scrape as usize * 7).is_multiple_of(31) { odd } else { number(i, scrape) - 100.0 };
            add(labels("g", i), 0, Value::Float(value));
            // Many are equal.
            add(labels("level", i), 0, Value::Float((i % 4) as f64 + (scrape % 3) as f64));
            add(labels("zero", i), 0, Value::Float(if i % 2 == 0 { 0.0 } else { -0.0 }));
        }
        for i in 0..30 {
            let counted = (1 + scrape % 11) as f64 * number(i, 0);
            let histogram = Histogram {
                schema: (i % 3) as i8,
                zero_threshold: 0.001,
                zero_count: counted * 0.3,
                count: counted * 1.5,
                sum: counted * 0.1,
                positive_spans: vec![Span { offset: i as i32 % 4 - 2, length: 2 }],
                positive_buckets: vec![counted * 0.5, counted * 0.7],
                ..Histogram::default()
            };
            add(labels("h", i), 0, Value::Histogram(histogram));
        }
    }
    samples
}

/// A store and the directory it lives in.
struct Place {
    store: EngineStore,
    engine: storage::engine::Engine,
    _dir: tempfile::TempDir,
}

impl Place {
    fn new(shards: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::new(dir.path());
        options.engine.segment_bytes = 1 << 20;
        options.engine.shards = Some(shards);
        let store = Store::open(options, &ReplayProgress::default()).unwrap();
        let engine = store.engine().clone();
        Self { store: EngineStore::new(store), engine, _dir: dir }
    }

    fn series(&self, labels: &Labels) -> SeriesRef {
        let pairs: Vec<_> = labels.iter().collect();
        let hash = LabelHash::of_pairs(labels.iter(), &mut Vec::new());
        let mut found = [None];
        self.engine.lookup(&[hash], &mut found);
        found[0].unwrap_or_else(|| self.engine.create(hash, &pairs).unwrap())
    }

    /// Stores what one request brings.
    fn append(&self, samples: &[Sample]) {
        let (mut rows, mut histograms) = (Rows::default(), Vec::new());
        for Sample { labels, timestamp_ms, start_ms, value } in samples.iter().cloned() {
            let series = self.series(&labels);
            match value {
                Value::Float(value) => rows.push_started(series, timestamp_ms, value, start_ms),
                Value::Histogram(histogram) => {
                    histograms.push(HistogramRow { series, timestamp_ms, start_ms, histogram });
                }
            }
        }
        let outcome = self.engine.append_wait(Batch { rows, histograms, ..Batch::default() }).unwrap();
        assert_eq!((outcome.rejected, outcome.histograms_rejected), (vec![], vec![]));
    }

    fn answers(&self) -> Vec<String> {
        let of_each = |query: &&str| vec![answer(&self.store, query, None), answer(&self.store, query, Some(30_000))];
        QUERIES.iter().flat_map(of_each).collect()
    }
}

const QUERIES: [&str; 39] = [
    "c_total",
    "sum(c_total)",
    "sum by (group) (rate(c_total[1m]))",
    "avg by (group) (increase(c_total[2m]))",
    "c_total - on () group_left () avg(c_total)",
    "stddev(c_total)",
    "stdvar by (group) (rate(c_total[2m]))",
    "quantile by (group) (0.7, c_total)",
    "min(g) or max by (group) (g)",
    "max(zero)",
    "min by (group) (zero)",
    "quantile(1, zero)",
    "sum(g)",
    "avg(g > -1e9 < 1e9)",
    "count_values(\"v\", level)",
    "topk(5, rate(c_total[1m]))",
    "topk(3, level)",
    "bottomk by (group) (2, level)",
    "limitk(4, level)",
    "limit_ratio(0.4, c_total)",
    "sort(level)",
    "sort_desc(g)",
    "sort_by_label(level, \"i\")",
    "group by (group) (c_total)",
    "c_total / on (group) group_left () sum by (group) (c_total)",
    "sum(c_total * on (i) group_right () level)",
    "level and on (group) g or c_total > 5000",
    "level unless on (i) topk(7, g)",
    "irate(c_total[1m]) + deriv(c_total[2m])",
    "resets(c_total[5m]) + changes(c_total[5m])",
    "quantile_over_time(0.3, g[2m])",
    "stddev_over_time(c_total[2m])",
    "max_over_time(sum(rate(c_total[1m]))[3m:20s])",
    "sum(h)",
    "avg by (group) (rate(h[1m]))",
    "histogram_quantile(0.9, sum by (group) (increase(h[2m])))",
    "histogram_stddev(avg(h))",
    "h - on (i) h offset 15s",
    "label_replace(level, \"to\", \"$1\", \"i\", \"(.).*\") + on (i) g",
];

/// An answer as text that tells every bit apart, for one time or for steps of so many milliseconds. Series without an order
/// of their own are sorted.
fn answer(source: &dyn SeriesSource, query: &str, step_ms: Option<i64>) -> String {
    let options = EngineOptions { start_timestamps: true, ..EngineOptions::default() };
    let budget = Budget::default();
    let context = QueryContext::new(source, &budget);
    let expr = parse(query, &ParseOptions::all()).unwrap_or_else(|error| panic!("{query}: {error}"));
    let end_ms = 1_000_000 + SCRAPES * STEP_MS;
    let result = match step_ms {
        None => Engine::new(options).instant(&expr, end_ms - 60_000, &context),
        Some(step_ms) => Engine::new(options).range(&expr, 1_100_000, end_ms, step_ms, &context),
    };
    let mut lines: Vec<String> = match result.unwrap_or_else(|error| panic!("{query}: {error}")).value {
        QueryValue::Vector { samples, .. } => samples
            .iter()
            .map(|sample| match &sample.value {
                SampleValue::Float(value) => format!("{} {value:?} {:x}", sample.labels, value.to_bits()),
                SampleValue::Histogram(histogram) => format!("{} {histogram:?}", sample.labels),
            })
            .collect(),
        QueryValue::Matrix(series) => series.iter().map(|series| format!("{series:?}")).collect(),
        other => panic!("{query}: {other:?}"),
    };
    assert!(!lines.is_empty(), "{query}");
    if step_ms.is_none() && !query.starts_with("sort") {
        lines.sort();
    }
    format!("{query} every {step_ms:?}\n{}", lines.join("\n"))
}

fn assert_same(found: &[String], expected: &[String], what: &str) {
    let different = |(found, expected): (&String, &String)| {
        let pairs = found.lines().zip(expected.lines());
        let pair = pairs.clone().find(|(found, expected)| found != expected);
        (found != expected).then(|| format!("{what}: {}: {pair:.800?}", found.lines().next().unwrap_or_default()))
    };
    let problems: Vec<_> = found.iter().zip(expected).filter_map(different).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn in_order(shards: usize) -> Place {
    let place = Place::new(shards);
    let samples = samples();
    samples.chunks(500).for_each(|request| place.append(request));
    place
}

#[test]
fn answers_do_not_depend_on_the_number_of_shards() {
    let expected = in_order(1).answers();
    for shards in [2, 4, 8, 16] {
        assert_same(&in_order(shards).answers(), &expected, &format!("{shards} shards"));
    }
}

/// A permutation that a seed decides.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed | 1;
    for i in (1..items.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(i, (state >> 33) as usize % (i + 1));
    }
}

/// In the head, in blocks as flushed with late samples in blocks of their own, in merged blocks, and after a restart.
#[test]
fn answers_do_not_depend_on_where_samples_are() {
    let expected = in_order(1).answers();
    let place = Place::new(2);
    let samples = samples();
    let is_late = |at: usize| at % 7 == 3;
    let parts = [false, true].map(|late| {
        let part = samples.iter().enumerate().filter(|(at, _)| is_late(*at) == late).map(|(_, sample)| sample.clone());
        part.collect::<Vec<Sample>>()
    });
    let middle = parts[0].len() / 2;
    let (early, rest) = parts[0].split_at(middle);
    let store = place.store.store().clone();
    for part in [early, &parts[1], rest] {
        part.chunks(500).for_each(|request| place.append(request));
        store.flush(false).unwrap();
    }
    assert_eq!(store.engine().head().extent().time_range_ms, None, "the head still has samples");
    assert_same(&place.answers(), &expected, "flushed");
    store.flush(true).unwrap();
    assert!(store.stats().blocks.iter().all(|group| group.level > 0), "{:?}", store.stats().blocks);
    assert_same(&place.answers(), &expected, "merged");
}

/// A case fills three stores; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_do_not_depend_on_the_order_of_arrival(seed: u64, shards in 0u32..3, request in 50usize..2000) {
        let expected = in_order(1).answers();

        // Scrape after scrape, but targets in any order.
        let place = Place::new(1 << shards);
        let mut samples = samples();
        for scrape in samples.chunk_by_mut(|a, b| a.timestamp_ms == b.timestamp_ms) {
            shuffle(scrape, seed);
        }
        samples.chunks(request).for_each(|request| place.append(request));
        assert_same(&place.answers(), &expected, "targets in any order");

        // Out of order throughout, and some of it twice.
        let place = Place::new(1 << shards);
        shuffle(&mut samples, seed ^ 1);
        let again: Vec<Sample> = samples.iter().step_by(3).cloned().collect();
        samples.extend(again);
        shuffle(&mut samples[2000..], seed ^ 2);
        samples.chunks(request).for_each(|request| place.append(request));
        assert_same(&place.answers(), &expected, "out of order");
    }
}

/// Whatever arrives while a query runs, the query does not see it: what must be nothing is nothing, and what was stored
/// together is seen together.
#[test]
fn a_query_sees_what_was_stored_when_it_began() {
    let place = Place::new(4);
    let done = AtomicBool::new(false);
    let labels = |name: &str, i: i64| {
        let pairs = [("__name__", name.to_owned()), ("i", i.to_string())];
        Labels::from_pairs(pairs).unwrap()
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for scrape in 0..400 {
                let sample = |name, i| Sample {
                    labels: labels(name, i),
                    timestamp_ms: 1_000_000 + scrape * 100,
                    start_ms: 0,
                    value: Value::Float(scrape as f64),
                };
                let both = (0..20).flat_map(|i| [sample("a", i), sample("b", i)]);
                place.append(&both.collect::<Vec<_>>());
            }
            done.store(true, Ordering::SeqCst);
        });
        let mut seen = 0.0;
        while !done.load(Ordering::SeqCst) {
            let view = place.store.view().unwrap();
            let at_ms = 1_000_000 + 400 * 100;
            let number = |query: &str| {
                let expr = parse(query, &ParseOptions::all()).unwrap();
                let budget = Budget::default();
                let context = QueryContext::new(&*view, &budget);
                let result = Engine::new(EngineOptions::default()).instant(&expr, at_ms, &context).unwrap();
                let QueryValue::Vector { samples, .. } = result.value else { panic!("a vector") };
                let values = samples.iter().map(|sample| match sample.value {
                    SampleValue::Float(value) => value,
                    SampleValue::Histogram(_) => panic!("no histograms"),
                });
                values.collect::<Vec<f64>>()
            };
            let scrapes = number("max(count_over_time(a[5m]))");
            let Some(scrapes) = scrapes.first().copied() else { continue };
            assert!(scrapes >= seen, "{scrapes} after {seen}");
            seen = scrapes;
            assert_eq!(number("sum by (i) (a) - on (i) (a + 0)"), [0.0; 20]);
            assert_eq!(number("a - on (i) b"), [0.0; 20]);
            assert_eq!(number("sum(count_over_time(a[5m])) - 20 * max(count_over_time(b[5m]))"), [0.0]);
        }
        assert!(seen > 1.0);
    });
}
