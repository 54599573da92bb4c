//! Timelines: lists of timestamps that many series share.
//!
//! All series of one scrape target have samples at the same times, so these are stored once and samples point at them. Before
//! a block is written, a [`TimelinePlanner`] sees the timestamps of every series and decides which timeline each will use; a
//! timeline holds the union of what its series have.
//!
//! A group (job and instance) starts with one timeline. A series joins it if at least half of its own timestamps are known
//! there already, or all of the timeline's are its own; otherwise it gets another one, which others may join in turn.

mod times;

use super::error::BlockError;
use hashbrown::HashMap;
pub(crate) use times::{Rows, Times};
use xxhash_rust::xxh3::xxh3_128;

/// Timelines of one group that a series may join; of more, the newest take the place of older ones.
const CANDIDATES_MAX: usize = 8;
/// Tokens of one group that are remembered.
const TOKENS_MAX: usize = 8;

/// Which series are likely to have the same timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupKey<'a> {
    /// The label `job`, empty if absent.
    pub job: &'a str,
    /// The label `instance`, empty if absent.
    pub instance: &'a str,
}

/// The timeline of some samples of one series, as far as it is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimelineChoice(u32);

/// Decides who shares timestamps. Holds four bytes per timestamp of a timeline, none if they are equidistant.
#[derive(Debug, Default)]
pub struct TimelinePlanner {
    groups: HashMap<u128, Group>,
    timelines: Vec<Times>,
}

#[derive(Debug, Default)]
struct Group {
    candidates: Vec<TimelineChoice>,
    tokens: Vec<(u64, TimelineChoice)>,
    /// How many timelines and tokens there have been.
    begun: usize,
    tokens_seen: usize,
}

impl TimelinePlanner {
    /// Chooses the timeline for strictly ascending timestamps, at least one. Equal tokens within one group promise equal
    /// timestamps.
    ///
    /// There may be more timestamps than the series will have samples: who merges blocks adds the timelines of the inputs and
    /// need not look at samples for that.
    ///
    /// # Panics
    /// Without timestamps.
    pub fn add(&mut self, group: GroupKey<'_>, timestamps_ms: &[i64], token: Option<u64>) -> TimelineChoice {
        assert!(!timestamps_ms.is_empty(), "samples have timestamps");
        let group = self.groups.entry(key(group)).or_default();
        if let Some((_, choice)) = token.and_then(|token| group.tokens.iter().find(|known| known.0 == token)) {
            return *choice;
        }
        let choice = group.choose(&mut self.timelines, timestamps_ms);
        if let Some(token) = token {
            place(&mut group.tokens, TOKENS_MAX, group.tokens_seen, (token, choice));
            group.tokens_seen += 1;
        }
        choice
    }

    /// Bytes that it holds for timestamps.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.timelines.iter().map(Times::bytes).sum()
    }

    /// Ends planning.
    ///
    /// # Errors
    /// More timestamps than a row number can count.
    pub fn finish(self) -> Result<TimelinePlan, BlockError> {
        let mut starts = Vec::with_capacity(self.timelines.len());
        let mut rows = 0u32;
        for times in &self.timelines {
            starts.push(rows);
            let length = u32::try_from(times.len()).ok();
            let end = length.and_then(|length| rows.checked_add(length));
            rows = end.ok_or(BlockError::TooMany { what: "timestamps" })?;
        }
        Ok(TimelinePlan { timelines: self.timelines, starts, rows })
    }
}

fn key(group: GroupKey<'_>) -> u128 {
    let mut bytes = Vec::with_capacity(group.job.len() + group.instance.len() + 8);
    bytes.extend_from_slice(&(group.job.len() as u64).to_le_bytes());
    bytes.extend_from_slice(group.job.as_bytes());
    bytes.extend_from_slice(group.instance.as_bytes());
    xxh3_128(&bytes)
}

/// Adds to a list of bounded length; when it is full, in place of the oldest.
fn place<T>(list: &mut Vec<T>, length_max: usize, placed: usize, item: T) {
    if list.len() < length_max {
        list.push(item);
    } else if let Some(slot) = list.get_mut(placed % length_max) {
        *slot = item;
    }
}

impl Group {
    fn choose(&mut self, timelines: &mut Vec<Times>, timestamps_ms: &[i64]) -> TimelineChoice {
        let times = |choice: &TimelineChoice| timelines.get(choice.0 as usize);
        let known = |choice: &TimelineChoice| times(choice).is_some_and(|times| times.equals(timestamps_ms));
        if let Some(choice) = self.candidates.iter().find(|choice| known(choice)) {
            return *choice;
        }
        let shared = |choice: &TimelineChoice| {
            let times = times(choice)?;
            let shared = times.count_shared(timestamps_ms);
            let joins = shared * 2 >= timestamps_ms.len() || shared == times.len();
            joins.then_some((shared, *choice))
        };
        // Of equal ones the first.
        let best =
            self.candidates.iter().filter_map(shared).reduce(|best, other| if other.0 > best.0 { other } else { best });
        if let Some((shared, choice)) = best
            && let Some(times) = timelines.get_mut(choice.0 as usize)
        {
            if shared < timestamps_ms.len() {
                times.insert_all(timestamps_ms);
            }
            return choice;
        }
        let choice = TimelineChoice(timelines.len() as u32);
        timelines.push(Times::new(timestamps_ms));
        place(&mut self.candidates, CANDIDATES_MAX, self.begun, choice);
        self.begun += 1;
        choice
    }
}

/// All timelines of a block, ready to be written.
#[derive(Debug)]
pub struct TimelinePlan {
    timelines: Vec<Times>,
    /// The first row of each timeline.
    starts: Vec<u32>,
    rows: u32,
}

impl TimelinePlan {
    /// Rows of the timelines file.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Each timeline in order: its number, its first row, its timestamps.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32, &Times)> {
        self.timelines.iter().zip(&self.starts).zip(0..).map(|((times, start), id)| (id, *start, times))
    }

    /// The number of a chosen timeline.
    pub(crate) fn id(choice: TimelineChoice) -> u32 {
        choice.0
    }

    /// The rows of some timestamps of a chosen timeline; `into` is used if they are not consecutive. `None` if one is not there.
    pub(crate) fn locate<'a>(
        &self,
        choice: TimelineChoice,
        timestamps_ms: &[i64],
        into: &'a mut Vec<u32>,
    ) -> Option<Rows<'a>> {
        let (times, start) = (self.timelines.get(choice.0 as usize)?, *self.starts.get(choice.0 as usize)?);
        times.locate(start, timestamps_ms, into)
    }
}

#[cfg(test)]
mod tests;
