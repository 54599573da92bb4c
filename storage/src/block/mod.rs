//! Blocks: immutable Parquet files of one range of time. Format: `docs/formats/block.md`.

pub mod schema;

pub mod meta;
pub mod order;
pub mod timeline;
pub mod verify;
pub mod writer;

pub mod read;

pub mod checksums;
pub(crate) mod columns;
pub mod error;
pub(crate) mod number;
mod packed;
mod packed_column;
pub(crate) mod table;
