//! Metrics of the bound on what lies on the local disk before the object store has it.

use crate::runtime::local_space::LocalSpace;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;

/// Collects `hearth_local_space_used_bytes` and its like.
#[derive(Debug)]
pub struct LocalSpaceCollector {
    space: LocalSpace,
}

impl LocalSpaceCollector {
    /// A collector of the figures of `space`.
    #[must_use]
    pub fn new(space: LocalSpace) -> Self {
        Self { space }
    }
}

impl Collector for LocalSpaceCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let used =
            ("hearth_local_space_used_bytes", "Bytes on the local disk that are not in blocks.", self.space.used());
        let limit = self.space.limit();
        let limit = limit.map(|limit| ("hearth_local_space_limit_bytes", "Bytes that these may take.", limit));
        for (name, help, value) in std::iter::once(used).chain(limit) {
            let metric = ConstGauge::new(value as f64);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let help = "Writes turned away for lack of local space.";
        let counter = ConstCounter::new(self.space.turned_away() as f64);
        counter.encode(encoder.encode_descriptor("hearth_local_space_turned_away", help, None, MetricType::Counter)?)
    }
}
