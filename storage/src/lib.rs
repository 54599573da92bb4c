//! Time series storage: a write-ahead log, an in-memory head and their index.
#![deny(unsafe_code)]

pub mod append;
pub mod block;
pub mod bucket;
pub mod cardinality;
pub mod chunk;
pub mod disk;
pub mod engine;
pub mod error;
mod exemplars;
pub mod head;
pub mod histogram;
mod index;
pub mod lifecycle;
pub mod manifest;
mod metadata;
pub mod select;
pub mod snapshot;
pub mod store;
pub mod tiers;
pub mod tombstone;
pub mod wal;
