//! Durations as they stand in ranges, steps and offsets: literals, `step()`, `range()`, and arithmetic on them.
//!
//! Operator precedence with explicit stacks, so that nesting costs no stack.

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

/// How much of what follows belongs to the duration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// One literal, call or expression in parentheses, with its signs.
    Primary,
    /// Binary operators too.
    Whole,
}

/// What waits for an operand or a closing parenthesis.
#[derive(Clone, Copy)]
enum Pending {
    Sign(BinaryOp, u32),
    Binary(BinaryOp, Span),
    Paren(u32),
    /// `min_of(` or `max_of(`, and whether its comma was read.
    Call(Keyword, u32, bool),
}

#[derive(Default)]
struct Stacks {
    operands: Vec<DurationExpr>,
    pending: Vec<Pending>,
    /// How many of the pending are parentheses and calls.
    open: usize,
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

impl Pending {
    /// Whether it takes the operand before it does an operator of that strength. Powers group to the right.
    fn binds_before(self, strength: u8) -> bool {
        let own = match self {
            Self::Sign(..) => 2,
            Self::Binary(op, _) => precedence(op).unwrap_or(0),
            Self::Paren(_) | Self::Call(..) => return false,
        };
        own > strength || (own == strength && strength != 3)
    }
}

impl Walker<'_> {
    /// The duration of a range or step.
    pub(super) fn positive_duration(&mut self, place: &Place) -> Result<DurationValue, RawError> {
        let expr = self.duration_expr(place, Extent::Whole)?;
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
        let extent = match (self.peek().kind, self.peek_second()) {
            (TokenKind::LeftParen, _) | (TokenKind::Operator(_), TokenKind::Operator(_)) => Extent::Whole,
            _ => Extent::Primary,
        };
        let expr = self.duration_expr(&Place::OFFSET, extent)?;
        Ok(Some(into_value(expr)).filter(|value| *value != DurationValue::Fixed(0)))
    }

    fn duration_expr(&mut self, place: &Place, extent: Extent) -> Result<DurationExpr, RawError> {
        let mut stacks = Stacks::default();
        loop {
            self.duration_operand(place, &mut stacks)?;
            if !self.behind_duration_operand(place, extent, &mut stacks)? {
                return stacks.operands.pop().ok_or_else(|| self.unexpected_in(place.context, place.expected));
            }
        }
    }

