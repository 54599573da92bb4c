//! The sending side: what waits for one Alertmanager, and when to send it.
//!
//! Every Alertmanager has a queue of its own, so that a dead one delays nobody else.
mod queue;

pub use queue::{Batch, DeliveryQueue, QueueOptions, QueueStats};
