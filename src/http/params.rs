//! Parameters of a request: the form in the body and the query of the URL as one, the body first.
pub mod form;

use super::error::ApiError;
use axum::extract::{FromRequest, Request};
use model::text::quote;
use model::time::parse_duration;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// The parameters of one request, in order, names repeated as often as they were sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params {
    pairs: Vec<(String, String)>,
    /// Where the pairs of the URL begin.
    url_from: usize,
}

impl Params {
    /// From an urlencoded body (empty when there is none) and the query of a URL.
    #[must_use]
    pub fn parse(body: &[u8], url_query: &str) -> Self {
        let owned = |(name, value): (Cow<'_, str>, Cow<'_, str>)| (name.into_owned(), value.into_owned());
        let mut pairs: Vec<_> = url::form_urlencoded::parse(body).map(owned).collect();
        let url_from = pairs.len();
        pairs.extend(url::form_urlencoded::parse(url_query.as_bytes()).map(owned));
        Self { pairs, url_from }
    }

    /// The first value of a parameter; empty when it was not sent.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        first(&self.pairs, name)
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter in the URL; empty when it is not there.
    #[must_use]
    pub fn get_from_url(&self, name: &str) -> &str {
        first(self.url_pairs(), name)
    }

    /// The pairs of the body.
    #[must_use]
    pub fn form_pairs(&self) -> &[(String, String)] {
        self.pairs.get(..self.url_from).unwrap_or_default()
    }

    /// The pairs of the URL.
    #[must_use]
    pub fn url_pairs(&self) -> &[(String, String)] {
        self.pairs.get(self.url_from..).unwrap_or_default()
    }

    /// A point in time in milliseconds, or `None` when it was not sent.
    ///
    /// # Errors
    /// The value is no time.
    pub fn time(&self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.get(name) {
            "" => Ok(None),
            text => parse_time(text).map(Some).map_err(|error| {
                ApiError::bad_parameter(name, format_args!("invalid time value for '{name}': {error}"))
            }),
        }
    }

    /// A point in time in milliseconds that must be sent.
    ///
    /// # Errors
    /// The value is missing or no time.
    pub fn required_time(&self, name: &str) -> Result<i64, ApiError> {
        parse_time(self.get(name)).map_err(|error| ApiError::bad_parameter(name, error))
    }

    /// A length of time in nanoseconds, or `None` when it was not sent.
    ///
    /// # Errors
    /// The value is no duration.
    pub fn duration(&self, name: &str) -> Result<Option<Nanoseconds>, ApiError> {
        match self.get(name) {
            "" => Ok(None),
            text => parse_duration_param(text).map(Some).map_err(|error| ApiError::bad_parameter(name, error)),
        }
    }

    /// A length of time that must be sent.
    ///
    /// # Errors
    /// The value is missing or no duration.
    pub fn required_duration(&self, name: &str) -> Result<Nanoseconds, ApiError> {
        parse_duration_param(self.get(name)).map_err(|error| ApiError::bad_parameter(name, error))
    }

    /// Whether something is wanted that is not wanted unless it is said.
    ///
    /// # Errors
    /// The value is neither true nor false.
    pub fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            "" | "false" => Ok(false),
            "true" => Ok(true),
            other => Err(ApiError::bad_parameter(name, format_args!("\"{other}\" is neither true nor false"))),
        }
    }

    /// How many results the client wants at most; `None` means all.
    ///
    /// # Errors
    /// The value is no number that is not negative.
    pub fn limit(&self) -> Result<Option<usize>, ApiError> {
        let invalid = |error: &dyn fmt::Display| ApiError::bad_parameter("limit", error);
        match self.get("limit") {
            "" => Ok(None),
            text => match parse_integer(text).map_err(|error| invalid(&error))? {
                0 => Ok(None),
                limit if limit < 0 => Err(invalid(&"limit must be non-negative")),
                limit => Ok(Some(usize::try_from(limit).unwrap_or(usize::MAX))),
            },
        }
    }
}

fn first<'a>(pairs: &'a [(String, String)], name: &str) -> &'a str {
    pairs.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let url_query = request.uri().query().unwrap_or_default().to_owned();
        if !form::is_sent_with(&request) {
            return Ok(Self::parse(&[], &url_query));
        }
        let refused = |error| ApiError::bad_data(format_args!("error parsing form values: {error}"));
        let form = form::read(request.into_body(), form::WAIT_MAX).await.map_err(refused)?;
        Ok(Self::parse(form.bytes(), &url_query))
    }
}

