//! The system as a whole: the binary, its commands and its generated pages.

#![allow(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

mod alert_history;
mod binary;
mod blocks;
mod mixin;
mod pages;
mod suite_on_blocks;
