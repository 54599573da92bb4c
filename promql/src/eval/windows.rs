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

/// One for each step of [`Windows::bounds`]; an instant query has one at most.
pub(crate) type Extrapolations = SmallVec<[Extrapolation; 1]>;

/// Per step the samples with `time - range < t <= time`, as indices into the series' columns.
///
/// Only the steps from the first to the last that see a sample are kept: most series of a long range live for a part of it.
#[derive(Debug)]
pub(crate) struct Windows {
    /// Steps of the query.
    steps: usize,
    /// The first step that sees a sample.
    first: usize,
    /// Of the steps from `first` on: first index and one past the last; equal when the window is empty.
    bounds: SmallVec<[(u32, u32); 1]>,
    /// Samples of all windows together.
    total: Samples,
    extrapolation: OnceLock<Extrapolations>,
}

impl Windows {
    /// Finds the windows of `timestamps_ms`, which ascend.
    pub(crate) fn find(timestamps_ms: &[i64], look: &LookTimes, range_ms: i64) -> Self {
        let steps = look.count();
        let (first, end) = match (timestamps_ms.first(), timestamps_ms.last()) {
            _ if look.is_fixed() => (0, steps),
            (Some(oldest), Some(newest)) => {
                let first = look.first_step(|time| time >= *oldest);
                (first, look.first_step(|time| time.saturating_sub(range_ms) >= *newest).max(first))
            }
            _ => (0, 0),
        };
        let mut bounds = SmallVec::with_capacity(end - first);
        let (mut low, mut high) = (0, 0);
        let mut total = Samples::default();
        let mut seen = 0;
        for step in first..end {
            let end = look.time(step);
            let start = end.saturating_sub(range_ms);
            if step == first || !look.is_fixed() {
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
        Self { steps, first, bounds, total, extrapolation: OnceLock::new() }
    }

    /// The windows of `timestamps_ms`, which ascend, when each step has its own: exclusive start and inclusive end, which do not descend.
    pub(crate) fn each(timestamps_ms: &[i64], steps: usize, window_ms: impl Fn(usize) -> (i64, i64)) -> Self {
        let up_to = |time_ms: i64| timestamps_ms.partition_point(|at| *at <= time_ms);
        let mut total = Samples::default();
        let mut seen = 0;
        let bounds = (0..steps).map(|step| {
            let (after_ms, until_ms) = window_ms(step);
            let high = up_to(until_ms);
            let low = up_to(after_ms).min(high);
            total.used += (high - low) as u64;
            total.fresh += high.saturating_sub(seen.max(low)) as u64;
            seen = high;
            (low as u32, high as u32)
        });
        let bounds = bounds.collect();
        Self { steps, first: 0, bounds, total, extrapolation: OnceLock::new() }
    }

    /// Steps of the query.
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// The first of the steps that [`Windows::bounds`] tells of; no step before or behind them sees a sample.
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    /// First index and one past the last of the steps from [`Windows::first`] on.
    pub(crate) fn bounds(&self) -> &[(u32, u32)] {
        &self.bounds
    }

    /// The steps that may see a sample, and what they see.
    pub(crate) fn by_step(&self) -> impl Iterator<Item = (usize, (u32, u32))> {
        (self.first..).zip(self.bounds.iter().copied())
    }

    /// First index and one past the last of what one step sees.
    pub(crate) fn at(&self, step: usize) -> (u32, u32) {
        self.known(step).unwrap_or_default()
    }

    fn known(&self, step: usize) -> Option<(u32, u32)> {
        self.bounds.get(step.checked_sub(self.first)?).copied()
    }

    pub(crate) fn total(&self) -> Samples {
        self.total
    }

    /// How many samples one step sees.
    pub(crate) fn samples(&self, step: usize) -> Samples {
        let Some((low, high)) = self.known(step) else { return Samples::default() };
        Samples { used: u64::from(high - low), fresh: u64::from(high - self.fresh_from(step)) }
    }

    /// The first sample that one step sees and none before it did.
    pub(crate) fn fresh_from(&self, step: usize) -> u32 {
        let before = step.checked_sub(1).and_then(|before| self.known(before));
        self.known(step).map_or(0, |(low, _)| before.map_or(low, |(_, seen)| seen.max(low)))
    }

    /// What `rate` and its kin need to know of the timestamps, of the steps of [`Windows::bounds`]; `make` runs at most once.
    pub(crate) fn extrapolation(&self, make: impl FnOnce() -> Extrapolations) -> &[Extrapolation] {
        self.extrapolation.get_or_init(make)
    }

    fn bytes(&self) -> usize {
        self.bounds.len() * (size_of::<(u32, u32)>() + size_of::<Extrapolation>()) + size_of::<Self>()
    }
}

/// Windows of the timelines that one thread met. Bounded: forgets half of them when full, so that series that come back to a
/// few timelines too many still find most.
#[derive(Debug, Default)]
pub(crate) struct WindowCache {
    /// Keyed by the selector (its ordinal in the plan) and the timeline.
    known: HashMap<(u32, TimelineToken), Arc<Windows>, foldhash::fast::RandomState>,
    bytes: usize,
}

/// What the windows of one thread may take.
const CACHE_BYTES_MAX: usize = 8 << 20;

/// What each thread takes for the windows of a few timelines, whatever the query.
const UNCHARGED_BYTES: usize = 1 << 20;

impl WindowCache {
    /// Bytes of what is kept, as far as they are worth an account.
    pub(crate) fn charged_bytes(&self) -> usize {
        self.bytes.saturating_sub(UNCHARGED_BYTES)
    }

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
            let mut kept = made.bytes();
            let mut keep = false;
            self.known.retain(|_, windows| {
                keep = !keep && kept + windows.bytes() <= CACHE_BYTES_MAX;
                kept += if keep { windows.bytes() } else { 0 };
                keep
            });
            self.bytes = kept;
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
        let windows = Windows::find(timestamps, &LookTimes::new(steps, at, 0), range);
        (0..windows.steps()).map(|step| windows.at(step)).collect()
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

    /// What lies before the first and behind the last sample of a series costs nothing.
    #[test]
    fn steps_beyond_the_ends_of_a_series_are_not_kept() {
        let look = LookTimes::new(&Steps::range(0, 100_000, 10), None, 0);
        let windows = Windows::find(&[505, 512, 540], &look, 20);
        assert_eq!(
            (windows.steps(), windows.first(), windows.bounds()),
            (10_001, 51, [(0, 1), (0, 2), (1, 2), (2, 3), (2, 3)].as_slice())
        );
        let fresh: Vec<_> = (50..57).map(|step| windows.samples(step).fresh).collect();
        assert_eq!(fresh, [0, 1, 1, 0, 1, 0, 0]);
        assert_eq!((windows.total().used, windows.total().fresh), (6, 3));
        for outside in [[-30, -25], [200_000, 200_001]] {
            assert_eq!(Windows::find(&outside, &look, 20).bounds().len(), 0, "{outside:?}");
        }
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

    #[test]
    fn many_timelines_are_not_all_kept() {
        let mut cache = WindowCache::default();
        let look = LookTimes::new(&Steps::range(0, 100_000, 1), None, 0);
        for timeline in 0..10 {
            cache.get(1, Some(TimelineToken(timeline)), || Windows::find(&[0, 100_000], &look, 100_000));
            assert!(cache.bytes <= CACHE_BYTES_MAX && !cache.known.is_empty());
            assert_eq!(cache.bytes, cache.known.values().map(|windows| windows.bytes()).sum::<usize>());
        }
    }
}
