//! Whether Hearth can answer yet, or still.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Replaying its log; cannot answer yet.
    Starting,
    /// Answers.
    Ready,
    /// Finishing what was begun; takes nothing new.
    Stopping,
}

/// The phase of this process, shared by whoever sets it and whoever asks. It starts as [`Phase::Starting`].
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    phase: Arc<AtomicU8>,
}

impl Readiness {
    /// Enters a phase.
    pub fn set(&self, phase: Phase) {
        let number = match phase {
            Phase::Starting => 0,
            Phase::Ready => 1,
            Phase::Stopping => 2,
        };
        self.phase.store(number, Ordering::Release);
    }

    /// The current phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Stopping,
        }
    }
}

/// Lets requests through only while the process is ready; else 503 with the header that tells clients of Prometheus
/// whether waiting helps.
pub async fn require_ready(State(readiness): State<Readiness>, request: Request, next: Next) -> Response {
    match readiness.phase() {
        Phase::Ready => next.run(request).await,
        phase => unavailable(phase),
    }
}

/// Lets no request through. Until the routes of a process that is ready have taken their place nothing is answered 404, whatever
/// the phase: senders would drop what they have.
pub async fn refuse(State(readiness): State<Readiness>) -> Response {
    unavailable(readiness.phase())
}

fn unavailable(phase: Phase) -> Response {
    let stopping = if phase == Phase::Stopping { "true" } else { "false" };
    let headers = [(header::HeaderName::from_static("x-prometheus-stopping"), stopping), (header::RETRY_AFTER, "1")];
    (StatusCode::SERVICE_UNAVAILABLE, headers, "Service Unavailable").into_response()
}
