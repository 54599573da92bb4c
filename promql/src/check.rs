//! The type check: which expressions have a meaning.
//!
//! Also settles what depends on the types of both operands of an operator: matching exists between vectors only, and set
//! operators match many to many. Types are computed bottom-up, each once. Recursion is bounded by the caps of
//! [`crate::parse::ParseOptions`].

use crate::ast::{Aggregation, Binary, Call, Cardinality, Expr, Span, Subquery, Unary, ValueType, VectorSelector};
use crate::functions::Function;
use crate::parse::RawError;
use model::text::quote;

const METRIC_NAME: &str = "__name__";

/// Checks a whole expression.
pub(crate) fn check(expr: &mut Expr, query: &str) -> Result<(), RawError> {
    Checker { query }.expr(expr).map(|_| ())
}

struct Checker<'a> {
    query: &'a str,
}

fn refuse<T>(span: Span, message: impl Into<String>) -> Result<T, RawError> {
    Err(RawError::semantic(span, message))
}

impl Checker<'_> {
    /// Checks `expr` and everything below; returns its type.
    fn expr(&self, expr: &mut Expr) -> Result<ValueType, RawError> {
        match expr {
            Expr::Number(_) => Ok(ValueType::Scalar),
            Expr::String(_) => Ok(ValueType::String),
            Expr::VectorSelector(selector) => {
                check_selector(selector)?;
                Ok(ValueType::Vector)
            }
            Expr::MatrixSelector(matrix) => {
                check_selector(&matrix.selector)?;
                Ok(ValueType::Matrix)
            }
            Expr::Subquery(subquery) => self.subquery(subquery),
            Expr::Aggregation(aggregation) => self.aggregation(aggregation),
            Expr::Binary(binary) => self.binary(binary),
            Expr::Unary(unary) => self.unary(unary),
            Expr::Call(call) => self.call(call),
            Expr::Paren(paren) => self.expr(&mut paren.expr),
        }
    }

    fn expect(&self, expr: &mut Expr, wanted: ValueType, context: &str) -> Result<(), RawError> {
        let got = self.expr(expr)?;
        if got == wanted {
            return Ok(());
        }
        let (wanted, got) = (wanted.describe(), got.describe());
        refuse(expr.span(), format!("expected type {wanted} in {context}, got {got}"))
    }

    fn subquery(&self, subquery: &mut Subquery) -> Result<ValueType, RawError> {
        let inner = self.expr(&mut subquery.expr)?;
        if inner != ValueType::Vector {
            let message = format!("subquery is only allowed on instant vector, got {} instead", inner.as_str());
            return refuse(subquery.span, message);
        }
        Ok(ValueType::Matrix)
    }

    fn aggregation(&self, aggregation: &mut Aggregation) -> Result<ValueType, RawError> {
        self.expect(&mut aggregation.expr, ValueType::Vector, "aggregation expression")?;
        if let (Some(param), Some(wanted)) = (&mut aggregation.param, aggregation.op.param_type()) {
            self.expect(param, wanted, "aggregation parameter")?;
        }
        Ok(ValueType::Vector)
    }

    fn unary(&self, unary: &mut Unary) -> Result<ValueType, RawError> {
        let inner = self.expr(&mut unary.expr)?;
        if !is_numeric(inner) {
            let got = quote(inner.describe());
            let message =
                format!("unary expression only allowed on expressions of type scalar or instant vector, got {got}");
            return refuse(unary.span, message);
        }
        Ok(inner)
    }

    fn binary(&self, binary: &mut Binary) -> Result<ValueType, RawError> {
        let left = self.expr(&mut binary.lhs)?;
        let right = self.expr(&mut binary.rhs)?;
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
                return refuse(operand.span(), "binary expression must contain only scalar and instant vector types");
            }
        }
        check_matching(binary, vectors)?;
        if !vectors && binary.op.is_set() {
            let message = format!("set operator {} not allowed in binary scalar expression", quote(binary.op.as_str()));
            return refuse(binary.span, message);
        }
        Ok(if scalars { ValueType::Scalar } else { ValueType::Vector })
    }

    /// Where the operator with its modifiers stands: between the operands, blanks trimmed.
    fn operator_span(&self, binary: &Binary) -> Span {
        let (start, end) = (binary.lhs.span().end, binary.rhs.span().start);
        let between = self.query.get(start as usize..end as usize).unwrap_or_default();
        let blanks = between.len() - between.trim_start_matches([' ', '\t', '\n', '\r']).len();
        Span { start: start + blanks as u32, end }
    }

    fn call(&self, call: &mut Call) -> Result<ValueType, RawError> {
        let function = call.function;
        let name = quote(function.name);
        check_arity(function, call.args.len(), call.span)?;
        if function.name == "info" {
            check_info(call)?;
        }
        let context = format!("call to function {name}");
        for (index, argument) in call.args.iter_mut().enumerate() {
            // `info` takes bare label matchers, which may all match the empty string.
            if function.name == "info" && index == 1 {
                continue;
            }
            let Some(wanted) = function.args.get(index).or(function.args.last()) else { break };
            self.expect(argument, *wanted, &context)?;
        }
        Ok(function.returns)
    }
}

fn is_numeric(ty: ValueType) -> bool {
    matches!(ty, ValueType::Scalar | ValueType::Vector)
}

/// Settles how the operands match; the caller has checked that both are scalars or vectors.
fn check_matching(binary: &mut Binary, vectors: bool) -> Result<(), RawError> {
    let span = binary.span;
    let Some(matching) = &mut binary.matching else { return Ok(()) };
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    if !vectors {
        if !matching.labels.is_empty() {
            return refuse(span, "vector matching only allowed between instant vectors");
        }
        if fills {
            return refuse(span, "filling in missing series only allowed between instant vectors");
        }
        binary.matching = None;
        return Ok(());
    }
    if binary.op.is_set() {
        if matching.cardinality != Cardinality::OneToOne {
            return refuse(span, format!("no grouping allowed for {} operation", quote(binary.op.as_str())));
        }
        if fills {
            return refuse(span, "filling in missing series not allowed for set operators");
        }
        matching.cardinality = Cardinality::ManyToMany;
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