    /// Reads signs and what opens groups up to and including the next operand.
    fn duration_operand(&mut self, place: &Place, stacks: &mut Stacks) -> Result<(), RawError> {
        loop {
            let token = self.peek();
            let start = token.span.start;
            match token.kind {
                TokenKind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                    self.advance();
                    stacks.pending.push(Pending::Sign(op, start));
                }
                TokenKind::LeftParen => {
                    self.advance();
                    stacks.open(Pending::Paren(start));
                }
                TokenKind::Keyword(keyword @ (Keyword::MinOf | Keyword::MaxOf)) => {
                    self.advance();
                    self.expect(TokenKind::LeftParen, place.context, place.expected)?;
                    stacks.open(Pending::Call(keyword, start, false));
                }
                TokenKind::Keyword(keyword @ (Keyword::Step | Keyword::Range)) => {
                    self.advance();
                    self.expect(TokenKind::LeftParen, place.context, place.expected)?;
                    self.expect(TokenKind::RightParen, place.context, place.expected)?;
                    let span = Span { start, end: self.last_end() };
                    self.require_duration_expressions(span)?;
                    let is_step = keyword == Keyword::Step;
                    stacks.operands.push(if is_step { DurationExpr::Step(span) } else { DurationExpr::Range(span) });
                    return Ok(());
                }
                TokenKind::Number | TokenKind::Duration => {
                    let number = self.number()?;
                    check_range(&number, number.span)?;
                    stacks.operands.push(DurationExpr::Number(number));
                    return Ok(());
                }
                _ => return Err(self.unexpected_in(place.context, place.expected)),
            }
        }
    }

    /// Reads closing parentheses up to and including an operator or comma; false when the duration is complete.
    fn behind_duration_operand(
        &mut self,
        place: &Place,
        extent: Extent,
        stacks: &mut Stacks,
    ) -> Result<bool, RawError> {
        loop {
            let token = self.peek();
            let operator = match token.kind {
                TokenKind::Operator(op) if stacks.open > 0 || extent == Extent::Whole => {
                    precedence(op).map(|strength| (op, strength))
                }
                _ => None,
            };
            self.reduce(stacks, operator.map_or(0, |(_, strength)| strength))?;
            if let Some((op, _)) = operator {
                self.advance();
                stacks.pending.push(Pending::Binary(op, token.span));
                return Ok(true);
            }
            if stacks.open == 0 {
                return Ok(false);
            }
            match (token.kind, stacks.pending.last_mut()) {
                (TokenKind::Comma, Some(Pending::Call(_, _, comma @ false))) => {
                    *comma = true;
                    self.advance();
                    return Ok(true);
                }
                (TokenKind::RightParen, Some(Pending::Paren(_) | Pending::Call(_, _, true))) => {
                    self.advance();
                    self.close_duration_group(stacks)?;
                }
                _ => return Err(self.unexpected_in(place.context, place.expected)),
            }
        }
    }

    /// Applies the pending operators that take their operand before one of that strength does.
    fn reduce(&self, stacks: &mut Stacks, strength: u8) -> Result<(), RawError> {
        while let Some(operator) = stacks.pending.pop_if(|operator| operator.binds_before(strength)) {
            let right = stacks.pop();
            let expr = match operator {
                Pending::Sign(op, start) => apply_sign(op, start, right)?,
                Pending::Binary(op, at) => self.binary(op, at, stacks.pop(), right)?,
                Pending::Paren(_) | Pending::Call(..) => right,
            };
            stacks.operands.push(expr);
        }
        Ok(())
    }

    fn binary(
        &self,
        op: BinaryOp,
        at: Span,
        left: DurationExpr,
        right: DurationExpr,
    ) -> Result<DurationExpr, RawError> {
        self.require_duration_expressions(left.span())?;
        if matches!(&right, DurationExpr::Number(number) if number.value == 0.0) {
            match op {
                BinaryOp::Div => return Err(RawError::semantic(at, "division by zero")),
                BinaryOp::Mod => return Err(RawError::semantic(at, "modulo by zero")),
                _ => {}
            }
        }
        let span = Span { start: left.span().start, end: right.span().end };
        Ok(DurationExpr::Binary(op, Box::new(left), Box::new(right), span))
    }

    /// Makes an operand of the innermost group, whose parenthesis was just read.
    fn close_duration_group(&self, stacks: &mut Stacks) -> Result<(), RawError> {
        let group = stacks.pending.pop();
        stacks.open -= 1;
        let last = stacks.pop();
        let end = self.last_end();
        let expr = match group {
            Some(Pending::Call(keyword, start, _)) => {
                let span = Span { start, end };
                self.require_duration_expressions(span)?;
                let (left, right) = (Box::new(stacks.pop()), Box::new(last));
                let is_min = keyword == Keyword::MinOf;
                if is_min { DurationExpr::MinOf(left, right, span) } else { DurationExpr::MaxOf(left, right, span) }
            }
            Some(Pending::Paren(start)) => {
                self.require_duration_expressions(last.span())?;
                let span = Span { start, end };
                match last {
                    // Doubled parentheses mean the same and print as one pair.
                    DurationExpr::Paren(inner, _) => DurationExpr::Paren(inner, span),
                    inner => DurationExpr::Paren(Box::new(inner), span),
                }
            }
            _ => last,
        };
        stacks.operands.push(expr);
        Ok(())
    }

    fn require_duration_expressions(&self, span: Span) -> Result<(), RawError> {
        if self.options.duration_expressions {
            return Ok(());
        }
        Err(RawError::semantic(span, "experimental duration expression is not enabled"))
    }
}

impl Stacks {
    fn open(&mut self, group: Pending) {
        self.pending.push(group);
        self.open += 1;
    }

    fn pop(&mut self) -> DurationExpr {
        self.operands.pop().expect("operators and groups close behind an operand")
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
