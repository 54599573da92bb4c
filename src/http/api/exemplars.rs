//! `/api/v1/query_exemplars`: no exemplar is stored yet, so the list is empty; remote write refuses them.

use super::selectors;
use crate::http::envelope::{Remarks, success};
use crate::http::error::ApiError;
use crate::http::params::Params;
use crate::http::state::AppState;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use promql::ast::Expr;

/// The exemplars of the series that the selectors of the expression select. 204 when it has no selector.
///
/// # Errors
/// A parameter is wrong.
pub async fn exemplars(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let (after_ms, until_ms) = selectors::time_range(&params)?;
    if until_ms <= after_ms {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let expr = state.queries.parse(params.get("query")).await.map_err(ApiError::bad_data)?;
    if !has_selector(&expr) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(success(b"[]".to_vec(), &Remarks::default()))
}

fn has_selector(expr: &Expr) -> bool {
    match expr {
        Expr::Number(_) | Expr::String(_) => false,
        Expr::VectorSelector(_) | Expr::MatrixSelector(_) => true,
        Expr::Subquery(e) => has_selector(&e.expr),
        Expr::Aggregation(e) => has_selector(&e.expr) || e.param.as_deref().is_some_and(has_selector),
        Expr::Binary(e) => has_selector(&e.lhs) || has_selector(&e.rhs),
        Expr::Unary(e) => has_selector(&e.expr),
        Expr::Call(e) => e.args.iter().any(has_selector),
        Expr::Paren(e) => has_selector(&e.expr),
    }
}
