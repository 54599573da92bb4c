//! Since when which times of the stored data have changed: what lets others keep results computed from them.
//!
//! Each append is numbered and leaves the time of its oldest sample. Asked "since number n", the answer is the oldest time
//! among all later appends. Only times older than those of every later append matter for that, so few are kept; beyond a
//! bound, neighbours are joined to the later number with the older time, which makes answers older, never younger.
//!
//! An append is noted before its samples can be seen and again afterwards: whoever takes a number, reads, and finds nothing
//! noted since has seen everything older than the answer.

use parking_lot::Mutex;
use std::collections::VecDeque;

/// Appends that are told apart.
const KEPT_MAX: usize = 1024;
/// Appends whose oldest samples are of the same second are not.
const RESOLUTION_MS: i64 = 1000;

/// What has changed since a number that was given out earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// The number of now.
    pub now: u64,
    /// Nothing older than this time has changed, in milliseconds since the Unix epoch; `i64::MAX` when nothing has at all.
    pub oldest_ms: i64,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now: u64,
    /// Number and oldest time, both ascending.
    kept: VecDeque<(u64, i64)>,
}

impl Changes {
    /// Notes that samples from `oldest_ms` on are being stored or have been.
    pub(crate) fn note(&self, oldest_ms: i64) {
        let mut state = self.state.lock();
        state.now += 1;
        let mut oldest_ms = oldest_ms;
        while let Some((_, kept_ms)) = state.kept.back().copied() {
            let same = kept_ms.div_euclid(RESOLUTION_MS) == oldest_ms.div_euclid(RESOLUTION_MS);
            if kept_ms < oldest_ms && !same {
                break;
            }
            oldest_ms = oldest_ms.min(kept_ms);
            state.kept.pop_back();
        }
        let now = state.now;
        state.kept.push_back((now, oldest_ms));
        if state.kept.len() > KEPT_MAX {
            state.thin_out();
        }
    }

    /// What has changed since `number`.
    pub(crate) fn since(&self, number: u64) -> Changed {
        let state = self.state.lock();
        let first_later = state.kept.partition_point(|(noted, _)| *noted <= number);
        let oldest_ms = state.kept.get(first_later).map_or(i64::MAX, |(_, oldest_ms)| *oldest_ms);
        Changed { now: state.now, oldest_ms }
    }
}

impl State {
    /// Joins the older half in pairs.
    fn thin_out(&mut self) {
        let half = self.kept.len() / 2;
        let older: Vec<_> = self.kept.drain(..half).collect();
        for pair in older.chunks(2).rev() {
            if let (Some((_, oldest_ms)), Some((number, _))) = (pair.first(), pair.last()) {
                self.kept.push_front((*number, *oldest_ms));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However appends come, an answer is never younger than the truth, and with few of them it is exact to a second.
        #[test]
        fn answers_are_never_younger_than_the_truth(
            appends in proptest::collection::vec(0i64..20_000_000, 1..3000),
            ascending: bool,
            asked in proptest::collection::vec(0usize..3000, 10),
        ) {
            let mut appends = appends;
            if ascending {
                appends.sort_unstable();
            }
            let changes = Changes::default();
            appends.iter().for_each(|oldest_ms| changes.note(*oldest_ms));
            for number in asked {
                let truth = appends.iter().skip(number).min().copied().unwrap_or(i64::MAX);
                let Changed { now, oldest_ms } = changes.since(number as u64);
                prop_assert_eq!(now, appends.len() as u64);
                prop_assert!(oldest_ms <= truth);
                prop_assert!(appends.len() > KEPT_MAX || oldest_ms > truth - RESOLUTION_MS);
            }
            prop_assert!(changes.state.lock().kept.len() <= KEPT_MAX);
        }
    }
}
