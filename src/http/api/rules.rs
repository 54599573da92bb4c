//! `/api/v1/rules`, `/api/v1/alerts` and `/api/v1/alertmanagers`.

use crate::http::envelope::success_value;
use crate::http::error::ApiError;
use crate::http::params::Params;
use crate::http::state::AppState;
use axum::extract::State;
use axum::response::Response;
use ruler::filter::RulesFilter;
use ruler::view::{AlertsView, RulesView};
use serde_json::json;

/// The rule groups, filtered and by pages.
///
/// # Errors
/// A parameter is wrong.
pub async fn rules(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let filter = RulesFilter::from_parameters(params.url_pairs(), params.form_pairs()).map_err(ApiError::bad_data)?;
    let groups = state.rules.groups();
    // Thousands of rules and alerts take a while to copy and print.
    let print = move || RulesView::of(&groups, &filter).map(|view| success_value(&view));
    state.queries.run_lookup(print).await?.map_err(ApiError::bad_data)
}

/// The pending and firing alerts.
///
/// # Errors
/// None but bugs.
pub async fn alerts(State(state): State<AppState>) -> Result<Response, ApiError> {
    let groups = state.rules.groups();
    Ok(state.queries.run_lookup(move || success_value(&AlertsView::of(&groups))).await?)
}

/// The Alertmanagers to which alerts are sent.
pub async fn alertmanagers(State(state): State<AppState>) -> Response {
    let urls = |urls: Vec<String>| urls.into_iter().map(|url| json!({"url": url})).collect::<Vec<_>>();
    let (active, dropped) = (urls(state.alertmanagers.active()), urls(state.alertmanagers.dropped()));
    success_value(&json!({"activeAlertmanagers": active, "droppedAlertmanagers": dropped}))
}
