//! Folds that look at one end of the window.

use super::WindowInput;
use crate::eval::row::Row;

/// `first_over_time`
pub(crate) fn first(input: &WindowInput<'_>, out: &mut Row) {
    input.each(1, out, |_, low, _| input.values[low]);
}

/// `last_over_time`
pub(crate) fn last(input: &WindowInput<'_>, out: &mut Row) {
    input.each(1, out, |_, _, high| input.values[high - 1]);
}

/// `ts_of_first_over_time`
pub(crate) fn first_time(input: &WindowInput<'_>, out: &mut Row) {
    input.each(1, out, |_, low, _| input.timestamps_ms[low] as f64 / 1000.0);
}

/// `ts_of_last_over_time`
pub(crate) fn last_time(input: &WindowInput<'_>, out: &mut Row) {
    input.each(1, out, |_, _, high| input.timestamps_ms[high - 1] as f64 / 1000.0);
}
