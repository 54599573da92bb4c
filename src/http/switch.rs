//! A router that can be exchanged while it serves: the process listens before it can answer, so that whoever waits for it
//! is told so instead of being refused the connection.

use arc_swap::ArcSwap;
use axum::Router;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use std::sync::Arc;

/// What the paths of this process begin with.
const OWN: [&str; 8] = ["-", "api", "config", "federate", "metrics", "prometheus", "ready", "ruler"];

/// Serves by the router that was set last. Cheap to clone.
#[derive(Clone)]
pub struct RouterSwitch {
    current: Arc<ArcSwap<Router>>,
    /// Path below which everything is found once more; empty when there is none.
    prefix: Arc<str>,
}

impl RouterSwitch {
    /// Serves by `first` to begin with.
    #[must_use]
    pub fn new(first: Router) -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(first)), prefix: Arc::from("") }
    }

    /// Serves everything below `prefix`, too, as Prometheus does below the path of its external URL: a proxy need not remove it.
    /// Not below a path that begins like one of ours: what is asked for could not be told from what it would be without it.
    #[must_use]
    pub fn below(self, prefix: &str) -> Self {
        let prefix = prefix.trim_end_matches('/');
        let first = prefix.trim_start_matches('/').split('/').next().unwrap_or_default();
        Self { prefix: Arc::from(if OWN.contains(&first) { "" } else { prefix }), ..self }
    }

    /// Takes the prefix from what a request asks for.
    pub(super) fn remove_prefix(&self, uri: &mut Uri) {
        let asked = uri.path_and_query().map_or("", PathAndQuery::as_str);
        let Some(rest) = asked.strip_prefix(&*self.prefix).filter(|_| !self.prefix.is_empty()) else { return };
        let rest = match rest.chars().next() {
            Some('/') => PathAndQuery::try_from(rest),
            Some('?') | None => PathAndQuery::try_from(format!("/{rest}")),
            Some(_) => return,
        };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = rest.ok();
        if let Ok(relative) = Uri::from_parts(parts) {
            *uri = relative;
        }
    }

    /// Serves by `next` from now on; requests in flight stay where they are.
    pub fn set(&self, next: Router) {
        self.current.store(Arc::new(next));
    }

    /// The router that was set last. A cheap handle.
    pub fn current(&self) -> Router {
        Router::clone(&self.current.load())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn ask(switch: &RouterSwitch) -> Vec<u8> {
        let request = Request::get("/").body(Body::empty()).unwrap();
        let answer = switch.current().oneshot(request).await.unwrap();
        answer.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test]
    async fn requests_meet_the_router_that_was_set_last() {
        let switch = RouterSwitch::new(Router::new().route("/", get(|| async { "early" })));
        let served = switch.clone();
        assert_eq!(ask(&served).await, b"early");
        switch.set(Router::new().route("/", get(|| async { "late" })));
        assert_eq!(ask(&served).await, b"late");
    }

    #[test]
    fn a_prefix_is_removed_where_it_is_one() {
        let removed = |prefix: &str, asked: &'static str| {
            let mut uri = Uri::from_static(asked);
            RouterSwitch::new(Router::new()).below(prefix).remove_prefix(&mut uri);
            uri.to_string()
        };
        assert_eq!(removed("/prom/", "/prom/api/v1/query?query=up"), "/api/v1/query?query=up");
        assert_eq!(removed("/prom", "/prom"), "/");
        assert_eq!(removed("/prom", "/prom?a=b"), "/?a=b");
        assert_eq!(removed("/prom", "http://h.example/prom/graph"), "http://h.example/graph");
        for (prefix, asked) in [
            ("/prom", "/prometheus/api"),
            ("/prom", "/api"),
            ("", "/api"),
            ("/", "/api"),
            ("/metrics", "/metrics"),
            ("/api", "/api/v1/write"),
            ("/api/prom", "/api/prom/rules"),
        ] {
            assert_eq!(removed(prefix, asked), asked);
        }
    }
}
