//! The history of rules: how every evaluation went, and what changed about the rules themselves, in two bounded logs below the data
//! directory.
//!
//! Evaluations come by tens, so that each costs a few bytes and next to no time; those since the last ten are lost when the process is
//! killed, but for a rule that begins to fail or is good again: that is told at once. Changes are few, and so go back further.

mod change;
mod evaluations;

pub use change::{ChangeEntry, RuleEvent, RuleEventKind};

use super::history::HistoryStats;
use super::history::pen::{Pen, PenOptions};
use evaluations::Told;
use ruler::filter::RulesFilter;
use ruler::state::{GroupId, RuleId};
use ruler::transition::PastEvaluation;
use ruler::view::{EvaluationView, PastRuleView};
use std::collections::{HashMap, HashSet};
use std::ops::{ControlFlow, RangeInclusive};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use storage::error::Error;
use storage::record_log::RecordLogOptions;

/// Bytes that wait to be written, in each log: some more than what a hundred thousand rules have to tell at once.
const WAITING_MAX: usize = 128 << 20;
/// How long evaluations are gathered before they are written, so that ten thousand groups do not sync ten times a second.
const GATHERS_FOR: Duration = Duration::from_secs(1);
/// Bytes of a log that one question reads, about.
const READ_BYTES_MAX: u64 = 64 << 20;
/// One part in so many of all bytes is for changes.
const PART_OF_CHANGES: u64 = 4;

/// The history. Cheap to clone.
#[derive(Clone)]
pub struct RuleHistory {
    shared: Arc<Shared>,
}

struct Shared {
    evaluations: Pen<Told>,
    changes: Pen<RuleEvent>,
}

impl RuleHistory {
    /// Opens the history in `directory` and starts to write.
    ///
    /// # Errors
    /// The directory cannot be used, or no thread can be started.
    pub fn open(directory: &Path, options: RecordLogOptions) -> Result<Self, Error> {
        let of_changes = options.bytes_max / PART_OF_CHANGES;
        let pen = |thread, gathers_for, bytes_max| PenOptions {
            thread,
            waiting_max: WAITING_MAX,
            gathers_for,
            log: RecordLogOptions { bytes_max, ..options },
        };
        let evaluations = pen("rule-history", GATHERS_FOR, options.bytes_max - of_changes);
        let evaluations = Pen::open(&directory.join("evaluations"), evaluations)?;
        let changes = Pen::open(&directory.join("changes"), pen("rule-changes", Duration::ZERO, of_changes))?;
        Ok(Self { shared: Arc::new(Shared { evaluations, changes }) })
    }

    /// Notes how evaluations of the rules of one group went, each oldest first.
    pub fn evaluated(&self, evaluations: Arc<[(Arc<RuleId>, Vec<PastEvaluation>)]>) {
        self.shared.evaluations.note(Told(evaluations));
    }

    /// Notes that something happened to a rule or a group.
    pub fn note(&self, event: RuleEvent) {
        self.shared.changes.note(event);
    }

    /// Writes what waits and stops writing.
    pub fn close(&self) {
        self.shared.evaluations.close();
        self.shared.changes.close();
    }

    /// Leaves of each rule the newest `most` evaluations that began in `times`, in milliseconds since the Unix epoch, and adds
    /// what is missing and was written. Whether there may be more, since much had to be read.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn complete(&self, rules: &mut [PastRuleView], times: RangeInclusive<i64>, most: usize) -> Result<bool, Error> {
        self.complete_reading(rules, times, most, READ_BYTES_MAX)
    }

    fn complete_reading(
        &self,
        rules: &mut [PastRuleView],
        times: RangeInclusive<i64>,
        most: usize,
        bytes_max: u64,
    ) -> Result<bool, Error> {
        let mut wanted = HashMap::new();
        for (index, rule) in rules.iter_mut().enumerate() {
            let oldest = rule.evaluations.last().map_or(i64::MAX, |evaluation| evaluation.time.0);
            rule.evaluations.retain(|evaluation| times.contains(&evaluation.time.0));
            rule.evaluations.truncate(most);
            if rule.evaluations.len() < most && oldest > *times.start() {
                wanted.insert(rule.id.clone(), (index, oldest));
            }
        }
        if wanted.is_empty() {
            return Ok(false);
        }
        let groups: HashSet<Arc<GroupId>> = wanted.keys().map(|id: &Arc<RuleId>| id.group.clone()).collect();
        let rest = self.shared.evaluations.log().read_back(None, times.clone(), bytes_max, |record| {
            for (id, evaluations) in evaluations::decode(&record, |group| groups.contains(group)) {
                let Some((index, oldest)) = wanted.get_mut(&id) else { continue };
                let Some(rule) = rules.get_mut(*index) else { continue };
                for past in evaluations.into_iter().rev() {
                    if past.at.0 < *oldest && rule.evaluations.len() < most {
                        *oldest = past.at.0;
                        rule.evaluations.extend(times.contains(&past.at.0).then(|| EvaluationView::of(past)));
                    }
                }
                if rule.evaluations.len() >= most {
                    wanted.remove(&id);
                }
            }
            if wanted.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(rest.is_some() && !wanted.is_empty())
    }

    /// The newest changes in `times` of rules and groups that `filter` names, at most `limit`. The flag says whether there may be
    /// more.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn changes(
        &self,
        filter: &RulesFilter,
        times: RangeInclusive<i64>,
        limit: usize,
    ) -> Result<(Vec<ChangeEntry>, bool), Error> {
        let mut found = Vec::new();
        let rest = self.shared.changes.log().read_back(None, times, READ_BYTES_MAX, |record| {
            found.extend(ChangeEntry::read(&record).filter(|entry| entry.is_named_by(filter)));
            if found.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok((found, rest.is_some()))
    }

    /// Its figures.
    #[must_use]
    pub fn stats(&self) -> HistoryStats {
        let (evaluations, changes) = (self.shared.evaluations.stats(), self.shared.changes.stats());
        HistoryStats {
            written: evaluations.written + changes.written,
            lost: evaluations.lost + changes.lost,
            bytes: evaluations.bytes + changes.bytes,
        }
    }
}

/// The beginning of `text`, of at most `bytes_max` bytes.
fn cut_to(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

impl std::fmt::Debug for RuleHistory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleHistory").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
