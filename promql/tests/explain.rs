//! What `explain` says of a query before and after it is evaluated.

use model::histogram::Histogram;
use model::labels::Labels;
use promql::budget::{Budget, BudgetLimits};
use promql::engine::{Engine, EngineOptions, Foresight, QueryContext, QueryError};
use promql::explain::Explanation;
use promql::testing::memory::MemorySource;
use promql::{ParseOptions, parse};
use std::sync::Arc;
use std::time::Duration;

/// 60 series of four jobs, a sample each 15 seconds for an hour.
fn source() -> MemorySource {
    let mut source = MemorySource::new();
    for i in 0..60 {
        let (job, instance) = (format!("job-{}", i % 4), i.to_string());
        let labels = Labels::from_pairs([("__name__", "up"), ("instance", &instance), ("job", &job)])
            .expect("names are distinct");
        source.append(&labels, (0..240).map(|n| (n * 15_000, n as f64)));
    }
    source
}

const END_MS: i64 = 3_600_000;

fn analyzed(query: &str, limits: BudgetLimits) -> Result<Explanation, QueryError> {
    let (source, budget) = (source(), Budget::new(limits));
    let context = QueryContext { foresight: Foresight::Explain, ..QueryContext::new(&source, &budget) };
    let expr = parse(query, &ParseOptions::all()).expect("it is an expression");
    let result = Engine::new(EngineOptions::default()).range(&expr, END_MS - 1_800_000, END_MS, 60_000, &context)?;
    Ok(result.explanation.expect("it was asked for"))
}

#[test]
fn parts_come_before_those_inside_them_with_estimates_that_come_true() {
    let explanation = analyzed("sum by (job) (rate(up[5m])) > 2 * 3", BudgetLimits::default()).unwrap();
    let lines: Vec<String> = explanation
        .parts
        .iter()
        .map(|part| {
            let actual = part.actual.unwrap();
            let series = (part.estimate.series, actual.series);
            format!("{}{} x{} {series:?}", " ".repeat(part.depth), part.operation, part.steps)
        })
        .collect();
    assert_eq!(
        lines,
        [
            "> with a scalar x31 (4, 0)",
            " sum by (job) x31 (4, 4)",
            "  rate x31 (60, 60)",
            "   select {__name__=\"up\"} over 5m x31 (60, 60)",
            " once for all steps x31 (0, 0)",
            "  * of scalars x1 (0, 0)",
            "   number 2 x1 (0, 0)",
            "   number 3 x1 (0, 0)",
        ]
    );
    let read = &explanation.parts[3];
    assert_eq!((read.estimate.samples, read.actual.unwrap().samples), (8340, 8340));
    assert_eq!((explanation.estimate.series, explanation.estimate.samples), (60, 8340));
    // Every part tells what it held and how long it took: the sum a table, the range one series at once, the rate nothing.
    let actual = |n: usize| explanation.parts[n].actual.unwrap();
    assert!((4 * 31 * 8..4 * 31 * 8 + 4000).contains(&actual(1).bytes), "{}", actual(1).bytes);
    assert_eq!((actual(2).bytes, actual(3).bytes), (0, 139 * 16));
    assert!(actual(3).time > Duration::ZERO && actual(3).time < actual(2).time && actual(2).time < actual(1).time);
}

#[test]
fn native_histograms_in_ranges_are_samples() {
    let mut source = MemorySource::new();
    let labels = Labels::from_pairs([("__name__", "h")]).expect("one name");
    source.append_histograms(&labels, (0..240).map(|n| (n * 15_000, Arc::new(Histogram::default()))));
    let budget = Budget::default();
    let context = QueryContext { foresight: Foresight::Explain, ..QueryContext::new(&source, &budget) };
    let expr = parse("histogram_count(rate(h[5m]))", &ParseOptions::all()).expect("it is an expression");
    let answer = Engine::default().instant(&expr, END_MS - 1, &context).unwrap();
    let read = answer.explanation.unwrap().parts.last().unwrap().actual.unwrap();
    assert_eq!((read.series, read.samples), (1, 20));
    assert!(read.bytes >= 20 * 16, "{}", read.bytes);
}

