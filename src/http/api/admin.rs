//! `/api/v1/admin/tsdb/…`: what operators do to stored samples. Off unless `--web.enable-admin-api` is given, as in Prometheus.

use super::dry_run::Doomed;
use super::selectors;
use crate::http::envelope::{Remarks, success, success_value};
use crate::http::error::{ApiError, ErrorType};
use crate::http::json::text::push_string;
use crate::http::params::Params;
use crate::http::state::AppState;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;
use storage::error::ErrorKind;
use storage::lifecycle::deletion_jobs::{DeletionJob, DeletionState};
use storage::store::{Store, StoreError};
use storage::tombstone::StoredMatcher;

/// Publishes what the head holds as blocks: `wait=true` answers when that is done, `compact=true` merges blocks, too.
///
/// # Errors
/// The API is off, a parameter is wrong, or the object store failed.
pub async fn flush(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let (wait, compact) = (params.flag("wait")?, params.flag("compact")?);
    let store = store(&state)?;
    let work = tokio::task::spawn_blocking(move || store.flush(compact));
    if wait {
        finish(work.await)?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Deletes the samples of the series that satisfy any `match[]`, from `start` to `end`; with `dry_run=true` only tells how many these are.
///
/// # Errors
/// The API is off, a parameter is wrong or missing, or the object store failed.
pub async fn delete_series(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let store = store(&state)?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let options = state.queries.options();
    let sets = selectors::parse(&params, &options.parse).map_err(|why| ApiError::bad_parameter("match[]", why))?;
    let (after_ms, end_ms) = selectors::time_range(&params)?;
    let start_ms = after_ms.saturating_add(1);
    if end_ms < start_ms {
        return Err(ApiError::bad_parameter("end", "it lies before start"));
    }
    if params.flag("dry_run")? {
        let (series, series_max) = (Arc::clone(&state.store), options.limits.series_max);
        let account = state.queries.lookup_account();
        let look = move || Doomed::count(&*series, &sets, (after_ms, end_ms), series_max, &account);
        let doomed = state.queries.run_store_lookup(after_ms, look).await??;
        return Ok(success_value(&doomed));
    }
    finish(tokio::task::spawn_blocking(move || store.delete_series(&sets, start_ms, end_ms)).await)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeletionView {
    id: String,
    /// A selector.
    #[serde(rename = "match")]
    selector: String,
    start: i64,
    end: i64,
    created_at: i64,
    state: DeletionState,
    finished_at: Option<i64>,
    blocks_rewritten: u64,
    bytes_reclaimed: u64,
    series_reclaimed: u64,
    samples_reclaimed: u64,
    error: Option<String>,
}

impl From<DeletionJob> for DeletionView {
    fn from(job: DeletionJob) -> Self {
        let matchers = job.matchers.iter().map(|StoredMatcher { name, op, value }| format!("{name}{op}{value:?}"));
        Self {
            selector: format!("{{{}}}", matchers.collect::<Vec<_>>().join(", ")),
            id: job.id,
            start: job.min_ms,
            end: job.max_ms,
            created_at: job.created_ms,
            state: job.state,
            finished_at: job.finished_ms,
            blocks_rewritten: job.blocks_rewritten,
            bytes_reclaimed: job.bytes_reclaimed,
            series_reclaimed: job.series_reclaimed,
            samples_reclaimed: job.samples_reclaimed,
            error: job.failure,
        }
    }
}

/// What became of deletions, the newest first; times in milliseconds since the Unix epoch.
///
/// # Errors
/// The API is off.
pub async fn deletions(State(state): State<AppState>) -> Result<Response, ApiError> {
    let jobs: Vec<_> = store(&state)?.deletions().into_iter().map(DeletionView::from).collect();
    Ok(success_value(&jobs))
}

/// Carries out all deletions and answers when that is done.
///
/// # Errors
/// The API is off, or a block could not be written anew.
pub async fn clean_tombstones(State(state): State<AppState>) -> Result<Response, ApiError> {
    let store = store(&state)?;
    finish(tokio::task::spawn_blocking(move || store.clean_tombstones()).await)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Copies all blocks to a directory below `snapshots` and answers its name; with `skip_head=true` without what is in memory.
///
/// # Errors
/// The API is off, a parameter is wrong, or a block could not be copied.
pub async fn snapshot(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let store = store(&state)?;
    let skip_head = match params.get("skip_head") {
        "" | "false" | "0" => false,
        "true" | "1" => true,
        other => {
            return Err(ApiError::bad_parameter("skip_head", format_args!("\"{other}\" is neither true nor false")));
        }
    };
    let name = finish(tokio::task::spawn_blocking(move || store.snapshot(skip_head)).await)?;
    let mut data = b"{\"name\":".to_vec();
    push_string(&mut data, &name);
    data.push(b'}');
    Ok(success(data, &Remarks::default()))
}

fn store(state: &AppState) -> Result<Store, ApiError> {
    state.admin.clone().ok_or_else(|| ApiError::new(ErrorType::Unavailable, "admin APIs disabled"))
}

fn finish<T>(outcome: Result<Result<T, StoreError>, tokio::task::JoinError>) -> Result<T, ApiError> {
    let outcome = outcome.map_err(|panic| ApiError::new(ErrorType::Internal, panic.to_string()))?;
    outcome.map_err(|error| {
        let error_type = match error.kind() {
            ErrorKind::Invalid => ErrorType::Execution,
            ErrorKind::Limited | ErrorKind::Unavailable => ErrorType::Unavailable,
            ErrorKind::Corrupt | ErrorKind::Internal => ErrorType::Internal,
        };
        ApiError::new(error_type, error.to_line())
    })
}
