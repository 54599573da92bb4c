//! What a query holds while it is evaluated is charged to its budget.

use model::histogram::{Histogram, Span};
use model::labels::Labels;
use promql::budget::{Budget, BudgetLimits};
use promql::engine::Foresight;
use promql::testing::memory::MemorySource;
use promql::value::{QueryValue, SampleValue};
use promql::{Engine, ParseOptions, QueryContext, QueryError, parse};
use std::sync::Arc;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied()).expect("labels")
}

/// Each distinct value is a series of its own, and counts as one while it is found.
#[test]
fn distinct_values_are_held_within_the_budget() {
    let mut source = MemorySource::new();
    for i in 0..10_000 {
        source.append(&labels(&[("__name__", "m"), ("i", &i.to_string())]), [(0, f64::from(i))]);
    }
    let ask = |bytes_max| {
        let budget = Budget::new(BudgetLimits { bytes_max, ..BudgetLimits::default() });
        let expr = parse("count(count_values(\"v\", m))", &ParseOptions::all()).expect("a query");
        let value =
            Engine::default().instant(&expr, 0, &QueryContext::new(&source, &budget)).map(|result| result.value);
        (value, budget.bytes_peak())
    };
    assert_eq!(ask(300_000).0, Err(QueryError::TooManyBytes { bytes_max: 300_000 }));
    let (value, peak) = ask(usize::MAX);
    let Ok(QueryValue::Vector { samples, .. }) = value else { panic!("a vector") };
    assert_eq!(samples[0].value, SampleValue::Float(10_000.0));
    assert!((500_000..2_000_000).contains(&peak), "{peak}");
}

const SERIES: usize = 1000;
const STEPS: usize = 100;
const BUCKETS: usize = 160;
/// A float for each series and step.
const FLOATS: usize = SERIES * STEPS * 8;

/// The bytes that a query holds at its worst moment; `m` and `shifted` have [`SERIES`] series over [`STEPS`] steps, those of
/// `m` with the same times, those of `shifted` each with times of its own, `native` as many of native histograms. `one` has one.
fn peak(query: &str) -> usize {
    peak_and_estimate(query).0
}

/// The same, and what was expected.
fn peak_and_estimate(query: &str) -> (usize, usize) {
    let mut source = MemorySource::new();
    let samples = |value: f64, shift_ms: i64| (0..STEPS as i64).map(move |step| (step * 1000 - shift_ms, value));
    source.append(&labels(&[("__name__", "one")]), samples(1.0, 0));
    let histogram = Arc::new(Histogram {
        count: BUCKETS as f64,
        positive_spans: vec![Span { offset: 0, length: BUCKETS as u32 }],
        positive_buckets: vec![1.0; BUCKETS],
        ..Histogram::default()
    });
    for i in 0..SERIES {
        let named = |name: &str| labels(&[("__name__", name), ("i", &i.to_string())]);
        source.append(&named("m"), samples(i as f64, 0));
        source.append(&named("shifted"), samples(i as f64, i as i64 % 1000));
        if query.contains("native") {
            let native = (0..STEPS as i64).map(|step| (step * 1000, Arc::clone(&histogram)));
            source.append_histograms(&named("native"), native);
        }
    }
    let budget = Budget::default();
    let expr = parse(query, &ParseOptions::all()).expect("a query");
    let context = QueryContext { foresight: Foresight::Explain, ..QueryContext::new(&source, &budget) };
    let result = Engine::default().range(&expr, 0, (STEPS as i64 - 1) * 1000, 1000, &context).expect("an answer");
    assert!(budget.bytes_held() < 1 << 12, "{query}: {}", budget.bytes_held());
    let estimate = result.explanation.expect("it was asked for").estimate.bytes;
    (budget.bytes_peak(), estimate as usize)
}

/// An aggregation holds a row for each group that is done and what it folds those with that are not: the second of two tasks has
/// 488 of the thousand groups.
#[test]
fn groups_that_are_folded_are_charged() {
    for (query, cells) in
        [("count by (i) (m)", 1), ("sum by (i) (m)", 2), ("avg by (i) (m)", 4), ("stddev by (i) (m)", 3)]
    {
        let (peak, estimate) = peak_and_estimate(&format!("count({query})"));
        let floats = (512 + 488 * cells) * STEPS * 8;
        assert!((floats..floats + FLOATS / 3).contains(&peak), "{query}: {peak} of {floats}");
        assert!((peak * 9 / 10..peak * 3 / 2).contains(&estimate), "{query}: {estimate} for {peak}");
    }
}

/// Of a group that is cut into segments all are held until they are one: floats, and the buckets of native histograms.
#[test]
fn segments_of_groups_are_charged() {
    let (floats, _) = peak_and_estimate("sum(m)");
    assert!((2 * STEPS * 16..STEPS * 48).contains(&floats), "{floats}");
    // Of each bucket its population and what rounding took from it.
    let buckets = 2 * STEPS * BUCKETS * 16;
    for query in ["sum(native)", "avg(native)"] {
        let peak = peak(query);
        assert!((buckets..buckets * 5 / 4).contains(&peak), "{query}: {peak} of {buckets}");
    }
}

/// The rows of the best series are there before their table is.
#[test]
fn rows_of_the_best_series_are_charged() {
    let peak = peak("count(topk(1000, m))");
    // Their values, in order and in rows or in rows and in the table.
    assert!((FLOATS * 4..FLOATS * 5).contains(&peak), "{peak}");
}

/// Where matches may change from step to step, the rows of both sides and those of the results are there together.
#[test]
fn series_that_are_matched_step_by_step_are_charged() {
    let peak = peak("m > on () group_left () fill_right (0) (one * 1e9)");
    assert!((2 * FLOATS..4 * FLOATS).contains(&peak), "{peak}");
}

/// The counts of values stay until they are rows of a table.
#[test]
fn counts_of_values_are_charged_beside_their_table() {
    let peak = peak("count(count_values(\"v\", m))");
    assert!((2 * FLOATS..5 * FLOATS).contains(&peak), "{peak}");
}

/// Which samples each step sees is kept for series that are scraped together; with many such times it is no trifle.
#[test]
fn windows_of_many_timelines_are_charged() {
    let (together, apart) = (peak("count(m)"), peak("count(shifted)"));
    let windows = SERIES * STEPS * 16;
    assert!(together < 1 << 17 && (windows / 2..4 * windows).contains(&apart), "{together} and {apart}");
}
