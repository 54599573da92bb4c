//! Slots that were missed or failed, and when each is evaluated afterwards.
//!
//! A slot is missed when the process was down or the group was busy, and fails for a rule when storage or an earlier rule did
//! not answer. Both leave a gap here: the slot and the rules that it lacks. Gaps are tried in the order of their slots, once in
//! each round, and a round begins with every slot that comes due. A gap is closed when all its rules have been evaluated, and given up
//! when it is older than the window.
//!
//! Pure: times come as arguments, `group.rs` evaluates.

use model::time::Timestamp;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Gaps that one group keeps, however long the window and however short the interval: the oldest are given up beyond that.
const GAPS_MAX: usize = 1_000;

/// The gaps of one group, in ascending order of their slots.
#[derive(Debug, Clone, Default)]
pub struct Backlog {
    gaps: VecDeque<Gap>,
    round: u64,
    tally: RepairTally,
}

/// What became of gaps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepairTally {
    /// Slots that were evaluated completely afterwards.
    pub repaired: u64,
    /// Slots that lack a rule for good: they fell out of the window, or time had gone on for an alert.
    pub lost: u64,
}

#[derive(Debug, Clone)]
struct Gap {
    slot: Timestamp,
    /// The rules that the slot lacks; `None` when it lacks all.
    rules: Option<BTreeSet<usize>>,
    /// The round in which it was last tried.
    tried_in: Option<u64>,
    /// Whether one of its rules will never be evaluated.
    is_damaged: bool,
}

/// What became of one rule of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It was evaluated.
    Done,
    /// It failed in a way that may pass.
    Again,
    /// It is too late for it.
    Lost,
}

