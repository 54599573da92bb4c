//! The HTTP interface: Prometheus' API at `/` and again under `/prometheus`, and what operators ask for.
//!
//! [`app`] puts the routes and everything around them together, [`server`] serves them. Handlers take parameters apart, ask
//! the part of the process that knows, and write the answer; what a query means or how samples are stored is not decided
//! here.
pub mod server;
pub mod state;
pub mod switch;
pub mod tenancy;

pub mod accepted;
pub mod api;
pub mod envelope;
pub mod error;
pub mod exposition;
pub mod json;
pub mod label_name;
pub mod params;
pub mod rejected_samples;
pub mod remote_write;

pub mod cors;
pub mod readiness;
pub mod request_metrics;

use api::{
    active_queries, admin, exemplars, expression, features, federate, history, lifecycle, metadata, notifications,
    query, remote_read, rule_backfill, rules, search, series, status, status_blocks, targets,
};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use cors::AllowedOrigins;
use request_metrics::RequestMetrics;
use state::{AppState, EarlyState};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

/// All routes of the process: ours, below `/` and again below `/prometheus`, and `others` (such as remote write) under the
/// paths that they name. What needs stored series is answered only while the process is ready; every request is counted,
/// gets CORS headers, and a compressed answer when its client asks for one.
pub fn app(state: &AppState, others: Router) -> Router {
    let ready_only = from_fn_with_state(state.early.readiness.clone(), readiness::require_ready);
    let reload = post(lifecycle::reload).put(lifecycle::reload).get(lifecycle::reload_refused);
    let routes = conditional_routes()
        .layer(ready_only.clone())
        .route("/-/reload", reload)
        .with_state(state.clone())
        .merge(early_routes(&state.early));
    let all = Router::new().nest(request_metrics::ALIAS_PREFIX, routes.clone()).merge(routes);
    furnish(all.merge(others.layer(ready_only)).fallback(not_found), &state.early)
}

/// The routes of a process that replays its log: whatever needs stored series is answered 503.
pub fn starting_app(early: &EarlyState) -> Router {
    let routes = early_routes(early);
    let rest = Router::new().fallback(readiness::refuse).with_state(early.readiness.clone());
    let all = Router::new().nest(request_metrics::ALIAS_PREFIX, routes.clone()).merge(routes);
    furnish(all.fallback_service(rest), early)
}

/// Puts around the routes what every request meets.
fn furnish(routes: Router, early: &EarlyState) -> Router {
    // The fastest level: answers compress well, and the network is rarely the slow part.
    let compression = CompressionLayer::new().quality(CompressionLevel::Fastest);
    routes
        .method_not_allowed_fallback(method_not_allowed)
        .layer(compression)
        .layer(from_fn_with_state((early.request_metrics.clone(), early.cors.clone()), around))
}

/// What can be answered only while the process is ready.
fn conditional_routes() -> Router<AppState> {
    Router::new()
        .merge(api_routes())
        .route("/api/v1/status/buildinfo", get(status::build_info))
        .merge(admin_routes())
        // Cortex' place. There is no build information there, by which Grafana takes it for Cortex and edits its rules.
        .nest(request_metrics::CORTEX_PREFIX, api_routes())
        .merge(api::rule_config::routes())
        .route("/federate", get(federate::federate))
        .route("/-/ready", get(lifecycle::ready))
        .route("/ready", get(lifecycle::ready_plain))
}

