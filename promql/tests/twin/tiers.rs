//! Buckets against samples: where old samples are served as buckets, answers stay what they were.

use crate::cell::Cell;
use crate::generate::{compares_rounded, data, query, source};
use crate::{Cells, cells, difference, engine};
use model::bucket::TierSpan;
use model::labels::Labels;
use model::sample::stale_marker;
use promql::budget::Budget;
use promql::resolution::SourceResolution;
use promql::source::SeriesSource;
use promql::testing::memory::MemorySource;
use promql::testing::tiered::TieredSource;
use promql::{ParseOptions, QueryContext, QueryError, parse};
use proptest::prelude::*;

const MINUTE: i64 = 60_000;

/// Buckets of one and of five minutes until a minute each.
fn tiers(fine_until: i64, coarse_until: i64) -> Vec<TierSpan> {
    let span = |resolution_ms, until: i64| TierSpan { resolution_ms, after_ms: -60 * MINUTE, until_ms: until * MINUTE };
    vec![span(MINUTE, fine_until), span(5 * MINUTE, coarse_until)]
}

fn ask(source: &dyn SeriesSource, query: &str, (start, end, step): (i64, i64, i64)) -> Result<Cells, QueryError> {
    let expr = parse(query, &ParseOptions::all()).unwrap_or_else(|error| panic!("{query}: {error}"));
    let budget = Budget::default();
    engine(false).range(&expr, start, end, step, &QueryContext::new(source, &budget)).map(|result| cells(&result))
}

#[derive(Debug, Clone, Copy)]
enum Scrape {
    Value(f64),
    Reset(f64),
    Stale,
    Gap(u8),
}

/// Scrapes every 15 s with some jitter.
fn scrapes(whole: bool) -> impl Strategy<Value = Vec<(Scrape, i64)>> {
    let rounded = move |value: f64| if whole { value.round() } else { value };
    let scrape = prop_oneof![
        30 => (0.0..50.0f64).prop_map(move |value| Scrape::Value(rounded(value))),
        1 => (0.0..5.0f64).prop_map(move |value| Scrape::Reset(rounded(value))),
        1 => Just(Scrape::Stale),
        1 => (1u8..40).prop_map(Scrape::Gap),
    ];
    prop::collection::vec((scrape, -900i64..900), 20..220)
}

/// A counter that falls only by resets, and a gauge that is as often below zero.
fn stored(scrapes: &[(Scrape, i64)]) -> MemorySource {
    let (mut counter, mut gauge) = (Vec::new(), Vec::new());
    let (mut time, mut total) = (0, 0.0);
    for (scrape, jitter) in scrapes {
        time += 15_000;
        let at = time + jitter;
        let pushed = match scrape {
            Scrape::Value(value) => {
                total += value;
                (total, value - 25.0)
            }
            Scrape::Reset(value) => {
                total = *value;
                (total, *value)
            }
            Scrape::Stale => (stale_marker(), stale_marker()),
            Scrape::Gap(scrapes) => {
                time += i64::from(*scrapes) * 15_000;
                continue;
            }
        };
        counter.push((at, pushed.0));
        gauge.push((at, pushed.1));
    }
    let mut source = MemorySource::new();
    for (name, samples) in [("c_total", counter), ("g", gauge)] {
        source.append(&Labels::from_sorted([("__name__", name)]), samples);
    }
    source
}

/// Functions whose answers from buckets are equal to the last bit, whatever the values.
const EXACT: [&str; 13] = [
    "delta",
    "resets",
    "changes",
    "count_over_time",
    "present_over_time",
    "absent_over_time",
    "min_over_time",
    "max_over_time",
    "first_over_time",
    "last_over_time",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "",
];
/// Those that add: equal to the last bit for whole numbers only.
const ADDING: [&str; 4] = ["rate", "increase", "sum_over_time", "avg_over_time"];

/// Queries whose windows consist of whole buckets.
fn aligned_query() -> impl Strategy<Value = (String, (i64, i64, i64))> {
    let functions: Vec<&str> = EXACT.iter().chain(&ADDING).copied().collect();
    let modifiers = prop_oneof![
        5 => Just(""), 1 => Just(" offset 2m"), 1 => Just(" offset -5m"), 1 => Just(" @ 1200"), 1 => Just(" @ end() offset 10m")
    ];
    let times = (0i64..8, prop::sample::select(&[1i64, 2, 5, 15][..]), 1i64..30);
    let range = prop::sample::select(&["1m", "2m", "5m", "10m", "25m"][..]);
    (prop::sample::select(functions), prop_oneof![Just("c_total"), Just("g")], range, modifiers, times).prop_map(
        |(function, name, range, modifier, (start, step, steps))| {
            let query = match function {
                "" => format!("{name}{modifier}"),
                _ => format!("{function}({name}[{range}]{modifier})"),
            };
            let start = start * 5 * MINUTE;
            (query, (start, start + steps * step * MINUTE, step * MINUTE))
        },
    )
}

