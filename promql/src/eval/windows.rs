//! Which samples of a series each step sees.
//!
//! Series scraped together have equal timestamps, and the source says so with a token: the boundaries are then computed
//! once and shared. Invariant: the windows of one timeline ascend, both ends.

use super::exec::Samples;
use super::extrapolation::Extrapolation;
use super::steps::LookTimes;
use crate::source::TimelineToken;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::sync::{Arc, OnceLock};

/// One per step; an instant query has one step.
pub(crate) type Extrapolations = SmallVec<[Extrapolation; 1]>;

/// Per step the samples with `time - range < t <= time`, as indices into the series' columns.
#[derive(Debug)]
pub(crate) struct Windows {
    /// First index and one past the last; equal when the window is empty.
    bounds: SmallVec<[(u32, u32); 1]>,
    /// Samples of all windows together.
    total: Samples,
    extrapolation: OnceLock<Extrapolations>,
}

impl Windows {
    /// Finds the windows of `timestamps_ms`, which ascend.
    pub(crate) fn find(timestamps_ms: &[i64], look: &LookTimes, range_ms: i64) -> Self {
        let mut bounds = SmallVec::with_capacity(look.count());
        let (mut low, mut high) = (0, 0);
        let mut total = Samples::default();
        let mut seen = 0;
        for step in 0..look.count() {
            let end = look.time(step);
            let start = end.saturating_sub(range_ms);
            if step == 0 || !look.is_fixed() {
                while timestamps_ms.get(high).is_some_and(|t| *t <= end) {
                    high += 1;
                }
                while low < high && timestamps_ms[low] <= start {
                    low += 1;
                }
            }
            bounds.push((low as u32, high as u32));
            total.used += (high - low) as u64;
            total.fresh += (high - seen.max(low)) as u64;
            seen = high;
        }
        Self { bounds, total, extrapolation: OnceLock::new() }
    }

    pub(crate) fn bounds(&self) -> &[(u32, u32)] {
        &self.bounds
    }

    pub(crate) fn total(&self) -> Samples {
        self.total
    }

    /// How many samples one step sees.
    pub(crate) fn samples(&self, step: usize) -> Samples {
        let Some(&(low, high)) = self.bounds.get(step) else { return Samples::default() };
        Samples { used: u64::from(high - low), fresh: u64::from(high - self.fresh_from(step)) }
    }

    /// The first sample that one step sees and none before it did.
    pub(crate) fn fresh_from(&self, step: usize) -> u32 {
        let before = step.checked_sub(1).and_then(|before| self.bounds.get(before));
        self.bounds.get(step).map_or(0, |(low, _)| before.map_or(*low, |(_, seen)| *seen.max(low)))
    }

    /// What `rate` and its kin need to know of the timestamps; `make` runs at most once.
    pub(crate) fn extrapolation(&self, make: impl FnOnce() -> Extrapolations) -> &[Extrapolation] {
        self.extrapolation.get_or_init(make)
    }

    fn bytes(&self) -> usize {
        self.bounds.len() * (size_of::<(u32, u32)>() + size_of::<Extrapolation>()) + size_of::<Self>()
    }
}

/// Windows of the timelines that one thread met. Bounded: forgets everything when full.
#[derive(Debug, Default)]
pub(crate) struct WindowCache {
    /// Keyed by the selector (its ordinal in the plan) and the timeline.
    known: HashMap<(u32, TimelineToken), Arc<Windows>, foldhash::fast::RandomState>,
    bytes: usize,
}

/// What the windows of one thread may take.
const CACHE_BYTES_MAX: usize = 4 << 20;

impl WindowCache {
    /// The windows of a timeline, from the cache when it has a token.
    pub(crate) fn get(
        &mut self,
        selector: u32,
        token: Option<TimelineToken>,
        make: impl FnOnce() -> Windows,
    ) -> Arc<Windows> {
        let Some(token) = token else { return Arc::new(make()) };
        if let Some(found) = self.known.get(&(selector, token)) {
            return Arc::clone(found);
        }
        let made = Arc::new(make());
        self.bytes += made.bytes();
        if self.bytes > CACHE_BYTES_MAX {
            self.known.clear();
            self.bytes = made.bytes();
        }
        self.known.insert((selector, token), Arc::clone(&made));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::steps::Steps;

    fn windows(timestamps: &[i64], steps: &Steps, at: Option<i64>, range: i64) -> Vec<(u32, u32)> {
        Windows::find(timestamps, &LookTimes::new(steps, at, 0), range).bounds().to_vec()
    }

    #[test]
    fn a_window_excludes_its_start_and_includes_its_end() {
        let steps = Steps::range(0, 30, 10);
        assert_eq!(windows(&[0, 10, 20, 30], &steps, None, 10), [(0, 1), (1, 2), (2, 3), (3, 4)]);
        assert_eq!(windows(&[5, 6, 25], &steps, None, 15), [(0, 0), (0, 2), (1, 2), (2, 3)]);
        assert_eq!(windows(&[], &steps, None, 15), [(0, 0); 4]);
    }

    #[test]
    fn a_pinned_window_is_the_same_at_every_step() {
        let steps = Steps::range(0, 30, 10);
        assert_eq!(windows(&[0, 10, 20, 30], &steps, Some(20), 15), [(1, 3); 4]);
    }

    #[test]
    fn equal_tokens_of_one_selector_share_windows() {
        let mut cache = WindowCache::default();
        let look = LookTimes::new(&Steps::instant(10), None, 0);
        let token = Some(TimelineToken(7));
        let first = cache.get(1, token, || Windows::find(&[1, 2], &look, 100));
        let second = cache.get(1, token, || unreachable!("known"));
        assert!(Arc::ptr_eq(&first, &second));
        let other = cache.get(2, token, || Windows::find(&[1, 2], &look, 100));
        assert!(!Arc::ptr_eq(&first, &other));
    }
}
