//! A query that is stopped ends whatever it is doing.

use model::labels::Labels;
use promql::budget::Budget;
use promql::engine::{Engine, QueryContext, QueryError};
use promql::source::{SelectRequest, SeriesSet, SeriesSource, SourceError};
use promql::testing::memory::MemorySource;
use promql::{ParseOptions, parse};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Stops the query that selects from it.
struct Stopping<'b> {
    series: MemorySource,
    budget: &'b Budget,
    selected: AtomicUsize,
}

impl SeriesSource for Stopping<'_> {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        self.budget.cancel();
        self.selected.fetch_add(1, Ordering::Relaxed);
        self.series.select(request)
    }
}

/// Each selector of a long query is looked at, which takes a while where series are in blocks.
#[test]
fn estimating_a_long_query_ends() {
    let budget = Budget::default();
    let mut series = MemorySource::new();
    let labels = Labels::from_pairs([("__name__", "up")]).expect("one name");
    series.append(&labels, (0..240).map(|n| (n * 15_000, n as f64)));
    let source = Stopping { series, budget: &budget, selected: AtomicUsize::new(0) };
    let query: Vec<_> = (1..500).map(|n| format!("rate(up[{n}m])")).collect();
    let expr = parse(&query.join(" + "), &ParseOptions::all()).expect("it is an expression");
    let explained = Engine::default().explain(&expr, (3_600_000, 3_600_000, 0), &QueryContext::new(&source, &budget));
    assert_eq!(explained.map(|_| ()), Err(QueryError::Canceled));
    assert_eq!(source.selected.into_inner(), 1);
}

#[test]
fn what_a_stopped_query_will_select_is_not_found_out() {
    let (source, budget) = (MemorySource::new(), Budget::default());
    let expr = parse("sum(rate(up[5m])) + up", &ParseOptions::all()).expect("it is an expression");
    let foreseen = || Engine::default().selections(&expr, (0, 600_000, 15_000), &QueryContext::new(&source, &budget));
    assert_eq!(foreseen().len(), 2);
    budget.expire();
    assert!(foreseen().is_empty());
}
