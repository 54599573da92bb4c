//! RE2's syntax, as Go's `regexp` accepts it, written in the syntax of the `regex-syntax` crate.
//!
//! The two differ where it matters to people who bring their rules along: in Go `\d`, `\w`, `\s` and `\b` know ASCII only;
//! `{`, `[`, `&&`, `--` and `~~` may stand for themselves; `\Q…\E` quotes; `\<` is a `<`. Flags that only the crate knows
//! are refused. What is left to the crate: balance of parentheses, repetitions, names of classes and groups.

use super::RegexError;
use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

/// Largest count in a repetition.
const REPEAT_MAX: u32 = 1_000;

/// The same expression in the syntax of the crate.
pub(super) fn translate(pattern: &str) -> Result<String, RegexError> {
    let out = String::with_capacity(pattern.len() + 16);
    let mut translator = Translator { rest: pattern.chars().peekable(), out, after_repetition: false };
    while let Some(c) = translator.rest.next() {
        let after_repetition = std::mem::take(&mut translator.after_repetition);
        match c {
            '\\' => translator.escape()?,
            '[' => translator.class()?,
            '(' => translator.group()?,
            '{' => translator.brace()?,
            '*' | '+' | '?' => {
                translator.out.push(c);
                translator.repetition();
            }
            c => translator.out.push(c),
        }
        if after_repetition && translator.after_repetition {
            return Err(RegexError::new(format!("invalid nested repetition operator: `{pattern}`")));
        }
    }
    Ok(translator.out)
}

struct Translator<'p> {
    rest: Peekable<Chars<'p>>,
    out: String,
    /// Whether the last thing was a repetition, which must not be repeated itself.
    after_repetition: bool,
}

/// What an escape sequence stands for.
enum Escape {
    Literal(char),
    /// Ranges of a class, and whether it is all but these.
    Class(&'static str, bool),
    /// A Unicode class as the crate writes it.
    Unicode(String),
}

impl Translator<'_> {
    /// Behind a backslash, outside of a class.
    fn escape(&mut self) -> Result<(), RegexError> {
        match self.rest.peek() {
            Some('Q') => {
                self.rest.next();
                self.quoted();
                return Ok(());
            }
            Some('b') => self.out.push_str(r"(?-u:\b)"),
            Some('B') => self.out.push_str(r"(?-u:\B)"),
            Some('A') => self.out.push_str(r"\A"),
            Some('z') => self.out.push_str(r"\z"),
            _ => {
                match self.escape_sequence()? {
                    Escape::Literal(c) => push_literal(&mut self.out, c),
                    Escape::Class(ranges, negated) => {
                        self.out.push_str(if negated { "[^" } else { "[" });
                        self.out.push_str(ranges);
                        self.out.push(']');
                    }
                    Escape::Unicode(class) => self.out.push_str(&class),
                }
                return Ok(());
            }
        }
        self.rest.next();
        Ok(())
    }

    /// `\Q`: everything up to `\E` or the end stands for itself.
    fn quoted(&mut self) {
        while let Some(c) = self.rest.next() {
            if c == '\\' && self.rest.peek() == Some(&'E') {
                self.rest.next();
                return;
            }
            push_literal(&mut self.out, c);
        }
    }

    /// Behind a backslash; sequences that are allowed in classes, too.
    fn escape_sequence(&mut self) -> Result<Escape, RegexError> {
        let Some(c) = self.rest.next() else { return Err(RegexError::new("trailing backslash at end of expression")) };
        Ok(match c {
            'd' | 'D' => Escape::Class("0-9", c == 'D'),
            'w' | 'W' => Escape::Class("0-9A-Za-z_", c == 'W'),
            's' | 'S' => Escape::Class(r"\t\n\x0c\r\x20", c == 'S'),
            'p' | 'P' => Escape::Unicode(self.unicode_class(c)?),
            'a' => Escape::Literal('\u{07}'),
            'f' => Escape::Literal('\u{0c}'),
            'n' => Escape::Literal('\n'),
            'r' => Escape::Literal('\r'),
            't' => Escape::Literal('\t'),
            'v' => Escape::Literal('\u{0b}'),
            'x' => Escape::Literal(self.hexadecimal()?),
            '0' => Escape::Literal(self.octal(0)),
            '1'..='7' if self.rest.peek().is_some_and(|next| next.is_digit(8)) => {
                Escape::Literal(self.octal(c.to_digit(8).unwrap_or(0)))
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Escape::Literal(c),
            c => return Err(RegexError::new(format!("invalid escape sequence: `\\{c}`"))),
        })
    }

    /// Up to two more octal digits.
    fn octal(&mut self, first: u32) -> char {
        let mut code = first;
        for _ in 0..2 {
            let Some(digit) = self.rest.peek().and_then(|c| c.to_digit(8)) else { break };
            code = code * 8 + digit;
            self.rest.next();
        }
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    /// `\x7F` or `\x{10FFFF}`, behind the `x`.
    fn hexadecimal(&mut self) -> Result<char, RegexError> {
        let invalid = || RegexError::new("invalid escape sequence: `\\x`");
        let digits = match self.rest.next_if_eq(&'{') {
            Some(_) => self.braced().ok_or_else(invalid)?,
            None => Some(self.rest.by_ref().take(2).collect()).filter(|d: &String| d.len() == 2).ok_or_else(invalid)?,
        };
        if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).ok_or_else(invalid)
    }

    /// Behind an opening brace: what stands before the closing one.
    fn braced(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            match self.rest.next()? {
                '}' => return Some(text),
                c => text.push(c),
            }
        }
    }

