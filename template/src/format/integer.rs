//! Integers in any base, and as characters.

use super::{Flags, pad};
use crate::limits::Bounded;
use crate::value::Integer;
use std::fmt::{self, Write};

/// Writes an integer. Zeros that a precision or the flag `0` asks for stand between the sign and prefix and the digits.
pub(super) fn push_integer(out: &mut Bounded, flags: &Flags, integer: Integer, base: u32, verb: char) -> fmt::Result {
    let blanks_only = Flags { zero: false, ..*flags };
    let negative = integer.is_signed() && integer.value() < 0;
    let magnitude = u64::try_from(integer.value().unsigned_abs()).unwrap_or(u64::MAX);
    let digits_min = match (flags.precision, flags.width) {
        (Some(0), _) if magnitude == 0 => return pad(out, &blanks_only, ""),
        (Some(precision), _) => precision,
        (None, Some(width)) if flags.zero && !flags.minus => {
            width.saturating_sub(usize::from(negative || flags.plus || flags.space))
        }
        _ => 0,
    };
    let digits = digits(magnitude, base, verb == 'X');
    let zeros = digits_min.saturating_sub(digits.len());
    let sign = match (negative, flags.plus, flags.space) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    };
    let starts_with_zero = zeros > 0 || digits.starts_with('0');
    let prefix = match base {
        _ if verb == 'O' => "0o",
        2 if flags.sharp => "0b",
        8 if flags.sharp && !starts_with_zero => "0",
        16 if flags.sharp && verb == 'X' => "0X",
        16 if flags.sharp => "0x",
        _ => "",
    };
    let length = sign.len() + prefix.len() + zeros + digits.len();
    let missing = flags.width.map_or(0, |width| width.saturating_sub(length));
    out.pad(' ', if flags.minus { 0 } else { missing })?;
    out.write_str(sign)?;
    out.write_str(prefix)?;
    out.pad('0', zeros)?;
    out.write_str(&digits)?;
    out.pad(' ', if flags.minus { missing } else { 0 })
}

fn digits(magnitude: u64, base: u32, upper: bool) -> String {
    match base {
        2 => format!("{magnitude:b}"),
        8 => format!("{magnitude:o}"),
        16 if upper => format!("{magnitude:X}"),
        16 => format!("{magnitude:x}"),
        _ => magnitude.to_string(),
    }
}

/// The character with this code; U+FFFD for what is none.
fn character(integer: Integer) -> char {
    u32::try_from(integer.value()).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

pub(super) fn push_char(out: &mut Bounded, flags: &Flags, integer: Integer) -> fmt::Result {
    pad(out, flags, character(integer).encode_utf8(&mut [0; 4]))
}

/// `'x'`, with escapes where needed.
pub(super) fn push_quoted_char(out: &mut Bounded, flags: &Flags, integer: Integer) -> fmt::Result {
    pad(out, flags, &super::text::quote_char(character(integer), flags.plus))
}

/// `U+0041`, with the flag `#` also `U+0041 'A'`.
pub(super) fn push_unicode(out: &mut Bounded, flags: &Flags, integer: Integer) -> fmt::Result {
    let digits = flags.precision.unwrap_or(0).max(4);
    let mut text = format!("U+{:0digits$X}", integer.bits());
    if let Some(c) = u32::try_from(integer.bits()).ok().and_then(char::from_u32)
        && flags.sharp
        && model::text::is_printable(c)
    {
        text.push_str(&format!(" '{c}'"));
    }
    pad(out, &Flags { zero: false, ..*flags }, &text)
}
