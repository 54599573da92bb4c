//! Statements over a small store.
mod budget;
pub(super) mod fixture;
mod histograms;
mod hostile;
mod promql;
mod pushdown;
mod tables;
