//! What the alert generator compliance rules ask of a ruler: four cases, what has to come of them, and the comparison with
//! what came. Pure; who drives it, in virtual or in real time, brings samples, evaluations and what was observed.
//!
//! All times of a case are relative to its zero, the time of its first sample. Evaluations must not fall on samples.

mod cases;
mod compare;
mod oracle;

pub use cases::{Case, cases, flapping};
pub use compare::{Observed, compare_alerts, compare_group, compare_messages, compare_series, parse_time};
pub use oracle::{ActiveAlert, Expected, Message, Snapshot, Texts, expected};

/// Durations that govern what happens, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between samples.
    pub step_ms: i64,
    /// Between evaluations.
    pub interval_ms: i64,
    /// Least time between two messages about an alert that stays the same.
    pub resend_ms: i64,
    /// How long a sample stands for its series.
    pub lookback_ms: i64,
    /// How long messages about a resolved alert are repeated. Fixed in every ruler.
    pub retention_ms: i64,
}

impl Timing {
    /// The durations of the rules themselves.
    pub const REAL: Self =
        Self { step_ms: 15_000, interval_ms: 30_000, resend_ms: 60_000, lookback_ms: 300_000, retention_ms: 900_000 };

    /// Everything `speed` times as fast, but for what is fixed.
    #[must_use]
    pub fn accelerated(speed: i64) -> Self {
        let Self { step_ms, interval_ms, resend_ms, lookback_ms, retention_ms } = Self::REAL;
        Self {
            step_ms: step_ms / speed,
            interval_ms: interval_ms / speed,
            resend_ms: resend_ms / speed,
            lookback_ms: lookback_ms / speed,
            retention_ms,
        }
    }

    /// How long a message about a firing alert is to be believed.
    #[must_use]
    pub fn believed_ms(&self) -> i64 {
        4 * self.interval_ms.max(self.resend_ms)
    }
}
