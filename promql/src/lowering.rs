//! Checks the syntax of a query and rewrites it for promql-parser.
//!
//! One pass over the tokens with an explicit stack of open groups; no recursion. Everything but operators and nesting is
//! decided here: literals, selectors with their modifiers, function names, label lists, duration expressions. What
//! remains for promql-parser is its grammar of operators: precedence, associativity, nesting. For that the query is
//! re-emitted in a small language in which every part carries its ordinal in [`Lowered::items`]:
//!
//! | query | lowered |
//! |---|---|
//! | literal or selector, modifiers included | `m7` |
//! | call, aggregation, parentheses | `hearth_group(m3, …)` |
//! | binary operator with its modifiers | `+ fill(5)` |
//! | sign, either | `-` |
//!
//! All operands are vectors and all groups are calls of one variadic function, so promql-parser's own type check, duration
//! arithmetic and regular expressions never see foreign input: those checks are ours, with position.

mod duration_expr;
mod modifiers;
mod postfix;
mod selector;

use crate::ast::{AggregateOp, BinaryOp, Expr, NumberLiteral, Span, StringLiteral};
use crate::functions::{self, Function};
use crate::literal;
use crate::parse::{ErrorKind, ParseOptions, RawError};
use crate::tokens::{Keyword, Token, TokenKind, Tokens, describe};
use model::matcher::Matcher;
use model::text::quote;
pub(crate) use modifiers::{Grouping, OperatorModifiers};
use postfix::SubqueryTail;
use std::fmt::Write;

/// The function of promql-parser's language that stands for every group. Not a name that a query can bring in: queries
/// reach promql-parser only in lowered form.
pub(crate) const GROUP_FUNCTION: &str = "hearth_group";

/// A query, ready for promql-parser.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub(crate) text: String,
    /// By ordinal.
    pub(crate) items: Vec<Item>,
    /// In order of their text, which is the pre-order of the tree.
    pub(crate) signs: Vec<Sign>,
}

/// What an ordinal of the lowered text stands for.
#[derive(Debug)]
pub(crate) enum Item {
    /// A literal or selector, complete.
    Operand(Expr),
    Group(Group),
    Operator(Operator),
}

/// `+` or `-` in front of an operand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sign {
    pub(crate) negative: bool,
    pub(crate) start: u32,
}

/// A call, an aggregation, or an expression in parentheses.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) kind: GroupKind,
    pub(crate) span: Span,
    /// Subqueries over the group, innermost first.
    pub(crate) subqueries: Vec<SubqueryTail>,
}

#[derive(Debug)]
pub(crate) enum GroupKind {
    Paren,
    Call(&'static Function),
    Aggregation { op: AggregateOp, grouping: Grouping },
}

/// A binary operator and what was written behind it.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) op: BinaryOp,
    pub(crate) modifiers: OperatorModifiers,
}

/// A group whose closing parenthesis was not read yet.
struct Frame {
    opener: Opener,
    item: usize,
    start: u32,
    /// Arguments begun so far.
    arguments: usize,
}

enum Opener {
    Paren,
    /// The token that names the function.
    Call(Token),
    Aggregation(AggregateOp, Option<Grouping>),
}

/// Rewrites a query.
pub(crate) fn lower(query: &str, tokens: &Tokens, options: &ParseOptions) -> Result<Lowered, RawError> {
    Walker::new(query, tokens, options).query()
}

/// Reads one selector without modifiers.
pub(crate) fn lower_selector(query: &str, tokens: &Tokens, options: &ParseOptions) -> Result<Vec<Matcher>, RawError> {
    let mut walker = Walker::new(query, tokens, options);
    let selector = walker.plain_selector()?;
    walker.expect(TokenKind::End, "", "")?;
    Ok(selector.matchers)
}

struct Walker<'a> {
    query: &'a str,
    tokens: &'a Tokens,
    options: &'a ParseOptions,
    next: usize,
    text: String,
    items: Vec<Item>,
    signs: Vec<Sign>,
    frames: Vec<Frame>,
    /// The operand just read, by ordinal: what a modifier that follows belongs to.
    operand: usize,
    regex_bytes: usize,
}

impl<'a> Walker<'a> {
    fn new(query: &'a str, tokens: &'a Tokens, options: &'a ParseOptions) -> Self {
        Self {
            query,
            tokens,
            options,
            next: 0,
            text: String::new(),
            items: Vec::new(),
            signs: Vec::new(),
            frames: Vec::new(),
            operand: 0,
            regex_bytes: 0,
        }
    }

    fn query(mut self) -> Result<Lowered, RawError> {
        if self.peek().kind == TokenKind::End {
            return Err(RawError::syntax(Span::default(), "no expression found in input"));
        }
        loop {
            while !self.operand()? {}
            loop {
                self.postfixes()?;
                match self.peek().kind {
                    TokenKind::Operator(op) => {
                        self.operator(op)?;
                        break;
                    }
                    TokenKind::Comma if self.takes_arguments() => {
                        self.comma()?;
                        break;
                    }
                    TokenKind::RightParen if !self.frames.is_empty() => self.close()?,
                    TokenKind::End if self.frames.is_empty() => {
                        return Ok(Lowered { text: self.text, items: self.items, signs: self.signs });
                    }
                    _ => return Err(self.unexpected()),
                }
            }
        }
    }

