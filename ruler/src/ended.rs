//! Series that recording rules wrote before a restart, so that those which no rule returns any more get their stale markers.
//!
//! The alert journal knows the alerts, and with them their series; what recording rules wrote only the store knows. A sample is
//! taken for a rule's own if it has the rule's name and labels and stands in a slot of its group, up to the millisecond. A rule
//! asks for its own series in its first evaluation. What no rule of the group claims, and what several groups that run record
//! under one name in the same slots, may be written by a rule of another group by now: it is [`Unclaimed`], and decided when all
//! of those were evaluated (`reload.rs`).

use crate::error::QueryError;
use crate::group::GroupSpec;
use crate::ports::{Element, Queries, QueryValue};
use crate::rule::{Query, Rule};
use crate::state::RuleId;
use hashbrown::{HashMap, HashSet};
use model::labels::{Labels, METRIC_NAME};
use model::text::quote;
use model::time::Timestamp;
use promql::parse::ParseOptions;
use promql::value::SampleValue;
use std::collections::{BTreeMap, BTreeSet};
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

/// What one recording rule of an earlier process wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierSeries {
    /// Name of the series.
    pub name: String,
    /// Labels that all of them have; an empty value: they do not have it.
    pub labels: BTreeMap<String, String>,
    /// When.
    pub slots: EarlierSlots,
}

/// What an earlier process wrote for a group and no rule of the group claims.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unclaimed {
    /// Series of alerts.
    pub series: Vec<Labels>,
    /// What recording rules wrote: the store is to be asked.
    pub earlier: Vec<EarlierSeries>,
}

impl EarlierSeries {
    /// What the recording rule `id` wrote in `slots`.
    #[must_use]
    pub fn of(id: &RuleId, slots: EarlierSlots) -> Self {
        Self { name: id.name.clone(), labels: id.labels.clone(), slots }
    }

    /// Selects the newest times of the series, and perhaps of others.
    ///
    /// # Errors
    /// What was remembered of the rule is no rule.
    pub fn query(&self) -> Result<Query, QueryError> {
        Query::parse(&self.expression(), &ParseOptions::default())
            .map_err(|error| QueryError::Invalid(error.to_string()))
    }

    fn expression(&self) -> String {
        let mut text = format!("timestamp({{{METRIC_NAME}={}", quote(&self.name));
        for (name, value) in &self.labels {
            let _ = write!(text, ",{}={}", quote(name), quote(value));
        }
        text.push_str("})");
        text
    }

    /// The series that queries still see at `now`; `query` is [`EarlierSeries::query`].
    ///
    /// # Errors
    /// The query failed.
    pub fn look_up(&self, query: &Query, queries: &dyn Queries, now: Timestamp) -> Result<Vec<Labels>, QueryError> {
        let QueryValue::Vector(elements) = queries.instant(query.expr(), now)? else { return Ok(Vec::new()) };
        let written = |Element { labels, value }| match value {
            SampleValue::Float(seconds) if self.slots.include(Timestamp((seconds * 1000.0).round() as i64)) => {
                Some(labels.with(METRIC_NAME, &self.name))
            }
            SampleValue::Float(_) | SampleValue::Histogram(_) => None,
        };
        Ok(elements.into_iter().filter_map(written).collect())
    }
}

/// Names that more than one of these groups records in slots that are the same: those that are aligned.
#[must_use]
pub fn shared_names(groups: &[GroupSpec]) -> BTreeSet<String> {
    let mut groups_by_name: HashMap<&str, usize> = HashMap::new();
    for group in groups.iter().filter(|group| group.aligned) {
        let recording = group.rules.iter().filter(|rule| rule.alerting().is_none());
        let names: HashSet<&str> = recording.map(|rule: &std::sync::Arc<Rule>| rule.name.as_str()).collect();
        names.into_iter().for_each(|name| *groups_by_name.entry(name).or_default() += 1);
    }
    groups_by_name.into_iter().filter(|(_, groups)| *groups > 1).map(|(name, _)| name.to_owned()).collect()
}