fn bits(cells: &Cells) -> Vec<(&(String, i64), Vec<u64>)> {
    cells.iter().map(|(key, cell)| (key, cell.bits())).collect()
}

/// Within 1e-12 of the largest sum on the way: values below 25,000, of which there are fewer than 300.
fn near(a: &Cells, b: &Cells) -> bool {
    let close = |a: &Cell, b: &Cell| match (a.float(), b.float()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-12 * (a.abs() + b.abs() + 7500.0),
        _ => false,
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && close(a.1, b.1))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn aligned_windows_of_buckets_give_what_samples_give(
        whole in any::<bool>(),
        (scrapes, (query, times)) in (scrapes(false), aligned_query()),
        (fine, coarse) in (0i64..70, 0i64..12),
    ) {
        let scrapes: Vec<_> = scrapes.into_iter().map(|(scrape, jitter)| (match scrape {
            Scrape::Value(value) if whole => Scrape::Value(value.round()),
            Scrape::Reset(value) if whole => Scrape::Reset(value.round()),
            other => other,
        }, jitter)).collect();
        let source = stored(&scrapes);
        let tiered = TieredSource::new(&source, tiers(fine, coarse * 5), None);
        let (expected, found) = (ask(&source, &query, times).expect("an answer"), ask(&tiered, &query, times).expect("an answer"));
        let is_adding = ADDING.iter().any(|function| query.starts_with(function));
        if is_adding && !whole {
            prop_assert!(near(&found, &expected), "{query} {times:?}: {:?}", difference(&found, &expected));
        } else {
            prop_assert_eq!(bits(&found), bits(&expected), "{} {:?}", query, times);
        }
        // What expired of the samples is not missed.
        let expired = TieredSource::new(&source, tiers(fine, coarse * 5), Some(fine.min(coarse * 5) * MINUTE - MINUTE));
        let without = ask(&expired, &query, times).expect("an answer");
        prop_assert_eq!(bits(&without), bits(&found), "{} {:?}", query, times);
    }

    /// A single window anywhere: samples at its ends, buckets between them.
    #[test]
    fn one_window_of_samples_and_buckets_gives_what_samples_give(
        scrapes in scrapes(true), at in 20 * MINUTE..60 * MINUTE, range in 20 * MINUTE..55 * MINUTE,
        function in prop::sample::select(EXACT.iter().chain(&ADDING).copied().filter(|name| !name.is_empty()).collect::<Vec<_>>()),
        name in prop_oneof![Just("c_total"), Just("g")],
    ) {
        let source = stored(&scrapes);
        let tiered = TieredSource::new(&source, tiers(50, 45), None);
        let query = format!("{function}({name}[{range}ms])");
        let ask = |source: &dyn SeriesSource| {
            let expr = parse(&query, &ParseOptions::all()).expect("a query");
            let budget = Budget::default();
            let result = engine(false).instant(&expr, at, &QueryContext::new(source, &budget)).expect("an answer");
            assert!(result.annotations.warnings(&query, 10).is_empty());
            cells(&result)
        };
        let (found, expected) = (ask(&tiered), ask(&source));
        prop_assert_eq!(bits(&found), bits(&expected), "{} at {}", query, at);
    }

    /// Whatever the query and however it is aligned: where buckets are not exact, samples are taken.
    #[test]
    fn any_query_gives_the_same_on_tiers(
        data in data(), query in query(), until in 1i64..10,
        (start, step) in prop_oneof![(Just(120_000), Just(60_000)), (Just(120_000), Just(30_000)), (Just(125_000), Just(35_000))],
    ) {
        prop_assume!(!compares_rounded(&query));
        let source = source(&data, &[]);
        let span = |resolution_ms, until_ms| TierSpan { resolution_ms, after_ms: -60 * MINUTE, until_ms };
        let tiered = TieredSource::new(&source, vec![span(30_000, until * MINUTE + 30_000), span(60_000, until * MINUTE)], None);
        let times = (start, start + 9 * step, step);
        match (ask(&source, &query, times), ask(&tiered, &query, times)) {
            (Ok(expected), Ok(found)) => {
                let difference = difference(&found, &expected);
                prop_assert!(difference.is_empty(), "{query}: tiers, samples: {difference:?}");
            }
            (expected, found) => prop_assert!(expected.is_err() && found.is_err(), "{query}: {found:?}, {expected:?}"),
        }
    }

    /// An answer that is approximate is the exact one of the windows moved back to bounds of buckets.
    #[test]
    fn windows_that_are_not_whole_are_moved_back(
        scrapes in scrapes(true), function in prop::sample::select(vec!["rate", "max_over_time", "avg_over_time", "changes", ""]), late in 1i64..60_000,
    ) {
        let source = stored(&scrapes);
        let all = TieredSource::new(&source, tiers(200, 0), Some(200 * MINUTE));
        let query = if function.is_empty() { "g".to_owned() } else { format!("{function}(g[5m])") };
        let times = |late| (5 * MINUTE + late, 60 * MINUTE + late, MINUTE);
        let moved: Cells = ask(&all, &query, times(late)).expect("an answer").into_iter().map(|((labels, at), cell)| ((labels, at - late), cell)).collect();
        let expected = ask(&source, &query, times(0)).expect("an answer");
        prop_assert_eq!(bits(&moved), bits(&expected));
    }
}

