//! The HTTP interface.

pub mod rejected_samples;
pub mod remote_write;
