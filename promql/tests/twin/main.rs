//! The engine against its twin, and against itself in other forms.
//!
//! `HEARTH_TWIN_CASES=100000 cargo test --release -p promql --test twin twin_agree` compares so many random queries over
//! random data, half of them with native histograms. A failure prints the seed; `HEARTH_TWIN_SEED` runs the same again.

mod bounded;
mod cell;
mod distribution;
mod durations;
mod folds;
mod generate;
mod info;
mod kinds;
mod limits;
mod many;
mod matching;
mod naive;
mod operators;
mod starts;
mod thinned;
mod tiers;
mod vectors;

use cell::{Cell, Hist};
use many::{many_histograms, many_series};
use model::labels::Labels;
use naive::{Naive, Value};
use promql::budget::{Budget, BudgetLimits};
use promql::testing::memory::MemorySource;
use promql::value::{QueryResult, QueryValue, SampleValue};
use promql::{Engine, EngineOptions, ParseOptions, QueryContext, QueryError, parse};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

/// Values of a matrix by labels and time.
type Cells = BTreeMap<(String, i64), Cell>;

fn engine(delayed_name_removal: bool) -> Engine {
    Engine::new(EngineOptions { delayed_name_removal, subquery_step_ms: 15_000, ..EngineOptions::default() })
}

fn cells(result: &QueryResult) -> Cells {
    let mut cells = Cells::new();
    match &result.value {
        QueryValue::Matrix(series) => {
            for series in series {
                for (time, value) in series.timestamps_ms.iter().zip(&series.values) {
                    cells.insert((series.labels.to_string(), *time), Cell::Float(*value));
                }
                let columns = &series.histograms;
                for (time, histogram) in columns.timestamps_ms.iter().zip(&columns.histograms) {
                    let cell = Cell::Histogram(Hist::from(histogram.as_ref()));
                    let before = cells.insert((series.labels.to_string(), *time), cell);
                    assert_eq!(before, None, "a float and a histogram at the same step");
                }
            }
        }
        QueryValue::Vector { timestamp_ms, samples } => {
            for sample in samples {
                let cell = match &sample.value {
                    SampleValue::Float(value) => Cell::Float(*value),
                    SampleValue::Histogram(histogram) => Cell::Histogram(Hist::from(histogram.as_ref())),
                };
                cells.insert((sample.labels.to_string(), *timestamp_ms), cell);
            }
        }
        QueryValue::Scalar { timestamp_ms, value } => {
            cells.insert(("{}".into(), *timestamp_ms), Cell::Float(*value));
        }
        QueryValue::String { .. } => panic!("no texts are generated"),
    }
    cells
}

/// What differs: labels and time, the one value, the other.
fn difference(a: &Cells, b: &Cells) -> Vec<String> {
    let keys: std::collections::BTreeSet<&(String, i64)> = a.keys().chain(b.keys()).collect();
    let differs = |key: &&(String, i64)| !a.get(*key).zip(b.get(*key)).is_some_and(|(a, b)| a.close(b));
    keys.into_iter().filter(differs).map(|key| format!("{key:?}: {:?}, {:?}", a.get(key), b.get(key))).collect()
}

const START: i64 = 120_000;
const STEP: i64 = 35_000;
const END: i64 = START + 9 * STEP;

fn naive_cells(naive: &Naive<'_>, expr: &promql::ast::Expr) -> Result<Cells, naive::Failed> {
    let mut cells = Cells::new();
    let mut at = naive.start_ms;
    while at <= naive.end_ms {
        match naive.query(expr, at)? {
            Value::Scalar(value) => {
                cells.insert(("{}".into(), at), Cell::Float(value));
            }
            Value::Vector(elements) => {
                for element in elements {
                    cells.insert((element.labels.to_string(), at), element.value);
                }
            }
        }
        at += naive.step_ms;
    }
    Ok(cells)
}

