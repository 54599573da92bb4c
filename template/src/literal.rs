//! Literals as Go writes them: quoted strings, character constants, integers and floats.
//!
//! Pure text conversion after Go's `strconv`. One difference: our texts are UTF-8, so that bytes which escapes such as
//! `\xff` put together to something else become U+FFFD, one for each byte.

/// A numeric literal under every type that can hold it; what it becomes depends on where it is used.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Number {
    pub(crate) text: String,
    pub(crate) int: Option<i64>,
    pub(crate) uint: Option<u64>,
    pub(crate) float: Option<f64>,
}

impl Number {
    /// Converts a number token.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.ends_with('i') {
            return Err(format!("complex constants are not supported: {text}"));
        }
        let mut number = Self { text: text.to_owned(), int: None, uint: None, float: None };
        let integer = parse_integer(text);
        number.uint = integer.filter(|_| !text.starts_with(['+', '-'])).and_then(|i| u64::try_from(i).ok());
        number.int = integer.and_then(|i| i64::try_from(i).ok());
        if number.int == Some(0) {
            number.uint = Some(0);
        }
        if let Some(int) = number.int {
            number.float = Some(int as f64);
        } else if let Some(uint) = number.uint {
            number.float = Some(uint as f64);
        } else if let Ok(float) = parse_float(text) {
            if !text.contains(['.', 'e', 'E', 'p', 'P']) {
                return Err(format!("integer overflow: {}", model::text::quote(text)));
            }
            number.float = Some(float);
            number.int = Some(float as i64).filter(|int| *int as f64 == float && *int != i64::MAX);
            number.uint = Some(float as u64).filter(|uint| *uint as f64 == float && *uint != u64::MAX);
        } else {
            return Err(format!("illegal number syntax: {}", model::text::quote(text)));
        }
        Ok(number)
    }

    /// Converts a character constant, quotes included.
    pub(crate) fn parse_char(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('\'').unwrap_or(text);
        let (unquoted, rest) = unquote_char(inner, '\'').ok_or("invalid syntax")?;
        if rest != "'" {
            return Err(format!("malformed character constant: {text}"));
        }
        let code = match unquoted {
            Unquoted::Byte(byte) => u32::from(byte),
            Unquoted::Char(c) => u32::from(c),
        };
        Ok(Self {
            text: text.to_owned(),
            int: Some(i64::from(code)),
            uint: Some(u64::from(code)),
            float: Some(f64::from(code)),
        })
    }

    /// Whether the literal is a float wherever no type is asked for.
    pub(crate) fn is_float_literal(&self) -> bool {
        let hexadecimal_integer =
            (self.text.starts_with("0x") || self.text.starts_with("0X")) && !self.text.contains(['p', 'P']);
        self.float.is_some()
            && !hexadecimal_integer
            && !self.text.starts_with('\'')
            && self.text.contains(['.', 'e', 'E', 'p', 'P'])
    }
}

/// The text of a string token, quotes included.
pub(crate) fn unquote(token: &str) -> Result<String, String> {
    let invalid = || "invalid syntax".to_owned();
    if let Some(raw) = token.strip_prefix('`') {
        let raw = raw.strip_suffix('`').ok_or_else(invalid)?;
        return Ok(raw.replace('\r', ""));
    }
    let mut rest = token.strip_prefix('"').and_then(|t| t.strip_suffix('"')).ok_or_else(invalid)?;
    let mut bytes = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let (unquoted, after) = unquote_char(rest, '"').ok_or_else(invalid)?;
        match unquoted {
            Unquoted::Byte(byte) => bytes.push(byte),
            Unquoted::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = after;
    }
    Ok(text_from_bytes(&bytes))
}

/// `bytes` as text, with U+FFFD for every byte that belongs to no character.
pub(crate) fn text_from_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(std::iter::repeat_n(char::REPLACEMENT_CHARACTER, chunk.invalid().len()));
    }
    text
}

enum Unquoted {
    Byte(u8),
    Char(char),
}

/// The first character of a quoted text, and what follows it.
fn unquote_char(text: &str, quote: char) -> Option<(Unquoted, &str)> {
    let mut chars = text.chars();
    let first = chars.next()?;
    if first == quote || first == '\n' {
        return None;
    }
    if first != '\\' {
        return Some((Unquoted::Char(first), chars.as_str()));
    }
    let escape = chars.next()?;
    let rest = chars.as_str();
    let simple = match escape {
        'a' => '\u{07}',
        'b' => '\u{08}',
        'f' => '\u{0c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{0b}',
        '\\' => '\\',
        '\'' | '"' if escape == quote => quote,
        'x' => {
            return code(rest, 2, 16).and_then(|(code, rest)| Some((Unquoted::Byte(u8::try_from(code).ok()?), rest)));
        }
        'u' => return code(rest, 4, 16).and_then(|(code, rest)| Some((Unquoted::Char(char::from_u32(code)?), rest))),
        'U' => return code(rest, 8, 16).and_then(|(code, rest)| Some((Unquoted::Char(char::from_u32(code)?), rest))),
        '0'..='7' => {
            let digits = text.get(1..).unwrap_or_default();
            return code(digits, 3, 8).and_then(|(code, rest)| Some((Unquoted::Byte(u8::try_from(code).ok()?), rest)));
        }
        _ => return None,
    };
    Some((Unquoted::Char(simple), rest))
}

