//! SQL over the stored series. The only place that knows DataFusion.
//!
//! [`Sql::run`] is the way in: it waits for a place like every other query, parses and plans the text over tables of its own
//! ([`catalog`]), and sends the result in pieces. Conditions on labels and time become matchers and ranges ([`pushdown`]),
//! so that a scan ([`scan`]) reads no more series and samples than PromQL would. All memory is charged to the budget of the
//! query ([`memory`]).
//!
//! Sealed: a text can read the tables of the catalogue and nothing else. There are no files, object stores, settings or
//! statements that change something ([`statement`], [`session`]).
mod engine;
pub mod request;
mod run;
mod scope;

mod expansion;
mod session;
mod statement;
mod watch;

mod batch;
mod catalog;
mod guard;
mod memory;
mod pushdown;
mod runs;
mod scan;
mod tables;

mod failure;
mod functions;
mod output;
mod promql_function;

pub use engine::{BlockRow, BlockSource, NoBlocks, Sql, SqlSources};

#[cfg(test)]
mod tests;
