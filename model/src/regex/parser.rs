//! RE2 syntax, as Go's `regexp/syntax` reads it, to the engine's intermediate form.
//!
//! Own parser rather than the engine's, since the two languages differ in what they accept and in what the same text
//! means. One pass with an explicit stack of open groups; what is built never nests deeper than [`DEPTH_MAX`].

use super::cursor::{Cursor, INVALID_ESCAPE, escape};
use super::{RegexError, class};
use regex_syntax::hir::{Capture, Class, ClassUnicode, Hir, Look, Repetition};
use std::collections::HashSet;

pub(super) const INVALID_RANGE: &str = "invalid character class range";
const INVALID_NAME: &str = "invalid named capture";
const INVALID_PERL: &str = "invalid or unsupported Perl syntax";
const INVALID_NESTED_REPEAT: &str = "invalid nested repetition operator";
const INVALID_REPEAT_COUNT: &str = "invalid repeat count";
const MISSING_PAREN: &str = "missing closing )";
const MISSING_REPEAT_ARGUMENT: &str = "missing argument to repetition operator";
pub(super) const TOO_LARGE: &str = "expression too large";
const NESTED_TOO_DEEPLY: &str = "expression nests too deeply";
const UNEXPECTED_PAREN: &str = "unexpected )";

/// How deep groups may nest.
const DEPTH_MAX: usize = 250;

/// The largest count of a repetition, and the largest product of counts of nested ones.
const REPEAT_MAX: u32 = 1000;

/// Ranges that all classes may have together.
const CLASS_RANGES_MAX: usize = 250_000;

/// A pattern that is valid RE2.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) hir: Hir,
    /// By number of the group; the first is the whole match.
    pub(super) capture_names: Vec<Option<String>>,
    /// Somewhere the case of letters is ignored.
    pub(super) folds_case: bool,
}

/// What a dot matches unless the pattern says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dot {
    AnyCharacter,
    NotNewline,
}

/// Parses a pattern.
pub(super) fn parse(pattern: &str, dot: Dot) -> Result<Parsed, RegexError> {
    Parser {
        pattern,
        cursor: Cursor::new(pattern),
        flags: Flags { fold_case: false, multi_line: false, dot_newline: dot == Dot::AnyCharacter, lazy: false },
        groups: vec![Group::default()],
        capture_names: vec![None],
        names_taken: HashSet::new(),
        folds_case: false,
        class_ranges: 0,
    }
    .run()
}

#[derive(Debug, Clone, Copy)]
struct Flags {
    fold_case: bool,
    /// `^` and `$` match at lines.
    multi_line: bool,
    dot_newline: bool,
    /// Repetitions take as little as possible.
    lazy: bool,
}

/// An item of a sequence, to which a repetition may apply.
#[derive(Debug)]
struct Piece {
    hir: Hir,
    /// The largest product of the counts of nested repetitions.
    copies: u32,
}

/// An open group, or the whole pattern.
#[derive(Debug, Default)]
struct Group {
    /// Number and name if it captures.
    capture: Option<(u32, Option<String>)>,
    /// Flags that hold again behind the group.
    outer_flags: Option<Flags>,
    /// Finished alternatives.
    alternatives: Vec<Hir>,
    /// The alternative being read, but for the characters in `text`.
    sequence: Vec<Piece>,
    /// The literal characters read last.
    text: String,
    /// [`Piece::copies`] of the finished alternatives.
    copies: u32,
}

struct Parser<'a> {
    pattern: &'a str,
    cursor: Cursor<'a>,
    flags: Flags,
    /// The innermost last; the first is the whole pattern.
    groups: Vec<Group>,
    capture_names: Vec<Option<String>>,
    names_taken: HashSet<&'a str>,
    folds_case: bool,
    class_ranges: usize,
}

impl<'a> Parser<'a> {
    fn run(mut self) -> Result<Parsed, RegexError> {
        let mut last_repeat = None;
        while let Some(c) = self.cursor.rest.chars().next() {
            let start = self.cursor.rest;
            let repeat = match c {
                '*' => Some((0, None)),
                '+' => Some((1, None)),
                '?' => Some((0, Some(1))),
                '{' => self.counted_repeat()?,
                _ => None,
            };
            if let Some((min, max)) = repeat {
                if c != '{' {
                    self.cursor.advance(1);
                }
                self.repeat(min, max, start, last_repeat)?;
                last_repeat = Some(start);
                continue;
            }
            last_repeat = None;
            self.item(c)?;
        }
        self.finish()
    }

    fn finish(mut self) -> Result<Parsed, RegexError> {
        let whole = self.groups.pop().unwrap_or_default();
        if !self.groups.is_empty() {
            return Err(self.cursor.error(MISSING_PAREN, self.pattern));
        }
        let hir = whole.close().hir;
        Ok(Parsed { hir, capture_names: self.capture_names, folds_case: self.folds_case })
    }

