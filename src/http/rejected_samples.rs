//! `GET /api/v1/status/rejected_samples`: the last samples that were refused, with series and reason, newest first.
//!
//! `limit` bounds the list: 100 without it, everything that is remembered with 0. In the envelope of the other endpoints:
//!
//! ```text
//! {"status":"success","data":{"rejected":[{"refusedAt":1795168800.123,"tenant":"anonymous",
//!   "series":"{__name__=\"up\", job=\"node\"}","timestamp":1795168799,"value":"1","count":1,
//!   "reason":"conflicting_value","explanation":"…"}],"totals":{"conflicting_value":1}}}
//! ```
//!
//! `timestamp` and `value` are left out where there is none; `totals` counts since the process started.

use super::remote_write::RemoteWriteState;
use crate::ingest::{Reason, Refusal};
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::text::format_value;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

/// The path below the root and below `/prometheus`.
pub(super) const PATH: &str = "/api/v1/status/rejected_samples";

const LIMIT_DEFAULT: usize = 100;

pub(super) async fn list(State(state): State<RemoteWriteState>, RawQuery(query): RawQuery) -> Response {
    let limit = match limit(query.as_deref()) {
        Ok(limit) => limit,
        Err(error) => {
            let problem = json!({"status": "error", "errorType": "bad_data", "error": error});
            return answer(StatusCode::BAD_REQUEST, &problem);
        }
    };
    let (refusals, more) = state.ingest().ledger().last(limit);
    let metrics = state.ingest().metrics();
    let totals: Map<String, Value> = Reason::ALL
        .into_iter()
        .map(|reason| (reason.name().to_owned(), metrics.rejected(reason).into()))
        .filter(|(_, count)| *count != 0)
        .collect();
    let rejected: Vec<Value> = refusals.iter().map(describe).collect();
    let mut document = json!({"status": "success", "data": {"rejected": rejected, "totals": totals}});
    if more && let Value::Object(fields) = &mut document {
        fields.insert("warnings".into(), json!(["results truncated due to limit"]));
    }
    answer(StatusCode::OK, &document)
}

fn answer(status: StatusCode, document: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}

fn limit(query: Option<&str>) -> Result<usize, String> {
    let parameters = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, value)) = parameters.into_iter().find(|(name, _)| *name == "limit") else {
        return Ok(LIMIT_DEFAULT);
    };
    let value = percent_decode_str(value).decode_utf8_lossy();
    match value.parse::<usize>() {
        Ok(0) => Ok(usize::MAX),
        Ok(limit) => Ok(limit),
        Err(_) => Err(format!("invalid parameter \"limit\": {value:?} is not a non-negative integer")),
    }
}

fn describe(refusal: &Refusal) -> Value {
    let mut fields = json!({
        "refusedAt": seconds(refusal.refused_at_ms),
        "tenant": refusal.tenant.as_str(),
        "series": refusal.series(),
        "count": refusal.count,
        "reason": refusal.reason.name(),
        "explanation": refusal.explanation(),
    });
    if let (Some(timestamp_ms), Value::Object(fields)) = (refusal.timestamp_ms, &mut fields) {
        fields.insert("timestamp".into(), seconds(timestamp_ms));
    }
    if let (Some(value), Value::Object(fields)) = (refusal.value, &mut fields) {
        fields.insert("value".into(), format_value(value).into());
    }
    fields
}

/// Seconds with up to three decimals, as all times of the API.
fn seconds(timestamp_ms: i64) -> Value {
    if timestamp_ms % 1000 == 0 { json!(timestamp_ms / 1000) } else { json!(timestamp_ms as f64 / 1000.0) }
}
