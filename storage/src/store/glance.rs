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

    /// How many series of blocks satisfy all `matchers` and may have samples in the range, if finding that out takes no longer.
    #[must_use]
    pub fn count_in_blocks_at_a_glance(&self, matchers: &[Matcher], range: TimeRange) -> Option<usize> {
        let blocks = self.blocks_at_hand(matchers, range)?;
        let few_values = |matcher: &Matcher| blocks.iter().all(|block| block.has_few_values(matcher.name()));
        if !matchers.iter().filter(|matcher| matcher.regex().is_some()).all(few_values) {
            return None;
        }
        let io = &self.inner.shared.io;
        blocks.iter().map(|block| io.at_once(block.count(matchers, range))?.ok()).sum()
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

/// Regular expressions may take longer than a glance in the head, which has no bound on what they are compared with.
fn has_regex(matchers: &[Matcher]) -> bool {
    matchers.iter().any(|matcher| matcher.regex().is_some())
}
