//! The endpoint of remote write: `POST /api/v1/write`, and the same under the names that other receivers gave it.
//!
//! Turns headers into a [`WriteRequest`] and its outcome into a status code by which every known sender does the right thing:
//! 204 when everything is stored; 400 for what can never be stored, with reasons and counts, the rest being stored; 503
//! with `Retry-After` for what may succeed later; 415 for another format. Never 409, 413 or 429, which make senders drop
//! what could be stored. Answers to version 2.0 say what was written, whatever the status; answers to 1.0 never do,
//! because senders misread it. Specification: <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>.

mod body;
mod negotiation;

use super::rejected_samples;
use crate::ingest::report::WriteErrorKind;
use crate::ingest::{Ingest, WriteError, WriteReport, WriteRequest};
use crate::wire::Protocol;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get};
use body::BodyError;
use negotiation::{Format, Unsupported, asks_for_zstd, negotiate};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use xxhash_rust::xxh3::xxh3_64;

/// Paths of the endpoint: Prometheus', Mimir's and Cortex', Thanos'.
const PATHS: [&str; 3] = ["/api/v1/write", "/api/v1/push", "/api/v1/receive"];
/// Everything is served at the root and again below this.
const PREFIXES: [&str; 2] = ["", "/prometheus"];

/// How long a sender may take to transmit one body.
const BODY_WAIT_MAX: Duration = Duration::from_secs(30);

/// What the endpoint works with. A cheap handle.
#[derive(Debug, Clone)]
pub struct RemoteWriteState {
    ingest: Ingest,
    /// Milliseconds since the Unix epoch.
    clock: fn() -> i64,
    body_wait_max: Duration,
    /// Answers that asked to try again later, so that their times differ.
    deferred: Arc<AtomicU64>,
}

impl RemoteWriteState {
    /// The endpoint of a door, with the system's clock.
    #[must_use]
    pub fn new(ingest: Ingest) -> Self {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        Self { ingest, clock, body_wait_max: BODY_WAIT_MAX, deferred: Arc::default() }
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: fn() -> i64) -> Self {
        Self { clock, ..self }
    }

    /// The same with another time for transmitting a body.
    #[must_use]
    pub fn with_body_wait_max(self, body_wait_max: Duration) -> Self {
        Self { body_wait_max, ..self }
    }

    /// What was refused lately.
    pub(super) fn ingest(&self) -> &Ingest {
        &self.ingest
    }
}

/// The routes of remote write and of the list of refusals, each at the root and below `/prometheus`.
pub fn router(state: RemoteWriteState) -> Router {
    let mut router = Router::new();
    for prefix in PREFIXES {
        for path in PATHS {
            router = router.route(&format!("{prefix}{path}"), get(probe).post(write));
        }
        router = router.route(&format!("{prefix}{}", rejected_samples::PATH), get(rejected_samples::list));
    }
    router.with_state(state)
}

/// A sender of the VictoriaMetrics family asks whether it may use zstd.
async fn probe(request: Request) -> Response {
    if asks_for_zstd(request.uri().query()) {
        return "1".into_response();
    }
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")], "remote write takes POST\n").into_response()
}

async fn write(State(state): State<RemoteWriteState>, request: Request) -> Response {
    if asks_for_zstd(request.uri().query()) {
        return "1".into_response();
    }
    let started = Instant::now();
    let attempt = retry_attempt(request.headers());
    let (protocol, answer) = match negotiate(request.headers()) {
        Ok(format) => (Some(format.protocol), receive(&state, format, request).await),
        Err(unsupported) => (unsupported.protocol, Answer::from(unsupported)),
    };
    state.ingest.metrics().count_request(protocol, answer.status.as_u16(), started.elapsed());
    let retry_after = || retry_after_seconds(attempt, xxh3_64(&next(&state.deferred).to_le_bytes()));
    answer.into_response(protocol, retry_after)
}

fn next(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed)
}

async fn receive(state: &RemoteWriteState, format: Format, request: Request) -> Answer {
    let mut hold = state.ingest.inflight().begin();
    let compressed_max = snap::raw::max_compress_len(state.ingest.options().decoded_bytes_max);
    let reading = body::read(request.into_body(), compressed_max, &mut hold);
    let body = match tokio::time::timeout(state.body_wait_max, reading).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return Answer::from(error),
        Err(_) => return Answer::new(StatusCode::SERVICE_UNAVAILABLE, "the body took too long to arrive"),
    };
    let Format { protocol, encoding } = format;
    let request =
        WriteRequest { protocol, encoding, body, tenant: state.ingest.tenant().clone(), now_ms: (state.clock)() };
    match state.ingest.write(request, hold).await {
        Ok(report) => Answer::from(report),
        Err(error) => Answer::from(error),
    }
}

/// What the sender is told.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    /// Empty when there is nothing to say.
    text: String,
    /// Samples, native histograms, exemplars.
    written: [u64; 3],
}

impl Answer {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), written: [0; 3] }
    }

    fn into_response(self, protocol: Option<Protocol>, retry_after: impl FnOnce() -> u64) -> Response {
        let mut headers = HeaderMap::new();
        if protocol == Some(Protocol::V2) {
            for (name, written) in
                [SAMPLES_WRITTEN, HISTOGRAMS_WRITTEN, EXEMPLARS_WRITTEN].into_iter().zip(self.written)
            {
                headers.insert(name, HeaderValue::from(written));
            }
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after()));
        }
        if self.text.is_empty() {
            return (self.status, headers).into_response();
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        (self.status, headers, self.text + "\n").into_response()
    }
}

const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

impl From<WriteReport> for Answer {
    fn from(report: WriteReport) -> Self {
        let written @ [samples, histograms, exemplars] =
            [report.samples_written, report.histograms_written, report.exemplars_written];
        let (status, text) = if let Some(cause) = &report.retry {
            tracing::warn!(%cause, samples, histograms, exemplars, "remote write was not stored completely and is asked for again");
            (StatusCode::SERVICE_UNAVAILABLE, report.to_string())
        } else if report.refused.is_empty() {
            (StatusCode::NO_CONTENT, String::new())
        } else {
            tracing::debug!(%report, "remote write was refused in part");
            (StatusCode::BAD_REQUEST, report.to_string())
        };
        Self { status, text, written }
    }
}

impl From<WriteError> for Answer {
    fn from(error: WriteError) -> Self {
        let status = match error.kind() {
            WriteErrorKind::Invalid => StatusCode::BAD_REQUEST,
            WriteErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        if let WriteError::Store(cause) = &error {
            tracing::warn!(%cause, "remote write was not stored");
        }
        Self::new(status, error.to_string())
    }
}

impl From<BodyError> for Answer {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::TooLarge { .. } => StatusCode::BAD_REQUEST,
            BodyError::Overloaded(_) | BodyError::Broken(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<Unsupported> for Answer {
    fn from(unsupported: Unsupported) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, unsupported.message)
    }
}

/// How often the sender has tried this before, as it says.
fn retry_attempt(headers: &HeaderMap) -> u32 {
    headers.get("retry-attempt").and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)
}

/// When to try again: doubling with the attempts from one second to half a minute, and each up to twice that by chance, so
/// that senders that were turned away together do not return together.
fn retry_after_seconds(attempt: u32, random: u64) -> u64 {
    let base = 1u64 << attempt.min(5);
    base + random % (base + 1)
}

#[cfg(test)]
mod tests;
