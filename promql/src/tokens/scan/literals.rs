//! Numbers, durations and strings: where they end, and whether their escapes exist. What they stand for is read later.

use super::{Scanned, Scanner, is_alphanumeric};
use crate::tokens::{TokenError, TokenKind};
use model::text::quote;

impl Scanner<'_> {
    pub(super) fn number_or_duration(&mut self, start: usize) -> Scanned {
        if self.number() {
            return Ok(Some(TokenKind::Number));
        }
        if self.rest_of_duration() {
            return Ok(Some(TokenKind::Duration));
        }
        let text = quote(&self.query[start..self.at]);
        Err(self.error(start, format!("bad number or duration syntax: {text}")))
    }

    /// Consumes what looks like a number and tells whether it ends there. Whether it is one is seen when it is read.
    fn number(&mut self) -> bool {
        let hexadecimal = self.accept(b"0") && self.accept(b"xX");
        if hexadecimal {
            self.accept(b"_");
        }
        let digits: &[u8] = if hexadecimal { b"0123456789abcdefABCDEF" } else { b"0123456789" };
        self.accept(b".");
        self.accept(digits);
        let mut dot_read = false;
        let mut exponent_read = false;
        loop {
            match self.peek() {
                Some(b'.') => {
                    let refused = dot_read || hexadecimal;
                    self.at += 1;
                    if refused || self.accept(b"_.") {
                        return false;
                    }
                    dot_read = true;
                }
                // Also a digit of a hexadecimal number; Prometheus reads it as one only inside a run of digits.
                Some(b'e' | b'E') => {
                    self.at += 1;
                    if exponent_read {
                        return false;
                    }
                    exponent_read = true;
                    self.accept(b"+-");
                    if self.accept(b"._eE") || self.peek().is_none() {
                        return false;
                    }
                }
                Some(b'_') => {
                    self.at += 1;
                    if self.accept(b"._eE") || self.peek().is_none() {
                        return false;
                    }
                }
                Some(byte) if digits.contains(&byte) => self.accept_while(|byte| digits.contains(&byte)),
                next => return !next.is_some_and(is_alphanumeric),
            }
        }
    }

    /// Consumes the units and further numbers of a duration whose first number was consumed.
    fn rest_of_duration(&mut self) -> bool {
        if !self.accept(b"smhdwy") {
            return false;
        }
        self.accept(b"s");
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.accept_while(|byte| byte.is_ascii_digit());
            if !self.accept(b"smhdw") {
                return false;
            }
            self.accept(b"s");
        }
        let ended = !self.peek().is_some_and(is_alphanumeric);
        self.at += usize::from(!ended);
        ended
    }

    pub(super) fn raw_string(&mut self, start: usize) -> Scanned {
        while let Some(c) = self.peek_char() {
            self.at += c.len_utf8();
            match c {
                '`' => return Ok(Some(TokenKind::String)),
                char::REPLACEMENT_CHARACTER => return Err(self.error(start, "invalid UTF-8 rune")),
                _ => {}
            }
        }
        Err(self.error(start, "unterminated raw string"))
    }

    /// A string in `"` or `'`; the opening quote is consumed.
    pub(super) fn string(&mut self, start: usize, quote: char) -> Scanned {
        while let Some(c) = self.peek_char() {
            self.at += c.len_utf8();
            match c {
                '\n' => break,
                '\\' => self.escape(start, quote)?,
                char::REPLACEMENT_CHARACTER => return Err(self.error(start, "invalid UTF-8 rune")),
                c if c == quote => return Ok(Some(TokenKind::String)),
                _ => {}
            }
        }
        Err(self.error(start, "unterminated quoted string"))
    }

    /// Checks an escape; the backslash is consumed.
    fn escape(&mut self, start: usize, quote: char) -> Result<(), TokenError> {
        let unterminated = "escape sequence not terminated";
        let Some(c) = self.peek_char() else { return Err(self.error(start, unterminated)) };
        let (digits, base, value_max) = match c {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => (0, 0, 0),
            c if c == quote => (0, 0, 0),
            '0'..='7' => (3, 8, 0xff),
            'x' => (2, 16, 0xff),
            'u' => (4, 16, 0x0010_ffff),
            'U' => (8, 16, 0x0010_ffff),
            c => return Err(self.error(start, format!("unknown escape sequence {}", name_char(c)))),
        };
        if base != 8 {
            self.at += c.len_utf8();
        }
        let mut value: u64 = 0;
        for _ in 0..digits {
            let Some(c) = self.peek_char() else { return Err(self.error(start, unterminated)) };
            let Some(digit) = c.to_digit(base) else {
                return Err(self.error(start, format!("illegal character {} in escape sequence", name_char(c))));
            };
            self.at += 1;
            value = value * u64::from(base) + u64::from(digit);
        }
        if value > value_max || (0xd800..0xe000).contains(&value) {
            return Err(self.error(start, "escape sequence is an invalid Unicode code point"));
        }
        Ok(())
    }
}

/// `U+0041 'A'`
fn name_char(c: char) -> String {
    if c.is_control() { format!("U+{:04X}", c as u32) } else { format!("U+{:04X} '{c}'", c as u32) }
}
