//! `/api/v1/admin/rules/backfill`: evaluates recording rules over time that has passed. Off unless `--web.enable-admin-api`.

use crate::config::PromDuration;
use crate::http::envelope::success_value;
use crate::http::error::{ApiError, ErrorType};
use crate::http::params::Params;
use crate::http::state::AppState;
use crate::rules::backfill::Backfill;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use ruler::driver::lock;
use ruler::group::GroupSpec;
use ruler::rule_file::{GroupDefaults, ReadOptions, RuleFile};

/// Largest rule file in a request.
const BODY_BYTES_MAX: usize = 8 << 20;

/// Begins a job from `start` to `end`. The body is a rule file, called `file`, whose groups without an interval have
/// `eval_interval`; without a body the groups that run are meant, or those that `file[]` and `rule_group[]` name.
///
/// # Errors
/// The API is off, a parameter or the file is wrong, or too many jobs wait.
pub async fn begin(State(state): State<AppState>, RawQuery(query): RawQuery, body: Body) -> Result<Response, ApiError> {
    let backfill = backfill(&state)?;
    let params = Params::parse(&[], query.as_deref().unwrap_or_default());
    let start_ms = params.required_time("start")?;
    let end_ms = params.required_time("end")?;
    if end_ms < start_ms {
        return Err(ApiError::bad_parameter("end", "it lies before start"));
    }
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| {
        ApiError::bad_data(format_args!("{error}; a rule file may have {BODY_BYTES_MAX} bytes here"))
    })?;
    let groups = if body.is_empty() { running(&state, &params) } else { sent(&state, &params, &body)? };
    if !groups.iter().any(|group| group.rules.iter().any(|rule| rule.alerting().is_none())) {
        return Err(ApiError::bad_data("no group with a recording rule was named"));
    }
    let status = backfill.begin(groups, (start_ms, end_ms));
    let status = status.map_err(|error| ApiError::new(ErrorType::Unavailable, error.to_string()))?;
    Ok(success_value(&status))
}

/// All jobs of this process, oldest first.
///
/// # Errors
/// The API is off.
pub async fn list(State(state): State<AppState>) -> Result<Response, ApiError> {
    Ok(success_value(&backfill(&state)?.jobs()))
}

/// One job.
///
/// # Errors
/// The API is off, or there is none of that number.
pub async fn job(State(state): State<AppState>, Path(id): Path<u64>) -> Result<Response, ApiError> {
    let job = backfill(&state)?.jobs().into_iter().find(|job| job.id == id);
    Ok(success_value(&job.ok_or_else(|| unknown(id))?))
}

/// Stops a job; what it stored stays.
///
/// # Errors
/// The API is off, or there is none of that number.
pub async fn cancel(State(state): State<AppState>, Path(id): Path<u64>) -> Result<Response, ApiError> {
    if backfill(&state)?.cancel(id) { Ok(success_value(&())) } else { Err(unknown(id)) }
}

fn unknown(id: u64) -> ApiError {
    ApiError::new(ErrorType::NotFound, format!("there is no job {id}"))
}

fn backfill(state: &AppState) -> Result<Backfill, ApiError> {
    state.backfill.clone().ok_or_else(|| ApiError::new(ErrorType::Unavailable, "admin APIs disabled"))
}

/// The groups that run, as they are configured.
fn running(state: &AppState, params: &Params) -> Vec<GroupSpec> {
    let is_named = |name: &'static str, value: &str| {
        let mut named = params.all(name).peekable();
        named.peek().is_none() || named.any(|named| named == value)
    };
    let specs = state.rules.groups().into_iter().map(|group| lock(&group).spec().clone());
    specs.filter(|spec| is_named("file[]", &spec.file) && is_named("rule_group[]", &spec.name)).collect()
}

/// The groups of a rule file that was sent.
fn sent(state: &AppState, params: &Params, body: &[u8]) -> Result<Vec<GroupSpec>, ApiError> {
    let text = std::str::from_utf8(body).map_err(|error| ApiError::bad_data(format_args!("rule file: {error}")))?;
    let file = match params.get("file") {
        "" => "backfill.yml",
        file => file,
    };
    let interval = match params.get("eval_interval") {
        "" => "1m",
        text => text,
    }
    .parse::<PromDuration>()
    .map_err(|error| ApiError::bad_parameter("eval_interval", error))?;
    if interval.as_millis() <= 0 {
        return Err(ApiError::bad_parameter("eval_interval", "it is not positive"));
    }
    let config = state.config.load();
    let query_offset_ms = config.global.rule_query_offset.as_millis();
    let legacy_names = crate::app::load::legacy_names(&config);
    let defaults = GroupDefaults { interval_ms: interval.as_millis(), query_offset_ms };
    let read = ReadOptions { parse: &state.queries.options().parse, ignore_unknown_fields: false, legacy_names };
    let parsed = RuleFile::read(file, text, &read).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        ApiError::bad_data(lines.join("\n"))
    })?;
    Ok(parsed.groups.into_iter().map(|group| group.resolve(file, defaults)).collect())
}