    /// Anything but a repetition.
    fn item(&mut self, c: char) -> Result<(), RegexError> {
        match c {
            '(' if self.cursor.rest.starts_with("(?") => self.perl_group()?,
            '(' => {
                self.cursor.advance(1);
                self.open_capture(None)?;
            }
            ')' => self.close()?,
            '|' => {
                self.cursor.advance(1);
                self.innermost().end_alternative();
            }
            '^' => self.push_look(1, if self.flags.multi_line { Look::StartLF } else { Look::Start }),
            '$' => self.push_look(1, if self.flags.multi_line { Look::EndLF } else { Look::End }),
            '.' => {
                self.cursor.advance(1);
                let newline = u32::from('\n');
                let mut any = class::range(0, newline - 1);
                any.union(&class::range(newline + 1, 0x0010_ffff));
                self.push_class(if self.flags.dot_newline { class::range(0, 0x0010_ffff) } else { any })?;
            }
            '[' => {
                let class = class::bracketed(&mut self.cursor, self.flags.fold_case)?;
                self.folds_case |= self.flags.fold_case;
                self.push_class(class)?;
            }
            '\\' => self.backslash()?,
            c => {
                self.cursor.advance(c.len_utf8());
                self.push_char(c as u32)?;
            }
        }
        Ok(())
    }

    fn innermost(&mut self) -> &mut Group {
        self.groups.last_mut().expect("the whole pattern is closed last")
    }

    fn push(&mut self, hir: Hir) {
        self.innermost().push(Piece { hir, copies: 1 });
    }

    fn push_class(&mut self, class: ClassUnicode) -> Result<(), RegexError> {
        self.class_ranges += class.ranges().len();
        if self.class_ranges > CLASS_RANGES_MAX.max(self.pattern.len()) {
            return Err(self.cursor.error(TOO_LARGE, self.pattern));
        }
        self.push(Hir::class(Class::Unicode(class)));
        Ok(())
    }

    fn push_look(&mut self, length: usize, look: Look) {
        self.cursor.advance(length);
        self.push(Hir::look(look));
    }

    fn push_char(&mut self, code: u32) -> Result<(), RegexError> {
        match char::from_u32(code) {
            Some(c) if !self.flags.fold_case => {
                self.innermost().text.push(c);
                Ok(())
            }
            _ => {
                self.folds_case |= self.flags.fold_case;
                self.push_class(class::fold(class::range(code, code)))
            }
        }
    }

    fn backslash(&mut self) -> Result<(), RegexError> {
        let text = self.cursor.rest;
        match text.as_bytes().get(1) {
            Some(b'A') => self.push_look(2, Look::Start),
            Some(b'z') => self.push_look(2, Look::End),
            Some(b'b') => self.push_look(2, Look::WordAscii),
            Some(b'B') => self.push_look(2, Look::WordAsciiNegate),
            Some(b'C') => return Err(self.cursor.error(INVALID_ESCAPE, "\\C")),
            Some(b'Q') => {
                let quoted = &text[2..];
                let (literal, rest) = quoted.split_once("\\E").unwrap_or((quoted, ""));
                self.cursor.rest = rest;
                literal.chars().try_for_each(|c| self.push_char(c as u32))?;
            }
            _ => {
                let fold_case = self.flags.fold_case;
                let class = match class::unicode(&mut self.cursor, fold_case)? {
                    Some(class) => Some(class),
                    None => class::perl(&mut self.cursor, fold_case),
                };
                let Some(class) = class else {
                    let code = escape(&mut self.cursor)?;
                    return self.push_char(code);
                };
                self.folds_case |= fold_case;
                self.push_class(class)?;
            }
        }
        Ok(())
    }

    fn open(&mut self, group: Group) -> Result<(), RegexError> {
        if self.groups.len() > DEPTH_MAX {
            return Err(self.cursor.error(NESTED_TOO_DEEPLY, self.pattern));
        }
        self.groups.push(group);
        Ok(())
    }

    fn open_capture(&mut self, name: Option<&'a str>) -> Result<(), RegexError> {
        let index = u32::try_from(self.capture_names.len()).unwrap_or(u32::MAX);
        // The engine wants names to be unique; the first group of a name has it.
        let unique = name.filter(|name| self.names_taken.insert(name));
        let capture = Some((index, unique.map(str::to_owned)));
        self.capture_names.push(name.map(str::to_owned));
        self.open(Group { capture, outer_flags: Some(self.flags), ..Group::default() })
    }

    fn close(&mut self) -> Result<(), RegexError> {
        self.cursor.advance(1);
        if self.groups.len() < 2 {
            return Err(self.cursor.error(UNEXPECTED_PAREN, self.pattern));
        }
        let Some(mut group) = self.groups.pop() else { return Ok(()) };
        self.flags = group.outer_flags.unwrap_or(self.flags);
        let capture = group.capture.take();
        let Piece { hir, copies } = group.close();
        let hir = match capture {
            Some((index, name)) => Hir::capture(Capture { index, name: name.map(Into::into), sub: Box::new(hir) }),
            None => hir,
        };
        self.innermost().push(Piece { hir, copies });
        Ok(())
    }

