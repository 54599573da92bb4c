//! Hearth: a Prometheus-compatible metrics backend in one process.
//!
//! This package is the composition: everything that touches the world (HTTP, wire formats, configuration, telemetry) and
//! the wiring of the crates that decide. `app.rs` lists what is started and in which order.
#![deny(unsafe_code)]

pub mod app;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod http;
pub mod ingest;
pub mod notify;
pub mod query;
pub mod rules;
pub mod runtime;
pub mod scrape;
#[cfg(feature = "sql")]
pub mod sql;
pub mod telemetry;
pub mod wire;
