//! Metrics of the bound on the memory of the process.

use crate::runtime::memory::Memory;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;

/// Collects `hearth_memory_limit_bytes` and its like.
#[derive(Debug)]
pub struct MemoryCollector {
    memory: Memory,
}

impl MemoryCollector {
    /// A collector of the figures of `memory`.
    #[must_use]
    pub fn new(memory: Memory) -> Self {
        Self { memory }
    }
}

impl Collector for MemoryCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let memory = &self.memory;
        let gauges = [
            ("hearth_memory_limit_bytes", "Memory that the process may use.", memory.limit() as f64),
            ("hearth_memory_used_bytes", "Memory in use, as it counts against the limit.", memory.used() as f64),
            (
                "hearth_memory_reserved_bytes",
                "Memory that counts against the limit, too: room for writing the head to blocks.",
                memory.reserved() as f64,
            ),
            ("hearth_query_memory_bytes", "Memory that all queries hold.", memory.queries().held() as f64),
            ("hearth_query_memory_limit_bytes", "Memory that all may hold.", memory.queries().bytes_max() as f64),
        ];
        for (name, help, value) in gauges {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let (writes, queries) = memory.turned_away();
        let help = "Requests turned away for lack of memory.";
        let mut family = encoder.encode_descriptor("hearth_memory_turned_away", help, None, MetricType::Counter)?;
        for (kind, count) in [("write", writes), ("query", queries)] {
            ConstCounter::new(count as f64).encode(family.encode_family(&[("kind", kind)])?)?;
        }
        Ok(())
    }
}