/// A range vector that is the result is read like one that is folded.
#[test]
fn a_range_vector_as_result_says_what_was_read() {
    for (query, samples, inside) in
        [("up[5m]", 1200, "select"), ("up[5m:1m]", 300, "subquery"), ("up[5m] @ 300", 1200, "select")]
    {
        let (source, budget) = (source(), Budget::default());
        let context = QueryContext { foresight: Foresight::Explain, ..QueryContext::new(&source, &budget) };
        let expr = parse(query, &ParseOptions::all()).expect("it is an expression");
        let parts = Engine::default().instant(&expr, END_MS - 1, &context).unwrap().explanation.unwrap().parts;
        assert!(parts[0].operation == "range vector" && parts[1].operation.starts_with(inside), "{query}: {parts:?}");
        for part in &parts[..2] {
            let actual = part.actual.unwrap();
            assert_eq!(
                (actual.series, actual.samples, part.estimate.samples),
                (60, samples, samples),
                "{query}: {part:?}"
            );
            assert!(actual.time > Duration::ZERO, "{query}: {part:?}");
        }
        assert!(parts[1].actual.unwrap().bytes >= samples / 60 * 16, "{query}: {parts:?}");
    }
}

#[test]
fn a_query_that_cannot_fit_is_refused_before_it_is_evaluated() {
    let limits = BudgetLimits { samples_max: 900, ..BudgetLimits::default() };
    let error = analyzed("up", limits).unwrap_err();
    assert_eq!(error, QueryError::WouldNotFit { what: "samples", expected: 1860, allowed: 900 });
    assert!(error.to_string().contains("about 1860 samples"), "{error}");
    assert!(analyzed("sum(up)", limits).is_ok());
}

#[test]
fn without_evaluation_there_are_only_estimates() {
    let (source, budget) = (source(), Budget::default());
    let expr = parse("max_over_time(sum by (job) (up)[10m:1m])", &ParseOptions::all()).unwrap();
    let engine = Engine::new(EngineOptions::default());
    let explanation = engine.explain(&expr, (END_MS, END_MS, 0), &QueryContext::new(&source, &budget)).unwrap();
    let steps: Vec<_> = explanation.parts.iter().map(|part| (part.operation.as_str(), part.steps)).collect();
    assert_eq!(
        steps,
        [("max_over_time", 1), ("subquery over 10m", 1), ("sum by (job)", 10), ("select {__name__=\"up\"}", 10)]
    );
    assert!(explanation.parts.iter().all(|part| part.actual.is_none()));
}

/// The steps of a subquery are bounded whatever is inside it; those of one that is never evaluated are none.
#[test]
fn an_estimate_refuses_subqueries_that_evaluating_refuses() {
    let (source, limits) = (source(), BudgetLimits { bytes_max: 1 << 40, ..BudgetLimits::default() });
    let ask = |query: &str| {
        let budget = Budget::new(limits);
        let (engine, context) = (Engine::default(), QueryContext::new(&source, &budget));
        let expr = parse(query, &ParseOptions::all()).unwrap();
        let foreseen = engine.explain(&expr, (END_MS, END_MS, 0), &context).map(|_| ());
        (foreseen, engine.instant(&expr, END_MS, &context).map(|_| ()))
    };
    for query in ["sum_over_time(vector(1)[10y:1ms])", "sum(max_over_time(up[10y:1ms]))", "vector(1)[10y:1ms]"] {
        let refused = Err(QueryError::TooManySteps { steps: 10 * 365 * 86_400_000, allowed: 50_000_000 });
        assert_eq!(ask(query), (refused.clone(), refused), "{query}");
    }
    for query in
        ["sum_over_time(vector(1)[1d:10s])", "sum_over_time(sum_over_time(vector(1)[10y:1ms])[1ms:1h] offset 1ms)"]
    {
        assert_eq!(ask(query), (Ok(()), Ok(())), "{query}");
    }
}

/// What a subquery evaluates is counted wherever it is needed: as the result, and while it is folded.
#[test]
fn points_of_subqueries_are_estimated_and_refused_when_they_cannot_fit() {
    let (source, steps) = (source(), 6 * 3_600_000);
    let estimate = |query: &str| {
        let (budget, engine) = (Budget::default(), Engine::default());
        let expr = parse(query, &ParseOptions::all()).unwrap();
        let explanation = engine.explain(&expr, (END_MS, END_MS, 0), &QueryContext::new(&source, &budget))?;
        Ok::<_, QueryError>(explanation.estimate)
    };
    let folded = estimate("max_over_time(up[6h:1ms])").unwrap();
    assert_eq!((folded.result_samples, folded.samples_held), (60, steps));
    assert!((24 * steps..48 * steps).contains(&folded.bytes), "{folded:?}");
    let summed = estimate("avg_over_time(sum(up)[6h:1ms])").unwrap();
    assert!(summed.bytes > folded.bytes + 16 * steps, "{summed:?} {folded:?}");
    let plain = estimate("max_over_time(up[6h:1m])").unwrap();
    assert!(plain.bytes < 100_000, "{plain:?}");
    let result = estimate("up[1h:1m]").unwrap();
    assert_eq!((result.result_samples, result.samples_held), (60 * 60, 60));
    assert!(result.bytes >= 60 * 60 * 16, "{result:?}");

    // Neither is evaluated, which would take a while: what is expected is told.
    let budget = Budget::new(BudgetLimits { bytes_max: 1 << 28, ..BudgetLimits::default() });
    let context = QueryContext { foresight: Foresight::Estimate, ..QueryContext::new(&source, &budget) };
    let refused = |query: &str| {
        let expr = parse(query, &ParseOptions::all()).unwrap();
        Engine::default().instant(&expr, END_MS, &context).map(|_| ()).unwrap_err().to_string()
    };
    let text = refused("up[6h:1ms]");
    assert!(text.contains("about 1296000000 samples in memory, 50000000 are allowed"), "{text}");
    let text = refused("avg_over_time(sum(up)[6h:1ms])");
    assert!(text.contains("bytes in memory, 268435456 are allowed"), "{text}");
    assert_eq!(budget.series(), 0, "nothing was selected");
}

