//! Samples: a timestamp and a value.

/// The bit pattern of the stale marker: "this series ended here". Any other NaN is an ordinary value.
pub const STALE_MARKER_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The stale marker as a value. Compare with [`is_stale_marker`], never with `==`.
#[must_use]
pub fn stale_marker() -> f64 {
    f64::from_bits(STALE_MARKER_BITS)
}

/// Whether `value` is the stale marker.
#[must_use]
pub fn is_stale_marker(value: f64) -> bool {
    value.to_bits() == STALE_MARKER_BITS
}

/// Whether two neighbouring values differ; a NaN after a NaN is no change.
#[must_use]
pub fn is_change(before: f64, after: f64) -> bool {
    before != after && !(before.is_nan() && after.is_nan())
}

/// One float sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Any f64; NaNs are told apart by their bits.
    pub value: f64,
}

/// The samples of one series as two columns of equal length.
///
/// Timestamps strictly increase. A stale marker is one particular NaN, so compare `to_bits`, never `==`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SampleColumns {
    /// Milliseconds since the Unix epoch.
    pub timestamps_ms: Vec<i64>,
    /// One value per timestamp.
    pub values: Vec<f64>,
}

impl SampleColumns {
    /// Appends one sample; the caller keeps timestamps increasing.
    pub fn push(&mut self, timestamp_ms: i64, value: f64) {
        self.timestamps_ms.push(timestamp_ms);
        self.values.push(value);
    }

    /// Forgets the samples and keeps the memory.
    pub fn clear(&mut self) {
        self.timestamps_ms.clear();
        self.values.clear();
    }

    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.timestamps_ms.len()
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timestamps_ms.is_empty()
    }
}
