//! Answers must not depend on whether samples are still there, as far as `docs/decisions/tiers.md` promises: random series of
//! several days, asked through the executor while samples are there, when tiers were made, and when samples are gone.

use super::admission::AdmissionOptions;
use super::engine_store::EngineStore;
use super::executor::QueryExecutor;
use super::metrics::QueryMetrics;
use super::request::{QueryOptions, QueryRequest, Window};
use crate::runtime::cpu::CpuPool;
use model::histogram::{Histogram, Span};
use model::matcher::Matcher;
use model::sample::stale_marker;
use model::tenant::TenantId;
use promql::budget::BudgetLimits;
use promql::engine::Engine;
use promql::parse::ParseOptions;
use promql::resolution::SourceResolution;
use promql::value::QueryValue;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use storage::append::{Batch, HistogramRow, LabelHash, Rows};
use storage::lifecycle::retention::Retention;
use storage::select::TimeRange;
use storage::store::{Store, StoreOptions};
use storage::tiers::policy::TierPolicy;
use storage::wal::replay::ReplayProgress;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// What buckets answer to the last bit, over whole numbers.
const EXACT: [&str; 16] = [
    "rate(c[1h])",
    "increase(c[2h])",
    "sum by (n) (rate(c[2h]))",
    "resets(c[3h])",
    "sum_over_time(g[1h])",
    "avg_over_time(g[2h])",
    "min_over_time(g[1h])",
    "max_over_time(g[2h])",
    "count_over_time(g[1h])",
    "last_over_time(g[1h])",
    "first_over_time(g[1h])",
    "present_over_time(g[1h])",
    "changes(g[2h])",
    "delta(g[2h])",
    "c",
    "sum(g) by (n)",
];

fn open(path: &Path) -> Store {
    let mut options = StoreOptions::new(path);
    options.engine.segment_bytes = 1 << 20;
    options.engine.shards = Some(2);
    // Only what the test asks for happens.
    options.check_interval = Duration::from_secs(3600);
    Store::open(options, &ReplayProgress::default()).unwrap()
}

/// The first of the days: old enough to be past what samples are kept for, not for what buckets are.
fn base_ms() -> i64 {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    (now_ms.div_euclid(DAY) - 12) * DAY
}

/// Four days of counters with resets and gauges, with jitter, gaps and stale markers, and the first hour of the fifth day.
fn fill(store: &Store, base_ms: i64, seed: u64) {
    let mut state = seed;
    let mut below = move |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut series = Vec::new();
    for number in 0..3 {
        for name in ["c", "g"] {
            let text = number.to_string();
            let labels = [("__name__", name), ("n", text.as_str())];
            let hash = LabelHash::of_pairs(labels, &mut Vec::new());
            series.push((name, store.engine().create(hash, &labels).unwrap(), 0.0));
        }
    }
    for scrape in 0..(4 * DAY + HOUR) / (2 * MINUTE) {
        let mut rows = Rows::default();
        for (name, series, value) in &mut series {
            if below(50) == 0 {
                continue;
            }
            let jitter = if below(3) == 0 { below(3000) as i64 } else { 0 };
            let time_ms = base_ms + scrape * 2 * MINUTE + jitter;
            *value = match *name {
                "c" if below(100) == 0 => below(5) as f64,
                "c" => *value + below(50) as f64,
                _ => below(2000) as f64 - 1000.0,
            };
            rows.push(*series, time_ms, if below(100) == 0 { stale_marker() } else { *value });
        }
        assert!(store.engine().append_wait(rows).unwrap().rejected.is_empty());
    }
}

fn keep_samples(store: &Store, days: u32) {
    let raw_keep = Duration::from_secs(24 * 3600) * days;
    store.set_retention(Retention {
        tiers: Some(TierPolicy { raw_keep, ..TierPolicy::default() }),
        ..Retention::default()
    });
    store.flush(true).unwrap();
}

fn executor(store: &Store) -> QueryExecutor {
    let options = QueryOptions {
        parse: ParseOptions::default(),
        limits: BudgetLimits::default(),
        timeout: Duration::from_secs(60),
        admission: AdmissionOptions { interactive_max: 1, rules_max: 1, waiting_max: 4 },
        log_slower_than: Duration::from_secs(3600),
    };
    let pool = CpuPool::with_size(1, 2).unwrap();
    let source = Arc::new(EngineStore::new(store.clone()));
    QueryExecutor::new(options, Engine::default(), source, pool, QueryMetrics::default())
}

/// The series of an answer as sorted text that tells every bit apart, and its warnings.
async fn answer(store: &Store, text: &str, window: Window, resolution: SourceResolution) -> (Vec<String>, String) {
    let request = QueryRequest {
        text: text.into(),
        tenant: TenantId::anonymous(),
        window,
        timeout: None,
        lookback_ms: None,
        source_resolution: resolution,
        per_step_stats: false,
        explain: false,
        no_cache: true,
    };
    let answer = executor(store).run(request).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    let QueryValue::Matrix(series) = answer.result.value else { panic!("{text} is a matrix") };
    let mut lines: Vec<String> = series.iter().map(|series| format!("{series:?}")).collect();
    lines.sort();
    (lines, format!("{:?}", answer.result.annotations))
}

