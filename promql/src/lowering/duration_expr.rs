//! Durations as they stand in ranges, steps and offsets: literals, `step()`, `range()`, and arithmetic on them.

use super::Walker;
use crate::ast::{BinaryOp, DurationExpr, DurationValue, NumberLiteral, Span};
use crate::parse::RawError;
use crate::tokens::{Keyword, TokenKind};

/// Seconds that fit 63 bits of nanoseconds.
const SECONDS_MAX: f64 = 9_223_372_036.854_776;

/// How errors name the place that a duration stands in, and what they say was expected there.
pub(super) struct Place {
    context: &'static str,
    expected: &'static str,
}

impl Place {
    pub(super) const RANGE: Self =
        Self { context: "subquery or range selector", expected: "number, duration, step(), or range()" };
    pub(super) const SUBQUERY_STEP: Self =
        Self { context: "subquery selector", expected: "number, duration, step(), range(), or \"]\"" };
    const OFFSET: Self = Self { context: "offset", expected: "number, duration, step(), or range()" };
}

/// An operator waiting for its right operand.
#[derive(Clone, Copy)]
enum Pending {
    Sign(BinaryOp, u32),
    Binary(BinaryOp, Span),
}

/// Higher binds tighter. A sign binds like `*`.
fn precedence(op: BinaryOp) -> Option<u8> {
    match op {
        BinaryOp::Add | BinaryOp::Sub => Some(1),
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod => Some(2),
        BinaryOp::Pow => Some(3),
        _ => None,
    }
}

