//! Asks promql-parser how the operators of a lowered query nest, and builds our tree accordingly.
//!
//! promql-parser's tree is walked in pre-order with explicit stacks, so its depth costs no stack. Names and operators
//! carry ordinals of [`Item`]s; signs carry nothing, but their pre-order is the order of the text.

use crate::ast::{Aggregation, Binary, Call, Cardinality, Expr, Paren, Span, Unary, ValueType, VectorMatching};
use crate::lowering::{GROUP_FUNCTION, Group, GroupKind, Item, Lowered, Operator, OperatorModifiers, Sign};
use crate::parse::{ParseOptions, RawError};
use promql_parser::parser as foreign;
use promql_parser::parser::function::{Function, register_extra_functions};
use promql_parser::parser::value::ValueType as ForeignType;
use std::sync::OnceLock;

/// Builds the tree of a lowered query.
pub(crate) fn bind(lowered: Lowered, options: &ParseOptions) -> Result<Expr, RawError> {
    let nesting = parse_lowered(&lowered.text)?;
    let items = lowered.items.into_iter().map(Some).collect();
    let mut binder = Binder { options, items, signs: lowered.signs.iter(), built: Vec::new(), types: Vec::new() };
    let mut work = vec![Work::Visit(&nesting)];
    while let Some(next) = work.pop() {
        match next {
            Work::Visit(node) => binder.visit(node, &mut work)?,
            Work::Sign(sign) => binder.sign(sign)?,
            Work::Operator(ordinal) => binder.operator(ordinal)?,
            Work::Group(ordinal, arguments) => binder.group(ordinal, arguments)?,
        }
    }
    Ok(binder.pop()?.0)
}

/// Calls promql-parser, which learns of our variadic function the first time.
fn parse_lowered(text: &str) -> Result<foreign::Expr, RawError> {
    static REGISTERED: OnceLock<Result<(), String>> = OnceLock::new();
    let registered = REGISTERED.get_or_init(|| {
        let group = Function::new(GROUP_FUNCTION, vec![ForeignType::Vector], -1, ForeignType::Vector, false);
        register_extra_functions(vec![group])
    });
    registered.clone().and_then(|()| foreign::parse(text)).map_err(|_| unbound())
}

/// The lowered text is ours and valid, so this is a bug of ours or of promql-parser; a query must not crash for it.
fn unbound() -> RawError {
    RawError::syntax(Span::default(), "unexpected error")
}

enum Work<'a> {
    /// A node not seen yet.
    Visit(&'a foreign::Expr),
    /// A sign whose operand is built.
    Sign(Sign),
    /// An operator whose operands are built.
    Operator(usize),
    /// A group whose arguments, so many, are built.
    Group(usize, usize),
}

struct Binder<'a> {
    options: &'a ParseOptions,
    items: Vec<Option<Item>>,
    signs: std::slice::Iter<'a, Sign>,
    /// Finished expressions that no parent has taken yet.
    built: Vec<Expr>,
    /// Their types, on the assumption that the type check will find no fault.
    types: Vec<ValueType>,
}

