//! Who wants to know what arrives: the newest time among the samples of the series that satisfy some selectors.
//!
//! While nobody does, an append pays one relaxed load. Otherwise it looks each of its series up in a map of those that are
//! watched: 10 ns a sample. Series that come into being are compared with the selectors once. A reference may get to another series;
//! then a watch hears of samples that are not its own, until the map is made anew, which is harmless for all it is used for.

use super::Head;
use crate::append::{Rows, SeriesRef};
use crate::select::TimeRange;
use crate::wal::histograms::SeriesHistogram;
use hashbrown::HashMap;
use model::matcher::Matcher;
use parking_lot::RwLock;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Weak};

/// Series that one watch takes in when it begins.
const SERIES_MAX: usize = 5_000_000;

/// See the head of the file.
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// Whether there are any.
    any: AtomicBool,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    watched: Vec<Weak<Watched>>,
    by_series: HashMap<SeriesRef, Vec<Weak<Watched>>>,
}

struct Watched {
    /// A series is watched if it satisfies all matchers of one of them.
    selectors: Vec<Vec<Matcher>>,
    newest_ms: AtomicI64,
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
}

impl Watched {
    fn is_satisfied_by(&self, labels: &[(&str, &str)]) -> bool {
        let value = |name: &str| labels.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value);
        self.selectors.iter().any(|matchers| matchers.iter().all(|matcher| matcher.matches(value(matcher.name()))))
    }

    fn note(&self, at_ms: i64) {
        if self.newest_ms.fetch_max(at_ms, Ordering::AcqRel) < at_ms {
            (self.wake)();
        }
    }
}

impl Watches {
    /// Notes what was appended; it can be read already.
    pub(super) fn note(&self, rows: &Rows) {
        if self.any.load(Ordering::Relaxed) {
            let state = self.state.read();
            for (series, at_ms) in rows.series.iter().zip(&rows.timestamps_ms) {
                state.note(*series, *at_ms);
            }
        }
    }

    /// Forgets a watch, and the series that nobody else watches.
    fn forget(&self, gone: &Arc<Watched>) {
        let is_other = |watched: &Weak<Watched>| !std::ptr::eq(watched.as_ptr(), Arc::as_ptr(gone));
        let mut state = self.state.write();
        state.watched.retain(is_other);
        state.by_series.retain(|_, watching| {
            watching.retain(is_other);
            !watching.is_empty()
        });
        self.any.store(!state.watched.is_empty(), Ordering::Relaxed);
    }

    /// As [`Watches::note`], for native histograms.
    pub(super) fn note_histograms(&self, rows: &[SeriesHistogram]) {
        if self.any.load(Ordering::Relaxed) {
            let state = self.state.read();
            for (series, stored) in rows {
                state.note(*series, stored.timestamp_ms);
            }
        }
    }

    /// Notes a new series.
    pub(super) fn note_series(&self, series: SeriesRef, labels: &[(&str, &str)]) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state.write();
        let watching: Vec<Weak<Watched>> = state
            .watched
            .iter()
            .filter(|watched| watched.upgrade().is_some_and(|watched| watched.is_satisfied_by(labels)))
            .cloned()
            .collect();
        if watching.is_empty() {
            // Whoever had the reference before is gone.
            state.by_series.remove(&series);
        } else {
            state.by_series.insert(series, watching);
        }
    }
}

impl State {
    fn note(&self, series: SeriesRef, at_ms: i64) {
        for watched in self.by_series.get(&series).into_iter().flatten() {
            if let Some(watched) = watched.upgrade() {
                watched.note(at_ms);
            }
        }
    }
}

impl Head {
    /// Calls `wake` whenever a sample arrives that is newer than all before it among the series that satisfy one of `selectors`,
    /// right after it can be read. `wake` is called by the thread that appends: it must be quick and wait for nothing.
    #[must_use]
    pub fn watch(&self, selectors: Vec<Vec<Matcher>>, wake: impl Fn() + Send + Sync + 'static) -> Watch {
        let newest_ms = AtomicI64::new(i64::MIN);
        let watched = Arc::new(Watched { selectors, newest_ms, wake: Box::new(wake) });
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
            let mut state = watches.state.write();
            for index in 0..found.len() {
                let watching = state.by_series.entry(found.series(index)).or_default();
                if !watching.iter().any(|other| std::ptr::eq(other.as_ptr(), Arc::as_ptr(&watched))) {
                    watching.push(Arc::downgrade(&watched));
                }
            }
        }
        Watch { head: self.clone(), watched }
    }
}

#[cfg(test)]
mod tests;