impl Walker<'_> {
    /// The duration of a range or step.
    pub(super) fn positive_duration(&mut self, place: &Place) -> Result<DurationValue, RawError> {
        let expr = self.duration_expr(place)?;
        if let DurationExpr::Number(number) = &expr
            && number.value <= 0.0
        {
            return Err(RawError::semantic(number.span, "duration must be greater than 0"));
        }
        Ok(into_value(expr))
    }

    /// What follows `offset`; none when it is zero.
    ///
    /// Only a literal or call with at most one sign, or a parenthesised expression, belongs to the offset: in
    /// `x offset 2 ^ 2` the power is that of the selector. Behind unsigned parentheses the expression goes on.
    pub(super) fn offset_duration(&mut self) -> Result<Option<DurationValue>, RawError> {
        let place = &Place::OFFSET;
        let first = self.peek();
        let sign = match first.kind {
            TokenKind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) => Some(op),
            _ => None,
        };
        let primary = if sign.is_some() { self.peek_second() } else { first.kind };
        let goes_on = match primary {
            TokenKind::Operator(_) => true,
            TokenKind::LeftParen => sign.is_none(),
            _ => false,
        };
        let expr = match sign {
            _ if goes_on => self.duration_expr(place)?,
            Some(op) => {
                self.advance();
                let operand = self.duration_primary(place)?;
                apply_sign(op, first.span.start, operand)?
            }
            None => self.duration_primary(place)?,
        };
        Ok(Some(into_value(expr)).filter(|value| *value != DurationValue::Fixed(0)))
    }

    /// An expression of any length, by operator precedence with explicit stacks; only parentheses recurse.
    fn duration_expr(&mut self, place: &Place) -> Result<DurationExpr, RawError> {
        let mut operands = Vec::new();
        let mut pending = Vec::new();
        loop {
            while let TokenKind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) = self.peek().kind {
                let start = self.advance().span.start;
                pending.push(Pending::Sign(op, start));
            }
            operands.push(self.duration_primary(place)?);
            let next = match self.peek().kind {
                TokenKind::Operator(op) => precedence(op).map(|strength| (op, strength)),
                _ => None,
            };
            let strength = next.map_or(0, |(_, strength)| strength);
            while let Some(last) = pending.last().copied() {
                let bound = match last {
                    Pending::Sign(..) => 2,
                    Pending::Binary(op, _) => precedence(op).unwrap_or(0),
                };
                if bound < strength || (bound == strength && strength == 3) {
                    break;
                }
                pending.pop();
                self.reduce(last, &mut operands)?;
            }
            let Some((op, _)) = next else { break };
            let span = self.advance().span;
            pending.push(Pending::Binary(op, span));
        }
        operands.pop().ok_or_else(|| self.unexpected_in(place.context, place.expected))
    }

    fn reduce(&self, operator: Pending, operands: &mut Vec<DurationExpr>) -> Result<(), RawError> {
        let Some(right) = operands.pop() else { return Err(self.unexpected()) };
        let expr = match operator {
            Pending::Sign(op, start) => apply_sign(op, start, right)?,
            Pending::Binary(op, at) => {
                let Some(left) = operands.pop() else { return Err(self.unexpected()) };
                self.require_duration_expressions(left.span())?;
                if matches!(&right, DurationExpr::Number(number) if number.value == 0.0) {
                    match op {
                        BinaryOp::Div => return Err(RawError::semantic(at, "division by zero")),
                        BinaryOp::Mod => return Err(RawError::semantic(at, "modulo by zero")),
                        _ => {}
                    }
                }
                let span = Span { start: left.span().start, end: right.span().end };
                DurationExpr::Binary(op, Box::new(left), Box::new(right), span)
            }
        };
        operands.push(expr);
        Ok(())
    }

    fn require_duration_expressions(&self, span: Span) -> Result<(), RawError> {
        if self.options.duration_expressions {
            return Ok(());
        }
        Err(RawError::semantic(span, "experimental duration expression is not enabled"))
    }

    /// A literal, a call, or an expression in parentheses.
    fn duration_primary(&mut self, place: &Place) -> Result<DurationExpr, RawError> {
        let token = self.peek();
        let start = token.span.start;
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let number = self.number()?;
                check_range(&number, number.span)?;
                Ok(DurationExpr::Number(number))
            }
            TokenKind::Keyword(keyword @ (Keyword::Step | Keyword::Range)) => {
                self.advance();
                self.expect(TokenKind::LeftParen, place.context, place.expected)?;
                self.expect(TokenKind::RightParen, place.context, place.expected)?;
                let span = Span { start, end: self.last_end() };
                self.require_duration_expressions(span)?;
                Ok(if keyword == Keyword::Step { DurationExpr::Step(span) } else { DurationExpr::Range(span) })
            }
            TokenKind::Keyword(keyword @ (Keyword::MinOf | Keyword::MaxOf)) => {
                self.advance();
                self.expect(TokenKind::LeftParen, place.context, place.expected)?;
                let left = Box::new(self.duration_expr(place)?);
                self.expect(TokenKind::Comma, place.context, place.expected)?;
                let right = Box::new(self.duration_expr(place)?);
                self.expect(TokenKind::RightParen, place.context, place.expected)?;
                let span = Span { start, end: self.last_end() };
                self.require_duration_expressions(span)?;
                Ok(if keyword == Keyword::MinOf {
                    DurationExpr::MinOf(left, right, span)
                } else {
                    DurationExpr::MaxOf(left, right, span)
                })
            }
            TokenKind::LeftParen => {
                self.advance();
                let inner = self.duration_expr(place)?;
                self.expect(TokenKind::RightParen, place.context, place.expected)?;
                self.require_duration_expressions(inner.span())?;
                let span = Span { start, end: self.last_end() };
                Ok(match inner {
                    // Doubled parentheses mean the same and print as one pair.
                    DurationExpr::Paren(inner, _) => DurationExpr::Paren(inner, span),
                    inner => DurationExpr::Paren(Box::new(inner), span),
                })
            }
            _ => Err(self.unexpected_in(place.context, place.expected)),
        }
    }
}

/// A signed literal is a literal; `+` in front of anything else is dropped.
fn apply_sign(op: BinaryOp, start: u32, operand: DurationExpr) -> Result<DurationExpr, RawError> {
    match operand {
        DurationExpr::Number(mut number) => {
            if op == BinaryOp::Sub {
                number.value = -number.value;
            }
            check_range(&number, Span { start, end: start + 1 })?;
            number.span.start = start;
            Ok(DurationExpr::Number(number))
        }
        other if op == BinaryOp::Sub => {
            let span = Span { start, end: other.span().end };
            Ok(DurationExpr::Unary(op, Box::new(other), span))
        }
        other => Ok(other),
    }
}

fn check_range(number: &NumberLiteral, at: Span) -> Result<(), RawError> {
    if number.value.abs() <= SECONDS_MAX {
        return Ok(());
    }
    Err(RawError::semantic(at, "duration out of range"))
}

/// A literal becomes milliseconds at once: nanoseconds rounded, then cut, as Prometheus does.
fn into_value(expr: DurationExpr) -> DurationValue {
    match expr {
        DurationExpr::Number(number) => DurationValue::Fixed((number.value * 1e9).round() as i64 / 1_000_000),
        other => DurationValue::Expr(Box::new(other)),
    }
}
