//! The endpoints of Prometheus' HTTP API, one file per subject.
pub mod query;
mod query_stats;

pub mod series;
mod selectors;
pub mod metadata;
pub mod exemplars;
pub mod expression;

pub mod rules;
pub mod targets;
pub mod status;
pub mod active_queries;

pub mod federate;
pub mod lifecycle;
