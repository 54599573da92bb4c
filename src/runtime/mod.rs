//! Threads and how work gets onto them, what there is room for, and what people must know.
pub mod cpu;
pub mod local_space;
pub mod memory;
pub mod notices;
