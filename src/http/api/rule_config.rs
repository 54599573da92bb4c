//! The configuration API of Mimir's and Cortex' rulers: groups as YAML, by namespace. What mimirtool, cortextool and
//! Grafana's rule editor talk to.
//!
//! Errors are texts, as there. Namespace and group are parts of the path, escaped where they contain a slash. While tenants
//! are off, `X-Scope-OrgID` is ignored as everywhere.

use crate::http::state::AppState;
use crate::rules::config::{RuleConfig, RuleConfigError, RuleConfigErrorKind};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

/// Largest body: a group of some ten thousand rules.
const BODY_BYTES_MAX: usize = 8 << 20;

/// Where Mimir and older versions of Cortex have the API; below, all methods are the API's.
const PREFIXES: [&str; 2] = ["/config/v1/rules", "/api/prom/rules"];

/// What writes are answered with.
const ACCEPTED: &str = r#"{"status":"success","data":null,"errorType":"","error":""}"#;

/// The routes. `/api/v1/rules` itself is Prometheus'; what Cortex has below it is here.
pub fn routes() -> Router<AppState> {
    let mut router = Router::new();
    for prefix in PREFIXES {
        router = router.route(prefix, get(list));
        router = below(router, prefix);
    }
    below(router, "/api/v1/rules")
        .route("/ruler/rule_groups", get(tenants))
        .route("/ruler/delete_tenant_config", post(remove_all))
}

fn below(router: Router<AppState>, prefix: &str) -> Router<AppState> {
    router
        .route(&format!("{prefix}/{{namespace}}"), writes().get(namespace))
        .route(&format!("{prefix}/{{namespace}}/{{group}}"), get(group).delete(remove))
}

/// Writes to a namespace.
fn writes() -> MethodRouter<AppState> {
    post(set).delete(remove_namespace)
}

async fn list(State(state): State<AppState>) -> Result<Response, Refusal> {
    let config = config(&state)?;
    print(&state, move || config.list(None)).await
}

async fn namespace(State(state): State<AppState>, Path(name): Path<String>) -> Result<Response, Refusal> {
    let config = config(&state)?;
    print(&state, move || config.list(Some(&name))).await
}

async fn group(State(state): State<AppState>, Path(path): Path<(String, String)>) -> Result<Response, Refusal> {
    Ok(yaml(config(&state)?.group(&path.0, &path.1)?))
}

/// The tenant with its rules, as Mimir lists those of all.
async fn tenants(State(state): State<AppState>) -> Result<Response, Refusal> {
    let config = config(&state)?;
    let tenant = state.tenant.clone();
    let print_all = move || {
        let text = config.list(None)?;
        let indented: String = text.lines().map(|line| format!("  {line}\n")).collect();
        Ok(format!("{tenant}:\n{indented}"))
    };
    print(&state, print_all).await
}

async fn set(State(state): State<AppState>, Path(name): Path<String>, body: Body) -> Result<Response, Refusal> {
    let config = config(&state)?;
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, format!("{error}; a group may have {BODY_BYTES_MAX} bytes"))
    })?;
    let text = std::str::from_utf8(&body)
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, format!("the body is not UTF-8: {error}")))?;
    config.set(&name, text).await?;
    Ok(accepted())
}

async fn remove(State(state): State<AppState>, Path(path): Path<(String, String)>) -> Result<Response, Refusal> {
    config(&state)?.remove(&path.0, &path.1).await?;
    Ok(accepted())
}

async fn remove_namespace(State(state): State<AppState>, Path(name): Path<String>) -> Result<Response, Refusal> {
    config(&state)?.remove_namespace(&name).await?;
    Ok(accepted())
}

async fn remove_all(State(state): State<AppState>) -> Result<Response, Refusal> {
    config(&state)?.remove_all().await?;
    Ok(StatusCode::OK.into_response())
}

/// The configured rules, if the API is on.
fn config(state: &AppState) -> Result<RuleConfig, Refusal> {
    let off = "the rule configuration API is off: start with --rules.config-api=on or =announced";
    state.rule_config.clone().ok_or_else(|| Refusal::new(StatusCode::FORBIDDEN, off.to_owned()))
}

/// Prints on a thread that may compute: thousands of groups take a while.
async fn print(
    state: &AppState,
    print: impl FnOnce() -> Result<String, RuleConfigError> + Send + 'static,
) -> Result<Response, Refusal> {
    match state.queries.run_lookup(print).await {
        Ok(text) => Ok(yaml(text?)),
        Err(failure) => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, failure.to_string())),
    }
}

fn yaml(text: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"))], text).into_response()
}

fn accepted() -> Response {
    let json = HeaderValue::from_static("application/json");
    (StatusCode::ACCEPTED, [(header::CONTENT_TYPE, json)], ACCEPTED).into_response()
}

/// A text with a status.
struct Refusal {
    status: StatusCode,
    text: String,
}

impl Refusal {
    fn new(status: StatusCode, text: String) -> Self {
        Self { status, text }
    }
}

impl From<RuleConfigError> for Refusal {
    fn from(error: RuleConfigError) -> Self {
        let status = match error.kind() {
            RuleConfigErrorKind::Invalid => StatusCode::BAD_REQUEST,
            RuleConfigErrorKind::NotFound => StatusCode::NOT_FOUND,
            RuleConfigErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            RuleConfigErrorKind::Corrupt => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let text = crate::app::load::with_causes(&error);
        if status.is_server_error() {
            tracing::warn!(problem = text, "a request to the rule configuration failed");
        }
        Self { status, text }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, format!("{}\n", self.text)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
