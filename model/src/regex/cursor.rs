//! The position in a pattern, and the escapes that stand for one character.

use super::RegexError;

pub(super) const INVALID_ESCAPE: &str = "invalid escape sequence";
const TRAILING_BACKSLASH: &str = "trailing backslash at end of expression";

/// What of the pattern is not read yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) rest: &'a str,
    /// No `:]` follows, so that none has to be searched again.
    pub(super) no_posix_class: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(pattern: &'a str) -> Self {
        Self { rest: pattern, no_posix_class: false }
    }

    /// Skips `bytes`, which must end at a character.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.advance(c.len_utf8());
        Some(c)
    }

    pub(super) fn accept(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    pub(super) fn error(&self, reason: &'static str, part: &str) -> RegexError {
        RegexError { reason, part: part.to_owned() }
    }

    /// What was read since `start`.
    pub(super) fn since(&self, start: &'a str) -> &'a str {
        &start[..start.len() - self.rest.len()]
    }
}

/// Reads an escape that stands for one code point; the cursor stands at the backslash.
pub(super) fn escape(cursor: &mut Cursor<'_>) -> Result<u32, RegexError> {
    let start = cursor.rest;
    cursor.advance(1);
    let Some(c) = cursor.next() else { return Err(cursor.error(TRAILING_BACKSLASH, "")) };
    let code = match c {
        '1'..='7' if !cursor.rest.starts_with(|c: char| c.is_digit(8)) => None,
        '0'..='7' => Some(octal(cursor, c)),
        'x' => hexadecimal(cursor),
        'a' => Some(0x07),
        'f' => Some(0x0c),
        'n' => Some(0x0a),
        'r' => Some(0x0d),
        't' => Some(0x09),
        'v' => Some(0x0b),
        // Escaped punctuation stands for itself.
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(c as u32),
        _ => None,
    };
    code.ok_or_else(|| cursor.error(INVALID_ESCAPE, cursor.since(start)))
}

/// Up to three digits, the first of which was read.
fn octal(cursor: &mut Cursor<'_>, first: char) -> u32 {
    let mut code = first.to_digit(8).unwrap_or(0);
    for _ in 1..3 {
        let Some(digit) = cursor.rest.chars().next().and_then(|c| c.to_digit(8)) else { break };
        code = code * 8 + digit;
        cursor.advance(1);
    }
    code
}

/// Two digits, or any number of them in braces.
fn hexadecimal(cursor: &mut Cursor<'_>) -> Option<u32> {
    let first = cursor.next()?;
    if first != '{' {
        let high = first.to_digit(16);
        let low = cursor.next()?.to_digit(16);
        return Some(high? * 16 + low?);
    }
    let mut code = None;
    loop {
        let c = cursor.next()?;
        if c == '}' {
            return code;
        }
        let next = code.unwrap_or(0) * 16 + c.to_digit(16)?;
        code = Some(next).filter(|next| *next <= 0x0010_ffff);
        code?;
    }
}
