//! Which tenant a request is for: the header `X-Scope-OrgID` says it, as with Cortex, Mimir and Loki.
//!
//! Each tenant has the routes of a whole process, so that no handler can reach the data of another. What is about the process
//! alone needs no header.

use super::cors::AllowedOrigins;
use super::request_metrics::{ALIAS_PREFIX, RequestMetrics};
use super::state::EarlyState;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use model::tenant::{self, TenantId, TenantIdError};
use std::sync::Arc;
use tower::ServiceExt;

/// What is answered without a tenant, beside everything below `/-/`.
const OF_PROCESS: [&str; 10] = [
    "/",
    "/metrics",
    "/ready",
    "/api/v1/status/buildinfo",
    "/api/v1/status/config",
    "/api/v1/status/flags",
    "/api/v1/status/walreplay",
    "/api/v1/features",
    "/api/v1/notifications",
    "/api/v1/notifications/live",
];

/// Where the routes of tenants come from.
pub trait TenantRoutes: Send + Sync {
    /// Those of a tenant that is open.
    fn open(&self, tenant: &TenantId) -> Option<Router>;

    /// Those of a tenant, which is opened if it is not.
    ///
    /// # Errors
    /// There are too many, or it cannot be opened now.
    fn opened(&self, tenant: TenantId) -> BoxFuture<'_, Result<Router, TenantRefused>>;
}

/// Why a tenant has no routes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantRefused {
    /// Its requests may come again when the operator allows more.
    #[error("there are {max} tenants already, and --tenants.max allows no more")]
    TooMany {
        /// How many there may be.
        max: usize,
    },
    /// It may be open later.
    #[error("{why}")]
    Unavailable {
        /// Why it is not.
        why: String,
    },
}

#[derive(Clone)]
struct Door {
    tenants: Arc<dyn TenantRoutes>,
    /// For what is about the process alone.
    process: Router,
    /// For what is answered here.
    request_metrics: RequestMetrics,
    cors: AllowedOrigins,
}

/// Answers each request by the routes of its tenant, and what is about the process alone by `process`. What is refused here is
/// counted as requests are.
pub fn by_tenant(tenants: Arc<dyn TenantRoutes>, process: Router, early: &EarlyState) -> Router {
    let (request_metrics, cors) = (early.request_metrics.clone(), early.cors.clone());
    Router::new().fallback(dispatch).with_state(Door { tenants, process, request_metrics, cors })
}

async fn dispatch(State(door): State<Door>, request: Request) -> Response {
    let refusal = match door.routes(request.headers(), request.uri().path(), request.method()).await {
        Ok(routes) => return routes.oneshot(request).await.unwrap_or_else(|never| match never {}),
        Err(refusal) => refusal,
    };
    let counted = door.request_metrics.begin(&request);
    let mut response = refusal.into_response();
    door.cors.add_headers(request.headers().get(header::ORIGIN), response.headers_mut());
    door.request_metrics.end(counted, &response);
    response
}

impl Door {
    async fn routes(&self, headers: &HeaderMap, path: &str, method: &Method) -> Result<Router, Refusal> {
        match named(headers)? {
            Some(tenant) => match self.tenants.open(&tenant) {
                Some(routes) => Ok(routes),
                None => Ok(self.tenants.opened(tenant).await?),
            },
            // Browsers ask without the header whether they may send it.
            None if is_of_process(path) || method == Method::OPTIONS => Ok(self.process.clone()),
            None => Err(TenantIdError::Empty.into()),
        }
    }
}

/// Why a request has no routes.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Name(#[from] TenantIdError),
    #[error("the header {} is there more than once", tenant::HEADER)]
    Twice,
    #[error(transparent)]
    Tenant(#[from] TenantRefused),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let text = format!("{self}\n");
        match self {
            Self::Name(TenantIdError::Empty) => (StatusCode::UNAUTHORIZED, text).into_response(),
            Self::Name(_) | Self::Twice => (StatusCode::BAD_REQUEST, text).into_response(),
            // Senders keep their samples.
            Self::Tenant(_) => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "10")], text).into_response(),
        }
    }
}

