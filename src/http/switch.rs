//! A router that can be exchanged while it serves: the process listens before it can answer, so that whoever waits for it
//! is told so instead of being refused the connection.

use arc_swap::ArcSwap;
use axum::Router;
use std::sync::Arc;

/// Serves by the router that was set last. Cheap to clone.
#[derive(Clone)]
pub struct RouterSwitch {
    current: Arc<ArcSwap<Router>>,
}

impl RouterSwitch {
    /// Serves by `first` to begin with.
    #[must_use]
    pub fn new(first: Router) -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(first)) }
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
}
