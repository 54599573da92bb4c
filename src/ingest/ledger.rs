//! The last refusals, each with its series, so that an operator can look up what was not stored and why.

use super::reason::Reason;
use crate::wire::canonical;
use model::histogram::validate::InvalidHistogram;
use model::tenant::TenantId;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Label bytes kept of one refusal.
const LABEL_BYTES_MAX: usize = 4096;

/// One refusal.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// When it was refused, milliseconds since the Unix epoch.
    pub refused_at_ms: i64,
    /// Whose request it was in.
    pub tenant: TenantId,
    /// The labels as remote write 1.0 encodes them, cut off at 4 KiB; text when somebody reads it.
    pub encoded_labels: Box<[u8]>,
    /// Milliseconds since the Unix epoch, of the first refused sample; `None` when the refused thing has no time.
    pub timestamp_ms: Option<i64>,
    /// The value of that sample, if it is one float.
    pub value: Option<f64>,
    /// How many samples, histograms or exemplars of the series were refused together.
    pub count: u64,
    /// Why.
    pub reason: Reason,
    /// What is wrong with a native histogram that is none.
    pub detail: Option<InvalidHistogram>,
}

impl Refusal {
    /// The series as a person reads it.
    #[must_use]
    pub fn series(&self) -> String {
        canonical::to_text(&self.encoded_labels)
    }

    /// Why, in a sentence.
    #[must_use]
    pub fn explanation(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{}: {detail}", self.reason.explanation()),
            None => self.reason.explanation().to_owned(),
        }
    }

    /// As much of encoded labels as is kept.
    #[must_use]
    pub fn kept_part(encoded: &[u8]) -> &[u8] {
        encoded.get(..LABEL_BYTES_MAX).unwrap_or(encoded)
    }
}

/// Remembers the last refusals, up to a number.
#[derive(Debug)]
pub struct Ledger {
    refusals: Mutex<VecDeque<Refusal>>,
    capacity: usize,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { refusals: Mutex::new(VecDeque::new()), capacity }
    }

    /// How many refusals are remembered at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Adds refusals, oldest first; the oldest of all are forgotten.
    pub fn record(&self, refusals: impl IntoIterator<Item = Refusal>) {
        let mut held = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        for refusal in refusals {
            if held.len() >= self.capacity {
                held.pop_front();
            }
            if self.capacity > 0 {
                held.push_back(refusal);
            }
        }
    }

    /// The last `limit` refusals, newest first, and whether there are more.
    #[must_use]
    pub fn last(&self, limit: usize) -> (Vec<Refusal>, bool) {
        let held = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        (held.iter().rev().take(limit).cloned().collect(), held.len() > limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(timestamp_ms: i64) -> Refusal {
        Refusal {
            refused_at_ms: 0,
            tenant: TenantId::anonymous(),
            encoded_labels: Box::from([]),
            timestamp_ms: Some(timestamp_ms),
            value: None,
            count: 1,
            reason: Reason::TooOld,
            detail: None,
        }
    }

    #[test]
    fn the_newest_come_first_and_the_oldest_are_forgotten() {
        let ledger = Ledger::new(3);
        ledger.record((1..=5).map(refusal));
        let times = |limit| {
            let (refusals, more) = ledger.last(limit);
            (refusals.iter().filter_map(|r| r.timestamp_ms).collect::<Vec<_>>(), more)
        };
        assert_eq!(times(10), (vec![5, 4, 3], false));
        assert_eq!(times(2), (vec![5, 4], true));
    }
}
