//! What the engine asks of a source, what it counts, and what it refuses.

use model::labels::Labels;
use model::sample::{Sample, SampleColumns};
use promql::budget::Budget;
use promql::source::{SelectRequest, SeriesSet, SeriesSource, SourceError, TimelineToken};
use promql::testing::memory::MemorySource;
use promql::value::{QueryResult, QueryValue};
use promql::{Engine, EngineOptions, ParseOptions, QueryContext, QueryError, QueryErrorKind, parse};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied()).expect("labels")
}

enum When {
    At(i64),
    Range(i64, i64, i64),
}

fn ask_with(engine: &Engine, source: &dyn SeriesSource, query: &str, when: &When) -> Result<QueryResult, QueryError> {
    let expr = parse(query, &ParseOptions::all()).expect("a query");
    let budget = Budget::default();
    let context = QueryContext { per_step_stats: true, ..QueryContext::new(source, &budget) };
    match when {
        When::At(seconds) => engine.instant(&expr, seconds * 1000, &context),
        When::Range(start, end, step) => engine.range(&expr, start * 1000, end * 1000, step * 1000, &context),
    }
}

fn ask(source: &dyn SeriesSource, query: &str, when: &When) -> Result<QueryResult, QueryError> {
    ask_with(&Engine::default(), source, query, when)
}

/// One series `m1` and three series `m3`, a sample every 10 s.
fn every_ten_seconds() -> MemorySource {
    let mut source = MemorySource::new();
    let series: [&[(&str, &str)]; 4] = [
        &[("__name__", "m1")],
        &[("__name__", "m3"), ("a", "1"), ("b", "1")],
        &[("__name__", "m3"), ("a", "2"), ("b", "2")],
        &[("__name__", "m3"), ("a", "3"), ("b", "2")],
    ];
    for pairs in series {
        source.append(&labels(pairs), (0..=100).map(|i| (i * 10_000, 1.0 + i as f64)));
    }
    source
}

/// The figures are those that Prometheus reports for the same queries.
#[test]
fn samples_are_counted_as_prometheus_counts_them() {
    let source = every_ten_seconds();
    let cases = [
        ("\"text\"", When::At(21), 0),
        ("1", When::At(21), 0),
        ("m1", When::At(21), 1),
        ("timestamp(m1)", When::At(21), 1),
        ("m1 @ 15", When::At(21), 1),
        ("m3{a=\"1\"}[20s] @ 19", When::At(21), 2),
        ("m1[60s]", When::At(201), 6),
        ("m3[60s]", When::At(201), 18),
        ("max_over_time(m1[60s])[20s:5s]", When::At(201), 24),
        ("max_over_time(m1[61s])[20s:5s]", When::At(201), 26),
        ("m1[60s] @ 30", When::At(201), 4),
        ("sum by (b) (max_over_time(m3[60s] @ 30))", When::At(201), 12),
        ("m1[60s:5s] offset 10s", When::At(201), 12),
        ("absent_over_time(m1[60s])", When::At(201), 6),
        ("max_over_time(m3[60s:5s])", When::At(201), 36),
        ("sum(max_over_time(m3[60s:5s])) + sum(max_over_time(m3[60s:5s]))", When::At(201), 72),
        ("m3{a=\"1\"}", When::Range(204, 223, 5), 4),
        ("timestamp(m1)", When::Range(201, 220, 5), 4),
        ("max_over_time(m3{a=\"1\"}[10s])", When::Range(991, 1021, 10), 2),
        ("max_over_time(m3[60s] @ 30)", When::Range(201, 220, 5), 48),
        ("m3", When::Range(201, 220, 5), 12),
        ("max_over_time(m3[60s])", When::Range(201, 220, 5), 72),
        ("max_over_time(m3[60s:5s])", When::Range(201, 216, 5), 144),
        ("max_over_time(m3[60s:5s])", When::Range(201, 220, 5), 144),
        ("sum by (b) (max_over_time(m1[60s:5s]))", When::Range(201, 220, 5), 48),
        ("sum_over_time(m1[30s:30s])", When::At(90), 1),
        ("max_over_time(m1[30s:10s])", When::Range(201, 231, 30), 6),
        ("max_over_time(m1[20s:10s])", When::Range(201, 261, 10), 14),
    ];
    for (query, when, expected) in cases {
        let stats = ask(&source, query, &when).expect("an answer").stats;
        assert_eq!(stats.samples_total, expected, "{query}");
        let per_step = stats.samples_per_step.expect("asked for");
        assert_eq!(per_step.iter().map(|(_, samples)| samples).sum::<u64>(), expected, "{query}: {per_step:?}");
    }
    // What several steps use is read once; a subquery's samples are read by it, and again by the function around it.
    let read = [
        ("m3[60s]", When::At(201), 18),
        ("max_over_time(m1[60s])[20s:5s]", When::At(201), 8),
        ("max_over_time(m3[60s:5s])", When::At(201), 72),
        ("sum_over_time(m1[30s:30s])", When::At(90), 2),
        ("m3", When::Range(201, 220, 5), 12),
        ("max_over_time(m3[60s] @ 30)", When::Range(201, 220, 5), 12),
        ("max_over_time(m3[60s])", When::Range(201, 220, 5), 21),
        ("max_over_time(m3[5s])", When::Range(200, 240, 20), 9),
    ];
    for (query, when, expected) in read {
        let stats = ask(&source, query, &when).expect("an answer").stats;
        assert_eq!(stats.samples_read, expected, "{query}");
        let per_step = stats.samples_read_per_step.expect("asked for");
        assert_eq!(per_step.iter().map(|(_, samples)| samples).sum::<u64>(), expected, "{query}: {per_step:?}");
    }
    let stats = ask(&source, "m3", &When::Range(201, 220, 5)).expect("an answer").stats;
    let steps = [201_000, 206_000, 211_000, 216_000].map(|time| (time, 3)).to_vec();
    assert_eq!((stats.samples_per_step, stats.series), (Some(steps), 3));
}

