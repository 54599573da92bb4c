//! Selectors: a metric name, label matchers in braces, or both.

use super::{Walker, names_metric};
use crate::ast::{BinaryOp, Span, VectorSelector};
use crate::parse::{ErrorKind, RawError};
use crate::tokens::{Token, TokenKind};
use model::matcher::{MatchOp, Matcher};

const METRIC_NAME: &str = "__name__";

impl Walker<'_> {
    /// A selector without modifiers: `name`, `{…}` or `name{…}`.
    pub(super) fn plain_selector(&mut self) -> Result<VectorSelector, RawError> {
        let start = self.peek().span.start;
        let name = match self.peek().kind {
            TokenKind::LeftBrace => None,
            kind if names_metric(kind) => {
                let token = self.advance();
                Some(self.token_text(token).to_owned())
            }
            _ => return Err(self.unexpected()),
        };
        let mut matchers = Vec::new();
        if self.accept(TokenKind::LeftBrace).is_some() {
            self.matchers(&mut matchers)?;
        }
        if let Some(name) = &name {
            matchers.push(Matcher::equal(METRIC_NAME, name.as_str()));
        }
        Ok(VectorSelector {
            name,
            matchers,
            offset: None,
            at: None,
            anchored: false,
            smoothed: false,
            span: Span { start, end: self.last_end() },
        })
    }

    /// The inside of `{…}` up to and including the closing brace; a comma may follow the last matcher.
    fn matchers(&mut self, into: &mut Vec<Matcher>) -> Result<(), RawError> {
        const CONTEXT: &str = "label matching";
        while self.accept(TokenKind::RightBrace).is_none() {
            let matcher = self.matcher(CONTEXT)?;
            into.push(matcher);
            if self.peek().kind != TokenKind::RightBrace {
                self.expect(TokenKind::Comma, CONTEXT, "\",\" or \"}\"")?;
                continue;
            }
        }
        Ok(())
    }

    /// `name="value"`, `"quoted name"="value"`, or a quoted metric name.
    fn matcher(&mut self, context: &str) -> Result<Matcher, RawError> {
        let token = self.peek();
        let (name, quoted) = match token.kind {
            TokenKind::Identifier => (self.token_text(token).to_owned(), false),
            TokenKind::String => (self.unquote_text(token)?, true),
            _ => return Err(self.unexpected_in(context, "identifier or \"}\"")),
        };
        self.advance();
        let op = match self.peek().kind {
            TokenKind::Assign => MatchOp::Equal,
            TokenKind::Operator(BinaryOp::NotEqual) => MatchOp::NotEqual,
            TokenKind::MatchRegex => MatchOp::Regex,
            TokenKind::MatchNotRegex => MatchOp::NotRegex,
            _ if quoted => return Ok(Matcher::equal(METRIC_NAME, name)),
            _ => return Err(self.unexpected_in(context, "label matching operator")),
        };
        self.advance();
        let value = self.expect(TokenKind::String, context, "string")?;
        self.compile_matcher(name, op, Span { start: token.span.start, end: value.span.end }, value)
    }

    /// Compiles the expression of `=~` and `!~`, within the memory that the query may use for it.
    fn compile_matcher(&mut self, name: String, op: MatchOp, span: Span, value: Token) -> Result<Matcher, RawError> {
        let value = self.unquote_text(value)?;
        let matcher = Matcher::new(name, op, value).map_err(|error| RawError::semantic(span, error.to_string()))?;
        self.regex_bytes = self.regex_bytes.saturating_add(matcher.regex_bytes());
        let bytes_max = self.options.regex_bytes_max;
        if self.regex_bytes > bytes_max {
            let message = format!("regular expressions of the query need more than {bytes_max} bytes");
            return Err(RawError { kind: ErrorKind::TooLarge, message, span });
        }
        Ok(matcher)
    }
}
