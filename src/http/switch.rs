//! A router that can be exchanged while it serves: the process listens before it can answer, so that whoever waits for it
//! is told so instead of being refused the connection.

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::Request;
use std::sync::Arc;
use tower::ServiceExt;

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

    /// The router to hand to a server.
    pub fn router(&self) -> Router {
        let current = Arc::clone(&self.current);
        let forward = move |request: Request| {
            let router = Router::clone(&current.load());
            async move { router.oneshot(request).await }
        };
        Router::new().fallback(forward)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::routing::get;
    use http_body_util::BodyExt;

    async fn ask(router: &Router) -> Vec<u8> {
        let request = Request::get("/").body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        answer.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test]
    async fn requests_meet_the_router_that_was_set_last() {
        let switch = RouterSwitch::new(Router::new().route("/", get(|| async { "early" })));
        let served = switch.router();
        assert_eq!(ask(&served).await, b"early");
        switch.set(Router::new().route("/", get(|| async { "late" })));
        assert_eq!(ask(&served).await, b"late");
    }
}
