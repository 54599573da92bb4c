//! How much work a query is, guessed from the index alone: enough to tell the many small ones from the others.

use crate::ast::{DurationValue, Expr, VectorSelector};
use model::matcher::Matcher;

/// The usual distance of two samples, in milliseconds: the default of most scrapers.
const USUAL_INTERVAL_MS: i64 = 15_000;

/// So many samples most functions that read windows afresh fold in the time that one is read and decoded.
const FOLDED_AGAIN: u64 = 64;

/// Those that put every window in order: they take as long for a sample as reading it.
const ORDERING: [&str; 2] = ["quantile_over_time", "mad_over_time"];

/// When an expression is evaluated.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// How often.
    pub steps: u64,
    /// The first time, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// The last time, inclusive.
    pub end_ms: i64,
    /// How far back instant selectors look.
    pub lookback_ms: i64,
}

/// About how many samples `expr` looks at when it is evaluated, at most if samples are no denser than usual; `None` when that takes more than a look at the text and the index. `bound` says how many series may satisfy matchers and have samples after one time up to another, in milliseconds.
#[must_use]
pub fn samples(expr: &Expr, span: &Span, mut bound: impl FnMut(&[Matcher], i64, i64) -> usize) -> Option<u64> {
    let orders = |node: &Expr| matches!(node, Expr::Call(call) if ORDERING.contains(&call.function.name));
    let folded_again = if expr.nodes().any(orders) { 1 } else { FOLDED_AGAIN };
    let mut total = 0_u64;
    for node in expr.nodes() {
        let (selector, range_ms) = match node {
            Expr::VectorSelector(selector) => (selector, 0),
            Expr::MatrixSelector(matrix) => match matrix.range {
                DurationValue::Fixed(range_ms) => (&matrix.selector, range_ms),
                DurationValue::Expr(_) => return None,
            },
            Expr::Subquery(_) => return None,
            // Selects series that the text does not name.
            Expr::Call(call) if call.function.name == "info" => return None,
            _ => continue,
        };
        total = total.saturating_add(of_selector(selector, (range_ms, folded_again), span, &mut bound));
    }
    Some(total)
}

fn of_selector(
    selector: &VectorSelector,
    (range_ms, folded_again): (i64, u64),
    span: &Span,
    bound: &mut impl FnMut(&[Matcher], i64, i64) -> usize,
) -> u64 {
    let length_ms = span.end_ms.saturating_sub(span.start_ms);
    let scraped = (range_ms.saturating_add(length_ms) / USUAL_INTERVAL_MS).unsigned_abs();
    // Functions that fold every window afresh read a sample as often as windows have it.
    let again = span.steps.saturating_mul((range_ms / USUAL_INTERVAL_MS).unsigned_abs()) / folded_again;
    let each = span.steps.saturating_add(scraped).saturating_add(again);
    let moved_ms = match (&selector.offset, &selector.at) {
        (None, None) => Some(0),
        (Some(DurationValue::Fixed(offset_ms)), None) => Some(*offset_ms),
        // Anywhere in time.
        _ => None,
    };
    let reach_ms = range_ms.max(span.lookback_ms);
    let (after_ms, until_ms) = match moved_ms {
        Some(ms) => (span.start_ms.saturating_sub(ms).saturating_sub(reach_ms), span.end_ms.saturating_sub(ms)),
        None => (i64::MIN, i64::MAX),
    };
    (bound(&selector.matchers, after_ms, until_ms) as u64).saturating_mul(each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SeriesSource;
    use crate::testing::memory::MemorySource;
    use crate::{ParseOptions, parse};
    use model::labels::Labels;

    #[test]
    fn series_times_steps_and_usual_samples() {
        let mut source = MemorySource::new();
        for job in ["a", "b", "c"] {
            source.append(&Labels::from_pairs([("__name__", "up"), ("job", job)]).unwrap(), [(0, 1.0)]);
        }
        let weigh = |query: &str, steps, span_ms| {
            let span = Span { steps, start_ms: 0, end_ms: span_ms, lookback_ms: 300_000 };
            let bound = |matchers: &[Matcher], after_ms, until_ms| source.series_bound(matchers, after_ms, until_ms);
            samples(&parse(query, &ParseOptions::all()).unwrap(), &span, bound)
        };
        assert_eq!(weigh("1 + 2", 1, 0), Some(0));
        assert_eq!(weigh("up", 1, 0), Some(3));
        assert_eq!(weigh("rate(up[5m])", 1, 0), Some(63));
        assert_eq!(weigh("up + up", 5, 60_000), Some(54));
        // Every tenth second of a day, of each the day before.
        assert_eq!(
            weigh("quantile_over_time(0.9, up[1d])", 8_641, 86_400_000),
            Some(3 * (8_641 + 11_520 + 8_641 * 5_760))
        );
        assert_eq!(weigh("max_over_time(up[1d])", 8_641, 86_400_000), Some(3 * (8_641 + 11_520 + 777_690)));
        assert_eq!(weigh("max_over_time(up[5m:1m])", 1, 0), None);
        assert_eq!(weigh("info(up)", 1, 0), None);
    }
}
