//! Syntax tree to plan.

use super::duration::resolve;
use super::{Aggregate, Bounds, CallNode, InfoNode, Kind, Node, RangeCallNode, RangeNode, RangeSource, Selector, When};
use crate::ast::{
    Aggregation, AtModifier, Binary, BinaryOp, Call, Cardinality, DurationValue, Expr, MatrixSelector, Span, Subquery,
    Unary, ValueType, VectorMatching, VectorSelector,
};
use crate::eval::extended::Extension;
use crate::eval::range::RangeFunction;
use crate::query_error::QueryError;

/// Plans a query.
///
/// # Errors
/// A duration without a usable value, or a range modifier where it has no meaning.
pub(crate) fn plan(expr: &Expr, bounds: Bounds) -> Result<Node, QueryError> {
    let mut builder = Builder { bounds, next_ordinal: 0, buckets: Buckets::default() };
    let built = builder.build(expr)?;
    Ok(builder.wrap(built))
}

/// Functions whose result depends on the evaluation time even if their arguments do not.
const TIME_DEPENDENT: [&str; 11] = [
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "time",
    "timestamp",
    "year",
];

/// On all labels, one to one.
const DEFAULT_MATCHING: VectorMatching = VectorMatching {
    cardinality: Cardinality::OneToOne,
    labels: Vec::new(),
    on: false,
    include: Vec::new(),
    fill_left: None,
    fill_right: None,
};

struct Builder {
    bounds: Bounds,
    next_ordinal: u32,
    buckets: Buckets,
}

/// Whether the buckets of histograms matter to what is around the part being built.
#[derive(Debug, Clone, Copy, Default)]
struct Buckets {
    /// Something around looks at buckets, or may see samples that do not follow each other.
    needed: bool,
    /// Something around takes count and sum alone.
    only_stats_taken: bool,
}

/// A node and whether it gives the same at every step.
struct Built {
    node: Node,
    invariant: bool,
    /// Whether evaluating it once saves anything: literals and range vectors are never wrapped.
    wrappable: bool,
}

impl Built {
    fn varying(node: Node) -> Self {
        Self { node, invariant: false, wrappable: false }
    }

    fn with_invariance(node: Node, invariant: bool) -> Self {
        Self { node, invariant, wrappable: invariant }
    }
}

