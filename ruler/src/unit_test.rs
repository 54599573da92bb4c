//! Unit tests of rules, in the file format of `promtool test rules`.
//!
//! A test file names rule files, gives series, and says which alerts fire and what expressions return at some times. The
//! rules run in the groups, templates and query engine of the server over a store in memory, in time that passes as fast as
//! it can be computed. Nothing here reads files: the caller brings rule files and takes reports.
//!
//! Follows Prometheus 3.14; whatever a test of promtool relies on and its documentation leaves open is done as there:
//! groups run in steps of `evaluation_interval` and not of their own, alerts are compared in the step that covers their
//! time, and expressions see the samples up to the last step alone.

mod document; // the YAML
mod run; // one test
pub(crate) mod store; // its series

pub mod junit;
pub mod report;

pub use document::{AlertTest, ExpectedAlert, ExpectedSample, ExpressionTest, InputSeries, TestFile, TestGroup};
pub use report::{Failure, FileReport, TestReport};
pub use run::{RuleFiles, run_test};
pub use store::TestStore;

#[cfg(test)]
mod tests;
