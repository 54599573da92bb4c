//! Numbers as Prometheus' HTTP API prints them, at the speed of memory.
//!
//! The rules are those of [`model::text::push_value`], which stays the reference in the tests.

use std::io::Write as _;

/// Integers below this are exact in an f64 and need no shortest-digits search.
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// Appends a sample value without quotes: shortest digits that round-trip, exponent form below 1e-6 and from 1e21 on.
pub fn push_value(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if magnitude < EXACT_INTEGER_MAX && value.trunc() == value {
        push_integer(out, value);
    } else if !value.is_finite() {
        push_special(out, value);
    } else {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value);
        match text.split_once('e') {
            None => push_without_zero_fraction(out, text),
            Some((mantissa, exponent)) if !(1e-6..1e21).contains(&magnitude) => {
                push_scientific(out, mantissa, exponent);
            }
            Some((mantissa, exponent)) => push_positional(out, mantissa, exponent),
        }
    }
}

/// Appends a value in plain decimal form, never with an exponent: scalars.
pub fn push_plain_value(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) || !value.is_finite() {
        push_value(out, value);
    } else {
        let mut buffer = zmij::Buffer::new();
        match buffer.format_finite(value).split_once('e') {
            Some((mantissa, exponent)) => push_positional(out, mantissa, exponent),
            None => push_value(out, value),
        }
    }
}

/// Appends milliseconds as seconds, with three decimals when they are not zero.
pub fn push_timestamp(out: &mut Vec<u8>, timestamp_ms: i64) {
    let mut buffer = itoa::Buffer::new();
    let magnitude = timestamp_ms.unsigned_abs();
    if timestamp_ms < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(buffer.format(magnitude / 1000).as_bytes());
    let millis = magnitude % 1000;
    if millis != 0 {
        let digit = |n: u64| b'0' + (n % 10) as u8;
        out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis)]);
    }
}

/// Appends milliseconds as seconds the way Go prints a float: decimals without zeros at the end. Scalars and texts.
pub fn push_float_timestamp(out: &mut Vec<u8>, timestamp_ms: i64) {
    push_timestamp(out, timestamp_ms);
    if timestamp_ms % 1000 != 0 {
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
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

    /// All magnitudes, all bit patterns, integers, and the decimals that people measure.
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
        fn values_print_like_the_reference_and_parse_back(value in any_value()) {
            let printed = text(|out| push_value(out, value));
            prop_assert_eq!(&printed, &model::text::format_value(value));
            let parsed: f64 = printed.parse().unwrap();
            prop_assert!(parsed.to_bits() == value.to_bits() || (parsed.is_nan() && value.is_nan()));
        }

        #[test]
        fn plain_values_never_have_an_exponent(value in any_value()) {
            prop_assert_eq!(text(|out| push_plain_value(out, value)), model::text::format_plain(value));
        }

        #[test]
        fn timestamps_print_like_the_reference(timestamp_ms: i64) {
            let expected = model::time::Timestamp(timestamp_ms).to_string();
            prop_assert_eq!(text(|out| push_timestamp(out, timestamp_ms)), expected);
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
        ];
        for (value, expected) in cases {
            assert_eq!(text(|out| push_value(out, value)), expected);
        }
    }

    #[test]
    fn timestamps_of_scalars_have_no_zeros_at_the_end() {
        for (timestamp_ms, expected) in [(1500, "1.5"), (1050, "1.05"), (1000, "1"), (0, "0"), (-250, "-0.25")] {
            assert_eq!(text(|out| push_float_timestamp(out, timestamp_ms)), expected);
        }
    }
}
