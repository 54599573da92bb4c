//! Blocks are written and read back by readers that know nothing of them.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod content;
mod golden;
mod layout;
mod plain;
mod round_trip;
mod verify;
