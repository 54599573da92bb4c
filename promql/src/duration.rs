//! Durations as Prometheus writes them: `1h30m`, `15s`, `100ms`.

/// Why a duration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing was given.
    #[error("empty duration string")]
    Empty,
    /// Not a sequence of numbers with units in falling order.
    #[error("not a valid duration string: {}", model::text::quote(.0))]
    Syntax(String),
    /// A unit that does not exist.
    #[error("unknown unit {} in duration {}", model::text::quote(.unit), model::text::quote(.text))]
    Unit {
        /// What stands where a unit should.
        unit: String,
        /// The whole duration.
        text: String,
    },
    /// Longer than 2^63 nanoseconds (292 years).
    #[error("duration out of range")]
    Range,
}

/// Unit and its milliseconds, in the order in which units must be written.
const UNITS: [(&str, i64); 7] = [
    ("y", 31_536_000_000),
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The longest duration in milliseconds: what fits 63 bits of nanoseconds.
pub const MAX_MS: i64 = i64::MAX / 1_000_000;

/// Reads an unsigned duration; the result is in milliseconds.
///
/// # Errors
/// Empty, malformed, or out of range.
pub fn parse_ms(text: &str) -> Result<i64, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    if text == "0" {
        return Ok(0);
    }
    let malformed = || DurationError::Syntax(text.to_owned());
    let mut rest = text;
    let mut next_unit = 0;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
        let number: u64 = number.parse().map_err(|_| malformed())?;
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        if unit.is_empty() {
            return Err(malformed());
        }
        let index = UNITS.iter().position(|(name, _)| *name == unit);
        let index = index.ok_or_else(|| DurationError::Unit { unit: unit.to_owned(), text: text.to_owned() })?;
        if index < next_unit {
            return Err(malformed());
        }
        next_unit = index + 1;
        let ms = i64::try_from(number).ok().and_then(|number| number.checked_mul(UNITS[index].1));
        total = ms.and_then(|ms| total.checked_add(ms)).filter(|sum| *sum <= MAX_MS).ok_or(DurationError::Range)?;
        rest = tail;
    }
    Ok(total)
}

/// Milliseconds as seconds, rounded as Go rounds them.
#[must_use]
pub fn ms_to_seconds(ms: i64) -> f64 {
    (ms / 1_000) as f64 + (ms % 1_000 * 1_000_000) as f64 / 1e9
}

/// Writes a duration the way Prometheus prints it: `0s`, `1h30m`, `100ms`; years, weeks and days only when nothing
/// smaller remains. A negative one gets a leading `-`.
#[must_use]
pub fn format_ms(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    if ms < 0 {
        out.push('-');
    }
    let mut rest = ms.unsigned_abs();
    for (index, (name, unit_ms)) in UNITS.iter().enumerate() {
        let unit_ms = unit_ms.unsigned_abs();
        let whole_only = index < 3;
        if rest < unit_ms || (whole_only && !rest.is_multiple_of(unit_ms)) {
            continue;
        }
        out.push_str(&(rest / unit_ms).to_string());
        out.push_str(name);
        rest %= unit_ms;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_units_in_falling_order() {
        let cases = [
            ("0", 0),
            ("0s", 0),
            ("0y0w0d", 0),
            ("1ms", 1),
            ("15s", 15_000),
            ("1h30m", 5_400_000),
            ("1y2w3d4h5m6s7ms", 33_019_506_007),
            ("292y", 292 * 31_536_000_000),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_ms(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn malformed_durations_are_refused() {
        for text in ["1", "s", "1m1h", "1s1s", "-1s", "01", "99999999999999999999s"] {
            assert_eq!(parse_ms(text), Err(DurationError::Syntax(text.to_owned())), "{text}");
        }
        for (text, unit) in [("1hs", "hs"), ("1 s", " s"), ("5m1mm2s", "mm"), ("1.5h", "."), ("1é", "é")] {
            let error = DurationError::Unit { unit: unit.to_owned(), text: text.to_owned() };
            assert_eq!(parse_ms(text), Err(error), "{text}");
        }
        assert_eq!(parse_ms(""), Err(DurationError::Empty));
    }

    #[test]
    fn what_exceeds_63_bits_of_nanoseconds_is_out_of_range() {
        for text in ["293y", "18446744073709551615s", "292y52w", "9223372036855s"] {
            assert_eq!(parse_ms(text), Err(DurationError::Range), "{text}");
        }
        assert_eq!(parse_ms("9223372036854775ms"), Err(DurationError::Range));
        assert_eq!(parse_ms("9223372036854ms"), Ok(MAX_MS));
    }

    #[test]
    fn prints_as_prometheus_does() {
        let cases = [
            (0, "0s"),
            (1, "1ms"),
            (90_000, "1m30s"),
            (5_400_000, "1h30m"),
            (86_400_000, "1d"),
            (90_000_000, "25h"),
            (604_800_000, "1w"),
            (31_536_000_000, "1y"),
            (31_536_000_000 + 86_400_000, "366d"),
            (-300_000, "-5m"),
        ];
        for (ms, expected) in cases {
            assert_eq!(format_ms(ms), expected);
        }
    }

    proptest! {
        #[test]
        fn printing_and_reading_agree(ms in 0..=MAX_MS) {
            prop_assert_eq!(parse_ms(&format_ms(ms)), Ok(ms));
        }
    }
}
