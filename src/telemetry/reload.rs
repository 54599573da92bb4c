//! Metrics of the configuration and the build, by the names that alerts on every Prometheus server use, under our prefix.

use crate::http::state::ConfigReload;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::sync::Arc;

/// Collects `hearth_config_*` and `hearth_build_info`.
pub struct ReloadCollector {
    reload: Arc<dyn ConfigReload>,
}

impl ReloadCollector {
    /// The figures of `reload`.
    #[must_use]
    pub fn new(reload: Arc<dyn ConfigReload>) -> Self {
        Self { reload }
    }
}

impl fmt::Debug for ReloadCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadCollector").finish_non_exhaustive()
    }
}

impl Collector for ReloadCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let status = self.reload.status();
        for (name, help, value) in [
            (
                "hearth_config_last_reload_successful",
                "Whether the last attempt to load the configuration succeeded.",
                f64::from(u8::from(status.successful)),
            ),
            (
                "hearth_config_last_reload_success_timestamp_seconds",
                "When the configuration was last loaded.",
                status.last_success.as_millisecond() as f64 / 1000.0,
            ),
        ] {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let help = "The version of this program.";
        let mut family = encoder.encode_descriptor("hearth_build_info", help, None, MetricType::Gauge)?;
        ConstGauge::new(1_u64).encode(family.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?)
    }
}
