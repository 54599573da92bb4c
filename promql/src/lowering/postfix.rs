//! What may be written behind a selector or a group: ranges, subqueries, `offset`, `@`, `anchored`, `smoothed`.
//!
//! All of them bind tighter than any operator, to the operand directly before them.

use super::duration_expr::Place;
use super::{Item, Walker};
use crate::ast::{AtModifier, BinaryOp, DurationValue, Expr, MatrixSelector, Span, Subquery};
use crate::parse::RawError;
use crate::tokens::{Keyword, TokenKind};

/// A subquery whose inner expression is not known yet.
#[derive(Debug)]
pub(crate) struct SubqueryTail {
    pub(crate) range: DurationValue,
    pub(crate) step: Option<DurationValue>,
    pub(crate) offset: Option<DurationValue>,
    pub(crate) at: Option<AtModifier>,
    /// One past its last byte.
    pub(crate) end: u32,
}

/// The parts of the operand just read that a modifier changes.
struct TimeModifiers<'a> {
    offset: &'a mut Option<DurationValue>,
    at: &'a mut Option<AtModifier>,
    /// The ends of all spans that grow with the modifier.
    ends: [Option<&'a mut u32>; 2],
}

impl TimeModifiers<'_> {
    fn extend_to(self, end: u32) {
        self.ends.into_iter().flatten().for_each(|old| *old = end);
    }
}

const NOT_A_SELECTOR: &str = "must be preceded by an instant vector selector or range vector selector or a subquery";

