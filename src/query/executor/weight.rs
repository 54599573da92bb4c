//! How much work a query will be, at a glance: what is light is evaluated where it arrives.

use super::QueryExecutor;
use crate::query::request::Window;
use model::matcher::Matcher;
use promql::ast::Expr;
use promql::weight::{Span, samples};

/// A series of a block takes as long as so many samples of the head, on top of its own: pages are decoded for it.
const BLOCK_SERIES_SAMPLES: u64 = 256;

/// A series of the head: its labels are looked up and written.
const HEAD_SERIES_SAMPLES: u64 = 8;

/// See the head of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight {
    /// About how long it takes, as so many samples of the head that are read; the greatest number if that is not known.
    pub(super) samples: u64,
    /// Whether some of them may be in blocks.
    pub(super) reaches_blocks: bool,
}

impl QueryExecutor {
    /// What the text and the index tell.
    pub(super) fn weight(&self, expr: &Expr, window: Window, lookback_ms: Option<i64>) -> Weight {
        self.weigh(expr, window, lookback_ms, true)
    }

    /// The same of a rule: of one that reaches blocks it is enough to know that, and no block is asked.
    pub(super) fn weight_of_rule(&self, expr: &Expr, at_ms: i64) -> Weight {
        self.weigh(expr, Window::Instant(at_ms), None, false)
    }

    fn weigh(&self, expr: &Expr, window: Window, lookback_ms: Option<i64>, asks_blocks: bool) -> Weight {
        let lookback_ms = lookback_ms.unwrap_or(self.shared.engine.options().lookback_ms);
        let span = match window {
            Window::Instant(at_ms) => Span { steps: 1, start_ms: at_ms, end_ms: at_ms, lookback_ms },
            Window::Range { start_ms, end_ms, step_ms } => {
                let length_ms = end_ms.saturating_sub(start_ms).unsigned_abs();
                Span { steps: length_ms / step_ms.unsigned_abs().max(1) + 1, start_ms, end_ms, lookback_ms }
            }
        };
        let source = &*self.shared.source;
        let (mut reaches_blocks, mut opening) = (false, 0_u64);
        let bound = |matchers: &[Matcher], after_ms, until_ms| {
            let in_blocks = source.may_wait(after_ms);
            reaches_blocks |= in_blocks;
            if reaches_blocks && !asks_blocks {
                return usize::MAX;
            }
            let series = source.series_bound(matchers, after_ms, until_ms);
            let each = match in_blocks {
                true => BLOCK_SERIES_SAMPLES,
                false if asks_blocks => HEAD_SERIES_SAMPLES,
                // The bound of rules is one without.
                false => 0,
            };
            opening = opening.saturating_add((series as u64).saturating_mul(each));
            series
        };
        match samples(expr, &span, bound) {
            Some(samples) => Weight { samples: samples.saturating_add(opening), reaches_blocks },
            None => Weight { samples: u64::MAX, reaches_blocks: true },
        }
    }
}
