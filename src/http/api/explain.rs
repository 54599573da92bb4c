//! The object `explain` of an answer: the plan of a query, what it was expected to cost and what it took.

use promql::estimate::{Cost, QueryCost};
use promql::explain::{Actual, ExplainedPart, Explanation};
use serde::Serialize;

/// An answer that is nothing but the explanation.
#[derive(Debug, Serialize)]
pub(super) struct ExplainOnly<'a> {
    explain: ExplainView<'a>,
}

impl<'a> ExplainOnly<'a> {
    pub(super) fn of(explanation: &'a Explanation, text: &'a str) -> Self {
        Self { explain: ExplainView::of(explanation, text) }
    }
}

/// A plan. Parts come before those inside them, which have a greater depth.
#[derive(Debug, Serialize)]
pub(super) struct ExplainView<'a> {
    estimate: QueryCostView,
    parts: Vec<PartView<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct QueryCostView {
    series: u64,
    samples: u64,
    result_samples: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct PartView<'a> {
    depth: usize,
    operation: &'a str,
    expression: &'a str,
    steps: usize,
    estimate: CostView,
    #[serde(skip_serializing_if = "Option::is_none")]
    actual: Option<ActualView>,
}

#[derive(Debug, Serialize)]
struct CostView {
    series: u64,
    samples: u64,
    bytes: u64,
}

/// What seconds are: [`Actual`].
#[derive(Debug, Serialize)]
struct ActualView {
    series: u64,
    samples: u64,
    bytes: u64,
    seconds: f64,
}

/// An expression is quoted up to this length.
const QUOTED_BYTES_MAX: usize = 200;

impl<'a> ExplainView<'a> {
    /// What there is to say about the query `text`.
    pub(super) fn of(explanation: &'a Explanation, text: &'a str) -> Self {
        let QueryCost { series, samples, result_samples, bytes, .. } = explanation.estimate;
        Self {
            estimate: QueryCostView { series, samples, result_samples, bytes },
            parts: explanation.parts.iter().map(|part| PartView::of(part, text)).collect(),
        }
    }
}

impl<'a> PartView<'a> {
    fn of(part: &'a ExplainedPart, text: &'a str) -> Self {
        let (start, end) = part.span;
        let mut end = end.min(start + QUOTED_BYTES_MAX);
        while end > start && !text.is_char_boundary(end) {
            end -= 1;
        }
        let Cost { series, samples, bytes } = part.estimate;
        let actual = |Actual { series, samples, bytes, time }| ActualView {
            series,
            samples,
            bytes,
            seconds: time.as_secs_f64(),
        };
        Self {
            depth: part.depth,
            operation: &part.operation,
            expression: text.get(start..end).unwrap_or_default(),
            steps: part.steps,
            estimate: CostView { series, samples, bytes },
            actual: part.actual.map(actual),
        }
    }
}
