//! What may be written behind operators and aggregations: label lists, `bool`, matching, `fill`.

use super::Walker;
use crate::ast::{BinaryOp, Cardinality, Span};
use crate::parse::RawError;
use crate::printer::quote_bytes;
use crate::tokens::{Keyword, TokenKind};

/// `by (…)` or `without (…)`.
#[derive(Debug, Default)]
pub(crate) struct Grouping {
    pub(crate) labels: Vec<String>,
    pub(crate) without: bool,
}

/// What was written behind a binary operator.
#[derive(Debug)]
pub(crate) struct OperatorModifiers {
    pub(crate) return_bool: bool,
    pub(crate) cardinality: Cardinality,
    pub(crate) on: bool,
    pub(crate) labels: Vec<String>,
    pub(crate) include: Vec<String>,
    pub(crate) fill_left: Option<f64>,
    pub(crate) fill_right: Option<f64>,
}

impl Walker<'_> {
    /// `by (…)` or `without (…)` if it comes next.
    pub(super) fn aggregation_grouping(&mut self) -> Result<Option<Grouping>, RawError> {
        let without = match self.peek().kind {
            TokenKind::Keyword(Keyword::By) => false,
            TokenKind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.advance();
        Ok(Some(Grouping { labels: self.label_list()?, without }))
    }

    pub(super) fn operator_modifiers(&mut self) -> Result<OperatorModifiers, RawError> {
        let mut modifiers = OperatorModifiers {
            return_bool: self.accept(TokenKind::Keyword(Keyword::Bool)).is_some(),
            cardinality: Cardinality::OneToOne,
            on: false,
            labels: Vec::new(),
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        if let TokenKind::Keyword(keyword @ (Keyword::On | Keyword::Ignoring)) = self.peek().kind {
            self.advance();
            modifiers.on = keyword == Keyword::On;
            modifiers.labels = self.label_list()?;
            if let TokenKind::Keyword(keyword @ (Keyword::GroupLeft | Keyword::GroupRight)) = self.peek().kind {
                self.advance();
                modifiers.cardinality =
                    if keyword == Keyword::GroupLeft { Cardinality::ManyToOne } else { Cardinality::OneToMany };
                if self.peek().kind == TokenKind::LeftParen {
                    modifiers.include = self.label_list()?;
                }
            }
        }
        self.fill_modifiers(&mut modifiers)?;
        Ok(modifiers)
    }

    /// `fill(x)`, or `fill_left(x)` and `fill_right(y)`, one or both, in either order.
    fn fill_modifiers(&mut self, modifiers: &mut OperatorModifiers) -> Result<(), RawError> {
        if self.accept(TokenKind::Keyword(Keyword::Fill)).is_some() {
            let value = self.fill_value()?;
            (modifiers.fill_left, modifiers.fill_right) = (Some(value), Some(value));
        } else {
            for _ in 0..2 {
                if modifiers.fill_left.is_none() && self.accept(TokenKind::Keyword(Keyword::FillLeft)).is_some() {
                    modifiers.fill_left = Some(self.fill_value()?);
                } else if modifiers.fill_right.is_none()
                    && self.accept(TokenKind::Keyword(Keyword::FillRight)).is_some()
                {
                    modifiers.fill_right = Some(self.fill_value()?);
                }
            }
        }
        Ok(())
    }

    /// A number in parentheses, with at most one sign.
    fn fill_value(&mut self) -> Result<f64, RawError> {
        self.accept(TokenKind::LeftParen).ok_or_else(|| self.unexpected())?;
        let negative = match self.peek().kind {
            TokenKind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                self.advance();
                op == BinaryOp::Sub
            }
            _ => false,
        };
        if !matches!(self.peek().kind, TokenKind::Number | TokenKind::Duration) {
            return Err(self.unexpected());
        }
        let value = self.number()?.value;
        self.accept(TokenKind::RightParen).ok_or_else(|| self.unexpected())?;
        Ok(if negative { -value } else { value })
    }

    /// `(a, b, "quoted")`; a comma may follow the last label.
    fn label_list(&mut self) -> Result<Vec<String>, RawError> {
        const CONTEXT: &str = "grouping opts";
        self.expect(TokenKind::LeftParen, CONTEXT, "\"(\"")?;
        let mut labels = Vec::new();
        while self.accept(TokenKind::RightParen).is_none() {
            let token = self.peek();
            let label = match token.kind {
                TokenKind::String => self.unquote(token)?,
                kind if names_label(kind) => self.token_text(token).into(),
                _ => return Err(self.unexpected_in(CONTEXT, "label")),
            };
            let label = String::from_utf8(label).map_err(|error| invalid_label(token.span, error.as_bytes()))?;
            if label.is_empty() {
                return Err(invalid_label(token.span, b""));
            }
            self.advance();
            labels.push(label);
            if self.peek().kind != TokenKind::RightParen {
                self.expect(TokenKind::Comma, CONTEXT, "\",\" or \")\"")?;
            }
        }
        Ok(labels)
    }
}

fn invalid_label(span: Span, label: &[u8]) -> RawError {
    RawError::semantic(span, format!("invalid label name for grouping: {}", quote_bytes(label)))
}

/// Every word may name a label, also one with a meaning elsewhere.
fn names_label(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Aggregate(_) | TokenKind::Keyword(_) => true,
        TokenKind::Operator(op) => matches!(op, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::Atan2),
        _ => false,
    }
}
