//! Metrics of the alert journal.

use crate::rules::durable::AlertStore;
use alert_journal::journal::JournalStats;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;

/// Collects `hearth_alert_journal_*`.
pub struct AlertJournalCollector {
    store: AlertStore,
}

impl AlertJournalCollector {
    /// The figures of `store`.
    #[must_use]
    pub fn new(store: AlertStore) -> Self {
        Self { store }
    }
}

impl fmt::Debug for AlertJournalCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlertJournalCollector").finish_non_exhaustive()
    }
}

type Figure = (&'static str, &'static str, fn(&JournalStats) -> u64);

const COUNTERS: [Figure; 5] = [
    ("hearth_alert_journal_commits", "Evaluations whose alerts were made durable.", |stats| stats.commits),
    (
        "hearth_alert_journal_commits_failed",
        "Evaluations whose alerts were sent without being durable, because the disk failed.",
        |stats| stats.commits_failed,
    ),
    ("hearth_alert_journal_syncs", "Syncs of the disk.", |stats| stats.syncs),
    ("hearth_alert_journal_failures", "Writes and syncs of the disk that failed.", |stats| stats.failures),
    ("hearth_alert_journal_segments", "Segments that were begun.", |stats| stats.segments),
];

const GAUGES: [Figure; 4] = [
    ("hearth_alert_journal_failing", "Whether nothing can be made durable at the moment.", |stats| {
        u64::from(stats.failing)
    }),
    ("hearth_alert_journal_segment_bytes", "Bytes of the segment that is written.", |stats| stats.segment_bytes),
    (
        "hearth_alert_journal_alerts",
        "Alerts that are remembered, those resolved a short while ago included.",
        |stats| stats.alerts as u64,
    ),
    ("hearth_alert_journal_undelivered", "Messages that an Alertmanager was not told yet.", |stats| {
        stats.messages as u64
    }),
];

impl Collector for AlertJournalCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = self.store.stats();
        for (name, help, of) in COUNTERS {
            ConstCounter::new(of(&stats)).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Counter,
            )?)?;
        }
        for (name, help, of) in GAUGES {
            ConstGauge::new(of(&stats)).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