    /// `\pL`, `\p{Greek}`, `\p{^Greek}`, behind the `p`.
    fn unicode_class(&mut self, letter: char) -> Result<String, RegexError> {
        let invalid = || RegexError::new("invalid character class range: `\\p`");
        let name: String = match self.rest.next().ok_or_else(invalid)? {
            '{' => self.braced().ok_or_else(invalid)?,
            c => c.to_string(),
        };
        let (name, flipped) = name.strip_prefix('^').map_or((name.as_str(), false), |name| (name, true));
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(invalid());
        }
        let letter = if (letter == 'P') != flipped { 'P' } else { 'p' };
        Ok(if name == "Any" && letter == 'p' { r"[\x00-\x{10FFFF}]".into() } else { format!("\\{letter}{{{name}}}") })
    }

    /// Behind an opening bracket.
    fn class(&mut self) -> Result<(), RegexError> {
        let missing = || RegexError::new("missing closing ]");
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let c = self.rest.next().ok_or_else(missing)?;
            if c == ']' && !first {
                self.out.push(']');
                return Ok(());
            }
            first = false;
            if c == '[' && self.posix_class()? {
                continue;
            }
            let low = if c == '\\' { self.escape_sequence()? } else { Escape::Literal(c) };
            match low {
                Escape::Class(ranges, false) => self.out.push_str(ranges),
                Escape::Class(ranges, true) => {
                    // Writing to a text of the heap cannot fail.
                    let _ = write!(self.out, "[^{ranges}]");
                }
                Escape::Unicode(class) => self.out.push_str(&class),
                Escape::Literal(low) => self.range(low)?,
            }
        }
    }

    /// One character of a class, or a range that begins with it.
    fn range(&mut self, low: char) -> Result<(), RegexError> {
        push_literal(&mut self.out, low);
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('-') || ahead.peek().is_none_or(|next| *next == ']') {
            return Ok(());
        }
        self.rest.next();
        let high = match self.rest.next() {
            Some('\\') => match self.escape_sequence()? {
                Escape::Literal(high) => high,
                Escape::Class(..) | Escape::Unicode(_) => return Err(RegexError::new("invalid character class range")),
            },
            Some(high) => high,
            None => return Err(RegexError::new("missing closing ]")),
        };
        if high < low {
            return Err(RegexError::new(format!("invalid character class range: `{low}-{high}`")));
        }
        self.out.push('-');
        push_literal(&mut self.out, high);
        Ok(())
    }

    /// `[:alpha:]` or `[:^alpha:]` behind its first bracket; false when that bracket stands for itself.
    fn posix_class(&mut self) -> Result<bool, RegexError> {
        if self.rest.peek() != Some(&':') {
            return Ok(false);
        }
        let ahead: String = self.rest.clone().take(12).collect();
        let Some(end) = ahead.get(1..).and_then(|text| text.find(":]")) else { return Ok(false) };
        let name = ahead.get(1..=end).unwrap_or_default();
        const NAMES: [&str; 14] = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
            "word", "xdigit",
        ];
        if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(RegexError::new(format!("invalid character class range: `[:{name}:]`")));
        }
        let _ = write!(self.out, "[:{name}:]");
        self.rest.nth(name.len() + 2);
        Ok(true)
    }

    /// Behind an opening parenthesis: of the flags only those of Go.
    fn group(&mut self) -> Result<(), RegexError> {
        self.out.push('(');
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('?') {
            return Ok(());
        }
        let flags: String = ahead.take_while(|c| !matches!(c, ':' | ')' | '<')).collect();
        let is_name = flags == "P" || flags.is_empty();
        if !is_name && !flags.chars().all(|c| matches!(c, 'i' | 'm' | 's' | 'U' | '-')) {
            return Err(RegexError::new(format!("invalid or unsupported Perl syntax: `(?{flags}`")));
        }
        Ok(())
    }

    /// Behind a repetition, to which a question mark may belong.
    fn repetition(&mut self) {
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
        self.after_repetition = true;
    }

    /// Behind an opening brace, which stands for itself unless a repetition follows.
    fn brace(&mut self) -> Result<(), RegexError> {
        let ahead: String = self.rest.clone().take_while(|c| *c != '}').take(24).collect();
        let closed = self.rest.clone().nth(ahead.chars().count()) == Some('}');
        let (low, high) = ahead.split_once(',').unwrap_or((&ahead, &ahead));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !closed || !is_number(low) || !(high.is_empty() || is_number(high)) {
            self.out.push_str(r"\{");
            return Ok(());
        }
        let count = |text: &str| text.parse::<u32>().unwrap_or(u32::MAX);
        if count(low) > REPEAT_MAX || (!high.is_empty() && (count(high) > REPEAT_MAX || count(high) < count(low))) {
            return Err(RegexError::new(format!("invalid repeat count: `{{{ahead}}}`")));
        }
        self.out.push('{');
        self.out.extend(self.rest.by_ref().take(ahead.chars().count() + 1));
        self.repetition();
        Ok(())
    }
}

