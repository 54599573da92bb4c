//! What Hearth tells about the history of alerts.

use super::AlertHistory;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;

/// Collects `hearth_alert_history_*`.
#[derive(Debug)]
pub struct HistoryCollector {
    history: AlertHistory,
}

impl HistoryCollector {
    /// The figures of `history`.
    #[must_use]
    pub fn new(history: AlertHistory) -> Self {
        Self { history }
    }
}

impl Collector for HistoryCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = self.history.stats();
        for (name, help, value) in [
            ("hearth_alert_history_written", "Changes of alerts that were written to the history.", stats.written),
            ("hearth_alert_history_lost", "Changes of alerts that the history lacks.", stats.lost),
        ] {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let metric = ConstGauge::new(stats.bytes);
        let help = "Bytes of the history of alerts.";
        metric.encode(encoder.encode_descriptor("hearth_alert_history_bytes", help, None, metric.metric_type())?)
    }
}
