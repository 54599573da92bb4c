//! Blocks: immutable Parquet files of one range of time. Format: `docs/formats/block.md`.

pub mod meta;
pub mod order;
pub mod read;
pub mod schema;
