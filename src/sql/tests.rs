//! Statements over a small store.
mod budget;
mod fixture;
mod hostile;
mod promql;
mod pushdown;
mod tables;
