//! Compares what is read with what was written.

mod kernels;
