//! Timelines: the timestamps of a scrape target, kept once for all of its series.
//!
//! A timeline belongs to a group of series, those with the same `job` and `instance`. It is a sequence of segments of up to
//! [`SAMPLES_MAX`] rows within one [`WINDOW_MS`]; only the newest one grows. An open chunk refers to the segment it began
//! with and is cut when its series moves on to the next, so a chunk never spans two. A closed segment stays in memory while
//! open chunks refer to it; chunks in files refer to its copy there.
//!
//! Who may add a row decides how well sharing works: whoever holds the newest row (the target was scraped again), or a
//! newcomer as long as newcomers' rows are followed by others. So a thousand series with a thousand clocks in one group do
//! not fill the timeline with rows of a single sample; they keep timestamps of their own.

use super::chunk_link::ChunkLink;
use super::slot::NONE;
use crate::chunk::segment::SegmentTimes;
use crate::chunk::{SAMPLES_MAX, WINDOW_MS, window_of};
use hashbrown::HashMap;

/// The label pairs that make a group; [`NONE`] for an absent label.
pub(crate) type GroupKey = (u32, u32);

/// One timeline.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeline {
    /// The segment that grows, or [`NONE`].
    pub(crate) newest: u32,
    /// Samples at its newest row.
    pub(crate) followers: u32,
    /// Series of the group; 0 when the timeline is free.
    pub(crate) members: u32,
    /// Whose it is.
    pub(crate) group: GroupKey,
}

/// A group shares a timeline from so many series on: for fewer, timestamps of their own take less memory than a segment.
const MEMBERS_MIN: u32 = 4;

/// The timestamps of a timeline within a window.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    pub(crate) timeline: u32,
    /// Open chunks that refer to it.
    pub(crate) users: u32,
    /// Its copy in the chunk files, once there is one.
    pub(crate) link: ChunkLink,
    pub(crate) base_ms: i64,
    /// Distance of each row from `base_ms`; empty when the segment is free.
    pub(crate) offsets: Vec<u32>,
    /// No longer the newest of its timeline.
    pub(crate) closed: bool,
}

impl Default for ChunkLink {
    fn default() -> Self {
        Self::NONE
    }
}

impl Segment {
    /// The timestamp of a row.
    pub(crate) fn row_ms(&self, row: usize) -> i64 {
        self.base_ms + i64::from(self.offsets[row])
    }

    pub(crate) fn last_ms(&self) -> i64 {
        self.base_ms + i64::from(self.offsets.last().copied().unwrap_or(0))
    }

    /// The row of a timestamp.
    #[inline]
    pub(crate) fn row_of(&self, timestamp_ms: i64) -> Option<usize> {
        let offset = u32::try_from(timestamp_ms.checked_sub(self.base_ms)?).ok()?;
        match self.offsets.last() {
            Some(&last) if last == offset => Some(self.offsets.len() - 1),
            _ => self.offsets.binary_search(&offset).ok(),
        }
    }

    /// All timestamps.
    pub(crate) fn times(&self) -> SegmentTimes {
        let mut times = SegmentTimes::default();
        times.set(self.base_ms, &self.offsets);
        times
    }

    fn takes(&self, timestamp_ms: i64) -> bool {
        !self.closed && self.offsets.len() < SAMPLES_MAX && window_of(timestamp_ms) == window_of(self.base_ms)
    }
}

/// Where a sample finds its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the segment of the open chunk.
    Here(usize),
    /// In a newer segment: the open chunk ends.
    Elsewhere { segment: u32, row: usize },
    /// In none: the series keeps its own timestamps.
    Nowhere,
}

/// The timelines of a shard.
#[derive(Debug, Default)]
pub(crate) struct Timelines {
    pub(crate) lines: Vec<Timeline>,
    by_group: HashMap<GroupKey, u32>,
    pub(crate) segments: Vec<Segment>,
    free: Vec<u32>,
    /// Timelines that no group has.
    free_lines: Vec<u32>,
}

impl Timelines {
    /// The timeline of the group that a new series belongs to, made when the group is new.
    pub(crate) fn join(&mut self, group: GroupKey) -> u32 {
        let (lines, free) = (&mut self.lines, &mut self.free_lines);
        let timeline = *self.by_group.entry(group).or_insert_with(|| {
            let made = Timeline { newest: NONE, followers: 0, members: 0, group };
            match free.pop() {
                Some(timeline) => {
                    lines[timeline as usize] = made;
                    timeline
                }
                None => {
                    lines.push(made);
                    (lines.len() - 1) as u32
                }
            }
        });
        self.lines[timeline as usize].members += 1;
        timeline
    }

