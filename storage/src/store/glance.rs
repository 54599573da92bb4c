//! What can be told at once: from the head's index, and from what is in memory of few blocks.

use super::Store;
use crate::block::read::Block;
use crate::select::{Listing, TimeRange};
use model::matcher::Matcher;

/// More blocks take longer than a glance.
const BLOCKS_MAX: usize = 4;

/// So does looking at more rows, one for each series of a block that may be meant.
const ROWS_MAX: usize = 65_536;

impl Store {
    /// The label names of the series that satisfy all `matchers` and may have samples in the range, or their values of one label,
    /// if listing them takes about a tenth of a millisecond.
    #[must_use]
    pub fn list_at_a_glance(
        &self,
        label: Option<&str>,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Option<Listing> {
        if has_regex(matchers) {
            return None;
        }
        // The head first, as always.
        let head = self.engine().head().list_at_a_glance(label, matchers, range, limit)?;
        let blocks = self.blocks_at_hand(matchers, range)?;
        if !label.is_none_or(|name| blocks.iter().all(|block| block.has_few_values(name))) {
            return None;
        }
        let list = |block: &Block| {
            let io = &self.inner.shared.io;
            let listing = match label {
                None => io.at_once(block.label_names(matchers, range, limit)),
                Some(name) => io.at_once(block.label_values(name, matchers, range, limit)),
            };
            listing?.ok()
        };
        let of_blocks: Option<Vec<_>> = blocks.iter().map(list).collect();
        of_blocks.map(|of_blocks| head.join(of_blocks, limit))
    }

    /// How many series of blocks satisfy all `matchers` and may have samples after `after_ms`, if finding that out takes no longer.
    #[must_use]
    pub fn count_in_blocks_at_a_glance(&self, matchers: &[Matcher], after_ms: i64) -> Option<usize> {
        if has_regex(matchers) {
            return None;
        }
        let range = TimeRange { after_ms, until_ms: i64::MAX };
        let io = &self.inner.shared.io;
        let count = |block: &Block| io.at_once(block.count(matchers, range))?.ok();
        self.blocks_at_hand(matchers, range)?.iter().map(count).sum()
    }

    /// The blocks that have samples of a range, if they are few, in memory as far as they tell about series, and little of that
    /// has to be looked at.
    fn blocks_at_hand(&self, matchers: &[Matcher], range: TimeRange) -> Option<Vec<Block>> {
        let view = self.inner.shared.view();
        view.check(range).ok()?;
        let (mut blocks, mut rows) = (Vec::new(), 0);
        for block in view.known_within(range) {
            rows += block.rows_to_look_at(matchers, range)?;
            if blocks.len() == BLOCKS_MAX || rows > ROWS_MAX {
                return None;
            }
            blocks.push(block.clone());
        }
        Some(blocks)
    }
}

/// Regular expressions may take longer than a glance.
fn has_regex(matchers: &[Matcher]) -> bool {
    matchers.iter().any(|matcher| matcher.regex().is_some())
}
