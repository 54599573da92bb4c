//! Thinned native histograms against all of them: windows of whole buckets do not notice what was left out.

use crate::cell::Cell;
use crate::{cells, engine};
use model::bucket::TierSpan;
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Histogram, Span};
use model::labels::Labels;
use model::sample::stale_marker;
use promql::budget::Budget;
use promql::source::SeriesSource;
use promql::testing::memory::MemorySource;
use promql::testing::tiered::TieredSource;
use promql::value::QueryResult;
use promql::{ParseOptions, QueryContext, parse};
use proptest::prelude::*;
use std::sync::Arc;

const MINUTE: i64 = 60_000;

#[derive(Debug, Clone, Copy)]
enum Scrape {
    Grow([f64; 4]),
    /// To a count that may be higher than the one before: buckets tell.
    Reset([f64; 4]),
    KnownReset,
    Stale,
    Gap(u8),
    Schema(i8),
    ZeroThreshold(f64),
    Bounds(u8),
    Kind,
}

fn scrapes(kinds: bool) -> impl Strategy<Value = Vec<(Scrape, i64)>> {
    let numbers = || prop::array::uniform4(0.0..20.0f64);
    let scrape = prop_oneof![
        40 => numbers().prop_map(Scrape::Grow),
        1 => numbers().prop_map(Scrape::Reset),
        1 => Just(Scrape::KnownReset),
        1 => Just(Scrape::Stale),
        1 => (1u8..40).prop_map(Scrape::Gap),
        1 => (-1i8..4).prop_map(Scrape::Schema),
        1 => prop_oneof![Just(0.0), Just(1e-9), Just(0.01)].prop_map(Scrape::ZeroThreshold),
        1 => (0u8..3).prop_map(Scrape::Bounds),
        u32::from(kinds) => Just(Scrape::Kind),
    ];
    prop::collection::vec((scrape, -900i64..900), 20..260)
}

/// A histogram every 15 s with some jitter.
fn stored(scrapes: &[(Scrape, i64)], whole: bool, mut gauge: bool) -> MemorySource {
    let (mut time, mut schema, mut zero_threshold, mut bounds) = (0, 1, 1e-9, 0u8);
    let (mut numbers, mut sum) = ([0.0; 4], 0.0);
    let mut samples = Vec::new();
    for (scrape, jitter) in scrapes {
        time += 15_000;
        let rounded = |value: f64| if whole { value.floor() } else { value };
        let mut hint = if gauge { CounterResetHint::Gauge } else { CounterResetHint::Unknown };
        match scrape {
            Scrape::Grow(by) if gauge => numbers = by.map(rounded),
            Scrape::Grow(by) => numbers.iter_mut().zip(by).for_each(|(number, by)| *number += rounded(*by)),
            Scrape::Reset(to) => numbers = to.map(rounded),
            Scrape::KnownReset if !gauge => hint = CounterResetHint::Reset,
            Scrape::Gap(scrapes) => {
                time += i64::from(*scrapes) * 15_000;
                continue;
            }
            Scrape::Schema(to) => schema = *to,
            Scrape::ZeroThreshold(to) => zero_threshold = *to,
            Scrape::Bounds(to) => bounds = *to,
            Scrape::Kind => gauge = !gauge,
            Scrape::KnownReset | Scrape::Stale => {}
        }
        sum += numbers[1] * 0.3;
        let [zero_count, low, middle, high] = numbers;
        let custom_values: Arc<[f64]> = (0..bounds).map(|bound| f64::from(bound) + 0.5).collect();
        let is_custom = bounds > 0;
        let positive_buckets = if is_custom { vec![low, middle] } else { vec![low, middle, high] };
        let spans = |length| vec![Span { offset: 0, length }];
        let histogram = Histogram {
            counter_reset_hint: hint,
            schema: if is_custom { CUSTOM_BUCKETS_SCHEMA } else { schema },
            zero_threshold: if is_custom { 0.0 } else { zero_threshold },
            zero_count: if is_custom { 0.0 } else { zero_count },
            count: positive_buckets.iter().sum::<f64>() + if is_custom { 0.0 } else { zero_count },
            sum: if matches!(scrape, Scrape::Stale) { stale_marker() } else { sum },
            positive_spans: spans(positive_buckets.len() as u32),
            positive_buckets,
            custom_values,
            ..Histogram::default()
        };
        let histogram =
            if histogram.is_stale() { Histogram { sum: stale_marker(), ..Histogram::default() } } else { histogram };
        samples.push((time + jitter, Arc::new(histogram)));
    }
    let mut source = MemorySource::new();
    source.append_histograms(&Labels::from_sorted([("__name__", "h")]), samples);
    source
}

/// The whole answer as text, hints included, and its remarks.
fn ask(source: &dyn SeriesSource, query: &str, times: (i64, i64, i64)) -> (String, Vec<String>) {
    let (result, remarks) = answer(source, query, times);
    (format!("{:?}", result.value), remarks)
}

fn answer(source: &dyn SeriesSource, query: &str, (start, end, step): (i64, i64, i64)) -> (QueryResult, Vec<String>) {
    let expr = parse(query, &ParseOptions::all()).unwrap_or_else(|error| panic!("{query}: {error}"));
    let budget = Budget::default();
    let result = engine(false).range(&expr, start, end, step, &QueryContext::new(source, &budget)).expect("an answer");
    let remarks = [result.annotations.warnings(query, 20), result.annotations.infos(query, 20)].concat();
    (result, remarks)
}

