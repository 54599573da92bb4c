//! Start timestamps of the float samples of one series: since when each value is counted.
//!
//! A counter keeps its start until its process begins anew, so samples that came in order share it in runs. What came late
//! and differs from the run around it is a point. Points and ended runs are cut into chunks when there are many of them, as
//! with senders that begin to count anew with every sample. Byte layout of a chunk: `docs/formats/head-chunk-file.md`.

use super::chunk_files::ChunkFiles;
use super::chunk_link::ChunkLink;
use super::frame::{Frame, FrameKind};
use super::late::LateChunk;
use super::varint;
use crate::chunk::bits::{unzigzag, zigzag};
use crate::select::TimeRange;

/// Runs and points are cut into a chunk when there are more of them.
const IN_MEMORY_MAX: usize = 64;

/// Samples from `first_ms` to `last_ms` with one start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StartRun {
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    pub(crate) start_ms: i64,
}

/// Which samples have which start; what is in neither has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StartSpans {
    /// Of samples in order; ascending, without overlaps within one chunk or in memory.
    pub(crate) runs: Vec<StartRun>,
    /// Timestamps and starts of late samples, in any order; they count more than runs, and a start of 0 is none.
    pub(crate) points: Vec<(i64, i64)>,
}

/// The start timestamps of one series.
#[derive(Debug, Clone, Default)]
pub(crate) struct StartTimes {
    pub(crate) recent: StartSpans,
    /// The newest sample is of the newest run.
    pub(crate) open: bool,
    /// In the order in which they were cut.
    pub(crate) chunks: Vec<LateChunk>,
}

impl StartTimes {
    /// Notes the start of a sample that is stored, 0 for none.
    pub(crate) fn note(&mut self, timestamp_ms: i64, start_ms: i64, in_order: bool) {
        if !in_order {
            return self.note_late(timestamp_ms, start_ms);
        }
        match self.recent.runs.last_mut() {
            Some(run) if self.open && run.start_ms == start_ms => run.last_ms = timestamp_ms,
            _ if start_ms == 0 => {}
            _ => self.recent.runs.push(StartRun { first_ms: timestamp_ms, last_ms: timestamp_ms, start_ms }),
        }
        self.open = start_ms != 0;
    }

    fn note_late(&mut self, timestamp_ms: i64, start_ms: i64) {
        let in_memory = self.recent.runs.first().is_some_and(|run| run.first_ms <= timestamp_ms);
        let known = in_memory || self.chunks.is_empty();
        if !known || self.recent.start_of_run(timestamp_ms) != start_ms {
            self.recent.points.push((timestamp_ms, start_ms));
        }
    }

    /// Whether there is enough for a chunk.
    pub(crate) fn is_full(&self) -> bool {
        self.recent.runs.len() + self.recent.points.len() > IN_MEMORY_MAX
    }

    /// Cuts everything but the newest run into a chunk.
    pub(crate) fn cut(&mut self, owner: u32, files: &mut ChunkFiles) {
        let newest = self.recent.runs.pop();
        let cut = std::mem::take(&mut self.recent);
        self.recent.runs.extend(newest);
        let firsts = cut.runs.iter().map(|run| run.first_ms).chain(cut.points.iter().map(|point| point.0));
        let lasts = cut.runs.iter().map(|run| run.last_ms).chain(cut.points.iter().map(|point| point.0));
        let (Some(first_ms), Some(last_ms)) = (firsts.min(), lasts.max()) else { return };
        let link = files.append(&Frame {
            kind: FrameKind::Starts,
            count: (cut.runs.len() + cut.points.len()) as u8,
            owner,
            first_ms,
            last_ms,
            previous: self.chunks.last().map_or(ChunkLink::NONE, |chunk| chunk.link),
            segment: ChunkLink::NONE,
            payload: &cut.to_bytes(),
        });
        self.chunks.push(LateChunk { link, first_ms, last_ms });
    }

    /// The chunks that may hold starts of samples in a range.
    pub(crate) fn chunks_within(&self, range: TimeRange) -> impl Iterator<Item = LateChunk> {
        let overlaps = move |chunk: &LateChunk| chunk.first_ms <= range.until_ms && chunk.last_ms > range.after_ms;
        self.chunks.iter().copied().filter(overlaps)
    }

