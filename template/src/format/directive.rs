//! The format text of `printf`: `%[index]flags width.precision verb`.

use super::Flags;
use super::printer::Printer;
use crate::limits::Bounded;
use crate::value::Value;
use std::fmt::{self, Write};

/// Largest width and precision; beyond it a number counts as absent.
const NUMBER_MAX: i128 = 1_000_000;

/// Writes `arguments` in the form of `format`.
pub(crate) fn printf(out: &mut Bounded, format: &str, arguments: &[Value]) -> fmt::Result {
    let mut cursor =
        Cursor { rest: format, arguments, next: 0, reordered: false, index_is_good: true, after_index: false };
    while let Some(percent) = cursor.rest.find('%') {
        let (literal, directive) = cursor.rest.split_at(percent);
        out.write_str(literal)?;
        cursor.rest = directive.get(1..).unwrap_or_default();
        cursor.directive(out)?;
    }
    out.write_str(cursor.rest)?;
    cursor.surplus(out)
}

struct Cursor<'a> {
    rest: &'a str,
    arguments: &'a [Value],
    /// Index of the next argument to print.
    next: usize,
    /// Some directive chose its argument, so that nobody can say which are surplus.
    reordered: bool,
    /// Whether the current directive's choice exists.
    index_is_good: bool,
    /// Whether a choice has just been read.
    after_index: bool,
}

impl Cursor<'_> {
    /// One directive, behind its percent sign.
    fn directive(&mut self, out: &mut Bounded) -> fmt::Result {
        self.index_is_good = true;
        self.after_index = false;
        let mut flags = self.flags();
        self.argument_index();
        self.width(out, &mut flags)?;
        self.precision(out, &mut flags)?;
        if !self.after_index {
            self.argument_index();
        }
        let Some(verb) = self.rest.chars().next() else { return out.write_str("%!(NOVERB)") };
        self.rest = self.rest.get(verb.len_utf8()..).unwrap_or_default();
        if verb == '%' {
            return out.write_char('%');
        }
        if !self.index_is_good {
            return write!(out, "%!{verb}(BADINDEX)");
        }
        let Some(argument) = self.arguments.get(self.next) else { return write!(out, "%!{verb}(MISSING)") };
        self.next += 1;
        if verb == 'v' {
            flags.sharp_v = std::mem::take(&mut flags.sharp);
            flags.plus_v = std::mem::take(&mut flags.plus);
        }
        Printer::new(out, flags).argument(argument, verb)
    }

    fn flags(&mut self) -> Flags {
        let mut flags = Flags::default();
        loop {
            match self.rest.as_bytes().first() {
                Some(b'#') => flags.sharp = true,
                Some(b'0') => flags.zero = true,
                Some(b'+') => flags.plus = true,
                Some(b'-') => flags.minus = true,
                Some(b' ') => flags.space = true,
                _ => return flags,
            }
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
    }

    /// `[2]`: the next argument is the second one.
    fn argument_index(&mut self) {
        self.after_index = false;
        let Some(inner) = self.rest.strip_prefix('[') else { return };
        self.reordered = true;
        let Some(close) = inner.find(']') else {
            self.index_is_good = false;
            self.rest = inner;
            return;
        };
        let number = inner.get(..close).unwrap_or_default();
        self.rest = inner.get(close + 1..).unwrap_or_default();
        let position = bounded_number(number).filter(|_| !number.is_empty());
        self.after_index = position.is_some();
        match position.and_then(|n| n.checked_sub(1)).filter(|index| *index < self.arguments.len()) {
            Some(index) => self.next = index,
            None => self.index_is_good = false,
        }
    }

    fn width(&mut self, out: &mut Bounded, flags: &mut Flags) -> fmt::Result {
        if self.take_star() {
            match self.integer_argument() {
                Some(width) => {
                    flags.width = usize::try_from(width.unsigned_abs()).ok();
                    if width < 0 {
                        flags.minus = true;
                        flags.zero = false;
                    }
                }
                None => out.write_str("%!(BADWIDTH)")?,
            }
            self.after_index = false;
            return Ok(());
        }
        flags.width = self.number();
        if self.after_index && flags.width.is_some() {
            self.index_is_good = false; // The index belongs behind the width.
        }
        Ok(())
    }

    fn precision(&mut self, out: &mut Bounded, flags: &mut Flags) -> fmt::Result {
        // A dot at the very end is no precision but the verb.
        let Some(after_dot) = self.rest.strip_prefix('.').filter(|rest| !rest.is_empty()) else { return Ok(()) };
        self.rest = after_dot;
        if self.after_index {
            self.index_is_good = false;
        }
        self.argument_index();
        if self.take_star() {
            let argument = self.integer_argument();
            flags.precision = argument.and_then(|precision| usize::try_from(precision).ok());
            if flags.precision.is_none() {
                out.write_str("%!(BADPREC)")?;
            }
            self.after_index = false;
        } else {
            flags.precision = Some(self.number().unwrap_or(0));
        }
        Ok(())
    }

    fn take_star(&mut self) -> bool {
        let after = self.rest.strip_prefix('*');
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// The next argument as a width or precision.
    fn integer_argument(&mut self) -> Option<i128> {
        let argument = self.arguments.get(self.next)?;
        self.next += 1;
        match argument {
            Value::Integer(integer) => Some(integer.value()).filter(|n| n.abs() <= NUMBER_MAX),
            _ => None,
        }
    }

    /// Decimal digits; a number that is too large swallows the rest of the format, as it does in Go.
    fn number(&mut self) -> Option<usize> {
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        let (number, after) = self.rest.split_at(digits);
        let parsed = bounded_number(number);
        self.rest = if parsed.is_some() { after } else { "" };
        parsed
    }

    /// What no directive printed.
    fn surplus(&self, out: &mut Bounded) -> fmt::Result {
        let surplus = self.arguments.get(self.next..).unwrap_or_default();
        if self.reordered || surplus.is_empty() {
            return Ok(());
        }
        out.write_str("%!(EXTRA ")?;
        for (i, argument) in surplus.iter().enumerate() {
            if i > 0 {
                out.write_str(", ")?;
            }
            if argument.is_nil() {
                out.write_str("<nil>")?;
            } else {
                write!(out, "{}=", argument.type_name())?;
                Printer::new(out, Flags::default()).argument(argument, 'v')?;
            }
        }
        out.write_char(')')
    }
}

/// A number up to about ten times the largest: Go looks only before it reads another digit.
fn bounded_number(digits: &str) -> Option<usize> {
    let mut number: usize = 0;
    for digit in digits.bytes() {
        if !digit.is_ascii_digit() || number > NUMBER_MAX as usize {
            return None;
        }
        number = number * 10 + usize::from(digit - b'0');
    }
    Some(number)
}
