//! Text to checked syntax tree.
//!
//! Four passes: `tokens` cuts the text, `lowering` checks the syntax and rewrites it for promql-parser, which decides how
//! operators nest, `binder` builds our tree from its answer, `check` does the type check. The first error wins, in
//! Prometheus' words and at its position.

use crate::ast::{Expr, Span};
use crate::{binder, check, lowering, tokens};
use model::matcher::Matcher;

/// Which parts of the language are enabled, and how large a query may be.
///
/// [`ParseOptions::default`] is what a Prometheus 3.14 server accepts without feature flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseOptions {
    /// Functions and aggregations marked experimental, such as `info`, `limitk` and `step`. Off by default.
    pub experimental_functions: bool,
    /// Arithmetic in ranges, steps and offsets, such as `[5m * 2]`. On by default.
    pub duration_expressions: bool,
    /// The selector modifiers `anchored` and `smoothed`. Off by default.
    pub extended_range_selectors: bool,
    /// The operator modifiers `fill`, `fill_left` and `fill_right`. Off by default.
    pub fill_modifiers: bool,
    /// Length of the text in bytes. At most 4 GiB.
    pub query_bytes_max: usize,
    /// Number of tokens.
    pub tokens_max: usize,
    /// Nesting of parentheses.
    pub depth_max: usize,
    /// Number of operators and signs. With `depth_max`, it bounds the depth of the tree, and so the stack that any
    /// recursion over the tree needs.
    pub operators_max: usize,
    /// Memory of all compiled regular expressions together, in bytes.
    pub regex_bytes_max: usize,
}

impl Default for ParseOptions {
    fn default() -> Self {
        Self {
            experimental_functions: false,
            duration_expressions: true,
            extended_range_selectors: false,
            fill_modifiers: false,
            query_bytes_max: 1 << 20,
            tokens_max: 10_000,
            depth_max: 200,
            operators_max: 1_000,
            regex_bytes_max: 64 << 20,
        }
    }
}

impl ParseOptions {
    /// Everything that Prometheus 3.14 has behind feature flags, enabled.
    #[must_use]
    pub fn all() -> Self {
        Self {
            experimental_functions: true,
            duration_expressions: true,
            extended_range_selectors: true,
            fill_modifiers: true,
            ..Self::default()
        }
    }
}

/// What is wrong with a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Not of the language, or of a part of it that is not enabled.
    Syntax,
    /// Well-formed, but without meaning: wrong types, unknown names, values out of range.
    Semantic,
    /// Exceeds one of the caps in [`ParseOptions`].
    TooLarge,
}

/// Why and where a query is refused, printed as Prometheus does: `1:5: parse error: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    kind: ErrorKind,
    message: String,
    span: Span,
    /// Line and column of the start of `span`, both from 1, the column in bytes; none for an empty query.
    place: Option<(usize, usize)>,
}

impl ParseError {
    fn new(error: RawError, query: &str) -> Self {
        let before = query.as_bytes().get(..error.span.start as usize).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
        let place = (!query.is_empty()).then_some((line, column));
        Self { kind: error.kind, message: error.message, span: error.span, place }
    }

    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The text without the position.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The part of the query that is refused.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// Line and column of its start, both from 1, the column in bytes; none for an empty query.
    #[must_use]
    pub fn place(&self) -> Option<(usize, usize)> {
        self.place
    }
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{line}:{column}: parse error: {}", self.message),
            None => write!(f, "unknown position: parse error: {}", self.message),
        }
    }
}

impl std::error::Error for ParseError {}

/// An error of one of the passes, before its line and column are known.
#[derive(Debug)]
pub(crate) struct RawError {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    pub(crate) span: Span,
}

impl RawError {
    pub(crate) fn syntax(span: Span, message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Syntax, message: message.into(), span }
    }

    pub(crate) fn semantic(span: Span, message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Semantic, message: message.into(), span }
    }
}

/// Parses and checks a query.
///
/// # Errors
/// The query is not of the language, makes no sense, or exceeds a cap.
pub fn parse(query: &str, options: &ParseOptions) -> Result<Expr, ParseError> {
    let parse = || {
        let tokens = tokens::tokenize(query, options);
        let lowered = lowering::lower(query, &tokens, options)?;
        let expr = binder::bind(lowered, options)?;
        check::check(&expr, query)?;
        Ok(expr)
    };
    parse().map_err(|error| ParseError::new(error, query))
}

/// Parses a plain selector such as `up{job="a"}`, as `match[]` parameters hold it, into its matchers.
///
/// Does not refuse a selector that matches every series: whether that is wanted depends on the caller.
///
/// # Errors
/// The text is not one selector, or exceeds a cap.
pub fn parse_selector(text: &str, options: &ParseOptions) -> Result<Vec<Matcher>, ParseError> {
    let tokens = tokens::tokenize(text, options);
    lowering::lower_selector(text, &tokens, options).map_err(|error| ParseError::new(error, text))
}