async fn exact(store: &Store, base_ms: i64) -> Vec<(String, Vec<String>)> {
    let mut answers = Vec::new();
    // Within expired days, and on into the day whose samples are kept.
    for (start, end, step) in
        [(DAY, 4 * DAY, HOUR), (3 * DAY, 4 * DAY + HOUR, 5 * MINUTE), (DAY / 2, 3 * DAY, 4 * HOUR)]
    {
        let window = Window::Range { start_ms: base_ms + start, end_ms: base_ms + end, step_ms: step };
        for text in EXACT {
            let (lines, warnings) = answer(store, text, window, SourceResolution::default()).await;
            assert!(!lines.is_empty() && !warnings.contains("expired"), "{text}: {warnings}");
            answers.push((format!("{text} every {step}"), lines));
        }
    }
    answers
}

fn resolutions(store: &Store) -> Vec<(u64, u64)> {
    store.stats().blocks.iter().map(|group| (group.resolution_ms / MINUTE as u64, group.blocks)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn exact_answers_stay_the_same_when_samples_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base_ms) = (open(dir.path()), base_ms());
    fill(&store, base_ms, 7);
    store.flush(true).unwrap();
    assert_eq!(resolutions(&store), [(0, 5)], "no tier is made unless it is asked for");
    let before = exact(&store, base_ms).await;

    keep_samples(&store, 30);
    assert_eq!(resolutions(&store), [(0, 5), (5, 5), (60, 5)]);
    let with_tiers = exact(&store, base_ms).await;
    for (expected, found) in before.iter().zip(&with_tiers) {
        assert_eq!(expected, found, "samples are there");
    }

    keep_samples(&store, 5);
    assert_eq!(resolutions(&store), [(0, 1), (5, 5), (60, 5)]);
    for (expected, found) in before.iter().zip(&exact(&store, base_ms).await) {
        assert_eq!(expected, found, "samples are gone");
    }
    store.close().unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(exact(&store, base_ms).await, before, "after a restart");
    let range = TimeRange { after_ms: base_ms, until_ms: base_ms + DAY };
    assert_eq!(store.label_values("n", &[], range, 10).unwrap().items, ["0", "1", "2"]);
    assert_eq!(store.select_first(&[], range, 10).unwrap().len(), 6);
}

/// Four days of native histograms beside the floats.
fn fill_histograms(store: &Store, base_ms: i64, interval_ms: i64) {
    let series = ["0", "1"].map(|n| {
        let labels = [("__name__", "h"), ("n", n)];
        store.engine().create(LabelHash::of_pairs(labels, &mut Vec::new()), &labels).unwrap()
    });
    let histograms = (0..(4 * DAY + HOUR) / interval_ms).flat_map(|scrape| {
        series.map(|series| {
            // A reset every few hours.
            let count = ((scrape * 7 + i64::from(series.0)) % 300) as f64;
            let positive_spans = vec![Span { offset: 1, length: 2 }];
            let positive_buckets = vec![count, 2.0 * count];
            let histogram = Histogram {
                count: 3.0 * count,
                sum: count / 3.0,
                positive_spans,
                positive_buckets,
                ..Histogram::default()
            };
            HistogramRow { series, timestamp_ms: base_ms + scrape * interval_ms + 1_234, start_ms: 0, histogram }
        })
    });
    let histograms = histograms.collect();
    store.engine().append_wait(Batch { histograms, ..Batch::default() }).unwrap();
    fill(store, base_ms, 11);
    store.flush(true).unwrap();
}

/// No tier has native histograms: they stay, and of those of which no two are in a bucket all do, so that answers over them are those of
/// samples, windows whole or not.
#[tokio::test(flavor = "multi_thread")]
async fn native_histograms_answer_as_ever_when_floats_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base_ms) = (open(dir.path()), base_ms());
    fill_histograms(&store, base_ms, 5 * MINUTE);
    let answers = async || {
        let mut answers = Vec::new();
        for (start, step) in [(DAY, HOUR), (DAY + 17_000, 7 * MINUTE)] {
            let window = Window::Range { start_ms: base_ms + start, end_ms: base_ms + 4 * DAY, step_ms: step };
            for text in [
                "histogram_quantile(0.9, sum(rate(h[1h])))",
                "rate(h[23m])",
                "histogram_count(increase(h[2h]))",
                "sum by (n) (h)",
            ] {
                let (lines, _) = answer(&store, text, window, SourceResolution::default()).await;
                assert!(!lines.is_empty(), "{text}");
                answers.push((text, lines));
            }
        }
        answers
    };
    let before = answers().await;
    keep_samples(&store, 30);
    assert_eq!(answers().await, before, "floats are there");
    keep_samples(&store, 5);
    let manifest = store.manifest();
    let old = manifest.blocks.iter().filter(|block| block.resolution_ms == 0 && block.max_ms < base_ms + 4 * DAY);
    assert!(old.clone().count() == 4 && old.clone().all(|block| block.samples == 0), "floats are gone");
    assert_eq!(answers().await, before, "floats are gone");
}