impl Binder<'_> {
    fn visit<'n>(&mut self, node: &'n foreign::Expr, work: &mut Vec<Work<'n>>) -> Result<(), RawError> {
        match node {
            foreign::Expr::VectorSelector(_) => match self.take(ordinal_of(node)?)? {
                Item::Operand(operand) => {
                    let ty = operand.value_type();
                    self.push(operand, ty);
                }
                Item::Group(_) | Item::Operator(_) => return Err(unbound()),
            },
            foreign::Expr::Call(call) => {
                let (name, arguments) = call.args.args.split_first().ok_or_else(unbound)?;
                work.push(Work::Group(ordinal_of(name)?, arguments.len()));
                work.extend(arguments.iter().rev().map(|argument| Work::Visit(argument)));
            }
            foreign::Expr::Binary(binary) => {
                let fill = binary.modifier.as_ref().and_then(|modifier| modifier.fill_values.lhs);
                work.push(Work::Operator(fill.ok_or_else(unbound)? as usize));
                work.push(Work::Visit(&binary.rhs));
                work.push(Work::Visit(&binary.lhs));
            }
            foreign::Expr::Unary(unary) => {
                work.push(Work::Sign(*self.signs.next().ok_or_else(unbound)?));
                work.push(Work::Visit(&unary.expr));
            }
            _ => return Err(unbound()),
        }
        Ok(())
    }

    fn take(&mut self, ordinal: usize) -> Result<Item, RawError> {
        self.items.get_mut(ordinal).and_then(Option::take).ok_or_else(unbound)
    }

    fn push(&mut self, expr: Expr, ty: ValueType) {
        self.built.push(expr);
        self.types.push(ty);
    }

    fn pop(&mut self) -> Result<(Expr, ValueType), RawError> {
        self.built.pop().zip(self.types.pop()).ok_or_else(unbound)
    }

    /// A sign directly before a number belongs to the number.
    fn sign(&mut self, sign: Sign) -> Result<(), RawError> {
        let (operand, ty) = self.pop()?;
        let expr = match operand {
            Expr::Number(mut number) => {
                if sign.negative {
                    number.value = -number.value;
                }
                number.span.start = sign.start;
                Expr::Number(number)
            }
            operand => {
                let span = Span { start: sign.start, end: operand.span().end };
                Expr::Unary(Unary { negative: sign.negative, expr: Box::new(operand), span })
            }
        };
        self.push(expr, ty);
        Ok(())
    }

    fn operator(&mut self, ordinal: usize) -> Result<(), RawError> {
        let Item::Operator(Operator { op, modifiers }) = self.take(ordinal)? else { return Err(unbound()) };
        let ((rhs, right), (lhs, left)) = (self.pop()?, self.pop()?);
        let span = Span { start: lhs.span().start, end: rhs.span().end };
        let fills = modifiers.fill_left.is_some() || modifiers.fill_right.is_some();
        if fills && !self.options.fill_modifiers {
            return Err(RawError::semantic(span, "binop fill modifiers are experimental and not enabled"));
        }
        let vectors = left == ValueType::Vector && right == ValueType::Vector;
        // What is written behind an operator on scalars is kept, for the type check to refuse.
        let keep = vectors || fills || !modifiers.labels.is_empty();
        let return_bool = modifiers.return_bool;
        let matching = keep.then(|| matching_of(modifiers, op.is_set()));
        let ty = if left == ValueType::Scalar { right } else { left };
        let binary = Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs), matching, return_bool, span };
        self.push(Expr::Binary(binary), ty);
        Ok(())
    }

    fn group(&mut self, ordinal: usize, arguments: usize) -> Result<(), RawError> {
        let Item::Group(Group { kind, span, subqueries }) = self.take(ordinal)? else { return Err(unbound()) };
        let (mut expr, mut ty) = match kind {
            GroupKind::Paren => {
                let (inner, ty) = self.pop()?;
                (Expr::Paren(Paren { expr: Box::new(inner), span }), ty)
            }
            GroupKind::Call(function) => {
                let first = self.built.len().checked_sub(arguments).ok_or_else(unbound)?;
                self.types.truncate(first);
                (Expr::Call(Call { function, args: self.built.split_off(first), span }), function.returns)
            }
            GroupKind::Aggregation { op, grouping } => {
                let expr = Box::new(self.pop()?.0);
                let param = if arguments == 2 { Some(Box::new(self.pop()?.0)) } else { None };
                let (grouping, without) = (grouping.labels, grouping.without);
                (Expr::Aggregation(Aggregation { op, expr, param, grouping, without, span }), ValueType::Vector)
            }
        };
        for tail in subqueries {
            (expr, ty) = (Expr::Subquery(tail.over(expr)), ValueType::Matrix);
        }
        self.push(expr, ty);
        Ok(())
    }
}

/// Set operators match many to many unless something else is written, which the type check refuses.
fn matching_of(modifiers: OperatorModifiers, is_set: bool) -> VectorMatching {
    let cardinality = match modifiers.cardinality {
        Cardinality::OneToOne if is_set => Cardinality::ManyToMany,
        written => written,
    };
    let OperatorModifiers { on, labels, include, fill_left, fill_right, .. } = modifiers;
    VectorMatching { cardinality, labels, on, include, fill_left, fill_right }
}

/// The ordinal in a name such as `m12`.
fn ordinal_of(node: &foreign::Expr) -> Result<usize, RawError> {
    let foreign::Expr::VectorSelector(selector) = node else { return Err(unbound()) };
    let name = selector.name.as_deref().ok_or_else(unbound)?;
    name.strip_prefix('m').and_then(|digits| digits.parse().ok()).ok_or_else(unbound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::NumberLiteral;

    /// Should promql-parser ever answer something else than what was asked, that is an error, not a crash.
    #[test]
    fn an_answer_that_does_not_fit_is_an_error() {
        let number =
            || Item::Operand(Expr::Number(NumberLiteral { value: 1.0, is_duration: false, span: Span::default() }));
        let cases = [
            ("m0", vec![]),
            ("m1", vec![number()]),
            ("x0", vec![number()]),
            ("m0 + fill(1) m0", vec![number()]),
            ("m0 + m0", vec![number()]),
            ("-m0", vec![number()]),
            ("hearth_group(m0, m0)", vec![number()]),
            ("abs(m0)", vec![number()]),
            ("(m0)", vec![number()]),
            ("1", vec![number()]),
            ("m0 m0", vec![number()]),
            ("", vec![]),
        ];
        for (text, items) in cases {
            let lowered = Lowered { text: text.to_owned(), items, signs: Vec::new() };
            let error = bind(lowered, &ParseOptions::all()).expect_err(text);
            assert_eq!(error.message, "unexpected error", "{text}");
        }
    }
}
