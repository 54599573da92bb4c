//! Counts requests and measures how long their answers take.

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Instant;

/// Bounds in seconds, from a look-up to the longest query.
const SECONDS_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0];

/// Everything below this prefix is served at the root too and counted as one.
pub const ALIAS_PREFIX: &str = "/prometheus";

/// Prometheus' API below this prefix, Cortex' place, is served at the root too and counted as one.
pub const CORTEX_PREFIX: &str = "/api/prom";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    handler: String,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandlerLabels {
    handler: String,
}

/// Counters of requests; a clone counts on the same ones.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<HandlerLabels, Histogram>,
    in_flight: Gauge,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS_BUCKETS)),
            in_flight: Gauge::default(),
        }
    }
}

impl RequestMetrics {
    /// Makes the metrics part of a registry.
    pub fn register(&self, registry: &mut Registry) {
        let requests = "HTTP requests by route and status code";
        registry.register("hearth_http_requests", requests, self.requests.clone());
        let seconds = "Time until the head of the answer was ready, by route";
        registry.register("hearth_http_request_duration_seconds", seconds, self.seconds.clone());
        let in_flight = "HTTP requests that are being answered";
        registry.register("hearth_http_requests_in_flight", in_flight, self.in_flight.clone());
    }

    /// Begins to count a request by its route, never by its path: paths are chosen by clients and without number.
    pub(super) fn begin(&self, request: &Request) -> Counted {
        let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str);
        let handler = handler(route).to_owned();
        self.in_flight.inc();
        Counted { handler, started: Instant::now(), in_flight: InFlight(self.in_flight.clone()) }
    }

    /// Counts a request whose answer begins.
    pub(super) fn end(&self, counted: Counted, response: &Response) {
        let Counted { handler, started, in_flight } = counted;
        drop(in_flight);
        let labels = HandlerLabels { handler };
        self.seconds.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
        let code = response.status().as_u16();
        self.requests.get_or_create(&RequestLabels { handler: labels.handler, code }).inc();
    }
}

/// What a route is counted as.
fn handler(route: &str) -> &str {
    let route = route.strip_prefix(ALIAS_PREFIX).unwrap_or(route);
    match route.strip_prefix(CORTEX_PREFIX) {
        Some(below) if below.starts_with("/api/v1/") => below,
        _ => route,
    }
}

/// A request that is being answered. Dropped without its end, as when its client went away, it is not among the answered ones.
pub(super) struct Counted {
    handler: String,
    started: Instant,
    in_flight: InFlight,
}

/// Counts a request out of those in flight, however it ends.
struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