    /// A series of the timeline's group is no more, and refers to no segment.
    pub(crate) fn leave(&mut self, timeline: u32) {
        let line = &mut self.lines[timeline as usize];
        line.members -= 1;
        if line.members == 0 {
            let group = line.group;
            self.close_newest(timeline);
            self.lines[timeline as usize].newest = NONE;
            self.by_group.remove(&group);
            self.free_lines.push(timeline);
        }
    }

    #[inline]
    pub(crate) fn segment(&self, segment: u32) -> &Segment {
        &self.segments[segment as usize]
    }

    #[inline]
    pub(crate) fn segment_mut(&mut self, segment: u32) -> &mut Segment {
        &mut self.segments[segment as usize]
    }

    /// Where a series whose open chunk covers `rows` rows of `segment` finds `timestamp_ms`, newer than its last one.
    #[inline]
    pub(crate) fn place(&mut self, segment: u32, rows: usize, timestamp_ms: i64) -> Place {
        let current = &self.segments[segment as usize];
        if !current.closed
            && let Some(row) = current.row_of(timestamp_ms)
        {
            if row + 1 == current.offsets.len() {
                self.lines[current.timeline as usize].followers += 1;
            }
            return if row >= rows { Place::Here(row) } else { Place::Nowhere };
        }
        self.place_elsewhere(segment, rows, timestamp_ms)
    }

    fn place_elsewhere(&mut self, segment: u32, rows: usize, timestamp_ms: i64) -> Place {
        let current = &self.segments[segment as usize];
        if !current.closed && timestamp_ms < current.last_ms() {
            return Place::Nowhere;
        }
        let is_current = !current.closed && rows == current.offsets.len();
        match self.place_new(current.timeline, timestamp_ms, is_current) {
            Some((newest, row)) if newest == segment => Place::Here(row),
            Some((newest, row)) => Place::Elsewhere { segment: newest, row },
            None => Place::Nowhere,
        }
    }

    /// Where a chunk that begins at `timestamp_ms` finds its first row. `is_current` says whether the series holds the
    /// timeline's newest row and so may add one.
    pub(crate) fn place_new(&mut self, timeline: u32, timestamp_ms: i64, is_current: bool) -> Option<(u32, usize)> {
        let line = self.lines[timeline as usize];
        if line.members < MEMBERS_MIN {
            return None;
        }
        if line.newest == NONE {
            return Some((self.begin_segment(timeline, timestamp_ms), 0));
        }
        let newest = &mut self.segments[line.newest as usize];
        if let Some(row) = newest.row_of(timestamp_ms) {
            let newest_row = row + 1 == newest.offsets.len();
            self.lines[timeline as usize].followers += u32::from(newest_row);
            return Some((line.newest, row));
        }
        if timestamp_ms < newest.last_ms() || !(is_current || line.followers > 1 || abandoned(newest, timestamp_ms)) {
            return None;
        }
        if !newest.takes(timestamp_ms) {
            return Some((self.begin_segment(timeline, timestamp_ms), 0));
        }
        let offset = u32::try_from(timestamp_ms - newest.base_ms).expect("a window is shorter than 2^32 ms");
        newest.offsets.push(offset);
        let row = newest.offsets.len() - 1;
        self.lines[timeline as usize].followers = 1;
        Some((line.newest, row))
    }

    fn begin_segment(&mut self, timeline: u32, timestamp_ms: i64) -> u32 {
        self.close_newest(timeline);
        let segment = Segment { timeline, base_ms: timestamp_ms, offsets: vec![0], ..Segment::default() };
        let at = match self.free.pop() {
            Some(at) => {
                self.segments[at as usize] = segment;
                at
            }
            None => {
                self.segments.push(segment);
                (self.segments.len() - 1) as u32
            }
        };
        let line = &mut self.lines[timeline as usize];
        (line.newest, line.followers) = (at, 1);
        at
    }

    fn close_newest(&mut self, timeline: u32) {
        let newest = self.lines[timeline as usize].newest;
        if newest != NONE {
            self.segment_mut(newest).closed = true;
            self.free_if_unused(newest);
        }
    }

    /// An open chunk begins to refer to a segment.
    pub(crate) fn acquire(&mut self, segment: u32) {
        self.segment_mut(segment).users += 1;
    }

    /// An open chunk no longer refers to a segment.
    pub(crate) fn release(&mut self, segment: u32) {
        self.segment_mut(segment).users -= 1;
        self.free_if_unused(segment);
    }