/// A counter with a sample every 15 s for two hours, and its rate.
fn plain() -> MemorySource {
    let mut source = MemorySource::new();
    let samples = (0..480).map(|i| (i * 15_000, i as f64 * 3.0));
    source.append(&Labels::from_sorted([("__name__", "c_total")]), samples);
    source
}

#[test]
fn buckets_are_read_where_they_are_exact() {
    let source = plain();
    let read = |query: &str, (start, step): (i64, i64)| {
        let tiered = TieredSource::new(&source, tiers(60, 60), None);
        let expected = ask(&source, query, (start, 90 * MINUTE, step)).expect("an answer");
        assert_eq!(
            bits(&ask(&tiered, query, (start, 90 * MINUTE, step)).expect("an answer")),
            bits(&expected),
            "{query}"
        );
        tiered.buckets_read()
    };
    assert_eq!(read("rate(c_total[10m])", (20 * MINUTE, 5 * MINUTE)), 10);
    assert_eq!(read("rate(c_total[10m])", (20 * MINUTE, 4 * MINUTE)), 50);
    assert_eq!(read("rate(c_total[10m] offset 1m)", (20 * MINUTE, 5 * MINUTE)), 51);
    assert_eq!(read("rate(c_total[10m15s])", (20 * MINUTE, 5 * MINUTE)), 0);
    assert_eq!(read("irate(c_total[10m])", (20 * MINUTE, 5 * MINUTE)), 0);
    assert_eq!(read("quantile_over_time(0.5, c_total[10m])", (20 * MINUTE, 5 * MINUTE)), 0);
    assert_eq!(read("sum_over_time(rate(c_total[5m])[10m:5m])", (20 * MINUTE, 5 * MINUTE)), 10);
    assert_eq!(read("c_total", (20 * MINUTE, 5 * MINUTE)), 9);
    assert_eq!(read("c_total", (20 * MINUTE + 1, 5 * MINUTE)), 0);
    // One window of 61 minutes: samples of 16 s and of 30 minutes at its ends.
    assert_eq!(read("increase(c_total[61m16s] @ 5460)", (20 * MINUTE, 5 * MINUTE)), 30);
    assert_eq!(read("increase(c_total[19m16s] @ 3600)", (20 * MINUTE, 5 * MINUTE)), 0);
}

fn warnings(query: &str, (start, step): (i64, i64), resolution: SourceResolution) -> (Vec<String>, usize) {
    let source = plain();
    let tiered = TieredSource::new(&source, tiers(100, 60), Some(80 * MINUTE));
    let budget = Budget::default();
    let context = QueryContext { source_resolution: resolution, ..QueryContext::new(&tiered, &budget) };
    let expr = parse(query, &ParseOptions::all()).expect("a query");
    let result = engine(false).range(&expr, start, 90 * MINUTE, step, &context).expect("an answer");
    (result.annotations.warnings(query, 10), cells(&result).len())
}

