//! Literals of the language: quoted strings and numbers.
//!
//! The forms are those of Go's standard library, which Prometheus uses to read them. Also used by the test language.

/// Why a literal is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LiteralError {
    /// Not of the literal's form.
    #[error("invalid syntax")]
    Syntax,
    /// A number beyond the largest finite one.
    #[error("value out of range")]
    Range,
}

/// The bytes that a quoted string stands for; `quoted` includes its quotes (`"`, `'` or a back quote).
///
/// Escapes such as `\xff` and `\377` stand for single bytes, so the result need not be UTF-8.
///
/// # Errors
/// Quotes missing or unequal, a line break outside back quotes, or an unknown escape.
pub fn unquote(quoted: &str) -> Result<Vec<u8>, LiteralError> {
    let quote = quoted.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')).ok_or(LiteralError::Syntax)?;
    let inner = quoted[1..].strip_suffix(quote).ok_or(LiteralError::Syntax)?;
    if quote == '`' {
        return if inner.contains('`') { Err(LiteralError::Syntax) } else { Ok(inner.as_bytes().to_vec()) };
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\n' => return Err(LiteralError::Syntax),
            '\\' => unescape(&mut chars, quote, &mut out)?,
            c if c == quote => return Err(LiteralError::Syntax),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Ok(out)
}

/// Appends what the escape behind a backslash stands for.
fn unescape(chars: &mut std::str::Chars<'_>, quote: char, out: &mut Vec<u8>) -> Result<(), LiteralError> {
    let escape = chars.next().ok_or(LiteralError::Syntax)?;
    let (first, digits, base) = match escape {
        'a' => return push(out, 0x07),
        'b' => return push(out, 0x08),
        'f' => return push(out, 0x0c),
        'n' => return push(out, b'\n'),
        'r' => return push(out, b'\r'),
        't' => return push(out, b'\t'),
        'v' => return push(out, 0x0b),
        '\\' => return push(out, b'\\'),
        c if c == quote => return push(out, c as u8),
        '0'..='7' => (escape.to_digit(8), 2, 8),
        'x' => (None, 2, 16),
        'u' => (None, 4, 16),
        'U' => (None, 8, 16),
        _ => return Err(LiteralError::Syntax),
    };
    let mut value = first.unwrap_or(0);
    for _ in 0..digits {
        let digit = chars.next().and_then(|c| c.to_digit(base)).ok_or(LiteralError::Syntax)?;
        value = value.checked_mul(base).and_then(|v| v.checked_add(digit)).ok_or(LiteralError::Syntax)?;
    }
    if matches!(escape, 'u' | 'U') {
        let c = char::from_u32(value).ok_or(LiteralError::Syntax)?;
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        return Ok(());
    }
    push(out, u8::try_from(value).map_err(|_| LiteralError::Syntax)?)
}

fn push(out: &mut Vec<u8>, byte: u8) -> Result<(), LiteralError> {
    out.push(byte);
    Ok(())
}

/// The value of an unsigned number: decimal, float, hexadecimal (`0x1f`), octal (`0755`), `Inf`, `NaN`, all with `_`
/// between digits where Go allows it.
///
/// # Errors
/// Not a number, or beyond the largest finite one.
pub fn parse_number(text: &str) -> Result<f64, LiteralError> {
    if let Some(integer) = parse_integer(text) {
        return Ok(integer as f64);
    }
    if text.eq_ignore_ascii_case("inf") {
        return Ok(f64::INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Ok(f64::NAN);
    }
    if !underscores_separate_digits(text, false, 10)
        || !text.bytes().all(|b| b.is_ascii_digit() || b"._eE+-".contains(&b))
    {
        return Err(LiteralError::Syntax);
    }
    let value: f64 = text.replace('_', "").parse().map_err(|_| LiteralError::Syntax)?;
    if value.is_infinite() { Err(LiteralError::Range) } else { Ok(value) }
}

/// Reads an integer literal that fits 63 bits; anything else is left to the float form.
fn parse_integer(text: &str) -> Option<i64> {
    let (digits, base) = match text.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    if !underscores_separate_digits(digits, base != 10, base)
        || !digits.bytes().all(|b| b == b'_' || b.is_ascii_hexdigit())
    {
        return None;
    }
    i64::from_str_radix(&digits.replace('_', ""), base).ok()
}

/// Whether every underscore stands between two digits; a base prefix counts as a digit before the first one.
fn underscores_separate_digits(text: &str, after_prefix: bool, base: u32) -> bool {
    let mut digit_before = after_prefix;
    let mut pending = false;
    for byte in text.bytes() {
        let digit = char::from(byte).is_digit(base.max(10));
        if (byte == b'_' && !digit_before) || (pending && !digit) {
            return false;
        }
        pending = byte == b'_';
        digit_before = digit;
    }
    !pending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_decode_to_bytes() {
        let cases: [(&str, &[u8]); 9] = [
            (r#""plain""#, b"plain"),
            (r#"'it\'s "fine"'"#, b"it's \"fine\""),
            ("`raw \\n\n`", b"raw \\n\n"),
            (r#""\a\b\f\n\r\t\v\\\"""#, b"\x07\x08\x0c\n\r\t\x0b\\\""),
            (r#""a\xc5z""#, b"a\xc5z"),
            (r#""\377\000""#, &[0xff, 0]),
            (r#""\u00e9\U0001F600""#, "é😀".as_bytes()),
            ("\"é\"", "é".as_bytes()),
            ("''", b""),
        ];
        for (quoted, expected) in cases {
            assert_eq!(unquote(quoted).as_deref(), Ok(expected), "{quoted}");
        }
    }

    #[test]
    fn malformed_strings_are_refused() {
        for quoted in [
            "",
            "x",
            "\"",
            "\"a",
            "\"a'",
            "\"a\nb\"",
            r#""\q""#,
            r#""\'""#,
            r#""\x4""#,
            r#""\400""#,
            r#""\ud800""#,
            r#""\U00110000""#,
            r#""\UFFFFFFFF""#,
            "\"\\",
            "`a`b`",
            r#""a"b""#,
        ] {
            assert_eq!(unquote(quoted), Err(LiteralError::Syntax), "{quoted}");
        }
    }

    #[test]
    fn numbers_have_the_forms_of_go() {
        let cases = [
            ("0", 0.0),
            ("07", 7.0),
            ("0755", 493.0),
            ("08", 8.0),
            ("07e1", 70.0),
            ("0e3", 0.0),
            ("0x1F", 31.0),
            ("0X_1f", 31.0),
            ("1_000", 1000.0),
            ("1_0.5_0", 10.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("5e-3", 0.005),
            ("1E+2", 100.0),
            ("9223372036854775807", 9_223_372_036_854_775_807.0),
            ("99999999999999999999", 1e20),
            ("iNf", f64::INFINITY),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_number(text), Ok(expected), "{text}");
        }
        assert!(parse_number("nAn").is_ok_and(f64::is_nan));
        for text in
            ["", "_1", "1_", "1__0", "0x", "0xfffffffffffffffff", "1e", "1e5_", "e5", "infinity", "1,5", "0x1p4"]
        {
            assert_eq!(parse_number(text), Err(LiteralError::Syntax), "{text}");
        }
        assert_eq!(parse_number("1e999"), Err(LiteralError::Range));
    }
}
