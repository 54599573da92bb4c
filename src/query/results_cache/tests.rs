//! What comes from the cache is what evaluating it again returns, bit for bit, whatever was stored in between.

use super::*;
use crate::query::engine_store::EngineStore;
use promql::budget::BudgetLimits;
use promql::engine::{Engine as Promql, EngineOptions, QueryContext};
use promql::parse::{ParseOptions, parse};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use storage::append::{LabelHash, Rows, SeriesRef};
use storage::engine::Engine;
use storage::store::{Store, StoreOptions};
use storage::wal::replay::ReplayProgress;

/// Kept or not, failing or not: they are all compared.
const QUERIES: [&str; 31] = [
    "a",
    "a + b",
    "sum by (x) (rate(a[5m]))",
    "a offset 3m",
    "a offset -3m",
    "max_over_time(a[4m:30s] offset 1m)",
    "rate(a[5m] offset -2m) or b",
    "a @ 900",
    "a - a @ 900",
    "a @ start()",
    "count(a) - count(a @ end())",
    "topk(2, a)",
    "absent(a{x=\"0\"})",
    "absent_over_time(b[2m])",
    "time()",
    "scalar(sum(a))",
    "timestamp(a)",
    "-{x=\"1\"}",
    "label_replace(a, \"x\", \"$1\", \"y\", \"(.*)\")",
    "rate({x=\"1\"}[5m])",
    "last_over_time({x=\"1\"}[90s])",
    "quantile_over_time(0.7, b[3m]) > bool 2",
    "a and on (x) b",
    "sum_over_time(sum(a)[5m:1m] @ 1200)",
    // Which names go may be a matter of the window when they go at the end.
    "a or max_over_time(a[3m])",
    "topk(2, last_over_time(a[2m])) or -a",
    "sum by (__name__) (-{x=\"1\"})",
    "sum by (__name__) ({x=\"0\"} or max_over_time(a[5m]))",
    "sum by (x) (a or min_over_time(b[3m])) or vector(1)",
    "label_replace(a > bool on (x, y) b or b, \"__name__\", \"a\", \"x\", \"1\")",
    "-a or a > bool 50",
];

/// Eight series: two names, two labels.
const SERIES: usize = 8;

#[derive(Debug, Clone)]
enum Act {
    /// Series, seconds, value; on a grid that steps meet.
    Store(Vec<(usize, i64, u8)>),
    /// Query, first step in seconds, number of steps, step in seconds.
    Ask(usize, i64, i64, i64),
}

/// Few queries, few windows on few grids, and samples that lie close together: so that they meet.
fn acts() -> impl Strategy<Value = Vec<Act>> {
    let near = proptest::collection::vec((0..SERIES, 0i64..8, any::<u8>()), 1..12);
    let store = (0i64..180, near).prop_map(|(from, samples)| {
        Act::Store(samples.into_iter().map(|(series, at, value)| (series, (from + at) * 15, value)).collect())
    });
    (0..QUERIES.len(), 0..QUERIES.len()).prop_flat_map(move |(one, other)| {
        let query = prop_oneof![Just(one), Just(other)];
        let step = prop_oneof![4 => Just(60i64), 1 => Just(15), 1 => Just(61)];
        let ask = (query, 0i64..12, 10i64..40, step).prop_map(|(query, at, n, step)| Act::Ask(query, at * 60, n, step));
        proptest::collection::vec(prop_oneof![1 => store.clone(), 2 => ask], 1..60)
    })
}

