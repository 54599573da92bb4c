//! The parameters that all searches share.

use super::filter::{Algorithm, Filter};
use crate::http::api::selectors;
use crate::http::error::ApiError;
use crate::http::params::{Params, parse_integer};
use model::matcher::Matcher;
use model::text::quote;
use promql::parse::ParseOptions;
use std::fmt;

/// Results and size of a batch unless the client says otherwise.
const DEFAULT: usize = 100;
/// Results of one search, at most, as in Prometheus by default.
const LIMIT_MAX: usize = 10_000;
/// Terms of one search: each is compared with every candidate.
const TERMS_MAX: usize = 32;
/// How far back a search looks unless the client says otherwise.
const RANGE_MS: i64 = 3_600_000;

/// In which order results come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Ascending,
    Descending,
    /// Best first.
    Score,
}

/// What is searched how.
pub(super) struct SearchParams {
    /// At least one; a series is meant when it satisfies all matchers of one of them.
    pub(super) matcher_sets: Vec<Vec<Matcher>>,
    pub(super) after_ms: i64,
    pub(super) until_ms: i64,
    /// `None` takes everything.
    pub(super) filter: Option<Filter>,
    pub(super) order: Order,
    pub(super) include_score: bool,
    pub(super) limit: usize,
    pub(super) batch_size: usize,
}

impl SearchParams {
    pub(super) fn parse(params: &Params, endpoint: &str, options: &ParseOptions) -> Result<Self, ApiError> {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let start_ms = time(params, "start")?.unwrap_or(now_ms - RANGE_MS);
        let until_ms = time(params, "end")?.unwrap_or(now_ms);
        if until_ms < start_ms {
            return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
        }
        let mut matcher_sets = selectors::parse(params, options).map_err(ApiError::bad_data)?;
        if matcher_sets.is_empty() {
            matcher_sets.push(Vec::new());
        }
        let terms: Vec<&str> = params.all("search[]").collect();
        if terms.len() > TERMS_MAX {
            let count = terms.len();
            return Err(ApiError::bad_data(format_args!(
                "too many search[] terms: got {count}, maximum is {TERMS_MAX}"
            )));
        }
        let threshold = threshold(params)?;
        let algorithm = algorithm(params)?;
        let case_sensitive = boolean(params, "case_sensitive", true)?;
        let include_score = boolean(params, "include_score", false)?;
        Ok(Self {
            matcher_sets,
            after_ms: start_ms.saturating_sub(1),
            until_ms,
            order: order(params, endpoint, !terms.is_empty())?,
            filter: Filter::new(&terms, algorithm, threshold, case_sensitive),
            include_score,
            limit: limit(params)?,
            batch_size: positive(params, "batch_size")?.unwrap_or(DEFAULT),
        })
    }
}

fn time(params: &Params, name: &str) -> Result<Option<i64>, ApiError> {
    let unnamed = |error| ApiError::bad_data(format_args!("invalid time value for '{name}': {error}"));
    match params.get(name) {
        "" => Ok(None),
        text => crate::http::params::parse_time(text).map(Some).map_err(unnamed),
    }
}

fn threshold(params: &Params) -> Result<f64, ApiError> {
    let text = params.get("fuzz_threshold");
    if text.is_empty() {
        return Ok(0.0);
    }
    match parse_integer(text) {
        Ok(percent @ 0..=100) => Ok(percent as f64 / 100.0),
        _ => Err(ApiError::bad_data(format_args!("invalid fuzz_threshold {}: must be 0-100", quote(text)))),
    }
}

fn algorithm(params: &Params) -> Result<Algorithm, ApiError> {
    match params.get("fuzz_alg") {
        "" | "subsequence" => Ok(Algorithm::Subsequence),
        "jarowinkler" => Ok(Algorithm::JaroWinkler),
        other => {
            let other = quote(other);
            Err(ApiError::bad_data(format_args!(
                "unsupported fuzz_alg {other}: must be one of [subsequence jarowinkler]"
            )))
        }
    }
}

fn order(params: &Params, endpoint: &str, has_terms: bool) -> Result<Order, ApiError> {
    match (params.get("sort_by"), params.get("sort_dir")) {
        ("", "") => Ok(Order::Ascending),
        ("", _) => Err(ApiError::bad_data("sort_dir is only valid when sort_by is set")),
        ("score", "") if has_terms => Ok(Order::Score),
        ("score", "") => Err(ApiError::bad_data("sort_by=score requires search[] to be set")),
        ("score", _) => Err(ApiError::bad_data("sort_dir is not supported for sort_by=score")),
        (_, direction) if !matches!(direction, "" | "asc" | "dsc") => {
            let direction = quote(direction);
            Err(ApiError::bad_data(format_args!("invalid sort_dir {direction}: must be \"asc\" or \"dsc\"")))
        }
        ("alpha", "dsc") => Ok(Order::Descending),
        ("alpha", _) => Ok(Order::Ascending),
        (other, _) => Err(ApiError::bad_data(format_args!(
            "invalid sort_by {} for {endpoint}: must be \"alpha\" or \"score\"",
            quote(other)
        ))),
    }
}

fn limit(params: &Params) -> Result<usize, ApiError> {
    let limit = positive(params, "limit")?.unwrap_or(DEFAULT);
    if limit > LIMIT_MAX {
        return Err(ApiError::bad_data(format_args!("limit {limit} exceeds the maximum ({LIMIT_MAX})")));
    }
    Ok(limit)
}

fn positive(params: &Params, name: &str) -> Result<Option<usize>, ApiError> {
    let text = params.get(name);
    if text.is_empty() {
        return Ok(None);
    }
    match parse_integer(text).ok().and_then(|number| usize::try_from(number).ok()) {
        Some(number) if number > 0 => Ok(Some(number)),
        _ => Err(invalid(name, text, "a positive integer")),
    }
}

/// As Go's `strconv.ParseBool` reads it.
pub(super) fn boolean(params: &Params, name: &str, default: bool) -> Result<bool, ApiError> {
    match params.get(name) {
        "" => Ok(default),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        text => Err(invalid(name, text, "boolean")),
    }
}

fn invalid(name: &str, text: &str, must_be: impl fmt::Display) -> ApiError {
    ApiError::bad_data(format_args!("invalid {name} {}: must be {must_be}", quote(text)))
}
