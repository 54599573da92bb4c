//! `/api/v1/targets` and its neighbours: the one target that Hearth scrapes is itself.

use crate::http::envelope::success_value;
use crate::http::params::Params;
use crate::http::state::AppState;
use crate::scrape::self_scrape::TargetStatus;
use axum::extract::State;
use axum::response::Response;
use model::time::format_duration;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::PoisonError;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TargetsView {
    active_targets: Vec<TargetView>,
    /// Without relabelling none is ever dropped.
    dropped_targets: [(); 0],
    dropped_target_counts: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TargetView {
    discovered_labels: BTreeMap<&'static str, String>,
    labels: BTreeMap<&'static str, String>,
    scrape_pool: String,
    scrape_url: String,
    global_url: String,
    last_error: String,
    last_scrape: String,
    last_scrape_duration: f64,
    health: &'static str,
    scrape_interval: String,
    scrape_timeout: String,
}

/// The targets, by `state` (active, dropped, any) and `scrapePool` of the URL.
pub async fn targets(State(state): State<AppState>, params: Params) -> Response {
    let wanted_state = params.get_from_url("state").to_lowercase();
    let pool = params.get_from_url("scrapePool");
    let show_active = matches!(wanted_state.as_str(), "" | "any" | "active");
    let target = own_target(&state).filter(|target| show_active && (pool.is_empty() || target.job == pool));
    let active_targets = target.into_iter().map(|target| view(target, &state.process.external_url)).collect();
    success_value(&TargetsView { active_targets, dropped_targets: [], dropped_target_counts: BTreeMap::new() })
}

/// The names of the scrape pools.
pub async fn scrape_pools(State(state): State<AppState>) -> Response {
    let pools: Vec<String> = own_target(&state).map(|target| target.job).into_iter().collect();
    success_value(&BTreeMap::from([("scrapePools", pools)]))
}

fn own_target(state: &AppState) -> Option<TargetStatus> {
    let status = state.self_scrape.as_ref()?;
    Some(status.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

fn view(target: TargetStatus, external_url: &str) -> TargetView {
    let interval = format_duration(i64::try_from(target.interval.as_millis()).unwrap_or(i64::MAX));
    let health = match (target.last_scrape_ms, target.last_error.is_empty()) {
        (0, _) => "unknown",
        (_, true) => "up",
        (_, false) => "down",
    };
    TargetView {
        discovered_labels: BTreeMap::from([("__address__", target.instance.clone()), ("job", target.job.clone())]),
        labels: BTreeMap::from([("instance", target.instance), ("job", target.job.clone())]),
        scrape_pool: target.job,
        scrape_url: target.url,
        global_url: format!("{external_url}/metrics"),
        last_error: target.last_error,
        last_scrape: time(target.last_scrape_ms),
        last_scrape_duration: target.last_duration.as_secs_f64(),
        health,
        scrape_interval: interval.clone(),
        scrape_timeout: interval,
    }
}

/// Never is the year 1, the zero time of Go.
fn time(millis: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(millis).ok().filter(|_| millis != 0);
    time.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}
