//! The head against its naive twin, and its files against damage, through the public interface alone.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod churn;
mod concurrency;
mod damage;
mod golden;
mod naive;
mod samples;
mod selection;
mod snapshots;
mod views;
