//! Rules and alerts in a running process: rule files are found and loaded, each group runs as a task of its own, its
//! queries, samples and alerts go through the parts of the process that everybody uses.
//!
//! What a rule means is the business of the `ruler` crate.

// Over the past.
pub mod backfill;

// From patterns to groups.
pub mod check;
pub(crate) mod glob;
pub mod load;
pub mod unit_test;

// From the API to groups.
pub mod config;

// Groups that run.
pub(crate) mod clock;
pub mod manager;

// What groups need from the process.
pub mod durable;
pub mod event_log;
pub mod query_port;
pub mod sample_sink;

pub mod history;
pub mod metrics;
pub mod rule_history;

#[cfg(test)]
mod tests;