/// Of several in a bucket those are left out that no window of whole buckets needs; whoever would need them is told.
#[tokio::test(flavor = "multi_thread")]
async fn thinned_native_histograms_answer_exactly_where_windows_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base_ms) = (open(dir.path()), base_ms());
    fill_histograms(&store, base_ms, MINUTE);
    let window =
        |late_ms| Window::Range { start_ms: base_ms + DAY, end_ms: base_ms + 3 * DAY, step_ms: HOUR + late_ms };
    let answers = async || {
        let mut answers = Vec::new();
        for text in [
            "histogram_quantile(0.9, sum(rate(h[1h])))",
            "histogram_count(increase(h[2h]))",
            "histogram_avg(rate(h[1h]))",
            "count_over_time(h[1h])",
            "resets(h[3h])",
            "sum by (n) (h)",
        ] {
            let (lines, warnings) = answer(&store, text, window(0), SourceResolution::default()).await;
            assert!(!lines.is_empty() && !warnings.contains("expired"), "{text}: {warnings}");
            answers.push((text, lines));
        }
        answers
    };
    let before = answers().await;
    let count = |store: &Store| store.manifest().blocks.iter().map(|block| block.histograms).sum::<u64>();
    let all = count(&store);
    keep_samples(&store, 5);
    assert!(count(&store) < all / 2, "{} of {all} are left", count(&store));
    assert_eq!(answers().await, before);
    for (text, late_ms) in [("sum_over_time(h[1h])", 0), ("changes(h[1h])", 0), ("rate(h[23m])", 7), ("h", 7)] {
        let (lines, warnings) = answer(&store, text, window(late_ms), SourceResolution::default()).await;
        assert!(!lines.is_empty() && warnings.contains("expired"), "{text}: {warnings}");
    }
    let (lines, warnings) = answer(&store, "rate(h[23m])", window(7), SourceResolution::Exact).await;
    assert!(lines.is_empty(), "{lines:?}");
    assert!(warnings.contains("expired"), "{warnings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_approximate_says_so_where_samples_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base_ms) = (open(dir.path()), base_ms());
    fill(&store, base_ms, 8);
    keep_samples(&store, 30);
    let window = Window::Range { start_ms: base_ms + DAY + 17_000, end_ms: base_ms + 2 * DAY, step_ms: 7 * MINUTE };
    let texts = ["rate(c[23m])", "quantile_over_time(0.5, g[50m])"];
    for text in texts {
        let (lines, warnings) = answer(&store, text, window, SourceResolution::default()).await;
        assert!(lines.len() == 3 && !warnings.contains("expired"), "{text}: {warnings}");
    }
    keep_samples(&store, 5);
    for text in texts {
        let (lines, warnings) = answer(&store, text, window, SourceResolution::default()).await;
        assert!(lines.len() == 3 && !warnings.is_empty(), "{text}: {warnings}");
        assert!(warnings.contains("expired"), "{text}: {warnings}");
        let (lines, warnings) = answer(&store, text, window, SourceResolution::Exact).await;
        assert!(lines.is_empty() && warnings.contains("expired"), "{text}: {warnings}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn late_samples_and_deletions_reach_the_tiers() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base_ms) = (open(dir.path()), base_ms());
    fill(&store, base_ms, 9);
    keep_samples(&store, 30);
    let labels = [("__name__", "late"), ("n", "0")];
    let late = store.engine().create(LabelHash::of_pairs(labels, &mut Vec::new()), &labels).unwrap();
    let mut rows = Rows::default();
    rows.push(late, base_ms + DAY + 90_000, 41.0);
    store.engine().append_wait(rows).unwrap();
    keep_samples(&store, 30);
    keep_samples(&store, 5);
    let window = Window::Range { start_ms: base_ms + HOUR, end_ms: base_ms + 3 * DAY, step_ms: HOUR };
    let sum = |text: &'static str| {
        let store = store.clone();
        async move { answer(&store, text, window, SourceResolution::default()).await.0 }
    };
    let found = sum("sum_over_time(late[1h])").await;
    assert!(found.len() == 1 && found[0].contains("41.0"), "{found:?}");
    store.delete_series(&[vec![Matcher::equal("n", "0")]], i64::MIN, i64::MAX).unwrap();
    assert_eq!(sum("sum_over_time(g[1h])").await.len(), 2, "at once");
    store.clean_tombstones().unwrap();
    assert_eq!(store.stats().tombstones, 0);
    assert_eq!(sum("sum_over_time(g[1h])").await.len(), 2, "carried out");
    assert_eq!(sum("sum_over_time(late[1h])").await.len(), 0);
}