/// A number of exactly `length` digits at the beginning of `text`, and what follows it.
fn code(text: &str, length: usize, radix: u32) -> Option<(u32, &str)> {
    let digits = text.get(..length).filter(|digits| digits.chars().all(|c| c.is_digit(radix)))?;
    Some((u32::from_str_radix(digits, radix).ok()?, text.get(length..)?))
}

/// An integer in Go's notation: sign, prefix `0x`, `0o`, `0b` or `0`, underscores between digits.
fn parse_integer(text: &str) -> Option<i128> {
    let (negative, unsigned) = split_sign(text);
    if !underscores_are_legal(unsigned) {
        return None;
    }
    let lower = unsigned.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, lower.get(2..)?),
        [b'0', b'o', ..] => (8, lower.get(2..)?),
        [b'0', b'b', ..] => (2, lower.get(2..)?),
        [b'0', _, ..] => (8, lower.get(1..)?),
        _ => (10, lower.as_str()),
    };
    let digits = digits.replace('_', "");
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(&digits, radix).ok()?);
    Some(if negative { -magnitude } else { magnitude })
}

/// Why a text is no float; worded as Go words it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FloatError {
    #[error("invalid syntax")]
    Syntax,
    #[error("value out of range")]
    Range,
}

/// A float in Go's notation: decimal or hexadecimal, `inf`, `infinity` and `nan` in any case.
pub(crate) fn parse_float(text: &str) -> Result<f64, FloatError> {
    let (negative, unsigned) = split_sign(text);
    let signed = |magnitude: f64| if negative { -magnitude } else { magnitude };
    match unsigned.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => return Ok(signed(f64::INFINITY)),
        "nan" if unsigned.len() == text.len() => return Ok(f64::NAN),
        _ => {}
    }
    if !underscores_are_legal(unsigned) {
        return Err(FloatError::Syntax);
    }
    let digits = unsigned.replace('_', "");
    let magnitude = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hexadecimal) => parse_hexadecimal_float(hexadecimal).ok_or(FloatError::Syntax)?,
        None if digits.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b)) => {
            digits.parse().map_err(|_| FloatError::Syntax)?
        }
        None => return Err(FloatError::Syntax),
    };
    if magnitude.is_infinite() { Err(FloatError::Range) } else { Ok(signed(magnitude)) }
}

