//! Alerts that survive the process: what is known of every alert, and what every Alertmanager was not told yet.
//!
//! An evaluation brings one frame: the alert instances that it changed and the alerts that leave. The frame is synced before
//! the alerts are sent, many frames by one sync. What an Alertmanager accepted is written without waiting: if that is lost,
//! the alert is sent twice. The whole state is kept in memory, so that a new segment can begin with it and the older ones go.
//!
//! Nothing here stops alerts: a disk that fails costs durability, says so, and is tried again. Byte layout:
//! `docs/formats/alert-journal.md`.
#![forbid(unsafe_code)]

pub mod journal; // the handle, and the writer behind it
pub mod memory; // what is known
pub mod record; // one frame
pub mod segment; // one file
