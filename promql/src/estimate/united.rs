//! Where the series of a part come from: what many `or` give is bounded by the parts that differ.

use hashbrown::HashMap;

/// Parts that hold all series of another one between them.
#[derive(Debug, Clone, Default)]
pub(super) struct United {
    /// Their series, by the place of the first part that is equal to them.
    parts: HashMap<usize, u64>,
    /// Of all of them.
    series: u64,
}

impl United {
    /// One part alone.
    pub(super) fn one(identity: usize, series: u64) -> Self {
        Self { parts: HashMap::from([(identity, series)]), series }
    }

    /// Whether nothing is known, so that a part stands for itself.
    pub(super) fn is_unknown(&self) -> bool {
        self.parts.is_empty()
    }

    /// How many series there are at most.
    pub(super) fn series(&self) -> u64 {
        self.series
    }

    /// The parts of both. Takes time in proportion to those of the smaller one.
    pub(super) fn or(self, other: Self) -> Self {
        let (mut all, few) = if self.parts.len() < other.parts.len() { (other, self) } else { (self, other) };
        for (identity, series) in few.parts {
            if all.parts.insert(identity, series).is_none() {
                all.series = all.series.saturating_add(series);
            }
        }
        all
    }
}