/// A length of time; may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanoseconds(pub i64);

impl Nanoseconds {
    /// In whole milliseconds, rounded down.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// As the standard library's duration; negative ones become zero.
    #[must_use]
    pub fn as_std(self) -> Duration {
        Duration::from_nanos(self.0.max(0).unsigned_abs())
    }
}

/// Why a text is no value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// No point in time.
    #[error("cannot parse {} to a valid timestamp", quote(.0))]
    Time(String),
    /// No length of time.
    #[error("cannot parse {} to a valid duration", quote(.0))]
    Duration(String),
    /// A length of time of more than 292 years.
    #[error("cannot parse {} to a valid duration. It overflows int64", quote(.0))]
    DurationOverflow(String),
    /// No decimal integer.
    #[error("strconv.Atoi: parsing {}: invalid syntax", quote(.0))]
    Integer(String),
    /// An integer of more than 64 bits.
    #[error("strconv.Atoi: parsing {}: value out of range", quote(.0))]
    IntegerRange(String),
}

/// The earliest and the latest time that Go's client library sends for "no bound", in their only spelling.
const SENTINELS: [(&str, i64); 2] = [
    ("-292273086-05-16T16:47:06Z", (i64::MIN / 1000 + 62_135_596_801) * 1000),
    ("292277025-08-18T07:12:54.999999999Z", (i64::MAX / 1000 - 62_135_596_801) * 1000 + 999),
];

/// Parses seconds since the Unix epoch or RFC 3339 to milliseconds.
///
/// Seconds beyond the range of milliseconds become its ends: Grafana probes with milliseconds where seconds belong.
///
/// # Errors
/// Any other text.
pub fn parse_time(text: &str) -> Result<i64, ParamError> {
    let invalid = || ParamError::Time(text.to_owned());
    if let Ok(seconds) = text.parse::<f64>() {
        if seconds.is_nan() {
            return Err(invalid());
        }
        // Whole and fraction apart, since together they exceed the precision of a float. Casts saturate.
        let millis = (seconds.fract() * 1000.0).round() as i64;
        return Ok((seconds.trunc() as i64).saturating_mul(1000).saturating_add(millis));
    }
    if let Some((_, millis)) = SENTINELS.iter().find(|(sentinel, _)| *sentinel == text) {
        return Ok(*millis);
    }
    if !is_rfc3339(text) {
        return Err(invalid());
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| invalid())?;
    Ok(time.as_nanosecond().div_euclid(1_000_000) as i64)
}

/// Whether `text` has the shape `2006-01-02T15:04:05` and a zone; the numbers are checked by the parser.
fn is_rfc3339(text: &str) -> bool {
    let shape = b"0000-00-00T00:00:00";
    let matches_shape = |(byte, shape): (u8, &u8)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == *shape };
    let zone_is_short = |zone: &str| zone.len() == 6 && zone.as_bytes().get(3) == Some(&b':');
    let zone = text.rfind(['+', '-']).and_then(|at| text.get(at..));
    text.len() > shape.len()
        && text.bytes().zip(shape).all(matches_shape)
        && (text.ends_with('Z') || zone.is_some_and(zone_is_short))
}

/// Parses seconds or a duration in Prometheus' notation.
///
/// # Errors
/// Any other text, or more than about 292 years.
pub fn parse_duration_param(text: &str) -> Result<Nanoseconds, ParamError> {
    if let Ok(seconds) = text.parse::<f64>() {
        let nanoseconds = seconds * 1e9;
        if nanoseconds > i64::MAX as f64 || nanoseconds < i64::MIN as f64 {
            return Err(ParamError::DurationOverflow(text.to_owned()));
        }
        if nanoseconds.is_nan() {
            return Err(ParamError::Duration(text.to_owned()));
        }
        return Ok(Nanoseconds(nanoseconds as i64));
    }
    let millis = parse_duration(text).map_err(|_| ParamError::Duration(text.to_owned()))?;
    Ok(Nanoseconds(millis.saturating_mul(1_000_000)))
}

