//! What a query will select: found out by evaluating it where nothing is stored.
//!
//! A source that has to wait for storage can so be told of all selections of a query before the first is made. What depends on
//! what is stored (`info`) is foreseen more widely than it will be selected; nothing but speed depends on that.

use crate::ast::Expr;
use crate::budget::BudgetLimits;
use crate::engine::{Engine, QueryContext};
use crate::source::{SelectRequest, SeriesSet, SeriesSource, SourceError, TimelineToken};
use model::bucket::BucketUse;
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::SampleColumns;
use std::sync::{Mutex, PoisonError};

/// A selection that a query will make.
#[derive(Debug, Clone, PartialEq)]
pub struct Foreseen {
    /// All must hold.
    pub matchers: Vec<Matcher>,
    /// Milliseconds since the Unix epoch, exclusive.
    pub after_ms: i64,
    /// Milliseconds since the Unix epoch, inclusive.
    pub until_ms: i64,
    /// More series are an error.
    pub series_max: usize,
    /// Which buckets may stand for samples; `None` if none may.
    pub buckets: Option<BucketUse>,
}

/// Without series little is left to compute; a query of which much is left is not foreseen to its end.
const LIMITS: BudgetLimits = BudgetLimits { samples_max: 1_000_000, bytes_max: 32 << 20, series_max: usize::MAX };

impl Engine {
    /// The selections that evaluating `expr` from `start_ms` to `end_ms` will make, each once; a step of 0 means one evaluation
    /// at `start_ms`.
    #[must_use]
    pub fn selections(
        &self,
        expr: &Expr,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
        context: &QueryContext<'_>,
    ) -> Vec<Foreseen> {
        let (source, budget) = (Rehearsal::new(context.budget.limits().series_max), context.budget.besides(LIMITS));
        let rehearsed = QueryContext {
            lookback_ms: context.lookback_ms,
            source_resolution: context.source_resolution,
            ..QueryContext::new(&source, &budget)
        };
        // A failure is that of the evaluation, too.
        let _ = match step_ms {
            0 => self.instant(expr, start_ms, &rehearsed),
            step_ms => self.range(expr, start_ms, end_ms, step_ms, &rehearsed),
        };
        source.seen.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A source without series that remembers what it was asked for.
struct Rehearsal {
    series_max: usize,
    seen: Mutex<Vec<Foreseen>>,
}

impl Rehearsal {
    fn new(series_max: usize) -> Self {
        Self { series_max, seen: Mutex::default() }
    }

    fn see(&self, request: &SelectRequest<'_>, buckets: Option<BucketUse>) -> Box<dyn SeriesSet> {
        let SelectRequest { matchers, after_ms, until_ms, .. } = *request;
        let foreseen =
            Foreseen { matchers: matchers.to_vec(), after_ms, until_ms, series_max: self.series_max, buckets };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains(&foreseen) {
            seen.push(foreseen);
        }
        Box::new(NoSeries)
    }
}

impl SeriesSource for Rehearsal {
    fn rehearsed_matchers(&self, labels: &[&str]) -> Option<Vec<Matcher>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, others) = match seen.split_first() {
            Some((first, others)) => (first.matchers.as_slice(), others),
            None => (&[][..], &[][..]),
        };
        let is_common = |matcher: &&Matcher| others.iter().all(|other| other.matchers.contains(matcher));
        let on_labels = first.iter().filter(|matcher| labels.contains(&matcher.name()));
        Some(on_labels.filter(is_common).cloned().collect())
    }

    fn select(&self, request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        Ok(self.see(request, None))
    }

    fn select_with_buckets(
        &self,
        request: &SelectRequest<'_>,
        buckets: &BucketUse,
    ) -> Result<Box<dyn SeriesSet>, SourceError> {
        Ok(self.see(request, Some(*buckets)))
    }
}

struct NoSeries;

impl SeriesSet for NoSeries {
    fn len(&self) -> usize {
        0
    }

    fn labels(&self, _index: usize) -> Labels {
        Labels::empty()
    }

    fn read(
        &self,
        _index: usize,
        _after_ms: i64,
        _until_ms: i64,
        into: &mut SampleColumns,
    ) -> Result<Option<TimelineToken>, SourceError> {
        into.clear();
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::testing::memory::MemorySource;
    use crate::{ParseOptions, parse};

    fn selections(query: &str, window: (i64, i64, i64)) -> Vec<String> {
        let (source, budget) = (MemorySource::new(), Budget::default());
        let expr = parse(query, &ParseOptions::all()).unwrap();
        let found = Engine::default().selections(&expr, window, &QueryContext::new(&source, &budget));
        let shown = found.iter().map(|found| {
            let matchers: Vec<_> = found.matchers.iter().map(ToString::to_string).collect();
            format!("{} {}..{}", matchers.join(","), found.after_ms / 1000, found.until_ms / 1000)
        });
        shown.collect()
    }

    #[test]
    fn all_selections_of_a_query_are_foreseen_once() {
        let query = "sum(rate(a[5m])) / on () group_left sum(rate(b[5m] offset 1h)) and absent(c) or sum(rate(a[5m]))";
        let expected = [r#"__name__="a" 700..2000"#, r#"__name__="b" -2900..-1600"#, r#"__name__="c" 700..2000"#];
        assert_eq!(selections(query, (1_000_000, 2_000_000, 10_000)), expected);
        let subquery = "max_over_time(rate(a[1m])[1h:1m]) > quantile_over_time(scalar(b), c[2m])";
        let expected = [r#"__name__="a" -2640..960"#, r#"__name__="b" 700..1000"#, r#"__name__="c" 880..1000"#];
        assert_eq!(selections(subquery, (1_000_000, 1_000_000, 0)), expected);
        assert!(selections("vector(1) + time()", (0, 0, 0)).is_empty());
    }

    #[test]
    fn information_about_targets_is_foreseen_as_far_as_selections_narrow_it() {
        let query = r#"info(rate(a{job="x",zone="b"}[5m]), {version=~".+"})"#;
        let expected =
            [r#"job="x",zone="b",__name__="a" 700..1000"#, r#"__name__="target_info",version=~".+",job="x" 700..1000"#];
        assert_eq!(selections(query, (1_000_000, 1_000_000, 0)), expected);
        let query = r#"info(a{job="x"} * on (instance) b{job="y"})"#;
        let expected = [
            r#"job="x",__name__="a" 700..1000"#,
            r#"job="y",__name__="b" 700..1000"#,
            r#"__name__="target_info" 700..1000"#,
        ];
        assert_eq!(selections(query, (1_000_000, 1_000_000, 0)), expected);
    }
}
