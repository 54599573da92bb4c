//! The parts of a plan in order, each with the times it is evaluated at. Iterative: a long chain of operators is a deep plan.

use super::{Kind, Node, RangeNode, RangeSource};
use crate::ast::Span;
use crate::eval::steps::{LookTimes, Steps};

/// One part of a plan.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part<'p> {
    Node(&'p Node),
    Range(&'p RangeNode),
}

/// A part in its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed<'p> {
    pub(crate) part: Part<'p>,
    /// How many parts enclose it.
    pub(crate) depth: usize,
    /// When it is evaluated.
    pub(crate) steps: Steps,
}

/// All parts, each before those inside it, those in the order in which they are evaluated.
pub(crate) fn parts(plan: &Node, steps: Steps, subquery_step_ms: i64) -> Vec<Placed<'_>> {
    let mut pending = vec![Placed { part: Part::Node(plan), depth: 0, steps }];
    let mut placed = Vec::new();
    while let Some(next) = pending.pop() {
        placed.push(next);
        let first = pending.len();
        next.part.each_inside(next.steps, subquery_step_ms, |part, steps| {
            pending.push(Placed { part, depth: next.depth + 1, steps });
        });
        pending[first..].reverse();
    }
    placed
}

impl<'p> Part<'p> {
    pub(crate) fn ordinal(&self) -> u32 {
        match self {
            Self::Node(node) => node.ordinal,
            Self::Range(range) => range.ordinal,
        }
    }

    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Node(node) => node.span,
            Self::Range(range) => range.span,
        }
    }

    fn each_inside(self, steps: Steps, subquery_step_ms: i64, mut visit: impl FnMut(Part<'p>, Steps)) {
        let mut node = |node: &'p Node, steps| visit(Part::Node(node), steps);
        match self {
            Self::Range(range) => {
                if let RangeSource::Subquery { inner, step_ms, .. } = &range.source {
                    let look = LookTimes::new(&steps, range.when().at_ms, range.when().offset_ms);
                    node(inner, range.grid(&look, step_ms.unwrap_or(subquery_step_ms)));
                }
            }
            Self::Node(whole) => match &whole.kind {
                Kind::Number(_) | Kind::Text(_) | Kind::Select(_) => {}
                Kind::Range(range) => visit(Part::Range(range), steps),
                Kind::Invariant(inner) => node(inner, steps.first_only()),
                Kind::Negate(inner) => node(inner, steps),
                Kind::VectorScalar { .. } | Kind::Scalars { .. } | Kind::Join { .. } | Kind::Set { .. } => {
                    whole.operands().into_iter().flatten().for_each(|operand| node(operand, steps));
                }
                Kind::Aggregate(aggregate) => {
                    aggregate.parameter.iter().for_each(|parameter| node(parameter, steps));
                    node(&aggregate.inner, steps);
                }
                Kind::RangeCall(call) => {
                    call.parameters.iter().for_each(|parameter| node(parameter, steps));
                    visit(Part::Range(&call.range), steps);
                }
                Kind::Call(call) => call.arguments.iter().for_each(|argument| node(argument, steps)),
                Kind::Info(info) => node(&info.base, steps),
            },
        }
    }
}

impl RangeNode {
    /// The times at which a subquery is evaluated: multiples of its step; none where nobody looks at it.
    pub(crate) fn grid(&self, look: &LookTimes, step_ms: i64) -> Steps {
        let step_ms = step_ms.max(1);
        let start_ms = look.first().saturating_sub(self.range_ms);
        let first_ms = start_ms.div_euclid(step_ms).saturating_add(1).saturating_mul(step_ms);
        let grid = Steps::range(first_ms, look.last(), step_ms);
        if look.count() == 0 { Steps { count: 0, ..grid } } else { grid }
    }
}
