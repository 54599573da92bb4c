//! How Hearth tells about itself: its log and its own metrics.
pub mod alert_journal;
pub mod blocks;
pub mod local_space;
pub mod log;
pub mod memory;
pub mod notifier;
pub mod process;
pub mod prometheus_names;
pub mod recent;
pub mod registries;
pub mod reload;
pub mod storage;
