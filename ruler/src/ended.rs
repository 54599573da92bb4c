//! Series that a recording rule wrote before a restart, so that those which it no longer returns get their stale markers.
//!
//! The alert journal knows the alerts, and with them their series; what recording rules wrote only the store knows. A sample is
//! taken for the rule's own if it has the rule's name and labels and stands in a slot of its group, up to the millisecond.

use crate::error::QueryError;
use crate::ports::{Element, Queries, QueryValue};
use crate::rule::Rule;
use model::labels::{Labels, METRIC_NAME};
use model::text::quote;
use model::time::Timestamp;
use promql::parse::ParseOptions;
use promql::value::SampleValue;
use std::fmt::Write;

/// The slots in which an earlier process may have written last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EarlierSlots {
    /// The time of the samples of the last slot that is known to have been evaluated.
    pub last: Timestamp,
    /// Distance of the slots, at least 1.
    pub interval_ms: i64,
}

impl EarlierSlots {
    /// Whether a sample at `at` is of the last slot that is known, or of one that was begun after it.
    fn include(self, at: Timestamp) -> bool {
        at >= self.last && at.0.saturating_sub(self.last.0) % self.interval_ms == 0
    }
}

/// The series of `rule` that were written in `slots` and that queries still see at `now`.
///
/// # Errors
/// The query failed.
pub fn look_up(
    rule: &Rule,
    queries: &dyn Queries,
    now: Timestamp,
    slots: EarlierSlots,
) -> Result<Vec<Labels>, QueryError> {
    let expr = promql::parse::parse(&format!("timestamp({})", selector(rule)), &ParseOptions::default());
    let expr = expr.map_err(|error| QueryError::Invalid(error.to_string()))?;
    let QueryValue::Vector(elements) = queries.instant(&expr, now)? else { return Ok(Vec::new()) };
    let written = |Element { labels, value }| match value {
        SampleValue::Float(seconds) if slots.include(Timestamp((seconds * 1000.0).round() as i64)) => {
            Some(labels.with(METRIC_NAME, &rule.name))
        }
        SampleValue::Float(_) | SampleValue::Histogram(_) => None,
    };
    Ok(elements.into_iter().filter_map(written).collect())
}

fn selector(rule: &Rule) -> String {
    let mut text = format!("{{{METRIC_NAME}={}", quote(&rule.name));
    for (name, value) in &rule.labels {
        let _ = write!(text, ",{}={}", quote(name), quote(value));
    }
    text.push('}');
    text
}