struct World {
    engine: Engine,
    store: EngineStore,
    series: Vec<SeriesRef>,
    cache: ResultsCache,
    promql: Promql,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(EngineOptions::default())
    }

    fn with(options: EngineOptions) -> Self {
        let promql = Promql::new(options);
        let dir = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::new(dir.path());
        options.engine.segment_bytes = 64 << 10;
        options.engine.shards = Some(2);
        let stored = Store::open(options, &ReplayProgress::default()).unwrap();
        let engine = stored.engine().clone();
        let create = |n: usize| {
            let (x, y) = ((n / 2 % 2).to_string(), (n / 4).to_string());
            let labels = [("__name__", ["a", "b"][n % 2]), ("x", x.as_str()), ("y", y.as_str())];
            let hash = LabelHash::of_pairs(labels, &mut Vec::new());
            engine.create(hash, &labels).unwrap()
        };
        let series = (0..SERIES).map(create).collect();
        let store = EngineStore::new(stored);
        let cache = ResultsCache::new(1 << 20, Arc::new(store.clone()), CacheMetrics::default());
        Self { engine, store, series, cache, promql, _dir: dir }
    }

    fn store(&self, samples: &[(usize, i64, u8)]) {
        let mut rows = Rows::default();
        for (series, seconds, value) in samples {
            rows.push(self.series[*series], seconds * 1000, f64::from(*value) / 3.0);
        }
        // Samples that contradict stored ones are refused; that is fine.
        self.engine.append_wait(rows).unwrap();
    }

    fn evaluate(&self, query: &str, window: Window) -> Result<QueryResult, QueryError> {
        let Window::Range { start_ms, end_ms, step_ms } = window else { panic!("{window:?}") };
        let expr = parse(query, &ParseOptions::all()).unwrap();
        let budget = Budget::default();
        let context = QueryContext::new(&self.store, &budget);
        self.promql.range(&expr, start_ms, end_ms, step_ms, &context)
    }

    fn cacheable(query: &str, window: Window) -> Option<Query> {
        Self::cacheable_with(query, window, false)
    }

    fn cacheable_with(query: &str, window: Window, delayed_name_removal: bool) -> Option<Query> {
        let expr = parse(query, &ParseOptions::all()).unwrap();
        let dependence = Dependence::of(&expr, delayed_name_removal)?;
        Query::new(TenantId::anonymous(), expr.to_string(), dependence, window, None)
    }

    /// The answer and how many steps were evaluated for it.
    fn answer(&self, query: &Query, text: &str) -> (Result<QueryResult, QueryError>, i64) {
        let evaluated = Cell::new(0);
        let evaluate = |window: Window| {
            let Window::Range { start_ms, end_ms, step_ms } = window else { panic!("{window:?}") };
            evaluated.set(evaluated.get() + (end_ms - start_ms) / step_ms + 1);
            self.evaluate(text, window)
        };
        (self.cache.answer(query, &Budget::default(), evaluate), evaluated.get())
    }
}

fn seconds(first: i64, steps: i64, step: i64) -> Window {
    // The end need not be a step.
    Window::Range { start_ms: first * 1000, end_ms: (first + (steps - 1) * step) * 1000 + 999, step_ms: step * 1000 }
}

