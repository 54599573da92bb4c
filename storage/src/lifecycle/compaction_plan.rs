//! Chooses which blocks to merge next.
//!
//! Pure. Blocks are merged by UTC day: the blocks of a day that is over become one of level 1. Late samples arrive as further
//! blocks of days that are merged already; these wait until they have been quiet for a while or are many, so that a trickle of
//! late samples does not write a whole day anew each time. The blocks of today are merged only when somebody forced many small
//! ones. Any two blocks may overlap: merging sorts it out, so there is nothing at which this could halt.

use super::compaction::SERIES_AT_ONCE;
use super::window::{DAY_MS, day_of};
use crate::block::meta::{BlockMeta, created_ms};
use crate::block::schema::SERIES_FILE;
use std::collections::BTreeMap;

/// When to merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionOptions {
    /// How long after its end a day is merged, in milliseconds.
    pub day_delay_ms: i64,
    /// How long the blocks of late samples wait for others, in milliseconds.
    pub late_wait_ms: i64,
    /// So many blocks of a day are merged without waiting.
    pub blocks_max: usize,
    /// Bytes of memory that the inputs of one merge may take, about; a day that needs more is merged in several steps, of two
    /// blocks at least.
    pub memory_max: u64,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        Self { day_delay_ms: 2 * 3_600_000, late_wait_ms: 3_600_000, blocks_max: 24, memory_max: u64::MAX }
    }
}

/// What of a block matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Names the block.
    pub ulid: String,
    /// 0 as flushed, 1 when merged.
    pub level: u8,
    /// Time of the oldest sample.
    pub min_ms: i64,
    /// Time of the newest sample.
    pub max_ms: i64,
    /// When the block was written.
    pub created_ms: i64,
    /// Bytes of memory that it takes as an input, about: see [`memory_of`].
    pub memory: u64,
}

impl Candidate {
    /// What of a block matters.
    #[must_use]
    pub fn of(meta: &BlockMeta) -> Self {
        Self {
            ulid: meta.ulid.clone(),
            level: meta.level,
            min_ms: meta.min_ms,
            max_ms: meta.max_ms,
            created_ms: created_ms(&meta.ulid),
            memory: memory_of(meta),
        }
    }
}

/// Bytes of memory that a block takes as an input of a merge, about: of every series its hash, its type and the numbers of its
/// labels' values, each value once, and the pages of so many series as are read at once.
#[must_use]
pub fn memory_of(meta: &BlockMeta) -> u64 {
    const OF_SERIES: u64 = 24;
    const OF_LABEL: u64 = 4;
    let of_series = OF_SERIES + OF_LABEL * meta.label_columns.len() as u64;
    let values = meta.file(SERIES_FILE).map_or(0, |file| file.bytes.saturating_mul(2));
    let pages = meta.bytes() / meta.series.max(1) * (SERIES_AT_ONCE as u64).min(meta.series);
    meta.series.saturating_mul(of_series).saturating_add(values).saturating_add(pages)
}

/// Which blocks become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactionPlan {
    /// At least one; what was published earlier first.
    pub inputs: Vec<String>,
    /// Level of the result.
    pub level: u8,
}

/// The most useful merge among raw blocks in order of their publication, or `None` when nothing is worth it. `force` merges
/// whatever can be merged now.
#[must_use]
pub fn plan(blocks: &[Candidate], now_ms: i64, options: CompactionOptions, force: bool) -> Option<CompactionPlan> {
    by_day(blocks).into_iter().find_map(|(day, of_day)| {
        is_due(&of_day, day, now_ms, options, force).then(|| {
            let fitting = fitting(&of_day, options.memory_max);
            CompactionPlan { inputs: fitting.iter().map(|block| block.ulid.clone()).collect(), level: 1 }
        })
    })
}

/// How many days wait to be merged.
#[must_use]
pub fn backlog(blocks: &[Candidate], now_ms: i64, options: CompactionOptions) -> usize {
    by_day(blocks).into_iter().filter(|(day, of_day)| is_due(of_day, *day, now_ms, options, false)).count()
}

fn by_day(blocks: &[Candidate]) -> BTreeMap<i64, Vec<&Candidate>> {
    let mut days: BTreeMap<i64, Vec<&Candidate>> = BTreeMap::new();
    for block in blocks {
        days.entry(day_of(block.min_ms)).or_default().push(block);
    }
    days
}