/// Whether the query may lose series to equal names only when seen as a whole; the twin looks at single steps.
fn is_name_clash(error: &QueryError) -> bool {
    matches!(error, QueryError::SameLabelset)
}

/// Asks the engine and the twin.
fn agree(source: &MemorySource, query: &str, delayed: bool) -> Result<(), TestCaseError> {
    agree_on_started(source, &BTreeMap::new(), query, delayed)
}

/// Asks the engine and the twin about samples some of which say since when they count.
fn agree_on_started(
    source: &MemorySource,
    starts: &BTreeMap<(Labels, i64), i64>,
    query: &str,
    delayed: bool,
) -> Result<(), TestCaseError> {
    // With delayed removal `or` may join, over the steps of a range, series of which only some are to lose their
    // name; seen step by step they stay apart. Prometheus has it so.
    let delayed = delayed && !query.contains(" or");
    let expr = parse(query, &ParseOptions::all()).map_err(|error| TestCaseError::fail(format!("{query}: {error}")))?;
    let budget = Budget::default();
    let context = QueryContext::new(source, &budget);
    let options = EngineOptions { start_timestamps: true, ..engine(delayed).options().clone() };
    let answer = Engine::new(options).range(&expr, START, END, STEP, &context);
    let naive = Naive {
        source,
        start_ms: START,
        end_ms: END,
        step_ms: STEP,
        lookback_ms: 300_000,
        subquery_step_ms: 15_000,
        delayed_name_removal: delayed,
        starts,
    };
    match (answer, naive_cells(&naive, &expr)) {
        (Ok(answer), Ok(expected)) => {
            let found = cells(&answer);
            let difference = difference(&found, &expected);
            prop_assert!(difference.is_empty(), "{query}: engine, twin: {difference:?}");
        }
        (Err(_), Err(_)) => {}
        (Err(error), Ok(_)) if is_name_clash(&error) => {}
        (answer, expected) => prop_assert!(false, "{query}\nengine {answer:?}\ntwin {expected:?}"),
    }
    Ok(())
}

/// Asks for one step, and for a range around it.
fn is_middle_step(source: &MemorySource, query: &str) -> Result<(), TestCaseError> {
    prop_assume!(!query.contains("start()"));
    let delayed = !query.contains(" or");
    let expr = parse(query, &ParseOptions::all()).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let budget = Budget::default();
    let context = QueryContext::new(source, &budget);
    let at = START + 4 * STEP;
    let range = engine(delayed).range(&expr, START, END, STEP, &context);
    let instant = engine(delayed).instant(&expr, at, &context);
    if let (Ok(range), Ok(instant)) = (range, instant) {
        let mut middle = cells(&range);
        middle.retain(|(_, time), _| *time == at);
        let instant = cells(&instant);
        let difference = difference(&middle, &instant);
        prop_assert!(difference.is_empty(), "{query}: range, instant: {difference:?}");
    }
    Ok(())
}

/// Whether the query may add histograms below a function that takes their count or sum alone. Resets are then known, and
/// what they contradict is left out, which the twin knows nothing of.
fn depends_on_hints(query: &str) -> bool {
    query.contains("histogram_") && (query.contains(") +") || query.contains(") -"))
}

/// Whether the query or its answer says at which time something is.
fn says_times(query: &str) -> bool {
    ["time()", "timestamp", "@ 300", "@ 250", "ts_of"].iter().any(|part| query.contains(part))
}

/// `PROPTEST_CASES` asks for more. Failing cases are printed, not kept in files: data and query say it all.
fn cases(usual: u32) -> ProptestConfig {
    let asked_for = std::env::var_os("PROPTEST_CASES").is_some();
    let usual = if asked_for { ProptestConfig::default() } else { ProptestConfig::with_cases(usual) };
    ProptestConfig { failure_persistence: None, ..usual }
}