/// A source that counts what is asked of it.
struct Watched {
    inner: MemorySource,
    asked: Arc<Asked>,
}

#[derive(Default)]
struct Asked {
    labels: AtomicUsize,
    some_labels: AtomicUsize,
    reads: AtomicUsize,
    latest: AtomicUsize,
    numbers: AtomicUsize,
    announced: AtomicUsize,
}

struct WatchedSet {
    inner: Box<dyn SeriesSet>,
    asked: Arc<Asked>,
}

impl SeriesSource for Watched {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        Ok(Box::new(WatchedSet { inner: self.inner.select(request)?, asked: Arc::clone(&self.asked) }))
    }
}

impl SeriesSet for WatchedSet {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.asked.labels.fetch_add(1, Ordering::Relaxed);
        self.inner.labels(index)
    }

    fn labels_among(&self, index: usize, names: &[&str]) -> Labels {
        self.asked.some_labels.fetch_add(1, Ordering::Relaxed);
        self.inner.labels_among(index, names)
    }

    fn label_numbers(&self, indices: Range<usize>, _names: &[&str], _into: &mut Vec<u32>) -> bool {
        self.asked.numbers.fetch_add(indices.len(), Ordering::Relaxed);
        false
    }

    fn prefetch(&self, indices: &[usize]) {
        self.asked.announced.fetch_add(indices.len(), Ordering::Relaxed);
    }

    fn may_have_label(&self, name: &str) -> bool {
        self.inner.may_have_label(name)
    }

    fn read(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut SampleColumns,
    ) -> Result<Option<TimelineToken>, SourceError> {
        self.asked.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.read(index, after_ms, until_ms, into)
    }

    fn latest(&self, index: usize, after_ms: i64, at_ms: i64) -> Result<Option<Sample>, SourceError> {
        self.asked.latest.fetch_add(1, Ordering::Relaxed);
        self.inner.latest(index, after_ms, at_ms)
    }
}

fn watched(query: &str, when: &When) -> Arc<Asked> {
    let source = Watched { inner: every_ten_seconds(), asked: Arc::default() };
    ask(&source, query, when).unwrap_or_else(|error| panic!("{query}: {error}"));
    source.asked
}

/// How often labels, some labels, samples and newest samples were asked for.
fn asked(query: &str, when: &When) -> [usize; 4] {
    let asked = watched(query, when);
    [&asked.labels, &asked.some_labels, &asked.reads, &asked.latest].map(|count| count.load(Ordering::Relaxed))
}

