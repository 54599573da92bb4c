//! The questions of the side-by-side program: what dashboards and alert rules ask.

use crate::api::seconds;
use crate::load::Fleet;

/// One question.
#[derive(Debug)]
pub struct Query {
    /// Short name for the table.
    pub name: &'static str,
    /// The expression, or the selector of a metadata question.
    pub text: String,
    /// How to ask it.
    pub ask: Ask,
}

/// How to ask.
#[derive(Debug)]
pub enum Ask {
    /// At one time.
    Instant {
        /// Milliseconds since the Unix epoch.
        at_ms: i64,
    },
    /// Over a range.
    Range {
        /// Milliseconds since the Unix epoch.
        start_ms: i64,
        /// Milliseconds since the Unix epoch.
        end_ms: i64,
        /// Milliseconds.
        step_ms: i64,
    },
    /// About labels and series.
    Metadata {
        /// The endpoint.
        path: &'static str,
        /// First and last time to look at.
        range_ms: (i64, i64),
    },
}

impl Query {
    /// Path and parameters of the request.
    #[must_use]
    pub fn request(&self) -> (&'static str, Vec<(String, String)>) {
        let pair = |name: &str, value: String| (name.to_owned(), value);
        let mut parameters = vec![pair("nocache", "1".into())];
        let path = match &self.ask {
            Ask::Instant { at_ms } => {
                parameters.extend([pair("query", self.text.clone()), pair("time", seconds(*at_ms))]);
                "/api/v1/query"
            }
            Ask::Range { start_ms, end_ms, step_ms } => {
                parameters.extend([
                    pair("query", self.text.clone()),
                    pair("start", seconds(*start_ms)),
                    pair("end", seconds(*end_ms)),
                    pair("step", seconds(*step_ms)),
                ]);
                "/api/v1/query_range"
            }
            Ask::Metadata { path, range_ms } => {
                if !self.text.is_empty() {
                    parameters.push(pair("match[]", self.text.clone()));
                }
                parameters.extend([pair("start", seconds(range_ms.0)), pair("end", seconds(range_ms.1))]);
                path
            }
        };
        (path, parameters)
    }
}

