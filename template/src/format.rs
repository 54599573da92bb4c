//! Values as text, after Go's package `fmt`: `print`, `println`, `printf`.
//!
//! Wrong verbs and missing arguments are no errors but show in the text, as in Go. Pointers inside of lists, maps and
//! structures print as what they point to, where Go prints their addresses.

mod directive;
mod float;
mod integer;
mod printer;
mod text;

pub(crate) use directive::printf;
pub(crate) use float::{FloatVerb, format_float};

use crate::limits::Bounded;
use crate::value::Value;
use printer::Printer;
use std::fmt::{self, Write};

/// How one directive such as `%-08.3f` modifies its verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Flags {
    width: Option<usize>,
    precision: Option<usize>,
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    /// `%+v`: structures with the names of their fields.
    plus_v: bool,
    /// `%#v`: Go syntax.
    sharp_v: bool,
}

/// Writes the arguments with a blank between two that are no texts.
pub(crate) fn print(out: &mut Bounded, arguments: &[Value]) -> fmt::Result {
    let mut after_text = true;
    for argument in arguments {
        let is_text = matches!(argument, Value::String(_));
        if !is_text && !after_text {
            out.write_char(' ')?;
        }
        Printer::new(out, Flags::default()).argument(argument, 'v')?;
        after_text = is_text;
    }
    Ok(())
}

/// Writes the arguments with a blank between any two, and the end of the line.
pub(crate) fn println(out: &mut Bounded, arguments: &[Value]) -> fmt::Result {
    for (i, argument) in arguments.iter().enumerate() {
        if i > 0 {
            out.write_char(' ')?;
        }
        Printer::new(out, Flags::default()).argument(argument, 'v')?;
    }
    out.write_char('\n')
}

/// One value as the simple directive `%verb` prints it, unless that takes more than `bytes_max` bytes.
pub(crate) fn text(value: &Value, verb: char, bytes_max: usize) -> Option<String> {
    let mut out = Bounded::new(bytes_max);
    Printer::new(&mut out, Flags::default()).argument(value, verb).ok()?;
    Some(out.into_text())
}

/// Writes `text` padded to the width: with blanks, or on the left with zeros if they are asked for.
fn pad(out: &mut Bounded, flags: &Flags, text: &str) -> fmt::Result {
    let missing = flags.width.map_or(0, |width| width.saturating_sub(text.chars().count()));
    if flags.minus {
        out.write_str(text)?;
        return out.pad(' ', missing);
    }
    out.pad(if flags.zero { '0' } else { ' ' }, missing)?;
    out.write_str(text)
}