/// The cases of one of the comparisons with the twin.
fn twin_cases(usual: u32) -> ProptestConfig {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
    };
    let seed = number("HEARTH_TWIN_SEED").unwrap_or_else(|| RandomState::new().hash_one(usual));
    eprintln!("HEARTH_TWIN_SEED={seed}"); // shown when the test fails
    let config = cases(usual);
    let cases = number("HEARTH_TWIN_CASES").map_or(config.cases, |cases| cases.div_ceil(4) as u32);
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(seed), max_local_rejects: u32::MAX, ..config }
}

proptest! {
    #![proptest_config(twin_cases(96))]

    #[test]
    fn engine_and_twin_agree(
        series in generate::data(),
        query in generate::query().prop_filter("rounded", |query| !generate::compares_rounded(query)),
        delayed: bool,
    ) {
        agree(&generate::source(&series, &[]), &query, delayed)?;
    }

    #[test]
    fn engine_and_twin_agree_on_histograms(
        series in generate::data(), histograms in generate::histograms(),
        query in generate::histogram_query()
            .prop_filter("hints", |query| !depends_on_hints(query) && !generate::compares_rounded(query)),
        delayed: bool,
    ) {
        agree(&generate::source(&series, &histograms), &query, delayed)?;
    }

    #[test]
    fn engine_and_twin_agree_on_info(series in generate::targets(), query in generate::info_query(), delayed: bool) {
        agree(&generate::source(&series, &[]), &query, delayed)?;
    }

    #[test]
    fn engine_and_twin_agree_on_extensions(
        series in generate::data(), histograms in generate::histograms(), query in generate::extended_query(), delayed: bool,
    ) {
        let mut source = generate::source(&series, &histograms);
        let mut starts = BTreeMap::new();
        for ((labels, _), started) in series.iter().zip(generate::starts(&series)) {
            starts.extend(started.iter().map(|(time, start)| ((labels.clone(), *time), *start)));
            source.append_starts(labels, started);
        }
        agree_on_started(&source, &starts, &query, delayed)?;
    }
}

