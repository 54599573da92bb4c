//! Since when alerts are active, from the series that another server left behind.
//!
//! A rule that no journal remembers, in a database that a Prometheus filled by remote write, or one that was in another group when
//! the process ended, continues the hold of its alerts as that Prometheus would after a restart: after two evaluations, from the
//! last samples of `ALERTS_FOR_STATE`, shifted by the time in which nobody looked. What else this process did itself it knows
//! better, from its own journal.

use crate::alerting::ALERTS_FOR_STATE;
use crate::error::QueryError;
use crate::evaluation::ALERT_NAME;
use crate::ports::{Element, Queries, QueryValue};
use crate::rule::Rule;
use hashbrown::HashMap;
use model::labels::{Labels, METRIC_NAME};
use model::matcher::Matcher;
use model::text::quote;
use model::time::Timestamp;
use promql::parse::ParseOptions;
use promql::value::SampleValue;
use std::collections::BTreeSet;
use std::fmt::Write;

/// How to continue what another server began. The names are those of Prometheus' flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForRestore {
    /// How long ago the last sample may be.
    pub outage_tolerance_ms: i64,
    /// Alerts whose `for` is shorter start anew; others wait at least as long before they fire.
    pub grace_period_ms: i64,
}

impl Default for ForRestore {
    fn default() -> Self {
        Self { outage_tolerance_ms: 60 * 60 * 1000, grace_period_ms: 10 * 60 * 1000 }
    }
}

/// What the series of one alert says.
#[derive(Debug, Clone, PartialEq)]
pub struct ForState {
    /// The labels of the alert.
    pub labels: Labels,
    /// Since when it was active.
    pub active_at: Timestamp,
    /// When somebody last looked.
    pub last_at: Timestamp,
}

/// Shorter than the time for which an instant query returns a sample, so that a series that it does not return ended.
const VISIBLE_MS: i64 = 299_999;

impl ForState {
    /// Since when the alert counts as active at `now`.
    #[must_use]
    pub fn continued(&self, now: Timestamp, hold_ms: i64, grace_period_ms: i64) -> Timestamp {
        let held_ms = self.last_at.0.saturating_sub(self.active_at.0);
        let remaining_ms = hold_ms.saturating_sub(held_ms);
        if remaining_ms <= 0 {
            // It fired before: it fires again at the next evaluation.
            self.active_at
        } else if remaining_ms < grace_period_ms {
            Timestamp(now.0.saturating_add(grace_period_ms).saturating_sub(hold_ms))
        } else {
            let gap_ms = now.0.saturating_sub(self.last_at.0);
            Timestamp(self.active_at.0.saturating_add(gap_ms))
        }
    }
}

/// What the series of the alerts of `rule` say at `now`, those left out that ended.
///
/// # Errors
/// A query failed.
pub fn look_up(
    rule: &Rule,
    queries: &dyn Queries,
    now: Timestamp,
    outage_tolerance_ms: i64,
) -> Result<Vec<ForState>, QueryError> {
    if !queries.may_select(&matchers(rule), Timestamp(now.0.saturating_sub(outage_tolerance_ms))) {
        return Ok(Vec::new());
    }
    let selector = selector(rule);
    let range = format!("{selector}[{outage_tolerance_ms}ms]");
    let active_since = ask(&format!("last_over_time({range})"), queries, now)?;
    if active_since.is_empty() {
        return Ok(Vec::new());
    }
    let last: HashMap<Labels, f64> =
        ask(&format!("ts_of_last_over_time({range})"), queries, now)?.into_iter().collect();
    let mut states = Vec::new();
    for (labels, seconds) in active_since {
        if let Some(last) = last.get(&labels) {
            states.push(ForState { labels, active_at: millis(seconds), last_at: millis(*last) });
        }
    }
    without_ended(states, &selector, queries, now)
}

/// A series that ended has a stale marker behind its last sample.
fn without_ended(
    mut states: Vec<ForState>,
    selector: &str,
    queries: &dyn Queries,
    now: Timestamp,
) -> Result<Vec<ForState>, QueryError> {
    let moments: BTreeSet<Timestamp> = states.iter().map(|state| state.last_at).collect();
    let mut going_on = HashMap::new();
    for last_at in moments {
        let at = Timestamp(last_at.0.saturating_add(VISIBLE_MS).min(now.0));
        let seen: BTreeSet<Labels> = ask(selector, queries, at)?.into_iter().map(|(labels, _)| labels).collect();
        going_on.insert(last_at, seen);
    }
    states.retain(|state| going_on.get(&state.last_at).is_some_and(|seen| seen.contains(&state.labels)));
    Ok(states)
}

/// Selects the series of the rule's alerts, and perhaps of others: labels that are templates may have any value.
fn selector(rule: &Rule) -> String {
    let mut text = format!("{ALERTS_FOR_STATE}{{{ALERT_NAME}={}", quote(&rule.name));
    for (name, value) in known_labels(rule) {
        let _ = write!(text, ",{}={}", quote(name), quote(value));
    }
    text.push('}');
    text
}

/// The same as [`look_up`] selects.
#[must_use]
pub fn matchers(rule: &Rule) -> Vec<Matcher> {
    let own = [(METRIC_NAME, ALERTS_FOR_STATE), (ALERT_NAME, &rule.name)];
    own.into_iter().chain(known_labels(rule)).map(|(name, value)| Matcher::equal(name, value)).collect()
}

/// Labels whose values do not depend on the alert.
fn known_labels(rule: &Rule) -> impl Iterator<Item = (&str, &str)> {
    let labels = rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    labels.filter(|(name, value)| !value.contains("{{") && *name != ALERT_NAME)
}

/// Values by labels without the name of the metric.
fn ask(text: &str, queries: &dyn Queries, at: Timestamp) -> Result<Vec<(Labels, f64)>, QueryError> {
    let options = ParseOptions { experimental_functions: true, ..ParseOptions::default() };
    let expr = promql::parse::parse(text, &options).map_err(|error| QueryError::Invalid(error.to_string()))?;
    let QueryValue::Vector(elements) = queries.instant(&expr, at)? else { return Ok(Vec::new()) };
    let value = |Element { labels, value }| match value {
        SampleValue::Float(value) => Some((labels.without_metric_name(), value)),
        SampleValue::Histogram(_) => None,
    };
    Ok(elements.into_iter().filter_map(value).collect())
}

fn millis(seconds: f64) -> Timestamp {
    // A value that is no time becomes one of the ends of all time.
    Timestamp((seconds * 1000.0).round() as i64)
}

#[cfg(test)]
mod tests;
