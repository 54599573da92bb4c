//! The syntax tree of a query, after binding and type check.
//!
//! Every node knows where its text starts and ends (bytes of the query), since annotations and errors name positions.
//! Durations are milliseconds. Strings are kept as PromQL's escapes produced them.

mod visit;
mod words;

use crate::functions::Function;
use model::matcher::Matcher;

/// Byte range of a node in the query, end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// What an expression evaluates to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// One number per step.
    Scalar,
    /// A text.
    String,
    /// A set of series with one sample each per step.
    Vector,
    /// A set of series with a range of samples each.
    Matrix,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// `5`, `0x1f`, `Inf`, `5m`
    Number(NumberLiteral),
    /// `"text"`
    String(StringLiteral),
    /// `up{job="a"} offset 5m`
    VectorSelector(VectorSelector),
    /// `up[5m]`
    MatrixSelector(MatrixSelector),
    /// `rate(up[5m])[1h:1m]`
    Subquery(Subquery),
    /// `sum by (job) (up)`
    Aggregation(Aggregation),
    /// `a + b`
    Binary(Binary),
    /// `-a`, `+a`
    Unary(Unary),
    /// `rate(up[5m])`
    Call(Call),
    /// `(a)`
    Paren(Paren),
}

/// A number, or a duration used as a number of seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberLiteral {
    /// The value.
    pub value: f64,
    /// Written as a duration; printed as one again.
    pub is_duration: bool,
    /// Where it stands.
    pub span: Span,
}

/// A text. Escapes such as `\xff` may produce bytes that are no UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StringLiteral {
    /// The bytes.
    pub value: Vec<u8>,
    /// Where it stands.
    pub span: Span,
}

/// The time that `@` fixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtModifier {
    /// `@ 123.4`, in milliseconds.
    At(i64),
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// A duration as written: known when parsed, or an expression that needs the query's range and step.
#[derive(Debug, Clone, PartialEq)]
pub enum DurationValue {
    /// Milliseconds; may be negative only in offsets. At most 2^63 nanoseconds. A range written in less than a
    /// millisecond is 0.
    Fixed(i64),
    /// `[5m * 2]`, `[step()]`
    Expr(Box<DurationExpr>),
}

/// Arithmetic on durations (seconds).
#[derive(Debug, Clone, PartialEq)]
pub enum DurationExpr {
    /// A number of seconds or a duration literal.
    Number(NumberLiteral),
    /// `step()`
    Step(Span),
    /// `range()`
    Range(Span),
    /// `min_of(a, b)`
    MinOf(Box<DurationExpr>, Box<DurationExpr>, Span),
    /// `max_of(a, b)`
    MaxOf(Box<DurationExpr>, Box<DurationExpr>, Span),
    /// `+a`, `-a`
    Unary(BinaryOp, Box<DurationExpr>, Span),
    /// `a + b`, with the arithmetic operators only.
    Binary(BinaryOp, Box<DurationExpr>, Box<DurationExpr>, Span),
    /// `(a)`
    Paren(Box<DurationExpr>, Span),
}

/// Where and when a selector looks.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSelector {
    /// The metric name when written before the braces; one quoted inside is just a matcher.
    pub name: Option<String>,
    /// All conditions as written; that on a `name` before the braces comes last.
    pub matchers: Vec<Matcher>,
    /// `offset 5m`; `None` when not written or zero.
    pub offset: Option<DurationValue>,
    /// `@ …`
    pub at: Option<AtModifier>,
    /// `anchored` written after it.
    pub anchored: bool,
    /// `smoothed` written after it.
    pub smoothed: bool,
    /// Where it stands, modifiers included.
    pub span: Span,
}

/// A range of samples. Offset, `@` and range modifiers are those of the selector inside.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSelector {
    /// What to select.
    pub selector: VectorSelector,
    /// How far back from the evaluation time.
    pub range: DurationValue,
    /// Where it stands.
    pub span: Span,
}

/// An expression evaluated at many steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Subquery {
    /// What to evaluate.
    pub expr: Box<Expr>,
    /// How far back from the evaluation time.
    pub range: DurationValue,
    /// Distance of the steps; `None` means the default. Never `Fixed(0)`.
    pub step: Option<DurationValue>,
    /// `offset 5m`; `None` when not written or zero.
    pub offset: Option<DurationValue>,
    /// `@ …`
    pub at: Option<AtModifier>,
    /// Where it stands.
    pub span: Span,
}

