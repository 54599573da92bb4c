//! The scanner behind [`super::tokenize`]: one pass over the bytes, no lookahead beyond the next character but for
//! `fill`, which is a modifier only in front of a parenthesis.

mod literals;

use super::{Keyword, Token, TokenError, TokenKind, Tokens, word_kind};
use crate::ast::{BinaryOp, Span};
use crate::parse::{ErrorKind, ParseOptions};
use model::text::quote;

/// What may stand inside `[…]` depends on what was read since it opened.
#[derive(Debug, Clone, Copy)]
struct Bracket {
    /// No number or duration yet: only the characters of a duration expression are known.
    fresh: bool,
    colon_read: bool,
}

pub(super) struct Scanner<'a> {
    query: &'a str,
    bytes: &'a [u8],
    options: &'a ParseOptions,
    at: usize,
    list: Vec<Token>,
    operators: usize,
    parens: usize,
    in_braces: bool,
    bracket: Option<Bracket>,
}

type Scanned = Result<Option<TokenKind>, TokenError>;

impl<'a> Scanner<'a> {
    pub(super) fn new(query: &'a str, options: &'a ParseOptions) -> Self {
        Self {
            query,
            bytes: query.as_bytes(),
            options,
            at: 0,
            list: Vec::with_capacity((query.len() / 4).min(options.tokens_max) + 1),
            operators: 0,
            parens: 0,
            in_braces: false,
            bracket: None,
        }
    }

    pub(super) fn run(mut self) -> Tokens {
        let error = self.scan_all().err();
        let (kind, at) = match &error {
            Some(error) => (TokenKind::Error, error.at),
            None => (TokenKind::End, self.position(self.query.len())),
        };
        self.list.push(Token { kind, span: Span { start: at, end: at } });
        Tokens { list: self.list, error }
    }

    fn scan_all(&mut self) -> Result<(), TokenError> {
        let bytes_max = self.options.query_bytes_max.min(u32::MAX as usize);
        if self.query.len() > bytes_max {
            return Err(self.too_large(0, format!("query is longer than {bytes_max} bytes")));
        }
        loop {
            self.skip_blanks_and_comments();
            let start = self.at;
            if start == self.bytes.len() {
                return self.end();
            }
            let scanned = if self.in_braces { self.inside_braces() } else { self.outside_braces() }?;
            let Some(kind) = scanned else { continue };
            if kind == TokenKind::RightParen && self.parens == 0 {
                return Err(self.error(self.at, "unexpected right parenthesis ')'"));
            }
            self.list.push(Token { kind, span: Span { start: self.position(start), end: self.position(self.at) } });
            self.count(kind, start)?;
        }
    }

