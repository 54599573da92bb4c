//! `/api/v1/format_query` and `/api/v1/parse_query`: expressions without their values.

use crate::http::envelope::success_value;
use crate::http::error::ApiError;
use crate::http::params::Params;
use crate::http::state::AppState;
use axum::extract::State;
use axum::response::Response;
use promql::ast::Expr;

/// The expression as Prometheus prints it, on several lines when it is long.
///
/// # Errors
/// It is no expression.
pub async fn format(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let expr = parse(&state, &params).await?;
    Ok(success_value(&promql::printer::prettify(&expr)))
}

/// The syntax tree of the expression.
///
/// # Errors
/// It is no expression.
pub async fn tree(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let expr = parse(&state, &params).await?;
    Ok(success_value(&promql::tree::tree_json(&expr)))
}

async fn parse(state: &AppState, params: &Params) -> Result<Expr, ApiError> {
    Ok(state.queries.parse(params.get("query")).await?)
}
