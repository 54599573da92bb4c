//! The test language of Prometheus (`promqltest`): a reader, a store to load series into, and a runner.
//!
//! The language is described in the README beside the test files. The runner executes every instant `eval` also in the
//! forms that are defined to be equivalent: pinned with `@` and evaluated at other times, and as the middle step of a range
//! query.

pub mod memory;

pub mod runner;
pub mod script;
pub mod tiered;

mod classic;
mod compare;
mod forms;
pub mod notation;
