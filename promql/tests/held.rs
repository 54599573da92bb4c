//! What a query holds while it is evaluated is charged to its budget.

use model::labels::Labels;
use promql::budget::{Budget, BudgetLimits};
use promql::testing::memory::MemorySource;
use promql::value::{QueryValue, SampleValue};
use promql::{Engine, ParseOptions, QueryContext, QueryError, parse};

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
/// A float for each series and step.
const FLOATS: usize = SERIES * STEPS * 8;

/// The bytes that a query holds at its worst moment; `m` and `shifted` have [`SERIES`] series over [`STEPS`] steps, those of
/// `m` with the same times, those of `shifted` each with times of its own. `one` has one.
fn peak(query: &str) -> usize {
    let mut source = MemorySource::new();
    let samples = |value: f64, shift_ms: i64| (0..STEPS as i64).map(move |step| (step * 1000 - shift_ms, value));
    source.append(&labels(&[("__name__", "one")]), samples(1.0, 0));
    for i in 0..SERIES {
        source.append(&labels(&[("__name__", "m"), ("i", &i.to_string())]), samples(i as f64, 0));
        source.append(&labels(&[("__name__", "shifted"), ("i", &i.to_string())]), samples(i as f64, i as i64 % 1000));
    }
    let budget = Budget::default();
    let expr = parse(query, &ParseOptions::all()).expect("a query");
    let context = QueryContext::new(&source, &budget);
    Engine::default().range(&expr, 0, (STEPS as i64 - 1) * 1000, 1000, &context).expect("an answer");
    assert!(budget.bytes_held() < 1 << 12, "{query}: {}", budget.bytes_held());
    budget.bytes_peak()
}

/// An aggregation holds what it folded until it has a table of all its groups.
#[test]
fn groups_that_are_folded_are_charged() {
    for (query, cells) in [("sum by (i) (m)", 2), ("avg by (i) (m)", 4), ("stddev by (i) (m)", 3)] {
        let peak = peak(&format!("count({query})"));
        assert!((cells * FLOATS..(cells + 2) * FLOATS).contains(&peak), "{query}: {peak}");
    }
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
