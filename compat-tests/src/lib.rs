//! Hearth against real peers, over HTTP only.
//!
//! Nothing here knows a crate of Hearth: what these programs and tests see is what a user sees.
#![forbid(unsafe_code)]

pub mod api;
pub mod conformance;
pub mod drive;
pub mod load;
pub mod metrics;
pub mod peer;
pub mod queries;
pub mod questions;
pub mod random;
pub mod receiver;
pub mod remote_read;
pub mod remote_write;
pub mod slots;
pub mod stall;
pub mod table;
pub mod wait;
