//! Numbers as Go's standard library prints them, at the speed of memory.
//!
//! Shortest digits that round-trip; when two candidates are equally near, the even one, as in Go (the standard library of
//! Rust takes the larger).

use std::io::Write as _;

/// Integers below this are exact in an f64 and need no search for digits.
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// Magnitudes for which the shortest digits come without an exponent.
const NEVER_SCIENTIFIC: std::ops::Range<f64> = 1e-4..1e15;

/// Appends a float as the Prometheus HTTP API prints sample values: exponent form below 1e-6 and from 1e21 on (`1e-07`,
/// `1e+21`), `NaN`, `+Inf`, `-Inf`.
pub fn push_value(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if magnitude < EXACT_INTEGER_MAX && value.trunc() == value {
        push_integer(out, value);
    } else if !value.is_finite() {
        push_special(out, value);
    } else {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value);
        if NEVER_SCIENTIFIC.contains(&magnitude) {
            // A fraction, since whole numbers of this size are printed above.
            return out.extend_from_slice(text.as_bytes());
        }
        match text.split_once('e') {
            None => push_without_zero_fraction(out, text),
            Some((mantissa, exponent)) if !(1e-6..1e21).contains(&magnitude) => {
                push_scientific(out, mantissa, exponent);
            }
            Some((mantissa, exponent)) => push_positional(out, mantissa, exponent),
        }
    }
}

/// Appends a float in plain decimal form, never with an exponent.
pub fn push_plain(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) || !value.is_finite() {
        return push_value(out, value);
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    push_positional(out, mantissa, exponent);
}

fn push_integer(out: &mut Vec<u8>, value: f64) {
    if value == 0.0 && value.is_sign_negative() {
        out.extend_from_slice(b"-0");
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    }
}

fn push_special(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(match (value.is_nan(), value > 0.0) {
        (true, _) => b"NaN",
        (_, true) => b"+Inf",
        (_, false) => b"-Inf",
    });
}

fn push_without_zero_fraction(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
}

/// `1.5` and `-7` become `1.5e-07`: Go always signs the exponent and pads it to two digits.
fn push_scientific(out: &mut Vec<u8>, mantissa: &str, exponent: &str) {
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent.trim_start_matches('+')), |d| ('-', d));
    push_without_zero_fraction(out, mantissa);
    // Writing to a vector cannot fail.
    let _ = write!(out, "e{sign}{digits:0>2}");
}

/// `1.5` and `17` become `150000000000000000`.
fn push_positional(out: &mut Vec<u8>, mantissa: &str, exponent: &str) {
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
    if unsigned.len() < mantissa.len() {
        out.push(b'-');
    }
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let fraction = if fraction == "0" { "" } else { fraction };
    let digits = || whole.bytes().chain(fraction.bytes());
    let point = whole.len() as i32 + exponent; // digits before the decimal point
    if point <= 0 {
        out.extend_from_slice(b"0.");
        out.extend((point..0).map(|_| b'0'));
        out.extend(digits());
    } else {
        let point = point as usize;
        out.extend(digits().chain(std::iter::repeat(b'0')).take(point));
        if digits().count() > point {
            out.push(b'.');
            out.extend(digits().skip(point));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// The same forms with the digits of Rust's standard library.
    fn naive(value: f64) -> String {
        if !value.is_finite() {
            return if value.is_nan() { "NaN".into() } else { format!("{value:+}").replace("inf", "Inf") };
        }
        let magnitude = value.abs();
        if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
            return value.to_string();
        }
        let scientific = format!("{value:e}");
        let (mantissa, exponent) = scientific.split_once('e').unwrap();
        let exponent: i32 = exponent.parse().unwrap();
        format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
    }

    /// Equal but for the last digit, which two implementations may choose differently when it is a tie.
    fn same_form(printed: &str, reference: &str) -> bool {
        let shape = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "0");
        printed == reference || (shape(printed) == shape(reference) && printed.len() > 15)
    }

    /// All bit patterns, integers, all magnitudes, and the decimals that people measure.
    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            any::<i64>().prop_map(|n| n as f64),
            (any::<i32>(), -30i32..30).prop_map(|(n, e)| f64::from(n) * 10f64.powi(e)),
            (0u64..100_000_000).prop_map(|n| n as f64 / 1000.0),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn values_have_the_form_of_the_naive_twin_and_parse_back(value in any_value()) {
            let printed = text(|out| push_value(out, value));
            prop_assert!(same_form(&printed, &naive(value)), "{printed} instead of {}", naive(value));
            let parsed: f64 = printed.parse().unwrap();
            prop_assert!(parsed.to_bits() == value.to_bits() || (parsed.is_nan() && value.is_nan()));
        }

        #[test]
        fn plain_values_never_have_an_exponent_and_parse_back(value in any_value()) {
            let printed = text(|out| push_plain(out, value));
            let reference = if value.is_finite() { value.to_string() } else { naive(value) };
            prop_assert!(same_form(&printed, &reference), "{printed} instead of {reference}");
            let parsed: f64 = printed.parse().unwrap();
            prop_assert!(parsed.to_bits() == value.to_bits() || (parsed.is_nan() && value.is_nan()));
        }
    }

    #[test]
    fn the_borders_of_the_forms_print_as_in_go() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1e-6, "0.000001"),
            (9.99e-7, "9.99e-07"),
            (1e20, "100000000000000000000"),
            (1.5e17, "150000000000000000"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (1e21, "1e+21"),
            (-2.5e100, "-2.5e+100"),
            (5e-324, "5e-324"),
            (0.00001234, "0.00001234"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (4_177_980_649_399_601.0 / 4.0, "1044495162349900.2"),
            (4_177_980_649_399_603.0 / 4.0, "1044495162349900.8"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(|out| push_value(out, value)), expected);
        }
        assert_eq!(text(|out| push_plain(out, 1e-9)), "0.000000001");
        assert_eq!(text(|out| push_plain(out, 1.5e22)), "15000000000000000000000");
    }
}