const INSTANT: &[(&str, &str)] = &[
    ("one series", r#"build_info{instance="10.0.0.1:8080",version="1.0.0"}"#),
    ("100 series of a target", r#"{__name__!="",instance="10.0.0.1:8080"}"#),
    ("rate of one job", r#"rate(http_requests_total{job="service-001"}[5m])"#),
    ("sum of all request rates", "sum(rate(http_requests_total[5m]))"),
    ("count of everything", r#"count({__name__!=""})"#),
    ("count by name", r#"count by (__name__) ({__name__!=""})"#),
    ("count by pod", "count by (pod) (queue_length)"),
    (
        "histogram quantile by job",
        "histogram_quantile(0.99, sum by (job, le) (rate(http_request_duration_seconds_bucket[5m])))",
    ),
    ("topk of rates", r#"topk(5, rate(http_requests_total{job=~"service-00."}[5m]))"#),
    ("topk of increase by job", "topk(5, sum by (job) (increase(http_requests_total[20m])))"),
    ("regex with prefix", r#"queue_length{pod=~"service-00[1-5]-.*"}"#),
    ("regex without anchor", r#"count(queue_length{pod=~".*-00001"})"#),
    (
        "join group_left",
        r#"queue_length{job="service-001"} * on (instance) group_left (version) build_info{version="1.0.0"}"#,
    ),
    (
        "error ratio",
        r#"sum by (job) (rate(http_requests_total{code=~"5.."}[5m])) / sum by (job) (rate(http_requests_total[5m]))"#,
    ),
    ("absent", r#"absent(queue_length{job="nothing"})"#),
    ("quantile over time", r#"quantile_over_time(0.9, queue_length{job="service-001"}[20m])"#),
    ("max over time", r#"max_over_time(process_memory_bytes{type="heap"}[20m])"#),
    ("subquery", r#"max_over_time(sum by (job) (rate(http_requests_total{job=~"service-00."}[5m]))[20m:1m])"#),
    ("scan of many samples", "sum(count_over_time(queue_length[25m]))"),
    ("predict linear", r#"predict_linear(process_memory_bytes{type="heap",namespace="team-01"}[20m], 3600)"#),
    ("offset", r#"queue_length{job=~"service-00.",queue="q1"} offset 10m"#),
    ("CPU by mode", "sum by (mode) (rate(node_cpu_seconds_total[5m]))"),
    ("CPU without idle", r#"sum without (cpu, mode) (rate(node_cpu_seconds_total{mode!="idle"}[5m]))"#),
    ("memory by type", "sum by (type) (process_memory_bytes)"),
    (
        "alert: error ratio",
        r#"sum by (job) (rate(http_requests_total{code=~"5.."}[5m])) / sum by (job) (rate(http_requests_total[5m])) > 0.4"#,
    ),
    ("alert: errors rise", r#"increase(http_requests_total{code="503"}[10m]) > 1000"#),
    ("alert: version changes", "changes(build_info[15m]) > 0"),
    ("alert: memory grows", r#"deriv(process_memory_bytes{type="heap"}[15m]) > 5000"#),
    ("alert: nothing reports", r#"absent_over_time(queue_length{job="service-001"}[10m])"#),
    ("unless", r#"queue_length{queue="q1"} > 20 unless on (instance) build_info{version="9.0.0"}"#),
    ("quantile by namespace", "quantile by (namespace) (0.95, queue_length)"),
    ("count values", r#"count_values("length", queue_length)"#),
    ("standard deviation by zone", "stddev by (zone) (temperature_celsius)"),
    ("label replace", r#"sum by (service) (label_replace(queue_length, "service", "$1", "job", "service-(.*)"))"#),
];

const RANGE: &[(&str, &str)] = &[
    ("raw series of a job", r#"queue_length{job="service-001",queue="q1"}"#),
    ("rate of one job", r#"sum(rate(http_requests_total{job="service-001"}[5m]))"#),
    ("rate by job and code", "sum by (job, code) (rate(http_requests_total[5m]))"),
    ("max over time", r#"max_over_time(process_memory_bytes{type="heap"}[5m])"#),
    (
        "histogram quantile of a job",
        r#"histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{job="service-001"}[5m])))"#,
    ),
    (
        "histogram quantile by job",
        "histogram_quantile(0.99, sum by (job, le) (rate(http_request_duration_seconds_bucket[5m])))",
    ),
    ("CPU busy by node", r#"1 - avg by (node) (rate(node_cpu_seconds_total{mode="idle"}[5m]))"#),
    ("sum of a gauge by namespace", "sum by (namespace) (queue_length)"),
    ("average over time", r#"avg_over_time(temperature_celsius{namespace="team-01"}[10m])"#),
    (
        "smoothed by a subquery",
        r#"avg_over_time(sum by (job) (rate(http_requests_total{job=~"service-00."}[5m]))[290s:1m])"#,
    ),
    ("quantile over time", r#"quantile_over_time(0.9, queue_length{queue="q1"}[10m])"#),
];

/// The window of all rates, and some.
const RATE_WINDOW_MS: i64 = 330_000;

/// Asked with up to 1,440 steps, as a day at a step of a minute. Joins are by pod: while a target is replaced, two series have
/// its instance.
const FINE: &[(&str, &str)] = &[
    ("rates of 10 series", r#"rate(http_requests_total{instance="10.0.0.1:8080",path="/api/orders"}[5m])"#),
    ("rates of a job", r#"rate(http_requests_total{job="service-001",path="/api/orders"}[5m])"#),
    ("rate of a namespace", r#"sum by (job) (rate(http_requests_total{namespace="team-01"}[5m]))"#),
    ("rate of everything", "sum(rate(http_requests_total[5m]))"),
    ("gauge by namespace", "avg by (namespace) (queue_length)"),
    (
        "histogram quantile by path",
        "histogram_quantile(0.9, sum by (path, le) (rate(http_request_duration_seconds_bucket[5m])))",
    ),
    ("top jobs", "topk(5, sum by (job) (rate(http_requests_total[5m])))"),
    (
        "error ratio by job",
        r#"sum by (job) (rate(http_requests_total{code=~"5.."}[5m])) / sum by (job) (rate(http_requests_total[5m]))"#,
    ),
    (
        "join group_left",
        r#"queue_length{job="service-001"} * on (pod) group_left (version) build_info{version="1.0.0"}"#,
    ),
    (
        "memory share by namespace",
        r#"sum by (namespace) (process_memory_bytes{type="heap"}) / sum by (namespace) (process_memory_bytes)"#,
    ),
    ("maximum of 15 minutes", r#"max_over_time(temperature_celsius{sensor="s1",namespace="team-01"}[15m])"#),
];

/// All questions about a fleet that was sent whole.
#[must_use]
pub fn list(fleet: &Fleet) -> Vec<Query> {
    let (start_ms, end_ms) = (fleet.start_ms, fleet.end_ms());
    let span = end_ms - start_ms;
    let mut queries: Vec<_> = INSTANT
        .iter()
        .map(|(name, text)| Query { name, text: (*text).into(), ask: Ask::Instant { at_ms: end_ms } })
        .collect();
    // All times are multiples of the interval, where no sample is: old Prometheus counts both ends of a range.
    let step_ms = (span / 100 / fleet.interval_ms + 1) * fleet.interval_ms;
    // Late enough that no rate reaches back to the first scrape.
    let start_ms_of_range = end_ms - 4 * span / 5 / step_ms * step_ms;
    let range = |(name, text): &(&'static str, &str)| Query {
        name,
        text: (*text).into(),
        ask: Ask::Range { start_ms: start_ms_of_range, end_ms, step_ms },
    };
    queries.extend(RANGE.iter().map(range));
    let fine_step_ms = (span / 1440 / fleet.interval_ms).max(1) * fleet.interval_ms;
    let fine_steps = (span - RATE_WINDOW_MS).max(0) / fine_step_ms;
    queries.extend(FINE.iter().map(|(name, text)| Query {
        name,
        text: (*text).into(),
        ask: Ask::Range { start_ms: end_ms - fine_steps * fine_step_ms, end_ms, step_ms: fine_step_ms },
    }));
    let metadata = |name, text: &str, path| Query {
        name,
        text: text.into(),
        ask: Ask::Metadata { path, range_ms: (start_ms, end_ms) },
    };
    queries.extend([
        metadata("label values: job", "", "/api/v1/label/job/values"),
        metadata("label values: pod of a metric", "queue_length", "/api/v1/label/pod/values"),
        metadata("label values: pod", "", "/api/v1/label/pod/values"),
        metadata("label names", "", "/api/v1/labels"),
        metadata("label names of a metric", "http_requests_total", "/api/v1/labels"),
        metadata("label values: instance of a job", r#"{job="service-001"}"#, "/api/v1/label/instance/values"),
        metadata("series of a job", r#"http_requests_total{job=~"service-00."}"#, "/api/v1/series"),
    ]);
    queries
}
