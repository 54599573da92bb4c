//! The endpoints of Prometheus' HTTP API, one file per subject.
mod explain;
pub mod query;
mod query_stats;
#[cfg(feature = "sql")]
pub mod sql;

pub mod exemplars;
pub mod expression;
mod listing;
pub mod metadata;
pub mod search;
mod selectors;
pub mod series;

pub mod active_queries;
pub mod admin;
mod dry_run;
pub mod features;
pub mod history;
pub mod notifications;
pub mod rule_backfill;
pub mod rule_config;
pub mod rules;
pub mod status;
pub mod status_blocks;
pub mod targets;

pub mod federate;
pub mod lifecycle;
pub mod remote_read;