    /// `(?P<name>`, `(?<name>`, `(?i)`, `(?i:` and the like.
    fn perl_group(&mut self) -> Result<(), RegexError> {
        let text = self.cursor.rest;
        let name_at = match text.as_bytes() {
            [_, _, b'P', b'<', _, ..] => Some(4),
            [_, _, b'<', _, ..] => Some(3),
            _ => None,
        };
        if let Some(name_at) = name_at {
            let end = text.find('>').ok_or_else(|| self.cursor.error(INVALID_NAME, text))?;
            let name = text.get(name_at..end).unwrap_or_default();
            if name.is_empty() || !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
                return Err(self.cursor.error(INVALID_NAME, &text[..=end]));
            }
            self.cursor.advance(end + 1);
            return self.open_capture(Some(name));
        }
        self.cursor.advance(2);
        let outer_flags = self.flags;
        let (mut negative, mut flag_read) = (false, false);
        while let Some(c) = self.cursor.next() {
            match c {
                'i' => self.flags.fold_case = !negative,
                'm' => self.flags.multi_line = !negative,
                's' => self.flags.dot_newline = !negative,
                'U' => self.flags.lazy = !negative,
                '-' if !negative => {
                    (negative, flag_read) = (true, false);
                    continue;
                }
                ':' | ')' if !negative || flag_read => {
                    if c == ':' {
                        self.open(Group { outer_flags: Some(outer_flags), ..Group::default() })?;
                    }
                    return Ok(());
                }
                _ => break,
            }
            flag_read = true;
        }
        Err(self.cursor.error(INVALID_PERL, self.cursor.since(text)))
    }

    /// Reads `{2}`, `{2,}` or `{2,3}`; anything else is a literal brace.
    fn counted_repeat(&mut self) -> Result<Option<(u32, Option<u32>)>, RegexError> {
        let start = self.cursor.rest;
        let (min, rest) = leading_digits(&start[1..]);
        let (max, rest) = match rest.strip_prefix(',') {
            Some(rest) => leading_digits(rest),
            None => (min, rest),
        };
        let Some(rest) = rest.strip_prefix('}').filter(|_| is_count(min) && (max.is_empty() || is_count(max))) else {
            return Ok(None);
        };
        self.cursor.rest = rest;
        // What does not fit is too large in any case.
        let value = |digits: &str| digits.parse::<u32>().unwrap_or(u32::MAX);
        let (min, max) = (value(min), (!max.is_empty()).then(|| value(max)));
        if min > REPEAT_MAX || max.is_some_and(|max| max > REPEAT_MAX || max < min) {
            return Err(self.cursor.error(INVALID_REPEAT_COUNT, self.cursor.since(start)));
        }
        Ok(Some((min, max)))
    }

    /// Applies a repetition, just read, to the item before it.
    fn repeat(&mut self, min: u32, max: Option<u32>, start: &'a str, last: Option<&'a str>) -> Result<(), RegexError> {
        let lazy = self.flags.lazy ^ self.cursor.accept('?');
        if let Some(last) = last {
            return Err(self.cursor.error(INVALID_NESTED_REPEAT, self.cursor.since(last)));
        }
        let written = self.cursor.since(start);
        let Some(Piece { hir, copies }) = self.innermost().pop() else {
            return Err(self.cursor.error(MISSING_REPEAT_ARGUMENT, written));
        };
        let copies = match (start.starts_with('{'), max) {
            (false, _) => copies,
            // Nothing is left of it.
            (true, Some(0)) => 1,
            (true, max) => copies.saturating_mul(max.unwrap_or(min).max(1)),
        };
        if start.starts_with('{') && (min >= 2 || max.is_some_and(|max| max >= 2)) && copies > REPEAT_MAX {
            return Err(self.cursor.error(INVALID_REPEAT_COUNT, written));
        }
        let hir = Hir::repetition(Repetition { min, max, greedy: !lazy, sub: Box::new(hir) });
        self.innermost().push(Piece { hir, copies });
        Ok(())
    }
}

impl Group {
    fn push(&mut self, piece: Piece) {
        self.end_text();
        self.sequence.push(piece);
    }

    /// Takes the last piece back: what a repetition applies to.
    fn pop(&mut self) -> Option<Piece> {
        match self.text.pop() {
            Some(c) => Some(Piece { hir: Hir::literal(c.encode_utf8(&mut [0; 4]).as_bytes()), copies: 1 }),
            None => self.sequence.pop(),
        }
    }

    fn end_text(&mut self) {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            self.sequence.push(Piece { hir: Hir::literal(text.into_bytes()), copies: 1 });
        }
    }

    fn end_alternative(&mut self) {
        self.end_text();
        let pieces = std::mem::take(&mut self.sequence);
        self.copies = pieces.iter().map(|piece| piece.copies).fold(self.copies, u32::max);
        self.alternatives.push(Hir::concat(pieces.into_iter().map(|piece| piece.hir).collect()));
    }

    fn close(mut self) -> Piece {
        self.end_alternative();
        Piece { hir: Hir::alternation(self.alternatives), copies: self.copies.max(1) }
    }
}

/// Splits `text` behind its leading digits.
fn leading_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// A decimal number without leading zeros.
fn is_count(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
}