/// `c` so that it stands for itself inside and outside of classes.
fn push_literal(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() || !c.is_ascii() {
        out.push(c);
    } else {
        let _ = write!(out, "\\x{:02x}", u32::from(c));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Search;

    /// Whether `pattern` is found in `text`; `None` when it is refused.
    fn found(pattern: &str, text: &str) -> Option<bool> {
        Search::new(pattern).ok().map(|search| search.is_match(text))
    }

    #[test]
    fn perl_classes_are_ascii() {
        for (pattern, text, expected) in [
            (r"^\d$", "5", true),
            (r"^\d$", "٣", false),
            (r"^\w$", "é", false),
            (r"^\W$", "é", true),
            (r"^\s$", "\u{b}", false),
            (r"^\s$", "\u{a0}", false),
            (r"^[\d\s]$", " ", true),
            (r"^[^\D]$", "5", true),
            (r"^[\Wa]$", "a", true),
            (r"\bb", "éb", true),
            (r"^[[:alpha:]]$", "é", false),
            (r"^[[:^alpha:]]$", "é", true),
            (r"^\pL$", "é", true),
            (r"^\p{^L}$", "é", false),
            (r"^\P{Greek}$", "α", false),
            (r"(?i)^ü$", "Ü", true),
        ] {
            assert_eq!(found(pattern, text), Some(expected), "{pattern} {text}");
        }
    }

    #[test]
    fn characters_stand_for_themselves_where_go_lets_them() {
        for (pattern, text) in [
            ("a{", "a{"),
            ("a{,2}", "a{,2}"),
            ("a{x}", "a{x}"),
            ("}", "}"),
            ("^[[]$", "["),
            ("^[]a]$", "]"),
            ("^[a-]$", "-"),
            ("^[a&&b]$", "&"),
            ("^[a~~b]$", "~"),
            ("^[+--]$", ","),
            (r"\<\>\_", "<>_"),
            (r"^\Qa.b*[\E$", "a.b*["),
            (r"\Qa.", "a."),
            (r"^\101\0\x41\x{e9}$", "A\0Aé"),
            (r"^[\101-\x43]$", "B"),
            ("a#b c", "a#b c"),
        ] {
            assert_eq!(found(pattern, text), Some(true), "{pattern}");
        }
    }

    #[test]
    fn repetitions_and_groups_keep_their_meaning() {
        for (pattern, text, expected) in [
            ("^a{2}$", "aa", true),
            ("^a{2,}$", "aaa", true),
            ("^a{1,2}$", "aaa", false),
            ("^(?P<x>a|b)$", "b", true),
            ("^(?<x>a|b)$", "b", true),
            ("(?s)^a.b$", "a\nb", true),
            ("^a.b$", "a\nb", false),
            ("(?m)^b$", "a\nb", true),
            ("(?i:A)b", "ab", true),
        ] {
            assert_eq!(found(pattern, text), Some(expected), "{pattern} {text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for pattern in [
            "(",
            ")",
            "[",
            "[a",
            "[b-a]",
            "a**",
            "a{2}{3}",
            "a+?*",
            "a{2,1}",
            "a{1001}",
            "*",
            r"\",
            r"\1",
            r"\C",
            r"\Z",
            r"\y",
            "(?x)a b",
            "(?u)a",
            "(?=a)",
            "[[:foo:]]",
            r"\p{Foo}",
        ] {
            assert_eq!(found(pattern, ""), None, "{pattern}");
        }
    }
}
