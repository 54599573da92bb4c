//! The endpoint from outside: requests over the router, answers and what the store then holds.

mod compliance;
mod compliance_others;
mod contract;
mod engine;
mod limits;
mod refusals;

use super::*;
use crate::cluster::ring::{NodeId, Ring};
use crate::ingest::testing::{MemoryStore, cpu};
use crate::ingest::{Appender, IngestOptions};
use crate::wire::prost_types::{v1, v2};
use axum::body::Body;
use http_body_util::BodyExt;
use model::tenant::TenantId;
use prost::Message;
use tower::ServiceExt;

/// The clock of all tests: 2026-11-20 00:00:00 UTC.
const NOW_MS: i64 = 1_795_132_800_000;

/// A receiver over a store in memory.
struct Receiver {
    store: Arc<MemoryStore>,
    ingest: Ingest,
    router: Router,
}

/// What came back.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Receiver {
    fn new() -> Self {
        Self::with(IngestOptions::default())
    }

    fn with(options: IngestOptions) -> Self {
        let store = Arc::new(MemoryStore::default());
        Self { store: store.clone(), ..Self::over(store, options) }
    }

    /// A receiver over another store; its own is not used.
    fn over(store: Arc<dyn Appender>, options: IngestOptions) -> Self {
        let local = NodeId::new("local");
        let ring = Arc::new(Ring::of_one(local.clone()));
        let ingest = Ingest::new(TenantId::anonymous(), options, ring, local, store, cpu());
        let state =
            RemoteWriteState::new(ingest.clone()).with_clock(|| NOW_MS).with_body_wait_max(Duration::from_millis(200));
        Self { store: Arc::default(), ingest, router: router(state) }
    }

    async fn call(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap();
        Reply { status: head.status.as_u16(), headers: head.headers, text }
    }

    async fn post(&self, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
        self.call("POST", "/api/v1/write", headers, body).await
    }

    async fn send_v1(&self, request: &v1::WriteRequest) -> Reply {
        self.post(&V1_HEADERS, snappy(&request.encode_to_vec())).await
    }

    async fn send_v2(&self, request: &Message2) -> Reply {
        self.post(&V2_HEADERS, snappy(&request.encode())).await
    }
}

impl Reply {
    /// The `-Written` headers: samples, histograms, exemplars. `None` without any of them.
    fn written(&self) -> Option<(u64, u64, u64)> {
        let count = |kind: &str| -> Option<u64> {
            self.headers.get(format!("x-prometheus-remote-write-{kind}-written"))?.to_str().unwrap().parse().ok()
        };
        let counts = (count("samples"), count("histograms"), count("exemplars"));
        match counts {
            (None, None, None) => None,
            (samples, histograms, exemplars) => Some((samples.unwrap(), histograms.unwrap(), exemplars.unwrap())),
        }
    }

    #[track_caller]
    fn expect(&self, status: u16, written: Option<(u64, u64, u64)>) {
        assert_eq!((self.status, self.written()), (status, written), "{self:?}");
        assert_eq!(status == 204, self.text.is_empty(), "{self:?}");
        assert_eq!(status == 503, self.headers.contains_key(header::RETRY_AFTER), "{self:?}");
    }
}

const V1_HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];
const V2_HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "2.0.0"),
];

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).expect("any bytes can be compressed")
}

/// A series of version 1.0.
fn series_v1(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> v1::TimeSeries {
    let label = |(name, value): &(&str, &str)| v1::Label { name: (*name).into(), value: (*value).into() };
    let sample = |(timestamp, value): &(i64, f64)| v1::Sample { timestamp: *timestamp, value: *value };
    v1::TimeSeries {
        labels: labels.iter().map(label).collect(),
        samples: samples.iter().map(sample).collect(),
        ..Default::default()
    }
}

fn request_v1(timeseries: Vec<v1::TimeSeries>) -> v1::WriteRequest {
    v1::WriteRequest { timeseries, metadata: Vec::new() }
}

/// A message of version 2.0 under construction.
struct Message2 {
    request: v2::Request,
}

impl Message2 {
    fn new() -> Self {
        Self { request: v2::Request { symbols: vec![Vec::new()], timeseries: Vec::new() } }
    }

    fn symbol(&mut self, text: &str) -> u32 {
        let found = self.request.symbols.iter().position(|symbol| symbol == text.as_bytes());
        found.unwrap_or_else(|| {
            self.request.symbols.push(text.into());
            self.request.symbols.len() - 1
        }) as u32
    }

    fn refs(&mut self, labels: &[(&str, &str)]) -> Vec<u32> {
        labels.iter().flat_map(|(name, value)| [*name, *value]).map(|text| self.symbol(text)).collect()
    }

    /// Begins a series; what follows is added to it.
    fn series(mut self, labels: &[(&str, &str)]) -> Self {
        let labels_refs = self.refs(labels);
        self.request.timeseries.push(v2::TimeSeries { labels_refs, ..Default::default() });
        self
    }

    fn last(&mut self) -> &mut v2::TimeSeries {
        self.request.timeseries.last_mut().expect("a series was begun")
    }

    fn sample(mut self, timestamp: i64, value: f64) -> Self {
        self.last().samples.push(v2::Sample { value, timestamp, start_timestamp: 0 });
        self
    }

    fn exemplar(mut self, labels: &[(&str, &str)], timestamp: i64, value: f64) -> Self {
        let labels_refs = self.refs(labels);
        self.last().exemplars.push(v2::Exemplar { labels_refs, value, timestamp });
        self
    }

    fn histogram(mut self, histogram: v2::Histogram) -> Self {
        self.last().histograms.push(histogram);
        self
    }

    fn metadata(mut self, metric_type: i32, help: &str, unit: &str) -> Self {
        let (help_ref, unit_ref) = (self.symbol(help), self.symbol(unit));
        self.last().metadata = Some(v2::Metadata { r#type: metric_type, help_ref, unit_ref });
        self
    }

    fn encode(&self) -> Vec<u8> {
        self.request.encode_to_vec()
    }
}

/// A valid native histogram: 12 observations in three buckets.
fn native_histogram(timestamp: i64) -> v2::Histogram {
    v2::Histogram {
        count: Some(v2::histogram::Count::Int(12)),
        sum: 18.4,
        zero_threshold: 0.001,
        zero_count: Some(v2::histogram::ZeroCount::Int(2)),
        positive_spans: vec![v2::BucketSpan { offset: 0, length: 3 }],
        positive_deltas: vec![3, 0, 1],
        timestamp,
        ..Default::default()
    }
}
