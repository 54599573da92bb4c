//! `/api/v1/format_query` and `/api/v1/parse_query`: expressions without their values.

use crate::http::envelope::success_value;
use crate::http::error::ApiError;
use crate::http::params::Params;
use crate::http::state::AppState;
use axum::extract::State;
use axum::response::Response;
use promql::ast::Expr;
use promql::printer::prettify;
use promql::tree::tree_json;

/// The expression as Prometheus prints it, on several lines when it is long.
///
/// # Errors
/// It is no expression.
pub async fn format(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    answer(&state, &params, |expr| success_value(&prettify(expr))).await
}

/// The syntax tree of the expression.
///
/// # Errors
/// It is no expression.
pub async fn tree(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    answer(&state, &params, |expr| success_value(&tree_json(expr))).await
}

/// Parses where queries are parsed and prints on the CPU pool: an expression may have a mebibyte.
async fn answer(state: &AppState, params: &Params, print: fn(&Expr) -> Response) -> Result<Response, ApiError> {
    let expr = state.queries.parse(params.get("query")).await?;
    Ok(state.queries.run_lookup(move || print(&expr)).await?)
}