#[test]
fn a_long_chain_of_operators_is_explained_without_a_deep_stack() {
    let query = vec!["up"; 900].join(" or ");
    let explanation = analyzed(&query, BudgetLimits::default()).unwrap();
    assert_eq!(explanation.parts.len(), 2 * 900 - 1);
}

#[test]
fn what_is_taken_from_an_equal_part_says_so() {
    let query = "sum(up) / (sum(up) + count(up))";
    let explanation = analyzed(query, BudgetLimits::default()).unwrap();
    let lines: Vec<_> =
        explanation.parts.iter().map(|part| (part.operation.as_str(), part.actual.unwrap().series)).collect();
    let select = "select {__name__=\"up\"}";
    let expected = [
        ("join /", 1),
        ("sum by ()", 1),
        (select, 60),
        ("join +", 1),
        ("sum by () (shared)", 1),
        (select, 0),
        ("count by ()", 1),
        (select, 60),
    ];
    assert_eq!(lines, expected);
    // Without remarks to come both are planned to be one; with them both are evaluated.
    let query = "sum(rate(up[5m])) / sum(rate(up[5m]))";
    let shared = |explanation: &Explanation| {
        explanation.parts.iter().filter(|part| part.operation.ends_with("(shared)")).count()
    };
    assert_eq!(shared(&analyzed(query, BudgetLimits::default()).unwrap()), 0);
    let (source, budget) = (source(), Budget::default());
    let expr = parse(query, &ParseOptions::all()).expect("it is an expression");
    let planned = Engine::default().explain(&expr, (END_MS, END_MS, 0), &QueryContext::new(&source, &budget)).unwrap();
    assert_eq!(shared(&planned), 1);
}

/// What is estimated to be held at once, and what was.
fn bytes_of(query: &str) -> (u64, u64) {
    let (source, budget) = (source(), Budget::default());
    let context = QueryContext { foresight: Foresight::Explain, ..QueryContext::new(&source, &budget) };
    let expr = parse(query, &ParseOptions::all()).expect("it is an expression");
    let range = (END_MS - 1_800_000, END_MS, 60_000);
    let result = Engine::new(EngineOptions::default()).range(&expr, range.0, range.1, range.2, &context);
    let explanation = result.unwrap_or_else(|error| panic!("{query}: {error}")).explanation.expect("it was asked for");
    (explanation.estimate.bytes, budget.bytes_peak() as u64)
}

/// Operands are given up when they are merged, and what stands in a chain many times is in its result once: the chain
/// needs what its operators hold and no more, and the estimate knows.
#[test]
fn a_chain_of_operators_is_estimated_by_what_it_holds() {
    for (operator, grows) in [(" or ", false), (" and ", true), (" unless on (instance) ", true), (" + ", true)] {
        let chain = |count: usize| bytes_of(&vec!["up"; count].join(operator));
        let ((few, few_held), (many, many_held)) = (chain(10), chain(640));
        assert!(few >= few_held && few < 8 * few_held, "{operator}: {few} of {few_held}");
        assert!(many >= many_held / 2 && many < 8 * many_held, "{operator}: {many} of {many_held}");
        if !grows {
            assert!(many <= few && many_held < 2 * few_held, "{operator}: {many} and {many_held} after {few_held}");
        }
    }
    let (different, held) = bytes_of(&(0..100).map(|n| format!("up > {n}")).collect::<Vec<_>>().join(" or "));
    assert!(different > held / 2 && different < 200 * held, "{different} of {held}");
}

#[test]
fn equal_aggregations_are_held_once() {
    let sum = "sum by (instance) (up)";
    let ((once, _), (often, held)) = (bytes_of(&format!("{sum} or {sum}")), bytes_of(&vec![sum; 50].join(" or ")));
    assert!(often < 2 * once, "{often} of {once}");
    assert!(often >= held / 2, "{often} of {held}");
}