/// The first of the blocks that fit into memory together, two at least: merging these keeps the order of all.
fn fitting<'b>(blocks: &'b [&'b Candidate], memory_max: u64) -> &'b [&'b Candidate] {
    let mut total = 0_u64;
    let fits = |block: &&&Candidate| {
        total = total.saturating_add(block.memory);
        total <= memory_max
    };
    let count = blocks.iter().take_while(fits).count().max(2).min(blocks.len());
    blocks.get(..count).unwrap_or(blocks)
}

fn is_due(blocks: &[&Candidate], day: i64, now_ms: i64, options: CompactionOptions, force: bool) -> bool {
    let fresh: Vec<_> = blocks.iter().filter(|block| block.level == 0).collect();
    let merged = blocks.len() - fresh.len();
    if fresh.is_empty() && merged <= 1 {
        return false;
    }
    if force || blocks.len() >= options.blocks_max {
        return true;
    }
    let day_end = day.saturating_add(1).saturating_mul(DAY_MS);
    let over = now_ms >= day_end.saturating_add(options.day_delay_ms);
    let newest = fresh.iter().map(|block| block.created_ms).max().unwrap_or(i64::MIN);
    let quiet = now_ms >= newest.saturating_add(options.late_wait_ms);
    over && (merged == 0 || quiet)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    /// `L0 day/hour@created`, all in hours, as (level, begin, created).
    fn blocks(of: &[(u8, i64, i64)]) -> Vec<Candidate> {
        let block = |(at, (level, begin, created)): (usize, &(u8, i64, i64))| Candidate {
            ulid: format!("{at}"),
            level: *level,
            min_ms: begin * HOUR,
            max_ms: (begin + if *level == 0 { 2 } else { 24 }) * HOUR - 1,
            created_ms: created * HOUR,
            memory: 10,
        };
        of.iter().enumerate().map(block).collect()
    }

    fn inputs(of: &[(u8, i64, i64)], now: i64, force: bool) -> Option<String> {
        plan(&blocks(of), now * HOUR, CompactionOptions::default(), force).map(|plan| plan.inputs.join(" "))
    }

    #[test]
    fn a_day_is_merged_when_it_has_been_over_for_the_delay() {
        let day = [(0, 0, 3), (0, 10, 13), (0, 22, 25), (0, 24, 27)];
        assert_eq!(inputs(&day, 25, false), None);
        assert_eq!(inputs(&day, 26, false), Some("0 1 2".into()));
        let backlog = |now| backlog(&blocks(&day), now * HOUR, CompactionOptions::default());
        assert_eq!([25, 26, 50].map(backlog), [0, 1, 2]);
    }

    #[test]
    fn a_lone_block_of_a_day_that_is_over_is_written_for_the_long_term() {
        assert_eq!(inputs(&[(0, 0, 3)], 26, false), Some("0".into()));
        assert_eq!(inputs(&[(1, 0, 26)], 900, true), None);
    }

    #[test]
    fn late_blocks_wait_until_they_have_been_quiet() {
        let day = [(1, 0, 26), (0, 4, 40)];
        assert_eq!(inputs(&day, 40, false), None);
        assert_eq!(inputs(&day, 41, false), Some("0 1".into()));
    }

    #[test]
    fn many_blocks_do_not_wait() {
        let day: Vec<_> = (0..24).map(|at| (0, at % 24, at)).collect();
        assert!(inputs(&day, 24, false).is_some());
        assert!(inputs(&day[1..], 24, false).is_none());
    }

    #[test]
    fn force_merges_what_there_is() {
        assert_eq!(inputs(&[(0, 0, 3), (0, 2, 5)], 6, true), Some("0 1".into()));
        assert_eq!(inputs(&[], 6, true), None);
    }

    #[test]
    fn a_day_that_does_not_fit_into_memory_is_merged_in_steps() {
        let day = blocks(&[(0, 0, 3), (0, 2, 5), (0, 4, 7), (0, 6, 9)]);
        let inputs = |memory_max| {
            let options = CompactionOptions { memory_max, ..CompactionOptions::default() };
            plan(&day, 30 * HOUR, options, false).map(|plan| plan.inputs.join(" "))
        };
        assert_eq!(inputs(40), Some("0 1 2 3".into()));
        assert_eq!(inputs(39), Some("0 1 2".into()));
        assert_eq!(inputs(1), Some("0 1".into()), "two at least, or nothing would ever be merged");
    }

    #[test]
    fn blocks_of_level_1_that_overlap_are_merged() {
        assert_eq!(inputs(&[(1, 0, 26), (1, 0, 27)], 60, false), Some("0 1".into()));
    }
}