impl Walker<'_> {
    /// Reads all modifiers of the operand just read and attaches them.
    pub(super) fn postfixes(&mut self) -> Result<(), RawError> {
        let operand = self.operand;
        loop {
            match self.peek().kind {
                TokenKind::LeftBracket => self.brackets(operand)?,
                TokenKind::Keyword(Keyword::Offset) => self.offset(operand)?,
                TokenKind::At => self.at(operand)?,
                TokenKind::Keyword(keyword @ (Keyword::Anchored | Keyword::Smoothed)) => {
                    self.extended_range(operand, keyword)?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// Where the operand stands, signs not included.
    fn operand_span(&self, operand: usize) -> Span {
        match self.items.get(operand) {
            Some(Item::Operand(expr)) => expr.span(),
            Some(Item::Group(group)) => {
                let end = group.subqueries.last().map_or(group.span.end, |subquery| subquery.end);
                Span { start: group.span.start, end }
            }
            Some(Item::Operator(_)) | None => Span::default(),
        }
    }

    fn time_modifiers(&mut self, operand: usize) -> Option<TimeModifiers<'_>> {
        let modifiers = match self.items.get_mut(operand)? {
            Item::Operand(Expr::VectorSelector(e)) => {
                TimeModifiers { offset: &mut e.offset, at: &mut e.at, ends: [Some(&mut e.span.end), None] }
            }
            Item::Operand(Expr::MatrixSelector(e)) => TimeModifiers {
                offset: &mut e.selector.offset,
                at: &mut e.selector.at,
                ends: [Some(&mut e.span.end), Some(&mut e.selector.span.end)],
            },
            Item::Operand(Expr::Subquery(e)) => {
                TimeModifiers { offset: &mut e.offset, at: &mut e.at, ends: [Some(&mut e.span.end), None] }
            }
            Item::Group(group) => {
                let tail = group.subqueries.last_mut()?;
                TimeModifiers { offset: &mut tail.offset, at: &mut tail.at, ends: [Some(&mut tail.end), None] }
            }
            Item::Operand(_) | Item::Operator(_) => return None,
        };
        Some(modifiers)
    }

    /// `[5m]`, `[1h:]`, `[1h:5m]`
    fn brackets(&mut self, operand: usize) -> Result<(), RawError> {
        let open = self.advance();
        let range = self.positive_duration(&Place::RANGE)?;
        if self.accept(TokenKind::RightBracket).is_some() {
            return self.range(operand, range, Span { start: open.span.start, end: self.last_end() });
        }
        self.expect(TokenKind::Colon, "subquery or range", "\":\" or \"]\"")?;
        let step = match self.peek().kind {
            TokenKind::RightBracket => None,
            _ => Some(self.positive_duration(&Place::SUBQUERY_STEP)?),
        };
        self.expect(TokenKind::RightBracket, "subquery selector", "\"]\"")?;
        // Finer than a millisecond is no step at all.
        let step = step.filter(|step| *step != DurationValue::Fixed(0));
        self.subquery(operand, SubqueryTail { range, step, offset: None, at: None, end: self.last_end() });
        Ok(())
    }

    fn range(&mut self, operand: usize, range: DurationValue, brackets: Span) -> Result<(), RawError> {
        let end = self.last_end();
        let refuse = |message: &str| Err(RawError::semantic(brackets, message));
        let Some(Item::Operand(expr)) = self.items.get_mut(operand) else {
            return refuse("ranges only allowed for vector selectors");
        };
        let Expr::VectorSelector(selector) = expr else {
            return refuse("ranges only allowed for vector selectors");
        };
        if selector.offset.is_some() {
            return refuse("no offset modifiers allowed before range");
        }
        if selector.at.is_some() {
            return refuse("no @ modifiers allowed before range");
        }
        let span = Span { start: selector.span.start, end };
        let selector = selector.clone();
        *expr = Expr::MatrixSelector(MatrixSelector { selector, range, span });
        Ok(())
    }

    fn subquery(&mut self, operand: usize, tail: SubqueryTail) {
        match self.items.get_mut(operand) {
            Some(Item::Operand(expr)) => {
                let inner = std::mem::replace(expr, Expr::PLACEHOLDER);
                *expr = Expr::Subquery(tail.over(inner));
            }
            Some(Item::Group(group)) => group.subqueries.push(tail),
            Some(Item::Operator(_)) | None => {}
        }
    }

    fn offset(&mut self, operand: usize) -> Result<(), RawError> {
        self.advance();
        let offset = self.offset_duration()?;
        let (span, end) = (self.operand_span(operand), self.last_end());
        let Some(modifiers) = self.time_modifiers(operand) else {
            return Err(RawError::semantic(span, format!("offset modifier {NOT_A_SELECTOR}")));
        };
        if modifiers.offset.is_some() {
            return Err(RawError::semantic(span, "offset may not be set multiple times"));
        }
        *modifiers.offset = offset;
        modifiers.extend_to(end);
        Ok(())
    }

    fn at(&mut self, operand: usize) -> Result<(), RawError> {
        self.advance();
        let span = self.operand_span(operand);
        let at = self.at_time(span)?;
        let end = self.last_end();
        let Some(modifiers) = self.time_modifiers(operand) else {
            return Err(RawError::semantic(span, format!("@ modifier {NOT_A_SELECTOR}")));
        };
        if modifiers.at.is_some() {
            return Err(RawError::semantic(span, "@ <timestamp> may not be set multiple times"));
        }
        *modifiers.at = Some(at);
        modifiers.extend_to(end);
        Ok(())
    }

    /// What follows `@`.
    fn at_time(&mut self, operand: Span) -> Result<AtModifier, RawError> {
        const CONTEXT: &str = "@";
        const EXPECTED: &str = "timestamp";
        let token = self.peek();
        let negative = match token.kind {
            TokenKind::Keyword(keyword @ (Keyword::Start | Keyword::End)) => {
                self.advance();
                self.expect(TokenKind::LeftParen, CONTEXT, EXPECTED)?;
                self.expect(TokenKind::RightParen, CONTEXT, EXPECTED)?;
                return Ok(if keyword == Keyword::Start { AtModifier::Start } else { AtModifier::End });
            }
            TokenKind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                self.advance();
                op == BinaryOp::Sub
            }
            _ => false,
        };
        if !matches!(self.peek().kind, TokenKind::Number | TokenKind::Duration) {
            return Err(self.unexpected_in(CONTEXT, EXPECTED));
        }
        let magnitude = self.number()?.value;
        let seconds = if negative { -magnitude } else { magnitude };
        let ms = (seconds * 1_000.0).round();
        // Half the range of the type, so that ranges and offsets can be added without overflow.
        if ms.is_nan() || ms.abs() >= (1_i64 << 62) as f64 {
            let shown = model::text::format_plain(seconds);
            let shown = if seconds.is_finite() { format!("{seconds:.6}") } else { shown };
            return Err(RawError::semantic(operand, format!("timestamp out of bounds for @ modifier: {shown}")));
        }
        Ok(AtModifier::At(ms as i64))
    }

    /// `anchored` or `smoothed`.
    fn extended_range(&mut self, operand: usize, keyword: Keyword) -> Result<(), RawError> {
        self.advance();
        let span = self.operand_span(operand);
        let word = if keyword == Keyword::Anchored { "anchored" } else { "smoothed" };
        let refuse = |why: &str| Err(RawError::semantic(span, format!("{word} modifier {why}")));
        if !self.options.extended_range_selectors {
            return refuse("is experimental and not enabled");
        }
        let end = self.last_end();
        let (selector, outer_end) = match self.items.get_mut(operand) {
            Some(Item::Operand(Expr::VectorSelector(selector))) => (selector, None),
            Some(Item::Operand(Expr::MatrixSelector(matrix))) => (&mut matrix.selector, Some(&mut matrix.span.end)),
            Some(Item::Operand(Expr::Subquery(_))) => return refuse("is not supported for subqueries"),
            Some(Item::Group(group)) if !group.subqueries.is_empty() => {
                return refuse("is not supported for subqueries");
            }
            // Prometheus' words for what is neither a selector nor a subquery.
            _ => return refuse("not implemented"),
        };
        selector.anchored |= keyword == Keyword::Anchored;
        selector.smoothed |= keyword == Keyword::Smoothed;
        if selector.anchored && selector.smoothed {
            return Err(RawError::semantic(span, "anchored and smoothed modifiers cannot be used together"));
        }
        selector.span.end = end;
        outer_end.into_iter().for_each(|old| *old = end);
        Ok(())
    }
}

impl SubqueryTail {
    /// The subquery over `inner`.
    pub(crate) fn over(self, inner: Expr) -> Subquery {
        let span = Span { start: inner.span().start, end: self.end };
        let Self { range, step, offset, at, .. } = self;
        Subquery { expr: Box::new(inner), range, step, offset, at, span }
    }
}
