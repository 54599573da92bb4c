//! Time: milliseconds since the Unix epoch, and durations in Prometheus' notation (`1h30m`).

use std::fmt;

/// A point in time, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

/// As seconds with up to three decimals, the form of the HTTP API: `1435781430`, `1435781430.781`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (seconds, millis) = (self.0.unsigned_abs() / 1000, self.0.unsigned_abs() % 1000);
        if millis == 0 { write!(f, "{sign}{seconds}") } else { write!(f, "{sign}{seconds}.{millis:03}") }
    }
}

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not of the form `1h30m`.
    #[error("not a valid duration string: {0:?}")]
    Syntax(String),
    /// Does not fit the range of 64-bit nanoseconds, about 292 years.
    #[error("duration out of range")]
    OutOfRange,
}

/// Units in the order in which they must appear, with their milliseconds.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The largest duration, in milliseconds: Go's 64-bit nanoseconds.
const MILLIS_MAX: i64 = i64::MAX / 1_000_000;

/// Parses Prometheus' duration notation to milliseconds: `0`, or number and unit pairs in the order y w d h m s ms, each
/// unit at most once.
///
/// # Errors
/// Any other text, or more than about 292 years.
pub fn parse_duration(text: &str) -> Result<i64, DurationError> {
    if text == "0" {
        return Ok(0);
    }
    let syntax = || DurationError::Syntax(text.to_owned());
    let mut rest = text;
    let mut total: i64 = 0;
    let mut units = UNITS.iter();
    if rest.is_empty() {
        return Err(syntax());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, after) = after.split_at(letters);
        let (_, millis) = units.find(|(name, _)| *name == unit).ok_or_else(syntax)?;
        if number.is_empty() {
            return Err(syntax());
        }
        let number: i64 = number.parse().map_err(|_| DurationError::OutOfRange)?;
        total = number
            .checked_mul(*millis)
            .and_then(|part| total.checked_add(part))
            .filter(|sum| *sum <= MILLIS_MAX)
            .ok_or(DurationError::OutOfRange)?;
        rest = after;
    }
    Ok(total)
}

/// Prints milliseconds in Prometheus' duration notation; years, weeks and days only where they divide evenly, as
/// Prometheus does (`90m` is `1h30m`, `8d` stays `8d`).
#[must_use]
pub fn format_duration(millis: i64) -> String {
    if millis == 0 {
        return "0s".into();
    }
    let mut out = String::new();
    let mut rest = millis.unsigned_abs();
    if millis < 0 {
        out.push('-');
    }
    for (unit, size) in UNITS {
        let size = size.unsigned_abs();
        let exact_only = matches!(unit, "y" | "w" | "d");
        if exact_only && !rest.is_multiple_of(size) {
            continue;
        }
        if rest >= size {
            out.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_and_print() {
        let cases = [
            ("0s", 0),
            ("324ms", 324),
            ("3s", 3000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("4d", 345_600_000),
            ("4d1h", 349_200_000),
            ("2w", 1_209_600_000),
            ("3y", 94_608_000_000),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), Ok(millis), "{text}");
        }
        assert_eq!(parse_duration("0"), Ok(0));
        assert_eq!(format_duration(5_400_000), "1h30m");
        assert_eq!(format_duration(1_209_600_000), "2w");
        assert_eq!(format_duration(349_200_000), "97h");
    }

    #[test]
    fn malformed_durations_are_refused() {
        for text in ["", "1", "-1w", "1.5d", "d", "1s1m", "1s1s", "5M", "1 s"] {
            assert!(matches!(parse_duration(text), Err(DurationError::Syntax(_))), "{text:?}");
        }
        assert_eq!(parse_duration("294y"), Err(DurationError::OutOfRange));
        assert_eq!(parse_duration("99999999999999999999999s"), Err(DurationError::OutOfRange));
    }

    #[test]
    fn timestamps_print_decimals_only_when_needed() {
        let printed: Vec<_> = [0, 1500, -1500, 1_435_781_430_781].map(|t| Timestamp(t).to_string()).into();
        assert_eq!(printed, ["0", "1.500", "-1.500", "1435781430.781"]);
    }
}
