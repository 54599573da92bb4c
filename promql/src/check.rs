//! The type check: which expressions have a meaning.
//!
//! Iterative, so that the depth of a tree costs no stack, and in Prometheus' order, so that of several mistakes the same
//! one is reported. Types are computed bottom-up, each once.

use crate::ast::{Aggregation, Binary, Call, Cardinality, Expr, Span, Subquery, Unary, ValueType, VectorSelector};
use crate::functions::Function;
use crate::parse::RawError;
use model::text::quote;

const METRIC_NAME: &str = "__name__";

/// Checks a whole expression.
pub(crate) fn check(expr: &Expr, query: &str) -> Result<(), RawError> {
    let mut checker = Checker { query, work: vec![Work::Visit(expr)], types: Vec::new() };
    while let Some(next) = checker.work.pop() {
        checker.step(next)?;
    }
    Ok(())
}

fn refuse<T>(span: Span, message: impl Into<String>) -> Result<T, RawError> {
    Err(RawError::semantic(span, message))
}

#[derive(Clone, Copy)]
enum Work<'a> {
    /// A node not seen yet. When it is done, its type is on the stack of types.
    Visit(&'a Expr),
    /// The type on the stack must be this one.
    Expect(&'a Expr, ValueType, Place),
    /// A node whose operands are checked and whose own type is this.
    Result(ValueType),
    /// Nodes whose own rule depends on the types of their operands.
    Subquery(&'a Subquery),
    Unary(&'a Unary),
    Binary(&'a Binary),
}

/// Where a type was expected, for the message.
#[derive(Clone, Copy)]
enum Place {
    AggregationOperand,
    AggregationParameter,
    Argument(&'static Function),
}

struct Checker<'a> {
    query: &'a str,
    /// What remains, the next one last.
    work: Vec<Work<'a>>,
    /// Types of expressions that no parent has taken yet.
    types: Vec<ValueType>,
}

impl<'a> Checker<'a> {
    fn step(&mut self, work: Work<'a>) -> Result<(), RawError> {
        match work {
            Work::Visit(expr) => self.visit(expr),
            Work::Expect(expr, wanted, place) => expect(expr, self.pop(), wanted, place),
            Work::Result(ty) => {
                self.types.push(ty);
                Ok(())
            }
            Work::Subquery(subquery) => self.subquery(subquery),
            Work::Unary(unary) => self.unary(unary),
            Work::Binary(binary) => self.binary(binary),
        }
    }

    fn pop(&mut self) -> ValueType {
        self.types.pop().expect("every operand was visited before its parent is finished")
    }

    /// Checks what does not depend on operands and schedules the rest, last things first.
    fn visit(&mut self, expr: &'a Expr) -> Result<(), RawError> {
        match expr {
            Expr::Number(_) => self.types.push(ValueType::Scalar),
            Expr::String(_) => self.types.push(ValueType::String),
            Expr::VectorSelector(selector) => {
                check_selector(selector)?;
                self.types.push(ValueType::Vector);
            }
            Expr::MatrixSelector(matrix) => {
                check_selector(&matrix.selector)?;
                self.types.push(ValueType::Matrix);
            }
            Expr::Subquery(subquery) => self.work.extend([Work::Subquery(subquery), Work::Visit(&subquery.expr)]),
            Expr::Aggregation(aggregation) => self.schedule_aggregation(aggregation),
            Expr::Binary(binary) => {
                self.work.extend([Work::Binary(binary), Work::Visit(&binary.rhs), Work::Visit(&binary.lhs)]);
            }
            Expr::Unary(unary) => self.work.extend([Work::Unary(unary), Work::Visit(&unary.expr)]),
            Expr::Call(call) => self.schedule_call(call)?,
            Expr::Paren(paren) => self.work.push(Work::Visit(&paren.expr)),
        }
        Ok(())
    }

    fn schedule_aggregation(&mut self, aggregation: &'a Aggregation) {
        self.work.push(Work::Result(ValueType::Vector));
        if let (Some(param), Some(wanted)) = (&aggregation.param, aggregation.op.param_type()) {
            self.work.extend([Work::Expect(param, wanted, Place::AggregationParameter), Work::Visit(param)]);
        }
        let operand = &aggregation.expr;
        let expected = Work::Expect(operand, ValueType::Vector, Place::AggregationOperand);
        self.work.extend([expected, Work::Visit(operand)]);
    }

    fn schedule_call(&mut self, call: &'a Call) -> Result<(), RawError> {
        let function = call.function;
        check_arity(function, call.args.len(), call.span)?;
        // The selector of `info` is not visited: its matchers may all match the empty string.
        let visited = if function.name == "info" {
            check_info(call)?;
            call.args.get(..1).unwrap_or_default()
        } else {
            &call.args
        };
        self.work.push(Work::Result(function.returns));
        for (index, argument) in visited.iter().enumerate().rev() {
            let Some(wanted) = function.args.get(index).or(function.args.last()) else { continue };
            let expected = Work::Expect(argument, *wanted, Place::Argument(function));
            self.work.extend([expected, Work::Visit(argument)]);
        }
        Ok(())
    }

    fn subquery(&mut self, subquery: &Subquery) -> Result<(), RawError> {
        let inner = self.pop();
        if inner != ValueType::Vector {
            let message = format!("subquery is only allowed on instant vector, got {} instead", inner.as_str());
            return refuse(subquery.span, message);
        }
        self.types.push(ValueType::Matrix);
        Ok(())
    }

    fn unary(&mut self, unary: &Unary) -> Result<(), RawError> {
        let inner = self.pop();
        if !is_numeric(inner) {
            let got = quote(inner.describe());
            let message =
                format!("unary expression only allowed on expressions of type scalar or instant vector, got {got}");
            return refuse(unary.span, message);
        }
        self.types.push(inner);
        Ok(())
    }

    fn binary(&mut self, binary: &Binary) -> Result<(), RawError> {
        let (right, left) = (self.pop(), self.pop());
        let scalars = left == ValueType::Scalar && right == ValueType::Scalar;
        let vectors = left == ValueType::Vector && right == ValueType::Vector;
        if binary.return_bool && !binary.op.is_comparison() {
            return refuse(self.operator_span(binary), "bool modifier can only be used on comparison operators");
        }
        if binary.op.is_comparison() && !binary.return_bool && scalars {
            return refuse(self.operator_span(binary), "comparisons between scalars must use BOOL modifier");
        }
        if let Some(matching) = binary.matching.as_ref().filter(|matching| matching.on)
            && let Some(label) = matching.labels.iter().find(|label| matching.include.contains(label))
        {
            let message = format!("label {} must not occur in ON and GROUP clause at once", quote(label));
            return refuse(self.operator_span(binary), message);
        }
        for (operand, ty) in [(&binary.lhs, left), (&binary.rhs, right)] {
            if !is_numeric(ty) {
                let message = "binary expression must contain only scalar and instant vector types";
                return refuse(operand.span(), message);
            }
        }
        check_matching(binary, vectors)?;
        if !vectors && binary.op.is_set() {
            let message = format!("set operator {} not allowed in binary scalar expression", quote(binary.op.as_str()));
            return refuse(binary.span, message);
        }
        self.types.push(if scalars { ValueType::Scalar } else { ValueType::Vector });
        Ok(())
    }

    /// Where the operator with its modifiers stands: between the operands, blanks trimmed.
    fn operator_span(&self, binary: &Binary) -> Span {
        let (start, end) = (binary.lhs.span().end, binary.rhs.span().start);
        let between = self.query.get(start as usize..end as usize).unwrap_or_default();
        let blanks = between.len() - between.trim_start_matches([' ', '\t', '\n', '\r']).len();
        Span { start: start + blanks as u32, end }
    }
}

fn is_numeric(ty: ValueType) -> bool {
    matches!(ty, ValueType::Scalar | ValueType::Vector)
}

fn expect(expr: &Expr, got: ValueType, wanted: ValueType, place: Place) -> Result<(), RawError> {
    if got == wanted {
        return Ok(());
    }
    let place = match place {
        Place::AggregationOperand => "aggregation expression".to_owned(),
        Place::AggregationParameter => "aggregation parameter".to_owned(),
        Place::Argument(function) => format!("call to function {}", quote(function.name)),
    };
    let (wanted, got) = (wanted.describe(), got.describe());
    refuse(expr.span(), format!("expected type {wanted} in {place}, got {got}"))
}

/// How series match; the operands are known to be scalars or vectors.
fn check_matching(binary: &Binary, vectors: bool) -> Result<(), RawError> {
    let span = binary.span;
    let Some(matching) = &binary.matching else { return Ok(()) };
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    if !vectors {
        if !matching.labels.is_empty() {
            return refuse(span, "vector matching only allowed between instant vectors");
        }
        if fills {
            return refuse(span, "filling in missing series only allowed between instant vectors");
        }
    } else if binary.op.is_set() {
        if matching.cardinality != Cardinality::ManyToMany {
            return refuse(span, format!("no grouping allowed for {} operation", quote(binary.op.as_str())));
        }
        if fills {
            return refuse(span, "filling in missing series not allowed for set operators");
        }
    }
    Ok(())
}

fn check_arity(function: &Function, got: usize, span: Span) -> Result<(), RawError> {
    let (declared, name) = (function.args.len(), quote(function.name));
    if function.variadic == 0 {
        if got != declared {
            return refuse(span, format!("expected {declared} argument(s) in call to {name}, got {got}"));
        }
        return Ok(());
    }
    let least = declared.saturating_sub(1);
    if got < least {
        return refuse(span, format!("expected at least {least} argument(s) in call to {name}, got {got}"));
    }
    if let Ok(optional) = usize::try_from(function.variadic)
        && got > least + optional
    {
        let most = least + optional;
        return refuse(span, format!("expected at most {most} argument(s) in call to {name}, got {got}"));
    }
    Ok(())
}

/// The second argument of `info` is a selector without a metric name.
fn check_info(call: &Call) -> Result<(), RawError> {
    let Some(data) = call.args.get(1) else { return Ok(()) };
    let ty = data.value_type();
    if ty != ValueType::Vector {
        let message = format!("expected type instant vector in call to function \"info\", got {}", ty.describe());
        return refuse(call.span, message);
    }
    match data {
        Expr::VectorSelector(selector) if selector.name.is_none() => Ok(()),
        Expr::VectorSelector(_) => refuse(data.span(), "expected label selectors only, got vector selector instead"),
        _ => refuse(data.span(), "expected label selectors only"),
    }
}

fn check_selector(selector: &VectorSelector) -> Result<(), RawError> {
    let Some(name) = &selector.name else {
        if selector.matchers.iter().all(|matcher| matcher.matches("")) {
            return refuse(selector.span, "vector selector must contain at least one non-empty matcher");
        }
        return Ok(());
    };
    // The last matcher is the name itself.
    let others = selector.matchers.split_last().map_or(&[][..], |(_, others)| others);
    match others.iter().find(|matcher| matcher.name() == METRIC_NAME) {
        Some(other) => {
            let message = format!("metric name must not be set twice: {} or {}", quote(name), quote(other.value()));
            refuse(selector.span, message)
        }
        None => Ok(()),
    }
}