/// What is left to do for a tree of binary operators.
enum Step<'a> {
    Visit(&'a Expr),
    /// With what is around the operator.
    Combine(&'a Binary, Buckets),
}

/// Without the parentheses around it.
fn bare(mut expr: &Expr) -> &Expr {
    while let Expr::Paren(paren) = expr {
        expr = &paren.expr;
    }
    expr
}

impl Builder {
    fn ordinal(&mut self) -> u32 {
        self.next_ordinal += 1;
        self.next_ordinal
    }

    fn node(&mut self, span: Span, value_type: ValueType, kind: Kind) -> Node {
        Node { ordinal: self.ordinal(), span, value_type, kind }
    }

    /// Evaluated once if that is possible and worth it.
    fn wrap(&mut self, built: Built) -> Node {
        if !built.wrappable {
            return built.node;
        }
        let (span, value_type) = (built.node.span, built.node.value_type);
        self.node(span, value_type, Kind::Invariant(Box::new(built.node)))
    }

    fn build(&mut self, expr: &Expr) -> Result<Built, QueryError> {
        let span = expr.span();
        match expr {
            Expr::Number(number) => Ok(self.literal(span, ValueType::Scalar, Kind::Number(number.value))),
            Expr::String(text) => Ok(self.literal(span, ValueType::String, Kind::Text(text.value.clone()))),
            Expr::VectorSelector(selector) => self.instant_selector(selector),
            Expr::MatrixSelector(_) | Expr::Subquery(_) => self.range_vector(expr),
            Expr::Aggregation(aggregation) => self.aggregation(aggregation),
            Expr::Binary(_) => self.binary(expr),
            Expr::Unary(unary) => self.unary(unary),
            Expr::Call(call) => self.call(call),
            Expr::Paren(paren) => self.build(&paren.expr),
        }
    }

    fn literal(&mut self, span: Span, value_type: ValueType, kind: Kind) -> Built {
        Built { node: self.node(span, value_type, kind), invariant: true, wrappable: false }
    }

    fn instant_selector(&mut self, selector: &VectorSelector) -> Result<Built, QueryError> {
        let resolved = self.selector(selector)?;
        let pinned = resolved.when.at_ms.is_some();
        let node = self.node(selector.span, ValueType::Vector, Kind::Select(resolved));
        Ok(Built::with_invariance(node, pinned))
    }

    fn selector(&self, selector: &VectorSelector) -> Result<Selector, QueryError> {
        let extension = match (selector.anchored, selector.smoothed) {
            (true, _) => Some(Extension::Anchored),
            (false, true) => Some(Extension::Smoothed),
            (false, false) => None,
        };
        let when = self.when(selector.at, selector.offset.as_ref())?;
        let stats_only = self.buckets.only_stats_taken && !self.buckets.needed;
        Ok(Selector { matchers: selector.matchers.clone(), when, extension, stats_only, signed: false })
    }

    fn when(&self, at: Option<AtModifier>, offset: Option<&DurationValue>) -> Result<When, QueryError> {
        let at_ms = at.map(|at| match at {
            AtModifier::At(time_ms) => time_ms,
            AtModifier::Start => self.bounds.start_ms,
            AtModifier::End => self.bounds.end_ms,
        });
        let offset_ms = offset.map_or(Ok(0), |offset| resolve(offset, true, &self.bounds))?;
        Ok(When { at_ms, offset_ms })
    }

    /// A range vector as the query's result.
    fn range_vector(&mut self, expr: &Expr) -> Result<Built, QueryError> {
        let range = self.range(expr)?;
        let span = range.span;
        Ok(Built::varying(self.node(span, ValueType::Matrix, Kind::Range(Box::new(range)))))
    }

    fn range(&mut self, expr: &Expr) -> Result<RangeNode, QueryError> {
        match bare(expr) {
            Expr::MatrixSelector(MatrixSelector { selector, range, span }) => {
                let source = RangeSource::Selector(self.selector(selector)?);
                let range_ms = resolve(range, false, &self.bounds)?;
                Ok(RangeNode { ordinal: self.ordinal(), span: *span, range_ms, source })
            }
            Expr::Subquery(subquery) => self.subquery(subquery),
            _ => unreachable!("the type check lets only range vectors stand where one is wanted"),
        }
    }

    fn subquery(&mut self, subquery: &Subquery) -> Result<RangeNode, QueryError> {
        let inner = self.inside(Buckets { needed: true, ..self.buckets }, |this| this.build(&subquery.expr))?;
        let inner = if inner.invariant { self.wrap(Built { wrappable: true, ..inner }) } else { inner.node };
        let step_ms =
            subquery.step.as_ref().map(|step| resolve(step, false, &self.bounds)).transpose()?.filter(|step| *step > 0);
        let when = self.when(subquery.at, subquery.offset.as_ref())?;
        let range_ms = resolve(&subquery.range, false, &self.bounds)?;
        let source = RangeSource::Subquery { inner, step_ms, when };
        Ok(RangeNode { ordinal: self.ordinal(), span: subquery.span, range_ms, source })
    }

    fn aggregation(&mut self, aggregation: &Aggregation) -> Result<Built, QueryError> {
        let parameter = aggregation.param.as_deref().map(|parameter| self.build(bare(parameter))).transpose()?;
        let inner = self.build(bare(&aggregation.expr))?;
        // Prometheus 3.14 looks at the operand alone and evaluates a parameter that varies once, at the first step; the
        // same query asked step by step then answers differently. We look at both.
        let invariant = inner.invariant && parameter.as_ref().is_none_or(|parameter| parameter.invariant);
        let (inner, parameter) = if invariant {
            (inner.node, parameter.map(|parameter| parameter.node))
        } else {
            (self.wrap(inner), parameter.map(|parameter| self.wrap(parameter)))
        };
        let mut grouping = aggregation.grouping.clone();
        grouping.sort();
        grouping.dedup();
        let aggregate = Aggregate { op: aggregation.op, inner, parameter, grouping, without: aggregation.without };
        let node = self.node(aggregation.span, ValueType::Vector, Kind::Aggregate(Box::new(aggregate)));
        Ok(Built::with_invariance(node, invariant))
    }

    /// Builds a part with `buckets` around it.
    fn inside<T>(&mut self, buckets: Buckets, build: impl FnOnce(&mut Self) -> T) -> T {
        let around = std::mem::replace(&mut self.buckets, buckets);
        let built = build(self);
        self.buckets = around;
        built
    }

    /// Signs may follow each other in any number: they are counted, not descended.
    fn unary(&mut self, unary: &Unary) -> Result<Built, QueryError> {
        let (mut negations, mut operand) = (0, unary.expr.as_ref());
        let mut sign = unary;
        loop {
            negations += usize::from(sign.negative);
            let Expr::Unary(next) = operand else { break };
            (sign, operand) = (next, &next.expr);
        }
        let Built { mut node, invariant, wrappable } = self.build(operand)?;
        if let (0, Kind::Select(selector)) = (negations, &mut node.kind) {
            selector.signed = true;
        }
        // Two negations undo each other, but the name is gone all the same.
        let negations = if negations > 1 { 2 - negations % 2 } else { negations };
        for _ in 0..negations {
            let value_type = node.value_type;
            node = match node.kind {
                Kind::Number(value) => self.node(unary.span, value_type, Kind::Number(-value)),
                _ => self.node(unary.span, value_type, Kind::Negate(Box::new(node))),
            };
        }
        Ok(Built { node, invariant, wrappable })
    }

    /// Binary operators nest as deep as the query is long: they are walked, not descended.
    fn binary(&mut self, expr: &Expr) -> Result<Built, QueryError> {
        let mut work = vec![Step::Visit(expr)];
        let mut built = Vec::new();
        while let Some(step) = work.pop() {
            match step {
                Step::Visit(expr) => match bare(expr) {
                    Expr::Binary(binary) => {
                        let around = self.buckets;
                        self.buckets.needed |= matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
                        work.extend([
                            Step::Combine(binary, around),
                            Step::Visit(&binary.rhs),
                            Step::Visit(&binary.lhs),
                        ]);
                    }
                    operand => built.push(self.build(operand)?),
                },
                Step::Combine(binary, around) => {
                    self.buckets = around;
                    let (Some(rhs), Some(lhs)) = (built.pop(), built.pop()) else {
                        unreachable!("both operands were visited before")
                    };
                    built.push(self.combine(binary, lhs, rhs));
                }
            }
        }
        Ok(built.pop().unwrap_or_else(|| unreachable!("a visit leaves a node")))
    }

    fn combine(&mut self, binary: &Binary, lhs: Built, rhs: Built) -> Built {
        let invariant = lhs.invariant && rhs.invariant;
        let (lhs, rhs) = if invariant { (lhs.node, rhs.node) } else { (self.wrap(lhs), self.wrap(rhs)) };
        let op = binary.op;
        let (value_type, kind) = match (lhs.value_type, rhs.value_type) {
            (ValueType::Scalar, ValueType::Scalar) => {
                (ValueType::Scalar, Kind::Scalars { op, operands: Box::new((lhs, rhs)) })
            }
            (ValueType::Scalar, _) => (ValueType::Vector, self.with_scalar(binary, rhs, lhs, true)),
            (_, ValueType::Scalar) => (ValueType::Vector, self.with_scalar(binary, lhs, rhs, false)),
            _ => {
                let matching = binary.matching.clone().unwrap_or(DEFAULT_MATCHING);
                let operands = Box::new((lhs, rhs));
                let kind = if op.is_set() {
                    Kind::Set { op, operands, matching }
                } else {
                    Kind::Join { op, operands, matching, return_bool: binary.return_bool }
                };
                (ValueType::Vector, kind)
            }
        };
        let node = self.node(binary.span, value_type, kind);
        Built::with_invariance(node, invariant)
    }

    fn with_scalar(&self, binary: &Binary, vector: Node, scalar: Node, scalar_first: bool) -> Kind {
        Kind::VectorScalar {
            op: binary.op,
            vector: Box::new(vector),
            scalar: Box::new(scalar),
            scalar_first,
            return_bool: binary.return_bool,
        }
    }

    fn call(&mut self, call: &Call) -> Result<Built, QueryError> {
        let name = call.function.name;
        if let Some(value) = self.bound(name) {
            return Ok(self.literal(call.span, ValueType::Scalar, Kind::Number(value)));
        }
        if name == "info" {
            return self.info(call);
        }
        if let Some(function) = RangeFunction::named(name) {
            return self.range_call(function, call);
        }
        let mut buckets = self.buckets;
        match name {
            "histogram_count" | "histogram_sum" | "histogram_avg" => buckets.only_stats_taken = true,
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => buckets.needed = true,
            _ => {}
        }
        let arguments: Result<Vec<Built>, QueryError> =
            self.inside(buckets, |this| call.args.iter().map(|argument| this.build(bare(argument))).collect());
        let arguments = arguments?;
        let all_invariant = arguments.iter().all(|argument| argument.invariant);
        // The time of a sample does not depend on the step when the selector does not; that of a result does.
        let is_pinned_timestamp = name == "timestamp"
            && arguments
                .first()
                .is_some_and(|argument| matches!(&argument.node.kind, Kind::Select(selector) if !selector.signed));
        let invariant = all_invariant && (!TIME_DEPENDENT.contains(&name) || is_pinned_timestamp);
        let arguments =
            arguments.into_iter().map(|argument| if invariant { argument.node } else { self.wrap(argument) }).collect();
        let kind = Kind::Call(Box::new(CallNode { name, arguments }));
        let node = self.node(call.span, call.function.returns, kind);
        Ok(Built::with_invariance(node, invariant))
    }

    /// The value of functions that ask for the query's bounds.
    fn bound(&self, name: &str) -> Option<f64> {
        let Bounds { start_ms, end_ms, step_ms } = self.bounds;
        let millis = match name {
            "start" => start_ms,
            "end" => end_ms,
            "range" => end_ms.saturating_sub(start_ms),
            "step" if start_ms == end_ms => 0,
            "step" => step_ms,
            _ => return None,
        };
        Some(millis as f64 / 1000.0)
    }

    fn range_call(&mut self, function: RangeFunction, call: &Call) -> Result<Built, QueryError> {
        let mut range = None;
        let mut parameters = Vec::new();
        for argument in &call.args {
            if argument.value_type() == ValueType::Matrix {
                range = Some(self.range(argument)?);
            } else {
                parameters.push(self.build(bare(argument))?);
            }
        }
        let Some(range) = range else { unreachable!("functions over ranges have a range argument") };
        let name = call.function.name;
        let pinned = range.when().at_ms.is_some();
        let invariant =
            pinned && parameters.iter().all(|parameter| parameter.invariant) && !TIME_DEPENDENT.contains(&name);
        let parameters = parameters
            .into_iter()
            .map(|parameter| if invariant { parameter.node } else { self.wrap(parameter) })
            .collect();
        let first_argument = call.args.first().map_or(call.span, |argument| bare(argument).span());
        let kind = Kind::RangeCall(Box::new(RangeCallNode { function, name, range, parameters, first_argument }));
        let node = self.node(call.span, ValueType::Vector, kind);
        Ok(Built::with_invariance(node, invariant))
    }

    fn info(&mut self, call: &Call) -> Result<Built, QueryError> {
        let base = call.args.first().map(bare).unwrap_or_else(|| unreachable!("info has an argument"));
        let when = self.first_selector(base, When::default())?.unwrap_or_default();
        let selector = call.args.get(1).map(|argument| match bare(argument) {
            Expr::VectorSelector(selector) => selector.matchers.clone(),
            _ => unreachable!("the second argument of info is a plain selector"),
        });
        let base = self.build(base)?;
        let invariant = base.invariant && selector.is_none();
        let base = if invariant { base.node } else { self.wrap(base) };
        let node = self.node(call.span, ValueType::Vector, Kind::Info(Box::new(InfoNode { base, selector, when })));
        Ok(Built::with_invariance(node, invariant))
    }

    /// When the first selector in `expr` looks, the subqueries around it included: the innermost `@` anchors it, offsets
    /// up to there add up. `around` is what the subqueries further out say.
    fn first_selector(&self, expr: &Expr, around: When) -> Result<Option<When>, QueryError> {
        let inside = |own: When| match own.at_ms {
            Some(_) => own,
            None => When { at_ms: around.at_ms, offset_ms: own.offset_ms.saturating_add(around.offset_ms) },
        };
        let children: Vec<&Expr> = match expr {
            Expr::Number(_) | Expr::String(_) => Vec::new(),
            Expr::VectorSelector(selector) | Expr::MatrixSelector(MatrixSelector { selector, .. }) => {
                return Ok(Some(inside(self.when(selector.at, selector.offset.as_ref())?)));
            }
            Expr::Subquery(subquery) => {
                let own = inside(self.when(subquery.at, subquery.offset.as_ref())?);
                return self.first_selector(&subquery.expr, own);
            }
            Expr::Aggregation(aggregation) => {
                aggregation.param.as_deref().into_iter().chain([aggregation.expr.as_ref()]).collect()
            }
            Expr::Binary(binary) => vec![&binary.lhs, &binary.rhs],
            Expr::Unary(unary) => vec![&unary.expr],
            Expr::Paren(paren) => vec![&paren.expr],
            Expr::Call(call) => call.args.iter().collect(),
        };
        for child in children {
            if let Some(found) = self.first_selector(child, around)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}
