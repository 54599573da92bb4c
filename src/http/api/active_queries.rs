//! `/api/v1/status/active_queries`: which queries run or wait, and how to stop one. An endpoint of ours.

use crate::http::envelope::success_value;
use crate::http::error::{ApiError, ErrorType};
use crate::http::state::AppState;
use crate::query::active::ActiveQueryView;
use crate::query::journal::Interrupted;
use axum::extract::{RawPathParams, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ListView<'a> {
    queries: Vec<ActiveQueryView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_crash: Option<CrashView<'a>>,
}

/// What the process before this one left.
#[derive(Debug, Serialize)]
struct CrashView<'a> {
    queries: Vec<InterruptedView<'a>>,
}

#[derive(Debug, Serialize)]
struct InterruptedView<'a> {
    query: &'a str,
    tenant: &'a str,
    /// When it arrived, as RFC 3339 in UTC.
    start: String,
}

impl<'a> InterruptedView<'a> {
    fn of(query: &'a Interrupted) -> Self {
        let start = jiff::Timestamp::from_millisecond(query.started_ms).unwrap_or_default().to_string();
        Self { query: &query.text, tenant: &query.tenant, start }
    }
}

/// The queries in flight, in order of arrival, and those that were in flight when the process before this one died.
pub async fn list(State(state): State<AppState>) -> Response {
    let active = state.queries.active();
    let interrupted: Vec<_> = active.interrupted().iter().map(InterruptedView::of).collect();
    let last_crash = (!interrupted.is_empty()).then_some(CrashView { queries: interrupted });
    success_value(&ListView { queries: active.list(), last_crash })
}

/// Stops one query; its client is told that it was cancelled. 204.
///
/// # Errors
/// No query in flight has the number.
pub async fn cancel(State(state): State<AppState>, path: RawPathParams) -> Result<Response, ApiError> {
    let id = path.iter().find(|(key, _)| *key == "id").map_or("", |(_, value)| value);
    let cancelled = id.parse().is_ok_and(|id| state.queries.active().cancel(id));
    if cancelled {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(ApiError::new(ErrorType::NotFound, format!("no query with id {id:?} is in flight")))
    }
}
