//! What Hearth tells about configured rules.

use super::RuleConfig;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;

/// Collects `hearth_rule_config_*`.
#[derive(Debug)]
pub struct RuleConfigCollector {
    config: RuleConfig,
}

impl RuleConfigCollector {
    /// The figures of `config`.
    #[must_use]
    pub fn new(config: RuleConfig) -> Self {
        Self { config }
    }
}

impl Collector for RuleConfigCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (namespaces, groups, broken, is_loaded, failures) = {
            let state = self.config.shared.state();
            let groups = || state.namespaces.values().flatten();
            let broken = groups().filter(|group| group.group.is_none()).count();
            (state.namespaces.len(), groups().count(), broken, state.is_loaded, state.load_failures)
        };
        for (name, help, value) in [
            (
                "hearth_rule_config_loaded",
                "Whether configured rules were read since the start.",
                usize::from(is_loaded),
            ),
            ("hearth_rule_config_namespaces", "Namespaces of configured rules.", namespaces),
            ("hearth_rule_config_groups", "Configured rule groups.", groups),
            ("hearth_rule_config_groups_invalid", "Configured rule groups that cannot run here.", broken),
        ] {
            let metric = ConstGauge::new(value as u64);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let metric = ConstCounter::new(failures);
        let help = "Attempts to read configured rules that failed.";
        metric.encode(encoder.encode_descriptor(
            "hearth_rule_config_load_failures",
            help,
            None,
            metric.metric_type(),
        )?)
    }
}