    /// Forgets the starts of samples older than `floor_ms`.
    pub(crate) fn trim(&mut self, floor_ms: i64) {
        let newest = self.recent.runs.pop();
        self.recent.runs.retain(|run| run.last_ms >= floor_ms);
        // Whether the newest sample goes on with the newest run depends on that run.
        self.recent.runs.extend(newest);
        self.recent.points.retain(|point| point.0 >= floor_ms);
        self.chunks.retain(|chunk| chunk.last_ms >= floor_ms);
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.recent.runs.is_empty() && self.recent.points.is_empty() && self.chunks.is_empty()
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.recent.runs.capacity() * size_of::<StartRun>()
            + self.recent.points.capacity() * size_of::<(i64, i64)>()
            + self.chunks.capacity() * size_of::<LateChunk>()
    }
}

impl StartSpans {
    fn start_of_run(&self, timestamp_ms: i64) -> i64 {
        let at = self.runs.partition_point(|run| run.last_ms < timestamp_ms);
        self.runs.get(at).filter(|run| run.first_ms <= timestamp_ms).map_or(0, |run| run.start_ms)
    }

    /// Adds those of a chunk; [`StartSpans::sort`] is to follow.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.runs.append(&mut other.runs);
        self.points.append(&mut other.points);
    }

    /// Brings runs and points of several chunks into order.
    pub(crate) fn sort(&mut self) {
        self.runs.sort_unstable_by_key(|run| run.first_ms);
        self.points.sort_unstable_by_key(|point| point.0);
    }

    /// The start of a sample, 0 for none; runs and points are sorted.
    pub(crate) fn start_of(&self, timestamp_ms: i64) -> i64 {
        match self.points.binary_search_by_key(&timestamp_ms, |point| point.0) {
            Ok(at) => self.points.get(at).map_or(0, |point| point.1),
            Err(_) => self.start_of_run(timestamp_ms),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut before_ms = 0i64;
        let push = |out: &mut Vec<u8>, difference: i64| varint::push(out, zigzag(difference));
        varint::push(&mut out, self.runs.len() as u64);
        for run in &self.runs {
            push(&mut out, run.first_ms.wrapping_sub(before_ms));
            varint::push(&mut out, run.last_ms.wrapping_sub(run.first_ms) as u64);
            push(&mut out, run.first_ms.wrapping_sub(run.start_ms));
            before_ms = run.last_ms;
        }
        varint::push(&mut out, self.points.len() as u64);
        for (timestamp_ms, start_ms) in &self.points {
            push(&mut out, timestamp_ms.wrapping_sub(before_ms));
            push(&mut out, timestamp_ms.wrapping_sub(*start_ms));
            before_ms = *timestamp_ms;
        }
        out
    }

    /// The inverse of [`StartSpans::to_bytes`]; `None` where no writer writes such bytes.
    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut spans = Self::default();
        let mut before_ms = 0i64;
        for _ in 0..varint::take_u32(&mut bytes)? {
            let first_ms = before_ms.wrapping_add(unzigzag(varint::take(&mut bytes)?));
            let last_ms = first_ms.wrapping_add(varint::take(&mut bytes)? as i64);
            let start_ms = first_ms.wrapping_sub(unzigzag(varint::take(&mut bytes)?));
            spans.runs.push(StartRun { first_ms, last_ms, start_ms });
            before_ms = last_ms;
        }
        for _ in 0..varint::take_u32(&mut bytes)? {
            let timestamp_ms = before_ms.wrapping_add(unzigzag(varint::take(&mut bytes)?));
            spans.points.push((timestamp_ms, timestamp_ms.wrapping_sub(unzigzag(varint::take(&mut bytes)?))));
            before_ms = timestamp_ms;
        }
        bytes.is_empty().then_some(spans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::collections::btree_map::Entry;

    proptest! {
        #[test]
        fn every_sample_has_the_start_that_it_came_with(
            steps in prop::collection::vec((-8i64..6, 0i64..3), 1..60),
            recoded: bool,
        ) {
            let (mut starts, mut twin) = (StartTimes::default(), BTreeMap::new());
            for (step, start_ms) in steps {
                let newest = twin.last_key_value().map(|(newest, _)| *newest);
                let timestamp_ms = newest.unwrap_or(1_000) + step;
                if let Entry::Vacant(place) = twin.entry(timestamp_ms) {
                    starts.note(timestamp_ms, start_ms, newest.is_none_or(|newest| timestamp_ms > newest));
                    place.insert(start_ms);
                }
            }
            let mut spans = starts.recent;
            if recoded {
                spans = StartSpans::from_bytes(&spans.to_bytes()).expect("own bytes");
            }
            spans.sort();
            for (timestamp_ms, start_ms) in twin {
                prop_assert_eq!(spans.start_of(timestamp_ms), start_ms, "at {}", timestamp_ms);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = StartSpans::from_bytes(&bytes);
        }
    }
}