/// How series are folded into groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of PromQL")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    CountValues,
    Quantile,
    Limitk,
    LimitRatio,
}

/// An aggregation.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregation {
    /// How to fold.
    pub op: AggregateOp,
    /// What to fold.
    pub expr: Box<Expr>,
    /// The first argument of topk, bottomk, count_values, quantile, limitk and limit_ratio.
    pub param: Option<Box<Expr>>,
    /// Labels of `by` or `without`, as written.
    pub grouping: Vec<String>,
    /// `without` instead of `by`.
    pub without: bool,
    /// Where it stands.
    pub span: Span,
}

/// A binary operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of PromQL")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    Unless,
    /// `</` keeps the part of a histogram below a value.
    TrimUpper,
    /// `>/` keeps the part of a histogram above a value.
    TrimLower,
}

/// How many series of one side may match one of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cardinality {
    /// Each matches at most one.
    OneToOne,
    /// `group_left`: many on the left.
    ManyToOne,
    /// `group_right`: many on the right.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How the series of two vectors find each other.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorMatching {
    /// How many may match.
    pub cardinality: Cardinality,
    /// Labels of `on` or `ignoring`, as written.
    pub labels: Vec<String>,
    /// `on` instead of `ignoring`.
    pub on: bool,
    /// Labels of `group_left(…)` or `group_right(…)`.
    pub include: Vec<String>,
    /// `fill`, `fill_left`: the value of a missing left side.
    pub fill_left: Option<f64>,
    /// `fill`, `fill_right`: the value of a missing right side.
    pub fill_right: Option<f64>,
}

/// A binary operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Left operand.
    pub lhs: Box<Expr>,
    /// Right operand.
    pub rhs: Box<Expr>,
    /// How series match; `None` unless both sides are vectors.
    pub matching: Option<VectorMatching>,
    /// `bool` written after a comparison.
    pub return_bool: bool,
    /// Where it stands.
    pub span: Span,
}

/// A sign.
#[derive(Debug, Clone, PartialEq)]
pub struct Unary {
    /// `-` when true, else `+`.
    pub negative: bool,
    /// The operand.
    pub expr: Box<Expr>,
    /// Where it stands.
    pub span: Span,
}

/// A function call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// What is called.
    pub function: &'static Function,
    /// The arguments as written (defaults are not filled in).
    pub args: Vec<Expr>,
    /// Where it stands.
    pub span: Span,
}

/// An expression in parentheses.
#[derive(Debug, Clone, PartialEq)]
pub struct Paren {
    /// What is inside.
    pub expr: Box<Expr>,
    /// Where it stands.
    pub span: Span,
}

impl DurationExpr {
    /// Where the expression stands in the query.
    #[must_use]
    pub fn span(&self) -> Span {
        match self {
            Self::Number(number) => number.span,
            Self::Step(span)
            | Self::Range(span)
            | Self::MinOf(_, _, span)
            | Self::MaxOf(_, _, span)
            | Self::Unary(_, _, span)
            | Self::Binary(_, _, _, span)
            | Self::Paren(_, span) => *span,
        }
    }
}

impl Expr {
    /// Stands in for an expression that was moved out.
    pub(crate) const PLACEHOLDER: Self =
        Self::Number(NumberLiteral { value: 0.0, is_duration: false, span: Span { start: 0, end: 0 } });

    /// Where the expression stands in the query.
    #[must_use]
    pub fn span(&self) -> Span {
        match self {
            Self::Number(e) => e.span,
            Self::String(e) => e.span,
            Self::VectorSelector(e) => e.span,
            Self::MatrixSelector(e) => e.span,
            Self::Subquery(e) => e.span,
            Self::Aggregation(e) => e.span,
            Self::Binary(e) => e.span,
            Self::Unary(e) => e.span,
            Self::Call(e) => e.span,
            Self::Paren(e) => e.span,
        }
    }

    /// What it evaluates to.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Number(_) => ValueType::Scalar,
            Self::String(_) => ValueType::String,
            Self::VectorSelector(_) | Self::Aggregation(_) => ValueType::Vector,
            Self::MatrixSelector(_) | Self::Subquery(_) => ValueType::Matrix,
            Self::Binary(e) if e.matching.is_some() => ValueType::Vector,
            Self::Binary(e) => match (e.rhs.value_type(), e.lhs.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
            Self::Unary(e) => e.expr.value_type(),
            Self::Call(e) => e.function.returns,
            Self::Paren(e) => e.expr.value_type(),
        }
    }
}