#[test]
fn what_expired_is_approximated_with_a_warning_or_left_out() {
    use SourceResolution::{Auto, Exact, UpTo, WhereExpired};
    let aligned = (20 * MINUTE, 5 * MINUTE);
    let odd = (20 * MINUTE + 7, 5 * MINUTE);
    let expired = "PromQL warning: raw samples until 1970-01-01T01:20:00Z have expired: ";
    let approximated = |lengths: &str, place: &str| {
        vec![format!("{expired}older values are approximated from buckets of {lengths} {place}")]
    };
    let left_out = |place: &str| {
        vec![format!("{expired}what is kept of older ones cannot answer this exactly and was left out {place}")]
    };
    for resolution in [Exact, WhereExpired, Auto] {
        assert_eq!(warnings("rate(c_total[10m])", aligned, resolution), (vec![], 15));
    }
    assert_eq!(warnings("rate(c_total[10m])", odd, WhereExpired), (approximated("1m", "(1:6)"), 14));
    assert_eq!(warnings("rate(c_total[10m])", odd, Exact), (left_out("(1:6)"), 1));
    assert_eq!(warnings("irate(c_total[10m])", odd, WhereExpired), (approximated("1m", "(1:7)"), 14));
    assert_eq!(warnings("c_total", odd, WhereExpired), (approximated("1m", "(1:1)"), 14));
    assert_eq!(warnings("c_total", (85 * MINUTE + 7, MINUTE), WhereExpired), (vec![], 5));
    assert_eq!(warnings("c_total", odd, UpTo(5 * MINUTE)), (approximated("1m and 5m", "(1:1)"), 14));
    // Where samples are left nobody has to be warned of what was asked for.
    assert_eq!(warnings("rate(c_total[5m])", (86 * MINUTE + 7, MINUTE), UpTo(5 * MINUTE)), (vec![], 4));
}

/// An answer does not depend on who computes it.
#[test]
fn buckets_give_the_same_for_any_number_of_threads() {
    let mut source = MemorySource::new();
    for i in 0..300_i32 {
        let labels =
            Labels::from_pairs([("__name__".to_owned(), "c_total".to_owned()), ("i".to_owned(), i.to_string())]);
        let samples =
            (0..200).map(|t| (i64::from(t) * 15_000 + i64::from(i % 5), f64::from(t % 57) * (0.1 + f64::from(i))));
        source.append(&labels.expect("labels"), samples);
    }
    let tiered = TieredSource::new(&source, tiers(40, 30), Some(20 * MINUTE));
    let run = |query: &str, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let budget = Budget::default();
        let context = QueryContext { pool: Some(&pool), ..QueryContext::new(&tiered, &budget) };
        let expr = parse(query, &ParseOptions::all()).expect("a query");
        let result = engine(false).range(&expr, 10 * MINUTE, 50 * MINUTE, 5 * MINUTE, &context).expect("an answer");
        let bits: Vec<_> = cells(&result).into_iter().map(|(key, cell)| (key, cell.bits())).collect();
        (bits, result.annotations, result.stats.samples_total)
    };
    for query in ["sum(rate(c_total[5m]))", "avg(c_total)", "avg_over_time(c_total[7m])", "irate(c_total[10m])"] {
        let alone = run(query, 1);
        assert!(!alone.0.is_empty());
        for threads in [2, 3, 8] {
            assert!(run(query, threads) == alone, "{query} with {threads} threads");
        }
    }
}

/// Starts go with the samples that had them: then the answer is the one without them, and says so.
#[test]
fn starts_of_expired_samples_are_no_part_of_an_answer() {
    let labels = Labels::from_pairs([("__name__", "c")]).unwrap();
    let mut source = MemorySource::new();
    let times = (0..240i64).map(|scrape| scrape * 15_000 + 5_000);
    // Begun anew every ten minutes, which values do not tell: they grow all the time.
    source.append(&labels, times.clone().map(|time| (time, time as f64)));
    source.append_starts(&labels, times.map(|time| (time, time / 600_000 * 600_000 + 1)));
    let ask = |source: &dyn SeriesSource, start_timestamps: bool| {
        let engine = promql::Engine::new(promql::EngineOptions { start_timestamps, ..engine(false).options().clone() });
        let (expr, budget) = (parse("rate(c[20m])", &ParseOptions::all()).unwrap(), Budget::default());
        let window = (20 * MINUTE, 60 * MINUTE, 10 * MINUTE);
        let result = engine.range(&expr, window.0, window.1, window.2, &QueryContext::new(source, &budget)).unwrap();
        (cells(&result), result.annotations.warnings("rate(c[20m])", 10))
    };
    let (known, silent) = ask(&source, true);
    let (unknown, _) = ask(&source, false);
    assert!(!difference(&known, &unknown).is_empty() && silent.is_empty(), "{silent:?}");
    let expired = TieredSource::new(&source, tiers(60, 60), Some(30 * MINUTE));
    let (found, warnings) = ask(&expired, true);
    assert!(difference(&found, &unknown).is_empty(), "{:?}", difference(&found, &unknown));
    assert!(warnings.iter().any(|warning| warning.contains("resets are told from values alone")), "{warnings:?}");
    let kept = TieredSource::new(&source, tiers(60, 60), None);
    assert!(difference(&ask(&kept, true).0, &known).is_empty(), "samples are there");
}
