//! `/api/v1/status/active_queries`: which queries run or wait, and how to stop one. An endpoint of ours.

use crate::http::envelope::success_value;
use crate::http::error::{ApiError, ErrorType};
use crate::http::state::AppState;
use crate::query::active::ActiveQueryView;
use axum::extract::{RawPathParams, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

#[derive(Debug, Serialize)]
struct ListView {
    queries: Vec<ActiveQueryView>,
}

/// The queries in flight, in order of arrival.
pub async fn list(State(state): State<AppState>) -> Response {
    success_value(&ListView { queries: state.queries.active().list() })
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
