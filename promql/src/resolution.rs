//! Whether a query may be answered from downsampled data.

use crate::duration::{DurationError, parse_ms};

/// When buckets may stand for samples. Where they give the exact answer they always may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SourceResolution {
    /// Never otherwise: what cannot be answered exactly is left out, with a warning.
    Exact,
    /// Where samples have expired as well, with a warning.
    #[default]
    WhereExpired,
    /// Also where there are samples, if buckets are no longer than a fifth of the step and of the range.
    Auto,
    /// Also where there are samples, if buckets are no longer than this, in milliseconds.
    UpTo(i64),
}

impl SourceResolution {
    /// Reads the parameter `max_source_resolution`: `0s`, `auto` or a duration. Without the parameter use the default.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, DurationError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        Ok(match parse_ms(text)? {
            0 => Self::Exact,
            longest_ms => Self::UpTo(longest_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_a_duration_or_auto() {
        assert_eq!(SourceResolution::parse("0s"), Ok(SourceResolution::Exact));
        assert_eq!(SourceResolution::parse("auto"), Ok(SourceResolution::Auto));
        assert_eq!(SourceResolution::parse("1h"), Ok(SourceResolution::UpTo(3_600_000)));
        assert!(SourceResolution::parse("never").is_err());
    }
}
