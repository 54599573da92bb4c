//! Floats: shortest text that reads back the same, or any number of digits, exact.

use super::{Flags, pad};
use crate::limits::Bounded;
use std::fmt::{self, Write};

/// How a float is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FloatVerb {
    /// `%e`, `%E`: `1.5e+06`. True for upper case.
    Exponent(bool),
    /// `%f`: `1500000`.
    Decimal,
    /// `%g`, `%G`, `%v`: decimal for moderate exponents. True for upper case.
    General(bool),
    /// `%x`, `%X`: `0x1.8p+01`. True for upper case.
    Hexadecimal(bool),
    /// `%b`: `6755399441055744p-32`.
    Binary,
}

impl FloatVerb {
    pub(super) fn of(verb: char) -> Option<Self> {
        Some(match verb {
            'e' | 'E' => Self::Exponent(verb == 'E'),
            'f' | 'F' => Self::Decimal,
            'g' | 'G' | 'v' => Self::General(verb == 'G'),
            'x' | 'X' => Self::Hexadecimal(verb == 'X'),
            'b' => Self::Binary,
            _ => return None,
        })
    }

    fn default_precision(self) -> Option<usize> {
        match self {
            Self::Exponent(_) | Self::Decimal => Some(6),
            Self::General(_) | Self::Hexadecimal(_) | Self::Binary => None,
        }
    }
}

/// No float has more digits behind the point than this; further ones are zeros.
const DIGITS_MAX: usize = 1_100;

/// Writes a float under flags.
pub(super) fn push_float(out: &mut Bounded, flags: &Flags, value: f64, verb: FloatVerb) -> fmt::Result {
    let precision = flags.precision.or(verb.default_precision());
    let mut text = format_float(value, verb, precision);
    if !value.is_finite() {
        return push_infinity_or_nan(out, flags, &text);
    }
    let negative = text.starts_with('-');
    if negative {
        text.remove(0);
    }
    if flags.sharp && verb != FloatVerb::Binary {
        text = with_point_and_zeros(&text, verb, precision);
    }
    let sign = match (negative, flags.plus, flags.space) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    };
    let (digits, exponent) = split_exponent(&text, verb);
    // What a precision asks for beyond the digits of any float, which only some forms show.
    let zeros = match verb {
        FloatVerb::Exponent(_) | FloatVerb::Decimal => precision.map_or(0, |p| p.saturating_sub(DIGITS_MAX)),
        FloatVerb::General(_) | FloatVerb::Hexadecimal(_) | FloatVerb::Binary => 0,
    };
    let length = sign.len() + digits.len() + zeros + exponent.len();
    let missing = flags.width.map_or(0, |width| width.saturating_sub(length));
    let (left, inner, right) = match (flags.minus, flags.zero) {
        (true, _) => (0, 0, missing),
        (false, true) => (0, missing, 0),
        (false, false) => (missing, 0, 0),
    };
    out.pad(' ', left)?;
    out.write_str(sign)?;
    out.pad('0', inner)?;
    out.write_str(digits)?;
    out.pad('0', zeros)?;
    out.write_str(exponent)?;
    out.pad(' ', right)
}

/// `+Inf` always has its sign, unless a blank stands for it; `NaN` has one if it is asked for. Zeros never pad.
fn push_infinity_or_nan(out: &mut Bounded, flags: &Flags, text: &str) -> fmt::Result {
    let name = text.trim_start_matches(['+', '-']);
    let sign = match text.chars().next() {
        Some('-') => "-",
        _ if flags.plus => "+",
        _ if flags.space => " ",
        Some('+') => "+",
        _ => "",
    };
    pad(out, &Flags { zero: false, ..*flags }, &format!("{sign}{name}"))
}

fn split_exponent(text: &str, verb: FloatVerb) -> (&str, &str) {
    let marker = match verb {
        FloatVerb::Exponent(false) | FloatVerb::General(false) => 'e',
        FloatVerb::Exponent(true) | FloatVerb::General(true) => 'E',
        FloatVerb::Hexadecimal(false) => 'p',
        FloatVerb::Hexadecimal(true) => 'P',
        FloatVerb::Decimal | FloatVerb::Binary => return (text, ""),
    };
    text.split_at(text.find(marker).unwrap_or(text.len()))
}

/// The flag `#`: a decimal point always, and with `%g` and `%x` the zeros that were cut.
fn with_point_and_zeros(text: &str, verb: FloatVerb, precision: Option<usize>) -> String {
    let (digits, tail) = split_exponent(text, verb);
    let wanted = match verb {
        FloatVerb::General(_) | FloatVerb::Hexadecimal(_) => precision.unwrap_or(6),
        FloatVerb::Exponent(_) | FloatVerb::Decimal | FloatVerb::Binary => 0,
    };
    let significant = digits.chars().filter(|c| *c != '.').skip_while(|c| *c == '0').count();
    let lone_zero = usize::from(digits == "0");
    let point = if digits.contains('.') { "" } else { "." };
    let zeros = wanted.saturating_sub(significant + lone_zero).min(DIGITS_MAX);
    format!("{digits}{point}{}{tail}", "0".repeat(zeros))
}