/// What Prometheus' clients ask for, wherever they look. Paths are written out: a nested router, as in Cortex' place, costs each
/// request another layer and a copy of its URI.
fn api_routes() -> Router<AppState> {
    let routes = Router::new();
    #[cfg(feature = "sql")]
    let routes = routes.route("/api/v1/sql", get(api::sql::run).post(api::sql::run));
    routes
        .route("/api/v1/query", get(query::instant).post(query::instant))
        .route("/api/v1/query_range", get(query::range).post(query::range))
        .route("/api/v1/read", post(remote_read::read))
        .route("/api/v1/query_exemplars", get(exemplars::exemplars).post(exemplars::exemplars))
        .route("/api/v1/format_query", get(expression::format).post(expression::format))
        .route("/api/v1/parse_query", get(expression::tree).post(expression::tree))
        .route("/api/v1/series", get(series::series).post(series::series))
        .route("/api/v1/labels", get(series::label_names).post(series::label_names))
        .route("/api/v1/label/{name}/values", get(series::label_values))
        .route("/api/v1/search/metric_names", get(search::metric_names).post(search::metric_names))
        .route("/api/v1/search/label_names", get(search::label_names).post(search::label_names))
        .route("/api/v1/search/label_values", get(search::label_values).post(search::label_values))
        .route("/api/v1/metadata", get(metadata::metadata))
        .route("/api/v1/rules", get(rules::rules))
        .route("/api/v1/rules/history", get(history::rules))
        .route("/api/v1/alerts", get(rules::alerts))
        .route("/api/v1/alerts/history", get(history::alerts))
        .route("/api/v1/alertmanagers", get(rules::alertmanagers))
        .route("/api/v1/targets", get(targets::targets))
        .route("/api/v1/scrape_pools", get(targets::scrape_pools))
        .route("/api/v1/features", get(features::features))
        .route("/api/v1/status/runtimeinfo", get(status::runtime_info))
        .route("/api/v1/status/config", get(status::config))
        .route("/api/v1/status/flags", get(status::flags))
        .route("/api/v1/status/tsdb", get(status::tsdb))
        .route("/api/v1/status/tsdb/blocks", get(status_blocks::list))
        .route("/api/v1/status/tsdb/blocks/{ulid}", get(status_blocks::block))
        .route("/api/v1/status/active_queries", get(active_queries::list))
        .route("/api/v1/status/active_queries/{id}", delete(active_queries::cancel))
        .route("/api/v1/status/active_queries/{id}/cancel", post(active_queries::cancel))
}

/// What operators change stored samples by. Not in Cortex' place: who keeps others from it by its path
/// has no third place to know.
fn admin_routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/admin/tsdb/flush", post(admin::flush).put(admin::flush))
        .route("/api/v1/admin/tsdb/delete_series", post(admin::delete_series).put(admin::delete_series))
        .route("/api/v1/admin/tsdb/deletions", get(admin::deletions))
        .route("/api/v1/admin/tsdb/clean_tombstones", post(admin::clean_tombstones).put(admin::clean_tombstones))
        .route("/api/v1/admin/rules/backfill", get(rule_backfill::list).post(rule_backfill::begin))
        .route("/api/v1/admin/rules/backfill/{id}", get(rule_backfill::job).delete(rule_backfill::cancel))
        .route("/api/v1/admin/tsdb/snapshot", post(admin::snapshot).put(admin::snapshot))
}

/// What is answered in every phase of the process.
fn early_routes(early: &EarlyState) -> Router {
    Router::new()
        .route("/api/v1/status/walreplay", get(status::wal_replay))
        .route("/api/v1/notifications", get(notifications::list))
        .route("/api/v1/notifications/live", get(notifications::live))
        .route("/-/healthy", get(lifecycle::healthy))
        .route("/metrics", get(lifecycle::metrics))
        .with_state(early.clone())
}

/// What every request meets, in one layer: each one copies all within it. Requests are counted, answers get CORS headers, and
/// browsers that ask before they send are told by these alone.
async fn around(
    State((metrics, cors)): State<(RequestMetrics, AllowedOrigins)>,
    request: Request,
    next: Next,
) -> Response {
    let counted = metrics.begin(&request);
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    cors.add_headers(origin.as_ref(), response.headers_mut());
    metrics.end(counted, &response);
    response
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}

async fn method_not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n").into_response()
}

#[cfg(test)]
mod tests;
