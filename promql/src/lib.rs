//! PromQL of Prometheus 3.14: text to value.
//!
//! Knows no storage, no tenant and no clock: it asks a [`source::SeriesSource`] for series and is given series.
#![forbid(unsafe_code)]

mod binder;
mod check;
mod lowering;
mod tokens;

pub mod ast;
pub mod duration;
pub mod functions;
pub mod literal;
pub mod parse;
pub mod source;

pub use parse::{ParseError, ParseOptions, parse};
