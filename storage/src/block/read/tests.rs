//! Compares what is read with what was written.

mod kernels;
mod model;
mod requests;
mod twin;