/// Parses a decimal integer as Go's `strconv.Atoi` does.
///
/// # Errors
/// No integer, or one that does not fit 64 bits.
pub fn parse_integer(text: &str) -> Result<i64, ParamError> {
    use std::num::IntErrorKind;
    text.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => ParamError::IntegerRange(text.to_owned()),
        _ => ParamError::Integer(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_body_comes_before_the_url() {
        let params = Params::parse(b"a=1&b=2&m%5B%5D=x", "a=3&m[]=y+z&c=%7B%7D");
        assert_eq!((params.get("a"), params.get_from_url("a"), params.get("c")), ("1", "3", "{}"));
        assert_eq!((params.get("b"), params.get_from_url("b"), params.get("none")), ("2", "", ""));
        assert_eq!(params.all("m[]").collect::<Vec<_>>(), ["x", "y z"]);
    }

    #[test]
    fn times_are_seconds_or_rfc3339() {
        let cases = [
            ("123.123", 123_123),
            ("123", 123_000),
            ("-1.5", -1500),
            ("1.0006", 1001),
            ("1543578564.705", 1_543_578_564_705),
            ("1e9", 1_000_000_000_000),
            ("2015-06-03T13:21:58.555Z", 1_433_337_718_555),
            ("2015-06-03T14:21:58.555+01:00", 1_433_337_718_555),
            ("2015-06-03T13:21:58Z", 1_433_337_718_000),
            ("1969-12-31T23:59:59.9999Z", -1),
            ("1699999999999", 1_699_999_999_999_000),
            ("-292273086-05-16T16:47:06Z", -9_223_309_901_257_974_000),
            ("292277025-08-18T07:12:54.999999999Z", 9_223_309_901_257_974_999),
            ("1e300", i64::MAX),
            ("-Inf", i64::MIN),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_time(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_times() {
        for text in [
            "",
            "abc",
            "30s",
            "2015-06-03",
            "2015-06-03T13:21:58",
            "2015-06-03 13:21:58Z",
            "NaN",
            "2015-13-03T13:21:58Z",
        ] {
            assert_eq!(parse_time(text), Err(ParamError::Time(text.to_owned())));
        }
        let message = ParamError::Time("a\"b".into()).to_string();
        assert_eq!(message, r#"cannot parse "a\"b" to a valid timestamp"#);
    }

    #[test]
    fn durations_are_seconds_or_prometheus_notation() {
        for (text, millis) in [("123", 123_000), ("0.333", 333), ("15s", 15_000), ("1h30m", 5_400_000), ("-1", -1000)] {
            assert_eq!(parse_duration_param(text).map(Nanoseconds::as_millis), Ok(millis), "{text}");
        }
        let overflow = ParamError::DurationOverflow("123456789012345678901234567890".into());
        assert_eq!(parse_duration_param("123456789012345678901234567890"), Err(overflow));
        for text in ["", "abc", "1 s", "NaN"] {
            assert_eq!(parse_duration_param(text), Err(ParamError::Duration(text.into())));
        }
    }

    #[test]
    fn limits_are_not_negative() {
        let limit = |text: &str| Params::parse(b"", &format!("limit={text}")).limit().map_err(|error| error.message);
        assert_eq!(limit(""), Ok(None));
        assert_eq!(limit("0"), Ok(None));
        assert_eq!(limit("7"), Ok(Some(7)));
        assert_eq!(limit("-1"), Err("invalid parameter \"limit\": limit must be non-negative".into()));
        let syntax = "invalid parameter \"limit\": strconv.Atoi: parsing \"1.5\": invalid syntax";
        assert_eq!(limit("1.5"), Err(syntax.into()));
        let range = "invalid parameter \"limit\": strconv.Atoi: parsing \"99999999999999999999\": value out of range";
        assert_eq!(limit("99999999999999999999"), Err(range.into()));
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String, digits in "[-+0-9.eE:TZ]{0,40}") {
            for text in [&text, &digits] {
                let _ = (parse_time(text), parse_duration_param(text), parse_integer(text));
            }
        }

        /// What Go's client library sends for a time in milliseconds comes back exactly.
        #[test]
        fn times_with_milliseconds_round_trip(millis in -10_000_000_000_000i64..10_000_000_000_000) {
            prop_assert_eq!(parse_time(&format!("{}", millis as f64 / 1000.0)), Ok(millis));
        }
    }
}
