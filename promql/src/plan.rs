//! What is evaluated: the syntax tree with everything resolved that the query's bounds decide.
//!
//! Pure. Durations are milliseconds, `@ start()` and its kin are times, parentheses are gone, and every part that gives
//! the same at each step is wrapped so that it is evaluated once. Ordinals number the nodes in the order in which
//! Prometheus evaluates them: operands before their operator, left before right.

mod build;
mod duration;
pub(crate) mod repeats;
pub(crate) mod walk;

pub(crate) use build::plan;

use crate::ast::{AggregateOp, BinaryOp, Span, ValueType, VectorMatching};
use crate::eval::extended::Extension;
use crate::eval::range::RangeFunction;
use model::matcher::Matcher;

/// The bounds of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// Zero for an instant query.
    pub(crate) step_ms: i64,
}

/// A part of the plan.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) ordinal: u32,
    /// Where it stands in the query.
    pub(crate) span: Span,
    pub(crate) value_type: ValueType,
    pub(crate) kind: Kind,
}

impl Node {
    /// The operands of a binary operator as they are written.
    pub(crate) fn operands(&self) -> Option<[&Node; 2]> {
        match &self.kind {
            Kind::Scalars { operands, .. } | Kind::Join { operands, .. } | Kind::Set { operands, .. } => {
                Some([&operands.0, &operands.1])
            }
            Kind::VectorScalar { vector, scalar, scalar_first, .. } => {
                Some(if *scalar_first { [scalar, vector] } else { [vector, scalar] })
            }
            _ => None,
        }
    }
}

/// What a part does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Number(f64),
    Text(Vec<u8>),
    Select(Selector),
    /// A range vector that is the query's result.
    Range(Box<RangeNode>),
    /// Evaluated at the first step alone, the same at every step.
    Invariant(Box<Node>),
    Negate(Box<Node>),
    /// Between two scalars.
    Scalars {
        op: BinaryOp,
        operands: Box<(Node, Node)>,
    },
    /// Between each series of a vector and a scalar.
    VectorScalar {
        op: BinaryOp,
        vector: Box<Node>,
        scalar: Box<Node>,
        /// The scalar is the left operand.
        scalar_first: bool,
        return_bool: bool,
    },
    /// Between two vectors, set operators excluded.
    Join {
        op: BinaryOp,
        operands: Box<(Node, Node)>,
        matching: VectorMatching,
        return_bool: bool,
    },
    /// `and`, `or`, `unless`
    Set {
        op: BinaryOp,
        operands: Box<(Node, Node)>,
        matching: VectorMatching,
    },
    Aggregate(Box<Aggregate>),
    RangeCall(Box<RangeCallNode>),
    Call(Box<CallNode>),
    Info(Box<InfoNode>),
}

/// Which series, and when to look.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Selector {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) when: When,
    pub(crate) extension: Option<Extension>,
    /// Whether all that matters of a histogram is its count and sum, and what is known of counter resets before it.
    pub(crate) stats_only: bool,
    /// A `+` stands before it. Functions that look at the selector of their argument see an operation then.
    pub(crate) signed: bool,
}

/// The modifiers `@` and `offset`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct When {
    pub(crate) at_ms: Option<i64>,
    pub(crate) offset_ms: i64,
}

/// A range vector.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RangeNode {
    pub(crate) ordinal: u32,
    pub(crate) span: Span,
    pub(crate) range_ms: i64,
    pub(crate) source: RangeSource,
}

/// What a range vector is cut from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RangeSource {
    Selector(Selector),
    Subquery {
        inner: Node,
        /// `None` means the engine's default.
        step_ms: Option<i64>,
        when: When,
    },
}

impl RangeNode {
    pub(crate) fn when(&self) -> When {
        match &self.source {
            RangeSource::Selector(selector) => selector.when,
            RangeSource::Subquery { when, .. } => *when,
        }
    }
}

/// An aggregation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Aggregate {
    pub(crate) op: AggregateOp,
    pub(crate) inner: Node,
    pub(crate) parameter: Option<Node>,
    /// Sorted, each once.
    pub(crate) grouping: Vec<String>,
    pub(crate) without: bool,
}

/// A call of a function over a range vector.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RangeCallNode {
    pub(crate) function: RangeFunction,
    /// The name in PromQL.
    pub(crate) name: &'static str,
    pub(crate) range: RangeNode,
    /// The scalar arguments in order.
    pub(crate) parameters: Vec<Node>,
    /// Where the first argument stands.
    pub(crate) first_argument: Span,
}

/// A call of any other function.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CallNode {
    /// The name in PromQL.
    pub(crate) name: &'static str,
    pub(crate) arguments: Vec<Node>,
}

/// A call of `info`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InfoNode {
    pub(crate) base: Node,
    /// The matchers of the second argument; `None` when there is none.
    pub(crate) selector: Option<Vec<Matcher>>,
    /// When info series are looked up: as the first selector of the first argument looks.
    pub(crate) when: When,
}
