//! Evaluation in columns: see [`vector`] for the idea, `evaluator.rs` for how a plan is put together from these parts.

pub(crate) mod vector;

pub(crate) mod exec;
pub(crate) mod remarks;
pub(crate) mod row;
pub(crate) mod samples;
pub(crate) mod scalar;
pub(crate) mod steps;
pub(crate) mod windows;

pub(crate) mod extended;
pub(crate) mod extrapolation;
pub(crate) mod range;
pub(crate) mod range_call;
pub(crate) mod select;
pub(crate) mod shared;

pub(crate) mod aggregate;
pub(crate) mod binary;
pub(crate) mod buckets;
pub(crate) mod functions;
pub(crate) mod kahan;
pub(crate) mod labelled;
pub(crate) mod mapped;
pub(crate) mod names;
pub(crate) mod numbered;
pub(crate) mod profile;
