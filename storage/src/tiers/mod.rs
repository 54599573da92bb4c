//! Tiers: blocks of buckets that outlive the samples they were made from. Why they stay exact: `docs/decisions/tiers.md`.
//!
//! What a bucket is, how it is made of samples or of finer buckets, and which resolution answers for which time is
//! [`model::bucket`]. Here is how long each tier is kept (`policy.rs`) and how buckets lie in a file (`schema.rs`,
//! `encode.rs`, `decode.rs`).

pub(crate) mod day_spans;
pub(crate) mod days;
pub mod decode;
pub mod encode;
pub mod policy;
pub mod schema;
