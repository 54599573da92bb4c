//! Time series storage: a write-ahead log, an in-memory head and their index.
#![deny(unsafe_code)]

pub mod account;
pub mod append;
pub mod block;
pub mod bucket;
pub mod cardinality;
pub mod chunk;
pub mod crc32c;
pub mod disk;
pub mod documents;
pub mod engine;
pub mod error;
mod exemplars;
pub mod export;
pub mod head;
pub mod histogram;
pub mod import;
mod index;
pub mod lifecycle;
pub mod manifest;
mod metadata;
pub mod offline;
pub mod record_log;
mod sealed_json;
pub mod select;
pub mod snapshot;
pub mod store;
pub mod tiers;
pub mod tombstone;
pub mod wal;
