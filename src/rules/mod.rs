//! Rules and alerts in a running process: rule files are found and loaded, each group runs as a task of its own, its
//! queries, samples and alerts go through the parts of the process that everybody uses.
//!
//! What a rule means is the business of the `ruler` crate.
pub mod check;
mod glob;
pub mod load; // from patterns to groups

mod clock;
pub mod manager; // groups that run

pub mod event_log; // ports
pub mod notify;
pub mod query_port;

pub mod sample_sink;

pub mod metrics;
