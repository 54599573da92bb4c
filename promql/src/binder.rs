//! Asks promql-parser how the operators of a lowered query nest, and builds our tree accordingly.
//!
//! promql-parser's tree is walked in pre-order with explicit stacks, so its depth costs no stack. Names and operators
//! carry ordinals of [`Item`]s; signs carry nothing, but their pre-order is the order of the text.

use crate::ast::{Aggregation, Binary, Call, Expr, Paren, Span, Unary, VectorMatching};
use crate::lowering::{GROUP_FUNCTION, Group, GroupKind, Item, Operator, Sign};
use crate::parse::RawError;
use promql_parser::parser as foreign;
use promql_parser::parser::function::{Function, register_extra_functions};
use promql_parser::parser::value::ValueType;
use std::sync::OnceLock;

/// Builds the tree of the lowered `text`.
pub(crate) fn bind(text: &str, items: Vec<Item>, signs: &[Sign]) -> Result<Expr, RawError> {
    let nesting = parse_lowered(text)?;
    let mut binder = Binder { items: items.into_iter().map(Some).collect(), signs: signs.iter(), built: Vec::new() };
    let mut work = vec![Work::Visit(&nesting)];
    while let Some(next) = work.pop() {
        match next {
            Work::Visit(node) => binder.visit(node, &mut work)?,
            Work::Sign(sign) => binder.sign(sign)?,
            Work::Operator(ordinal) => binder.operator(ordinal)?,
            Work::Group(ordinal, arguments) => binder.group(ordinal, arguments)?,
        }
    }
    binder.built.pop().ok_or_else(unbound)
}

/// Calls promql-parser, which learns of our variadic function the first time.
fn parse_lowered(text: &str) -> Result<foreign::Expr, RawError> {
    static REGISTERED: OnceLock<Result<(), String>> = OnceLock::new();
    let registered = REGISTERED.get_or_init(|| {
        let group = Function::new(GROUP_FUNCTION, vec![ValueType::Vector], -1, ValueType::Vector, false);
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
    items: Vec<Option<Item>>,
    signs: std::slice::Iter<'a, Sign>,
    /// Finished expressions that no parent has taken yet.
    built: Vec<Expr>,
}

impl Binder<'_> {
    fn visit<'n>(&mut self, node: &'n foreign::Expr, work: &mut Vec<Work<'n>>) -> Result<(), RawError> {
        match node {
            foreign::Expr::VectorSelector(_) => match self.take(ordinal_of(node)?)? {
                Item::Operand(operand) => self.built.push(operand),
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

    fn pop(&mut self) -> Result<Expr, RawError> {
        self.built.pop().ok_or_else(unbound)
    }

    /// A sign directly before a number belongs to the number.
    fn sign(&mut self, sign: Sign) -> Result<(), RawError> {
        let expr = match self.pop()? {
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
        self.built.push(expr);
        Ok(())
    }

    fn operator(&mut self, ordinal: usize) -> Result<(), RawError> {
        let Item::Operator(Operator { op, modifiers }) = self.take(ordinal)? else { return Err(unbound()) };
        let (rhs, lhs) = (self.pop()?, self.pop()?);
        let span = Span { start: lhs.span().start, end: rhs.span().end };
        let matching = Some(VectorMatching {
            cardinality: modifiers.cardinality,
            labels: modifiers.labels,
            on: modifiers.on,
            include: modifiers.include,
            fill_left: modifiers.fill_left,
            fill_right: modifiers.fill_right,
        });
        let return_bool = modifiers.return_bool;
        self.built.push(Expr::Binary(Binary {
            op,
            lhs: Box::new(lhs),
            rhs: Box::new(rhs),
            matching,
            return_bool,
            span,
        }));
        Ok(())
    }

    fn group(&mut self, ordinal: usize, arguments: usize) -> Result<(), RawError> {
        let Item::Group(Group { kind, span, subqueries }) = self.take(ordinal)? else { return Err(unbound()) };
        let first = self.built.len().checked_sub(arguments).ok_or_else(unbound)?;
        let expr = match kind {
            GroupKind::Paren => Expr::Paren(Paren { expr: Box::new(self.pop()?), span }),
            GroupKind::Call(function) => Expr::Call(Call { function, args: self.built.split_off(first), span }),
            GroupKind::Aggregation { op, grouping } => {
                let expr = Box::new(self.pop()?);
                let param = if arguments == 2 { Some(Box::new(self.pop()?)) } else { None };
                Expr::Aggregation(Aggregation {
                    op,
                    expr,
                    param,
                    grouping: grouping.labels,
                    without: grouping.without,
                    span,
                })
            }
        };
        let expr = subqueries.into_iter().fold(expr, |inner, tail| Expr::Subquery(tail.over(inner)));
        self.built.push(expr);
        Ok(())
    }
}

/// The ordinal in a name such as `m12`.
fn ordinal_of(node: &foreign::Expr) -> Result<usize, RawError> {
    let foreign::Expr::VectorSelector(selector) = node else { return Err(unbound()) };
    let name = selector.name.as_deref().ok_or_else(unbound)?;
    name.strip_prefix('m').and_then(|digits| digits.parse().ok()).ok_or_else(unbound)
}