proptest! {
    #![proptest_config(cases(96))]

    /// Shifting all data and the query by a whole number of steps of subqueries shifts the answer.
    #[test]
    fn time_can_be_shifted(
        histograms in generate::histograms(),
        query in generate::histogram_query().prop_filter("times", |query| !says_times(query)),
        delayed: bool,
    ) {
        const SHIFT: i64 = 7 * 15_000 * 70;
        let source = generate::source(&[], &histograms);
        let shifted: Vec<_> = histograms.iter().map(|(labels, samples)| {
            let later = samples.iter().map(|(time, sample)| (time + SHIFT, sample.clone()));
            (labels.clone(), later.collect())
        }).collect();
        let later = generate::source(&[], &shifted);
        let expr = parse(&query, &ParseOptions::all()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let budget = Budget::default();
        let now = engine(delayed).range(&expr, START, END, STEP, &QueryContext::new(&source, &budget));
        let then = engine(delayed).range(&expr, START + SHIFT, END + SHIFT, STEP, &QueryContext::new(&later, &budget));
        match (now, then) {
            (Ok(now), Ok(then)) => {
                let then = cells(&then).into_iter().map(|((labels, time), cell)| ((labels, time - SHIFT), cell)).collect();
                let difference = difference(&cells(&now), &then);
                prop_assert!(difference.is_empty(), "{query}: now, then: {difference:?}");
            }
            (now, then) => prop_assert_eq!(now.is_err(), then.is_err(), "{}", query),
        }
    }

    /// A selector pinned to a time does not care when it is evaluated.
    #[test]
    fn a_pinned_selector_is_the_same_at_every_time(
        histograms in generate::histograms(), function in generate::histograms::range_function(), mixed: bool,
    ) {
        let source = generate::source(&[], &histograms);
        let query = format!("{function}({}[2m] @ 300)", if mixed { "{__name__=~\"n|m|nc\"}" } else { "n" });
        let expr = parse(&query, &ParseOptions::all()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let budget = Budget::default();
        let context = QueryContext::new(&source, &budget);
        let mut answers = Vec::new();
        for at in [-1_000_000, 0, 300_000, 9_999_999] {
            let answer = engine(true).instant(&expr, at, &context);
            let bits = |answer| cells(&answer).into_iter().map(|((labels, _), cell)| (labels, cell.bits())).collect();
            let bits: Result<Vec<(String, Vec<u64>)>, QueryError> = answer.map(bits);
            answers.push(bits);
        }
        prop_assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{query}: {answers:?}");
    }

    #[test]
    fn an_instant_is_the_middle_step_of_a_range(series in generate::data(), query in generate::query()) {
        is_middle_step(&generate::source(&series, &[]), &query)?;
    }

    #[test]
    fn an_instant_of_histograms_is_the_middle_step_of_a_range(
        histograms in generate::histograms(), query in generate::histogram_query(),
    ) {
        is_middle_step(&generate::source(&[], &histograms), &query)?;
    }
}

#[test]
fn answers_are_equal_to_the_last_bit_for_any_number_of_threads() {
    let source = many_series();
    let queries = [
        "sum(rate(c_total[1m]))",
        "avg by (group) (increase(c_total[2m]))",
        "stddev(c_total)",
        "max without (i) (avg_over_time(c_total[1m]))",
        "topk(5, rate(c_total[1m]))",
        "quantile by (group) (0.7, c_total)",
        "quantile(0.7, rate(c_total[1m]))",
        "count_values(\"v\", floor(c_total))",
        "sum by (group) (c_total) / on (group) group_right () sum by (group, i) (c_total)",
        "sum(c_total * on (i) c_total and on () vector(1))",
        "rate(c_total[1m]) > 0.5 or c_total",
        "quantile_over_time(0.9, c_total[2m])",
        "1 - avg by (node) (label_replace(rate(c_total[1m]), \"node\", \"$1\", \"i\", \".*(..)\"))",
        "avg by (i) (rate(c_total[1m]))",
        "quantile by (node) (0.9, label_replace(c_total, \"node\", \"$1\", \"i\", \".*(..)\"))",
    ];
    let run = |query: &str, threads: Option<usize>| {
        let pool = threads.map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads"));
        let budget = Budget::default();
        let context = QueryContext { pool: pool.as_ref(), ..QueryContext::new(&source, &budget) };
        let expr = parse(query, &ParseOptions::all()).expect("a query");
        let result = engine(false).range(&expr, 300_000, 420_000, 30_000, &context).expect("an answer");
        let bits: BTreeMap<(String, i64), Vec<u64>> =
            cells(&result).into_iter().map(|(key, value)| (key, value.bits())).collect();
        (bits, result.stats.samples_total)
    };
    for query in queries {
        let alone = run(query, None);
        assert!(!alone.0.is_empty(), "{query}");
        for threads in [1, 2, 3, 8] {
            assert!(run(query, Some(threads)) == alone, "{query} with {threads} threads");
        }
    }
}

#[test]
fn histograms_are_equal_to_the_last_bit_for_any_number_of_threads() {
    let source = many_histograms();
    let queries = [
        "sum(rate(h[1m]))",
        "avg by (group) (h)",
        "histogram_quantile(0.9, sum by (group) (increase(h[2m])))",
        "histogram_fraction(0, 1, avg(h))",
        "sum(h * on (i) group_left () h)",
        "h - on (i) h offset 15s",
        "histogram_stddev(sum(h)) or histogram_count(h)",
    ];
    let run = |query: &str, threads: Option<usize>| {
        let pool = threads.map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads"));
        let budget = Budget::default();
        let context = QueryContext { pool: pool.as_ref(), ..QueryContext::new(&source, &budget) };
        let expr = parse(query, &ParseOptions::all()).expect("a query");
        let result = engine(false).range(&expr, 90_000, 150_000, 30_000, &context).expect("an answer");
        let bits: BTreeMap<(String, i64), Vec<u64>> =
            cells(&result).into_iter().map(|(key, value)| (key, value.bits())).collect();
        (bits, result.annotations, result.stats.samples_total)
    };
    for query in queries {
        let alone = run(query, None);
        assert!(!alone.0.is_empty() || query.contains(" * "), "{query}");
        for threads in [1, 2, 5] {
            assert!(run(query, Some(threads)) == alone, "{query} with {threads} threads");
        }
    }
}

#[test]
fn a_query_that_is_stopped_or_too_large_says_so() {
    let source = many_series();
    let expr = parse("c_total", &ParseOptions::all()).expect("a query");
    let ask = |limits: BudgetLimits, stop: fn(&Budget)| {
        let budget = Budget::new(limits);
        stop(&budget);
        let context = QueryContext::new(&source, &budget);
        engine(false).range(&expr, 0, 600_000, 15_000, &context).map(|_| ()).expect_err("refused")
    };
    let unlimited = BudgetLimits::default();
    assert_eq!(ask(unlimited, Budget::cancel), QueryError::Canceled);
    assert_eq!(ask(unlimited, Budget::expire), QueryError::TimedOut);
    assert_eq!(
        ask(BudgetLimits { samples_max: 1000, ..unlimited }, |_| ()),
        QueryError::TooManySamples { samples_max: 1000 }
    );
    assert_eq!(ask(BudgetLimits { series_max: 10, ..unlimited }, |_| ()), QueryError::TooManySeries { series_max: 10 });
    assert_eq!(
        ask(BudgetLimits { bytes_max: 9999, ..unlimited }, |_| ()),
        QueryError::TooManyBytes { bytes_max: 9999 }
    );
}

/// Aggregations hold their groups, not their input of 111,000 values.
#[test]
fn a_sum_of_rates_holds_its_groups_and_one_series() {
    let source = many_series();
    let expr = parse("sum by (group) (rate(c_total[1m]))", &ParseOptions::all()).expect("a query");
    let budget = Budget::new(BudgetLimits { samples_max: 700, ..BudgetLimits::default() });
    let context = QueryContext::new(&source, &budget);
    let result = engine(false).range(&expr, 60_000, 600_000, 15_000, &context).expect("an answer");
    assert_eq!(cells(&result).len(), 7 * 37);
}

/// The parser bounds queries; whatever it lets through must fit a stack of 8 MiB, which is what the server's evaluating
/// threads have at least, in debug builds too.
#[test]
fn the_deepest_queries_that_parse_can_be_evaluated() {
    let thread = std::thread::Builder::new().stack_size(8 << 20).spawn(evaluate_the_deepest_queries);
    thread.expect("a thread starts").join().expect("every query has an answer");
}

fn evaluate_the_deepest_queries() {
    let source = many_series();
    let budget = Budget::default();
    let context = QueryContext::new(&source, &budget);
    let one = "c_total{i=\"1\"}";
    let queries = [
        format!("{one}{}", format!(" + on (i) {one}").repeat(900)),
        format!("{one}{}", " * 2".repeat(999)),
        format!("{one}{}", format!(" or {one}").repeat(300)),
        format!("{one}{}", format!(" unless {one}").repeat(900)),
        format!("{}{one}", "-".repeat(999)),
        format!("{}{one}{}", "abs(".repeat(199), ")".repeat(199)),
        format!("{}{one}{}", "sum(".repeat(199), ")".repeat(199)),
        format!("{}{one}{}", "(1 + ".repeat(199), ")".repeat(199)),
        format!("{one}{}", " ^ 1".repeat(999)),
    ];
    for query in queries {
        let options = ParseOptions { tokens_max: 100_000, ..ParseOptions::all() };
        let expr = parse(&query, &options).unwrap_or_else(|error| panic!("{error}: {}", &query[..60]));
        let answer = engine(false).range(&expr, 300_000, 330_000, 15_000, &context);
        assert!(answer.is_ok(), "{answer:?}: {}", &query[..60]);
    }
}
