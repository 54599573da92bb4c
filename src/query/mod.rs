//! Running queries: who may, how much they may use, when they stop, and what they read from.
//!
//! [`executor::QueryExecutor`] is the way in for the HTTP API and for rules. What a query means is the business of the
//! `promql` crate, how series are found that of `storage`.
pub mod executor;
pub mod request;
pub mod results_cache;

pub mod active;
pub mod admission;
pub mod engine_store;
pub mod journal;
mod parsed;
pub mod store;

pub mod error;
pub mod metrics;

#[cfg(test)]
mod invariances;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tiers;
