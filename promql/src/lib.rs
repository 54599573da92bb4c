//! PromQL of Prometheus 3.14: text to value.
//!
//! Knows no storage, no tenant and no clock: it asks a [`source::SeriesSource`] for series and is given series.
#![forbid(unsafe_code)]

pub mod ast;
pub mod functions;
pub mod source;
