//! `/api/v1/query_exemplars`: the exemplars of the series that the selectors of an expression select.

use super::selectors;
use crate::http::envelope::{Remarks, success};
use crate::http::error::ApiError;
use crate::http::json::number::push_timestamp;
use crate::http::json::text::push_labels;
use crate::http::params::Params;
use crate::http::state::AppState;
use crate::query::error::QueryFailure;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::matcher::Matcher;
use model::number::push_value;
use promql::ast::Expr;
use std::sync::Arc;

/// Exemplars from `start` to `end`, both included. 204 when the expression has no selector.
///
/// # Errors
/// A parameter is wrong.
pub async fn exemplars(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let (after_ms, until_ms) = selectors::time_range(&params)?;
    if until_ms <= after_ms {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let expr = state.queries.parse(params.get("query")).await.map_err(ApiError::bad_data)?;
    let mut sets = Vec::new();
    collect_selectors(&expr, &mut sets);
    if sets.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let store = Arc::clone(&state.store);
    let lookup = move || {
        let start_ms = if after_ms == i64::MIN { after_ms } else { after_ms + 1 };
        store.exemplars(&sets, start_ms, until_ms).map(|found| write(&found))
    };
    // Those of a block may be older than its samples: any block may have some.
    let written = state.queries.run_store_lookup(i64::MIN, lookup).await?.map_err(QueryFailure::from)?;
    Ok(success(written, &Remarks::default()))
}

/// The matchers of each selector.
fn collect_selectors(expr: &Expr, out: &mut Vec<Vec<Matcher>>) {
    match expr {
        Expr::Number(_) | Expr::String(_) => {}
        Expr::VectorSelector(e) => out.push(e.matchers.clone()),
        Expr::MatrixSelector(e) => out.push(e.selector.matchers.clone()),
        Expr::Subquery(e) => collect_selectors(&e.expr, out),
        Expr::Aggregation(e) => {
            collect_selectors(&e.expr, out);
            e.param.iter().for_each(|param| collect_selectors(param, out));
        }
        Expr::Binary(e) => {
            collect_selectors(&e.lhs, out);
            collect_selectors(&e.rhs, out);
        }
        Expr::Unary(e) => collect_selectors(&e.expr, out),
        Expr::Call(e) => e.args.iter().for_each(|argument| collect_selectors(argument, out)),
        Expr::Paren(e) => collect_selectors(&e.expr, out),
    }
}

fn write(series: &[(Labels, Vec<Exemplar>)]) -> Vec<u8> {
    let mut out = vec![b'['];
    for (number, (labels, exemplars)) in series.iter().enumerate() {
        out.extend_from_slice(if number == 0 { b"{\"seriesLabels\":" } else { b",{\"seriesLabels\":" });
        push_labels(&mut out, labels);
        out.extend_from_slice(b",\"exemplars\":[");
        for (number, exemplar) in exemplars.iter().enumerate() {
            out.extend_from_slice(if number == 0 { b"{\"labels\":" } else { b",{\"labels\":" });
            push_labels(&mut out, &exemplar.labels);
            out.extend_from_slice(b",\"value\":\"");
            push_value(&mut out, exemplar.value);
            out.extend_from_slice(b"\",\"timestamp\":");
            push_timestamp(&mut out, exemplar.timestamp_ms);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }
    out.push(b']');
    out
}
