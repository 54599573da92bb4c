//! What ingest counts about itself.

use super::inflight::InflightBytes;
use super::prepare::Tally;
use super::reason::Reason;
use crate::wire::Protocol;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::time::Duration;
use storage::append::AppendOutcome;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    protocol: &'static str,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LookupLabel {
    result: &'static str,
}

/// The counters of ingest. All are counted by request, none by sample.
#[derive(Debug)]
pub struct IngestMetrics {
    samples: Counter,
    histograms: Counter,
    exemplars: Counter,
    rejected: Family<ReasonLabel, Counter>,
    /// The members of `rejected`, in the order of [`Reason::ALL`], so that counting takes no lock.
    rejected_by_reason: [Counter; Reason::ALL.len()],
    requests: Family<RequestLabels, Counter>,
    seconds: Histogram,
    received_bytes: Counter,
    decoded_bytes: Counter,
    lookups: Family<LookupLabel, Counter>,
    inflight: InflightBytes,
}

impl IngestMetrics {
    pub(super) fn new(inflight: InflightBytes) -> Self {
        let rejected = Family::<ReasonLabel, Counter>::default();
        let rejected_by_reason =
            Reason::ALL.map(|reason| rejected.get_or_create_owned(&ReasonLabel { reason: reason.name() }));
        Self {
            samples: Counter::default(),
            histograms: Counter::default(),
            exemplars: Counter::default(),
            rejected,
            rejected_by_reason,
            requests: Family::default(),
            // From a quarter of a millisecond to eight seconds.
            seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            received_bytes: Counter::default(),
            decoded_bytes: Counter::default(),
            lookups: Family::default(),
            inflight,
        }
    }

    /// Shows them on a metrics page. Counters get the suffix `_total` there.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "hearth_ingest_samples",
            "Float samples stored and durable, of remote write, rules and the own metrics; repeated ones included",
            self.samples.clone(),
        );
        registry.register(
            "hearth_ingest_histograms",
            "Native histograms stored and durable; repeated ones included",
            self.histograms.clone(),
        );
        registry.register(
            "hearth_ingest_exemplars",
            "Exemplars stored and durable; repeated ones included",
            self.exemplars.clone(),
        );
        registry.register(
            "hearth_ingest_rejected_samples",
            "Samples, native histograms, exemplars and entries that were refused, by reason; see \
             /api/v1/status/rejected_samples",
            self.rejected.clone(),
        );
        registry.register(
            "hearth_ingest_requests",
            "Remote write requests answered, by protocol version and status code",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "hearth_ingest_request_duration",
            "Time from the head of a remote write request to its answer",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register_with_unit(
            "hearth_ingest_received",
            "Compressed bytes of remote write bodies that were decoded",
            Unit::Bytes,
            self.received_bytes.clone(),
        );
        registry.register_with_unit(
            "hearth_ingest_decoded",
            "Bytes of the same bodies after decompression",
            Unit::Bytes,
            self.decoded_bytes.clone(),
        );
        registry.register(
            "hearth_ingest_series_lookups",
            "How series of requests were found: known by the bytes of their labels, known by a remembered alias of those, \
             or parsed",
            self.lookups.clone(),
        );
        registry.register_collector(Box::new(InflightCollector { inflight: self.inflight.clone() }));
    }

    /// How many samples are stored so far.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples.get()
    }

    /// How much was refused so far for a reason.
    #[must_use]
    pub fn rejected(&self, reason: Reason) -> u64 {
        self.rejected_by_reason.get(reason as usize).map_or(0, Counter::get)
    }

    /// Counts an answered request; without a protocol when its headers named none that we know.
    pub fn count_request(&self, protocol: Option<Protocol>, code: u16, took: Duration) {
        let protocol = protocol.map_or("unknown", Protocol::version);
        self.requests.get_or_create(&RequestLabels { protocol, code }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn count_written(&self, outcome: &AppendOutcome) {
        self.samples.inc_by(outcome.written);
        self.histograms.inc_by(outcome.histograms_written);
        self.exemplars.inc_by(outcome.exemplars_written);
    }

    pub(super) fn count_refused(&self, reason: Reason, count: u64) {
        if let Some(counter) = self.rejected_by_reason.get(reason as usize) {
            counter.inc_by(count);
        }
    }

    pub(super) fn count_bytes(&self, received: usize, decoded: usize) {
        self.received_bytes.inc_by(received as u64);
        self.decoded_bytes.inc_by(decoded as u64);
    }

    pub(super) fn count_lookups(&self, tally: &Tally) {
        for (result, count) in [("known", tally.known), ("alias", tally.aliased), ("parsed", tally.parsed)] {
            self.lookups.get_or_create(&LookupLabel { result }).inc_by(count);
        }
    }
}

#[derive(Debug)]
struct InflightCollector {
    inflight: InflightBytes,
}

impl Collector for InflightCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let metric = ConstGauge::new(self.inflight.held() as f64);
        let help = "Bytes of remote write requests in work, bodies before and after decompression together.";
        metric.encode(encoder.encode_descriptor("hearth_ingest_inflight_bytes", help, None, metric.metric_type())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_on_the_page_from_the_start_and_counted_under_its_name() {
        let metrics = IngestMetrics::new(InflightBytes::new(1));
        metrics.count_refused(Reason::TooOld, 3);
        metrics.count_request(Some(Protocol::V2), 204, Duration::from_millis(3));
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        for reason in Reason::ALL {
            let count = if reason == Reason::TooOld { 3 } else { 0 };
            let line = format!("hearth_ingest_rejected_samples_total{{reason=\"{}\"}} {count}\n", reason.name());
            assert!(page.contains(&line), "{line} in {page}");
        }
        for line in [
            "hearth_ingest_requests_total{protocol=\"2.0\",code=\"204\"} 1\n",
            "hearth_ingest_received_bytes_total 0\n",
            "hearth_ingest_request_duration_seconds_count 1\n",
            "hearth_ingest_inflight_bytes 0",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
    }
}