    fn peek(&self) -> Token {
        self.tokens.list.get(self.next).or(self.tokens.list.last()).copied().unwrap_or(END)
    }

    fn peek_second(&self) -> TokenKind {
        self.tokens.list.get(self.next + 1).map_or(TokenKind::End, |token| token.kind)
    }

    fn advance(&mut self) -> Token {
        let token = self.peek();
        self.next += 1;
        token
    }

    /// Consumes the next token if it is of that kind.
    fn accept(&mut self, kind: TokenKind) -> Option<Token> {
        (self.peek().kind == kind).then(|| self.advance())
    }

    fn expect(&mut self, kind: TokenKind, context: &str, expected: &str) -> Result<Token, RawError> {
        self.accept(kind).ok_or_else(|| self.unexpected_in(context, expected))
    }

    fn token_text(&self, token: Token) -> &'a str {
        self.query.get(token.span.start as usize..token.span.end as usize).unwrap_or_default()
    }

    /// The end of the last token consumed.
    fn last_end(&self) -> u32 {
        self.next.checked_sub(1).and_then(|at| self.tokens.list.get(at)).map_or(0, |token| token.span.end)
    }

    /// The next token does not fit. Prometheus names the aggregation that it stands in, however deep.
    fn unexpected(&self) -> RawError {
        let in_aggregation = self.frames.iter().any(|frame| matches!(frame.opener, Opener::Aggregation(..)));
        self.unexpected_in(if in_aggregation { "aggregation" } else { "" }, "")
    }

    fn unexpected_in(&self, context: &str, expected: &str) -> RawError {
        let token = self.peek();
        if let (TokenKind::Error, Some(error)) = (token.kind, &self.tokens.error) {
            let span = Span { start: error.at, end: self.query.len() as u32 };
            return RawError { kind: error.kind, message: error.message.clone(), span };
        }
        let mut message = format!("unexpected {}", describe(token, self.query));
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        RawError::syntax(token.span, message)
    }

    fn emit(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.text.write_fmt(arguments).expect("writing to a string cannot fail");
    }

    fn push_operand(&mut self, operand: Expr) {
        let ordinal = self.items.len();
        self.items.push(Item::Operand(operand));
        self.operand = ordinal;
        self.emit(format_args!("m{ordinal}"));
    }

    /// Reads a sign, an operand, or what opens a group; true when an operand is complete.
    fn operand(&mut self) -> Result<bool, RawError> {
        let token = self.peek();
        match token.kind {
            TokenKind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                self.advance();
                self.signs.push(Sign { negative: op == BinaryOp::Sub, start: token.span.start });
                self.text.push('-');
                return Ok(false);
            }
            TokenKind::Number | TokenKind::Duration => {
                let number = self.number()?;
                self.push_operand(Expr::Number(number));
            }
            TokenKind::String => {
                self.advance();
                let value = self.unquote(token)?;
                self.push_operand(Expr::String(StringLiteral { value, span: token.span }));
            }
            TokenKind::LeftParen => {
                self.open(Opener::Paren, token.span.start)?;
                return Ok(false);
            }
            TokenKind::Aggregate(op) if opens_aggregation(self.peek_second()) => return self.aggregation(op),
            _ if names_function(token.kind) && self.peek_second() == TokenKind::LeftParen => {
                self.advance();
                return self.open(Opener::Call(token), token.span.start);
            }
            TokenKind::LeftBrace => {
                let selector = self.plain_selector()?;
                self.push_operand(Expr::VectorSelector(selector));
            }
            kind if names_metric(kind) => {
                let selector = self.plain_selector()?;
                self.push_operand(Expr::VectorSelector(selector));
            }
            _ => return Err(self.unexpected()),
        }
        Ok(true)
    }

    /// `sum(`, `sum by (a) (`; the closing parenthesis and a modifier behind it follow later.
    fn aggregation(&mut self, op: AggregateOp) -> Result<bool, RawError> {
        let start = self.advance().span.start;
        let grouping = self.aggregation_grouping()?;
        if self.peek().kind != TokenKind::LeftParen {
            return Err(self.unexpected_in("aggregation", ""));
        }
        self.open(Opener::Aggregation(op, grouping), start)
    }

    /// Opens a group at its parenthesis; true when it is closed at once (`time()`).
    fn open(&mut self, opener: Opener, start: u32) -> Result<bool, RawError> {
        self.advance();
        let ordinal = self.items.len();
        let span = Span { start, end: start };
        self.items.push(Item::Group(Group { kind: GroupKind::Paren, span, subqueries: Vec::new() }));
        self.emit(format_args!("{GROUP_FUNCTION}(m{ordinal}"));
        let empty = !matches!(opener, Opener::Paren) && self.peek().kind == TokenKind::RightParen;
        self.frames.push(Frame { opener, item: ordinal, start, arguments: usize::from(!empty) });
        if empty {
            self.close()?;
        } else {
            self.text.push(',');
        }
        Ok(empty)
    }

    fn takes_arguments(&self) -> bool {
        self.frames.last().is_some_and(|frame| !matches!(frame.opener, Opener::Paren))
    }

    fn comma(&mut self) -> Result<(), RawError> {
        let comma = self.advance();
        if self.peek().kind == TokenKind::RightParen {
            return Err(RawError::syntax(comma.span, "trailing commas not allowed in function call args"));
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.arguments += 1;
        }
        self.text.push(',');
        Ok(())
    }

    /// Closes the innermost group, which thereby is the operand just read.
    fn close(&mut self) -> Result<(), RawError> {
        self.advance();
        let Some(frame) = self.frames.pop() else { return Err(self.unexpected()) };
        self.operand = frame.item;
        self.text.push(')');
        let kind = match frame.opener {
            Opener::Paren => GroupKind::Paren,
            Opener::Call(name) => GroupKind::Call(self.function(name)?),
            Opener::Aggregation(op, grouping) => {
                let grouping = if grouping.is_some() { grouping } else { self.aggregation_grouping()? };
                self.check_aggregation(op, frame.start, frame.arguments)?;
                GroupKind::Aggregation { op, grouping: grouping.unwrap_or_default() }
            }
        };
        let span = Span { start: frame.start, end: self.last_end() };
        if let Some(Item::Group(group)) = self.items.get_mut(frame.item) {
            (group.kind, group.span) = (kind, span);
        }
        Ok(())
    }

    fn function(&self, name: Token) -> Result<&'static Function, RawError> {
        let text = self.token_text(name);
        let function = functions::lookup(text)
            .ok_or_else(|| RawError::semantic(name.span, format!("unknown function with name {}", quote(text))))?;
        if function.experimental && !self.options.experimental_functions {
            return Err(RawError::semantic(name.span, format!("function {} is not enabled", quote(text))));
        }
        Ok(function)
    }

    fn check_aggregation(&self, op: AggregateOp, start: u32, got: usize) -> Result<(), RawError> {
        let span = Span { start, end: self.last_end() };
        if got == 0 {
            return Err(RawError::semantic(span, "no arguments for aggregate expression provided"));
        }
        if op.is_experimental() && !self.options.experimental_functions {
            let flag = "--enable-feature=promql-experimental-functions";
            let message = format!("{}() is experimental and must be enabled with {flag}", op.as_str());
            return Err(RawError::semantic(span, message));
        }
        let wanted = 1 + usize::from(op.param_type().is_some());
        if got != wanted {
            let message =
                format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {got}");
            return Err(RawError::semantic(span, message));
        }
        Ok(())
    }

    /// Reads a binary operator with its modifiers. promql-parser has no `</` and `>/`; they bind like comparisons.
    fn operator(&mut self, op: BinaryOp) -> Result<(), RawError> {
        self.advance();
        let modifiers = self.operator_modifiers()?;
        let ordinal = self.items.len();
        self.items.push(Item::Operator(Operator { op, modifiers }));
        let symbol = match op {
            BinaryOp::TrimUpper => "<",
            BinaryOp::TrimLower => ">",
            other => other.as_str(),
        };
        self.emit(format_args!(" {symbol} fill({ordinal}) "));
        Ok(())
    }

    /// A number, or a duration as its seconds.
    fn number(&mut self) -> Result<NumberLiteral, RawError> {
        let token = self.advance();
        let text = self.token_text(token);
        let is_duration = token.kind == TokenKind::Duration;
        let value = if is_duration {
            let ms = crate::duration::parse_ms(text).map_err(|e| RawError::semantic(token.span, e.to_string()))?;
            crate::duration::ms_to_seconds(ms)
        } else {
            literal::parse_number(text).map_err(|error| {
                let message = format!("error parsing number: strconv.ParseFloat: parsing {}: {error}", quote(text));
                RawError::semantic(token.span, message)
            })?
        };
        Ok(NumberLiteral { value, is_duration, span: token.span })
    }

    fn unquote(&self, token: Token) -> Result<Vec<u8>, RawError> {
        let text = self.token_text(token);
        literal::unquote(text)
            .map_err(|error| RawError::syntax(token.span, format!("error unquoting string {}: {error}", quote(text))))
    }

    /// A string that must be UTF-8 because it names a label or is compared with one.
    fn unquote_text(&self, token: Token) -> Result<String, RawError> {
        String::from_utf8(self.unquote(token)?).map_err(|_| {
            let text = self.token_text(token);
            RawError {
                kind: ErrorKind::Semantic,
                message: format!("string {text} is not valid UTF-8"),
                span: token.span,
            }
        })
    }
}

const END: Token = Token { kind: TokenKind::End, span: Span { start: 0, end: 0 } };

fn opens_aggregation(next: TokenKind) -> bool {
    matches!(next, TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without))
}

fn names_function(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::Identifier) || matches!(kind, TokenKind::Keyword(keyword) if keyword.is_function())
}

fn names_metric(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Aggregate(_) => true,
        TokenKind::Operator(op) => matches!(op, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless),
        TokenKind::Keyword(keyword) => keyword.is_metric_name(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
