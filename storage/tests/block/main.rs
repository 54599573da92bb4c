//! Blocks are written and read back by readers that know nothing of them.
#![allow(missing_docs)]

mod content;
mod golden;
mod layout;
mod plain;
mod round_trip;
mod verify;
