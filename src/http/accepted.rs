//! Which encodings of an answer a client takes, as far as it matters for answers that are compressed where they are written.

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use std::convert::Infallible;

/// What the header `Accept-Encoding` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptedEncodings {
    /// Nothing, or nothing but that answers are to be sent as they are.
    None,
    /// Gzip as well as anything else that we have.
    Gzip,
    /// Something else, or gzip less than something else.
    Others,
}

impl<S: Send + Sync> FromRequestParts<S> for AcceptedEncodings {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let mut values = parts.headers.get_all(header::ACCEPT_ENCODING).iter();
        Ok(match (values.next(), values.next()) {
            (None, _) => Self::None,
            (Some(value), None) => value.to_str().map_or(Self::Others, Self::of),
            (Some(_), Some(_)) => Self::Others,
        })
    }
}

impl AcceptedEncodings {
    /// Weights are left to those who know more of them.
    fn of(value: &str) -> Self {
        let is = |name: &str| value.split(',').any(|coding| coding.trim().eq_ignore_ascii_case(name));
        match () {
            () if value.trim().is_empty() || value.trim().eq_ignore_ascii_case("identity") => Self::None,
            () if is("gzip") && !value.contains(';') => Self::Gzip,
            () => Self::Others,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_where_it_is_named_without_a_weight() {
        for (value, expected) in [
            ("gzip", AcceptedEncodings::Gzip),
            ("gzip, deflate, br", AcceptedEncodings::Gzip),
            ("deflate, GZIP", AcceptedEncodings::Gzip),
            ("", AcceptedEncodings::None),
            ("identity", AcceptedEncodings::None),
            ("gzip;q=0", AcceptedEncodings::Others),
            ("gzip;q=0.5, deflate", AcceptedEncodings::Others),
            ("deflate", AcceptedEncodings::Others),
            ("x-gzip", AcceptedEncodings::Others),
            ("*", AcceptedEncodings::Others),
        ] {
            assert_eq!(AcceptedEncodings::of(value), expected, "{value}");
        }
    }
}
