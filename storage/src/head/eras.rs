//! Eras: who may still look at what is about to be given up.
//!
//! What the head gives up (samples that are in blocks, series without samples) may be in use by somebody who found it
//! earlier: a selection that is being read, a writer between finding a series and appending to it. Such users hold a
//! [`Pin`]. Giving up begins with a new era, which hides what goes from everybody who comes later; memory and numbers are
//! used again only when the pins of all eras before are gone.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

/// What of a head is visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Visible {
    /// Samples in the main structures from this time on.
    pub(crate) floor_ms: i64,
    /// Below-floor generations with a higher number.
    pub(crate) after_generation: u64,
}

impl Visible {
    /// Everything.
    pub(crate) const ALL: Self = Self { floor_ms: i64::MIN, after_generation: 0 };
}

#[derive(Debug)]
struct Era {
    number: u64,
    visible: Visible,
}

/// Keeps what was found while it is held: references stay those of their series, samples stay readable. Cheap to clone;
/// not to be kept for longer than a request takes, because memory waits for it.
#[derive(Debug, Clone)]
pub struct Pin {
    era: Arc<Era>,
}

impl Pin {
    pub(crate) fn visible(&self) -> Visible {
        self.era.visible
    }
}

/// The eras of one head.
#[derive(Debug)]
pub(crate) struct Eras {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    current: Arc<Era>,
    past: VecDeque<Weak<Era>>,
}

impl Default for Eras {
    fn default() -> Self {
        let current = Arc::new(Era { number: 1, visible: Visible::ALL });
        Self { state: Mutex::new(State { current, past: VecDeque::new() }) }
    }
}

impl Eras {
    /// Takes part in the present era.
    pub(crate) fn pin(&self) -> Pin {
        Pin { era: Arc::clone(&self.state.lock().current) }
    }

    pub(crate) fn visible(&self) -> Visible {
        self.state.lock().current.visible
    }

    /// Begins a new era; returns the number of the one that ends.
    pub(crate) fn advance(&self, visible: impl FnOnce(Visible) -> Visible) -> u64 {
        let mut state = self.state.lock();
        let ended = state.current.number;
        let next = Arc::new(Era { number: ended + 1, visible: visible(state.current.visible) });
        let before = std::mem::replace(&mut state.current, next);
        state.past.retain(|era| era.strong_count() > 0);
        state.past.push_back(Arc::downgrade(&before));
        ended
    }

    /// Whether nobody takes part any more in the eras up to `number`, which has ended.
    pub(crate) fn are_over(&self, number: u64) -> bool {
        let state = self.state.lock();
        assert!(number < state.current.number, "only an era that has ended can be over");
        !state.past.iter().filter_map(Weak::upgrade).any(|era| era.number <= number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_era_is_over_when_its_pins_and_those_of_earlier_ones_are_gone() {
        let eras = Eras::default();
        let first = eras.pin();
        let ended = eras.advance(|visible| Visible { floor_ms: 5, ..visible });
        let second = eras.pin();
        assert_eq!((first.visible().floor_ms, second.visible().floor_ms), (i64::MIN, 5));
        let later = eras.advance(|visible| visible);
        assert!(!eras.are_over(ended) && !eras.are_over(later));
        drop(second);
        assert!(!eras.are_over(later), "the first pin is of an earlier era");
        drop(first);
        assert!(eras.are_over(ended) && eras.are_over(later));
    }
}
