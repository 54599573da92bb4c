//! Alertmanager's language: the alerts of its v2 API, and the sending side of their delivery.
//!
//! What a route makes of alerts, in numbers, is `notifications`.
//!
//! Pure: queues and batches are values that are told the time and the outcome of each delivery; whoever embeds them waits
//! and talks HTTP.
#![forbid(unsafe_code)]

pub mod alert;
pub mod client;
pub mod notifications;