/// `h.hhhp±d` without sign and prefix, rounded to the nearest float, ties to even. The exponent is obligatory.
fn parse_hexadecimal_float(text: &str) -> Option<f64> {
    let (mantissa_text, exponent_text) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa_text.split_once('.').unwrap_or((mantissa_text, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unsigned_exponent = exponent_text.strip_prefix(['+', '-']).unwrap_or(exponent_text);
    if unsigned_exponent.is_empty() || !unsigned_exponent.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let magnitude: i64 = unsigned_exponent.parse().unwrap_or(i64::MAX).min(1 << 40);
    let mut exponent = if exponent_text.starts_with('-') { -magnitude } else { magnitude };
    let mut mantissa: u64 = 0;
    let mut lost = false;
    for (i, c) in whole.chars().chain(fraction.chars()).enumerate() {
        let digit = u64::from(c.to_digit(16)?);
        let is_fraction = i >= whole.len();
        if mantissa >> 58 == 0 {
            mantissa = mantissa << 4 | digit;
            exponent -= if is_fraction { 4 } else { 0 };
        } else {
            lost |= digit != 0;
            exponent += if is_fraction { 0 } else { 4 };
        }
    }
    Some(scale(mantissa, lost, exponent))
}

/// `mantissa · 2^exponent`, where `lost` says that the true value is a little larger.
fn scale(mantissa: u64, lost: bool, exponent: i64) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    // The lowest bit stands for everything behind it, which is all that rounding needs to know.
    let shift = mantissa.leading_zeros();
    let normal = u128::from(mantissa) << (64 + shift) | u128::from(lost);
    let exponent_of_top = exponent + 63 - i64::from(shift);
    if exponent_of_top > 1023 {
        return f64::INFINITY;
    }
    let kept_bits = (exponent_of_top + 1075).clamp(0, 53);
    if kept_bits == 0 && exponent_of_top < -1075 {
        return 0.0;
    }
    let dropped = 128 - kept_bits as u32;
    let kept = if dropped == 128 { 0 } else { normal >> dropped };
    let remainder = if dropped == 128 { normal } else { normal & ((1 << dropped) - 1) };
    let half = 1u128 << (dropped - 1);
    let rounded = kept + u128::from(remainder > half || (remainder == half && kept & 1 == 1));
    // Exact: at most 53 bits times a power of two that a float can hold in two steps.
    let power = exponent_of_top + 1 - kept_bits;
    let first = power.max(-1000);
    rounded as f64 * 2f64.powi(first as i32) * 2f64.powi((power - first) as i32)
}

fn split_sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// Underscores only between digits, or between the prefix and a digit.
fn underscores_are_legal(unsigned: &str) -> bool {
    if !unsigned.contains('_') {
        return true;
    }
    let lower = unsigned.to_ascii_lowercase();
    let prefix = lower.get(..2).filter(|p| matches!(*p, "0x" | "0o" | "0b"));
    let hexadecimal = prefix == Some("0x");
    // What came before: a digit (the prefix counts as one), an underscore, or anything else.
    let mut previous = if prefix.is_some() { '0' } else { '^' };
    for c in lower.chars().skip(prefix.map_or(0, str::len)) {
        let class = match c {
            '0'..='9' => '0',
            'a'..='f' if hexadecimal => '0',
            '_' if previous == '0' => '_',
            '_' => return false,
            _ if previous == '_' => return false,
            _ => '!',
        };
        previous = class;
    }
    previous != '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_follow_go_prefixes_and_underscores() {
        let cases = [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("42", Some(42)),
            ("+42", Some(42)),
            ("0x1F", Some(31)),
            ("0o17", Some(15)),
            ("017", Some(15)),
            ("0b101", Some(5)),
            ("1_000", Some(1000)),
            ("0x_1F", Some(31)),
            ("1__0", None),
            ("1_", None),
            ("089", None),
            ("0x", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Number::parse(text).ok().and_then(|n| n.int), expected, "{text}");
        }
    }

    #[test]
    fn hexadecimal_floats_round_to_even() {
        let cases = [
            ("0x1p-2", 0.25),
            ("0x1.8p1", 3.0),
            ("0x.8p0", 0.5),
            ("0x1.fffffffffffff7p0", f64::from_bits(0x3fff_ffff_ffff_ffff)),
            ("0x1.fffffffffffff8p0", 2.0),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080001p0", 1.0 + f64::EPSILON),
            ("0x1p-1074", 5e-324),
            ("0x1p-1075", 0.0),
            ("0x1.8p-1075", 5e-324),
            ("0x1p-99999999999999999999", 0.0),
            ("0x0p99999", 0.0),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_float(text), Ok(expected), "{text}");
        }
        assert_eq!(parse_float("0x1p1024"), Err(FloatError::Range));
        assert_eq!(parse_float("0x1"), Err(FloatError::Syntax));
    }

    #[test]
    fn floats_of_strings_are_those_of_go() {
        for (text, expected) in
            [("1.5", 1.5), (".12", 0.12), ("5.", 5.0), ("1e3", 1000.0), ("-Infinity", f64::NEG_INFINITY)]
        {
            assert_eq!(parse_float(text), Ok(expected), "{text}");
        }
        assert!(parse_float("NaN").is_ok_and(f64::is_nan));
        for text in ["", ".", "e3", "one", " 1", "1 ", "+nan", "1e", "1__0", "_1", "1_e1", "0x", "infin"] {
            assert_eq!(parse_float(text), Err(FloatError::Syntax), "{text:?}");
        }
        assert_eq!(parse_float("1e999"), Err(FloatError::Range));
    }

    #[test]
    fn strings_are_unquoted_as_in_go() {
        let cases = [
            (r#""a\tb\\\"""#, Some("a\tb\\\"")),
            (r#""\x41\102\u00e9\U0001F600""#, Some("AB\u{e9}\u{1F600}")),
            (r#""\xc3\xa9\xff""#, Some("\u{e9}\u{fffd}")),
            ("`a\\n\r`", Some("a\\n")),
            (r#""\'""#, None),
            (r#""\400""#, None),
            (r#""\ud800""#, None),
            (r#""\q""#, None),
        ];
        for (token, expected) in cases {
            assert_eq!(unquote(token).ok().as_deref(), expected, "{token}");
        }
        assert_eq!(Number::parse_char(r"'\''").map(|n| n.int), Ok(Some(39)));
        assert_eq!(
            Number::parse_char("'ab'").map_err(|e| e.to_string()).err().as_deref(),
            Some("malformed character constant: 'ab'")
        );
    }
}
