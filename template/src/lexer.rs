//! Text to tokens.
//!
//! The grammar of Go's text/template with its delimiters `{{` and `}}`, trim markers and comments. Blanks inside an
//! action are tokens, because they separate arguments. The last token is [`Kind::Eof`] or [`Kind::Error`].

use crate::token::{Keyword, Kind, Token};

const LEFT: &str = "{{";
const RIGHT: &str = "}}";
const LEFT_COMMENT: &str = "/*";
const RIGHT_COMMENT: &str = "*/";

/// A whole text.
pub(crate) struct Tokens<'t> {
    /// At least one: the last is of kind [`Kind::Eof`] or [`Kind::Error`].
    pub(crate) list: Vec<Token<'t>>,
    /// What is wrong at the last token.
    pub(crate) error: Option<String>,
}

/// Splits `input`, which must be shorter than 4 GiB, into tokens.
pub(crate) fn tokens(input: &str) -> Tokens<'_> {
    let mut lexer = Lexer { input, start: 0, at: 0, line: 1, parens: 0, tokens: Vec::new() };
    let error = lexer.run().err();
    lexer.push(if error.is_some() { Kind::Error } else { Kind::Eof }, "");
    Tokens { list: lexer.tokens, error }
}

struct Lexer<'t> {
    input: &'t str,
    /// Where the current token begins; `line` is its line.
    start: usize,
    at: usize,
    line: u32,
    /// Open parentheses of the current action.
    parens: u32,
    tokens: Vec<Token<'t>>,
}