#[test]
fn a_source_is_asked_for_nothing_that_is_not_needed() {
    let range = When::Range(200, 300, 10);
    // Labels of series that end in one sum are not needed; of `by`, only those.
    assert_eq!(asked("count(m3)", &When::At(200)), [0, 0, 0, 3]);
    assert_eq!(asked("sum(rate(m3[1m]))", &range), [0, 0, 3, 0]);
    assert_eq!(asked("sum by (b) (rate(m3[1m]))", &range), [0, 3, 3, 0]);
    // Those of all when their values are equal: the first labels stay.
    assert_eq!(asked("topk(1, m3)", &range), [4, 0, 3, 0]);
    // Series that share a partner need no labels to stay apart; what it adds to them is looked up once.
    assert_eq!(asked("m3 * on () group_left () m1", &range), [4, 4, 4, 0]);
    assert_eq!(asked("m3 * on () group_left (c) m1", &range)[1], 4 + 1);
    // What is the same at each step is looked up once.
    assert_eq!(asked("sum(m3 @ end()) + vector(time())", &range)[2..], [0, 3]);
    assert_eq!(asked("sum(rate(m3[1m] @ 100)) + vector(time())", &range)[2..], [3, 0]);
    // One pass over a series covers the subqueries of all steps.
    assert_eq!(asked("max_over_time(rate(m1[1m])[5m:10s])", &range)[2..], [1, 0]);
    // A limit that is reached ends the reading.
    assert_eq!(asked("limitk(0, m3)", &range)[2..], [0, 0]);
}

/// A source hears which series come next, and may group them by numbers, whatever is done to their rows on the way.
#[test]
fn what_changes_rows_alone_passes_on_what_is_asked_of_series() {
    let range = When::Range(200, 300, 10);
    for inner in [
        "rate(m3[1m])",
        "rate(m3[1m]) * 60",
        "m3 > 1",
        "-m3",
        "limit_ratio(1, m3)",
        "m3 unless m1",
        "m3 smoothed",
        "rate(m3[1m] @ 100)",
    ] {
        let asked = watched(&format!("sum by (b) ({inner})"), &range);
        let [numbers, announced] = [&asked.numbers, &asked.announced].map(|count| count.load(Ordering::Relaxed));
        assert!(numbers >= 3 && announced >= 3, "{inner}: {numbers} and {announced}");
    }
    let asked = watched("label_replace(m3, \"c\", \"$1\", \"a\", \"(.*)\")", &range);
    assert_eq!(asked.announced.load(Ordering::Relaxed), 3);
    // One by one, or to see when they are present.
    assert_eq!(watched("count_values(\"v\", m3)", &range).announced.load(Ordering::Relaxed), 3);
    assert_eq!(watched("m1 and on () m3", &range).announced.load(Ordering::Relaxed), 1 + 3);
}

#[test]
fn series_that_lose_their_names_must_stay_apart() {
    let mut source = MemorySource::new();
    source.append(&labels(&[("__name__", "a_total"), ("x", "1")]), [(0, 1.0), (15_000, 2.0)]);
    source.append(&labels(&[("__name__", "b_total"), ("x", "1")]), [(600_000, 3.0), (615_000, 5.0)]);
    let both = "{__name__=~\"a_total|b_total\"}";
    let whole = When::Range(15, 645, 30);
    // Range functions refuse what others join as long as it is never present together.
    assert_eq!(ask(&source, &format!("rate({both}[1m])"), &whole), Err(QueryError::SameLabelset));
    assert!(ask(&source, &format!("rate({both}[1m])"), &When::At(15)).is_ok());
    let joined = ask(&source, &format!("abs({both})"), &whole).expect("never together");
    let QueryValue::Matrix(series) = joined.value else { panic!("a matrix") };
    assert_eq!(series.iter().map(|series| series.labels.to_string()).collect::<Vec<_>>(), ["{x=\"1\"}"]);
    source.append(&labels(&[("__name__", "b_total"), ("x", "1")]), [(20_000, 3.0)]);
    assert_eq!(ask(&source, &format!("abs({both})"), &whole), Err(QueryError::SameLabelset));
    // Delayed, a name goes only at the end, so a sum over both is fine.
    let delayed = Engine::new(EngineOptions { delayed_name_removal: true, ..EngineOptions::default() });
    assert!(ask_with(&delayed, &source, &format!("sum(abs({both}))"), &whole).is_ok());
    assert!(ask_with(&delayed, &source, &format!("abs({both})"), &whole).is_err());
}