/// A float as text; without precision the shortest that reads back the same. Digits beyond [`DIGITS_MAX`] are left out.
pub(crate) fn format_float(value: f64, verb: FloatVerb, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let precision = precision.map(|p| p.min(DIGITS_MAX));
    let text = match verb {
        FloatVerb::Exponent(_) => exponent_form(value, precision),
        FloatVerb::Decimal => precision.map_or_else(|| model::text::format_plain(value), |p| format!("{value:.p$}")),
        FloatVerb::General(_) => general_form(value, precision),
        FloatVerb::Hexadecimal(_) => hexadecimal_form(value, precision),
        FloatVerb::Binary => binary_form(value),
    };
    let upper = matches!(verb, FloatVerb::Exponent(true) | FloatVerb::General(true) | FloatVerb::Hexadecimal(true));
    if upper { text.to_ascii_uppercase() } else { text }
}

/// Digits with one before the point, and the exponent.
fn scientific(value: f64, precision: Option<usize>) -> (String, i32) {
    let text = match precision {
        Some(precision) => format!("{value:.precision$e}"),
        None => return shortest(value),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (mantissa.to_owned(), exponent.parse().unwrap_or(0))
}

/// The shortest digits that read back the same: of two that are equally near, Go's choice.
fn shortest(value: f64) -> (String, i32) {
    let text = model::text::format_value(value);
    let (sign, unsigned) = text.strip_prefix('-').map_or(("", text.as_str()), |unsigned| ("-", unsigned));
    let (decimal, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let all = [whole, fraction].concat();
    let significant = all.trim_start_matches('0');
    let leading_zeros = all.len() - significant.len();
    let digits = significant.trim_end_matches('0');
    let Some((first, rest)) = digits.split_at_checked(1) else { return (format!("{sign}0"), 0) };
    let point = if rest.is_empty() { "" } else { "." };
    let exponent = exponent.parse().unwrap_or(0) + whole.len() as i32 - 1 - leading_zeros as i32;
    (format!("{sign}{first}{point}{rest}"), exponent)
}

fn exponent_form(value: f64, precision: Option<usize>) -> String {
    let (mantissa, exponent) = scientific(value, precision);
    with_exponent(&mantissa, 'e', exponent)
}

/// The exponent has a sign and two digits at least.
fn with_exponent(mantissa: &str, marker: char, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}{marker}{sign}{:02}", exponent.unsigned_abs())
}

/// `precision` counts significant digits; trailing zeros are cut.
fn general_form(value: f64, precision: Option<usize>) -> String {
    let (mantissa, exponent) = scientific(value, precision.map(|p| p.max(1) - 1));
    let mantissa =
        if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { &mantissa };
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count() as i64;
    let exponent_limit = match precision {
        None => 6,
        Some(precision) => {
            let precision = precision.max(1) as i64;
            if precision > digits && digits > i64::from(exponent) { digits } else { precision }
        }
    };
    if exponent < -4 || i64::from(exponent) >= exponent_limit {
        return with_exponent(mantissa, 'e', exponent);
    }
    if precision.is_none() {
        return model::text::format_plain(value);
    }
    let decimals = usize::try_from(digits - 1 - i64::from(exponent)).unwrap_or(0);
    format!("{value:.decimals$}")
}

/// Bits of a float's mantissa behind its leading one.
const FRACTION_BITS: u32 = 52;

/// Sign, mantissa of 53 bits at most, and the exponent of the mantissa's highest place.
fn parts(value: f64) -> (bool, u64, i32) {
    let bits = value.to_bits();
    let fraction = bits & ((1 << FRACTION_BITS) - 1);
    match i32::try_from(bits >> FRACTION_BITS & 0x7ff).unwrap_or(0) {
        0 => (value.is_sign_negative(), fraction, -1022),
        exponent => (value.is_sign_negative(), fraction | 1 << FRACTION_BITS, exponent - 1023),
    }
}

fn hexadecimal_form(value: f64, precision: Option<usize>) -> String {
    let (negative, mut mantissa, mut exponent) = parts(value);
    if mantissa == 0 {
        exponent = 0;
    } else {
        let shift = mantissa.leading_zeros() - (63 - FRACTION_BITS);
        mantissa <<= shift;
        exponent -= shift as i32;
    }
    if let Some(precision) = precision.filter(|p| *p < 13) {
        // Round to this many digits behind the point, ties to even.
        let dropped = FRACTION_BITS - 4 * precision as u32;
        let (kept, remainder, half) = (mantissa >> dropped, mantissa & ((1 << dropped) - 1), 1 << (dropped - 1));
        let up = remainder > half || (remainder == half && kept & 1 == 1);
        mantissa = (kept + u64::from(up)) << dropped;
        if mantissa >> (FRACTION_BITS + 1) != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let fraction = format!("{:013x}", mantissa & ((1 << FRACTION_BITS) - 1));
    let fraction = match precision {
        None => fraction.trim_end_matches('0').to_owned(),
        Some(precision) if precision < 13 => fraction.get(..precision).unwrap_or_default().to_owned(),
        Some(precision) => fraction + &"0".repeat(precision - 13),
    };
    let (sign, lead) = (if negative { "-" } else { "" }, mantissa >> FRACTION_BITS);
    let point = if fraction.is_empty() { "" } else { "." };
    with_exponent(&format!("{sign}0x{lead}{point}{fraction}"), 'p', exponent)
}

fn binary_form(value: f64) -> String {
    let (negative, mantissa, exponent) = parts(value);
    let (sign, exponent) = (if negative { "-" } else { "" }, exponent - FRACTION_BITS as i32);
    format!("{sign}{mantissa}p{exponent:+}")
}
