//! The words of the domain, shared by every crate of the house.
//!
//! A leaf: knows no sibling, no runtime, no wire format.
#![forbid(unsafe_code)]

pub mod bucket;
pub mod compensated;
pub mod exemplar;
pub mod histogram;
pub mod labels;
pub mod matcher;
pub mod metadata;
pub mod number;
pub mod regex;
pub mod relabel;
pub mod sample;
pub mod tenant;
pub mod text;
pub mod time;