    /// Fits: `query_bytes_max` is at most `u32::MAX`.
    fn position(&self, at: usize) -> u32 {
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    fn error(&self, at: usize, message: impl Into<String>) -> TokenError {
        TokenError { kind: ErrorKind::Syntax, at: self.position(at), message: message.into() }
    }

    fn too_large(&self, at: usize, message: String) -> TokenError {
        TokenError { kind: ErrorKind::TooLarge, at: self.position(at), message }
    }

    /// Enforces the caps and follows the brackets.
    fn count(&mut self, kind: TokenKind, start: usize) -> Result<(), TokenError> {
        if self.list.len() > self.options.tokens_max {
            let message = format!("query has more than {} tokens", self.options.tokens_max);
            return Err(self.too_large(start, message));
        }
        match kind {
            TokenKind::Operator(_) => {
                self.operators += 1;
                if self.operators > self.options.operators_max {
                    let message = format!("query has more than {} operators", self.options.operators_max);
                    return Err(self.too_large(start, message));
                }
            }
            TokenKind::LeftParen => {
                self.parens += 1;
                if self.parens > self.options.depth_max {
                    let message = format!("query nests deeper than {} parentheses", self.options.depth_max);
                    return Err(self.too_large(start, message));
                }
            }
            TokenKind::RightParen => self.parens -= 1,
            TokenKind::LeftBrace => self.in_braces = true,
            TokenKind::RightBrace => self.in_braces = false,
            TokenKind::LeftBracket => self.bracket = Some(Bracket { fresh: true, colon_read: false }),
            TokenKind::RightBracket => self.bracket = None,
            TokenKind::Number | TokenKind::Duration => {
                if let Some(bracket) = &mut self.bracket {
                    bracket.fresh = false;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&self) -> Result<(), TokenError> {
        let message = if self.in_braces {
            "unexpected end of input inside braces"
        } else if self.bracket.is_some_and(|bracket| bracket.fresh) {
            "unexpected end of input in duration expression"
        } else if self.parens != 0 {
            "unclosed left parenthesis"
        } else if self.bracket.is_some() {
            "unclosed left bracket"
        } else {
            return Ok(());
        };
        Err(self.error(self.at, message))
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The character at the current position, for error messages.
    fn peek_char(&self) -> Option<char> {
        self.query.get(self.at..).and_then(|rest| rest.chars().next())
    }

    /// Consumes the next byte if it is one of `set`.
    fn accept(&mut self, set: &[u8]) -> bool {
        let accepted = self.peek().is_some_and(|byte| set.contains(&byte));
        self.at += usize::from(accepted);
        accepted
    }

    fn accept_while(&mut self, allowed: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&allowed) {
            self.at += 1;
        }
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            self.accept_while(is_space);
            if self.peek() != Some(b'#') {
                return;
            }
            self.accept_while(|byte| byte != b'\n' && byte != b'\r');
        }
    }

    /// Inside `{…}` there are no keywords.
    fn inside_braces(&mut self) -> Scanned {
        let start = self.at;
        let Some(c) = self.peek_char() else { return Ok(None) };
        self.at += c.len_utf8();
        let kind = match c {
            ',' => TokenKind::Comma,
            '}' => TokenKind::RightBrace,
            '"' | '\'' => return self.string(start, c),
            '`' => return self.raw_string(start),
            '=' if self.accept(b"~") => TokenKind::MatchRegex,
            '=' => TokenKind::Assign,
            '!' if self.accept(b"~") => TokenKind::MatchNotRegex,
            '!' if self.accept(b"=") => TokenKind::Operator(BinaryOp::NotEqual),
            '!' => {
                let next = quote_char_or_end(self.peek_char());
                return Err(self.error(start, format!("unexpected character after '!' inside braces: {next}")));
            }
            '{' => return Err(self.error(start, "unexpected left brace '{'")),
            c if is_alpha(c) => {
                self.accept_while(is_alphanumeric);
                TokenKind::Identifier
            }
            c => return Err(self.error(start, format!("unexpected character inside braces: {}", quote_char(c)))),
        };
        Ok(Some(kind))
    }

    fn outside_braces(&mut self) -> Scanned {
        let start = self.at;
        let Some(c) = self.peek_char() else { return Ok(None) };
        if self.bracket.is_some_and(|bracket| bracket.fresh) && !may_open_duration(c) {
            return Err(self.error(start, format!("unexpected character in duration expression: {}", quote_char(c))));
        }
        if c.is_ascii_digit() || (c == '.' && self.bytes.get(self.at + 1).is_some_and(u8::is_ascii_digit)) {
            return self.number_or_duration(start);
        }
        if is_alpha(c) || c == ':' {
            return match self.bracket {
                Some(bracket) => self.word_in_brackets(start, c, bracket),
                None => Ok(Some(self.word(start))),
            };
        }
        self.at += c.len_utf8();
        let kind = match c {
            ',' => TokenKind::Comma,
            '(' => TokenKind::LeftParen,
            ')' => TokenKind::RightParen,
            '{' => TokenKind::LeftBrace,
            '[' if self.bracket.is_some() => return Err(self.error(start, "unexpected left bracket '['")),
            '[' => TokenKind::LeftBracket,
            ']' if self.bracket.is_none() => return Err(self.error(start, "unexpected right bracket ']'")),
            ']' => TokenKind::RightBracket,
            '@' => TokenKind::At,
            '"' | '\'' => return self.string(start, c),
            '`' => return self.raw_string(start),
            '+' => TokenKind::Operator(BinaryOp::Add),
            '-' => TokenKind::Operator(BinaryOp::Sub),
            '*' => TokenKind::Operator(BinaryOp::Mul),
            '/' => TokenKind::Operator(BinaryOp::Div),
            '%' => TokenKind::Operator(BinaryOp::Mod),
            '^' => TokenKind::Operator(BinaryOp::Pow),
            '=' if self.accept(b"=") => TokenKind::Operator(BinaryOp::Equal),
            '=' if self.peek() == Some(b'~') => {
                return Err(self.error(start, "unexpected character after '=': '~'"));
            }
            '=' => TokenKind::Assign,
            '!' if self.accept(b"=") => TokenKind::Operator(BinaryOp::NotEqual),
            '!' => {
                let next = quote_char_or_end(self.peek_char());
                return Err(self.error(start, format!("unexpected character after '!': {next}")));
            }
            '<' if self.accept(b"=") => TokenKind::Operator(BinaryOp::LessOrEqual),
            '<' if self.accept(b"/") => TokenKind::Operator(BinaryOp::TrimUpper),
            '<' => TokenKind::Operator(BinaryOp::Less),
            '>' if self.accept(b"=") => TokenKind::Operator(BinaryOp::GreaterOrEqual),
            '>' if self.accept(b"/") => TokenKind::Operator(BinaryOp::TrimLower),
            '>' => TokenKind::Operator(BinaryOp::Greater),
            c => return Err(self.error(start, format!("unexpected character: {}", quote_char(c)))),
        };
        Ok(Some(kind))
    }

    /// A name or keyword; the first character is not consumed yet.
    fn word(&mut self, start: usize) -> TokenKind {
        self.accept_while(|byte| is_alphanumeric(byte) || byte == b':');
        let word = &self.query[start..self.at];
        match word_kind(word) {
            Some(TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.parenthesis_follows() =>
            {
                TokenKind::Identifier
            }
            Some(kind) => kind,
            None if word.contains(':') => TokenKind::MetricIdentifier,
            None => TokenKind::Identifier,
        }
    }

    fn parenthesis_follows(&self) -> bool {
        self.bytes[self.at..].iter().copied().find(|byte| !is_space(*byte)) == Some(b'(')
    }

    /// Inside `[…]` the only words are those of duration expressions.
    fn word_in_brackets(&mut self, start: usize, c: char, bracket: Bracket) -> Scanned {
        if c == ':' {
            self.at += 1;
            if bracket.colon_read {
                return Err(self.error(start, "unexpected colon ':'"));
            }
            self.bracket = Some(Bracket { fresh: false, colon_read: true });
            return Ok(Some(TokenKind::Colon));
        }
        self.accept_while(|byte| is_alpha(char::from(byte)));
        match word_kind(&self.query[start..self.at]) {
            Some(kind @ TokenKind::Keyword(Keyword::Step | Keyword::Range | Keyword::MinOf | Keyword::MaxOf)) => {
                Ok(Some(kind))
            }
            _ if bracket.fresh => {
                Err(self.error(start, format!("unexpected character in duration expression: {}", quote_char(c))))
            }
            _ => Err(self.error(start, format!("unexpected character: {}, expected ':'", quote_char(c)))),
        }
    }
}

/// What may stand in `[…]` before its first number.
fn may_open_duration(c: char) -> bool {
    c.is_ascii_digit() || ".:]()+-*/%^,".contains(c) || is_alpha(c)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

/// `'x'`, as Go quotes a character.
fn quote_char(c: char) -> String {
    match c {
        '\'' => r"'\''".to_owned(),
        '"' => "'\"'".to_owned(),
        c => format!("'{}'", quote(c.encode_utf8(&mut [0; 4])).trim_matches('"')),
    }
}

/// As [`quote_char`]; Prometheus names the end of the text by the character that its scanner returns there.
fn quote_char_or_end(c: Option<char>) -> String {
    c.map_or_else(|| "'\u{fffd}'".to_owned(), quote_char)
}
