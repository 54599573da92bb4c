//! Text forms that Go's standard library defines and the whole ecosystem prints: quoted strings and floats.

/// Quotes `text` as Go's `strconv.Quote` does: `"`, `\` and control characters escaped, printable Unicode kept.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{07}' => out.push_str("\\a"),
            '\u{08}' => out.push_str("\\b"),
            '\u{0c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{0b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push('"');
    out
}

/// Printable in Go's sense, near enough: no control, no separator but the blank, no private use or noncharacter.
#[must_use]
pub fn is_printable(c: char) -> bool {
    let invisible =
        matches!(c as u32, 0xad | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfeff | 0xfff0..=0xfffb);
    let private = matches!(c as u32, 0xe000..=0xf8ff | 0xf0000..);
    c == ' ' || !(c.is_control() || c.is_whitespace() || invisible || private)
}

/// A float as the Prometheus HTTP API prints sample values: shortest digits that round-trip, exponent form below 1e-6
/// and from 1e21 on (`1e-07`, `1e+21`), `NaN`, `+Inf`, `-Inf`.
#[must_use]
pub fn format_value(value: f64) -> String {
    let mut out = String::new();
    push_value(&mut out, value);
    out
}

/// Appends what [`format_value`] returns.
pub fn push_value(out: &mut String, value: f64) {
    let mut bytes = Vec::with_capacity(24);
    crate::number::push_value(&mut bytes, value);
    out.extend(bytes.into_iter().map(char::from));
}

/// A float in plain decimal form, never with an exponent: scalars and `count_values`.
#[must_use]
pub fn format_plain(value: f64) -> String {
    let mut bytes = Vec::with_capacity(24);
    crate::number::push_plain(&mut bytes, value);
    bytes.into_iter().map(char::from).collect()
}

/// Shortest digits in exponent form, as Go's format `e` prints them: `1e+00`, `-2.5e-07`, `+Inf`, `NaN`.
#[must_use]
pub fn format_exponent(value: f64) -> String {
    if !value.is_finite() {
        return format_value(value);
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_go_prints_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (1.5, "1.5"),
            (1e-7, "1e-07"),
            (1.234e-9, "1.234e-09"),
            (1e-6, "0.000001"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-2.5e100, "-2.5e+100"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
            (0.1 + 0.2, "0.30000000000000004"),
            (5e-324, "5e-324"),
        ];
        for (value, expected) in cases {
            assert_eq!(format_value(value), expected);
        }
        assert_eq!(format_plain(1e21), "1000000000000000000000");
    }

    #[test]
    fn quotes_like_go() {
        assert_eq!(quote("a\"\\\n\u{1}é\u{200b}"), r#""a\"\\\n\x01é\u200b""#);
    }
}
