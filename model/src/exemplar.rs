//! Exemplars: single observations behind a sample, with labels that lead to a trace.

use crate::labels::Labels;

/// Characters that the names and values of an exemplar's labels may have together, as in OpenMetrics.
pub const LABEL_CHARS_MAX: usize = 128;

/// One observation.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// What identifies it, mostly a trace; not the labels of its series.
    pub labels: Labels,
    /// What was observed.
    pub value: f64,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

impl Exemplar {
    /// Whether it is the same observation, NaN being itself.
    #[must_use]
    pub fn repeats(&self, other: &Self) -> bool {
        let key = |exemplar: &Self| (exemplar.timestamp_ms, exemplar.value.to_bits());
        key(self) == key(other) && self.labels == other.labels
    }
}
