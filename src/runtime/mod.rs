//! Threads and how work gets onto them.
pub mod cpu;
pub mod local_space;
pub mod memory;
