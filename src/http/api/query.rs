//! `/api/v1/query` and `/api/v1/query_range`.

use super::explain::{ExplainOnly, ExplainView};
use super::query_stats::StatsView;
use crate::http::accepted::AcceptedEncodings;
use crate::http::envelope::{REMARKS_MAX, Remarks, TRUNCATED, success_on, success_value};
use crate::http::error::{ApiError, ErrorType};
use crate::http::json::query_result::{ResultDocument, result_type, truncate};
use crate::http::json::stream::{Charged, Framed};
use crate::http::params::{Nanoseconds, Params, parse_duration_param};
use crate::http::state::AppState;
use crate::query::request::{QueryAnswer, QueryRequest, Window};
use axum::extract::State;
use axum::response::Response;
use model::text::quote;
use promql::resolution::SourceResolution;
use promql::value::QueryValue;
use serde::Serialize;
use std::sync::Arc;

/// Points of one series in an answer: a minute's resolution for a week, an hour's for a year.
const POINTS_MAX: i128 = 11_000;

/// Evaluates an expression at one time.
///
/// # Errors
/// A parameter is wrong or the query failed.
pub async fn instant(
    State(state): State<AppState>,
    accepted: AcceptedEncodings,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let at_ms = params.time("time")?.unwrap_or_else(|| jiff::Timestamp::now().as_millisecond());
    answer(&state, &params, (Window::Instant(at_ms), limit), accepted).await
}

/// Evaluates an expression at many times.
///
/// # Errors
/// A parameter is wrong or the query failed.
pub async fn range(
    State(state): State<AppState>,
    accepted: AcceptedEncodings,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let window = range_window(&params)?;
    answer(&state, &params, (window, limit), accepted).await
}

fn range_window(params: &Params) -> Result<Window, ApiError> {
    let start_ms = params.required_time("start")?;
    let end_ms = params.required_time("end")?;
    if end_ms < start_ms {
        return Err(ApiError::bad_parameter("end", "end timestamp must not be before start time"));
    }
    let step = params.required_duration("step")?;
    // Times are milliseconds, so a finer step would stand still.
    if step.as_millis() <= 0 {
        let reason = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::bad_parameter("step", reason));
    }
    if (i128::from(end_ms) - i128::from(start_ms)) * 1_000_000 / i128::from(step.0) > POINTS_MAX {
        let reason = "exceeded maximum resolution of 11,000 points per timeseries. \
                      Try decreasing the query resolution (?step=XX)";
        return Err(ApiError::bad_data(reason));
    }
    Ok(Window::Range { start_ms, end_ms, step_ms: step.as_millis() })
}

async fn answer(
    state: &AppState,
    params: &Params,
    (window, limit): (Window, Option<usize>),
    accepted: AcceptedEncodings,
) -> Result<Response, ApiError> {
    let timeout = params.duration("timeout")?.map(Nanoseconds::as_std);
    let lookback_ms = lookback(params)?;
    let stats = params.get("stats");
    let text = params.get("query");
    let request = QueryRequest {
        text: text.to_owned(),
        tenant: state.tenant.clone(),
        window,
        timeout,
        lookback_ms,
        source_resolution: source_resolution(params)?,
        per_step_stats: stats == "all",
        explain: false,
        no_cache: matches!(params.get("nocache"), "1" | "true"),
    };
    let request = match params.get("explain") {
        "" | "false" => request,
        "true" | "analyze" => QueryRequest { explain: true, ..request },
        "estimate" => {
            let explanation = state.queries.explain(&request).await?;
            return Ok(success_value(&ExplainOnly::of(&explanation, text)));
        }
        other => {
            let reason = format!("expected true, analyze or estimate, got {}", quote(other));
            return Err(ApiError::bad_parameter("explain", reason));
        }
    };
    let mut answer = state.queries.run(request).await?;
    let cut_off = limit.is_some_and(|limit| truncate(&mut answer.result.value, limit));
    let remarks = remarks(&answer, text, cut_off, stats);
    let account = Arc::clone(&answer.account);
    let (result, tail) = result(answer, text, !stats.is_empty())?;
    let head = format!("{{\"resultType\":\"{}\",\"result\":", result_type(&result));
    let document = Framed::new(head.into_bytes(), Charged::new(ResultDocument::new(result), account), tail);
    Ok(success_on(state.queries.pool(), document, &remarks, accepted))
}

/// Zero and less mean the default, as in Prometheus.
fn lookback(params: &Params) -> Result<Option<i64>, ApiError> {
    match params.get("lookback_delta") {
        "" => Ok(None),
        text => {
            let lookback = parse_duration_param(text);
            let refused = |error| ApiError::bad_data(format_args!("error parsing lookback delta duration: {error}"));
            Ok(Some(lookback.map_err(refused)?.as_millis()).filter(|millis| *millis > 0))
        }
    }
}

/// Whether downsampled data may answer; Thanos has the parameter too.
fn source_resolution(params: &Params) -> Result<SourceResolution, ApiError> {
    match params.get("max_source_resolution") {
        "" => Ok(SourceResolution::default()),
        text => SourceResolution::parse(text).map_err(|error| ApiError::bad_parameter("max_source_resolution", error)),
    }
}

fn remarks(answer: &QueryAnswer, text: &str, cut_off: bool, stats: &str) -> Remarks {
    let mut warnings = Vec::new();
    if cut_off {
        warnings.push(TRUNCATED.to_owned());
    }
    if !matches!(stats, "" | "true" | "all") {
        warnings.push(format!(
            "value {} for parameter \"stats\" is deprecated and will be rejected in the next major release, \
             use \"true\" or \"all\"",
            quote(stats)
        ));
    }
    let annotations = &answer.result.annotations;
    warnings.extend(annotations.warnings(text, REMARKS_MAX - warnings.len()));
    Remarks { warnings, infos: annotations.infos(text, REMARKS_MAX) }
}

/// The value, and what follows it in `data`.
fn result(answer: QueryAnswer, text: &str, with_stats: bool) -> Result<(QueryValue, Vec<u8>), ApiError> {
    let mut tail = Vec::new();
    if with_stats {
        push_field(&mut tail, "stats", &StatsView::of(&answer))?;
    }
    if let Some(explanation) = &answer.result.explanation {
        push_field(&mut tail, "explain", &ExplainView::of(explanation, text))?;
    }
    tail.push(b'}');
    Ok((answer.result.value, tail))
}

fn push_field(out: &mut Vec<u8>, name: &str, value: &impl Serialize) -> Result<(), ApiError> {
    out.extend_from_slice(format!(",\"{name}\":").as_bytes());
    serde_json::to_writer(out, value).map_err(|error| ApiError::new(ErrorType::Internal, error.to_string()))
}
