//! PromQL of Prometheus 3.14: text to value.
//!
//! Knows no storage, no tenant and no clock: it asks a [`source::SeriesSource`] for series and is given series.
#![forbid(unsafe_code)]

mod binder;
mod check;
mod eval;
mod evaluator;
mod lowering;
mod plan;
pub mod query_error;
mod rehearsal;
mod tokens;

pub mod annotation;
pub mod ast;
pub mod budget;
pub mod duration;
pub mod engine;
pub mod estimate;
pub mod explain;
pub mod functions;
pub mod literal;
pub mod parse;
pub mod printer;
pub mod resolution;
pub mod source;
pub mod testing;
pub mod tree;
pub mod value;
pub mod weight;

pub use engine::{Engine, EngineOptions, QueryContext, QueryError, QueryErrorKind};
pub use parse::{ParseError, ParseOptions, parse};