/// Everything that a client can see, floats as bits.
fn visible(result: Result<QueryResult, QueryError>) -> String {
    match result {
        Ok(QueryResult { value: QueryValue::Matrix(series), annotations, .. }) => {
            let mut text = format!("{annotations:?}");
            for series in series {
                let bits: Vec<u64> = series.values.iter().map(|value| value.to_bits()).collect();
                text += &format!("\n{} {:?} {bits:x?}", series.labels, series.timestamps_ms);
            }
            text
        }
        other => format!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn cached_answers_are_those_of_evaluating_again(acts in acts(), delayed_name_removal: bool) {
        let world = World::with(EngineOptions { delayed_name_removal, ..EngineOptions::default() });
        for act in acts {
            match act {
                Act::Store(samples) => world.store(&samples),
                Act::Ask(query, first, steps, step) => {
                    let (text, window) = (QUERIES[query], seconds(first, steps, step));
                    let Some(query) = World::cacheable_with(text, window, delayed_name_removal) else {
                        continue;
                    };
                    let (found, _) = world.answer(&query, text);
                    prop_assert_eq!(visible(found), visible(world.evaluate(text, window)), "{} {:?}", text, window);
                }
            }
        }
    }
}

#[test]
fn a_window_that_moves_evaluates_only_its_new_steps() {
    let world = World::new();
    let samples: Vec<_> = (0..60).map(|i| (0, i * 30, i as u8)).collect();
    world.store(&samples);
    let asked = |first, steps| {
        let window = seconds(first, steps, 60);
        let (found, evaluated) = world.answer(&World::cacheable("a", window).unwrap(), "a");
        assert_eq!(visible(found), visible(world.evaluate("a", window)));
        evaluated
    };
    assert_eq!(asked(0, 20), 20);
    assert_eq!(asked(0, 20), 0);
    assert_eq!(asked(180, 20), 3);
    assert_eq!(asked(60, 10), 0, "what moved out of sight is still known");
    assert_eq!(asked(0, 29), 6, "before and behind");
    assert_eq!(asked(30, 20), 20, "another phase");
    // The newest sample so far is at 1770 s; the next one makes steps from its time on uncertain.
    world.store(&[(0, 1800, 9)]);
    assert_eq!(asked(600, 22), 3, "the steps from 1740 s on were never asked for");
    world.store(&[(0, 1830, 9)]);
    assert_eq!(asked(600, 22), 1);
    // A late one makes all steps uncertain that it may be seen from, and later ones.
    world.store(&[(0, 1201, 9)]);
    assert_eq!(asked(600, 22), 11);
    assert_eq!(asked(600, 22), 0);
}

/// Names that go at the end of a query are right from the cache, too: an answer is not kept where the window decides about them.
#[test]
fn names_that_go_at_the_end_are_those_of_the_whole_window() {
    let world = World::with(EngineOptions { delayed_name_removal: true, ..EngineOptions::default() });
    // Silence from 600 s to 1200 s: `a` is absent for a part of it, its maximum goes on.
    let samples = (0..60).filter(|i| !(20..40).contains(i)).map(|i| (0, i * 30, i as u8));
    world.store(&samples.collect::<Vec<_>>());
    let (early, late) = (seconds(0, 18, 60), seconds(960, 12, 60));
    let text = "a or max_over_time(a[15m])";
    assert_ne!(visible(world.evaluate(text, early)).matches("__name__").count(), 0);
    assert_eq!(visible(world.evaluate(text, late)).matches("__name__").count(), 0);
    assert!(World::cacheable_with(text, early, true).is_none() && World::cacheable_with(text, early, false).is_some());
    for text in ["max_over_time(a[5m])", "sum by (x) (-a)", "a / 2 or -a", "a", "-a or vector(0)"] {
        let asked = |window| {
            let query = World::cacheable_with(text, window, true).unwrap_or_else(|| panic!("{text} is kept"));
            let (found, evaluated) = world.answer(&query, text);
            assert_eq!(visible(found), visible(world.evaluate(text, window)), "{text}");
            evaluated
        };
        assert_eq!([asked(early), asked(seconds(60, 20, 60)), asked(early)], [18, 3, 0], "{text}");
    }
}

#[test]
fn answers_with_remarks_are_not_kept() {
    let world = World::new();
    world.store(&[(0, 0, 1), (0, 30, 2), (0, 60, 3)]);
    let text = "quantile(2, a)";
    let window = seconds(0, 2, 60);
    for _ in 0..2 {
        let (found, evaluated) = world.answer(&World::cacheable(text, window).unwrap(), text);
        assert!(!found.unwrap().annotations.is_empty());
        assert_eq!(evaluated, 2);
    }
}

/// What is known is charged while it is completed, what was evaluated of it too, and no longer: neither beside the answer that it is part of, nor while the whole
/// window is evaluated because a part has remarks, nor when there is no room for it.
#[test]
fn what_is_known_is_charged_while_it_is_completed() {
    let world = World::new();
    let samples: Vec<_> = (0..60).map(|i| (0, i * 30, i as u8)).collect();
    world.store(&samples);
    let whole = seconds(0, 20, 60);
    world.answer(&World::cacheable("a", whole).unwrap(), "a").0.unwrap();
    let budget = Budget::new(BudgetLimits { samples_max: 30, bytes_max: 1_000, ..BudgetLimits::default() });
    let held = RefCell::new(Vec::new());
    let asked = |budget: &Budget, window, has_remarks: bool| {
        let evaluate = |part: Window| {
            held.borrow_mut().push(budget.bytes_held());
            let mut result = world.evaluate("a", part)?;
            if has_remarks {
                result.annotations = world.evaluate("quantile(2, a)", part)?.annotations;
            }
            Ok(result)
        };
        world.cache.answer(&World::cacheable("a", window).unwrap(), budget, evaluate)
    };
    for _ in 0..3 {
        asked(&budget, whole, false).unwrap();
        assert_eq!(budget.bytes_held(), 0);
    }
    assert!(budget.bytes_peak() > 300 && budget.samples_peak() == 20, "it was charged: {}", budget.bytes_peak());
    assert!(held.borrow().is_empty(), "all was known");
    let answer = asked(&budget, seconds(180, 20, 60), true).unwrap();
    assert!(!answer.annotations.is_empty());
    let parts = held.take();
    assert!(parts.len() == 2 && parts[0] > 300 && parts[1] == 0, "a part, then the whole: {parts:?}");
    assert_eq!(budget.bytes_held(), 0);

    let room = Budget::default();
    world.cache.clear();
    asked(&room, seconds(600, 10, 60), false).unwrap();
    asked(&room, seconds(0, 29, 60), false).unwrap();
    let held = held.take();
    assert!(held[0] == 0 && held[1] > 0 && held[2] > held[1] + 9 * 16, "before, then behind: {held:?}");
    assert_eq!((room.bytes_held(), room.samples_peak()), (0, 29));

    let small = Budget::new(BudgetLimits { bytes_max: 100, ..BudgetLimits::default() });
    assert_eq!(asked(&small, whole, false).unwrap_err(), QueryError::TooManyBytes { bytes_max: 100 });
    assert_eq!(small.bytes_held(), 0);
}

#[test]
fn windows_beyond_all_bounds_are_not_taken() {
    let query = |start_ms, end_ms, step_ms| {
        let window = Window::Range { start_ms, end_ms, step_ms };
        World::cacheable("a", window).is_some()
    };
    assert!(query(0, 10, 1) && query(-10, -5, 3));
    assert!(!query(0, STEPS_MAX, 1) && !query(i64::MIN, i64::MAX, i64::MAX) && !query(0, -1, 1) && !query(0, 1, 0));
    assert!(!query(i64::MAX - 10, i64::MAX, 1));
    assert!(World::cacheable("a", Window::Instant(0)).is_none());
}

#[test]
fn the_bound_holds_and_is_told() {
    let world = World::new();
    let samples: Vec<_> = (0..60).map(|i| (i as usize % SERIES, i * 60, 1)).collect();
    world.store(&samples);
    let mut registry = prometheus_client::registry::Registry::default();
    world.cache.metrics.register(&mut registry);
    for first in 0..3000 {
        let window = seconds(first * 7, 50, 61);
        let text = format!("a + {}", first % 500);
        let _ = world.answer(&World::cacheable(&text, window).unwrap(), &text);
    }
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
    let value = |name: &str| -> u64 {
        let line = page.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{page}"));
        line.trim().parse().unwrap()
    };
    let bytes = value("hearth_query_results_cache_bytes ");
    assert!(bytes > 1 << 18 && bytes <= 1 << 20, "{bytes}");
    assert!(value("hearth_query_results_cache_entries ") > 10);
    assert!(value("hearth_query_results_cache_misses_total ") > 500);
}
