//! Watches: whoever has one is woken when samples of the series that satisfy some selectors arrive, and is told the newest time among
//! them and whether all who send them have sent up to some time (`watches/arrivals.rs`).
//!
//! While nobody watches, an append pays one relaxed load. Otherwise it looks each of its series up in a map of those that are
//! watched: 10 ns a sample. Series that come into being are compared with the selectors once. A reference may pass to another series;
//! then a watch hears of samples that are not its own, until the map is made anew, which is harmless for all it is used for.

mod arrivals; // by target

use super::Head;
use crate::append::{Rows, SeriesRef};
use crate::select::TimeRange;
use crate::wal::histograms::SeriesHistogram;
use crate::wal::pool::now_ms;
use arrivals::Arrivals;
use hashbrown::HashMap;
use model::matcher::Matcher;
use parking_lot::{Mutex, RwLock};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Series that one watch takes in when it begins.
const SERIES_MAX: usize = 5_000_000;
/// The labels that say who sends a series, sorted.
const TARGET_LABELS: [&str; 2] = ["instance", "job"];

/// See the head of the file.
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// Whether there are any.
    any: AtomicBool,
    /// Counts appends.
    appends: AtomicU64,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    watched: Vec<Weak<Watched>>,
    by_series: HashMap<SeriesRef, Vec<Heard>>,
}

/// Who hears of a series, and which of its targets sends it.
#[derive(Debug, Clone)]
struct Heard {
    watched: Weak<Watched>,
    target: u32,
}

struct Watched {
    /// A series is watched if it satisfies all matchers of one of them.
    selectors: Vec<Vec<Matcher>>,
    newest_ms: AtomicI64,
    /// The append of which it was last told.
    last_append: AtomicU64,
    /// By target, if somebody wants to know.
    arrivals: Option<Mutex<Arrivals>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("selectors", &self.selectors).finish_non_exhaustive()
    }
}

/// Hears of samples until it is dropped.
#[derive(Debug)]
pub struct Watch {
    head: Head,
    watched: Arc<Watched>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.head.inner.watches.forget(&self.watched);
    }
}

impl Watch {
    /// The newest time of a sample that arrived since the watch began, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn newest_ms(&self) -> Option<i64> {
        Some(self.watched.newest_ms.load(Ordering::Acquire)).filter(|newest_ms| *newest_ms != i64::MIN)
    }

    /// Whether samples up to `at_ms` may be on their way at `now_ms`: nothing arrived since the watch began, or a target that sends
    /// lacks what its rhythm says. Of one that was silent for `silence_ms` nothing is awaited. Where targets are not told
    /// apart: whether nothing as new as that has arrived.
    #[must_use]
    pub fn lacks(&self, at_ms: i64, now_ms: i64, silence_ms: i64) -> bool {
        match &self.watched.arrivals {
            Some(arrivals) => arrivals.lock().lack(at_ms, now_ms, silence_ms),
            None => self.newest_ms().is_none_or(|newest_ms| newest_ms < at_ms),
        }
    }
}

impl Watched {
    fn is_satisfied_by(&self, labels: &[(&str, &str)]) -> bool {
        let value = |name: &str| labels.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value);
        self.selectors.iter().any(|matchers| matchers.iter().all(|matcher| matcher.matches(value(matcher.name()))))
    }

    fn target(&self, labels: &[(&str, &str)]) -> u32 {
        let value = |name: &str| labels.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value);
        self.arrivals.as_ref().map_or(0, |arrivals| arrivals.lock().target(value("job"), value("instance")))
    }

    /// Whether it is the first sample of this append.
    fn note(&self, target: u32, at_ms: i64, append: Append) -> bool {
        self.newest_ms.fetch_max(at_ms, Ordering::AcqRel);
        if let Some(arrivals) = &self.arrivals {
            arrivals.lock().note(target, at_ms, append.now_ms);
        }
        self.last_append.swap(append.number, Ordering::AcqRel) != append.number
    }
}

/// One append.
#[derive(Debug, Clone, Copy)]
struct Append {
    number: u64,
    now_ms: i64,
}

impl Watches {
    /// Notes what was appended; it can be read already.
    pub(super) fn note(&self, rows: &Rows) {
        if self.any.load(Ordering::Relaxed) {
            self.note_all(rows.series.iter().copied().zip(rows.timestamps_ms.iter().copied()));
        }
    }