impl<'t> Lexer<'t> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(offset) = self.rest().find(LEFT) {
            let text_end = self.at + offset;
            let after_delimiter = self.input.get(text_end + LEFT.len()..).unwrap_or_default();
            let text = self.input.get(self.at..text_end).unwrap_or_default();
            let kept =
                if begins_with_left_trim(after_delimiter) { text.trim_end_matches(is_space).len() } else { offset };
            self.at += kept;
            if kept > 0 {
                self.emit(Kind::Text);
            }
            self.skip_to(text_end);
            self.left_delimiter(after_delimiter)?;
        }
        self.at = self.input.len();
        if self.at > self.start {
            self.emit(Kind::Text);
        }
        Ok(())
    }

    /// An action or a comment, from its left delimiter to behind the right one.
    fn left_delimiter(&mut self, after_delimiter: &'t str) -> Result<(), String> {
        let inner = self.at + LEFT.len() + marker_bytes(begins_with_left_trim(after_delimiter));
        if self.input.get(inner..).is_some_and(|rest| rest.starts_with(LEFT_COMMENT)) {
            self.skip_to(inner);
            return self.comment();
        }
        self.at += LEFT.len();
        self.emit(Kind::LeftDelimiter);
        self.skip_to(inner);
        self.parens = 0;
        while !self.action_token()? {}
        Ok(())
    }

    fn comment(&mut self) -> Result<(), String> {
        self.at += LEFT_COMMENT.len();
        let length = self.rest().find(RIGHT_COMMENT).ok_or("unclosed comment")?;
        self.at += length + RIGHT_COMMENT.len();
        let trims = self.at_right_delimiter().ok_or("comment ends before closing delimiter")?;
        self.skip_to(self.at + marker_bytes(trims) + RIGHT.len());
        self.trim_following_text(trims);
        Ok(())
    }

    /// Emits one token of an action; true when it was the right delimiter.
    fn action_token(&mut self) -> Result<bool, String> {
        if let Some(trims) = self.at_right_delimiter() {
            if self.parens > 0 {
                return Err("unclosed left paren".into());
            }
            self.skip_to(self.at + marker_bytes(trims));
            self.at += RIGHT.len();
            self.emit(Kind::RightDelimiter);
            self.trim_following_text(trims);
            return Ok(true);
        }
        let Some(c) = self.bump() else { return Err("unclosed action".into()) };
        match c {
            c if is_space(c) => self.space(),
            '=' => self.emit(Kind::Assign),
            ':' if self.bump() == Some('=') => self.emit(Kind::Declare),
            ':' => return Err("expected :=".into()),
            '|' => self.emit(Kind::Pipe),
            '"' => self.quoted('"', "unterminated quoted string", Kind::String)?,
            '`' => self.raw_string()?,
            '\'' => self.quoted('\'', "unterminated character constant", Kind::CharConstant)?,
            '$' => self.field_or_variable(Kind::Variable)?,
            '.' if self.peek().is_some_and(|next| !next.is_ascii_digit()) => self.field_or_variable(Kind::Field)?,
            '.' | '+' | '-' | '0'..='9' => {
                self.at = self.start;
                self.number()?;
            }
            c if is_alphanumeric(c) => self.word()?,
            '(' => {
                self.parens += 1;
                self.emit(Kind::LeftParen);
            }
            ')' => {
                self.parens = self.parens.checked_sub(1).ok_or("unexpected right paren")?;
                self.emit(Kind::RightParen);
            }
            ' '..='~' => self.emit(Kind::Char),
            c => return Err(format!("unrecognized character in action: {}", describe_char(c))),
        }
        Ok(false)
    }

    /// Behind a right delimiter: steps over the blanks that its trim marker takes.
    fn trim_following_text(&mut self, trims: bool) {
        let rest = self.rest();
        let blanks = rest.len() - rest.trim_start_matches(is_space).len();
        self.skip_to(self.at + if trims { blanks } else { 0 });
    }

    /// A run of blanks, of which the last may belong to a trim marker.
    fn space(&mut self) {
        let run = self.rest().len() - self.rest().trim_start_matches(is_space).len();
        self.at += run;
        let last = self.at - 1;
        let trimmed = self.input.get(last..).is_some_and(|rest| right_delimiter(rest) == Some(true));
        if trimmed {
            self.at = last;
        }
        if self.at > self.start {
            self.emit(Kind::Space);
        }
    }

    fn word(&mut self) -> Result<(), String> {
        self.bump_while(is_alphanumeric);
        self.require_terminator()?;
        let word = self.pending();
        let kind = match (Keyword::of(word), word) {
            (Some(keyword), _) => Kind::Keyword(keyword),
            (None, "true" | "false") => Kind::Bool,
            (None, _) => Kind::Identifier,
        };
        self.emit(kind);
        Ok(())
    }

    /// The dot or dollar sign is taken already.
    fn field_or_variable(&mut self, kind: Kind) -> Result<(), String> {
        if self.at_terminator() {
            let alone = if kind == Kind::Variable { kind } else { Kind::Keyword(Keyword::Dot) };
            self.emit(alone);
            return Ok(());
        }
        self.bump_while(is_alphanumeric);
        self.require_terminator()?;
        self.emit(kind);
        Ok(())
    }

    /// The opening quote is taken already; `\` takes the next character with it.
    fn quoted(&mut self, quote: char, unterminated: &str, kind: Kind) -> Result<(), String> {
        loop {
            match self.bump() {
                Some(c) if c == quote => break,
                Some('\\') if self.bump().is_some_and(|next| next != '\n') => {}
                None | Some('\\' | '\n') => return Err(unterminated.into()),
                Some(_) => {}
            }
        }
        self.emit(kind);
        Ok(())
    }

    fn raw_string(&mut self) -> Result<(), String> {
        let length = self.rest().find('`').ok_or("unterminated raw quoted string")?;
        self.at += length + 1;
        self.emit(Kind::RawString);
        Ok(())
    }

    /// Roughly a number; whether it really is one shows when it is converted.
    fn number(&mut self) -> Result<(), String> {
        let syntax = |lexer: &Self| format!("bad number syntax: {}", model::text::quote(lexer.pending()));
        if !self.scan_number() {
            return Err(syntax(self));
        }
        if !matches!(self.peek(), Some('+' | '-')) {
            self.emit(Kind::Number);
            return Ok(());
        }
        if !self.scan_number() || !self.pending().ends_with('i') {
            return Err(syntax(self));
        }
        self.emit(Kind::Complex);
        Ok(())
    }

    fn scan_number(&mut self) -> bool {
        self.accept("+-");
        let mut digits = "0123456789_";
        if self.accept("0") {
            if self.accept("xX") {
                digits = "0123456789abcdefABCDEF_";
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        self.bump_while(|c| digits.contains(c));
        if self.accept(".") {
            self.bump_while(|c| digits.contains(c));
        }
        let has_exponent = match digits.len() {
            11 => self.accept("eE"),
            23 => self.accept("pP"),
            _ => false,
        };
        if has_exponent {
            self.accept("+-");
            self.bump_while(|c| c.is_ascii_digit() || c == '_');
        }
        self.accept("i");
        if self.peek().is_some_and(is_alphanumeric) {
            self.bump();
            return false;
        }
        true
    }

    fn rest(&self) -> &'t str {
        self.input.get(self.at..).unwrap_or_default()
    }

    fn pending(&self) -> &'t str {
        self.input.get(self.start..self.at).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn bump_while(&mut self, wanted: impl Fn(char) -> bool) {
        self.at += self.rest().chars().take_while(|c| wanted(*c)).map(char::len_utf8).sum::<usize>();
    }

    fn accept(&mut self, any_of: &str) -> bool {
        let accepted = self.peek().is_some_and(|c| any_of.contains(c));
        if accepted {
            self.bump();
        }
        accepted
    }

    /// `Some(whether it trims)` when the right delimiter lies ahead.
    fn at_right_delimiter(&self) -> Option<bool> {
        right_delimiter(self.rest())
    }

    /// Whether a word may end here: `$x+2` must be written with blanks.
    fn at_terminator(&self) -> bool {
        match self.peek() {
            None => true,
            Some(c) => is_space(c) || ".,|:)(".contains(c) || self.rest().starts_with(RIGHT),
        }
    }

    fn require_terminator(&mut self) -> Result<(), String> {
        match self.peek() {
            Some(c) if !self.at_terminator() => Err(format!("bad character {}", describe_char(c))),
            _ => Ok(()),
        }
    }

    fn emit(&mut self, kind: Kind) {
        self.push(kind, self.pending());
        self.skip_to(self.at);
    }

    fn push(&mut self, kind: Kind, text: &'t str) {
        let position = u32::try_from(self.start).unwrap_or(u32::MAX);
        self.tokens.push(Token { kind, text, position, line: self.line });
    }

    /// The next token begins at `to`.
    fn skip_to(&mut self, to: usize) {
        let skipped = self.input.as_bytes().get(self.start..to).unwrap_or_default();
        let newlines = skipped.iter().filter(|b| **b == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(newlines).unwrap_or(u32::MAX));
        self.start = to;
        self.at = to;
    }
}

/// A trim marker is a dash and the blank on its inner side.
fn marker_bytes(trims: bool) -> usize {
    if trims { 2 } else { 0 }
}

/// `Some(whether it trims)` when `rest` begins with the right delimiter.
fn right_delimiter(rest: &str) -> Option<bool> {
    if rest.starts_with(RIGHT) {
        return Some(false);
    }
    let after_dash = rest.strip_prefix(is_space)?.strip_prefix('-')?;
    after_dash.starts_with(RIGHT).then_some(true)
}

fn begins_with_left_trim(after_delimiter: &str) -> bool {
    after_delimiter.strip_prefix('-').is_some_and(|rest| rest.starts_with(is_space))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// A character as Go's `%#U` shows it.
fn describe_char(c: char) -> String {
    let code = format!("U+{:04X}", u32::from(c));
    if model::text::is_printable(c) { format!("{code} '{c}'") } else { code }
}

#[cfg(test)]
mod tests;
