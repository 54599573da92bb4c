//! What a recording rule makes of the results of its expression.

use crate::error::RuleError;
use crate::overlay::overlay;
use crate::ports::{Element, RuleSample};
use crate::rule::Rule;
use hashbrown::HashSet;
use model::labels::METRIC_NAME;
use model::time::Timestamp;
use std::collections::BTreeMap;

/// The samples to store at `at`: each result under the rule's name and with the rule's labels.
///
/// # Errors
/// Two results become one series, or there are more than `limit` (0 means any number).
pub fn record(rule: &Rule, results: Vec<Element>, at: Timestamp, limit: u64) -> Result<Vec<RuleSample>, RuleError> {
    let changes = changes(rule);
    let mut seen = HashSet::with_capacity(results.len());
    let mut samples = Vec::with_capacity(results.len());
    for Element { labels, value } in results {
        let labels = overlay(&labels, &changes);
        if !seen.insert(labels.clone()) {
            return Err(RuleError::SameSeriesLabels);
        }
        samples.push(RuleSample { labels, at, value });
    }
    if limit > 0 && u64::try_from(samples.len()).is_ok_and(|series| series > limit) {
        return Err(RuleError::TooManySeries { limit, series: samples.len() });
    }
    Ok(samples)
}

/// What a recording rule changes in the labels of its results.
pub(crate) fn changes(rule: &Rule) -> BTreeMap<&str, &str> {
    let mut changes = BTreeMap::from([(METRIC_NAME, rule.name.as_str())]);
    changes.extend(rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    changes
}
