//! What operations on native histograms remark on, in Prometheus' words.

use super::exec::Exec;
use crate::annotation::{Severity, format_second};
use crate::ast::Span;
use model::histogram::Combined;
use model::text::quote;

/// Where remarks point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The operation's place in the plan.
    pub(crate) ordinal: u32,
    /// The part of the query that the remark is about.
    pub(crate) span: Span,
}

impl Place {
    pub(crate) fn warn(self, exec: &Exec<'_>, message: String) {
        exec.annotate(Severity::Warning, message, self.ordinal, self.span);
    }

    pub(crate) fn inform(self, exec: &Exec<'_>, message: String) {
        exec.annotate(Severity::Info, message, self.ordinal, self.span);
    }

    /// What came of combining histograms; `None` when their buckets do not go together.
    pub(crate) fn remark_on_bounds(self, exec: &Exec<'_>, combined: Combined, operation: Operation) {
        if combined.bounds_reconciled {
            self.inform(exec, reconciled(operation));
        }
    }
}

/// How histograms were combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Addition,
    Subtraction,
    Aggregation,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

pub(crate) fn mixed_samples(name: &str) -> String {
    format!("encountered a mix of histograms and floats for metric name {}", quote(name))
}

pub(crate) fn mixed_aggregation() -> String {
    "encountered a mix of histograms and floats for aggregation".to_owned()
}

pub(crate) fn mixed_buckets(name: &str) -> String {
    format!(
        "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {}",
        quote(name)
    )
}

pub(crate) fn not_a_counter(name: &str) -> String {
    format!("this native histogram metric is not a counter: {}", quote(name))
}

pub(crate) fn not_a_gauge(name: &str) -> String {
    format!("this native histogram metric is not a gauge: {}", quote(name))
}

pub(crate) fn ignored_in_range(name: &str) -> String {
    format!("ignored histograms in a range containing both floats and histograms for metric name {}", quote(name))
}

pub(crate) fn ignored_in_aggregation(aggregation: &str) -> String {
    format!("ignored histogram in {aggregation} aggregation")
}

pub(crate) fn colliding_resets(operation: Operation) -> String {
    format!("conflicting counter resets during histogram {}", operation.as_str())
}

pub(crate) fn reconciled(operation: Operation) -> String {
    format!("mismatched custom buckets were reconciled during {}", operation.as_str())
}

pub(crate) fn expired_starts(expired_until_ms: i64) -> String {
    format!(
        "raw samples until {} have expired, and with them since when they count: resets are told from values alone",
        format_second(expired_until_ms)
    )
}

pub(crate) fn left_out(name: &str) -> String {
    format!(
        "some native histograms have expired, the value is approximated from those between them for metric name {}",
        quote(name)
    )
}

pub(crate) fn overlapping_starts(name: &str) -> String {
    format!("sample has start time that overlaps with previous sample timestamp for metric {}", quote(name))
}