#[test]
fn what_cannot_be_answered_says_why() {
    let source = every_ten_seconds();
    let error = |query: &str, when: When| {
        let error = ask(&source, query, &when).expect_err("refused");
        (error.kind(), error.to_string())
    };
    let bad_data = |text: &str| (QueryErrorKind::BadData, text.to_owned());
    assert_eq!(
        error("m1[5m]", When::Range(0, 10, 1)),
        bad_data("invalid expression type \"range vector\" for range query, must be Scalar or instant Vector")
    );
    assert_eq!(
        error("m1", When::Range(0, 10, 0)),
        bad_data("zero or negative query resolution step widths are not accepted")
    );
    assert_eq!(error("m1", When::Range(10, 0, 1)), bad_data("end timestamp must not be before start time"));
    assert_eq!(error("m1[step()]", When::At(0)), bad_data("3:9: duration must be greater than 0"));
    assert_eq!(error("m1 offset (1 / step())", When::At(0)).0, QueryErrorKind::BadData);
    assert_eq!(
        error("topk(scalar(m3), m1)", When::At(0)),
        (QueryErrorKind::Execution, "Parameter value is NaN".into())
    );
    assert_eq!(
        error("sum_over_time(m1[30d:1ms])", When::At(0)),
        (
            QueryErrorKind::Execution,
            "query processing would load too many samples into memory in query execution: \
             a subquery has 2592000000 steps, 50000000 are allowed"
                .into()
        )
    );
}

/// Times come from requests and may be anything.
#[test]
fn extreme_times_are_survived() {
    let source = every_ten_seconds();
    let expr = parse("rate(m1[5m] offset -290y) + max_over_time(m1[1h:1m] @ -9e12)", &ParseOptions::all());
    let expr = expr.expect("a query");
    for (start, end, step) in [(i64::MIN, i64::MAX, i64::MAX), (i64::MAX - 5, i64::MAX, 1), (i64::MIN, i64::MIN + 5, 1)]
    {
        let budget = Budget::default();
        let context = QueryContext::new(&source, &budget);
        assert!(Engine::default().range(&expr, start, end, step, &context).is_ok());
        assert!(Engine::default().instant(&expr, start, &context).is_ok());
        assert!(Engine::default().instant(&expr, end, &context).is_ok());
    }
}

#[test]
fn a_lookback_may_be_given_with_the_query() {
    let source = every_ten_seconds();
    let expr = parse("m1", &ParseOptions::all()).expect("a query");
    let found = |lookback_ms: Option<i64>| {
        let budget = Budget::default();
        let context = QueryContext { lookback_ms, ..QueryContext::new(&source, &budget) };
        let value = Engine::default().instant(&expr, 1_100_000, &context).expect("an answer").value;
        matches!(value, QueryValue::Vector { samples, .. } if samples.len() == 1)
    };
    assert!(found(None) && !found(Some(60_000)));
}

#[test]
fn rates_of_what_does_not_look_like_a_counter_are_remarked_on_once() {
    let source = every_ten_seconds();
    let result = ask(&source, "rate(m3[1m]) + rate(m3[2m])", &When::Range(200, 300, 10)).expect("an answer");
    let expected = "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \
                    \"m3\" (1:21)";
    assert_eq!(result.annotations.infos("rate(m3[1m]) + rate(m3[2m])", 10), [expected]);
    assert!(result.annotations.warnings("", 10).is_empty());
}

/// The first of equal aggregations is evaluated, the others read its table.
#[test]
fn equal_aggregations_are_evaluated_once() {
    let range = When::Range(200, 300, 10);
    let part = "sum(max_over_time(m3[1m]))";
    assert_eq!(asked(&format!("{part} / ({part} + sum(m1))"), &range)[2..], [4, 0]);
    assert_eq!(asked(&format!("{part} + {part} * {part}"), &range)[2..], [3, 0]);
    // Pinned ones, and those on the grid of a subquery.
    assert_eq!(asked("sum(m3 @ end()) + sum(m3 @ end())", &range)[2..], [0, 3]);
    assert_eq!(asked("max_over_time((sum(m3) + sum(m3))[1m:10s])", &range)[2..], [3, 0]);
    assert_eq!(asked("max_over_time(sum(m3)[1m:10s]) + min_over_time(sum(m3)[1m:10s])", &range)[2..], [3, 0]);
    // Other times are other values.
    assert_eq!(asked("sum(m3) + max_over_time(sum(m3)[1m:10s])", &range)[2..], [6, 0]);
    assert_eq!(asked("sum(m3) + sum(m3 offset 10s)", &range)[2..], [6, 0]);

    // Answers and figures are those of the parts on their own.
    let source = every_ten_seconds();
    let answer = |query: &str| ask(&source, query, &range).expect("an answer");
    let (shared, apart) = (
        format!("{part} / ({part} + sum(m1))"),
        format!("{part} / ({} + sum(m1))", part.replace("m3", "m3{a=~\".*\"}")),
    );
    let (shared, apart) = (answer(&shared), answer(&apart));
    assert_eq!(shared.value, apart.value);
    assert_eq!(shared.stats.samples_per_step, apart.stats.samples_per_step);
    assert_eq!(
        shared.stats.samples_total,
        2 * answer(part).stats.samples_total + answer("sum(m1)").stats.samples_total
    );
}

