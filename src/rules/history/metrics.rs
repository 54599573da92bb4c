//! What Hearth tells about the histories of alerts and rules.

use super::HistoryStats;
use crate::rules::event_log::Histories;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;

/// Collects `hearth_alert_history_*` and `hearth_rule_history_*`.
#[derive(Debug)]
pub struct HistoryCollector {
    histories: Histories,
}

impl HistoryCollector {
    /// The figures of those `histories` that are kept.
    #[must_use]
    pub fn new(histories: Histories) -> Self {
        Self { histories }
    }
}

impl Collector for HistoryCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Histories { alerts, rules } = &self.histories;
        let alerts = alerts.as_ref().map(|history| ("alert", "Changes of alerts", history.stats()));
        let rules = rules.as_ref().map(|history| ("rule", "Records about rules", history.stats()));
        for (of, what, HistoryStats { written, lost, bytes }) in alerts.into_iter().chain(rules) {
            for (name, help, value) in
                [("written", "that were written to the history", written), ("lost", "that the history lacks", lost)]
            {
                let metric = ConstCounter::new(value);
                let (name, help) = (format!("hearth_{of}_history_{name}"), format!("{what} {help}."));
                metric.encode(encoder.encode_descriptor(&name, &help, None, metric.metric_type())?)?;
            }
            let metric = ConstGauge::new(bytes);
            let (name, help) = (format!("hearth_{of}_history_bytes"), format!("Bytes of the history of {of}s."));
            metric.encode(encoder.encode_descriptor(&name, &help, None, metric.metric_type())?)?;
        }
        Ok(())
    }
}
