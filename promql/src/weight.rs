//! How much work a query is, guessed from the index alone: enough to tell the many small ones from the others.

use crate::ast::{DurationValue, Expr, VectorSelector};
use crate::source::SeriesSource;

/// The usual distance of two samples, in milliseconds: the default of most scrapers.
const USUAL_INTERVAL_MS: i64 = 15_000;

/// About how many samples `expr` looks at when it is evaluated at `steps` times over `span_ms`, at most if samples are no
/// denser than usual; `None` when that takes more than a look at the text and the index.
#[must_use]
pub fn samples(expr: &Expr, steps: u64, span_ms: i64, source: &dyn SeriesSource) -> Option<u64> {
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
        total = total.saturating_add(of_selector(selector, range_ms, steps, span_ms, source));
    }
    Some(total)
}

fn of_selector(selector: &VectorSelector, range_ms: i64, steps: u64, span_ms: i64, source: &dyn SeriesSource) -> u64 {
    let scraped = (range_ms.saturating_add(span_ms) / USUAL_INTERVAL_MS).unsigned_abs();
    let each = steps.saturating_add(scraped);
    (source.series_bound(&selector.matchers) as u64).saturating_mul(each)
}

#[cfg(test)]
mod tests {
    use super::*;
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
            samples(&parse(query, &ParseOptions::all()).unwrap(), steps, span_ms, &source)
        };
        assert_eq!(weigh("1 + 2", 1, 0), Some(0));
        assert_eq!(weigh("up", 1, 0), Some(3));
        assert_eq!(weigh("rate(up[5m])", 1, 0), Some(63));
        assert_eq!(weigh("up + up", 5, 60_000), Some(54));
        assert_eq!(weigh("max_over_time(up[5m:1m])", 1, 0), None);
        assert_eq!(weigh("info(up)", 1, 0), None);
    }
}
