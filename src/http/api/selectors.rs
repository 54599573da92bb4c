//! `match[]`: which series a look-up is about.

use crate::http::error::ApiError;
use crate::http::params::Params;
use model::labels::Labels;
use model::matcher::Matcher;
use promql::parse::{ParseOptions, parse_selector};

/// The matchers of each `match[]`; a series is meant when it satisfies all of one of them.
///
/// # Errors
/// One is no selector, or the empty value satisfies all of its matchers. The text is for the caller to wrap: endpoints
/// differ in whether they name the parameter.
pub(super) fn parse(params: &Params, options: &ParseOptions) -> Result<Vec<Vec<Matcher>>, String> {
    let sets = parse_any(params, options)?;
    // A selector that the empty value satisfies throughout would select everything there is.
    if sets.iter().any(|set| set.iter().all(|matcher| matcher.matches(""))) {
        return Err("match[] must contain at least one non-empty matcher".into());
    }
    Ok(sets)
}

/// As [`parse`], and selectors of everything are fine.
///
/// # Errors
/// One is no selector.
pub(super) fn parse_any(params: &Params, options: &ParseOptions) -> Result<Vec<Vec<Matcher>>, String> {
    let mut regex_bytes = 0;
    let selector = |text| {
        let matchers = parse_selector(text, options).map_err(|error| error.to_string())?;
        // Each selector keeps to the bound; so do all of them together.
        regex_bytes += matchers.iter().map(Matcher::regex_bytes).sum::<usize>();
        if regex_bytes > options.regex_bytes_max {
            return Err(format!("regular expressions need more than {} bytes", options.regex_bytes_max));
        }
        Ok(matchers)
    };
    params.all("match[]").map(selector).collect()
}

/// Whether a series satisfies all matchers of any set: of those that earlier selectors selected, without remembering any.
pub(super) fn satisfies_any(sets: &[Vec<Matcher>], labels: &Labels) -> bool {
    let satisfies = |matcher: &Matcher| matcher.matches(labels.get(matcher.name()).unwrap_or(""));
    sets.iter().any(|matchers| matchers.iter().all(satisfies))
}

/// A time range as look-ups take it, from parameters that may be absent.
///
/// # Errors
/// A time is wrong.
pub(super) fn time_range(params: &Params) -> Result<(i64, i64), ApiError> {
    let start_ms = params.time("start")?.unwrap_or(i64::MIN);
    let until_ms = params.time("end")?.unwrap_or(i64::MAX);
    Ok((start_ms.saturating_sub(1), until_ms))
}
