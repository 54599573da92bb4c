//! Health, readiness, reload and the own metrics: what operators and their machinery ask for.

use crate::http::exposition;
use crate::http::state::{AppState, EarlyState};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The process runs.
pub async fn healthy() -> &'static str {
    "Hearth is Healthy.\n"
}

/// The process answers requests; behind the readiness check.
pub async fn ready() -> &'static str {
    "Hearth is Ready.\n"
}

/// The same as load balancers in front of Mimir ask for it.
pub async fn ready_plain() -> &'static str {
    "ready\n"
}

/// Loads the configuration again; 200 when it is in force.
pub async fn reload(State(state): State<AppState>) -> Response {
    match state.reload.reload().await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(problem) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {problem}\n")).into_response()
        }
    }
}

/// A reload asked for by a link must not happen.
pub async fn reload_refused() -> Response {
    let allow = [(header::ALLOW, "POST, PUT")];
    (StatusCode::METHOD_NOT_ALLOWED, allow, "Only POST or PUT requests allowed").into_response()
}

/// The own metrics. Printed aside: with many rule groups the page is long.
pub async fn metrics(State(early): State<EarlyState>) -> Response {
    match tokio::task::spawn_blocking(move || exposition::page(&early.registries, early.prometheus_names)).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response(),
        failed => {
            tracing::error!(?failed, "the own metrics cannot be printed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
