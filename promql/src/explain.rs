//! A query's plan for people: what is done in which order, what it was expected to cost and what it really took.

use crate::ast::VectorMatching;
use crate::duration::format_ms;
use crate::estimate::{Cost, QueryCost};
use crate::eval::profile::Profile;
use crate::plan::walk::{Part, Placed};
use crate::plan::{Kind, Node, RangeSource, Selector};
use std::fmt::Write;
use std::time::Duration;

/// A plan, and what is known of its cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Every part, each before those inside it, those in the order in which they are evaluated.
    pub parts: Vec<ExplainedPart>,
    /// The estimate for the whole.
    pub estimate: QueryCost,
}

/// One part of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainedPart {
    /// How many parts enclose it.
    pub depth: usize,
    /// What it does; `(shared)` when it takes the result of an equal part before it, and nothing inside it is evaluated.
    pub operation: String,
    /// First byte of its expression in the query, and one past the last.
    pub span: (usize, usize),
    /// At how many times it is evaluated.
    pub steps: usize,
    /// What was expected.
    pub estimate: Cost,
    /// What it took; `None` when the query was not evaluated.
    pub actual: Option<Actual>,
}

/// What one part took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actual {
    /// Series with a value; of a selector, those read.
    pub series: u64,
    /// Samples read, or values given.
    pub samples: u64,
    /// Bytes that its result held when it was put together, those of parts inside that it keeps included; of a range, the
    /// samples of one series at once. What passes through series by series holds nothing.
    pub bytes: u64,
    /// Time, that of the parts inside included: by the clock while its result is put together, and of all threads together
    /// where series pass through it one by one. So a part may have taken less than one inside it, which threads shared.
    pub time: Duration,
}

/// Puts an explanation together.
pub(crate) fn explanation(
    placed: &[Placed<'_>],
    costs: (Vec<Cost>, QueryCost),
    profile: Option<&Profile>,
    is_shared: impl Fn(u32) -> bool,
) -> Explanation {
    let (costs, estimate) = costs;
    let part = |(placed, cost): (&Placed<'_>, Cost)| {
        let span = placed.part.span();
        let counters = profile.and_then(|profile| profile.part(placed.part.ordinal()));
        let actual = counters.map(|counters| Actual {
            series: counters.series(),
            samples: counters.samples(),
            bytes: counters.bytes(),
            time: counters.time(),
        });
        ExplainedPart {
            depth: placed.depth,
            operation: operation(placed.part) + if is_shared(placed.part.ordinal()) { " (shared)" } else { "" },
            span: (span.start as usize, span.end as usize),
            steps: placed.steps.count,
            estimate: cost,
            actual,
        }
    };
    Explanation { parts: placed.iter().zip(costs).map(part).collect(), estimate }
}

fn operation(part: Part<'_>) -> String {
    match part {
        Part::Range(range) => match &range.source {
            RangeSource::Selector(selector) => {
                format!("{} over {}", selector_text(selector), format_ms(range.range_ms))
            }
            RangeSource::Subquery { .. } => format!("subquery over {}", format_ms(range.range_ms)),
        },
        Part::Node(node) => of_node(node),
    }
}

fn of_node(node: &Node) -> String {
    match &node.kind {
        Kind::Number(value) => format!("number {value}"),
        Kind::Text(_) => "text".into(),
        Kind::Select(selector) => selector_text(selector),
        Kind::Range(_) => "range vector".into(),
        Kind::Invariant(_) => "once for all steps".into(),
        Kind::Negate(_) => "negate".into(),
        Kind::Scalars { op, .. } => format!("{} of scalars", op.as_str()),
        Kind::VectorScalar { op, .. } => format!("{} with a scalar", op.as_str()),
        Kind::Join { op, matching, .. } => format!("join {}{}", op.as_str(), matching_text(matching)),
        Kind::Set { op, matching, .. } => format!("{}{}", op.as_str(), matching_text(matching)),
        Kind::Aggregate(aggregate) => {
            let how = if aggregate.without { "without" } else { "by" };
            format!("{} {how} ({})", aggregate.op.as_str(), aggregate.grouping.join(", "))
        }
        Kind::RangeCall(call) => call.name.into(),
        Kind::Call(call) => call.name.into(),
        Kind::Info(_) => "info".into(),
    }
}

fn matching_text(matching: &VectorMatching) -> String {
    if matching.labels.is_empty() && !matching.on {
        return String::new();
    }
    format!(" {} ({})", if matching.on { "on" } else { "ignoring" }, matching.labels.join(", "))
}

fn selector_text(selector: &Selector) -> String {
    let matchers: Vec<_> = selector.matchers.iter().map(ToString::to_string).collect();
    let mut text = format!("select {{{}}}", matchers.join(","));
    if let Some(at_ms) = selector.when.at_ms {
        let _ = write!(text, " at {at_ms} ms"); // writing to a string cannot fail
    }
    if selector.when.offset_ms != 0 {
        let _ = write!(text, " offset {}", format_ms(selector.when.offset_ms));
    }
    text
}
