//! The options of ingest.

use std::time::Duration;

/// How much a request may hold, and what its series may look like.
#[derive(Debug, Clone, PartialEq)]
pub struct IngestOptions {
    /// Largest request body that remote write takes, in bytes after decompression.
    ///
    /// Larger ones are answered 400: their sender must send smaller batches. Since 0.1.
    pub decoded_bytes_max: usize,
    /// Bytes of requests that may be in work at once, bodies before and after decompression together.
    ///
    /// More are answered 503 and sent again. Raise it for many senders at once; it bounds the memory they take. Since 0.1.
    pub inflight_bytes_max: usize,
    /// Bodies above this size after decompression are decoded on a thread of their own instead of between two awaits.
    ///
    /// The default is what takes about half a millisecond. Since 0.1.
    pub inline_bytes_max: usize,
    /// What the labels of a series may look like.
    pub labels: LabelLimits,
    /// How far ahead of this machine's clock a sample may be.
    ///
    /// Samples of a clock that runs wild would otherwise keep the time range of the head open for years. Since 0.1.
    pub ahead_max: Duration,
    /// How many of the last refusals can be looked up.
    ///
    /// Each takes up to 4 KiB. Since 0.1.
    pub ledger_capacity: usize,
    /// How many label sets in other than canonical form are remembered.
    ///
    /// Matters for senders that do not sort labels; each takes up to about 80 bytes. Since 0.1.
    pub alias_capacity: usize,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self {
            decoded_bytes_max: 32 << 20,
            inflight_bytes_max: 256 << 20,
            inline_bytes_max: 1 << 20,
            labels: LabelLimits::default(),
            ahead_max: Duration::from_secs(600),
            ledger_capacity: 1_000,
            alias_capacity: 1 << 20,
        }
    }
}

/// What the labels of a series may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelLimits {
    /// Bytes of a label's name.
    pub name_bytes_max: usize,
    /// Bytes of a label's value.
    pub value_bytes_max: usize,
    /// Labels of one series, the metric's name included.
    pub count_max: usize,
}

impl Default for LabelLimits {
    fn default() -> Self {
        Self { name_bytes_max: 1 << 10, value_bytes_max: 1 << 14, count_max: 256 }
    }
}
