//! Metrics of the delivery of alerts, by Alertmanager.

use super::recent::{QUANTILES, encode_quantiles};
use crate::http::state::AlertmanagersSource;
use crate::notify::{DiscoveryStats, LATENCY_BUCKETS, Notifier, TargetStats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;

/// Collects `hearth_notifications_*` and `hearth_sd_*`.
pub struct NotifierCollector {
    notifier: Notifier,
}

impl NotifierCollector {
    /// The figures of `notifier`.
    #[must_use]
    pub fn new(notifier: Notifier) -> Self {
        Self { notifier }
    }
}

impl NotifierCollector {
    fn encode_discovery(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let DiscoveryStats { dns_lookups, dns_lookup_failures, file_read_errors, http_failures } =
            self.notifier.discovery_stats();
        for (name, help, count) in [
            ("hearth_sd_dns_lookups", "Look-ups of Alertmanagers by DNS.", dns_lookups),
            ("hearth_sd_dns_lookup_failures", "Look-ups of Alertmanagers by DNS that failed.", dns_lookup_failures),
            ("hearth_sd_file_read_errors", "Lists of Alertmanagers that could not be read.", file_read_errors),
            ("hearth_sd_http_failures", "Requests for lists of Alertmanagers that failed.", http_failures),
        ] {
            let metric = ConstCounter::new(count);
            metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let help = "Alertmanagers that are listed or were found, before relabelling.";
        let mut family = encoder.encode_descriptor("hearth_sd_discovered_targets", help, None, MetricType::Gauge)?;
        for (index, targets) in self.notifier.discovered().into_iter().enumerate() {
            let labels = [("config", format!("config-{index}"))];
            ConstGauge::new(targets as u64).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for NotifierCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotifierCollector").finish_non_exhaustive()
    }
}

impl TargetStats {
    fn labels(&self) -> [(&'static str, String); 1] {
        [("alertmanager", self.url.clone())]
    }
}

type Counted = (&'static str, &'static str, fn(&TargetStats) -> u64);

const COUNTERS: [Counted; 6] = [
    ("hearth_notifications_sent", "Alerts sent, accepted or not; each attempt counts.", |target| {
        target.queue.sent + target.queue.failed
    }),
    ("hearth_notifications_accepted", "Alerts that an Alertmanager accepted.", |target| target.queue.sent),
    ("hearth_notifications_errors", "Alerts in deliveries that failed.", |target| target.queue.failed),
    (
        "hearth_notifications_late",
        "Firing alerts that an Alertmanager accepted only when they had changed again, after their end.",
        |target| target.queue.late,
    ),
    (
        "hearth_notifications_dropped",
        "Messages about alerts dropped because too many waited or they were refused.",
        |target| target.queue.dropped + target.queue.refused,
    ),
    ("hearth_notifications_superseded", "Alerts replaced by news before they were accepted.", |target| {
        target.queue.superseded
    }),
];

const GAUGES: [Counted; 2] = [
    ("hearth_notifications_queue_length", "Alerts that wait to be delivered.", |target| target.queue.waiting as u64),
    ("hearth_notifications_queue_bytes", "Bytes of all that waits to be delivered.", |target| {
        target.queue.waiting_bytes as u64
    }),
];

impl Collector for NotifierCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let targets = self.notifier.stats();
        let discovered = ConstGauge::new(targets.len() as u64);
        let help = "Alertmanagers that alerts are sent to.";
        let name = "hearth_notifications_alertmanagers_discovered";
        discovered.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        let dropped = ConstGauge::new(self.notifier.dropped().len() as u64);
        let help = "Alertmanagers that were found and that relabelling drops.";
        let name = "hearth_notifications_alertmanagers_dropped";
        dropped.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        self.encode_discovery(&mut encoder)?;
        let capacity = ConstGauge::new(self.notifier.queue_capacity() as u64);
        let help = "Alerts that may wait for each Alertmanager.";
        let name = "hearth_notifications_queue_capacity";
        capacity.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        for (name, help, of) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for target in &targets {
                ConstCounter::new(of(target)).encode(family.encode_family(&target.labels())?)?;
            }
        }
        for (name, help, of) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for target in &targets {
                ConstGauge::new(of(target)).encode(family.encode_family(&target.labels())?)?;
            }
        }
        let help = "Time that a delivery takes that is accepted.";
        let name = "hearth_notifications_latency_seconds";
        let mut histogram = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for target in &targets {
            let bounds = LATENCY_BUCKETS.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(target.latency.buckets).collect();
            let count = target.latency.buckets.iter().sum();
            histogram.encode_family(&target.labels())?.encode_histogram::<NoLabelSet>(
                target.latency.seconds,
                count,
                &buckets,
                None,
            )?;
        }
        let help = "Quantiles of the time that deliveries took in the last ten minutes that were accepted.";
        let name = "hearth_notifications_recent_latency_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Unknown)?;
        for target in &targets {
            encode_quantiles(&mut family, &[("alertmanager", &target.url)], &QUANTILES, &target.recent)?;
        }
        Ok(())
    }
}
