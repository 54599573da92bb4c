//! What senders tell about a metric: type, help and unit.

use std::fmt;
use std::str::FromStr;

/// The type of a metric, by the names that OpenMetrics and the HTTP API use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum MetricType {
    #[default]
    /// Not known or not told.
    Unknown,
    /// Only rises, until it starts again from zero.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Buckets of observations, each a counter.
    Histogram,
    /// A histogram whose buckets may also fall.
    GaugeHistogram,
    /// Quantiles computed by the client.
    Summary,
    /// Constant 1 with information in its labels.
    Info,
    /// One series per possible state.
    StateSet,
}

const NAMES: [(MetricType, &str); 8] = [
    (MetricType::Unknown, "unknown"),
    (MetricType::Counter, "counter"),
    (MetricType::Gauge, "gauge"),
    (MetricType::Histogram, "histogram"),
    (MetricType::GaugeHistogram, "gaugehistogram"),
    (MetricType::Summary, "summary"),
    (MetricType::Info, "info"),
    (MetricType::StateSet, "stateset"),
];

impl MetricType {
    /// The name as the HTTP API prints it.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(kind, _)| *kind == self).map_or("unknown", |(_, name)| name)
    }
}

impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for MetricType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        NAMES.iter().find(|(_, name)| *name == text).map(|(kind, _)| *kind).ok_or(())
    }
}

/// What is known about one metric.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Metadata {
    /// Counter, gauge, …
    pub metric_type: MetricType,
    /// One sentence for people.
    pub help: String,
    /// Base unit, such as `seconds`; empty when not told.
    pub unit: String,
}
