//! The sending side: what waits for one Alertmanager, and when to send it.
//!
//! Every Alertmanager has a queue of its own, so that a dead one delays nobody else. Whoever embeds a queue asks it for a
//! batch, posts the batch as JSON to [`ALERTS_PATH`] and tells the queue the [`Outcome`].
mod outcome;
mod queue;
mod retry_after;

pub use outcome::Outcome;
pub use queue::{Batch, DeliveryQueue, LATE_BELIEF_MS, LossReason, Lost, Parcel, QueueOptions, QueueStats};
pub use retry_after::retry_after;

/// Where an Alertmanager takes alerts, below its path prefix.
pub const ALERTS_PATH: &str = "/api/v2/alerts";
