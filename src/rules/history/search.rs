//! What a reader of the history wants to see.

use super::HistoryEntry;
use super::entry::rfc3339;
use model::matcher::Matcher;
use serde::Serialize;
use std::ops::{ControlFlow, RangeInclusive};
use storage::error::Error;
use storage::record_log::{Record, RecordLog};

/// Bytes of the log that one search reads, about.
const READ_BYTES_MAX: u64 = 64 << 20;

/// A search. Everything that is given has to be satisfied.
#[derive(Debug, Clone, PartialEq)]
pub struct HistorySearch {
    /// Slots in milliseconds since the Unix epoch.
    pub times: RangeInclusive<i64>,
    /// The labels satisfy all matchers of one of these; none means any.
    pub selectors: Vec<Vec<Matcher>>,
    /// Names of rules; none means any.
    pub rules: Vec<String>,
    /// Names of groups; none means any.
    pub groups: Vec<String>,
    /// What alert or rule became: `inactive`, `pending`, `firing`, `ok`, `err`; none means any.
    pub states: Vec<String>,
    /// Most entries; at least 1.
    pub limit: usize,
    /// Only what is older than the entry of this number.
    pub before: Option<u64>,
}

/// Entries, newest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPage {
    /// At most as many as were asked for; fewer, when much of the history had to be read for them.
    pub transitions: Vec<HistoryEntry>,
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

impl HistorySearch {
    pub(super) fn run(&self, log: &RecordLog) -> Result<HistoryPage, Error> {
        let mut transitions = Vec::new();
        let next = log.read_back(self.before, self.times.clone(), READ_BYTES_MAX, |record| {
            transitions.extend(read(&record).into_iter().filter(|entry| self.wants(entry)));
            if transitions.len() >= self.limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(HistoryPage { transitions, next_token: next.map(|number| number.to_string()) })
    }

    fn wants(&self, entry: &HistoryEntry) -> bool {
        let among = |names: &[String], name: &String| names.is_empty() || names.contains(name);
        let label = |name: &str| entry.labels.get(name).map_or("", String::as_str);
        let selected = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches(label(matcher.name())));
        among(&self.rules, &entry.rule)
            && among(&self.groups, &entry.group)
            && among(&self.states, &entry.to)
            && (self.selectors.is_empty() || self.selectors.iter().any(selected))
    }
}

/// What is none was not written by this program.
fn read(record: &Record) -> Option<HistoryEntry> {
    let entry: HistoryEntry = serde_json::from_slice(&record.payload).ok()?;
    Some(HistoryEntry { id: record.number, time: rfc3339(record.time_ms), ..entry })
}
