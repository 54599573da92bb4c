//! The times at which an expression is evaluated, and the times at which a selector looks.
//!
//! All arithmetic saturates: times come from requests and may be anything.

/// The grid of one evaluation: `count` steps from `start_ms`, `step_ms` apart. An instant is a grid of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) start_ms: i64,
    /// Zero for an instant query; Prometheus divides by it nowhere either.
    pub(crate) step_ms: i64,
    pub(crate) count: usize,
}

impl Steps {
    /// One step.
    pub(crate) fn instant(at_ms: i64) -> Self {
        Self { start_ms: at_ms, step_ms: 0, count: 1 }
    }

    /// The steps from `start_ms` to at most `end_ms`; none when the end lies before the start.
    pub(crate) fn range(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        debug_assert!(step_ms > 0, "a range has a step");
        let length = i128::from(end_ms) - i128::from(start_ms);
        let count = if length < 0 { 0 } else { length / i128::from(step_ms.max(1)) + 1 };
        Self { start_ms, step_ms, count: usize::try_from(count).unwrap_or(usize::MAX) }
    }

    /// The time of one step.
    pub(crate) fn time(&self, step: usize) -> i64 {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        self.start_ms.saturating_add(step.saturating_mul(self.step_ms))
    }

    /// The first step alone.
    pub(crate) fn first_only(&self) -> Self {
        Self { start_ms: self.start_ms, step_ms: self.step_ms, count: self.count.min(1) }
    }

    /// Whether the evaluation has one step, as instant queries do.
    pub(crate) fn is_instant(&self) -> bool {
        self.count == 1
    }
}

/// Where a selector looks at each step of a grid: an offset away from the step, or always at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LookTimes {
    base_ms: i64,
    stride_ms: i64,
    count: usize,
}

impl LookTimes {
    /// Looks `offset_ms` before each step, or before `at_ms` when the selector is pinned.
    pub(crate) fn new(steps: &Steps, at_ms: Option<i64>, offset_ms: i64) -> Self {
        let base_ms = at_ms.unwrap_or(steps.start_ms).saturating_sub(offset_ms);
        let stride_ms = if at_ms.is_some() { 0 } else { steps.step_ms };
        Self { base_ms, stride_ms, count: steps.count }
    }

    /// Where it looks at one step.
    pub(crate) fn time(&self, step: usize) -> i64 {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        self.base_ms.saturating_add(step.saturating_mul(self.stride_ms))
    }

    pub(crate) fn first(&self) -> i64 {
        self.base_ms
    }

    pub(crate) fn last(&self) -> i64 {
        self.time(self.count.saturating_sub(1))
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The first step whose time is one that `is_late` holds of, as it does of all later ones; the number of steps if it holds of none.
    pub(crate) fn first_step(&self, is_late: impl Fn(i64) -> bool) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_late(self.time(middle)) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    /// Whether it looks at the same time at every step.
    pub(crate) fn is_fixed(&self) -> bool {
        self.stride_ms == 0 || self.count <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_at_its_last_aligned_step() {
        let steps = Steps::range(0, 25, 10);
        assert_eq!((steps.count, steps.time(2)), (3, 20));
        assert_eq!(Steps::range(5, 4, 10).count, 0);
        assert_eq!(Steps::range(5, 5, 10).count, 1);
        assert_eq!(Steps::range(i64::MIN, i64::MAX, i64::MAX).count, 3);
    }

    #[test]
    fn a_pinned_selector_looks_at_one_time() {
        let steps = Steps::range(0, 20, 10);
        let pinned = LookTimes::new(&steps, Some(100), 30);
        assert_eq!((pinned.first(), pinned.last(), pinned.is_fixed()), (70, 70, true));
        let shifted = LookTimes::new(&steps, None, 5);
        assert_eq!((shifted.first(), shifted.last()), (-5, 15));
    }
}