impl Backlog {
    /// Whether there is no gap.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gaps.is_empty()
    }

    /// How many slots lack something.
    #[must_use]
    pub fn len(&self) -> usize {
        self.gaps.len()
    }

    /// What became of gaps so far.
    #[must_use]
    pub fn tally(&self) -> RepairTally {
        self.tally
    }

    /// Notes that no rule was evaluated in the slots from `first` on every `interval_ms`, up to `end`, exclusive. Those that
    /// lie before `oldest` are lost at once. Slots come in ascending order.
    pub fn miss(&mut self, first: Timestamp, end: Timestamp, interval_ms: i64, oldest: Timestamp) {
        let count = |until: i64| {
            let length = until.saturating_sub(first.0).max(0);
            length.saturating_add(interval_ms - 1) / interval_ms
        };
        let all = count(end.0);
        let kept_max = i64::try_from(GAPS_MAX).unwrap_or(i64::MAX);
        let skipped = count(oldest.0.min(end.0)).max(all - kept_max).max(0);
        self.tally.lost += skipped.unsigned_abs();
        for number in skipped..all {
            self.push(Gap {
                slot: Timestamp(first.0.saturating_add(number.saturating_mul(interval_ms))),
                rules: None,
                tried_in: None,
                is_damaged: false,
            });
        }
    }

    /// Notes that `rule` has no result in `slot` yet, which has just been tried.
    pub fn fail(&mut self, slot: Timestamp, rule: usize) {
        let round = self.round;
        if let Some(gap) = self.gap(slot) {
            if let Some(rules) = &mut gap.rules {
                rules.insert(rule);
            }
            return;
        }
        let rules = Some(BTreeSet::from([rule]));
        self.push(Gap { slot, rules, tried_in: Some(round), is_damaged: false });
    }

    /// A slot came due: every gap may be tried once more, those that lie before `oldest` are given up. Returns how many those
    /// are.
    pub fn begin_round(&mut self, oldest: Timestamp) -> u64 {
        self.round += 1;
        let expired = self.gaps.partition_point(|gap| gap.slot < oldest);
        self.gaps.drain(..expired);
        self.tally.lost += expired as u64;
        expired as u64
    }

    /// The oldest slot that lacks something.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        self.gaps.front().map(|gap| gap.slot)
    }

    /// Whether a gap is left to be tried in this round.
    #[must_use]
    pub fn has_untried(&self) -> bool {
        self.gaps.iter().any(|gap| self.is_untried(gap))
    }

    /// How many gaps are left to be tried in this round.
    #[must_use]
    pub fn untried(&self) -> usize {
        self.gaps.iter().filter(|gap| self.is_untried(gap)).count()
    }

    /// No gaps, with what was counted so far.
    #[must_use]
    pub fn counted_only(&self) -> Self {
        Self { tally: self.tally, ..Self::default() }
    }

    /// Notes that `rules` were not evaluated in `slot`, which may be tried at once.
    pub fn interrupt(&mut self, slot: Timestamp, mut rules: BTreeSet<usize>) {
        match self.gap(slot) {
            Some(gap) => {
                if let Some(lacking) = &mut gap.rules {
                    lacking.append(&mut rules);
                }
            }
            None => self.push(Gap { slot, rules: Some(rules), tried_in: None, is_damaged: false }),
        }
    }

    /// The next gap of this round: its slot and the rules it lacks, of `rules` in all. What becomes of them is told to
    /// [`Backlog::settle`], then the gap is closed.
    pub fn next(&mut self, rules: usize) -> Option<(Timestamp, Vec<usize>)> {
        let next = self.gaps.iter().position(|gap| self.is_untried(gap))?;
        let round = self.round;
        let gap = self.gaps.get_mut(next)?;
        gap.tried_in = Some(round);
        let lacking = gap.rules.get_or_insert_with(|| (0..rules).collect());
        Some((gap.slot, lacking.iter().copied().collect()))
    }

    /// What became of one rule of the gap at `slot`.
    pub fn settle(&mut self, slot: Timestamp, rule: usize, attempt: Attempt) {
        let Some(gap) = self.gap(slot) else { return };
        if attempt == Attempt::Again {
            return;
        }
        gap.is_damaged |= attempt == Attempt::Lost;
        if let Some(rules) = &mut gap.rules {
            rules.remove(&rule);
        }
    }

    /// Forgets the gap at `slot` if nothing is lacking any more.
    pub fn close(&mut self, slot: Timestamp) {
        let Ok(index) = self.gaps.binary_search_by_key(&slot, |gap| gap.slot) else { return };
        let is_complete = |gap: &Gap| gap.rules.as_ref().is_some_and(BTreeSet::is_empty);
        if self.gaps.get(index).is_some_and(is_complete)
            && let Some(gap) = self.gaps.remove(index)
        {
            if gap.is_damaged {
                self.tally.lost += 1;
            } else {
                self.tally.repaired += 1;
            }
        }
    }

    /// The same gaps for rules that were renumbered, `None` for those that are gone. New rules lack nothing.
    pub fn renumber(&mut self, new_number: impl Fn(usize) -> Option<usize>, old_rules: usize) {
        for gap in &mut self.gaps {
            let lacking: Vec<usize> = match &gap.rules {
                Some(rules) => rules.iter().copied().collect(),
                None => (0..old_rules).collect(),
            };
            gap.rules = Some(lacking.into_iter().filter_map(&new_number).collect());
        }
        self.gaps.retain(|gap| gap.rules.as_ref().is_some_and(|rules| !rules.is_empty()));
    }

    fn is_untried(&self, gap: &Gap) -> bool {
        gap.tried_in != Some(self.round)
    }

    fn gap(&mut self, slot: Timestamp) -> Option<&mut Gap> {
        let index = self.gaps.binary_search_by_key(&slot, |gap| gap.slot).ok()?;
        self.gaps.get_mut(index)
    }

    fn push(&mut self, gap: Gap) {
        match self.gaps.binary_search_by_key(&gap.slot, |other| other.slot) {
            // A clock that was set back brings slots again that are still lacking.
            Ok(_) => {}
            Err(index) => self.gaps.insert(index, gap),
        }
        if self.gaps.len() > GAPS_MAX {
            self.gaps.pop_front();
            self.tally.lost += 1;
        }
    }
}

/// Whether `gaps` are to be evaluated before a slot that has been due for `waited`, so that rules read what belongs before it
/// and alerts go through their states in order. `slot_takes` is what one slot took last. Half of the interval is spent at most:
/// whoever is slower than that is best served with the newest data.
#[must_use]
pub fn comes_first(gaps: usize, slot_takes: Duration, waited: Duration, interval: Duration) -> bool {
    let gaps = u32::try_from(gaps).unwrap_or(u32::MAX);
    let expected = slot_takes.saturating_mul(gaps);
    expected <= interval / 2 && waited < interval / 2
}

/// Whether there is time for one more gap before the next slot, `until_next` from now.
#[must_use]
pub fn fits_before(slot_takes: Duration, until_next: Duration) -> bool {
    slot_takes < until_next
}

#[cfg(test)]
mod tests;
