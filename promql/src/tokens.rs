//! Cuts a query into tokens with their byte spans.
//!
//! Complete for the language of Prometheus 3.14; comments and white space are dropped. The caps on input size, tokens,
//! brackets and operators are enforced here, before anything is built, so that every later pass may recurse.
//! What follows an error is not read: the error becomes the last token, and is reported when the syntax gets there.

mod scan;

use crate::ast::{AggregateOp, BinaryOp, Span};
use crate::parse::{ErrorKind, ParseOptions};

/// What a token is. Operators that are words (`and`, `atan2`) are operators here too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// After the last token of a well-formed text.
    End,
    /// The text cannot be cut further; [`Tokens::error`] says why.
    Error,
    /// A name without colons.
    Identifier,
    /// A name with colons.
    MetricIdentifier,
    /// Any of the three quote styles, quotes included.
    String,
    Number,
    Duration,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    /// `=`
    Assign,
    /// `=~`
    MatchRegex,
    /// `!~`
    MatchNotRegex,
    At,
    Operator(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
}

/// Words with a meaning of their own, in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    Offset,
    Smoothed,
    Anchored,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

impl Keyword {
    /// Words that name a function when a parenthesis follows.
    pub(crate) fn is_function(self) -> bool {
        matches!(self, Self::Start | Self::End | Self::Step | Self::Range | Self::MaxOf | Self::MinOf)
    }

    /// Words that name a metric where an operand is expected.
    pub(crate) fn is_metric_name(self) -> bool {
        !matches!(self, Self::On | Self::Ignoring | Self::GroupLeft | Self::GroupRight | Self::Bool)
    }
}

/// A token and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) span: Span,
}

/// Why a text cannot be cut, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenError {
    pub(crate) kind: ErrorKind,
    pub(crate) at: u32,
    pub(crate) message: String,
}

/// The tokens of a query. The last one is [`TokenKind::End`], or [`TokenKind::Error`] when `error` is set.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) list: Vec<Token>,
    pub(crate) error: Option<TokenError>,
}

/// Cuts `query` into tokens, within the caps of `options`.
pub(crate) fn tokenize(query: &str, options: &ParseOptions) -> Tokens {
    scan::Scanner::new(query, options).run()
}

/// The operator, aggregation or keyword that `word` is, or `Number` for `Inf` and `NaN`.
fn word_kind(word: &str) -> Option<TokenKind> {
    const LONGEST: usize = "count_values".len();
    if word.len() > LONGEST {
        return None;
    }
    let mut buffer = [0; LONGEST];
    let lower = buffer.get_mut(..word.len())?;
    lower.copy_from_slice(word.as_bytes());
    lower.make_ascii_lowercase();
    let kind = match &*lower {
        b"inf" | b"nan" => TokenKind::Number,
        b"and" => TokenKind::Operator(BinaryOp::And),
        b"or" => TokenKind::Operator(BinaryOp::Or),
        b"unless" => TokenKind::Operator(BinaryOp::Unless),
        b"atan2" => TokenKind::Operator(BinaryOp::Atan2),
        b"sum" => TokenKind::Aggregate(AggregateOp::Sum),
        b"avg" => TokenKind::Aggregate(AggregateOp::Avg),
        b"count" => TokenKind::Aggregate(AggregateOp::Count),
        b"min" => TokenKind::Aggregate(AggregateOp::Min),
        b"max" => TokenKind::Aggregate(AggregateOp::Max),
        b"group" => TokenKind::Aggregate(AggregateOp::Group),
        b"stddev" => TokenKind::Aggregate(AggregateOp::Stddev),
        b"stdvar" => TokenKind::Aggregate(AggregateOp::Stdvar),
        b"topk" => TokenKind::Aggregate(AggregateOp::Topk),
        b"bottomk" => TokenKind::Aggregate(AggregateOp::Bottomk),
        b"count_values" => TokenKind::Aggregate(AggregateOp::CountValues),
        b"quantile" => TokenKind::Aggregate(AggregateOp::Quantile),
        b"limitk" => TokenKind::Aggregate(AggregateOp::Limitk),
        b"limit_ratio" => TokenKind::Aggregate(AggregateOp::LimitRatio),
        b"offset" => TokenKind::Keyword(Keyword::Offset),
        b"smoothed" => TokenKind::Keyword(Keyword::Smoothed),
        b"anchored" => TokenKind::Keyword(Keyword::Anchored),
        b"by" => TokenKind::Keyword(Keyword::By),
        b"without" => TokenKind::Keyword(Keyword::Without),
        b"on" => TokenKind::Keyword(Keyword::On),
        b"ignoring" => TokenKind::Keyword(Keyword::Ignoring),
        b"group_left" => TokenKind::Keyword(Keyword::GroupLeft),
        b"group_right" => TokenKind::Keyword(Keyword::GroupRight),
        b"fill" => TokenKind::Keyword(Keyword::Fill),
        b"fill_left" => TokenKind::Keyword(Keyword::FillLeft),
        b"fill_right" => TokenKind::Keyword(Keyword::FillRight),
        b"bool" => TokenKind::Keyword(Keyword::Bool),
        b"start" => TokenKind::Keyword(Keyword::Start),
        b"end" => TokenKind::Keyword(Keyword::End),
        b"step" => TokenKind::Keyword(Keyword::Step),
        b"range" => TokenKind::Keyword(Keyword::Range),
        b"max_of" => TokenKind::Keyword(Keyword::MaxOf),
        b"min_of" => TokenKind::Keyword(Keyword::MinOf),
        _ => return None,
    };
    Some(kind)
}

/// How an error names the token, for example `unexpected <op:+>`.
pub(crate) fn describe(token: Token, query: &str) -> String {
    let text = query.get(token.span.start as usize..token.span.end as usize).unwrap_or_default();
    match token.kind {
        TokenKind::End | TokenKind::Error => "end of input".to_owned(),
        TokenKind::Identifier => format!("identifier {}", model::text::quote(text)),
        TokenKind::MetricIdentifier => format!("metric identifier {}", model::text::quote(text)),
        TokenKind::String => format!("string {}", quote_start(text)),
        TokenKind::Number => format!("number {}", quote_start(text)),
        TokenKind::Duration => format!("duration {}", quote_start(text)),
        TokenKind::Operator(_) | TokenKind::MatchRegex | TokenKind::MatchNotRegex | TokenKind::At => {
            format!("<op:{text}>")
        }
        TokenKind::Aggregate(_) => format!("<aggr:{text}>"),
        TokenKind::Keyword(keyword) if !keyword.is_function() => format!("<{text}>"),
        _ => quote_start(text),
    }
}

/// Quotes at most ten characters of `text`.
fn quote_start(text: &str) -> String {
    if text.len() <= 10 {
        return model::text::quote(text);
    }
    let cut = text.char_indices().nth(10).map_or(text.len(), |(at, _)| at);
    format!("{}...", model::text::quote(&text[..cut]))
}

#[cfg(test)]
mod tests;