/// Remarks point at the last part that gives rise to them, so each of those parts is evaluated.
#[test]
fn equal_aggregations_with_remarks_are_each_evaluated() {
    let query = "sum(rate(m3[1m])) + sum(rate(m3[1m]))";
    let range = When::Range(200, 300, 10);
    assert_eq!(asked(query, &range)[2..], [6, 0]);
    let result = ask(&every_ten_seconds(), query, &range).expect("an answer");
    let infos = result.annotations.infos(query, 10);
    assert!(infos.len() == 1 && infos[0].ends_with("\"m3\" (1:30)"), "{infos:?}");
    // A remark on something before does not count against them.
    assert_eq!(asked("sum(rate(m3{a=\"1\"}[1m])) + (sum(m1) + sum(m1))", &range)[2..], [2, 0]);
}

/// What a function takes from the selector in its argument it does not take from an expression that begins with a sign.
#[test]
fn a_plus_before_a_selector_is_an_operation() {
    let source = every_ten_seconds();
    let answer = |query: &str| {
        let QueryValue::Vector { samples, .. } = ask(&source, query, &When::At(205)).expect("an answer").value else {
            panic!("a vector");
        };
        samples.iter().map(|sample| format!("{} {:?}", sample.labels, sample.value)).collect::<Vec<_>>()
    };
    assert_eq!(answer("timestamp(m1)"), ["{} Float(200.0)"]);
    assert_eq!(answer("timestamp((m1))"), ["{} Float(200.0)"]);
    assert_eq!(answer("timestamp(+m1)"), ["{} Float(205.0)"]);
    assert_eq!(answer("timestamp(+(m1 @ 50))"), ["{} Float(205.0)"]);
    assert_eq!(answer("timestamp(m1 @ 50)"), ["{} Float(50.0)"]);
    assert_eq!(answer("absent(m2{a=\"1\"})"), ["{a=\"1\"} Float(1.0)"]);
    assert_eq!(answer("absent(+m2{a=\"1\"})"), ["{} Float(1.0)"]);
    assert_eq!(answer("+m1"), ["{__name__=\"m1\"} Float(21.0)"]);
}

/// Labels pass through each operator of a chain; every so many they are kept, which no answer shows.
#[test]
fn a_chain_of_operators_keeps_labels_and_values() {
    let source = every_ten_seconds();
    let answer = |query: &str, delayed_name_removal| {
        let engine = Engine::new(EngineOptions { delayed_name_removal, ..EngineOptions::default() });
        let value = ask_with(&engine, &source, query, &When::Range(200, 230, 10)).expect("an answer").value;
        let QueryValue::Matrix(series) = value else { panic!("a matrix") };
        series.into_iter().map(|series| (series.labels.to_string(), series.values)).collect::<Vec<_>>()
    };
    for delayed in [false, true] {
        for count in [2_usize, 32, 33, 34, 70, 200] {
            let chain = |operator: &str| vec!["m3"; count].join(operator);
            let times = answer(&format!("m3 * {count}"), delayed);
            assert_eq!(times.len(), 3);
            assert_eq!(answer(&chain(" + "), delayed), times, "{count}");
            let all = answer("m3", delayed);
            assert_eq!(answer(&chain(" and "), delayed), all, "{count}");
            assert_eq!(answer(&chain(" or "), delayed), all, "{count}");
            assert_eq!(answer(&chain(" and on (a) "), delayed), all, "{count}");
            let without = answer(&format!("m3{}", " unless m3{a=\"2\"}".repeat(count)), delayed);
            assert_eq!(without, [all[0].clone(), all[2].clone()], "{count}");
            assert_eq!(
                answer(&format!("m3{} or m1", " - on (a, b) m3 + m3".repeat(count)), delayed).len(),
                4,
                "{count}"
            );
        }
    }
}