/// Equal to the last bit whatever the histograms are.
const EXACT: [&str; 12] = [
    "h",
    "timestamp(h)",
    "delta(h[RANGE])",
    "count_over_time(h[RANGE])",
    "present_over_time(h[RANGE])",
    "absent_over_time(h[RANGE])",
    "first_over_time(h[RANGE])",
    "last_over_time(h[RANGE])",
    "ts_of_first_over_time(h[RANGE])",
    "ts_of_last_over_time(h[RANGE])",
    "histogram_quantile(0.9, h)",
    "histogram_avg(h)",
];
/// The same unless gauges fall.
const OF_COUNTERS: [&str; 8] = [
    "rate(h[RANGE])",
    "increase(h[RANGE])",
    "resets(h[RANGE])",
    "histogram_quantile(0.9, rate(h[RANGE]))",
    "histogram_count(rate(h[RANGE]))",
    "histogram_sum(increase(h[RANGE]))",
    "sum(rate(h[RANGE]))",
    "max_over_time(histogram_count(rate(h[RANGE]))[20m:5m])",
];

fn aligned_query(counters: bool) -> impl Strategy<Value = (String, (i64, i64, i64))> {
    let queries: Vec<&str> = EXACT.iter().chain(OF_COUNTERS.iter().filter(|_| counters)).copied().collect();
    let times = (0i64..8, prop::sample::select(&[5i64, 10, 15][..]), 1i64..12);
    let range = prop::sample::select(&["5m", "10m", "25m"][..]);
    (prop::sample::select(queries), range, times).prop_map(|(query, range, (start, step, steps))| {
        let start = start * 5 * MINUTE;
        (query.replace("RANGE", range), (start, start + steps * step * MINUTE, step * MINUTE))
    })
}

fn tiers(resolution_minutes: i64) -> Vec<TierSpan> {
    let resolution_ms = resolution_minutes * MINUTE;
    vec![TierSpan { resolution_ms, after_ms: -60 * MINUTE, until_ms: 300 * MINUTE }]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn aligned_windows_of_thinned_histograms_give_what_all_give(
        scrapes in scrapes(false), whole: bool, (query, times) in aligned_query(true),
        resolution in prop::sample::select(&[1i64, 5][..]), expired in 0i64..14,
    ) {
        let source = stored(&scrapes, whole, false);
        let thinned = TieredSource::new(&source, tiers(resolution), Some(expired * 5 * MINUTE));
        let (found, expected) = (ask(&thinned, &query, times), ask(&source, &query, times));
        prop_assert_eq!(found, expected, "{} {:?}", query, times);
    }

    #[test]
    fn kinds_that_change_are_noticed(
        scrapes in scrapes(true), whole: bool, gauge: bool, (query, times) in aligned_query(false), expired in 0i64..14,
    ) {
        let source = stored(&scrapes, whole, gauge);
        let thinned = TieredSource::new(&source, tiers(5), Some(expired * 5 * MINUTE));
        let (found, expected) = (ask(&thinned, &query, times), ask(&source, &query, times));
        prop_assert_eq!(found, expected, "{} {:?}", query, times);
    }

    /// An answer that is approximate is the exact one of the windows moved back to bounds of buckets, and says that it is.
    #[test]
    fn windows_that_are_not_whole_are_moved_back(
        scrapes in scrapes(false), late in 1i64..5 * MINUTE,
        query in prop::sample::select(&["rate(h[10m])", "increase(h[5m])", "resets(h[10m])", "count_over_time(h[5m])", "h"][..]),
    ) {
        // Only where some are left out.
        let ten_minutes = [(Scrape::Grow([1.0; 4]), 0); 40];
        let source = stored(&[ten_minutes.as_slice(), &scrapes].concat(), true, false);
        let thinned = TieredSource::new(&source, tiers(5), Some(200 * MINUTE));
        let times = |late| (10 * MINUTE + late, 60 * MINUTE + late, 5 * MINUTE);
        let (found, remarks) = answer(&thinned, query, times(late));
        let bits = |(key, cell): (&(String, i64), &Cell), late| (key.0.clone(), key.1 - late, cell.bits());
        let moved: Vec<_> = cells(&found).iter().map(|cell| bits(cell, late)).collect();
        let expected: Vec<_> = cells(&answer(&source, query, times(0)).0).iter().map(|cell| bits(cell, 0)).collect();
        prop_assert_eq!(moved, expected, "{}", query);
        prop_assert!(remarks.iter().any(|remark| remark.contains("approximated from buckets of 5m")), "{remarks:?}");
    }
}

/// What all samples would be needed for is near, and a warning says so.
#[test]
fn sums_are_approximated_with_a_warning() {
    let scrapes: Vec<(Scrape, i64)> = (0..240).map(|_| (Scrape::Grow([1.0; 4]), 0)).collect();
    let source = stored(&scrapes, true, false);
    let thinned = TieredSource::new(&source, tiers(5), Some(200 * MINUTE));
    let times = (5 * MINUTE, 60 * MINUTE, 5 * MINUTE);
    for query in ["histogram_count(sum_over_time(h[5m]))", "histogram_count(avg_over_time(h[10m]))", "changes(h[5m])"] {
        let (found, remarks) = ask(&thinned, query, times);
        assert!(
            remarks.len() == 1 && remarks[0].contains("some native histograms have expired"),
            "{query}: {remarks:?}"
        );
        let (expected, silent) = ask(&source, query, times);
        assert!(silent.is_empty(), "{query}: {silent:?}");
        // These grow evenly, so that sums are even exact.
        assert_eq!(found == expected, !query.starts_with("changes"), "{query}: {found}, {expected}");
    }
}
