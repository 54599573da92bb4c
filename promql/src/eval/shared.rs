//! Results of aggregations that stand in a query more than once.
//!
//! A result is kept until its last reader has it. One that left remarks is not: remarks say where they come from, so the
//! others have to be evaluated for theirs. Samples count as if each had been evaluated.

use super::exec::{Counted, Counting, Exec};
use super::vector::Vector;
use crate::plan::repeats::{Repeat, Repeats};
use crate::query_error::QueryError;
use hashbrown::{HashMap, HashSet};
use std::sync::Mutex;

/// The repeated aggregations of one query, and the results kept of them.
#[derive(Default)]
pub(crate) struct Shared<'q> {
    repeats: Repeats,
    results: Mutex<Results<'q>>,
}

#[derive(Default)]
struct Results<'q> {
    /// By the ordinal of the aggregation that was evaluated.
    kept: HashMap<u32, Kept<'q>>,
    /// Those that were not evaluated.
    spared: HashSet<u32>,
}

struct Kept<'q> {
    table: Vector<'q>,
    counting: Counting,
    counted: Counted,
    readers_left: usize,
}

impl<'q> Shared<'q> {
    pub(crate) fn new(repeats: Repeats) -> Self {
        Self { repeats, results: Mutex::default() }
    }

    /// Whether an aggregation took the result of another.
    pub(crate) fn was_spared(&self, ordinal: u32) -> bool {
        self.results.lock().is_ok_and(|results| results.spared.contains(&ordinal))
    }

    fn keep(&self, repeat: Repeat, kept: Kept<'q>) {
        if let Ok(mut results) = self.results.lock() {
            results.kept.insert(repeat.first, kept);
        }
    }

    /// The result kept for one of the others, and what its evaluation counted.
    fn take(&self, repeat: Repeat, ordinal: u32, counting: Counting) -> Option<(Vector<'q>, Counted)> {
        let mut results = self.results.lock().ok()?;
        let kept = results.kept.get_mut(&repeat.first).filter(|kept| kept.counting == counting)?;
        kept.readers_left -= 1;
        let taken = match kept.readers_left {
            0 => results.kept.remove(&repeat.first).map(|kept| (kept.table, kept.counted)),
            _ => Some((Vector::clone(&kept.table), kept.counted.clone())),
        };
        results.spared.insert(ordinal);
        taken
    }
}

impl<'q> Exec<'q> {
    /// The table of an aggregation: that of an equal one if there is one, else what `evaluate` gives.
    pub(crate) fn evaluated_once(
        &self,
        ordinal: u32,
        counting: Counting,
        evaluate: impl FnOnce() -> Result<Vector<'q>, QueryError>,
    ) -> Result<Vector<'q>, QueryError> {
        let Some(repeat) = self.shared.repeats.of(ordinal) else { return evaluate() };
        if repeat.first != ordinal {
            let Some((table, counted)) = self.shared.take(repeat, ordinal, counting) else { return evaluate() };
            self.tally.add_again(&counted);
            return Ok(table);
        }
        let (remarks, before) = (self.take_annotations(), self.tally.counted());
        let table = evaluate()?;
        let mut is_silent = true;
        self.with_annotations(|all| {
            is_silent = all.is_empty();
            let own = std::mem::replace(all, remarks);
            all.absorb(own);
        });
        if is_silent {
            let counted = self.tally.counted().since(&before);
            let kept = Kept { table: Vector::clone(&table), counting, counted, readers_left: repeat.others };
            self.shared.keep(repeat, kept);
        }
        Ok(table)
    }
}
