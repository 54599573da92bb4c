//! Windows: the spans of time that one flush turns into one block.
//!
//! A window is two hours long and begins at a multiple of that since the epoch, so it lies within one UTC day. Pure: whoever
//! asks says what time it is.

use std::ops::RangeInclusive;

/// Length of a window, in milliseconds.
pub const WINDOW_MS: i64 = 2 * 3_600_000;
/// Length of a UTC day, in milliseconds.
pub const DAY_MS: i64 = 24 * 3_600_000;

/// Where the window that `at_ms` lies in begins.
#[must_use]
pub fn window_start(at_ms: i64) -> i64 {
    at_ms.div_euclid(WINDOW_MS).saturating_mul(WINDOW_MS)
}

/// The UTC day that `at_ms` lies in, counted from the epoch.
#[must_use]
pub fn day_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(DAY_MS)
}

/// The first and the last millisecond of a UTC day.
#[must_use]
pub fn day_range(day: i64) -> RangeInclusive<i64> {
    let start = day.saturating_mul(DAY_MS);
    start..=start.saturating_add(DAY_MS - 1)
}

/// Up to where the head can be flushed: the end of the newest window that has been closed for `lag_ms`.
#[must_use]
pub fn due_boundary(now_ms: i64, lag_ms: i64) -> i64 {
    window_start(now_ms.saturating_sub(lag_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: i64 = 3_600_000;

    #[test]
    fn a_window_is_due_when_it_has_been_closed_for_the_lag() {
        let lag = H / 4;
        assert_eq!(due_boundary(100 * H, lag), 98 * H);
        assert_eq!(due_boundary(100 * H + lag - 1, lag), 98 * H);
        assert_eq!(due_boundary(100 * H + lag, lag), 100 * H);
    }

    #[test]
    fn windows_do_not_cross_days() {
        assert!((0..36).all(|n| day_of(window_start(n * WINDOW_MS)) == day_of(n * WINDOW_MS + WINDOW_MS - 1)));
        assert_eq!(day_range(day_of(-1)), -DAY_MS..=-1);
    }
}