    /// Notes all first, so that who is woken knows the newest.
    fn note_all(&self, samples: impl Iterator<Item = (SeriesRef, i64)>) {
        let number = self.appends.fetch_add(1, Ordering::Relaxed) + 1;
        let append = Append { number, now_ms: now_ms() };
        let mut woken = Vec::new();
        let state = self.state.read();
        for (series, at_ms) in samples {
            state.note(series, at_ms, append, &mut woken);
        }
        drop(state);
        woken.iter().for_each(|watched: &Arc<Watched>| (watched.wake)());
    }

    /// Forgets a watch, and the series that nobody else watches.
    fn forget(&self, gone: &Arc<Watched>) {
        let is_other = |watched: &Weak<Watched>| !std::ptr::eq(watched.as_ptr(), Arc::as_ptr(gone));
        let mut state = self.state.write();
        state.watched.retain(is_other);
        state.by_series.retain(|_, watching| {
            watching.retain(|heard| is_other(&heard.watched));
            !watching.is_empty()
        });
        self.any.store(!state.watched.is_empty(), Ordering::Relaxed);
    }

    /// As [`Watches::note`], for native histograms.
    pub(super) fn note_histograms(&self, rows: &[SeriesHistogram]) {
        if self.any.load(Ordering::Relaxed) {
            self.note_all(rows.iter().map(|(series, stored)| (*series, stored.timestamp_ms)));
        }
    }

    /// Notes a new series.
    pub(super) fn note_series(&self, series: SeriesRef, labels: &[(&str, &str)]) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state.write();
        let hears = |watched: &Weak<Watched>| {
            let known = watched.upgrade().filter(|known| known.is_satisfied_by(labels))?;
            Some(Heard { watched: watched.clone(), target: known.target(labels) })
        };
        let watching: Vec<Heard> = state.watched.iter().filter_map(hears).collect();
        if watching.is_empty() {
            // Whoever had the reference before is gone.
            state.by_series.remove(&series);
        } else {
            state.by_series.insert(series, watching);
        }
    }
}

impl State {
    fn note(&self, series: SeriesRef, at_ms: i64, append: Append, woken: &mut Vec<Arc<Watched>>) {
        for Heard { watched, target } in self.by_series.get(&series).into_iter().flatten() {
            if let Some(watched) = watched.upgrade()
                && watched.note(*target, at_ms, append)
            {
                woken.push(watched);
            }
        }
    }
}

impl Head {
    /// Calls `wake` whenever samples arrive for series that satisfy one of `selectors`, once for each append, right after they can
    /// be read. `wake` is called by the thread that appends: it must be quick and wait for nothing.
    #[must_use]
    pub fn watch(&self, selectors: Vec<Vec<Matcher>>, wake: impl Fn() + Send + Sync + 'static) -> Watch {
        self.begin_watch(selectors, None, Box::new(wake))
    }

    /// As [`Head::watch`], and tells targets apart: [`Watch::lacks`].
    #[must_use]
    pub fn watch_targets(&self, selectors: Vec<Vec<Matcher>>, wake: impl Fn() + Send + Sync + 'static) -> Watch {
        self.begin_watch(selectors, Some(Mutex::default()), Box::new(wake))
    }

    fn begin_watch(
        &self,
        selectors: Vec<Vec<Matcher>>,
        arrivals: Option<Mutex<Arrivals>>,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> Watch {
        let (newest_ms, last_append) = (AtomicI64::new(i64::MIN), AtomicU64::new(0));
        let watched = Arc::new(Watched { selectors, newest_ms, last_append, arrivals, wake });
        let watches = &self.inner.watches;
        {
            let mut state = watches.state.write();
            state.watched.push(Arc::downgrade(&watched));
            watches.any.store(true, Ordering::Relaxed);
        }
        // Series that come into being from here on are noted by themselves.
        for matchers in &watched.selectors {
            let all = TimeRange { after_ms: i64::MIN, until_ms: i64::MAX };
            let found = self.select_first(matchers, all, SERIES_MAX);
            // Before the state is locked: who makes a series holds its shard and waits for the state.
            let targets: Option<Vec<u32>> = watched.arrivals.is_some().then(|| {
                let target =
                    |index| watched.target(&found.labels_among(index, &TARGET_LABELS).iter().collect::<Vec<_>>());
                (0..found.len()).map(target).collect()
            });
            let mut state = watches.state.write();
            for index in 0..found.len() {
                let watching = state.by_series.entry(found.series(index)).or_default();
                if !watching.iter().any(|other| std::ptr::eq(other.watched.as_ptr(), Arc::as_ptr(&watched))) {
                    let target = targets.as_ref().and_then(|targets| targets.get(index).copied()).unwrap_or(0);
                    watching.push(Heard { watched: Arc::downgrade(&watched), target });
                }
            }
        }
        Watch { head: self.clone(), watched }
    }
}

#[cfg(test)]
mod tests;