/// The tenant that a request names. A proxy that adds its header instead of replacing the client's must not be fooled.
fn named(headers: &HeaderMap) -> Result<Option<TenantId>, Refusal> {
    let mut values = headers.get_all(tenant::HEADER).iter();
    let Some(value) = values.next().filter(|value| !value.is_empty()) else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::Twice);
    }
    Ok(Some(String::from_utf8_lossy(value.as_bytes()).parse()?))
}

fn is_of_process(path: &str) -> bool {
    let path = path.strip_prefix(ALIAS_PREFIX).filter(|rest| rest.starts_with('/')).unwrap_or(path);
    path.starts_with("/-/") || OF_PROCESS.contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::readiness::Readiness;
    use crate::runtime::notices::Notices;
    use crate::telemetry::registries::Registries;
    use axum::body::Body;
    use axum::routing::get;
    use futures::FutureExt;
    use http_body_util::BodyExt;

    /// `a` is open, `b` is opened, there may be no more; `broken` is.
    struct Two;

    impl TenantRoutes for Two {
        fn open(&self, tenant: &TenantId) -> Option<Router> {
            (tenant.as_str() == "a").then(|| routes("a"))
        }

        fn opened(&self, tenant: TenantId) -> BoxFuture<'_, Result<Router, TenantRefused>> {
            let routes = match tenant.as_str() {
                "b" => Ok(routes("b")),
                "broken" => Err(TenantRefused::Unavailable { why: "no disk".into() }),
                _ => Err(TenantRefused::TooMany { max: 2 }),
            };
            async { routes }.boxed()
        }
    }

    fn routes(name: &'static str) -> Router {
        Router::new().fallback(get(move || async move { name }))
    }

    async fn ask(path: &str, tenant: Option<&str>) -> (u16, String) {
        let request = Request::get(path);
        let request = match tenant {
            Some(tenant) => request.header("X-Scope-OrgID", tenant),
            None => request,
        };
        let early = EarlyState {
            readiness: Readiness::default(),
            replay: Arc::default(),
            registries: Registries::default(),
            prometheus_names: false,
            request_metrics: RequestMetrics::default(),
            notices: Notices::new(1),
            cors: AllowedOrigins::new(".*").unwrap(),
        };
        let door = by_tenant(Arc::new(Two), routes("process"), &early);
        let answer = door.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_request_meets_the_routes_of_its_tenant() {
        assert_eq!(ask("/api/v1/query", Some("a")).await, (200, "a".into()));
        assert_eq!(ask("/api/v1/query", Some("b")).await, (200, "b".into()));
        assert_eq!(ask("/metrics", Some("b")).await, (200, "b".into()));
    }

    #[tokio::test]
    async fn only_what_is_about_the_process_needs_no_tenant() {
        for path in ["/metrics", "/-/ready", "/prometheus/-/healthy", "/prometheus/api/v1/status/buildinfo"] {
            assert_eq!(ask(path, None).await, (200, "process".into()), "{path}");
        }
        for path in ["/api/v1/query", "/prometheus/api/v1/write", "/metrics/x", "/api/v1/rules", "/federate"] {
            assert_eq!(ask(path, None).await, (401, "no org id\n".into()), "{path}");
            assert_eq!(ask(path, Some("")).await, (401, "no org id\n".into()), "{path}");
        }
    }

    #[tokio::test]
    async fn who_cannot_be_served_is_told_why() {
        assert_eq!(ask("/api/v1/query", Some("a|b")).await.0, 400);
        let (status, text) = ask("/api/v1/write", Some("c")).await;
        assert_eq!((status, text.contains("--tenants.max")), (503, true), "{text}");
        assert_eq!(ask("/api/v1/write", Some("broken")).await, (503, "no disk\n".into()));
    }
}
