//! `/api/v1/metadata`: type, help and unit of metrics.

use crate::http::envelope::success_value;
use crate::http::error::ApiError;
use crate::http::params::{Params, parse_integer};
use crate::http::state::AppState;
use axum::extract::State;
use axum::response::Response;
use model::metadata::Metadata;
use serde::{Serialize, Serializer};
use std::sync::Arc;

/// What senders told about metrics: `{"metric":[{"type","help","unit"}]}`.
///
/// # Errors
/// A parameter is wrong.
pub async fn metadata(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let limit = bound(&params, "limit")?;
    let limit_per_metric = bound(&params, "limit_per_metric")?.filter(|limit| *limit > 0);
    let metric = Some(params.get("metric")).filter(|metric| !metric.is_empty()).map(str::to_owned);
    let source = Arc::clone(&state.metadata);
    let print = move || {
        let (limit, limit_per_metric) = (limit.unwrap_or(usize::MAX), limit_per_metric.unwrap_or(usize::MAX));
        success_value(&ByMetric(&source.metadata(metric.as_deref(), limit, limit_per_metric)))
    };
    Ok(state.queries.run_lookup(print).await?)
}

/// A bound; negative ones bound nothing.
fn bound(params: &Params, name: &str) -> Result<Option<usize>, ApiError> {
    match params.get(name) {
        "" => Ok(None),
        text => {
            let number = parse_integer(text);
            let number = number.map_err(|_| ApiError::bad_data(format_args!("{name} must be a number")))?;
            Ok(usize::try_from(number).ok())
        }
    }
}

struct ByMetric<'a>(&'a [(String, Vec<Metadata>)]);

#[derive(Serialize)]
struct MetadataView<'a> {
    r#type: &'static str,
    help: &'a str,
    unit: &'a str,
}

impl Serialize for ByMetric<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(metric, entries)| {
            let views: Vec<_> = entries
                .iter()
                .map(|entry| MetadataView { r#type: entry.metric_type.name(), help: &entry.help, unit: &entry.unit })
                .collect();
            (metric, views)
        }))
    }
}