    fn free_if_unused(&mut self, at: u32) {
        let segment = self.segment_mut(at);
        if segment.closed && segment.users == 0 {
            *segment = Segment { closed: true, ..Segment::default() };
            self.free.push(at);
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.by_group.len()
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        let offsets: usize = self.segments.iter().map(|segment| segment.offsets.capacity() * size_of::<u32>()).sum();
        offsets
            + self.segments.capacity() * size_of::<Segment>()
            + self.lines.capacity() * size_of::<Timeline>()
            + self.by_group.capacity() * (size_of::<(GroupKey, u32)>() + 1) * 8 / 7
    }

    /// The groups with the number of their timeline, for a snapshot.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (GroupKey, u32)> {
        self.by_group.iter().map(|(group, timeline)| (*group, *timeline))
    }

    /// Puts timelines back as a snapshot holds them.
    pub(crate) fn restore(lines: Vec<Timeline>, groups: Vec<(GroupKey, u32)>, segments: Vec<Segment>) -> Self {
        let is_free = |segment: &Segment| segment.offsets.is_empty();
        let free = segments.iter().enumerate().filter(|(_, s)| is_free(s)).map(|(at, _)| at as u32).collect();
        let mut lines = lines;
        for (group, timeline) in &groups {
            if let Some(line) = lines.get_mut(*timeline as usize) {
                line.group = *group;
            }
        }
        Self { lines, by_group: groups.into_iter().collect(), segments, free, free_lines: Vec::new() }
    }

    /// Counts the members of all groups anew, given the timelines of all series; groups without any are no more.
    pub(crate) fn recount(&mut self, members: impl Iterator<Item = u32>) {
        self.lines.iter_mut().for_each(|line| line.members = 0);
        for timeline in members {
            if let Some(line) = self.lines.get_mut(timeline as usize) {
                line.members += 1;
            }
        }
        self.free_lines = (0u32..).zip(&self.lines).filter(|(_, line)| line.members == 0).map(|(at, _)| at).collect();
        let lines = &self.lines;
        self.by_group.retain(|_, timeline| lines.get(*timeline as usize).is_some_and(|line| line.members > 0));
    }
}

/// Nobody has added a row for a whole window: the first comer may go on.
fn abandoned(newest: &Segment, timestamp_ms: i64) -> bool {
    timestamp_ms.saturating_sub(newest.last_ms()) > WINDOW_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(timelines: &mut Timelines) -> (u32, u32) {
        let line = timelines.join((1, 2));
        (1..MEMBERS_MIN).for_each(|_| assert_eq!(timelines.join((1, 2)), line));
        let (segment, row) = timelines.place_new(line, 1_000_000, false).expect("the first comer begins");
        assert_eq!(row, 0);
        timelines.acquire(segment);
        (line, segment)
    }

    #[test]
    fn who_holds_the_newest_row_adds_the_next_and_others_follow() {
        let mut timelines = Timelines::default();
        let (line, segment) = start(&mut timelines);
        assert_eq!(timelines.place(segment, 1, 1_015_000), Place::Here(1));
        assert_eq!(timelines.place_new(line, 1_015_000, false), Some((segment, 1)));
        assert_eq!(timelines.place_new(line, 1_000_000, false), Some((segment, 0)));
    }

    #[test]
    fn a_small_group_shares_nothing() {
        let mut timelines = Timelines::default();
        let line = timelines.join((1, 2));
        assert_eq!(timelines.place_new(line, 1_000_000, false), None);
    }

    #[test]
    fn strangers_add_rows_only_while_others_follow_them() {
        let mut timelines = Timelines::default();
        let (line, segment) = start(&mut timelines);
        assert_eq!(timelines.place_new(line, 1_000_003, false), None, "the only row so far has one follower");
        assert_eq!(timelines.place_new(line, 1_000_000, false), Some((segment, 0)));
        assert_eq!(timelines.place_new(line, 1_015_000, false), Some((segment, 1)), "rows have followers");
        assert_eq!(timelines.place_new(line, 1_015_004, false), None, "the newest has not");
    }

    #[test]
    fn between_two_rows_there_is_no_place() {
        let mut timelines = Timelines::default();
        let (line, segment) = start(&mut timelines);
        timelines.place(segment, 1, 1_015_000);
        assert_eq!(timelines.place(segment, 1, 1_007_000), Place::Nowhere);
        assert_eq!(timelines.place_new(line, 1_007_000, true), None);
    }

    #[test]
    fn a_new_window_begins_a_segment_and_the_old_one_goes_with_its_last_user() {
        let mut timelines = Timelines::default();
        let (line, segment) = start(&mut timelines);
        let next = 1_000_000 + WINDOW_MS;
        let Place::Elsewhere { segment: second, row: 0 } = timelines.place(segment, 1, next) else {
            panic!("a new window")
        };
        assert!(timelines.segment(segment).closed);
        timelines.acquire(second);
        timelines.release(segment);
        let Some((third, 0)) = timelines.place_new(line, next + WINDOW_MS, true) else { panic!("a new window") };
        assert_eq!(third, segment, "the place of the first segment is used again");
    }
}
